"""Medians and spread of the runs, and the tables of `benchmark stability`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.stability.run import REMEDIES, Setting
from memristor_bdnn.report.record import print_table


def summary(runs: list[dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """``results.<learner>.<condition>.<remedy>.<figure>``: lists over hours of median, quartiles and extremes."""
    results: dict[str, dict[str, Any]] = {}
    for run in runs:
        results.setdefault(run["learner"], {}).setdefault(run["condition"], []).append(run)
    made = {
        learner: {name: _over_seeds(found) for name, found in conditions.items()}
        for learner, conditions in results.items()
    }
    return {**dataclasses.asdict(setting), "hours": list(setting.hours), "remedies": REMEDIES, "results": made}


def _over_seeds(runs: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for remedy in REMEDIES:
        points = [[run["points"][k][remedy] for run in runs] for k in range(len(runs[0]["points"]))]
        names = dict.fromkeys(name for of in points for name in of[0])  # some figures are not taken at every hour
        made[remedy] = {name: _spread(points, name) for name in names}
    return made


def _spread(points: list[list[dict[str, float]]], figure: str) -> dict[str, list[float | None]]:
    """Lists over hours; None where the figure was not taken."""
    values = [[seed[figure] for seed in of if figure in seed] for of in points]
    shares = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
    return {name: [float(np.quantile(v, share)) if v else None for v in values] for name, share in shares.items()}


_TABLES = {
    "accuracy": "accuracy on test rows (lowest seed)",
    "nll": "negative log likelihood",
    "ece": "expected calibration error",
    "answers_kept": "share of test rows answered as after learning",
    "choices_kept": "share of contexts with the same choice as after learning",
    "fraction": "fraction of the task that the choices do in the simulated world (lowest seed)",
}
_WITH_LOWEST = ("accuracy", "fraction")


def print_tables(figures: dict[str, Any]) -> None:
    """For every learner a table a figure, with a row a condition; then what re-learning costs."""
    last = f"{figures['hours'][-1]:g} h"
    for learner, conditions in figures["results"].items():
        for figure, text in _TABLES.items():
            if figure in next(iter(conditions.values()))["nothing"]:
                rows = [[name, *_row(of, figure)] for name, of in conditions.items()]
                heads = ["", "mean shift (uA)", "after learning", *(f"{last}, {remedy}" for remedy in REMEDIES)]
                print_table(f"{learner}: {text}", heads, rows)
        print_table(
            f"{learner}: what one re-learning costs after {last}",
            ["", "epochs", "pulses", "energy in the cells (mJ)", "of the system (mJ)", "time (s)"],
            [[name, *_cost(of["relearning"])] for name, of in conditions.items()],
        )


def _row(of: dict[str, Any], figure: str) -> list[str]:
    shift = of["nothing"]["shift_ua"]["median"][-1]
    cells = [_cell(of[remedy][figure], -1, figure in _WITH_LOWEST) for remedy in REMEDIES]
    return [f"{shift:+.3f}", _cell(of["nothing"][figure], 0, figure in _WITH_LOWEST), *cells]


def _cell(spread: dict[str, list[float]], hour: int, lowest: bool) -> str:
    return f"{spread['median'][hour]:.3f}" + (f" ({spread['min'][hour]:.2f})" if lowest else "")


def _cost(of: dict[str, Any]) -> list[str]:
    found = {name: of[name]["median"][-1] for name in ("epochs", "pulses", "latency_s")}
    energies = [f"{1e3 * of[name]['median'][-1]:.3g}" for name in ("device_energy_j", "system_energy_j")]
    return [f"{found['epochs']:.0f}", f"{found['pulses']:,.0f}", *energies, f"{found['latency_s']:.3g}"]
