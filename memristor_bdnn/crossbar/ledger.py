"""Counts every operation on the devices, and prices it: energy, time, wear."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array

_COUNTS = ("reads", "set_pulses", "reset_pulses", "verify_reads", "adc_conversions", "accesses")
_SUMS = ("read_current_ua", "set_current_ua", "reset_current_ua", "rest_s")


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


@dataclass(frozen=True)
class CostParts:
    """Where energy and time go, by name; the sums are ``system_energy_j`` and ``latency_s`` of a summary.

    Attributes:
        energy_j: joules of reads and of pulses in the cells, and of everything around them.
        time_s: seconds, operations in sequence.
    """

    energy_j: dict[str, float]
    time_s: dict[str, float]


class Ledger:
    """Running counts over the allocated cells of one accelerator, and sums of the currents they happened at.

    Energies and times are computed from these by :meth:`priced`, so that the same work can be priced with another
    periphery. Energy of a pulse is V I t with the preset's voltage V and width t and the cell's current at that
    voltage, taken as ohmic: I = I_read V / V_read. Energy of a read is V_read I t_read. Converters, amplifiers,
    drivers and controller follow :class:`memristor_bdnn.device.parameters.Periphery`.
    """

    def __init__(self, preset: DevicePreset, n_cells: int = 0) -> None:
        """A ledger at zero for operations on ``n_cells`` cells of ``preset``."""
        self.reads = self.set_pulses = self.reset_pulses = self.verify_reads = self.adc_conversions = 0
        self.accesses = 0
        """Times that the channels were switched to cells; each takes one read time."""
        self.read_current_ua = self.set_current_ua = self.reset_current_ua = 0.0
        """Sums of the read currents, in microampere, at which reads, SET and RESET pulses happened."""
        self.rest_s = 0.0
        """Time spent waiting (rests in write-verify)."""
        self.wear: npt.NDArray[np.int64] = np.zeros(n_cells, dtype=np.int64)
        """Pulses given to every allocated cell, shape (n_cells,)."""
        self._wear_bound = 0
        self._preset = preset

    @property
    def device_energy_j(self) -> float:
        """Energy in the cells alone so far."""
        return self.priced().device_energy_j

    @property
    def system_energy_j(self) -> float:
        """Energy with the periphery so far."""
        return self.priced().system_energy_j

    @property
    def latency_s(self) -> float:
        """Time on the hardware so far."""
        return self.priced().latency_s

    @property
    def max_wear(self) -> int:
        """Most pulses given to one cell."""
        return int(self.wear.max()) if self.wear.size else 0

    @property
    def mean_wear(self) -> float:
        """Pulses per allocated cell."""
        return float(self.wear.mean()) if self.wear.size else 0.0

    def allocate(self, n_cells: int) -> None:
        """Set the number of cells of the wear record; what was counted on the cells that remain stays."""
        added = np.zeros(max(0, n_cells - self.wear.size), dtype=np.int64)
        self.wear = np.concatenate([self.wear[:n_cells], added])

    def count_reads(self, cells: int, current_sum_ua: float, accesses: int, samples: int = 1) -> None:
        """Count ``samples`` reads of a set of cells.

        Args:
            cells: cells in the set.
            current_sum_ua: sum of their currents in microampere.
            accesses: how often the channels have to be switched for one sample (see ``Placement.accesses``).
            samples: repetitions.
        """
        self.reads += cells * samples
        self.adc_conversions += cells * samples
        self.accesses += accesses * samples
        self.read_current_ua += current_sum_ua * samples

    def count_verify_reads(self, reads: int, current_sum_ua: float) -> None:
        """Count reads inside programming, one cell at a time; ``current_sum_ua`` summed over these reads."""
        self.verify_reads += reads
        self.adc_conversions += reads
        self.accesses += reads
        self.read_current_ua += current_sum_ua

    def count_pulses(
        self, set_pulses: int, set_current_sum_ua: float, reset_pulses: int, reset_current_sum_ua: float
    ) -> None:
        """Count pulses and the sums of the read currents (uA) of the cells that got them; wear is kept apart."""
        self.set_pulses += set_pulses
        self.reset_pulses += reset_pulses
        self.set_current_ua += set_current_sum_ua
        self.reset_current_ua += reset_current_sum_ua

    def add_wear(self, cells: slice | npt.NDArray[Any], pulses: Any) -> int:
        """Add pulses to the wear of some cells (no repetitions); returns an upper bound of the largest wear."""
        self.wear[cells] += pulses
        self._wear_bound += int(np.max(pulses, initial=0))
        return self._wear_bound

    def add_latency(self, seconds: float) -> None:
        """Count time in which the hardware waits (rests in write-verify)."""
        self.rest_s += seconds

    def priced(self, preset: DevicePreset | None = None, access_factor: float = 1.0) -> LedgerSummary:
        """Totals with energies and times by a preset's voltages, pulses and periphery.

        Args:
            preset: default: the ledger's own.
            access_factor: accesses of the other periphery over those counted (channels, chips in parallel).
        """
        p = self._preset if preset is None else preset
        periphery, pulses = p.periphery, self.set_pulses + self.reset_pulses
        read_uj, set_uj, reset_uj = self._cells_uj(p)
        device = 1e-6 * (read_uj + set_uj + reset_uj)
        latency = (
            self.accesses * access_factor * periphery.read_time_s
            + self.set_pulses * p.set_pulse.width_s
            + self.reset_pulses * p.reset_pulse.width_s
            + pulses * periphery.pulse_overhead_s
            + self.rest_s
        )
        conversion = periphery.adc_energy_j + periphery.amplifier_power_w * periphery.read_time_s
        system = (
            device
            + self.adc_conversions * conversion
            + pulses * periphery.driver_energy_j
            + latency * periphery.controller_power_w
        )
        return LedgerSummary(
            reads=self.reads,
            set_pulses=self.set_pulses,
            reset_pulses=self.reset_pulses,
            verify_reads=self.verify_reads,
            adc_conversions=self.adc_conversions,
            device_energy_j=device,
            system_energy_j=system,
            latency_s=latency,
            max_wear=self.max_wear,
            mean_wear=self.mean_wear,
        )

    def parts(self, preset: DevicePreset | None = None, access_factor: float = 1.0) -> CostParts:
        """Where the energy and the time of :meth:`priced` go; the same arguments."""
        p = self._preset if preset is None else preset
        periphery, pulses = p.periphery, self.set_pulses + self.reset_pulses
        read_uj, set_uj, reset_uj = self._cells_uj(p)
        time_s = {
            "reads": self.accesses * access_factor * periphery.read_time_s,
            "pulses": self.set_pulses * p.set_pulse.width_s + self.reset_pulses * p.reset_pulse.width_s,
            "pulse set-up": pulses * periphery.pulse_overhead_s,
            "rests": self.rest_s,
        }
        energy_j = {
            "reads": 1e-6 * read_uj,
            "pulses": 1e-6 * (set_uj + reset_uj),
            "converters": self.adc_conversions * periphery.adc_energy_j,
            "amplifiers": self.adc_conversions * periphery.amplifier_power_w * periphery.read_time_s,
            "line drivers": pulses * periphery.driver_energy_j,
            "controller": sum(time_s.values()) * periphery.controller_power_w,
        }
        return CostParts(energy_j, time_s)

    def _cells_uj(self, p: DevicePreset) -> tuple[float, float, float]:
        """Energy of reads, SET and RESET pulses in the cells, microjoule."""
        return (
            self.read_current_ua * p.read_voltage_v * p.periphery.read_time_s,
            self.set_current_ua * p.set_pulse.voltage_v**2 / p.read_voltage_v * p.set_pulse.width_s,
            self.reset_current_ua * p.reset_pulse.voltage_v**2 / p.read_voltage_v * p.reset_pulse.width_s,
        )

    def summary(self) -> dict[str, float | int]:
        """The totals as a plain mapping, for JSON and for messages; keys of :class:`LedgerSummary`."""
        return asdict(self.priced())

    def snapshot(self) -> LedgerSnapshot:
        """This moment, to be given to :meth:`since` later (one per trial, for example)."""
        return LedgerSnapshot(self.priced(), self.wear.copy())

    def since(self, snapshot: LedgerSnapshot) -> dict[str, float | int]:
        """Differences to a snapshot, keys as :meth:`summary`; wear counts only the pulses since then."""
        now, then = self.summary(), asdict(snapshot.totals)
        difference = {key: now[key] - then[key] for key in now}
        wear = self.wear.copy()
        shared = min(wear.size, snapshot.wear.size)
        wear[:shared] -= snapshot.wear[:shared]
        difference["max_wear"] = int(wear.max()) if wear.size else 0
        difference["mean_wear"] = float(wear.mean()) if wear.size else 0.0
        return difference

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Counts, sums and wear as arrays; restored exactly by :meth:`load_state_dict`."""
        return {
            "counts": np.array([getattr(self, name) for name in _COUNTS], dtype=np.int64),
            "sums": np.array([getattr(self, name) for name in _SUMS], dtype=np.float64),
            "wear": self.wear.copy(),
        }

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ConfigError: an array is missing, unknown, or of the wrong type or shape, or counts below 0; nothing was
                changed.
        """
        wanted = {"counts": "i", "sums": "f", "wear": "i"}
        if state.keys() != wanted.keys():
            odd = ", ".join(f"ledger.{key}" for key in sorted(state.keys() ^ wanted.keys()))
            raise ConfigError(f"damaged ledger state: {odd} missing or unknown")
        sizes = {"counts": len(_COUNTS), "sums": len(_SUMS), "wear": np.size(state["wear"])}
        for key, kinds in wanted.items():
            # Sums of 1e30 uA are beyond any chip's life, counts of 2**60 too.
            high = 1e30 if kinds == "f" else 2**60
            check_array(f"ledger.{key}", state[key], kinds=kinds, shape=(sizes[key],), low=0, high=high)
        for name, count in zip(_COUNTS, state["counts"], strict=True):
            setattr(self, name, int(count))
        for name, total in zip(_SUMS, state["sums"], strict=True):
            setattr(self, name, float(total))
        self.wear = state["wear"].astype(np.int64)
        self._wear_bound = self.max_wear
