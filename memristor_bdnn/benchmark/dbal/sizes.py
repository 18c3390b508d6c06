"""Do labels agree that repeated sizes are wrong? The simulated prior, which saw no label, against all pool rows.

Nothing is chosen here: which sizes are distrusted, and how much, follows from the inputs alone (:mod:`.published`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.methods import MemristorMethod
from memristor_bdnn.benchmark.dbal.published import VESSELS, are_published, bowl_scales, corrected_sizes, sharing
from memristor_bdnn.benchmark.dbal.run import figures
from memristor_bdnn.report.record import print_table
from memristor_bdnn.skills.pouring import pool

WIDTH_EDGES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
GROUPS = (("alone", 1, 1), ("2 to 4", 2, 4), ("5 to 8", 5, 8), ("9 and more", 9, 10**9))
"""Rows by how many record the same bowl."""
_FIGURES = ("auc", "balanced_accuracy", "nll")


def study(trials: Trials, seeds: list[int]) -> dict[str, Any]:
    """sizes.<recorded|corrected>.{auc,balanced_accuracy,nll}_median, ``auc_by_group``, and ``gap_by_width``.

    Groups are of rows that share a recorded bowl; the gap is observed minus predicted successes by the recorded width
    scale of the bowl. Empty, and said so, for a dataset whose vessels are not the published ones.
    """
    if not are_published(trials.x_pool):
        print("skipping the vessels' sizes: these are not the published ones")
        return {}
    simulated = pool.load()
    seen = {"recorded": trials.x_pool, "corrected": corrected_sizes(trials.x_pool)}
    shared = sharing(trials.x_pool[:, VESSELS["bowl sizes"]])
    groups = {name: np.flatnonzero((shared >= low) & (shared <= high)) for name, low, high in GROUPS}
    bins = np.digitize(bowl_scales(trials.x_pool)[:, 0], WIDTH_EDGES[1:-1])
    success = trials.score_pool > 0
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in seen}
    for seed in seeds:
        method = MemristorMethod("pouring_prior", seed, (simulated.x, simulated.score))
        method.prepare()
        for name, x in seen.items():
            p = method.predict(x).mean
            by_group = [_auc(p[rows], trials.score_pool[rows]) for rows in groups.values()]
            gap = [float((success - p)[bins == k].mean()) for k in range(len(WIDTH_EDGES) - 1)]
            found[name].append({**figures(p, trials.score_pool), "groups": by_group, "gap": gap})
    result = {
        name: {
            **{f"{k}_median": float(np.median([r[k] for r in runs])) for k in _FIGURES},
            "auc_by_group": dict(zip(groups, np.median([r["groups"] for r in runs], axis=0).tolist(), strict=True)),
            "gap_by_width": np.median([r["gap"] for r in runs], axis=0).tolist(),
        }
        for name, runs in found.items()
    }
    rows = [
        [name, *(f"{r[f'{k}_median']:.3f}" for k in _FIGURES), *(f"{a:.3f}" for a in r["auc_by_group"].values())]
        for name, r in result.items()
    ]
    heads = [f"AUC, {name} ({len(rows_)})" for name, rows_ in groups.items()]
    print_table(
        f"simulated trials alone, no published label, against all pool rows; {len(seeds)} seeds, medians; "
        "by how many rows record the same bowl",
        ["sizes", "AUC", "balanced", "NLL", *heads],
        rows,
    )
    counts = {name: len(rows_) for name, rows_ in groups.items()}
    return {"sizes": result, "sizes_rows_by_group": counts, "width_edges": list(WIDTH_EDGES)}


def _auc(p: Any, score: Any) -> float:
    """NaN where a group holds one class only."""
    both = (score > 0).any() and (score <= 0).any()
    return float(figures(p, score)["auc"]) if both else float("nan")
