"""Summary, tables and the derived figures of the active-learning benchmark."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.dbal.autograd import PlainAutograd
from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED, Setting, prior_rows
from memristor_bdnn.benchmark.dbal.methods import MemristorMethod, make
from memristor_bdnn.benchmark.dbal.run import Protocol64, run
from memristor_bdnn.report.record import print_table
from memristor_bdnn.state import write_atomic

PASSIVE_SIZES = (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_MEDIANS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
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
    """results.<method>.<strategy>.<labels>.* with medians and quartiles over the seeds, and gains."""
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
        gains[method] = _gains([r for r in runs if r["method"] == method])
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
        "initial": setting.initial,
        "queries": setting.queries,
    }


def _point(points: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in _MEDIANS:
        if name in points[0]:
            made[f"{name}_median"] = float(np.median([p[name] for p in points]))
    for name in ("accuracy", "balanced_accuracy"):
        values = [p[name] for p in points]
        made[f"{name}_q25"], made[f"{name}_q75"] = (float(v) for v in np.quantile(values, [0.25, 0.75]))
    counts = np.array([p["calibration"]["count"] for p in points], dtype=float)
    total = np.maximum(counts.sum(axis=0), 1)
    made["calibration"] = {
        key: ((np.array([p["calibration"][key] for p in points]) * counts).sum(axis=0) / total).tolist()
        for key in ("predicted", "observed")
    } | {"count": counts.sum(axis=0).tolist()}
    return made


def _gains(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Per strategy: paired differences to random at the last number of labels, and at the first."""
    passive = {r["seed"]: r for r in runs if r["strategy"] == "random"}
    out: dict[str, Any] = {}
    for strategy in dict.fromkeys(r["strategy"] for r in runs):
        if strategy == "random":
            continue
        pairs = [(r, passive[r["seed"]]) for r in runs if r["strategy"] == strategy and r["seed"] in passive]
        if not pairs:
            continue
        out[strategy] = {}
        for name in ("accuracy", "balanced_accuracy", "auc"):
            values = [_last(a)[name] - _last(p)[name] for a, p in pairs]
            out[strategy][f"{name}_median_difference"] = float(
                np.median([_last(a)[name] for a, _ in pairs]) - np.median([_last(p)[name] for _, p in pairs])
            )
            out[strategy][f"{name}_mean_paired"] = float(np.mean(values))
            out[strategy][f"{name}_standard_error"] = (
                float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
            )
            out[strategy][f"{name}_pairs_won"] = float(np.mean(np.array(values) > 0))
    return out


def _last(result: dict[str, Any]) -> dict[str, Any]:
    point: dict[str, Any] = result["points"][max(result["points"], key=int)]
    return point


def passive_labels(
    figures: dict[str, Any],
    seeds: list[int],
    setting: Setting,
    work: Path | None,
    largest: int = 2048,
) -> dict[str, Any]:
    """Accuracy of the recipe without prior on more and more random labels, and how many equal the active result."""
    data = {seed: setting.trials("msgld", seed) for seed in seeds}
    sizes = [n for n in PASSIVE_SIZES if n <= min(largest, *(len(trials.x_pool) for trials in data.values()))]
    plain = dataclasses.replace(setting, prior="none", prior_pool=None)
    path = None if work is None else work / f"{plain.key('msgld')}-passive-{len(seeds)}-{max(sizes)}.json"
    if path is not None and path.exists():
        curve = json.loads(path.read_text())
    else:
        accuracy = np.array([[_passive(trials, seed, n) for n in sizes] for seed, trials in data.items()])
        median = np.median(accuracy, axis=0)
        curve = {
            str(n): {"accuracy_median": float(a), "balanced_accuracy_median": float(b)}
            for n, (a, b) in zip(sizes, median, strict=True)
        }
        if path is not None:
            write_atomic(path, json.dumps(curve).encode())
    equivalents = {}
    active = {k: v for k, v in figures["results"]["msgld"].items() if k != "random"}
    for strategy, points in active.items():
        final = points[str(figures["final_labels"])]
        equivalents[strategy] = {
            name: _labels_for(final[f"{name}_median"], [(n, curve[str(n)][f"{name}_median"]) for n in sizes])
            for name in ("accuracy", "balanced_accuracy")
        }
    return {"passive_curve": curve, "passive_equivalent_labels": equivalents}


