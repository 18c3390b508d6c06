"""What policies achieve in unseen contexts, as bars; for any skill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from memristor_bdnn.active.evaluate import SkillScore
from memristor_bdnn.report import style

COLOURS = {"learned": style.BLUE, "passive": style.SKY, "designed": style.AMBER, "random": style.RANDOM}


@style.drawn
def skill_bars(scores: Mapping[str, SkillScore], labels: int, path: str | Path, label: str) -> None:
    """Mean fraction of the task done and success rate of policies in unseen contexts (Fig. 4e).

    Args:
        scores: by policy name.
        labels: that the learned policies have seen.
        path: the picture; its folder must exist.
        label: of the axis, see ``Skill.fraction_label``.
    """
    best = max(scores, key=lambda name: scores[name].fraction)
    of, said = scores[best], label[:1].upper() + label[1:]
    figure = style.slide(f"{said}: {of.fraction:.2f} +- {of.standard_error:.2f} at best ({best})")
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
            color=COLOURS.get(name, style.GREY),
            error_kw={"ecolor": style.INK, "elinewidth": 1.8, "capsize": 6},
        )
        jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(score.fractions))
        axes.plot(k + jitter, score.fractions, ".", color=style.INK, markersize=7, alpha=0.35)
        axes.text(k, 1.03, f"{score.fraction:.2f}", ha="center", fontsize=16, fontweight="bold")
        axes.text(k, -0.02, f"success {score.success:.0%}", ha="center", va="top", fontsize=13, color=style.GREY)
    axes.set_xticks(range(len(scores)), [names.get(n, n) for n in scores])
    axes.tick_params(axis="x", length=0, pad=24)
    axes.grid(axis="x", visible=False)
    axes.set(ylim=(0, 1.1), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel=label)
    style.save(figure, path)
