"""Rates of the running system: prediction, one in situ learning round, a trial with the arm, a plan.

Baselines in the same run: prediction against a plain float64 loop over the posterior samples, the
arm's trial against the cup alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from memristor_bdnn.report import record as common

TARGETS = {
    "predict_10000x20_s": "below 0.5",
    "learn_round_128_s": "below 1",
    "arm_trials_per_cpu_s": "at least 3",
    "plan_median_s": "below 0.3",
    "over_ros_more_s": "below 0.001",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--arm chooses the arm."""
    parser.add_argument("--arm", default="panda", help="arm description: a name or a YAML file")
    parser.add_argument("--ros", action="store_true", help="instead, predictions by a node beside those in process")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    common.check_out(args.out)
    if args.ros:
        return _over_ros(args)
    seeds = list(range(args.seeds or (1 if args.quick else 5)))
    figures = {**_learner_figures(seeds, args.quick), **trial_figures(args.arm, seeds, 4 if args.quick else 12)}
    rows = [(name, value, TARGETS.get(name, "")) for name, value in figures.items()]
    common.print_table("speed (CPU seconds of one core, medians)", ["figure", "value", "target"], rows)
    common.write_record(args.out, common.record(figures, seeds))
    return 0


def _over_ros(args: argparse.Namespace) -> int:
    """Predictions over ROS, on the clock."""
    from memristor_bdnn.benchmark import over_ros

    seeds = list(range(args.seeds or 1))
    calls = over_ros.CALLS // 3 if args.quick else over_ros.CALLS
    each = [over_ros.figures(seed, calls) for seed in seeds]
    figures = {name: float(np.median([found[name] for found in each])) for name in each[0]}
    rows = [(name, value, TARGETS.get(name, "")) for name, value in figures.items()]
    title = f"{over_ros.CANDIDATES} candidates by a node and in process (seconds on the clock, {calls} calls)"
    common.print_table(title, ["figure", "value", "target"], rows)
    common.write_record(args.out, common.record(figures, seeds))
    return 0


def _cpu(work: Callable[..., Any], *arguments: Any) -> float:
    """CPU seconds of this process for one call: other work on the machine does not count."""
    began = time.process_time()
    work(*arguments)
    return time.process_time() - began


def _learner_figures(seeds: list[int], quick: bool) -> dict[str, float]:
    from memristor_bdnn import accelerator, learners

    predict, plain, learn = [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        chips = accelerator.create("simulated", seed=seed)
        learner: Any = learners.create("msgld", chips, seed=seed)
        x = rng.uniform(-1, 1, (128, learner.n_inputs))
        y = (np.sin(3 * x[:, 0]) + x[:, 1] > 0).astype(float)
        learner.fit(x[:64], y[:64])
        learn.append(_cpu(learner.learn, x, y))
        many = rng.uniform(-1, 1, (10_000, learner.n_inputs))
        predict.append(min(_cpu(learner.predict, many, 20) for _ in range(3)))
        plain.append(_cpu(plain_prediction, chips, many))
        chips.close()
    return {
        "predict_10000x20_s": float(np.median(predict)),
        "predict_plain_loop_s": float(np.median(plain)),
        "predict_speedup": float(np.median(plain) / np.median(predict)),
        "learn_round_128_s": float(np.median(learn)),
    }


def plain_prediction(chips: Any, x: Any) -> Any:
    """The same prediction written plainly: one read and one float64 pass after the other."""
    shapes = ((12, 50, 3), (51, 50, 3), (51, 2, 3))
    outputs = []
    for _ in range(20):
        currents, h, offset = chips.read(1)[0].astype(float), x, 0
        for layer, shape in enumerate(shapes):
            n = int(np.prod(shape))
            w = (currents[offset : offset + n].reshape(shape).sum(-1) - 6.66) / 1.1
            offset += n
            h = np.concatenate([h, np.ones((len(h), 1))], axis=1) @ w
            if layer < 2:
                h = 1.0 / (1.0 + np.exp(-h))
        e = np.exp(h - h.max(axis=1, keepdims=True))
        outputs.append(e[:, 1] / e.sum(axis=1))
    return np.mean(outputs, axis=0), np.std(outputs, axis=0)


def trial_figures(arm: str, seeds: list[int], trials: int) -> dict[str, float]:
    """Rates of simulated trials with an arm and with the cup alone, and how plans for them go."""
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import arms
    from memristor_bdnn.skills.pouring.context import PourParameters
    from memristor_bdnn.skills.pouring.motion import PourPlanner
    from memristor_bdnn.skills.pouring.skill import PouringSkill
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    planner = PourPlanner(arms.load(arm))
    skill = PouringSkill()
    plans, poured, alone, planned = [], [], [], 0
    with PouringWorld(WorldConfig(arm=arm)) as world, PouringWorld(WorldConfig()) as free:
        for k in range(trials * len(seeds)):
            context = world.reset(k)
            rng = np.random.default_rng([seeds[k // trials], k])
            parameters = PourParameters.from_array(skill.sample_candidates(context.array(), 1, rng)[0])
            began = time.process_time()
            try:
                plan = planner.plan(context, parameters, seed=k)
            except PlanningError:
                plans.append(time.process_time() - began)
                continue
            plans.append(time.process_time() - began)
            planned += 1
            poured.append(_cpu(world.pour_with_arm, plan))
            free.reset(k)
            alone.append(_cpu(free.pour_cup_alone, parameters))
    planner.close()
    return {
        "arm_trials_per_cpu_s": float(1.0 / np.median(poured)),
        "cup_alone_trials_per_cpu_s": float(1.0 / np.median(alone)),
        "plan_median_s": float(np.median(plans)),
        "planned_share": planned / len(plans),
    }
