"""Pictures of an agent that learns: returns, conductances, weights and gate voltages as they lie on the chip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.agents.dqn import DQNAgent
from memristor_bdnn.agents.training import Training
from memristor_bdnn.agents.weights import DeviceWeights
from memristor_bdnn.report import style
from memristor_bdnn.report.style import BLUE, ORANGE


@style.drawn
def training_figure(training: Training) -> Any:
    """One picture of how a training stands: the reward curve with pulses and energy, and maps of what it learns in.

    Reading for the picture would change the run, so the maps show what the last learning step read.
    """
    agent = training.agent
    network = isinstance(agent, DQNAgent)
    figure = style.slide(_title(training))
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.75)) if network else figure.subfigures(1, 2)
    top, bottom = parts
    _returns(top, training)
    if isinstance(agent, DQNAgent):
        _network_maps(bottom, agent)
    else:
        _row_maps(bottom, agent)
    return figure


def save_training_figure(training: Training, path: Path) -> Path:
    """Write :func:`training_figure` as a PNG; a viewer that reloads it sees the training live."""
    return style.save(training_figure(training), path)


def _returns(part: Any, training: Training) -> None:
    axis, p = part.subplots(), training.progress
    episodes = np.arange(1, len(p.total) + 1)
    axis.plot(episodes, p.total, color=BLUE, lw=1.4, label="training episode")
    if p.validated:
        axis.plot(p.validated_at, p.validated, "o", ms=6, color=ORANGE, label="greedy, for comparison")
    axis.set(xlabel="episode", ylabel="return", xlim=(0, max(len(p.total), 10) * 1.02))
    axis.legend(loc="upper left")


def _title(training: Training) -> str:
    """The task, what was done for it, and what it cost."""
    words = [
        training.env.task.name,
        f"{len(training.progress.total)} episodes",
        f"{sum(training.progress.steps):,} steps",
    ]
    if training.accelerator is None:
        return ", ".join([*words, "software twin"])
    ledger = training.accelerator.ledger.priced()
    pulses = ledger.set_pulses + ledger.reset_pulses
    return ", ".join([*words, f"{pulses:,} pulses", f"{ledger.system_energy_j:.3g} J"])


def _network_maps(part: Any, agent: DQNAgent) -> None:
    """A row of maps for gate voltages, conductances and weights, a column a layer."""
    layout, weights = agent.layout, agent.weights
    rows: list[tuple[str, list[Any], str, tuple[float, float] | None]] = []
    if isinstance(weights, DeviceWeights):
        line = weights.line
        rows.append(("gate voltage (V)", layout.arrays(weights.gate_v), "viridis", (line.low_v, line.high_v)))
        if weights.last_ua is not None:
            volt = agent.preset.read_voltage_v
            reach = tuple(edge / volt for edge in agent.preset.blind_write.target_ua)
            held = layout.arrays(weights.last_ua / volt)
            rows.append(("conductance (µS)", held, "magma", (reach[0], reach[1])))
    shown = weights.last() if isinstance(weights, DeviceWeights) else weights.read()
    limit = float(np.quantile(np.abs(shown), 0.995)) or 1.0
    rows.append(("weight", layout.matrices(shown), "RdBu_r", (-limit, limit)))
    widths = [max(outputs, 10) for _, outputs in layout.shapes]
    axes = np.atleast_2d(part.subplots(len(rows), len(widths), width_ratios=widths, squeeze=False))
    for line_of, (label, arrays, colours, span) in zip(axes, rows, strict=True):
        for layer, (axis, array) in enumerate(zip(line_of, arrays, strict=True)):
            low, high = span or (None, None)
            image = axis.imshow(array, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"Layer {layer + 1}: {array.shape[0]} x {array.shape[1]}", fontsize=12)
            axis.grid(False)
            if layer == 0:
                axis.set_ylabel(label.replace(" ", "\n", 1), fontsize=12)
        part.colorbar(image, ax=list(line_of), shrink=0.9, pad=0.01)


def _row_maps(part: Any, agent: Any) -> None:
    """Conductances of the rows, and how long the chain stayed in each."""
    left, right = part.subplots(1, 2, width_ratios=(1.4, 1), sharey=True)
    g = np.where(agent.counters[:, None] > 0, agent.current_ua / agent.rows.read_voltage_v, np.nan)
    image = left.imshow(g, aspect="auto", cmap="magma", interpolation="nearest")
    left.set(ylabel="row", xlabel="device (actions x inputs)", title="Conductance (µS)")
    left.grid(False)
    part.colorbar(image, ax=left)
    right.barh(np.arange(agent.counters.size), agent.counters, color=BLUE, height=1.0)
    right.axhline(agent.config.burn_in, color=ORANGE, ls=":", label="burn-in")
    right.set(title="Counter", xlabel="proposals in the row")
    right.legend(loc="lower right")
