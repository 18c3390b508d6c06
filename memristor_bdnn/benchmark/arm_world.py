"""Trials with an arm: how fast, and whether beads that ride to the bowl give the labels of beads simulated all the way.

Two seeds of one world (other beads, frictions, masses) do not agree on every row; the two ways must agree as well as
that. Times are processor time of this process.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
WAYS = {"riding": False, "simulated": True}
"""What happens to the beads on the way to the bowl, and the world's option `beads_on_the_way`."""


def compare(arm: str, data: str | None, rows: int, seeds: int = 2) -> dict[str, Any]:
    """Pour rows with an arm, the beads riding and simulated on the way, each with some seeds.

    Args:
        arm: name or YAML file.
        data: the published pool or its folder; see :func:`memristor_bdnn.benchmark.planning.published_rows`.
        rows: to plan; those without a plan are left out.
        seeds: simulations of each row and way, at least 2.

    Raises:
        PlanningError: no row could be planned.
    """
    from memristor_bdnn.benchmark.planning import published_rows
    from memristor_bdnn.skills.pouring.context import PourContext
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    contexts, parameters, source = published_rows(data, rows, np.random.default_rng(0))
    plans = plans_of(arm, contexts, parameters)
    fraction = {way: np.empty((seeds, len(plans))) for way in WAYS}
    seconds = {way: np.empty((seeds, len(plans))) for way in WAYS}
    for way, simulated in WAYS.items():
        with PouringWorld(WorldConfig(arm=arm, beads_on_the_way=simulated)) as world:
            for k in range(seeds):
                for j, (i, plan) in enumerate(plans):
                    world.reset(k * rows + i, PourContext.from_array(contexts[i]))
                    begin = time.process_time()
                    fraction[way][k, j] = world.pour_with_arm(plan).fraction_in_bowl
                    seconds[way][k, j] = time.process_time() - begin
    return {
        "arm": arm,
        "source_of_pours": source,
        "arm_rows": rows,
        "arm_planned": len(plans),
        **agreements(fraction),
        **{f"arm_trials_per_cpu_s_{way}": float(1.0 / np.median(s)) for way, s in seconds.items()},
    }


def plans_of(arm: str, contexts: FloatArray, parameters: FloatArray) -> list[tuple[int, Any]]:
    """Plans of the rows that have one, with the rows' numbers."""
    from memristor_bdnn.config import build
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import arms
    from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
    from memristor_bdnn.skills.pouring.motion import NODE_DEFAULTS, PlannerConfig, PourPlanner

    planner = PourPlanner(arms.load(arm), build(PlannerConfig, NODE_DEFAULTS))
    plans = []
    for i, (context, control) in enumerate(zip(contexts, parameters, strict=True)):
        try:
            plans.append((i, planner.plan(PourContext.from_array(context), PourParameters.from_array(control), seed=0)))
        except PlanningError:
            continue
    planner.close()
    if not plans:
        raise PlanningError("no_ik", f"{arm}: none of {len(contexts)} pours could be planned")
    return plans


def agreements(fraction: dict[str, FloatArray]) -> dict[str, float]:
    """Shares of equal labels within and between the ways, and how the fractions poured differ.

    Args:
        fraction: poured, (seeds, n) for each of :data:`WAYS`.
    """
    riding, simulated = fraction["riding"], fraction["simulated"]
    seeds = range(len(riding))

    def within(found: FloatArray) -> float:
        return float(np.mean([_equal(found[a], found[b]) for a in seeds for b in range(a)]))

    difference = (riding - simulated).ravel()
    return {
        "agreement_same_seed": float(np.mean([_equal(riding[k], simulated[k]) for k in seeds])),
        "agreement_other_seed": float(
            np.mean([_equal(riding[a], simulated[b]) for a in seeds for b in seeds if a != b])
        ),
        "self_agreement_riding": within(riding),
        "self_agreement_simulated": within(simulated),
        "fraction_mean_difference": float(difference.mean()),
        "fraction_mean_difference_se": float(difference.std() / np.sqrt(difference.size)),
        "success_riding": float((riding >= 0.9).mean()),
        "success_simulated": float((simulated >= 0.9).mean()),
    }


def _equal(a: FloatArray, b: FloatArray) -> float:
    """Share of equal labels of fractions poured (n,)."""
    return float(((a >= 0.9) == (b >= 0.9)).mean())


def show(f: dict[str, Any]) -> None:
    """Print the figures beside what they should be."""
    from memristor_bdnn.report import record as common

    ceiling = f"about {f['self_agreement_simulated']:.3f}, two seeds of one world"
    common.print_table(
        f"pours with {f['arm']}: {f['arm_planned']} planned of {f['arm_rows']} rows ({f['source_of_pours']})",
        ("figure", "measured", "expected"),
        [
            ("trials a CPU second, beads riding to the bowl", f["arm_trials_per_cpu_s_riding"], ">= 3"),
            ("trials a CPU second, beads simulated on the way", f["arm_trials_per_cpu_s_simulated"], ""),
            ("equal labels of both, same seed", f["agreement_same_seed"], f"at least {ceiling}"),
            ("equal labels of both, other seeds", f["agreement_other_seed"], ceiling),
            ("equal labels of two seeds, riding", f["self_agreement_riding"], ceiling),
            ("fraction poured, riding less simulated", f["fraction_mean_difference"], "0"),
            ("its standard error", f["fraction_mean_difference_se"], ""),
            ("successes, riding", f["success_riding"], ""),
            ("successes, simulated", f["success_simulated"], ""),
        ],
    )
