"""The cells of all chips: their states and everything that moves them, vectorised over cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.noise import Float32, laplace_reads, standard_normals
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.device.transitions import Windows, single_pulses
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array

IntArray = npt.NDArray[np.integer[Any]]

STUCK_LOW, HEALTHY, STUCK_HIGH = -1, 0, 1
_RANGES = {
    "state_ua": (0.0, 1000.0),
    "low_ua": (0.0, 1000.0),
    "high_ua": (0.0, 1000.0),
    "stuck": (STUCK_LOW, STUCK_HIGH),
    "factor": (0.0, 1000.0),
    "rate_ua": (-1000.0, 1000.0),
    "age_s": (0.0, 1e15),
    "gate_ua": (-1000.0, 1000.0),
    "disturb_ua": (-1000.0, 1000.0),
    "read_count": (0.0, 2.0**60),
}
"""What a saved state may hold: no cell carries a milliampere at the read voltage."""
_PULSED_AT_ONCE = 1 << 16
"""Cells of a full pass that are pulsed at a time: what a pulse needs of them stays in the cache."""


class CellArray:
    """Simulated cells with their own window, faults, drift rate, disturb by reads and wear.

    Arrays have shape (cells,). States change only through :meth:`move`, because the noise scale of the last range
    read is kept until then.
    """

    SAVED = ("state_ua", "low_ua", "high_ua", "stuck", "factor", "rate_ua", "age_s", "gate_ua")
    """Arrays of a saved state."""
    SAVED_IF_DISTURBED = ("disturb_ua", "read_count")
    """Those that are there too where the preset has cells disturbed by reads."""

    def __init__(self, preset: DevicePreset, n: int, rng: np.random.Generator, noise_factor: float = 1.0) -> None:
        """Fabricate ``n`` cells: windows, faults, blind-write factors and drift rates come from ``rng``.

        Args:
            preset: the technology.
            n: number of cells.
            rng: generator of the fabrication; not kept.
            noise_factor: multiplies the read noise, for studies (0: none).
        """
        self.preset = preset
        self._noise_factor = np.float32(noise_factor)
        (low, high), (low_sd, high_sd) = preset.window_ua, preset.window_sd_ua
        self.low_ua = np.maximum(_normal(rng, n, low, low_sd), np.float32(preset.read_noise.floor_ua))
        self.high_ua = np.maximum(_normal(rng, n, high, high_sd), self.low_ua)
        faults = preset.faults
        lot = rng.random(n)
        self.stuck = np.where(
            lot < faults.stuck_low,
            STUCK_LOW,
            np.where(lot < faults.stuck_low + faults.stuck_high, STUCK_HIGH, HEALTHY),
        ).astype(np.int8)
        self._broken = np.flatnonzero(self.stuck != HEALTHY)
        self._windows = Windows.of(self.low_ua, self.high_ua)
        self.factor = np.maximum(_normal(rng, n, 1.0, preset.blind_write.device_spread), np.float32(0.05))
        retention = preset.retention
        self.drifts, self.disturbed = retention.drifts, retention.disturbs
        self.rate_ua = _normal(rng, n, retention.rate_ua_per_decade, retention.rate_sd_ua_per_decade)
        self.age_s = np.zeros(n)
        self.gate_ua = np.full(n, np.nan, dtype=np.float32)
        """Gate setting of the last verified write (as the median it aims at), NaN before the first."""
        self.state_ua: Float32 = np.maximum(
            _normal(rng, n, *preset.fresh_ua), np.float32(preset.write_verify.reach_ua[0])
        )
        self._noise: Float32 = np.empty(0, dtype=np.float32)
        self._noise_of: tuple[int, int] | None = None
        self.break_cells(np.flatnonzero(self.stuck == STUCK_LOW), STUCK_LOW, rng)
        self.break_cells(np.flatnonzero(self.stuck == STUCK_HIGH), STUCK_HIGH, rng)
        if self.disturbed:  # drawn last and only then: other presets give the cells they always gave
            self.disturb_ua = _normal(rng, n, retention.disturb_ua_per_decade, retention.disturb_sd_ua_per_decade)
            self.read_count: npt.NDArray[np.int64] = np.zeros(n, dtype=np.int64)
            """Reads of every cell since its last pulse."""

    @property
    def saved(self) -> tuple[str, ...]:
        """Names of the arrays of a saved state of these cells."""
        return (*self.SAVED, *self.SAVED_IF_DISTURBED) if self.disturbed else self.SAVED

    def move(self, cells: IntArray | slice, state_ua: npt.NDArray[Any]) -> None:
        """Put cells into new states (already clipped)."""
        self.state_ua[cells] = state_ua
        self._noise_of = None

    def noise_ua(self, cells: IntArray | slice) -> Float32:
        """Scale b of the read noise of some cells in their present states, microampere."""
        noise = np.asarray(self.preset.read_noise_scale_ua(self.state_ua[cells]), dtype=np.float32)
        return noise if self._noise_factor == 1 else noise * self._noise_factor

    def break_cells(self, cells: IntArray, kind: int, rng: np.random.Generator) -> None:
        """Make cells stuck (``STUCK_LOW`` or ``STUCK_HIGH``) at a current drawn from the preset's range."""
        low, high = self.preset.faults.low_ua if kind == STUCK_LOW else self.preset.faults.high_ua
        self.stuck[cells] = kind
        self._broken = np.flatnonzero(self.stuck != HEALTHY)
        self.move(cells, rng.uniform(low, high, len(cells)))

    def read(self, start: int, stop: int, samples: int, rng: np.random.Generator) -> Float32:
        """Independent noisy reads of cells start..stop-1 in uA, shape (samples, stop - start), float32."""
        if self._noise_of != (start, stop):
            self._noise, self._noise_of = self.noise_ua(slice(start, stop)), (start, stop)
        reads = laplace_reads(self.state_ua[start:stop], self._noise, samples, self.preset.read_noise.floor_ua, rng)
        self.disturb(slice(start, stop), samples)
        return reads

    def read_cells(self, cells: IntArray, samples: int, rng: np.random.Generator) -> Float32:
        """As :meth:`read` for cells given by number, shape (samples, len(cells))."""
        noise = self.noise_ua(cells)
        reads = laplace_reads(self.state_ua[cells], noise, samples, self.preset.read_noise.floor_ua, rng)
        self.disturb(cells, samples)
        return reads

    def pulse(self, cells: IntArray, up: bool, rng: np.random.Generator) -> None:
        """One SET (``up``) or RESET pulse on each cell; see :func:`single_pulses`.

        Stuck cells stay (pulses go in vain); repeated numbers in ``cells`` are not allowed. One call for many
        cells gives the same states as one call for each in the same order.
        """
        direction = np.full(len(cells), 1.0 if up else -1.0, dtype=np.float32)
        self._pulse_gathered(cells, self.state_ua[cells], direction, rng)

    def pulse_masked(self, direction: npt.NDArray[Any], rng: np.random.Generator) -> tuple[int, float, int, float]:
        """Single pulses on cells 0..n-1: +1 SET, -1 RESET, 0 none.

        Where less than a quarter of the cells is pulsed this is :meth:`pulse` on the SET cells, then on the RESET
        cells; otherwise one pass over all cells, a stretch of 65,536 after the other.

        Args:
            direction: shape (n,), n at most the number of cells.
            rng: all randomness.

        Returns:
            SET pulses, sum of the read currents (uA) they were given at, and the same for RESET.
        """
        n, given = direction.size, direction != 0
        pulses = int(np.count_nonzero(given))
        if 4 * pulses < n:
            cells = np.flatnonzero(given)
            return self.pulse_few(cells, direction[cells], rng)
        set_pulses, signed, total = int(np.count_nonzero(direction > 0)), 0.0, 0.0
        for start in range(0, n, _PULSED_AT_ONCE):
            part = slice(start, min(start + _PULSED_AT_ONCE, n))
            sums_ua = self._pulse_part(part, direction[part].astype(np.float32), pulses == n, rng)
            signed, total = signed + sums_ua[0], total + sums_ua[1]
        self._noise_of = None
        if self.drifts or self.disturbed:
            self._begin_anew(np.flatnonzero(given))
        return set_pulses, 0.5 * (total + signed), pulses - set_pulses, 0.5 * (total - signed)

    def pulse_few(
        self, cells: IntArray, direction: npt.NDArray[Any], rng: np.random.Generator
    ) -> tuple[int, float, int, float]:
        """As :meth:`pulse_masked`, of cells given by number (k,), ascending, and directions (k,), none of them 0."""
        rising = direction > 0
        up = int(np.count_nonzero(rising))
        cells = np.concatenate([cells[rising], cells[~rising]])
        state, signs = self.state_ua[cells], np.ones(cells.size, np.float32)
        signs[up:] = -1.0
        sums = [float(part.sum(dtype=np.float64)) for part in (state[:up], state[up:])]
        self._pulse_gathered(cells, state, signs, rng)
        return up, sums[0], cells.size - up, sums[1]

    def _pulse_gathered(self, cells: IntArray, state: Float32, signs: Float32, rng: np.random.Generator) -> None:
        """Pulses with signs (k,) on cells (k,) in these states, drawn for in the order given."""
        normals = rng.standard_normal(state.size, dtype=np.float32)
        windows = Windows.of(self.low_ua[cells], self.high_ua[cells])
        self._settle(cells, single_pulses(self.preset, state, windows, signs, normals, everyone=True), state)

    def _pulse_part(self, part: slice, signs: Float32, everyone: bool, rng: np.random.Generator) -> tuple[float, float]:
        """Pulses with signs (n,) on a stretch of cells; the sums of D I and |D| I before, D the sign, uA."""
        state = self.state_ua[part]
        signed = float(np.einsum("i,i", signs, state))
        total = float(state.sum() if everyone else np.einsum("i,i", np.abs(signs), state))
        normals = standard_normals(rng, state.size)
        moved = single_pulses(self.preset, state, self._windows.part(part), signs, normals, everyone=everyone)
        first, last = np.searchsorted(self._broken, (part.start, part.stop))
        broken = self._broken[first:last] - part.start
        moved[broken] = state[broken]
        self.state_ua[part] = moved
        return signed, total

    def small_pulse(self, cells: IntArray, up: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
        """One small write-verify pulse on each cell, upwards where ``up``; step sizes are gamma distributed."""
        verify = self.preset.write_verify
        state = self.state_ua[cells]
        step = np.maximum(verify.step_ua + verify.step_linear * state, 0)
        if verify.step_cv > 0:
            shape = 1.0 / verify.step_cv**2
            step *= rng.standard_gamma(shape, size=state.size, dtype=np.float32) / np.float32(shape)
        moved = np.clip(state + np.where(up, step, -step), *verify.reach_ua)
        self._settle(cells, moved, state)

    def blind_write(self, cells: IntArray, gate_ua: npt.NDArray[Any], rng: np.random.Generator) -> None:
        """RESET, then SET at the gate voltage of median ``gate_ua``: Normal(median factor, SD^2) per cell.

        The result is kept above zero but not within the window: the spread of the SET decides where it lands.
        """
        median = np.asarray(gate_ua) * self.factor[cells]
        drawn = median + self.preset.blind_sd_ua(median) * rng.standard_normal(len(cells))
        floor = self.preset.read_noise.floor_ua
        self._settle(cells, np.maximum(drawn, floor).astype(np.float32), self.state_ua[cells])

    def relax(self, cells: IntArray, rng: np.random.Generator) -> None:
        """Relaxation after a verified write: mean loss, core spread and tail jumps of the preset."""
        r = self.preset.relaxation
        state = self.state_ua[cells]
        loss = r.mean_constant_ua + r.mean_linear * state
        sd = np.maximum(r.sd_constant_ua + r.sd_linear * state, 0)
        moved = state - loss + sd * rng.standard_normal(state.size, dtype=np.float32)
        share = np.clip(r.tail_constant + state * (r.tail_linear_per_ua + r.tail_quadratic_per_ua2 * state), 0, 1)
        tail = np.flatnonzero(rng.random(state.size) < share)
        jump = rng.exponential(r.tail_scale_ua, tail.size)
        moved[tail] += np.where(rng.random(tail.size) < r.tail_down, -jump, jump).astype(np.float32)
        lowest = np.minimum(state, np.float32(self.preset.write_verify.reach_ua[0]))
        self._settle(cells, np.maximum(moved, lowest), state)

    def wait(self, cells: slice, seconds: float) -> None:
        """Let time pass: every healthy cell drifts down by its rate per decade of its age, not below zero.

        Raises:
            ConfigError: negative or non-finite time.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"wait({seconds!r}): expected a finite time in seconds, not negative")
        onset = self.preset.retention.onset_s
        before = np.log10(1 + self.age_s[cells] / onset)
        self.age_s[cells] += seconds
        decades = np.log10(1 + self.age_s[cells] / onset) - before
        drift = np.where(self.stuck[cells] == HEALTHY, self.rate_ua[cells] * decades, 0.0)
        floor = self.preset.read_noise.floor_ua
        self.move(cells, np.maximum(self.state_ua[cells] - drift, np.minimum(floor, self.state_ua[cells])))

    def disturb(self, cells: IntArray | slice, reads: int) -> None:
        """What ``reads`` reads of each cell (none twice) leave behind: healthy cells move as the preset's disturb says.

        Not below zero, and not above the cell's own window unless it was there. Nothing where disturb is off.
        """
        if not self.disturbed:
            return
        onset = self.preset.retention.onset_reads
        before = np.log10(1 + self.read_count[cells] / onset)
        self.read_count[cells] += reads
        decades = np.log10(1 + self.read_count[cells] / onset) - before
        state = self.state_ua[cells]
        rise = np.where(self.stuck[cells] == HEALTHY, self.disturb_ua[cells] * decades, 0.0)
        floor = self.preset.read_noise.floor_ua
        low, high = np.minimum(floor, state), np.maximum(self.high_ua[cells], state)
        self.move(cells, np.clip(state + rise, low, high))

    def wear_out(self, cells: IntArray, wear: IntArray, rng: np.random.Generator) -> None:
        """Break pulsed cells whose pulse count ``wear`` is beyond the endurance, with the preset's chance."""
        c = self.preset.wear
        tired = cells[(wear > c.endurance) & (self.stuck[cells] == HEALTHY)]
        if tired.size == 0:
            return
        failed = tired[rng.random(tired.size) < c.failure_probability]
        low = rng.random(failed.size) < c.stuck_low_share
        self.break_cells(failed[low], STUCK_LOW, rng)
        self.break_cells(failed[~low], STUCK_HIGH, rng)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all arrays that make up the state."""
        return {name: getattr(self, name).copy() for name in self.saved}

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`.

        Raises:
            ConfigError: an array is missing or unknown, is not of these cells' shape and type, or holds what no cell
                can; nothing was changed.
        """
        unknown = sorted(state.keys() - set(self.saved))
        if unknown:
            raise ConfigError(f"cell state: {', '.join(unknown)} unknown")
        for name in self.saved:
            own = getattr(self, name)
            if name not in state or state[name].shape != own.shape or state[name].dtype != own.dtype:
                found = f"{state[name].dtype} {state[name].shape}" if name in state else "nothing"
                raise ConfigError(f"cell state {name!r}: expected {own.dtype} {own.shape}, found {found}")
            low, high = _RANGES[name]
            check_array(f"cell state {name!r}", state[name], kinds="fi", low=low, high=high, nan=name == "gate_ua")
        upside_down = np.flatnonzero(state["low_ua"] > state["high_ua"])
        if upside_down.size:
            raise ConfigError(f"cell state 'low_ua'[{upside_down[0]}] lies above 'high_ua', expected below")
        for name in self.saved:
            setattr(self, name, state[name].copy())
        self._broken = np.flatnonzero(self.stuck != HEALTHY)
        self._windows = Windows.of(self.low_ua, self.high_ua)
        self.move(slice(None), self.state_ua)

    def _settle(self, cells: IntArray, moved: Float32, state: Float32) -> None:
        """Write new states of pulsed cells; stuck cells keep theirs. Their age starts again."""
        stuck = self.stuck[cells]
        if stuck.any():
            moved = np.where(stuck == HEALTHY, moved, state)
        self.move(cells, moved)
        self._begin_anew(cells)

    def _begin_anew(self, cells: IntArray) -> None:
        """Age and reads of pulsed cells start again."""
        self.age_s[cells] = 0.0
        if self.disturbed:
            self.read_count[cells] = 0


def _normal(rng: np.random.Generator, n: int, mean: float, sd: float) -> Float32:
    drawn: Float32 = (mean + sd * rng.standard_normal(n)).astype(np.float32)
    return drawn
