"""Figures of the MCMC benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.report import style
from memristor_bdnn.report.style import BLUE, GREY, ORANGE


@style.drawn
def write_figures(folder: Path, figures: Mapping[str, Any]) -> list[Path]:
    """Write mcmc.png: accuracies of all runs, stuck devices, cart-pole; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    median = float(np.median(figures["cancer_accuracies"]))
    figure = style.slide(
        f"MCMC on memristor rows: breast cancer {median:.3f} (median of all arrays), stuck devices, cart-pole"
    )
    left, middle, right = figure.subplots(1, 3)
    data = [figures["cancer_accuracies"], figures["cancer_small_accuracies"]]
    boxes = left.boxplot(data, tick_labels=["256 x 16", "96 x 16"], widths=0.5, patch_artist=True)
    for box in boxes["boxes"]:
        box.set(facecolor=style.SKY, alpha=0.6, edgecolor=BLUE)
    left.axhline(0.963, color=ORANGE, linestyle=":", label="published median")
    left.set(title="Breast cancer", xlabel="array", ylabel="test accuracy")
    left.legend(loc="lower left")
    curve = figures["stuck_curve"]
    middle.plot([100 * c["stuck"] for c in curve], [c["accuracy"] for c in curve], "o-", color=BLUE, label="median")
    middle.plot([100 * c["stuck"] for c in curve], [c["lowest"] for c in curve], "v:", color=GREY, label="lowest")
    middle.set(title="Stuck devices", xlabel="devices stuck (%)", ylabel="test accuracy")
    style.shares(middle)
    middle.legend(loc="lower left")
    for place, key, colour in ((0, "cartpole_rewards", BLUE), (1, "cartpole_dqn_rewards", ORANGE)):
        values = figures[key]
        offsets = [place + 0.3 * (k / max(len(values) - 1, 1) - 0.5) for k in range(len(values))]
        right.plot(offsets, values, "o", color=colour)
    right.axhline(484, color=BLUE, linestyle=":", label="published, MCMC")
    right.axhline(420, color=ORANGE, linestyle=":", label="published, deep Q")
    right.set(title="Cart-pole", ylabel="mean reward of a training", ylim=(0, 515), xlim=(-0.5, 1.5))
    right.set_xticks([0, 1], ["MCMC", "deep Q-network"])
    right.legend(loc="lower left")
    return [style.save(figure, folder / "mcmc.png")]
