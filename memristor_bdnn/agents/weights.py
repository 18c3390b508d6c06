"""The weights of an agent's network: on devices through gate voltages, or exact numbers (the software twin)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.agents.gates import GateLine
from memristor_bdnn.agents.network import PairLayout
from memristor_bdnn.errors import ConfigError, UnsupportedError
from memristor_bdnn.state import check_array

Array = npt.NDArray[Any]
START_V = 0.25
"""First gate voltages: uniform within this of the middle of their range (0.5 (U - 0.5) about 1.05 V) [code]."""


class Weights(Protocol):
    """What a deep Q-network asks of its weights."""

    layout: PairLayout
    accelerator: Accelerator | None
    """The chips, None in software."""

    def read(self, samples: int = 1) -> Array:
        """The weights now, (n_weights,) float32; on devices the mean of ``samples`` noisy reads."""

    def descend(self, step: Array) -> None:
        """Lower every weight by ``step`` (n_weights,), weight units; 0 leaves its devices alone."""

    def settings(self) -> Array:
        """What :meth:`restore` writes again: gate voltages (n_cells,), or the weights themselves."""

    def restore(self, settings: Array) -> None:
        """Write :meth:`settings` of an earlier moment; devices land anew about them."""

    def state(self) -> dict[str, Array]:
        """Arrays of a checkpoint, without the chips' own state."""

    def check_state(self, state: Mapping[str, Array]) -> None:
        """Refuse arrays that :meth:`state` cannot have given. Raises ConfigError."""

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take over :meth:`state` after :meth:`check_state`."""


class DeviceWeights:
    """Differential pairs of devices; each keeps a digital gate voltage, and is written blindly through it.

    A weight is (G+ - G-) / ``weight_us``. A step d moves the two gate voltages by -+ d weight_us / assumed_slope,
    clipped to their range; a device whose voltage rises gets a SET, one whose voltage falls a RESET and a SET, one
    whose voltage stays nothing.

    Args:
        accelerator: any that offers blind writes; its cells are allocated here and written once.
        layout: of the network.
        rng: of the first gate voltages.
        weight_us: conductance difference of weight 1, uS.
        assumed_slope: uS/V that the controller reckons with; the devices' own may differ.

    Raises:
        UnsupportedError: the accelerator has no blind write.
        CapacityError: too few cells.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        layout: PairLayout,
        rng: np.random.Generator,
        weight_us: float = 250.0,
        assumed_slope: float = 125.0,
    ) -> None:
        self.accelerator: Accelerator | None = accelerator
        self._chips, self.layout = accelerator, layout
        self.line = GateLine(accelerator.preset)
        self._per_ua = np.float32(1.0 / (accelerator.preset.read_voltage_v * weight_us))
        self._volts = weight_us / assumed_slope
        accelerator.allocate(layout.n_cells)
        self.gate_v = first_gates(layout, self.line, rng)
        self.last_ua: Array | None = None
        """Currents (n_cells,) of the last read: looking at them costs no read and changes nothing."""
        try:
            self._write(np.ones(layout.n_cells, np.bool_))
        except UnsupportedError as error:
            raise UnsupportedError(
                f"accelerator {accelerator.name!r} cannot carry this agent: in situ updates through the gate voltage "
                f"need blind writes ({error})"
            ) from error

    def read(self, samples: int = 1) -> Array:
        """See :class:`Weights`; every cell is read."""
        currents = self._chips.read(samples)
        self.last_ua = currents[0] if samples == 1 else currents.mean(axis=0)
        return self.last()

    def last(self) -> Array:
        """The weights of the last read, (n_weights,); zero before the first."""
        if self.last_ua is None:
            return np.zeros(self.layout.n_weights, np.float32)
        weights: Array = (self.last_ua[self.layout.plus] - self.last_ua[self.layout.minus]) * self._per_ua
        return weights

    def descend(self, step: Array) -> None:
        """See :class:`Weights`."""
        moved, change = self.gate_v.copy(), self._volts * step
        moved[self.layout.plus] -= change
        moved[self.layout.minus] += change
        self._move(moved)

    def settings(self) -> Array:
        """Gate voltages (n_cells,), V."""
        return self.gate_v.copy()

    def restore(self, settings: Array) -> None:
        """See :class:`Weights`; every device is written, whatever it holds."""
        self.gate_v = settings.copy()
        self._write(np.ones(self.layout.n_cells, np.bool_))

    def state(self) -> dict[str, Array]:
        """Gate voltages."""
        return {"gate_v": self.gate_v}

    def check_state(self, state: Mapping[str, Array]) -> None:
        """See :class:`Weights`."""
        shape = (self.layout.n_cells,)
        check_array("gate_v", state["gate_v"], shape=shape, low=self.line.low_v, high=self.line.high_v, unit="V")

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See :class:`Weights`; the chips' state is restored by whoever has it."""
        self.gate_v = state["gate_v"].astype(np.float64)

    def _move(self, gate_v: Array) -> None:
        np.clip(gate_v, self.line.low_v, self.line.high_v, out=gate_v)
        changed = gate_v != self.gate_v
        self.gate_v = gate_v
        self._write(changed)

    def _write(self, mask: npt.NDArray[np.bool_]) -> None:
        self._chips.program(self.line.target_ua(self.gate_v), mask)


