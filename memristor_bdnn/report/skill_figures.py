"""What policies achieve in unseen contexts, as bars; for any skill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from memristor_bdnn.active.evaluate import SkillScore
from memristor_bdnn.report.record import save_figure

INK, GREY = "#26323a", "#8a949b"
COLOURS = {"learned": "#1f6f8b", "passive": "#7fb3c2", "designed": "#e0a458", "random": "#b7bdc2"}


def skill_bars(scores: Mapping[str, SkillScore], labels: int, path: str | Path, label: str) -> None:
    """Mean fraction of the task done and success rate of policies in unseen contexts (Fig. 4e).

    Args:
        scores: by policy name.
        labels: that the learned policies have seen.
        path: the picture; its folder must exist.
        label: of the axis, see ``Skill.fraction_label``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.4), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    names = {
        "learned": f"active learning\n{labels} labels",
        "passive": f"passive learning\n{labels} labels",
        "designed": "designed",
        "random": "random",
    }
    for k, (name, score) in enumerate(scores.items()):
        axes.bar(
            k,
            score.fraction,
            yerr=score.standard_error,
            width=0.62,
            color=COLOURS.get(name, GREY),
            error_kw={"ecolor": INK, "elinewidth": 1.2, "capsize": 3},
        )
        jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(score.fractions))
        axes.plot(k + jitter, score.fractions, ".", color=INK, markersize=3, alpha=0.35)
        axes.text(k, 1.03, f"{score.fraction:.2f}", ha="center", fontsize=9, color=INK)
        axes.text(k, -0.02, f"success {score.success:.0%}", ha="center", va="top", fontsize=8, color=GREY)
    axes.set_xticks(range(len(scores)), [names.get(n, n) for n in scores])
    axes.tick_params(axis="x", length=0, pad=14)
    axes.set(ylim=(0, 1.12), yticks=[0, 0.5, 1], ylabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
