"""What every accelerator does alike: capacity, checks of arguments, the ledger, saved state.

A chip inherits :class:`BaseAccelerator` and writes what only it can: how cells are read and pulsed. Who fills the
ledger is fixed here: this class counts reads; a hook that pulses cells says what it did with :meth:`_book`, once for
every step of its work, and this class refuses a hook that said nothing.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import FloatArray, WriteVerifyReport
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.device.parameters import Retention
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import AcceleratorError, ConfigError, DeviceWarning, MemristorError, UnsupportedError
from memristor_bdnn.state import check_array, pack_json, pack_rng, restore_rng, unpack_json

IntArray = npt.NDArray[np.integer[Any]]
Arrays = dict[str, npt.NDArray[Any]]

_CACHED_RANGES = 4096
"""Ranges of cells whose access counts are remembered."""
_SINCE = ("disturb_ua_per_decade", "disturb_sd_ua_per_decade", "onset_reads")
_BEFORE = {"retention": {name: getattr(Retention(), name) for name in _SINCE}}
"""Fields of a preset with the only value that there was before they were fields: states saved then mean it."""


@dataclass(frozen=True)
class Work:
    """What a hook did to cells, with the read currents (uA) at which it happened; summed over the cells.

    Attributes:
        set_pulses: SET pulses, one cell each; ``set_current_ua`` is the sum of those cells' currents.
        reset_pulses: RESET pulses, with ``reset_current_ua``.
        verify_reads: reads inside programming, one cell each, with ``verify_current_ua``.
        rest_s: time in which the hardware waited, seconds.
    """

    set_pulses: int = 0
    set_current_ua: float = 0.0
    reset_pulses: int = 0
    reset_current_ua: float = 0.0
    verify_reads: int = 0
    verify_current_ua: float = 0.0
    rest_s: float = 0.0


class BaseAccelerator(abc.ABC):
    """Everything of the accelerator protocol that is not the chip itself.

    A subclass sets ``name`` and ``config_type`` and implements :meth:`_read`, :meth:`_pulse` and
    :meth:`_write_verify`; :meth:`_program` where the chip has a blind write; :meth:`_state` and :meth:`_restore`
    for what a checkpoint must hold; :meth:`close` where something is to be released.

    Args:
        preset: nominal physics and geometry of the devices.
        seed: of everything random in a simulated chip.
        config: an instance of ``config_type``; default its defaults.

    Attributes:
        placement: where the cells sit on the preset's chips.
        _rng: the only generator of a simulated chip, saved with its state; None where the noise is the hardware's.

    Raises:
        ConfigError: the seed is no whole number, or negative.
    """

    name: ClassVar[str]
    config_type: ClassVar[type]
    blind_writes: ClassVar[bool] = True
    """Whether such chips can have :meth:`program`; False lets a user be told before any is connected."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` that are not in every saved state."""
    judged: ClassVar[tuple[str, ...]] = ()
    """Arrays of :meth:`_state` that :meth:`_restore` judges itself, since their shape varies or it says more."""

    def __init__(self, preset: DevicePreset, seed: int = 0, config: Any = None) -> None:
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ConfigError(f"seed {seed!r}: expected a whole number, not negative")
        self.preset = preset
        self.seed = int(seed)
        self.config: Any = self.config_type() if config is None else config
        self.placement = Placement.of(preset)
        self.capacity = self.placement.capacity
        self.n_cells = 0
        self.ledger = Ledger(preset)
        self._rng: np.random.Generator | None = None
        self._access_counts: dict[tuple[int, int], int] = {}
        self._told = False
        self._warnings: dict[str, str] = {}

    # -- the protocol -------------------------------------------------------------------------

    def allocate(self, n_cells: int) -> None:
        """Reserve cells 0..n_cells-1; see the protocol. Raises CapacityError naming the cells missing."""
        if n_cells < 1:
            raise ConfigError(f"allocate({n_cells}): at least one cell")
        self.placement.require(n_cells)
        self.n_cells = int(n_cells)
        self.ledger.allocate(self.n_cells)

    def read(self, samples: int = 1, cells: slice | None = None) -> FloatArray:
        """Noisy currents in microampere, shape (samples, cells), float32; see the protocol."""
        start, stop = self._range(cells)
        if samples < 1:
            raise ConfigError(f"read(samples={samples}): at least one")
        reads = np.asarray(self._read(start, stop, samples), dtype=np.float32)
        current = self._current_sum_ua(start, stop, reads)
        self.ledger.count_reads(stop - start, current, self._accesses(start, stop), samples)
        return reads

    def pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """Single pulses, +1 SET, -1 RESET, 0 none, shape (n_cells,); see the protocol."""
        self._range(None)
        direction = np.asarray(direction)
        if direction.shape != (self.n_cells,):
            raise ConfigError(f"pulse: expected shape ({self.n_cells},), got {direction.shape}")
        if direction.dtype.kind not in "iu" or direction.min() < -1 or direction.max() > 1:
            bad = np.setdiff1d(direction, [-1, 0, 1]) if direction.dtype.kind in "iu" else [direction.dtype.name]
            raise ConfigError(f"pulse: direction {bad[0]!r} is not one of +1 (SET), -1 (RESET), 0 (none)")
        self._told = False
        self._pulse(direction)
        self._check_told("_pulse")

    def write_verify(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> WriteVerifyReport:
        """Closed-loop programming; the report compares what the cells read afterwards. See the protocol."""
        cells, target = self._targets(target_ua, mask)
        before = self.ledger.set_pulses + self.ledger.reset_pulses
        self._told = False
        error = self._write_verify(cells, target) - target
        self._check_told("_write_verify")
        within = np.abs(error) <= self.preset.write_verify.tolerance_ua
        return WriteVerifyReport(
            cells=cells.size,
            within_tolerance=int(within.sum()),
            pulses=self.ledger.set_pulses + self.ledger.reset_pulses - before,
            mean_error_ua=float(error.mean()) if cells.size else 0.0,
            sd_error_ua=float(error.std()) if cells.size else 0.0,
            correlation=_correlation(error + target, target),
        )

    def program(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """One blind write of every masked cell; see the protocol. Raises UnsupportedError where there is none."""
        cells, target = self._targets(target_ua, mask)
        self._told = False
        self._program(cells, target)
        self._check_told("_program")

    def state_dict(self) -> Arrays:
        """The chip's own arrays, the ledger, the generator, and by what the chip is recognised."""
        state = dict(self._state())
        state.update({f"ledger.{key}": value for key, value in self.ledger.state_dict().items()})
        if self._rng is not None:
            state["rng"] = pack_rng(self._rng)
        state["identity"] = pack_json(
            {"accelerator": self.name, "preset": self.preset.to_dict(), "n_cells": self.n_cells}
        )
        return state

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`; all or nothing. Raises ConfigError when it is of another preset or damaged."""
        if "identity" not in state:
            raise ConfigError(f"no state of accelerator {self.name!r}: identity missing")
        n_cells = self._recognise(unpack_json(state["identity"], "identity"))
        before = self.state_dict()
        self._compare(state, before, n_cells)
        counts = {key[len("ledger.") :]: value for key, value in state.items() if key.startswith("ledger.")}
        ledger = Ledger(self.preset)
        ledger.load_state_dict(counts)
        rng: np.random.Generator | None = None
        if self._rng is not None:
            rng = np.random.Generator(type(self._rng.bit_generator)(0))  # type: ignore[call-arg]
            restore_rng(rng, state["rng"], "rng")
        if ledger.wear.size != n_cells:
            raise ConfigError(f"damaged state: ledger.wear of {ledger.wear.size} cells, {n_cells} are allocated")
        try:
            self._restore(_own(state), n_cells)
        except Exception as error:  # a chip of another package may fail in any way, and half way through
            self._restore(_own(before), self.n_cells)
            if isinstance(error, MemristorError):
                raise
            raise ConfigError(f"damaged state of accelerator {self.name!r}: {type(error).__name__}: {error}") from error
        self.ledger.load_state_dict(counts)
        self._rng, self.n_cells = rng, n_cells

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the hardware gave reason to say so far, with figures; a learner's report holds it too."""
        return tuple(self._warnings.values())

    def close(self) -> None:  # noqa: B027
        """Nothing to release, unless overridden; safe to call twice."""

    # -- what a chip writes -------------------------------------------------------------------

    @abc.abstractmethod
    def _read(self, start: int, stop: int, samples: int) -> FloatArray:
        """Independent noisy reads of cells start..stop-1 in uA, shape (samples, stop - start); counted for you."""

    @abc.abstractmethod
    def _pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """Single pulses in directions (n_cells,) of -1, 0, +1; then :meth:`_book` (see :meth:`_pulses_of`)."""

    @abc.abstractmethod
    def _write_verify(self, cells: IntArray, target_ua: FloatArray) -> FloatArray:
        """Program cells (n,), each once, to targets (n,); :meth:`_book` it, the last reads included.

        Returns:
            What the cells read afterwards, uA, (n,).
        """

    def _program(self, cells: IntArray, target_ua: FloatArray) -> None:
        """One blind write of cells (n,) towards targets (n,); then :meth:`_book`."""
        raise UnsupportedError(
            f"accelerator {self.name} has no blind write: use write_verify, or a learner that needs no program()"
        )

    def _state(self) -> Arrays:
        """The chip's own arrays for a checkpoint; no name may be identity, rng or begin with ``ledger.``."""
        return {}

    def _restore(self, arrays: Arrays, n_cells: int) -> None:  # noqa: B027
        """Take over :meth:`_state` for ``n_cells`` allocated cells; what is not in ``judged`` is there and fits.

        Raises:
            ConfigError: it is damaged; nothing was changed.
        """

    def _current_sum_ua(self, start: int, stop: int, reads: FloatArray) -> float:
        """Sum of the currents at which cells start..stop-1 were read, per sample: what was read, on average."""
        return float(reads.sum(dtype=np.float64)) / len(reads)

    # -- what a chip may call -----------------------------------------------------------------

    def _book(self, work: Work, cells: IntArray | None = None, pulses: Any = 0) -> bool:
        """Count work in the ledger.

        Args:
            work: what was done.
            cells: cells that were pulsed, none twice; default all allocated ones.
            pulses: how many pulses each of them got: a number, or an array.

        Returns:
            Whether the wear of some cell may now be above the preset's endurance, for simulations that let cells fail.
        """
        self._told = True
        self.ledger.count_pulses(work.set_pulses, work.set_current_ua, work.reset_pulses, work.reset_current_ua)
        self.ledger.count_verify_reads(work.verify_reads, work.verify_current_ua)
        self.ledger.add_latency(work.rest_s)
        if cells is not None and cells.size == 0:
            return False
        where = slice(0, self.n_cells) if cells is None else cells
        return self.ledger.add_wear(where, pulses) > self.preset.wear.endurance

    @staticmethod
    def _pulses_of(direction: npt.NDArray[np.int8], current_ua: FloatArray) -> Work:
        """The work of single pulses in directions (n,) on cells that read these currents (n,) before, uA."""
        up, down = direction > 0, direction < 0
        sums = [float(np.sum(current_ua[where], dtype=np.float64)) for where in (up, down)]
        return Work(int(up.sum()), sums[0], int(down.sum()), sums[1])

    def _warn(self, kind: str, text: str) -> None:
        """Say something about the hardware: kept in :attr:`warnings`, the first of its kind given as DeviceWarning."""
        if kind not in self._warnings:
            warnings.warn(text, DeviceWarning, stacklevel=2)
        self._warnings[kind] = text

    def _range(self, cells: slice | None) -> tuple[int, int]:
        """First cell and the one after the last of a contiguous range. Raises ConfigError before allocate()."""
        if self.n_cells == 0:
            raise ConfigError("no cells allocated: call allocate(n_cells) first")
        if cells is None:
            return 0, self.n_cells
        start, stop, step = cells.indices(self.n_cells)
        if step != 1:
            raise ConfigError(f"read(cells={cells}): only contiguous ranges (step 1)")
        return start, max(start, stop)

    # -- inside -------------------------------------------------------------------------------

    def _targets(
        self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
        """Numbers of the selected cells and their targets, checked."""
        self._range(None)
        target = np.asarray(target_ua)
        if target.shape != (self.n_cells,):
            raise ConfigError(f"target_ua: expected shape ({self.n_cells},), got {target.shape}")
        if mask is not None and np.asarray(mask).shape != (self.n_cells,):
            raise ConfigError(f"mask: expected shape ({self.n_cells},), got {np.asarray(mask).shape}")
        cells = np.arange(self.n_cells) if mask is None else np.flatnonzero(mask)
        bad = np.flatnonzero(~(np.isfinite(target[cells]) & (target[cells] >= 0)))
        if bad.size:
            first = cells[bad[0]]
            raise ConfigError(f"target_ua[{first}] = {target[first]!r}: expected a finite current in uA, not negative")
        return cells, target[cells]

    def _accesses(self, start: int, stop: int) -> int:
        """How often the channels switch to read these cells once; each takes one read time."""
        key = (start, stop)
        if key not in self._access_counts:
            if len(self._access_counts) >= _CACHED_RANGES:
                self._access_counts.clear()
            self._access_counts[key] = self.placement.accesses(start, stop)
        return self._access_counts[key]

    def _check_told(self, hook: str) -> None:
        if not self._told:
            raise AcceleratorError(f"accelerator {self.name!r}: {hook} did not _book() what it did to the cells")

    def _compare(self, state: Mapping[str, npt.NDArray[Any]], like: Arrays, n_cells: int) -> None:
        """Refuse a saved state whose arrays are not those that these chips would save, by name, type and shape."""
        missing = [key for key in like if key not in state and key not in (*self.optional, *self.judged)]
        unknown = [key for key in state if key not in like and key not in self.optional]
        for names, what in ((missing, "missing"), (unknown, "unknown")):
            if names:
                raise ConfigError(f"damaged state of accelerator {self.name!r}: {', '.join(sorted(names))} {what}")
        for key, value in _own(state).items():
            own = np.asarray(like.get(key, value))
            if key in self.judged or own.dtype.kind not in "biuf":
                continue
            # Arrays of the allocated cells are shorter or longer when other cells are allocated; _restore judges them.
            shape = own.shape if n_cells == self.n_cells else None
            check_array(key, value, kinds=own.dtype.kind, shape=shape, nan=True)

    def _recognise(self, identity: Any) -> int:
        """Number of allocated cells in a saved state of these chips; raises ConfigError for others."""
        if not isinstance(identity, dict) or not {"preset", "n_cells"} <= identity.keys():
            raise ConfigError(f"damaged state of accelerator {self.name!r}: its identity has no preset or n_cells")
        if identity.get("accelerator", self.name) != self.name:
            raise ConfigError(f"the state was saved by accelerator {identity['accelerator']!r}, this is {self.name!r}")
        preset, n_cells = identity["preset"], identity["n_cells"]
        if _completed(preset) != self.preset.to_dict():
            name = preset.get("name") if isinstance(preset, dict) else preset
            raise ConfigError(
                f"the state was saved with preset {name!r} and does not fit this accelerator's {self.preset.name!r};"
                " load it with the same preset"
            )
        if not isinstance(n_cells, int) or isinstance(n_cells, bool) or not 0 <= n_cells <= self.capacity:
            raise ConfigError(f"damaged state: n_cells = {n_cells!r}, allowed 0..{self.capacity}")
        return n_cells


def _completed(preset: Any) -> Any:
    """A saved preset with the fields that it is too old to have."""
    if not isinstance(preset, dict):
        return preset
    topics = {name: {**old, **preset[name]} for name, old in _BEFORE.items() if isinstance(preset.get(name), dict)}
    return {**preset, **topics}


def _correlation(read: npt.NDArray[Any], target: npt.NDArray[Any]) -> float:
    """Of reads (n,) with targets (n,); NaN where one of them does not vary."""
    read, target = np.asarray(read, np.float64), np.asarray(target, np.float64)
    if read.size < 2 or np.ptp(read) == 0 or np.ptp(target) == 0:
        return float("nan")
    return float(np.corrcoef(read, target)[0, 1])


def _own(state: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Of a saved state what :meth:`BaseAccelerator._state` gave."""
    return {k: v for k, v in state.items() if k not in ("identity", "rng") and not k.startswith("ledger.")}
