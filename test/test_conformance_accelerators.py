"""The accelerator suite against simulated chips of every preset, an emulated board, and chips that break a rule."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.base import BaseAccelerator, Work
from memristor_bdnn.config import check
from memristor_bdnn.device import presets
from memristor_bdnn.errors import AcceleratorError, ConfigError
from memristor_bdnn.testing import AcceleratorConformance


class TestSimulated(AcceleratorConformance):
    accelerator = "simulated"

    @pytest.fixture(params=presets.NAMES, autouse=True)
    def _preset(self, request):
        self.preset = request.param
        low, high = presets.load(request.param).window_ua
        self.median_error_ua = 0.1 * (high - low)


class TestSimulatedWithConverter(AcceleratorConformance):
    accelerator = "simulated"
    options: ClassVar = {"adc": True}


class TestEmulatedBoard(AcceleratorConformance):
    accelerator = "escim"
    repeatable = False
    cells = 64

    @pytest.fixture(autouse=True)
    def _board(self):
        self.running = []
        yield
        for stop in self.running:
            stop()

    def make(self, seed=0, **changes):
        from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
        from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
        from memristor_bdnn.emulator.server import BoardResponder, Server

        faults = FaultInjector(FaultConfig(), 3)
        server = Server(BoardResponder(EmulatedBoard(EmulatorConfig(seed=seed)), faults), faults=faults)
        self.running.append(server.start().stop)
        return accelerator.create(
            "escim", host=server.host, port=server.port, abort_port=server.abort_port, reset_by="cfg_reg", **changes
        )


@dataclass(frozen=True)
class PlainConfig:
    def __post_init__(self):
        check(self)


class Plain(BaseAccelerator):
    """A chip whose faults the tests put in."""

    name = "plain"
    config_type = PlainConfig

    def __init__(self, preset, seed=0, config=None):
        super().__init__(preset, seed, config)
        self._rng = np.random.default_rng(seed)
        self.state = np.full(self.capacity, np.mean(preset.window_ua))

    def _read(self, start, stop, samples):
        return self.state[start:stop] + 0.05 * self._rng.normal(size=(samples, stop - start))

    def _pulse(self, direction):
        work = self._pulses_of(direction, self.state[: self.n_cells])
        self.state[: self.n_cells] += 0.2 * direction
        self._book(work, pulses=direction != 0)

    def _write_verify(self, cells, target_ua):
        current = float(self.state[cells].sum())
        self.state[cells] = target_ua
        work = Work(set_pulses=cells.size, set_current_ua=current, verify_reads=cells.size, verify_current_ua=current)
        self._book(work, cells, 1)
        return self._read(0, self.n_cells, 1)[0][cells]

    def _state(self):
        return {"state": self.state.copy()}

    def _restore(self, arrays, n_cells):
        if np.shape(arrays.get("state")) != self.state.shape:
            raise ConfigError("damaged state: 'state' is missing or has another shape")
        self.state = arrays["state"].copy()


class Of(AcceleratorConformance):
    accelerator = "plain"

    def __init__(self, chip):
        self.chip = chip

    def make(self, seed=0, **changes):
        return self.chip(presets.load(self.preset), seed)


PLAIN = [name for name in vars(AcceleratorConformance) if name.startswith("test_")]
REGISTERED = ("test_is_listed_and_follows_the_protocol", "test_configuration_is_a_validated_frozen_dataclass")


@pytest.mark.parametrize("test", [name for name in PLAIN if name not in REGISTERED])
def test_a_chip_on_the_base_class_passes(test):
    getattr(Of(Plain), test)()


class Silent(Plain):
    def _pulse(self, direction):
        self.state[: self.n_cells] += 0.2 * direction


class Forgetful(Plain):
    def _pulse(self, direction):
        self._book(Work())
        self.state[: self.n_cells] += 0.2 * direction


class Reversed(Plain):
    def _pulse(self, direction):
        super()._pulse(-direction)


class Frozen(Plain):
    def _read(self, start, stop, samples):
        return np.repeat(super()._read(start, stop, 1), samples, axis=0)


class Boastful(Plain):
    def _write_verify(self, cells, target_ua):
        super()._write_verify(cells, target_ua)
        self.state[cells] += 3.0
        return target_ua


class Lossy(Plain):
    def _restore(self, arrays, n_cells):
        pass


@pytest.mark.parametrize(
    ("chip", "test", "error"),
    [
        (Silent, "the_ledger_counts_every_operation", AcceleratorError),
        (Forgetful, "the_ledger_counts_every_operation", AssertionError),
        (Reversed, "pulses_move_their_cells_the_right_way_and_no_others", AssertionError),
        (Frozen, "every_read_is_a_sample_of_its_own", AssertionError),
        (Boastful, "write_verify_reaches_its_targets_and_tells_the_truth", AssertionError),
        (Lossy, "a_saved_state_goes_on_bit_for_bit", AssertionError),
    ],
)
def test_a_chip_that_breaks_a_rule_fails(chip, test, error):
    with pytest.raises(error):
        getattr(Of(chip), f"test_{test}")()


def test_classes_that_are_no_plugins_are_refused_with_what_they_lack():
    with pytest.raises(ConfigError, match="config_type"):
        accelerator._check("mine", dict)
    with pytest.raises(ConfigError, match="both must be the same"):
        accelerator._check("mine", Plain)