def _passive(trials: Trials, seed: int, n: int) -> tuple[float, float]:
    """(accuracy, balanced accuracy) of the recipe without prior on n random rows, learned at once."""
    method = MemristorMethod("pouring", seed, None, max_epochs=60)
    point = _last(run(method, trials, "random", seed, Protocol64(n, 0, 1)))
    return point["accuracy"], point["balanced_accuracy"]


def _labels_for(value: float, curve: list[tuple[int, float]]) -> float | None:
    """Labels at which a curve first reaches a value (linear in log labels); None if it never does."""
    for (n0, a0), (n1, a1) in zip([(curve[0]), *curve], curve, strict=False):
        if a1 >= value:
            if a1 == a0 or n0 == n1:
                return float(n1)
            share = (value - a0) / (a1 - a0)
            return float(np.exp(np.log(n0) + share * (np.log(n1) - np.log(n0))))
    return None


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
    """The contest, the gains, and the derived figures."""
    last = str(figures["final_labels"])
    rows = []
    for method, strategies in figures["results"].items():
        for strategy, points in strategies.items():
            p = points[last]
            rows.append(
                [
                    method,
                    strategy,
                    f"{p['accuracy_median']:.3f} ({p['accuracy_q25']:.3f}-{p['accuracy_q75']:.3f})",
                    f"{p['balanced_accuracy_median']:.3f}",
                    f"{p['auc_median']:.3f}",
                    f"{p['nll_median']:.3f}",
                    f"{p['ece_median']:.3f}",
                    f"{points['aulc_median']:.3f}",
                    f"{p['pulses_median']:.0f}" if "pulses_median" in p else "-",
                    f"{p['energy_j_median']:.2e}" if "energy_j_median" in p else "-",
                    f"{p['seconds_median']:.1f}",
                ]
            )
    print_table(
        f"{last} labels, medians over seeds (quartiles), prior: {figures['prior']}",
        ["method", "strategy", "accuracy", "balanced", "AUC", "NLL", "ECE", "AULC", "pulses", "energy J", "CPU s"],
        rows,
    )
    rows = [
        [
            m,
            s,
            f"{g['accuracy_median_difference']:+.3f}",
            f"{g['accuracy_mean_paired']:+.3f} +- {g['accuracy_standard_error']:.3f}",
            f"{g['balanced_accuracy_mean_paired']:+.3f} +- {g['balanced_accuracy_standard_error']:.3f}",
            f"{g['auc_mean_paired']:+.3f} +- {g['auc_standard_error']:.3f}",
            f"{g['accuracy_pairs_won']:.0%}",
        ]
        for m, by in figures["active_minus_passive"].items()
        for s, g in by.items()
    ]
    print_table(
        "active minus passive",
        ["method", "strategy", "medians", "paired mean", "balanced", "AUC", "pairs won"],
        rows,
    )
    if "passive_curve" in figures:
        print_table(
            "our recipe without prior on random labels",
            ["labels", "accuracy", "balanced"],
            [[n, v["accuracy_median"], v["balanced_accuracy_median"]] for n, v in figures["passive_curve"].items()],
        )
        for strategy, value in figures["passive_equivalent_labels"].items():
            for name, n in value.items():
                said = f"{n:.0f}" if n is not None else f"more than {max(map(int, figures['passive_curve']))}"
                print(f"{last} labels by {strategy} equal {said} random labels without prior in {name}")
    if "run_seconds" in figures:
        fast, slow = figures["query_seconds"] * 1e3, figures["autograd_query_seconds"] * 1e3
        print(
            f"whole run {figures['run_seconds']:.1f} s CPU; one query {fast:.0f} ms, plain autograd {slow:.0f} ms: "
            f"{figures['speedup_vs_autograd']:.1f} times faster "
            f"({figures['speedup_vs_autograd_same_reads']:.1f} times a loop with as few reads)"
        )
