"""What asked labels are worth: the recipe on ever more random labels, beside the active result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark import runs
from memristor_bdnn.benchmark.dbal.jobs import Setting
from memristor_bdnn.benchmark.dbal.methods import MemristorMethod
from memristor_bdnn.benchmark.dbal.report import QUALITIES, THRESHOLD_FREE
from memristor_bdnn.benchmark.dbal.run import Protocol64, run
from memristor_bdnn.benchmark.runs import code_digest

PASSIVE_SIZES = (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
CODE = "benchmark/dbal/passive.py"


def passive_labels(
    figures: dict[str, Any],
    seeds: list[int],
    setting: Setting,
    work: Path | None,
    workers: int = 1,
    largest: int = 2048,
) -> dict[str, Any]:
    """The recipe without prior on more and more random labels, learned at once, and how many equal each result.

    Only in what knows no threshold: one that suits the test rows would count as labels. Random labels that were learned
    one by one are compared too: what asking is worth is the difference.
    """
    plain = dataclasses.replace(setting, prior="none", prior_pool=None, audit=0)
    smallest = min(len(plain.trials("msgld", seed).x_pool) for seed in seeds)
    sizes = [n for n in PASSIVE_SIZES if n <= min(largest, smallest)]
    key = f"{code_digest(CODE)}{plain.key('msgld')}"
    jobs = [(n, seed) for n in sizes for seed in seeds]
    found = runs.run_all(
        work, [f"{key}-passive-{n}-{seed}.json" for n, seed in jobs], execute, [(plain, *job) for job in jobs], workers
    )
    curve = {
        str(n): {
            f"{name}_median": float(np.median([r[name] for r, job in zip(found, jobs, strict=True) if job[0] == n]))
            for name in QUALITIES
        }
        for n in sizes
    }
    equivalents = {}
    for strategy, points in figures["results"]["msgld"].items():
        final = points[str(figures["final_labels"])]
        equivalents[strategy] = {
            name: _labels_for(final[f"{name}_median"], [(n, curve[str(n)][f"{name}_median"]) for n in sizes])
            for name in THRESHOLD_FREE
        }
    return {"passive_curve": curve, "passive_equivalent_labels": equivalents}


def execute(setting: Setting, n: int, seed: int) -> dict[str, float]:
    """QUALITIES of the recipe without prior on n random rows, learned at once."""
    method = MemristorMethod("pouring", seed, None, max_epochs=60)
    point = run(method, setting.trials("msgld", seed), "random", seed, Protocol64(n, 0, 1))["points"][str(n)]
    return {name: point[name] for name in QUALITIES}


def _labels_for(value: float, curve: list[tuple[int, float]]) -> float | None:
    """Labels at which a curve first reaches a value (linear in log labels); None if it never does."""
    for (n0, a0), (n1, a1) in zip([(curve[0]), *curve], curve, strict=False):
        if a1 >= value:
            if a1 == a0 or n0 == n1:
                return float(n1)
            share = (value - a0) / (a1 - a0)
            return float(np.exp(np.log(n0) + share * (np.log(n1) - np.log(n0))))
    return None
