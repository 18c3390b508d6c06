"""Counts every operation on the devices, with its energy, its time and the wear it causes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

_COUNTERS = ("reads", "set_pulses", "reset_pulses", "verify_reads", "adc_conversions")
_SUMS = ("device_energy_j", "system_energy_j", "latency_s")


@dataclass(frozen=True)
class LedgerSummary:
    """Totals since the beginning or since a snapshot.

    Attributes:
        reads: cell reads for inference or learning (one cell, one sample).
        set_pulses: SET pulses, one cell each.
        reset_pulses: RESET pulses, one cell each.
        verify_reads: cell reads inside programming.
        adc_conversions: conversions; one for every read and verify read.
        device_energy_j: energy in the cells alone.
        system_energy_j: the same with converters, amplifiers, drivers and controller.
        latency_s: time on the hardware, operations in sequence.
        max_wear: most pulses given to one cell.
        mean_wear: pulses per allocated cell.
    """

    reads: int
    set_pulses: int
    reset_pulses: int
    verify_reads: int
    adc_conversions: int
    device_energy_j: float
    system_energy_j: float
    latency_s: float
    max_wear: int
    mean_wear: float


@dataclass(frozen=True)
class LedgerSnapshot:
    """A moment of a ledger: totals and the pulses of every cell, shape (cells,)."""

    totals: LedgerSummary
    wear: npt.NDArray[np.int64]


class Ledger:
    """Running totals over the allocated cells of one accelerator.

    Energy of a pulse is V I t with the preset's voltage V and width t and the cell's current at that voltage,
    taken as ohmic: I = I_read V / V_read. Energy of a read is V_read I t_read. Converters, amplifiers, drivers
    and controller follow :class:`memristor_bdnn.device.parameters.Periphery`.
    """

    def __init__(self, preset: DevicePreset, n_cells: int = 0) -> None:
        """A ledger at zero for the operations of ``preset``'s devices on ``n_cells`` cells."""
        self.reads = self.set_pulses = self.reset_pulses = self.verify_reads = self.adc_conversions = 0
        self.device_energy_j = self.system_energy_j = self.latency_s = 0.0
        self.wear: npt.NDArray[np.int64] = np.zeros(n_cells, dtype=np.int64)
        """Pulses given to every allocated cell, shape (n_cells,)."""
        self._wear_bound = 0
        self._preset = preset
        periphery = preset.periphery
        self._read_j_per_ua = preset.read_voltage_v * 1e-6 * periphery.read_time_s
        self._conversion_j = periphery.adc_energy_j + periphery.amplifier_power_w * periphery.read_time_s
        self._set_j_per_ua = _pulse_energy_per_ua(preset, preset.set_pulse.voltage_v, preset.set_pulse.width_s)
        self._reset_j_per_ua = _pulse_energy_per_ua(preset, preset.reset_pulse.voltage_v, preset.reset_pulse.width_s)

    @property
    def max_wear(self) -> int:
        """Most pulses given to one cell."""
        return int(self.wear.max()) if self.wear.size else 0

    @property
    def mean_wear(self) -> float:
        """Pulses per allocated cell."""
        return float(self.wear.mean()) if self.wear.size else 0.0

    def allocate(self, n_cells: int) -> None:
        """Grow the wear record to ``n_cells`` cells; what was counted stays."""
        if n_cells > self.wear.size:
            self.wear = np.concatenate([self.wear, np.zeros(n_cells - self.wear.size, dtype=np.int64)])

    def count_reads(self, cells: int, current_sum_ua: float, accesses: int, samples: int = 1) -> None:
        """Count ``samples`` reads of a set of cells.

        Args:
            cells: cells in the set.
            current_sum_ua: sum of their currents in microampere.
            accesses: how often the channels have to be switched for one sample (see ``Placement.accesses``).
            samples: repetitions.
        """
        self.reads += cells * samples
        self._count_conversions(cells * samples, current_sum_ua * samples, accesses * samples)

    def count_verify_reads(self, reads: int, current_sum_ua: float) -> None:
        """Count reads inside programming, one cell at a time; ``current_sum_ua`` summed over these reads."""
        self.verify_reads += reads
        self._count_conversions(reads, current_sum_ua, reads)

    def count_pulses(
        self, set_pulses: int, set_current_sum_ua: float, reset_pulses: int, reset_current_sum_ua: float
    ) -> None:
        """Count pulses and the sums of the read currents (uA) of the cells that got them; wear is kept apart."""
        periphery, preset = self._preset.periphery, self._preset
        device = set_current_sum_ua * self._set_j_per_ua + reset_current_sum_ua * self._reset_j_per_ua
        pulses = set_pulses + reset_pulses
        latency = (
            pulses * periphery.pulse_overhead_s
            + set_pulses * preset.set_pulse.width_s
            + reset_pulses * preset.reset_pulse.width_s
        )
        self.set_pulses += set_pulses
        self.reset_pulses += reset_pulses
        self._add(device, pulses * periphery.driver_energy_j, latency)

    def add_wear(self, cells: slice | npt.NDArray[Any], pulses: Any) -> int:
        """Add pulses to the wear of some cells (no repetitions); returns an upper bound of the largest wear."""
        self.wear[cells] += pulses
        self._wear_bound += int(np.max(pulses, initial=0))
        return self._wear_bound

    def add_latency(self, seconds: float) -> None:
        """Count time in which the hardware waits (rests in write-verify)."""
        self._add(0.0, 0.0, seconds)

    def summary(self) -> dict[str, float | int]:
        """The totals as a plain mapping, for JSON and for messages; keys of :class:`LedgerSummary`."""
        return asdict(self._totals())

    def snapshot(self) -> LedgerSnapshot:
        """This moment, to be given to :meth:`since` later (one per trial, for example)."""
        return LedgerSnapshot(self._totals(), self.wear.copy())

    def since(self, snapshot: LedgerSnapshot) -> dict[str, float | int]:
        """Differences to a snapshot, keys as :meth:`summary`; wear counts only the pulses since then."""
        now, then = self.summary(), asdict(snapshot.totals)
        difference = {key: now[key] - then[key] for key in now}
        wear = self.wear.copy()
        wear[: snapshot.wear.size] -= snapshot.wear
        difference["max_wear"] = int(wear.max()) if wear.size else 0
        difference["mean_wear"] = float(wear.mean()) if wear.size else 0.0
        return difference

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Counters, sums and wear as arrays; restored exactly by :meth:`load_state_dict`."""
        return {
            "counters": np.array([getattr(self, name) for name in _COUNTERS], dtype=np.int64),
            "sums": np.array([getattr(self, name) for name in _SUMS], dtype=np.float64),
            "wear": self.wear.copy(),
        }

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ConfigError: an array is missing or has the wrong shape.
        """
        for key, size in (("counters", len(_COUNTERS)), ("sums", len(_SUMS)), ("wear", None)):
            if key not in state or state[key].ndim != 1 or (size is not None and state[key].size != size):
                raise ConfigError(f"damaged ledger state: {key!r} is missing or has the wrong shape")
        for name, counter in zip(_COUNTERS, state["counters"], strict=True):
            setattr(self, name, int(counter))
        for name, total in zip(_SUMS, state["sums"], strict=True):
            setattr(self, name, float(total))
        self.wear = state["wear"].astype(np.int64)
        self._wear_bound = self.max_wear

    def _count_conversions(self, conversions: int, current_sum_ua: float, accesses: int) -> None:
        self.adc_conversions += conversions
        device = current_sum_ua * self._read_j_per_ua
        self._add(device, conversions * self._conversion_j, accesses * self._preset.periphery.read_time_s)

    def _add(self, device_j: float, periphery_j: float, latency_s: float) -> None:
        self.device_energy_j += device_j
        self.system_energy_j += device_j + periphery_j + latency_s * self._preset.periphery.controller_power_w
        self.latency_s += latency_s

    def _totals(self) -> LedgerSummary:
        values = {name: getattr(self, name) for name in (*_COUNTERS, *_SUMS)}
        return LedgerSummary(**values, max_wear=self.max_wear, mean_wear=self.mean_wear)


def _pulse_energy_per_ua(preset: DevicePreset, voltage_v: float, width_s: float) -> float:
    """Joule of one pulse per microampere of read current, the cell taken as ohmic."""
    return voltage_v * (voltage_v / preset.read_voltage_v) * 1e-6 * width_s
