"""Summary, tables and speed of the active-learning benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.dbal.autograd import PlainAutograd
from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED, Setting, prior_rows
from memristor_bdnn.benchmark.dbal.methods import make
from memristor_bdnn.benchmark.dbal.run import Protocol64, run
from memristor_bdnn.report.record import print_table

QUALITIES = ("accuracy", "balanced_accuracy", "accuracy_matched", "auc")
"""What runs are compared by. Accuracy alone rewards a threshold that suits the test rows' share of successes; with the
shares matched, and in the area under the ROC curve, no threshold counts."""
THRESHOLD_FREE = QUALITIES[2:]
_MEDIANS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "yes_share",
    "accuracy_matched",
    "auc",
    "nll",
    "ece",
    "pulses",
    "energy_j",
    "system_energy_j",
    "seconds",
    "pool_share_of_successes",
)


def summary(runs: list[dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """results.<method>.<strategy>.<labels>.* with medians and quartiles over the seeds, gains over pairs, the audit.

    Labels "0" is the prior alone, before any label. ``audit`` has the same of the audit's rows, at the last labels.
    """
    results: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for method in dict.fromkeys(r["method"] for r in runs):
        results[method] = {}
        for strategy in dict.fromkeys(r["strategy"] for r in runs if r["method"] == method):
            chosen = [r for r in runs if (r["method"], r["strategy"]) == (method, strategy)]
            results[method][strategy] = {
                labels: _point([r["points"][labels] for r in chosen]) for labels in chosen[0]["points"]
            }
            results[method][strategy]["aulc_median"] = float(np.median([r["aulc"] for r in chosen]))
        gains[method] = _gains([r for r in runs if r["method"] == method], _last)
    last = str(setting.initial + setting.queries)
    sizes = {"sizes": setting.sizes} if setting.skill == PUBLISHED else {}
    return {
        "skill": setting.skill,
        "results": results,
        "active_minus_passive": gains,
        "final_labels": int(last),
        "init": setting.init,
        "prior": setting.prior,
        **sizes,
        "validate": setting.validate,
        **({"pool_successes": setting.successes} if setting.successes else {}),
        "initial": setting.initial,
        "queries": setting.queries,
        **_audit(runs, setting),
    }


def _audit(runs: list[dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """audit.results.<method>.<strategy>.* and audit.active_minus_passive; nothing without an audit."""
    if not setting.audit:
        return {}
    methods = dict.fromkeys(r["method"] for r in runs)
    results: dict[str, Any] = {method: {} for method in methods}
    for run_ in runs:
        results[run_["method"]].setdefault(run_["strategy"], []).append(run_["audit"])
    return {
        "audit": {
            "rows": sum(runs[0]["audit"]["calibration"]["count"]),
            "from": "the pool, withheld by seed" if isinstance(setting.audit, int) else Path(setting.audit).name,
            "results": {m: {strategy: _point(of) for strategy, of in by.items()} for m, by in results.items()},
            "active_minus_passive": {
                m: _gains([r for r in runs if r["method"] == m], lambda run_: run_["audit"]) for m in methods
            },
        }
    }


def _point(points: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in _MEDIANS:
        if name in points[0]:
            made[f"{name}_median"] = float(np.median([p[name] for p in points]))
    for name in QUALITIES:
        values = [p[name] for p in points]
        made[f"{name}_q25"], made[f"{name}_q75"] = (float(v) for v in np.quantile(values, [0.25, 0.75]))
    counts = np.array([p["calibration"]["count"] for p in points], dtype=float)
    total = np.maximum(counts.sum(axis=0), 1)
    made["calibration"] = {
        key: ((np.array([p["calibration"][key] for p in points]) * counts).sum(axis=0) / total).tolist()
        for key in ("predicted", "observed")
    } | {"count": counts.sum(axis=0).tolist()}
    return made


def _gains(runs: list[dict[str, Any]], point: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Per strategy: differences to random over pairs of runs with the same seed, and their standard errors.

    One pair has none (None).

    ``point`` gives the figures of a run that are compared.
    """
    passive = {r["seed"]: r for r in runs if r["strategy"] == "random"}
    out: dict[str, Any] = {}
    for strategy in dict.fromkeys(r["strategy"] for r in runs):
        if strategy == "random":
            continue
        pairs = [(r, passive[r["seed"]]) for r in runs if r["strategy"] == strategy and r["seed"] in passive]
        if not pairs:
            continue
        out[strategy] = {}
        for name in QUALITIES:
            values = [point(a)[name] - point(p)[name] for a, p in pairs]
            out[strategy][f"{name}_median_difference"] = float(
                np.median([point(a)[name] for a, _ in pairs]) - np.median([point(p)[name] for _, p in pairs])
            )
            out[strategy][f"{name}_mean_paired"] = float(np.mean(values))
            out[strategy][f"{name}_standard_error"] = (
                float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
            )
            out[strategy][f"{name}_pairs_won"] = float(np.mean(np.array(values) > 0))
    return out


def _last(result: dict[str, Any]) -> dict[str, Any]:
    point: dict[str, Any] = result["points"][max(result["points"], key=int)]
    return point


