"""Memristor cells under a torch optimiser: reference-column mapping and the ways to program a cell.

A weight is the difference between a trainable cell and one fixed reference column that the whole
array shares, ``W = R_wg (G_trainable - G_zero)``, so n outputs need n + 1 columns, not 2 n.
Everything here works on flat numpy arrays of cells, in microsiemens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn import state as files
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu.device import EapuDevice as EapuDevice
from memristor_bdnn.learners.eapu.device import as_device as as_device

Array = npt.NDArray[Any]


def reference_column_cells(shapes: list[tuple[int, int]]) -> int:
    """Cells of a network whose layers (inputs, outputs) share one reference column as tall as the tallest layer.

    The 1-3-3-1 autoencoder with 3x3 kernels, (9, 3), (27, 3), (27, 1), needs 135 + 27 = 162.
    """
    return sum(rows * columns for rows, columns in shapes) + max(rows for rows, _ in shapes)


class Programmer:
    """Writes cells to conductances and counts the pulses; this base class is the bare error model.

    One write lands ``Normal(target, writing_sd_us)`` and counts as one pulse.
    """

    name: ClassVar[str] = "gaussian"

    def __init__(self, device: EapuDevice, cells: int, rng: np.random.Generator) -> None:
        """Draw the cells' individual slopes, thresholds and faults.

        Args:
            device: physics of the cells.
            cells: how many there are.
            rng: source of every random number.
        """
        self.device, self.cells, self.rng = device, cells, rng
        self.pulses = 0
        self.slope = device.slope_us_per_v * (1 + device.slope_spread * self._normal(cells))
        self.onset = device.threshold_v + device.threshold_sd_v * self._normal(cells)
        draw = rng.random(cells)
        self.stuck = np.full(cells, np.nan, np.float32)
        self._stick(draw < device.stuck_off, device.stuck_off_us)
        self._stick(draw >= 1 - device.stuck_on, device.stuck_on_us or (device.g_max_us, device.g_max_us))
        self._any_stuck = bool(np.isfinite(self.stuck).any())

    def _stick(self, where: Array, span_us: tuple[float, float]) -> None:
        low, high = span_us
        self.stuck[where] = low if low == high else self.rng.uniform(low, high, int(where.sum()))

    def extend(self, cells: int) -> None:
        """Add that many cells behind the present ones, with spread and faults of their own."""
        new = type(self)(self.device, cells, self.rng)
        for name in self._arrays():
            setattr(self, name, np.concatenate([getattr(self, name), getattr(new, name)]))
        self.cells += cells
        self._any_stuck = self._any_stuck or new._any_stuck

    def _arrays(self) -> list[str]:
        return sorted(self.state_dict().keys() - {"pulses", "rng"})

    def write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        """Write some cells.

        Args:
            index: (k,) which cells.
            present_us: (k,) what they hold now.
            target_us: (k,) what they should hold; clipped to [g_min_us, g_max_us] where there is a window.

        Returns:
            (k,) what they hold afterwards, stuck cells included.
        """
        if self.windowed:
            target_us = np.clip(target_us, self.device.g_min_us, self.device.g_max_us)
        landed = self._write(index, present_us, target_us)
        if self.windowed:
            np.clip(landed, self.device.g_min_us, self.device.g_max_us, out=landed)
        if self._any_stuck:
            stuck = self.stuck[index]
            landed = np.where(np.isnan(stuck), landed, stuck)
        return landed

    @property
    def windowed(self) -> bool:
        """Whether cells are limited to [g_min_us, g_max_us]; the paper's bare error model has no limits."""
        return self.device.window or type(self) is not Programmer

    @property
    def bare(self) -> bool:
        """Whether a write is nothing but a target and an error: no method, window or fault."""
        return type(self) is Programmer and not self.windowed and not self._any_stuck

    def errors(self, n: int) -> Array:
        """Standard normal errors (n,) of so many writes, which are counted."""
        self.pulses += n
        return self._normal(n)

    def _write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        return self._lose(target_us + self.device.writing_sd_us * self.errors(index.size))

    def _normal(self, n: int) -> Array:
        return self.rng.standard_normal(n, np.float32)

    def _set_from_reset(self, index: Array, voltage: Array) -> Array:
        """Conductance after RESET and one SET at a gate voltage; two pulses."""
        self.pulses += 2 * index.size
        mean = self.slope[index] * (voltage - self.onset[index])
        return np.clip(mean + self.device.cycle_sd_us * self._normal(index.size), 0.0, self.device.g_max_us)

    def _relax(self, landed: Array) -> Array:
        return self._lose(landed + self.device.relaxation_sd_us * self._normal(landed.size))

    def _lose(self, landed: Array) -> Array:
        return landed - self.device.loss_us if self.device.loss_us else landed

    def _nominal_voltage(self, target_us: Array) -> Array:
        return self.device.threshold_v + target_us / self.device.slope_us_per_v

    def state_dict(self) -> dict[str, Array]:
        """Individual cells, generator and counter, as arrays."""
        return {
            "slope": self.slope,
            "onset": self.onset,
            "stuck": self.stuck,
            "pulses": np.array(self.pulses),
            "rng": files.pack_rng(self.rng),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restore :meth:`state_dict` or nothing. Raises ConfigError when it is of other cells or another method."""
        if state.keys() != self.state_dict().keys():
            raise ConfigError(f"saved state was not made by the programming method {self.name!r}")
        if np.shape(state["slope"]) != (self.cells,):
            raise ConfigError(f"saved state has {np.size(state['slope'])} cells, this optimiser {self.cells}")
        for name in self._arrays():  # NaN: a cell that is not stuck, or that remembers no voltage
            files.check_array(f"saved state {name!r}", state[name], shape=(self.cells,), nan=True)
        files.check_array("saved state 'pulses'", state["pulses"], kinds="i", shape=(), low=0)
        files.restore_rng(np.random.Generator(type(self.rng.bit_generator)(0)), state["rng"], "saved state 'rng'")  # type: ignore[call-arg]
        for name in self._arrays():
            getattr(self, name)[:] = state[name]
        self.pulses = int(state["pulses"])
        self._any_stuck = bool(np.isfinite(self.stuck).any())
        files.restore_rng(self.rng, state["rng"])


class TwoPulse(Programmer):
    """RESET, then one SET at the voltage of the nominal curve; nobody looks at the result."""

    name = "two-pulse"

    def _write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        return self._relax(self._set_from_reset(index, self._nominal_voltage(target_us)))


class SignPulse(Programmer):
    """One pulse of fixed strength towards the target: a SET to raise, a RESET to lower."""

    name = "sign-based"

    def _write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        self.pulses += index.size
        step = self.device.tolerance_us * np.sign(target_us - present_us)
        return self._relax(present_us + step + self.device.cycle_sd_us * self._normal(index.size))


class WriteVerify(Programmer):
    """RESET, then SET pulses with a rising gate voltage until the cell reads within tolerance.

    The step of the ramp makes a write cost the 66 pulses that the paper reports, on average.
    Overshoot costs a RESET and a part of the ramp again.
    """

    name = "write-verify"
    step_v: ClassVar[float] = 0.0055  # on cells of 160 uS/V that reach 80 uS

    @property
    def ramp_v(self) -> float:
        """The step of the ramp, which takes the same share of any cell's window."""
        return self.step_v * (160.0 / self.device.slope_us_per_v) * (self.device.g_max_us / 80.0)

    def _write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        d, step_v = self.device, self.ramp_v
        slope, onset = self.slope[index], self.onset[index]
        low, high = target_us - d.tolerance_us, target_us + d.tolerance_us
        # No pulse can land inside the window while its mean is six SDs below it: count those at once.
        start_v = max(d.threshold_v - 3 * d.threshold_sd_v, 0.0)
        skip = ((low - 6 * d.cycle_sd_us) / slope + onset - start_v) / step_v
        skip = np.maximum(np.floor(skip), 0.0)
        self.pulses += index.size + int(skip.sum())
        voltage, held = start_v + skip * step_v, np.zeros_like(target_us)
        active = (held < low).nonzero()[0]
        for _ in range(d.max_pulses):
            if active.size == 0:
                break
            self.pulses += active.size
            voltage[active] += step_v
            aimed = slope[active] * (voltage[active] - onset[active]) + d.cycle_sd_us * self._normal(active.size)
            held[active] = np.maximum(held[active], aimed)
            over = active[held[active] > high[active]]
            self.pulses += over.size
            held[over] = 0.0
            voltage[over] -= 6 * d.cycle_sd_us / slope[over]
            active = active[(held[active] < low[active])]
        return self._relax(held)


class Memorial(Programmer):
    """Memorial programming: start at the gate voltage of the cell's previous write.

    Each try is a RESET and a SET. The first write of a cell finds its voltage by halving the
    interval; later writes shift the remembered voltage by the change wanted and correct it by the
    error read, so that one or two tries are enough.
    """

    name = "memorial"
    limit: ClassVar[int] = 40

    def __init__(self, device: EapuDevice, cells: int, rng: np.random.Generator) -> None:
        """As :class:`Programmer`; no cell remembers a voltage yet."""
        super().__init__(device, cells, rng)
        self.memory = np.full(cells, np.nan, np.float32)
        self.memory_us = np.zeros(cells, np.float32)

    def _write(self, index: Array, present_us: Array, target_us: Array) -> Array:
        landed, fresh = np.empty_like(target_us), np.isnan(self.memory[index])
        for first_time, mask in ((True, fresh), (False, ~fresh)):
            where = mask.nonzero()[0]
            if where.size:
                landed[where] = self._search(index[where], target_us[where], first_time)
        return self._relax(landed)

    def _search(self, index: Array, target_us: Array, first_time: bool) -> Array:
        d = self.device
        if first_time:
            below = np.full_like(target_us, d.threshold_v - 5 * d.threshold_sd_v)
            above = np.full_like(target_us, d.threshold_v + 1.3 * d.g_max_us / d.slope_us_per_v)
            voltage = (below + above) / 2
        else:
            voltage = self.memory[index] + (target_us - self.memory_us[index]) / d.slope_us_per_v
        landed = np.empty_like(target_us)
        active = np.arange(index.size)
        for attempt in range(min(self.limit, max(d.max_pulses // 2, 1))):
            got = self._set_from_reset(index[active], voltage[active])
            landed[active] = got
            error = target_us[active] - got
            wrong = np.abs(error) > d.tolerance_us
            active, error = active[wrong], error[wrong]
            if active.size == 0:
                break
            if first_time and attempt < 8:
                up = error > 0
                below[active] = np.where(up, voltage[active], below[active])
                above[active] = np.where(up, above[active], voltage[active])
                voltage[active] = (below[active] + above[active]) / 2
            else:
                voltage[active] += 0.5 * error / d.slope_us_per_v
        self.memory[index], self.memory_us[index] = voltage, target_us
        return landed

    def state_dict(self) -> dict[str, Array]:
        """As :meth:`Programmer.state_dict`, with the remembered voltages."""
        return {**super().state_dict(), "memory": self.memory, "memory_us": self.memory_us}


PROGRAMMERS: dict[str, type[Programmer]] = {
    cls.name: cls for cls in (Programmer, WriteVerify, TwoPulse, SignPulse, Memorial)
}
"""Programming methods by name."""
