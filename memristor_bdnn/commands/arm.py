"""Whether a description of an arm is right: measured part by part, with what to change.

arm check ur5e                          an arm by name
arm check my_arm.yaml --out my_arm.json  one described in a file (docs/your_arm.md)
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import Counter
from typing import Any

from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.parsing import RawHelp

HOPELESS = 10
"""Trials without a single plan after which the rest is not tried."""
ENOUGH = 0.9
"""Share of planned trials below which it is a problem."""
REMEDIES = {
    "no_ik": "they are out of reach: move the base (mount_position, mount_height), or take a longer arm",
    "joint_limits": "joint limits or speeds stand in the way: check lower, upper, velocity; or move the base",
    "collision": "what the text names is in the way: move the base, check tool_offset and shapes, or use may_touch",
    "start_mismatch": "home is no start: choose another, or name in gripper_links all that may touch what is held",
    "timeout": "the way from home is hard to find: choose a home nearer to where the work is",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser per noun."""
    parser.formatter_class = RawHelp
    sub = parser.add_subparsers(dest="noun", required=True, metavar="check")
    check = sub.add_parser("check", help="measure an arm: kinematics, solver, limits, home, shapes, plans of a skill")
    check.add_argument("arm", metavar="NAME|FILE", help="arm: a name (see `memristor-bdnn info`) or a YAML file")
    shared.add_skill(check)
    check.add_argument("--trials", type=int, default=30, metavar="N", help="random trials to plan (default 30)")
    check.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    check.add_argument("--out", metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write; returns 1 if something is wrong."""
    from memristor_bdnn import skills
    from memristor_bdnn.motion import arms
    from memristor_bdnn.motion.check import Report, check
    from memristor_bdnn.report import record as common

    common.check_out(args.out)
    if args.trials < 0:
        raise ConfigError(f"--trials {args.trials}: expected 0 or more")
    skill = skills.load(args.skill)
    if not skill.phases:
        raise ConfigError(f"--skill {skill.name}: it plans no motion, so no arm can be checked with it")
    planned: dict[str, Any] = {f"{skill.trials_name}_planned_share": None}
    name = args.arm
    try:
        arm = arms.load(args.arm)
    except ConfigError as error:
        report = Report(problems=[str(error)])
    else:
        name = arm.name
        report = check(arm, args.seed)
        if report.kinematics_max_error_m is not None and report.ik_lost is not None and args.trials:
            planned, problems = plans(skill, args.arm, args.trials, args.seed)
            report.problems += problems
    figures = {"arm": name, "skill": skill.name, **dataclasses.asdict(report), **planned}
    show(figures)
    common.write_record(args.out, common.record(figures, [args.seed]))
    return 1 if report.problems else 0


def plans(skill: Any, arm: str, trials: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Plan random trials of a skill: figures by name, and what is wrong."""
    import numpy as np

    name = skill.trials_name
    try:
        planner = skill.motion(arm)
    except ConfigError as error:
        return {f"{name}_planned_share": None}, [f"skill {skill.name}: {error}"]
    rng, seconds = np.random.default_rng(seed), []
    failures: Counter[str] = Counter()
    texts: dict[str, str] = {}
    tried = 0
    try:
        for tried in range(1, trials + 1):
            context = skill.sample_context(rng)
            parameters = skill.sample_candidates(context, 1, rng, arm)[0]
            begin = time.process_time()
            try:
                planner.plan(context, parameters, seed=seed)
                seconds.append(time.process_time() - begin)
            except PlanningError as error:
                failures[error.reason] += 1
                texts.setdefault(error.reason, str(error))
            if tried == HOPELESS and not seconds:
                break
    finally:
        planner.close()
    share = len(seconds) / tried
    figures = {
        f"{name}_tried": tried,
        f"{name}_planned_share": share,
        f"{name}_median_s": float(np.median(seconds)) if seconds else None,
        f"{name}_failures": dict(failures),
    }
    if share >= ENOUGH:
        return figures, []
    reason, count = failures.most_common(1)[0]
    remedy = REMEDIES.get(reason, "see the text")
    return figures, [
        f"only {len(seconds)} of {tried} {name} are planned; {count} x {reason}: {remedy} ({texts[reason]})"
    ]


def show(figures: dict[str, Any]) -> None:
    """Print what was measured, then what is wrong, then what may be meant so."""
    from memristor_bdnn.report import record as common

    wanted = {
        "kinematics_max_error_m": "< 1e-6",
        "ik_max_error_m": "< 1e-6",
        "ik_lost": "0",
        "home_tilt_rad": "< 0.02",
        "home_sag_rad": "< 0.005",
    }
    rows = []
    for key, value in figures.items():
        if key in ("arm", "skill", "problems", "remarks") or isinstance(value, dict):
            continue
        if isinstance(value, list):
            text = ", ".join(f"{a}/{b}" for a, b in value[:4]) + (" ..." if len(value) > 4 else "")
            rows.append((key, f"{len(value)}: {text}" if value else "none", ""))
        else:
            aim = f">= {ENOUGH}" if key.endswith("_planned_share") else wanted.get(key, "")
            rows.append((key, "not measured" if value is None else value, aim))
    common.print_table(f"arm {figures['arm']}, skill {figures['skill']}", ("figure", "measured", "wanted"), rows)
    for text in figures["remarks"]:
        print(f"remark: {text}")
    for text in figures["problems"]:
        print(f"problem: {text}")
    print(f"{len(figures['problems'])} problems" if figures["problems"] else "no problem found")
