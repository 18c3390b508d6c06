"""Inverse kinematics, RRT-Connect and whole pours: errors, shares solved and times.

Times are processor time of this process, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
POOL = "pouring_paper.npz"
OMPL_LIMIT_S = 20.0  # of this process's time, a path
PADDING = 0.003  # metres, of the collision model and of the re-check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--data, --arm, --rows, --execute and --memory."""
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="the published pool or its folder (default: "
        "the folder MEMRISTOR_BDNN_DATA; without it, random contexts are used)",
    )
    parser.add_argument(
        "--arm", default="panda", metavar="NAME|FILE", help="arm to plan for, by name or YAML file (default panda)"
    )
    parser.add_argument("--rows", type=int, default=None, help="pours to plan (default 300)")
    parser.add_argument(
        "--execute", type=int, default=None, metavar="N", help="plans to execute in the simulated world (default 40)"
    )
    parser.add_argument(
        "--memory",
        type=int,
        metavar="N",
        help="instead, measure how much memory N plans and N scenes of every skill cost",
    )
    parser.add_argument("--ikfast", metavar="MODULE", help="compare solutions with a compiled IKFast module")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from memristor_bdnn.motion import arms
    from memristor_bdnn.report import record as common

    common.check_out(args.out)
    arm = arms.load(args.arm)
    if args.memory is not None:
        return memory(args)
    seeds = list(range(1 if args.quick else args.seeds or 1))
    rows = args.rows or (25 if args.quick else 300)
    executions = args.execute if args.execute is not None else 2 if args.quick else 40
    runs = [
        {
            **inverse_kinematics(arm, seed, args.ikfast),
            **motion_planning(arm, seed, 12 if args.quick else 100),
            **pours(arm, seed, rows, args.data, executions, args.arm),
        }
        for seed in seeds
    ]
    figures: dict[str, Any] = {"arm": arm.name, **merge(runs)}
    if len(runs) > 1:
        figures["runs"] = runs
    show(figures)
    common.write_record(args.out, common.record(figures, seeds))
    return 0


def memory(args: argparse.Namespace) -> int:
    """Measure the growth of a process that goes on planning, and print it."""
    from memristor_bdnn.benchmark.memory import measure
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report import record as common

    if args.memory < 10:
        raise ConfigError(f"--memory {args.memory}: at least 10 repetitions are needed to see a growth")
    figures = measure(args.arm, args.memory)
    rows = [(name, value, "< 2" if "_kib_" in name else "") for name, value in figures.items()]
    common.print_table("Memory of planning and simulating", ("figure", "measured", "expected"), rows)
    common.write_record(args.out, common.record({"arm": args.arm, **figures}, [0]))
    return 0


