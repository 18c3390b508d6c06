"""What every accelerator must do, as a pytest class to inherit from.

In a plugin's own test file::

    from memristor_bdnn.testing import AcceleratorConformance

    class TestMine(AcceleratorConformance):
        accelerator = "mine"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.protocol import Accelerator, WriteVerifyReport
from memristor_bdnn.errors import CapacityError, ConfigError, UnsupportedError
from memristor_bdnn.state import pack_json

Array = npt.NDArray[Any]


class AcceleratorConformance:
    """Tests of the accelerator protocol; a subclass names the accelerator.

    Attributes:
        accelerator: registry name of the plugin.
        options: its option values; hardware that must be started first overrides :meth:`make`.
        preset: device preset.
        cells: how many cells the tests use.
        repeatable: the same seed gives the same numbers, and a saved state goes on bit for bit. False for a board.
        median_error_ua: largest median of |read - target| after write-verify, uA.
    """

    accelerator: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    preset: ClassVar[str] = "tsinghua_taox_hfox"
    cells: ClassVar[int] = 200
    repeatable: ClassVar[bool] = True
    median_error_ua: ClassVar[float] = 0.5

    def make(self, seed: int = 0, **changes: Any) -> Accelerator:
        """A fresh accelerator, nothing allocated."""
        return accelerator.create(self.accelerator, preset=self.preset, seed=seed, **{**self.options, **changes})

    def ready(self, seed: int = 0) -> Accelerator:
        """One with ``cells`` allocated."""
        chips = self.make(seed)
        chips.allocate(self.cells)
        return chips

    def target(self, chips: Accelerator, seed: int = 1) -> Array:
        """Targets (cells,) over the middle half of the preset's window, uA."""
        low, high = chips.preset.window_ua
        span = high - low
        return np.random.default_rng(seed).uniform(low + 0.25 * span, high - 0.25 * span, self.cells)

    def test_is_listed_and_follows_the_protocol(self) -> None:
        """The registry finds it by name, and it has every attribute and method."""
        description = accelerator.available().get(self.accelerator, "not listed")
        assert not description.startswith("not "), description
        chips = self.make()
        assert isinstance(chips, Accelerator)
        assert chips.name == self.accelerator
        assert chips.preset.name == self.preset
        assert chips.n_cells == 0
        assert chips.capacity >= self.cells
        chips.close()

    def test_configuration_is_a_validated_frozen_dataclass(self) -> None:
        """Options are data, and unknown ones are refused by name."""
        options: Any = accelerator.REGISTRY.load(self.accelerator).config_type
        assert dataclasses.is_dataclass(options)
        frozen: Any = options
        assert frozen.__dataclass_params__.frozen, f"{frozen.__name__} is not frozen"
        with pytest.raises(ConfigError, match="no_such_option"):
            self.make(no_such_option=1)

    def test_too_many_cells_are_refused_with_the_number_missing(self) -> None:
        """CapacityError, and nothing is allocated."""
        chips = self.make()
        with pytest.raises(CapacityError, match="7 cells are missing"):
            chips.allocate(chips.capacity + 7)
        with pytest.raises(ConfigError):
            chips.allocate(0)
        assert chips.n_cells == 0
        chips.allocate(self.cells)
        assert chips.n_cells == self.cells
        chips.close()

    def test_nothing_works_before_cells_are_allocated(self) -> None:
        """The error says what to call first."""
        chips = self.make()
        none = np.zeros(0)
        for call in (
            chips.read,
            lambda: chips.pulse(none.astype(np.int8)),
            lambda: chips.write_verify(none),
        ):
            with pytest.raises(ConfigError, match="allocate"):
                call()
        chips.close()

    def test_reads_have_the_shape_asked_for(self) -> None:
        """(samples, cells), of all cells or of a range, finite currents."""
        chips = self.ready()
        for samples, cells, width in ((1, None, self.cells), (4, slice(5, 17), 12), (2, slice(3, 3), 0)):
            reads = chips.read(samples, cells)
            assert reads.shape == (samples, width)
            assert np.isfinite(reads).all()
        chips.close()

    def test_every_read_is_a_sample_of_its_own(self) -> None:
        """Reads scatter, and neither the read before nor the neighbouring cell tells how."""
        chips = self.ready()
        reads = np.asarray(chips.read(64), dtype=np.float64)
        assert (reads.std(axis=0) > 0).mean() > 0.8, "most cells read the same number every time"
        centred = reads - np.median(reads, axis=0)
        signs = np.sign(centred)
        for one, other, what in (
            (signs[1:], signs[:-1], "the read before"),
            (signs[:, 1:], signs[:, :-1], "the neighbour"),
        ):
            both = (one != 0) & (other != 0)
            agreement = float((one[both] * other[both]).mean())
            assert abs(agreement) < 0.15, f"noise follows that of {what}: mean product of signs {agreement:.2f}"
        chips.close()

    def test_pulses_move_their_cells_the_right_way_and_no_others(self) -> None:
        """SET raises and RESET lowers the currents, on average over many cells; the others stay."""
        chips = self.ready()
        target = np.full(self.cells, np.mean(chips.preset.window_ua))
        for sign in (1, -1):
            chips.write_verify(target)
            before = chips.read(20).mean(axis=0)
            direction = np.zeros(self.cells, dtype=np.int8)
            direction[: self.cells // 2] = sign
            for _ in range(3):
                chips.pulse(direction)
            moved = chips.read(20).mean(axis=0) - before
            pulsed, left = moved[: self.cells // 2], moved[self.cells // 2 :]
            assert sign * pulsed.mean() > 0, f"pulses of direction {sign:+d} moved the mean by {pulsed.mean():.3g} uA"
            assert np.median(np.abs(left)) < np.median(np.abs(pulsed)), "cells that got no pulse moved as much"
        chips.close()

    def test_write_verify_reaches_its_targets_and_tells_the_truth(self) -> None:
        """What is read afterwards is near the targets, and agrees with the report."""
        chips = self.ready()
        target = self.target(chips)
        report = chips.write_verify(target)
        assert isinstance(report, WriteVerifyReport)
        assert report.cells == self.cells
        assert 0 <= report.within_tolerance <= self.cells
        assert report.pulses >= 0
        error = chips.read()[0] - target
        assert np.median(np.abs(error)) <= self.median_error_ua
        within = float((np.abs(error) <= chips.preset.write_verify.tolerance_ua).mean())
        assert within == pytest.approx(report.within_tolerance / self.cells, abs=0.15)
        spread = 5 * float(error.std()) / np.sqrt(self.cells)
        assert report.mean_error_ua == pytest.approx(float(error.mean()), abs=spread + 1e-9)
        chips.close()

    def test_write_verify_leaves_masked_out_cells_alone(self) -> None:
        """Only the cells of the mask are programmed; an empty mask does nothing."""
        chips = self.ready()
        low, high = chips.preset.window_ua
        chips.write_verify(np.full(self.cells, low + 0.3 * (high - low)))
        mask = np.arange(self.cells) < self.cells // 2
        before = chips.read(20).mean(axis=0)
        report = chips.write_verify(np.full(self.cells, low + 0.7 * (high - low)), mask)
        moved = chips.read(20).mean(axis=0) - before
        assert report.cells == int(mask.sum())
        assert np.median(moved[mask]) > 0.2 * (high - low)
        assert np.median(np.abs(moved[~mask])) < 0.05 * (high - low)
        assert chips.write_verify(np.zeros(self.cells), np.zeros(self.cells, dtype=bool)).cells == 0
        chips.close()

    def test_a_blind_write_aims_at_its_target_or_is_refused(self) -> None:
        """Higher targets read higher afterwards; UnsupportedError where the hardware has no such operation."""
        chips = self.ready()
        low, high = chips.preset.window_ua
        target = np.where(np.arange(self.cells) % 2 == 0, low + 0.2 * (high - low), low + 0.8 * (high - low))
        before = chips.ledger.set_pulses + chips.ledger.reset_pulses
        try:
            chips.program(target)
        except UnsupportedError:
            chips.close()
            return
        read = chips.read(20).mean(axis=0)
        assert read[1::2].mean() > read[0::2].mean()
        assert chips.ledger.set_pulses + chips.ledger.reset_pulses >= before + self.cells
        chips.close()

    def test_the_ledger_counts_every_operation(self) -> None:
        """Reads by cells and samples, pulses by direction, wear by cell; energy and time grow."""
        chips = self.ready()
        ledger = chips.ledger
        assert ledger.wear.shape == (self.cells,)
        start = ledger.snapshot()
        chips.read(3)
        chips.read(2, slice(0, 10))
        assert ledger.since(start)["reads"] == 3 * self.cells + 2 * 10
        assert ledger.since(start)["device_energy_j"] > 0 and ledger.since(start)["latency_s"] > 0

        direction = np.zeros(self.cells, dtype=np.int8)
        direction[:30], direction[30:50] = 1, -1
        before, wear = ledger.snapshot(), ledger.wear.copy()
        chips.pulse(direction)
        counted = ledger.since(before)
        assert (counted["set_pulses"], counted["reset_pulses"]) == (30, 20)
        np.testing.assert_array_equal(ledger.wear - wear, direction != 0)
        assert counted["device_energy_j"] > 0 and counted["latency_s"] > 0

        before = ledger.snapshot()
        report = chips.write_verify(self.target(chips))
        counted = ledger.since(before)
        assert counted["set_pulses"] + counted["reset_pulses"] == report.pulses
        assert counted["verify_reads"] >= self.cells
        assert counted["system_energy_j"] > counted["device_energy_j"]
        chips.close()

    def test_wrong_arguments_are_refused_and_nothing_is_counted(self) -> None:
        """Shapes, values and NaN raise ConfigError before any cell is touched."""
        chips = self.ready()
        before = chips.ledger.state_dict()
        n = self.cells
        bad = np.ones(n)
        bad[3] = np.nan
        calls: list[Callable[[], Any]] = [
            lambda: chips.read(0),
            lambda: chips.read(1, slice(0, 10, 2)),
            lambda: chips.pulse(np.ones(n - 1, dtype=np.int8)),
            lambda: chips.pulse(np.full(n, 2, dtype=np.int8)),
            lambda: chips.write_verify(np.ones(n + 1)),
            lambda: chips.write_verify(bad),
            lambda: chips.write_verify(-np.ones(n)),
            lambda: chips.write_verify(np.ones(n), np.ones(n - 1, dtype=bool)),
        ]
        for call in calls:
            with pytest.raises(ConfigError):
                call()
        after = chips.ledger.state_dict()
        for key, value in before.items():
            np.testing.assert_array_equal(value, after[key])
        chips.close()

    def test_callers_arrays_stay_as_they_are(self) -> None:
        """No operation writes into the arrays it is given."""
        chips = self.ready()
        target, mask = self.target(chips), np.arange(self.cells) % 3 == 0
        direction = (np.arange(self.cells) % 3 - 1).astype(np.int8)
        kept = target.copy(), mask.copy(), direction.copy()
        chips.write_verify(target, mask)
        chips.pulse(direction)
        for array, copy in zip((target, mask, direction), kept, strict=True):
            np.testing.assert_array_equal(array, copy)
        chips.close()

    def test_same_seed_same_result(self) -> None:
        """Two of the same seed agree bit for bit, another seed gives others."""
        if not self.repeatable:
            pytest.skip("the noise is the hardware's")
        one, two, other = (self._worked(self.ready(seed)) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one, two)
        assert (one != other).any()

    def test_a_saved_state_goes_on_bit_for_bit(self) -> None:
        """Another one that loads the state works on exactly as the first; the state is plain arrays."""
        chips = self.ready()
        self._worked(chips)
        state = {key: np.array(value) for key, value in chips.state_dict().items()}
        assert all(value.dtype != object for value in state.values()), "object arrays would need pickle"
        other = self.ready(seed=9) if self.repeatable else chips
        other.load_state_dict(state)
        assert other.n_cells == self.cells
        assert other.ledger.set_pulses == int(chips.ledger.set_pulses)
        if self.repeatable:
            assert other.ledger.summary() == chips.ledger.summary()
            np.testing.assert_array_equal(self._worked(chips), self._worked(other))
            other.close()
        chips.close()

    def test_states_that_do_not_fit_are_refused(self) -> None:
        """An incomplete state, or one of something else, raises ConfigError; the accelerator goes on."""
        chips = self.ready()
        state = chips.state_dict()
        before = chips.ledger.summary()
        for bad in (
            {},
            {key: value for key, value in state.items() if key != "identity"},
            {key: value for key, value in state.items() if key != "ledger.wear"},
            {**state, "identity": pack_json({"accelerator": "another", "preset": "x", "n_cells": 1})},
        ):
            with pytest.raises(ConfigError):
                chips.load_state_dict(bad)
        assert chips.n_cells == self.cells
        assert chips.ledger.summary() == before
        chips.close()

    def test_close_twice(self) -> None:
        """Closing again does nothing."""
        chips = self.ready()
        chips.close()
        chips.close()

    def _worked(self, chips: Accelerator) -> Array:
        """Some work of every kind; everything read on the way."""
        rng = np.random.default_rng(7)
        reads = [chips.read(2)]
        chips.write_verify(self.target(chips))
        reads.append(chips.read(1))
        chips.pulse(rng.integers(-1, 2, self.cells).astype(np.int8))
        reads.append(chips.read(3))
        return np.concatenate(reads)
