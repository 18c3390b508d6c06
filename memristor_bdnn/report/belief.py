"""What the network believes: its confidence and the spread of it over two parameters of a trial, in one context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator, learners, skills
from memristor_bdnn.active.store import LABEL_PHASES, Trial
from memristor_bdnn.config import build
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner
from memristor_bdnn.report import style
from memristor_bdnn.skills.candidates import encoded
from memristor_bdnn.spaces import Dimension
from memristor_bdnn.state import load_npz, unpack_json

FloatArray = npt.NDArray[np.floating[Any]]
STEPS, ALONG, SAMPLES = 61, 25, 20
"""Values of each of the two parameters, of each parameter when the two are looked for, and posterior samples."""
NOT_POSSIBLE = "#D5D9DE"
_SIMULATED = "simulated"


@dataclass(frozen=True)
class Belief:
    """Predictions over two parameters, the others held where a trial had them.

    Attributes:
        trial: that gives the context and the other parameters.
        names: indices of the two parameters.
        x, y: their values, (STEPS,).
        mean, std: probability of success and its standard deviation over posterior samples, (STEPS, STEPS), y first;
            NaN where the trial cannot be made.
    """

    trial: Trial
    names: tuple[int, int]
    x: FloatArray
    y: FloatArray
    mean: FloatArray
    std: FloatArray


def learner_of(checkpoint: Path, name: str | None = None, options: Any = None) -> Learner:
    """The learner of a checkpoint, on simulated chips in the state that the checkpoint holds.

    Args:
        checkpoint: the file.
        name: of the learner; left out, the file's own name for it, which is that of the built-in ones.
        options: of the accelerator, by name, which the file does not hold.

    Raises:
        ConfigError: no such file, a damaged one, or one made on chips that are not simulated: these cannot be read
            here and now.
    """
    held = load_npz(checkpoint)
    missing = [name for name in ("format", "config", "accelerator.identity") if name not in held]
    if missing:
        raise ConfigError(f"{checkpoint} is no checkpoint of a session: {', '.join(missing)} missing")
    name = name or str(unpack_json(held["format"], "format")).rpartition(".")[2].partition("/")[0]
    identity = unpack_json(held["accelerator.identity"], "identity")
    if identity.get("accelerator") != _SIMULATED:
        raise ConfigError(f"the chips of accelerator {identity.get('accelerator')!r} are not read for a picture")
    preset = build(DevicePreset, identity["preset"])
    chips = accelerator.create(_SIMULATED, preset=preset, seed=0, **dict(options or {}))
    learner = learners.create(name, chips, unpack_json(held["config"], "config"), 0)
    learner.load(checkpoint)
    return learner


def believed(skill: skills.Skill, learner: Learner, trial: Trial, arm: str) -> Belief:
    """Predict over the two parameters that matter most around a trial.

    Those are the two along which the probability of success varies most when one is changed alone.
    """
    space, context = skill.parameter_space, np.array(trial.context)
    chosen, names = np.array(trial.parameters), range(len(space.names))
    if len(names) < 2:
        raise ConfigError(f"skill {skill.name} has one parameter: there is no map over two")
    lines = np.repeat(chosen[None], ALONG * len(names), axis=0).reshape(len(names), ALONG, -1)
    for k in names:
        lines[k, :, k] = np.linspace(space.low[k], space.high[k], ALONG)
    mean, _ = _predicted(skill, learner, context, lines.reshape(-1, len(names)), arm)
    along = mean.reshape(len(names), ALONG)
    reach = [float(np.nanmax(row) - np.nanmin(row)) if np.isfinite(row).any() else 0.0 for row in along]
    first, second = sorted(np.argsort(reach)[-2:].tolist())
    x, y = (np.linspace(space.low[k], space.high[k], STEPS) for k in (first, second))
    rows = np.repeat(chosen[None], STEPS * STEPS, axis=0)
    rows[:, second], rows[:, first] = np.repeat(y, STEPS), np.tile(x, STEPS)
    mean, std = _predicted(skill, learner, context, rows, arm)
    square = (STEPS, STEPS)
    return Belief(trial, (first, second), x, y, mean.reshape(square), std.reshape(square))


def _predicted(
    skill: skills.Skill, learner: Learner, context: FloatArray, rows: FloatArray, arm: str
) -> tuple[FloatArray, FloatArray]:
    """Mean and SD (n,) of rows (n, p); NaN for those that are not valid."""
    mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    valid = np.asarray(skill.valid(context, rows, arm))
    if valid.any():
        found = learner.predict(encoded(skill, context, rows[valid]), SAMPLES)
        mean[valid], std[valid] = found.mean, found.std
    return mean, std


@style.drawn
def draw(skill: skills.Skill, belief: Belief, trials: Sequence[Trial], path: Path) -> Path:
    """Two maps side by side, confidence and its spread, with the trials that were made in this context."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    labelled = {t.context for t in trials if t.phase in LABEL_PHASES}
    where = "one of its situations" if belief.trial.context in labelled else "a situation new to it"
    figure = style.slide(f"Where it expects success (blue) and how unsure it is, in {where}")
    axes = figure.subplots(1, 2, sharey=True)
    here = [t for t in trials if t.feasible and t.context == belief.trial.context]
    elsewhere = [t for t in trials if t.feasible and t.phase != "evaluation" and t.context != belief.trial.context]
    spread = math.ceil(20 * float(np.nanmax(belief.std))) / 20 if np.isfinite(belief.std).any() else 0.0
    panels = (
        ("Predicted probability of success", belief.mean, "RdYlBu", 1.0),
        ("How unsure it is: SD over its posterior samples", belief.std, "Purples", max(0.1, spread)),
    )
    dimensions = [skill.parameter_space.dimensions[k] for k in belief.names]
    for axis, (title, values, colours, top) in zip(axes, panels, strict=True):
        axis.set_facecolor(NOT_POSSIBLE)
        image = axis.pcolormesh(belief.x, belief.y, values, cmap=colours, vmin=0.0, vmax=top, shading="nearest")
        axis.grid(False)
        axis.set(title=title, xlabel=_label(dimensions[0]))
        axis.set(xlim=(dimensions[0].low, dimensions[0].high), ylim=(dimensions[1].low, dimensions[1].high))
        if values is belief.mean and np.nanmin(values) < 0.5 < np.nanmax(values):
            axis.contour(belief.x, belief.y, values, levels=[0.5], colors=[style.INK], linewidths=1.5)
        _mark(axis, belief.names, elsewhere, here)
        figure.colorbar(image, ax=axis, orientation="horizontal", pad=0.02, shrink=0.8, ticks=MaxNLocator(4))
    axes[0].set_ylabel(_label(dimensions[1]))
    handles, names = axes[0].get_legend_handles_labels()
    if not np.isfinite(belief.mean).all():
        handles, names = [*handles, Patch(facecolor=NOT_POSSIBLE)], [*names, "cannot be done"]
    look = {"ncols": 5, "handletextpad": 0.3, "columnspacing": 1.4}
    figure.legend(handles, names, loc="outside lower center", **look)
    return style.save(figure, path)


def _mark(axis: Any, names: tuple[int, int], elsewhere: Sequence[Trial], here: Sequence[Trial]) -> None:
    """Trials where their parameters lie: full where they succeeded, hollow where not."""
    groups = (
        (elsewhere, True, {"ms": 6, "mfc": style.INK, "mec": "white"}, "success elsewhere"),
        (elsewhere, False, {"ms": 6, "mfc": "white", "mec": style.INK}, "failure elsewhere"),
        (here, True, {"ms": 19, "mfc": "#00E08A", "mec": style.INK}, "success in this situation"),
        (here, False, {"ms": 19, "mfc": "white", "mec": style.INK}, "failure in this situation"),
    )
    for trials, good, look, label in groups:
        rows = np.array([t.parameters for t in trials if (t.score > 0) == good])
        if len(rows):
            marker = "o" if trials is elsewhere else "*"
            axis.plot(rows[:, names[0]], rows[:, names[1]], marker, label=label, mew=1.0, ls="", **look)


def _label(dimension: Dimension) -> str:
    unit = f" ({dimension.unit})" if dimension.unit else ""
    return f"{dimension.name.replace('_', ' ')}{unit}" + (f"\n{dimension.description}" if dimension.description else "")