class ExactWeights:
    """The software twin: the same first weights and steps of the size that nominal devices take, and no noise.

    Args:
        layout: of the network.
        line: of the devices that it is the twin of.
        rng: as the devices'.
        weight_us, assumed_slope: as :class:`DeviceWeights`.
        gain: size of a step in place of the nominal devices' 2 slope / assumed_slope; 1 is the optimiser's own.
    """

    def __init__(
        self,
        layout: PairLayout,
        line: GateLine,
        rng: np.random.Generator,
        weight_us: float = 250.0,
        assumed_slope: float = 125.0,
        gain: float | None = None,
    ) -> None:
        self.layout = layout
        self.accelerator: Accelerator | None = None
        gate_v = first_gates(layout, line, rng)
        pairs = gate_v[layout.plus] - gate_v[layout.minus]
        self.weights = (pairs * line.slope_us_per_v / weight_us).astype(np.float64)
        self._gain = 2.0 * line.slope_us_per_v / assumed_slope if gain is None else gain

    def read(self, samples: int = 1) -> Array:
        """See :class:`Weights`: there is nothing to average."""
        return self.weights.astype(np.float32)

    def descend(self, step: Array) -> None:
        """See :class:`Weights`."""
        self.weights = self.weights - self._gain * step

    def settings(self) -> Array:
        """The weights (n_weights,)."""
        return self.weights.copy()

    def restore(self, settings: Array) -> None:
        """See :class:`Weights`; exactly."""
        self.weights = settings.copy()

    def state(self) -> dict[str, Array]:
        """The weights."""
        return {"weights": self.weights}

    def check_state(self, state: Mapping[str, Array]) -> None:
        """See :class:`Weights`."""
        check_array("weights", state["weights"], shape=(self.layout.n_weights,), low=-1e9, high=1e9)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See :class:`Weights`."""
        self.weights = state["weights"].astype(np.float64)


def first_gates(layout: PairLayout, line: GateLine, rng: np.random.Generator) -> Array:
    """Gate voltages (n_cells,) before anything is learned: uniform about the middle of their range.

    Raises:
        ConfigError: the devices' gate voltages span no voltage.
    """
    middle = 0.5 * (line.low_v + line.high_v)
    span = min(START_V, 0.5 * (line.high_v - line.low_v))
    if span <= 0:
        raise ConfigError(f"gate voltages from {line.low_v} to {line.high_v} V: expected a range")
    gates: Array = middle + span * rng.uniform(-1.0, 1.0, layout.n_cells)
    return gates
