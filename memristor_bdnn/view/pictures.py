"""Pictures of the page's panels, as arrays of pixels: the learning curve, candidates, chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.view.moment import Candidates, Chips, Result

Pixels = npt.NDArray[np.uint8]
WIDTH_IN, DPI = 4.4, 150
PHASES = {"initial": ("#9aa0a6", "random"), "query": ("#1f77b4", "chosen"), "evaluation": ("#2ca02c", "confident")}
CURVES = (
    ("train_accuracy", "on the labels", "o-", "#1f77b4"),
    ("test_accuracy", "on unseen trials", "s-", "#d62728"),
)


def learning(rounds: Sequence[Mapping[str, float]], results: Sequence[Result], why: str) -> Pixels:
    """Accuracy against labels and, below, what every trial gave; ``why`` stands where there are no rounds."""
    figure, (curve, trials) = _figure(3.6, 2)
    for key, text, style, colour in CURVES:
        known = [r for r in rounds if key in r]
        if known:
            x, y = [r["labels"] for r in known], [r[key] for r in known]
            curve.plot(x, y, style, color=colour, label=text, markersize=3.5, linewidth=1.2)
    curve.set(xlabel="labels", ylabel="accuracy", ylim=(0.3, 1.04))
    if rounds:
        curve.legend(loc="lower right", frameon=False, fontsize=8)
    else:
        curve.text(0.5, 0.5, why, fontsize=8, transform=curve.transAxes, ha="center", color="0.5")
    for phase, (colour, text) in PHASES.items():
        of = [r for r in results if r.phase == phase and r.feasible]
        if of:
            trials.plot([r.number for r in of], [r.score for r in of], "o", color=colour, label=text, markersize=3.5)
    refused = [r.number for r in results if not r.feasible]
    if refused:
        trials.plot(refused, [-1.0] * len(refused), "x", color="#d62728", label="no motion", markersize=4)
    trials.axhline(0.0, color="0.7", linewidth=0.8)
    trials.set(xlabel="trial", ylabel="score", ylim=(-1.12, 1.12))
    if results:
        trials.legend(loc="lower right", frameon=False, fontsize=8, ncols=2, handletextpad=0.1, columnspacing=0.8)
    for axes in (curve, trials):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _pixels(figure)


def candidates(found: Candidates, across: int = 0, up: int = 1) -> Pixels:
    """Candidates in two of their parameters (numbers ``across`` and ``up``), coloured by confidence."""
    figure, (axes,) = _figure(2.5, 1)
    order = np.argsort(found.confidence, kind="stable")
    drawn = axes.scatter(
        found.values[order, across],
        found.values[order, up],
        c=found.confidence[order],
        s=5,
        vmin=0,
        vmax=1,
        cmap="viridis",
    )
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label("confidence", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    best = order[-1]
    axes.plot(found.values[best, across], found.values[best, up], "o", mfc="none", mec="#d62728", markersize=9)
    axes.set(xlabel=found.names[across].replace("_", " "), ylabel=found.names[up].replace("_", " "))
    return _pixels(figure)


def chips(found: Chips) -> Pixels:
    """Every chip as a map: columns upward, rows to the right, colour the read current."""
    maps = found.current_ua[:8]
    figure, many = _figure(0.55 + 0.75 * len(maps), len(maps))
    high = float(np.nanpercentile(maps, 99.5)) if np.isfinite(maps).any() else 1.0
    for number, (axes, chip) in enumerate(zip(many, maps, strict=True)):
        image = axes.imshow(
            chip.T, vmin=0.0, vmax=max(high, 1e-6), cmap="magma", aspect="auto", interpolation="nearest"
        )
        axes.set_facecolor("0.85")
        axes.set_ylabel(f"chip {number}", fontsize=8)
        axes.tick_params(labelbottom=number == len(maps) - 1)
    many[-1].set_xlabel("row (bit line)", fontsize=8)
    bar = figure.colorbar(image, ax=list(many), pad=0.02, aspect=30)
    bar.set_label("read current, uA", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return _pixels(figure)


def _figure(height_in: float, rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    made = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for axes in made:
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
    return figure, made


def _pixels(figure: Any) -> Pixels:
    """Drawn without pyplot, which belongs to one thread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
