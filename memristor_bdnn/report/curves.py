"""The picture of a session: what its trials did while it asked, what the network predicts right, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import skills
from memristor_bdnn.active.store import LABEL_PHASES, Trial
from memristor_bdnn.report import style
from memristor_bdnn.report.summary import evaluations_by_labels
from memristor_bdnn.report.words import grown_in_words, mean_error

Rounds = Sequence[Mapping[str, Any]]


@style.drawn
def learning(
    skill: skills.Skill, trials: Sequence[Trial], rounds: Rounds, summary: Mapping[str, Any], path: Path
) -> Path:
    """Draw a session; ``summary`` is :func:`memristor_bdnn.report.summary.summarise`'s, for the title."""
    figure = style.slide(grown_in_words(summary))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.4, 1))
    labels = [t for t in trials if t.feasible and t.phase in LABEL_PHASES]
    place = " in unseen situations" if summary.get("evaluation_unseen") else ""
    large = figure.add_subplot(grid[:, 0])
    _trials(large, skill, labels, trials, place)
    handles, names = large.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=3, handletextpad=0.4, columnspacing=1.4)
    _accuracy(figure.add_subplot(grid[0, 1]), rounds)
    _failures(figure.add_subplot(grid[1, 1]), labels)
    return style.save(figure, path)


def _trials(axis: Any, skill: skills.Skill, labels: Sequence[Trial], trials: Sequence[Trial], place: str) -> None:
    """Every trial that was learned from, in order, and the learned skill's in between."""
    kinds = (("initial", style.RANDOM, "random trial"), ("query", style.ASKED, "trial it asked for"))
    for phase, colour, label in kinds:
        of = [(k, t) for k, t in enumerate(labels, start=1) if t.phase == phase]
        for good in (True, False):
            some = [(k, t.fraction) for k, t in of if (t.score > 0) == good]
            face = colour if good else "white"
            told = label if good else f"{label}, failed"
            if some:
                axis.plot(*zip(*some, strict=True), "o", color=colour, mfc=face, mew=1.8, alpha=0.75, label=told)
    random = [t.fraction for t in labels if t.phase == "initial"]
    if random:
        mean, error = float(np.mean(random)), mean_error(random) or 0.0
        axis.axhline(mean, color=style.RANDOM, ls=":", label=f"mean of the random trials, {mean:.2f}")
        axis.axhspan(mean - error, mean + error, color=style.RANDOM, alpha=0.12, lw=0)
    groups = [(n, [t.fraction for t in group]) for n, group in evaluations_by_labels(trials)]
    if groups:
        means = [float(np.mean(f)) for _, f in groups]
        errors = [mean_error(f) or 0.0 for _, f in groups]
        count = sorted({len(f) for _, f in groups})
        told = f"{count[0]}" if len(count) == 1 else f"{count[0]} to {count[-1]}"
        axis.errorbar([n for n, _ in groups], means, errors, fmt="D-", color=style.LEARNED, ms=11, capsize=5, zorder=5,
                      mec="white", label=f"learned skill, mean of {told} trials{place}")  # fmt: skip
        for n, fractions in groups:
            axis.plot([n] * len(fractions), fractions, "_", color=style.LEARNED, ms=14, mew=2, alpha=0.6)
    style.shares(axis)
    style.whole_numbers(axis)
    axis.set(xlabel="trials learned from", ylabel=skill.fraction_label, title="What its trials did",
             xlim=(0, max(len(labels), 1) + 1.5))  # fmt: skip


def _accuracy(axis: Any, rounds: Rounds) -> None:
    """Accuracy on the labels and, where test data are known, on trials that took part in nothing."""
    known = [r for r in rounds if r.get("test_accuracy") is not None]
    title = "The network was not trained"
    if rounds:
        n, values = [r["labels"] for r in rounds], [r["train_accuracy"] for r in rounds]
        axis.plot(n, values, "o-", color=style.ASKED, ms=5, label="its own trials")
        title = f"It predicts {values[-1]:.2f} of its trials right"
    if known:
        n, values = [r["labels"] for r in known], [r["test_accuracy"] for r in known]
        axis.plot(n, values, "s-", color=style.PINK, ms=5, label="trials it never saw")
        title = f"It predicts {values[-1]:.2f} of unseen trials right"
    style.shares(axis)
    style.whole_numbers(axis)
    axis.set(xlabel="trials learned from", ylabel="share predicted right", title=title)
    if rounds:
        axis.legend(loc="lower right")


def _failures(axis: Any, labels: Sequence[Trial]) -> None:
    """Failures so far over the labels, beside what random trials would go on to cost."""
    n = np.arange(len(labels) + 1)
    failed = np.concatenate([[0], np.cumsum([t.score <= 0 for t in labels])]).astype(int)
    first = sum(t.phase == "initial" for t in labels)
    axis.step(n, failed, where="post", color=style.FAILED, label="this session")
    title = f"{failed[-1]} of {len(labels)} trials failed"
    if 0 < first < len(labels):
        rate, asked = failed[first] / first, len(labels) - first
        axis.plot(n[first:], rate * n[first:], ":", color=style.RANDOM, label="if it went on at random")
        axis.axvspan(first, len(labels), color=style.ASKED, alpha=0.07, lw=0)
        title = f"{failed[first]} of {first} random, {failed[-1] - failed[first]} of {asked} asked failed"
    style.whole_numbers(axis)
    axis.set(xlabel="trials learned from", ylabel="failures so far", title=title, ylim=(0, None), xlim=(0, None))
    axis.legend(loc="upper left")