def speed(setting: Setting, queries: int = 8, repeats: int = 3) -> dict[str, Any]:
    """CPU seconds of a whole run, and how much longer the plain autograd loop needs for the same queries.

    The published method reads 10 times in each of its 5 gradient evaluations; ours shares 10 reads among them.
    ``speedup_vs_autograd`` compares with the loop as published, ``speedup_vs_autograd_same_reads`` with a loop
    that shares them too.
    """
    trials = setting.trials("msgld", 0)
    started = time.process_time()
    method = make("msgld", 0, prior_rows(setting))
    run(method, trials, "straddle", 0, Protocol64(setting.initial, setting.queries, max(setting.queries, 1)))
    figures = {"run_seconds": time.process_time() - started}
    learner, cfg = method.learner, method.learner.config
    rng = np.random.default_rng(0)
    rows = rng.choice(len(trials.x_pool), setting.initial + setting.queries // 2, replace=False)
    x, y = trials.x_pool[rows], (trials.score_pool[rows] > 0).astype(float)
    samples = method.samples + cfg.memory_samples
    plain = {
        "": PlainAutograd(learner, cfg.reads),
        "_same_reads": PlainAutograd(learner, cfg.reads // cfg.evaluations),
    }
    method.predict(trials.x_pool)
    seconds: dict[str, list[float]] = {"fast": [], **{name: [] for name in plain}}
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(queries):
            learner.learn(x, y)
            method.predict(trials.x_pool)
        seconds["fast"].append((time.process_time() - started) / queries)
        for name, loop in plain.items():
            seconds[name].append(loop.seconds_per_query(x, y, trials.x_pool, samples))
    figures["query_seconds"] = float(np.median(seconds["fast"]))
    for name in plain:
        figures[f"autograd_query_seconds{name}"] = float(np.median(seconds[name]))
        ratio = np.array(seconds[name]) / np.array(seconds["fast"])
        figures[f"speedup_vs_autograd{name}"] = float(np.median(ratio))
    return figures


def print_tables(figures: dict[str, Any]) -> None:
    """The contest, the gains, the audit, and the derived figures."""
    last = str(figures["final_labels"])
    title = f"{last} labels, medians over seeds (quartiles), prior: {figures['prior']}"
    rows = []
    for method, strategies in figures["results"].items():
        if "0" in (points := next(iter(strategies.values()))):
            rows.append([method, "the prior, no label", *_cells(points["0"])])
        rows += [[method, strategy, *_cells(points[last])] for strategy, points in strategies.items()]
    print_table(title, ["method", "strategy", *_HEADS], rows)
    _print_gains("active minus passive, mean over pairs and its standard error", figures["active_minus_passive"])
    if "audit" in figures:
        audit = figures["audit"]
        rows = [[m, s, *_cells(point)] for m, by in audit["results"].items() for s, point in by.items()]
        print_table(
            f"audit: {audit['rows']} rows of {audit['from']}, {last} labels", ["method", "strategy", *_HEADS], rows
        )
        _print_gains("audit: active minus passive", audit["active_minus_passive"])
    if "passive_curve" in figures:
        _print_passive(figures)
    if "run_seconds" in figures:
        fast, slow = figures["query_seconds"] * 1e3, figures["autograd_query_seconds"] * 1e3
        print(
            f"whole run {figures['run_seconds']:.1f} s CPU; one query {fast:.0f} ms, plain autograd {slow:.0f} ms: "
            f"{figures['speedup_vs_autograd']:.1f} times faster "
            f"({figures['speedup_vs_autograd_same_reads']:.1f} times a loop with as few reads)"
        )


_HEADS = ("accuracy", "balanced", "matched", "AUC", "yes", "NLL", "ECE", "pulses", "CPU s")


def _cells(p: dict[str, Any]) -> list[str]:
    return [
        f"{p['accuracy_median']:.3f} ({p['accuracy_q25']:.3f}-{p['accuracy_q75']:.3f})",
        *(f"{p[f'{name}_median']:.3f}" for name in (*QUALITIES[1:], "yes_share", "nll", "ece")),
        f"{p['pulses_median']:.0f}" if "pulses_median" in p else "-",
        f"{p['seconds_median']:.1f}" if "seconds_median" in p else "-",
    ]


def _with_error(value: float, error: float | None) -> str:
    """One pair has no standard error."""
    return f"{value:+.3f}" if error is None else f"{value:+.3f} +- {error:.3f}"


def _print_gains(title: str, gains: dict[str, Any]) -> None:
    rows = [
        [m, s, *(_with_error(g[f"{name}_mean_paired"], g[f"{name}_standard_error"]) for name in QUALITIES)]
        for m, by in gains.items()
        for s, g in by.items()
    ]
    if rows:
        print_table(title, ["method", "strategy", "accuracy", "balanced", "matched", "AUC"], rows)


def _print_passive(figures: dict[str, Any]) -> None:
    """The curve of random labels, and how many of them asked ones are worth."""
    curve, last = figures["passive_curve"], figures["final_labels"]
    print_table(
        "our recipe without prior on random labels, learned at once",
        ["labels", "accuracy", "balanced", "matched", "AUC"],
        [[n, *(v[f"{name}_median"] for name in QUALITIES)] for n, v in curve.items()],
    )
    for strategy, value in figures["passive_equivalent_labels"].items():
        for name, n in value.items():
            said = f"{n:.0f}" if n is not None else f"more than {max(map(int, curve))}"
            print(f"{last} labels by {strategy}, one by one, equal {said} random ones learned at once in {name}")
