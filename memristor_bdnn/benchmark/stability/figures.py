"""Picture of `benchmark stability`: over hours at one strength, and after all hours over strengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.stability.conditions import KINDS, NOISE
from memristor_bdnn.benchmark.stability.run import REMEDIES
from memristor_bdnn.report import style
from memristor_bdnn.report.style import COLOURS

_COLOUR = {"nothing": COLOURS[1], "offset": COLOURS[4], "relearning": COLOURS[0], "both": COLOURS[2]}
_LABEL = {"nothing": "nothing done", "offset": "mean offset taken off", "relearning": "re-learned in place",
          "both": "offset, then re-learned"}  # fmt: skip
_LEARNER = {
    "msgld_reads": "mSGLD, live reads alone",
    "msgld": "mSGLD, live reads and the samples kept in memory",
    "eapu": "EaPU",
}
_MARK = dict(zip(REMEDIES, "osD^", strict=True))
_FIGURE = {
    "accuracy": "accuracy on test rows",
    "nll": "negative log lik.",
    "answers_kept": "answers as before",
    "fraction": "task done by the choice",
}


def draw_all(figures: dict[str, Any], path: Path) -> list[Path]:
    """A picture for the first learner under the path's name, for each other one with its name added."""
    names = list(figures["results"])
    return [draw(figures, name, path if name == names[0] else path.with_stem(f"{path.stem}_{name}")) for name in names]


@style.drawn
def draw(figures: dict[str, Any], learner: str, path: Path) -> Path:
    """Above: over hours at the middle strength of the kind that moves most. Below: after all hours over strengths."""
    found = figures["results"][learner]
    kinds = [kind for kind in KINDS if any(name.startswith(f"{kind} ") for name in found)]
    said = _LEARNER.get(learner, learner)
    figure = style.slide(f"{said}: {figures['skill']}, {figures['labels']} labels; medians and quartiles")
    axes = figure.subplots(2, 3)
    shown = _middle(found, "drift" if "drift" in kinds else kinds[0]) if kinds else NOISE
    for axis, name in zip(axes[0], ("accuracy", "nll", "answers_kept"), strict=True):
        _over_hours(axis, figures["hours"], found[shown], name)
    axes[0][1].set_title(f"Over hours, {_told(shown)}", loc="center")
    executed = _has(found, "fraction")
    panels: list[tuple[str, str]] = [(kind, "accuracy") for kind in ("shift", "spread", "disturb") if kind in kinds]
    if executed and "drift" in kinds:
        panels = [*[p for p in panels if p[0] != "disturb"], ("drift", "fraction")]
    for axis, (kind, name) in zip(axes[1], panels, strict=False):
        _over_strengths(axis, found, kind, name)
    for axis in axes[1][len(panels) :]:
        axis.set_axis_off()
    accuracies = [axis for axis, (_, name) in zip(axes[1], panels, strict=False) if name == "accuracy"]
    for axis in accuracies:  # kinds are compared by eye
        axis.set_ylim(min(a.get_ylim()[0] for a in accuracies), max(a.get_ylim()[1] for a in accuracies))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return style.save(figure, path)


def _over_hours(axis: Any, hours: list[float], of: dict[str, Any], name: str) -> None:
    places = np.arange(len(hours))
    for remedy in REMEDIES:
        points = of[remedy][name]
        axis.plot(places, points["median"], f"{_MARK[remedy]}-", color=_COLOUR[remedy], ms=5, label=_LABEL[remedy])
        axis.fill_between(places, points["q25"], points["q75"], color=_COLOUR[remedy], alpha=0.13, lw=0)
    axis.set_xticks(places, [f"{hour:g}" for hour in hours])
    _finish(axis, "hours since learning", name)


def _over_strengths(axis: Any, found: dict[str, Any], kind: str, name: str) -> None:
    conditions = {0.0: found[NOISE]} | {
        float(key.split()[1]): of for key, of in found.items() if key.startswith(f"{kind} ")
    }
    strengths = sorted(conditions)
    places = np.arange(len(strengths))
    for remedy in REMEDIES:
        points = {what: [conditions[s][remedy][name][what][-1] for s in strengths] for what in ("median", "q25", "q75")}
        axis.plot(places, points["median"], f"{_MARK[remedy]}-", color=_COLOUR[remedy], ms=5)
        axis.fill_between(places, points["q25"], points["q75"], color=_COLOUR[remedy], alpha=0.13, lw=0)
    axis.set_xticks(places, [f"{s:g}" for s in strengths])
    axis.set_title(_KIND[kind], fontsize=12.5)
    _finish(axis, f"% of window per decade{' of reads' if kind == 'disturb' else ''}", name)


_KIND = {
    "shift": "At the end: all cells drift alike",
    "spread": "At the end: each at its own rate",
    "drift": "At the end: both drifts",
    "disturb": "At the end: disturbed by reads",
}


def _finish(axis: Any, across: str, name: str) -> None:
    axis.set(xlabel=across, ylabel=_FIGURE[name])
    if name != "nll":
        axis.set_ylim(min(axis.get_ylim()[0], 0.75 if name != "accuracy" else 0.7), None)


def _middle(found: dict[str, Any], kind: str) -> str:
    """The condition of a kind with the middle strength."""
    names = sorted((key for key in found if key.startswith(f"{kind} ")), key=lambda key: float(key.split()[1]))
    return names[len(names) // 2]


def _told(condition: str) -> str:
    if condition == NOISE:
        return "read noise alone"
    kind, percent, _ = condition.split()
    return f"{kind} of {percent} % of the window per decade"


def _has(found: dict[str, Any], name: str) -> bool:
    return name in next(iter(found.values()))["nothing"]
