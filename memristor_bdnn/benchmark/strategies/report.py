"""Figures, table and picture of the comparison of strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import skills
from memristor_bdnn.benchmark.strategies.run import Setting
from memristor_bdnn.report import style
from memristor_bdnn.report.record import print_table
from memristor_bdnn.report.style import COLOURS

AGAINST = "random"
"""Differences over pairs of runs with the same seed are to this strategy."""
FIGURES = (
    "failures", "done_share", "skill_fraction", "skill_success", "confident_fraction", "confident_success",
    "accuracy", "balanced_accuracy", "auc", "nll", "ece",
)  # fmt: skip
_WHILE_LEARNING = {"pouring": "poured_while_learning"}
"""How a skill calls the share of the task that its trials did while it learned."""


def summary(runs: list[dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """Per strategy medians, quartiles, extremes, standard errors over seeds, and differences over pairs to random."""
    by_strategy: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_strategy.setdefault(run["strategy"], []).append(run)
    passive = {run["seed"]: run for run in by_strategy.get(AGAINST, [])}
    results = {name: _of_strategy(of, passive, setting) for name, of in by_strategy.items()}
    return {
        "skill": setting.skill,
        "skill_by": skills.load(setting.skill).words.by,
        "learner": setting.learner,
        "initial": setting.initial,
        "queries": setting.queries,
        "candidates": setting.candidates,
        "pairs": setting.pairs,
        "results": results,
    }


def _of_strategy(runs: list[dict[str, Any]], passive: dict[int, dict[str, Any]], setting: Setting) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for figure in (f for f in FIGURES if f in runs[0]):
        values = np.array([run[figure] for run in runs], dtype=float)
        name = _WHILE_LEARNING.get(setting.skill, "done_while_learning") if figure == "done_share" else figure
        made |= {
            f"{name}_median": float(np.median(values)),
            f"{name}_min": float(values.min()),
            f"{name}_max": float(values.max()),
            f"{name}_q25": float(np.quantile(values, 0.25)),
            f"{name}_q75": float(np.quantile(values, 0.75)),
            f"{name}_mean": float(values.mean()),
            f"{name}_se": _standard_error(values),
        }
        pairs = [run[figure] - passive[run["seed"]][figure] for run in runs if run["seed"] in passive]
        if pairs and runs[0]["strategy"] != AGAINST:
            made[f"{name}_against_{AGAINST}"] = float(np.mean(pairs))
            made[f"{name}_against_{AGAINST}_se"] = _standard_error(np.array(pairs))
    failed = np.array([np.cumsum(np.array(run["scores"]) <= 0) for run in runs])
    made["failures_by_label_median"] = np.median(failed, axis=0).tolist()
    made["runs"] = [{key: run[key] for key in ("seed", *FIGURES) if key in run} for run in runs]
    return made


def _standard_error(values: Any) -> float | None:
    """Of a mean over runs; one run has none."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _gain(difference: float | None, error: float | None) -> str:
    """A difference over pairs with its standard error, where there are any."""
    if difference is None:
        return ""
    return f"{difference:+.3g}" + ("" if error is None else f" +- {error:.2g}")


def print_tables(figures: dict[str, Any]) -> None:
    """One row a strategy; then the differences to random over pairs. The skill's share is what its words count by."""
    skill, asked = figures["skill"], figures["queries"]
    done, by = _WHILE_LEARNING.get(skill, "done_while_learning"), figures["skill_by"]
    columns = ("failures", done, f"skill_{by}", f"skill_{by}_min", f"confident_{by}", "accuracy", "auc")
    rows, differences = [], []
    for name, of in figures["results"].items():
        cells = [of.get(c if c.endswith("_min") else f"{c}_median") for c in columns]
        rows.append([name, *("" if cell is None else cell for cell in cells)])
        if f"failures_against_{AGAINST}" in of:
            pairs = [(of.get(f"{c}_against_{AGAINST}"), of.get(f"{c}_against_{AGAINST}_se")) for c in columns]
            differences.append([name, *(_gain(d, se) for d, se in pairs)])
    heads = [
        "strategy",
        f"failures of {asked}",
        done.replace("_", " "),
        "skill",
        "worst",
        "confident",
        "accuracy",
        "AUC",
    ]
    print_table(f"{skill}: {figures['initial']} random labels, {asked} asked, medians", heads, rows)
    if differences:
        kept = [i for i, c in enumerate(("", *columns)) if not c.endswith("_min")]
        table = [[row[i] for i in kept] for row in differences]
        print_table(f"difference to {AGAINST}, mean over pairs and its standard error", [heads[i] for i in kept], table)


@style.drawn
def draw(figures: dict[str, Any], runs: list[dict[str, Any]], path: Path) -> Path:
    """Failures so far over the labels, a line a strategy with its quartiles, and the skill that each leaves behind."""
    names, by = list(figures["results"]), figures["skill_by"]
    cost = {name: float(of["failures_median"]) for name, of in figures["results"].items() if "failures_median" in of}
    least = min(cost, key=lambda name: cost[name], default="")
    title = (
        f"{figures['skill'].capitalize()}: {least} fails least, {cost[least]:g} times" if least else "What asking cost"
    )
    figure = style.slide(f"{title} in {figures['queries']} questions (median)" if least else title)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        failed = np.array([np.cumsum(np.array(r["scores"]) <= 0) for r in runs if r["strategy"] == name])
        n = np.arange(failed.shape[1] + 1)
        low, middle, high = np.pad(np.quantile(failed, [0.25, 0.5, 0.75], axis=0), ((0, 0), (1, 0)))
        left.plot(n, middle, color=colour, lw=2, ls="--" if name == AGAINST else "-", label=name)
        left.fill_between(n, low, high, color=colour, alpha=0.15, lw=0)
        skill = [r[f"skill_{by}"] for r in runs if r["strategy"] == name]
        right.plot(np.full(len(skill), number), skill, "o", color=colour, alpha=0.45, markersize=5)
        right.plot([number - 0.25, number + 0.25], [np.median(skill)] * 2, color=colour, lw=2.5)
    left.axvline(figures["initial"], color="0.6", lw=1, ls=":")
    left.annotate("first question", (figures["initial"], 1.0), (4, -2), ("data", "axes fraction"), "offset points",
                  va="top", fontsize=12, color=style.GREY)  # fmt: skip
    left.set(xlabel="labels", ylabel="failures so far", title="What learning cost", xlim=(0, None), ylim=(0, None))
    left.legend(loc="upper left")
    right.set_xticks(range(len(names)), names, rotation=20)
    counted = "success rate of" if by == "success" else "fraction done by"
    right.set(ylabel=f"{counted} the sturdy candidate", title="What was learned, a point a seed")
    style.shares(right)
    return style.save(figure, path)
