"""What every memristor accelerator offers: the only view that learners have of hardware.

Cells are numbered as the network lays them out: layer after layer, in order of
(input, output, device), consecutive over the chips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from memristor_bdnn.crossbar.ledger import Ledger
    from memristor_bdnn.device.presets import DevicePreset

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class WriteVerifyReport:
    """Outcome of a write-verify deployment.

    Attributes:
        cells: number of cells asked for.
        within_tolerance: how many read within the tolerance afterwards.
        pulses: programming pulses given in all.
        mean_error_ua: mean of (read - target), microampere.
        sd_error_ua: standard deviation of (read - target), microampere.
        correlation: of the reads with the targets; NaN where either are all alike, or nobody worked it out.
    """

    cells: int
    within_tolerance: int
    pulses: int
    mean_error_ua: float
    sd_error_ua: float
    correlation: float = math.nan


@runtime_checkable
class Accelerator(Protocol):
    """Noisy memristor cells behind four operations; see DESIGN in docs/architecture.md.

    Where it exists, ``known_currents_ua()`` tells displays the cells' currents (n_cells,) without reading them.
    """

    name: str
    """Registry name: ``simulated`` or ``escim``."""
    preset: DevicePreset
    """Nominal physics of the devices (window, read noise, transitions), for ex situ training."""
    capacity: int
    """Cells that could be allocated."""
    n_cells: int
    """Cells allocated so far; arrays below have this length."""
    ledger: Ledger
    """Counts, energy, latency and wear of everything done so far."""

    def allocate(self, n_cells: int) -> None:
        """Reserve cells 0..n_cells-1 for the network. Raises CapacityError naming the cells missing."""

    def read(self, samples: int = 1, cells: slice | None = None) -> FloatArray:
        """Read currents in microampere at the read voltage, shape (samples, cells).

        Every element is an independent noisy read, hence every row a sample of the weights.
        ``cells`` is a contiguous range of the allocated cells (default: all).
        """

    def pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """Give single programming pulses, shape (n_cells,): +1 one SET, -1 one RESET, 0 none."""

    def write_verify(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> WriteVerifyReport:
        """Program cells to target currents (n_cells,) with verification; ``mask`` selects cells."""

    def program(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """One blind write per masked cell: one SET whose gate voltage aims at the target, after a RESET where needed.

        A cell whose gate voltage rises above that of its last blind write gets the SET alone; every other is RESET
        first. No verification; the device's own spread decides where the cell lands. Raises UnsupportedError where the
        hardware has no such operation, whatever the mask.
        """

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Everything needed to go on bit-identically (simulated) or to recognise the chips (board)."""

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`. Raises ConfigError when it does not fit this accelerator."""

    def close(self) -> None:
        """Release the hardware; safe to call twice."""
