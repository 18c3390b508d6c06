"""How much of a recorded bowl's scale the published outcomes bear out: the simulated prior against all pool rows.

This looks at every label of the pool, and at no test row. What it found is the constant ``sizes.TRUST``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.methods import MemristorMethod
from memristor_bdnn.benchmark.dbal.run import figures
from memristor_bdnn.report.record import print_table
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.sizes import are_published, bowl_scales, corrected_sizes

TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
WIDTH_EDGES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)


def study(trials: Trials, seeds: list[int]) -> dict[str, Any]:
    """sizes.<trust>.{auc,balanced_accuracy,nll}_median, and by width scale the observed minus predicted successes.

    Empty, and said so, for a dataset whose bowls are not the published ones.
    """
    if not are_published(trials.x_pool):
        print("skipping the bowls' sizes: these are not the published bowls")
        return {}
    width = bowl_scales(trials.x_pool)[:, 0]
    simulated = pool.load()
    success = trials.score_pool > 0
    found: dict[float, list[dict[str, Any]]] = {trust: [] for trust in TRUSTS}
    for seed in seeds:
        method = MemristorMethod("pouring_prior", seed)
        method.learner.fit(simulated.x, (simulated.score + 1.0) / 2.0)
        for trust in TRUSTS:
            p = method.predict(corrected_sizes(trials.x_pool, trust)).mean
            bins = np.digitize(width, WIDTH_EDGES[1:-1])
            gap = [float((success - p)[bins == k].mean()) for k in range(len(WIDTH_EDGES) - 1)]
            found[trust].append({**figures(p, trials.score_pool), "gap": gap})
    result = {
        str(trust): {
            **{f"{k}_median": float(np.median([r[k] for r in runs])) for k in ("auc", "balanced_accuracy", "nll")},
            "gap_by_width": np.median([r["gap"] for r in runs], axis=0).tolist(),
        }
        for trust, runs in found.items()
    }
    rows = [
        [trust, *[f"{r[f'{k}_median']:.3f}" for k in ("auc", "balanced_accuracy", "nll")]]
        + [" ".join(f"{100 * g:+.0f}" for g in r["gap_by_width"])]
        for trust, r in result.items()
    ]
    edges = " ".join(f"{e:g}" for e in WIDTH_EDGES)
    print_table(
        f"simulated trials alone, no published label, against all pool rows; {len(seeds)} seeds, medians",
        ["trust in scale", "AUC", "balanced", "NLL", f"successes missed, points, by width ({edges})"],
        rows,
    )
    return {"sizes": result, "width_edges": list(WIDTH_EDGES)}