def merge(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure for all seeds: counts and worst cases by their largest, other numbers by their mean."""
    merged: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs if name in run]
        if isinstance(first, bool | str | dict):
            merged[name] = first
        elif isinstance(first, int) or "max" in name or "worst" in name:
            merged[name] = max(values)
        else:
            merged[name] = float(np.mean(values))
    return merged


def inverse_kinematics(arm: Any, seed: int, ikfast: str | None, n: int = 10_000) -> dict[str, Any]:
    """Errors on random reachable poses, lost solutions, time a pose in batches of 512."""
    from memristor_bdnn.motion.ik import check as ik_check
    from memristor_bdnn.motion.ik import solvers as ik
    from memristor_bdnn.motion.ik.turns import apart

    solver = ik.create(arm)
    low, high = arm.limits()
    rng = np.random.default_rng(seed)
    known = rng.uniform(low, high, (n, arm.dof))
    poses, free = solver.chain.fk(known), solver.free_of(known)
    q, valid = solver.solve(poses, free)
    reached, wanted = solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0)
    missed = (np.where(valid, apart(q, known[:, None]), np.inf).min(axis=1) > 1e-6).sum()
    lost, found = ik_check.lost_solutions(solver, poses[:300], free[:300], low, high, rng)
    times = []
    for _ in range(20):
        begin = time.process_time()
        for i in range(0, 4096, 512):
            solver.solve(poses[i : i + 512], free[i : i + 512])
        times.append((time.process_time() - begin) / 4096 * 1e6)
    result = {
        "ik_poses": n,
        "ik_solutions": int(valid.sum()),
        "ik_max_position_error_m": float(np.abs(reached[:, :3, 3] - wanted[:, :3, 3]).max()),
        "ik_max_rotation_error": float(np.abs(reached[:, :3, :3] - wanted[:, :3, :3]).max()),
        "ik_known_configurations_missed": int(missed),
        "ik_numerical_solutions": found,
        "ik_numerical_solutions_lost": lost,
        "ik_us_per_pose": float(np.median(times)),
    }
    if ikfast:
        other = ik.create(replace(arm, ik="ikfast", ik_module=ikfast, ik_options={"free_joint": arm.joint_names[-1]}))
        theirs, theirs_valid = other.solve(poses[:2000], free[:2000])
        result["ikfast_solutions"] = int(theirs_valid.sum())
        result["ikfast_solutions_lost"] = int(
            sum(
                (
                    np.abs(q[i][valid[i]][None] - theirs[i][theirs_valid[i]][:, None]).max(axis=2).min(axis=1) > 1e-4
                ).sum()
                for i in range(2000)
                if theirs_valid[i].any()
            )
        )
    return result


def motion_planning(arm: Any, seed: int, scenes: int) -> dict[str, Any]:
    """RRT-Connect in random, open and hard scenes; every path measured again pair by pair; OMPL beside it."""
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import ompl as ompl_backend
    from memristor_bdnn.motion import rrt
    from memristor_bdnn.motion.collision import CollisionModel
    from memristor_bdnn.motion.ik import solvers as ik
    from memristor_bdnn.testing import scenes as stage

    solver, model = ik.create(arm), CollisionModel(arm, padding=PADDING)
    space = rrt.JointSpace(model)
    config = rrt.RRTConfig(timeout=600.0)  # ours ends by its extensions, whatever else the machine does
    rng = np.random.default_rng(seed)
    result: dict[str, Any] = {"rrt_ompl_installed": ompl_backend.available()}
    solved, checked, passed = 0, 0, 0
    for kind in ("random", "open", "hard"):
        milliseconds: list[float] = []
        ompl_milliseconds: list[float] = []
        ompl_default_passed = ompl_failed = 0
        for k in range(scenes if kind == "random" else max(scenes // 2, 6)):
            if kind == "random":
                stage.random_scene(model, rng)
            elif k == 0:
                (stage.open_scene if kind == "open" else stage.hard_scene)(model)
            start, goal = stage.random_query(model, solver, rng)
            begin = time.process_time()
            try:
                path = rrt.plan(space, start, goal, rng, config)
            except PlanningError:
                continue
            milliseconds.append(1e3 * (time.process_time() - begin))
            solved += kind == "random"
            checked += 1
            passed += clear(model, path)
            if kind != "random" and ompl_backend.available():
                theirs = replace(config, timeout=OMPL_LIMIT_S)
                begin = time.process_time()
                try:
                    ompl_backend.plan(space, start, goal, rng, theirs, clock=time.process_time)
                    spent = 1e3 * (time.process_time() - begin)
                    plain = ompl_backend.plan(
                        space, start, goal, rng, theirs, default_resolution=True, clock=time.process_time
                    )
                except PlanningError:
                    ompl_failed += 1
                    continue
                ompl_milliseconds.append(spent)
                ompl_default_passed += model.first_contact(plain) is None
        result[f"rrt_median_ms_{kind}"] = float(np.median(milliseconds))
        result[f"rrt_p95_ms_{kind}"] = float(np.percentile(milliseconds, 95))
        if kind != "random" and ompl_backend.available():
            result[f"ompl_failed_{kind}"] = ompl_failed
        if ompl_milliseconds:
            result[f"ompl_median_ms_{kind}"] = float(np.median(ompl_milliseconds))
            result[f"ompl_default_recheck_share_{kind}"] = ompl_default_passed / len(ompl_milliseconds)
    model.close()
    return {
        **result,
        "rrt_scenes": scenes,
        "rrt_solved_share": solved / scenes,
        "rrt_paths_rechecked": checked,
        "rrt_recheck_share": passed / checked,
        "rrt_padding_m": PADDING,
    }


def clear(model: Any, path: FloatArray) -> bool:
    """Whether neighbours are at most 0.01 rad apart and every configuration keeps its padding, measured exactly."""
    fine = float(np.abs(np.diff(path, axis=0)).max()) <= 0.01 + 1e-9
    return fine and not any(model.near(q, PADDING) for q in path)


def published_rows(data: str | None, rows: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, str]:
    """Contexts (n, 6) and parameters (n, 5) of valid pours: from the published pool, or random without it."""
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.skills.pouring.context import PourContext, decode
    from memristor_bdnn.skills.pouring.geometry import arm_clearance, is_valid
    from memristor_bdnn.state import check_array, load_npz

    default = os.environ.get("MEMRISTOR_BDNN_DATA", "")
    path = Path(data or default)
    path = path / POOL if path.is_dir() else path
    if not path.is_file():
        if data:
            raise ConfigError(f"--data {data}: no such file")
        print(f"published pool not found at {path}: planning random valid pours instead")
    pool = None
    if path.is_file():
        arrays = load_npz(path)
        if "x_pool" not in arrays:
            raise ConfigError(f"{path}: no array 'x_pool'; found {', '.join(arrays) or 'nothing'}")
        pool = arrays["x_pool"]
        check_array(f"{path}: x_pool", pool, shape=(len(np.atleast_1d(pool)), 11))
        pool = pool[rng.permutation(len(pool))]
    contexts, parameters = np.empty((0, 6)), np.empty((0, 5))
    drawn = 0
    while len(contexts) < rows and (pool is None or drawn < len(pool)):
        n = rows - len(contexts) + 8
        features = rng.uniform(-1, 1, (n, 11)) if pool is None else pool[drawn : drawn + n]
        drawn += n
        c, p = decode(features)
        keep = np.asarray(is_valid(c, p))
        if pool is None:  # nobody labelled these: only what a session with an arm would try
            keep &= [is_valid(a, b, arm_clearance(PourContext.from_array(a)))[0] for a, b in zip(c, p, strict=True)]
        contexts, parameters = np.concatenate([contexts, c[keep]]), np.concatenate([parameters, p[keep]])
    return contexts[:rows], parameters[:rows], "random" if pool is None else "published pool"


def pours(arm: Any, seed: int, rows: int, data: str | None, execute: int, file: str = "") -> dict[str, Any]:
    """Whole plans for valid pours, and some of them executed, with the arm loaded again by name or from its file."""
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import timing
    from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
    from memristor_bdnn.skills.pouring.motion import PourPlanner

    contexts, parameters, source = published_rows(data, rows, np.random.default_rng(seed))
    planner = PourPlanner(arm)
    seconds: list[float] = []
    wall: list[float] = []
    plans, reasons, over = [], Counter[str](), 0.0
    for i, (c, p) in enumerate(zip(contexts, parameters, strict=True)):
        context, control = PourContext.from_array(c), PourParameters.from_array(p)
        begin = time.process_time()
        try:
            plan = planner.plan(context, control, seed=seed)
        except PlanningError as error:
            reasons[error.reason] += 1
            continue
        seconds.append(time.process_time() - begin)
        wall.append(plan.planning_time_s)
        over = max(over, timing.excess(plan.whole(), arm.velocity, arm.acceleration))
        plans.append((i, context, plan))
    planner.close()
    if not plans:
        raise PlanningError("no_ik", f"{arm.name}: none of {len(contexts)} pours could be planned: {dict(reasons)}")
    result = {
        "source_of_pours": source,
        "pour_rows": len(contexts),
        "pour_planned_share": len(plans) / len(contexts),
        "pour_median_s": float(np.median(seconds)),
        "pour_p95_s": float(np.percentile(seconds, 95)),
        "pour_median_clock_s": float(np.median(wall)),
        "pour_failures": dict(reasons),
        "pour_worst_share_of_limits": over,
        "pour_full_rate_share": float(
            np.mean([p.details["tilt_rate"] >= planner.config.tilt_rate - 1e-9 for *_, p in plans])
        ),
        "pour_weld_share": float(np.mean([p.attached for *_, p in plans])),
    }
    return {**result, **executed(arm, plans[:execute], file)}


def executed(arm: Any, plans: list[tuple[int, Any, Any]], file: str = "") -> dict[str, Any]:
    """Joint errors and unwanted contacts of plans executed in the simulated world, with beads.

    The world loads the arm itself: from a YAML file, or by its name.
    """
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    if not plans:
        return {"executed": 0}
    errors, arm_touches, cup_touches = [], 0, 0
    with PouringWorld(WorldConfig(arm=file or arm.name, whole_motion=True)) as world:
        for i, context, plan in plans:
            world.reset(i, context)
            seen: set[str] = set()

            def look(phase: str, done: float, seen: set[str] = seen) -> None:
                scene, bullet = world._scene, world._bullet
                if scene is None or world.arm is None:
                    return
                stands = world.arm.joints[0]  # links up to the first joint's child stand on the table, by the base
                for other, least in ((scene.bowl, -1), (scene.table, stands + 1)):
                    touching = bullet.getContactPoints(world.arm.body, other)
                    seen.update("arm" for c in touching if c[8] < 0.0 and c[3] >= least)
                    seen.update("cup" for c in bullet.getContactPoints(scene.cup, other) if c[8] < 0.0)

            errors.append(float(world.pour_with_arm(plan, progress=look).details["tracking_error_rad"]))
            arm_touches += "arm" in seen
            cup_touches += "cup" in seen
    return {
        "executed": len(errors),
        "executed_max_joint_error_rad": max(errors),
        "executed_with_arm_contact": arm_touches,
        "executed_with_cup_contact": cup_touches,
    }


def show(f: dict[str, Any]) -> None:
    """Print the figures beside what they should be."""
    from memristor_bdnn.report import record as common

    rows: list[tuple[Any, ...]] = [
        ("IK: worst position error (m)", f["ik_max_position_error_m"], "< 1e-9"),
        ("IK: worst rotation matrix error", f["ik_max_rotation_error"], "< 1e-9"),
        ("IK: known configurations missed", f["ik_known_configurations_missed"], "0"),
        (f"IK: lost of {f['ik_numerical_solutions']} found numerically", f["ik_numerical_solutions_lost"], "0"),
        ("IK: us a pose, batches of 512", f["ik_us_per_pose"], "< 5"),
        (f"RRT-Connect: solved of {f['rrt_scenes']} random tables", f["rrt_solved_share"], "1"),
        (
            f"RRT-Connect: {f['rrt_paths_rechecked']} paths pass the padded 0.01 rad re-check",
            f["rrt_recheck_share"],
            "1",
        ),
        ("RRT-Connect: median ms, open scene", f["rrt_median_ms_open"], "< 10"),
        ("RRT-Connect: median ms, wall and shelf", f["rrt_median_ms_hard"], "< 60"),
    ]
    if f["rrt_ompl_installed"]:
        none = "no path found"
        rows += [
            ("OMPL with our steps and re-check: ms, open", f.get("ompl_median_ms_open", none), ""),
            ("OMPL with our steps and re-check: ms, hard", f.get("ompl_median_ms_hard", none), ""),
            (
                f"OMPL: no path in {OMPL_LIMIT_S:g} s of CPU time, open and hard",
                f["ompl_failed_open"] + f["ompl_failed_hard"],
                "",
            ),
            ("OMPL's default step: paths free of collisions, hard", f.get("ompl_default_recheck_share_hard", none), ""),
        ]
    else:
        rows.append(("OMPL", "not installed", ""))
    rows += [
        (f"pour: planned of {f['pour_rows']} valid rows ({f['source_of_pours']})", f["pour_planned_share"], ">= 0.95"),
        ("pour: median s of a complete plan", f["pour_median_s"], "<= 0.03"),
        ("pour: 95th percentile of it, s", f["pour_p95_s"], "<= 0.1"),
        ("pour: worst share of velocity and acceleration limits", f["pour_worst_share_of_limits"], "<= 1"),
        ("pour: at the full tilt rate", f["pour_full_rate_share"], ""),
    ]
    if f["executed"]:
        rows += [
            (f"executed {f['executed']}: worst joint error (rad)", f["executed_max_joint_error_rad"], "< 0.02"),
            ("executed: trials in which the arm touched bowl or table", f["executed_with_arm_contact"], "0"),
            ("executed: trials in which the cup touched bowl or table", f["executed_with_cup_contact"], "0"),
        ]
    common.print_table(f"planning, {f['arm']}", ("figure", "value", "wanted"), rows)
    if f["pour_failures"]:
        print("pours without a plan, by reason:", f["pour_failures"])
