"""Simulated trials per second, against a naive PyBullet set-up in the same run, and with two workers."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--audit looks for leaks as well, --arm measures trials with an arm instead."""
    parser.add_argument(
        "--audit",
        type=int,
        default=0,
        metavar="N",
        help="also run N random trials that are searched at every step for beads that went through a wall or a floor",
    )
    parser.add_argument(
        "--arm",
        metavar="NAME|FILE",
        help="instead, pour with this arm: trials a second, and whether beads that ride to the bowl change the labels",
    )
    parser.add_argument("--rows", type=int, default=None, help="with --arm: pours to plan (default 300)")
    parser.add_argument(
        "--data", metavar="FILE", help="with --arm: the published pool or its folder, else random pours"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Rates of one core are per second of processor time, so that other work on the machine does not
    count; the gain from a second worker is measured on the clock and needs an idle machine.
    """
    import numpy as np

    from memristor_bdnn.report import record as common
    from memristor_bdnn.skills.pouring.pool import simulate
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    common.check_out(args.out)
    if args.arm is not None:
        return with_arm(args)
    repeats = 1 if args.quick else args.seeds or 3
    fast_trials, naive_trials = (12, 4) if args.quick else (60, 12)
    ours, naive, ratio = [], [], []
    with PouringWorld(WorldConfig()) as world:
        simulate(world, 0)  # first contact with the library
        for repeat in range(repeats):
            begin = time.process_time()
            for k in range(fast_trials):
                simulate(world, 1000 * repeat + k)
            ours.append(fast_trials / (time.process_time() - begin))
            begin = time.process_time()
            for k in range(naive_trials):
                naive_trial(1000 * repeat + k)
            naive.append(naive_trials / (time.process_time() - begin))
            ratio.append(ours[-1] / naive[-1])
    # Small batches: the clock stops when the last one ends, and a long one would leave a worker idle.
    batches = 16 if args.quick else 60
    one, two = rate_of_workers(1, batches), rate_of_workers(2, batches)
    figures: dict[str, Any] = {
        "trials_per_s": float(np.mean(ours)),
        "trials_per_s_runs": ours,
        "naive_trials_per_s": float(np.mean(naive)),
        "naive_trials_per_s_runs": naive,
        "speedup_over_naive": float(np.mean(ratio)),
        "one_worker_trials_per_s": one,
        "two_workers_trials_per_s": two,
        "two_workers_gain": two / one,
    }
    common.print_table(
        "simulated pours without an arm",
        ("set-up", "trials/s", "relative"),
        [
            ("this world, one core", figures["trials_per_s"], figures["speedup_over_naive"]),
            ("naive PyBullet, one core", figures["naive_trials_per_s"], 1.0),
            ("collect, one worker (clock)", one, 1.0),
            ("collect, two workers (clock)", two, two / one),
        ],
    )
    if args.audit > 0:
        figures |= audited(args.audit)
        print(
            f"{figures['audited_trials']} audited trials: {figures['leaks']} beads through a wall or a floor, "
            f"{figures['bowls_tipped']} bowls tipped over, {figures['not_finite']} outcomes not finite"
        )
    common.write_record(args.out, common.record(figures, list(range(repeats))))
    return 0


def with_arm(args: argparse.Namespace) -> int:
    """Trials with an arm: measure and print."""
    from memristor_bdnn.benchmark import arm_world
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report import record as common

    rows, seeds = args.rows or (8 if args.quick else 300), args.seeds or 2
    if rows < 1 or seeds < 2:
        raise ConfigError(f"--rows {rows} --seeds {seeds}: at least one row and two seeds are needed")
    figures = arm_world.compare(args.arm, args.data, rows, seeds)
    arm_world.show(figures)
    common.write_record(args.out, common.record(figures, list(range(seeds))))
    return 0


def audited(trials: int) -> dict[str, int]:
    """Leaks, tipped bowls and outcomes that are not finite in random trials looked at in every step."""
    import math

    from memristor_bdnn.skills.pouring.pool import trial_of
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    leaks = tipped = broken = 0
    with PouringWorld(WorldConfig(audit=True)) as world:
        for seed in range(trials):
            context, parameters = trial_of(seed)
            world.reset(seed, context)
            outcome = world.pour_cup_alone(parameters)
            leaks += int(outcome.details["leaks"])
            tipped += bool(outcome.details["bowl_tipped"])
            broken += not math.isfinite(outcome.score)
    return {"audited_trials": trials, "leaks": leaks, "bowls_tipped": tipped, "not_finite": broken}


def rate_of_workers(workers: int, batches: int, size: int = 2) -> float:
    """Trials per second on the clock of some local worker processes, start-up not counted."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from memristor_bdnn.skills.collect import run_batch
    from memristor_bdnn.skills.pouring.skill import PouringSkill
    from memristor_bdnn.skills.workers import die_with

    collector = PouringSkill().collector()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=die_with, initargs=(os.getpid(),)) as executor:
        # Two warm-up batches for each worker, so that every process has its world.
        for future in [executor.submit(run_batch, collector, [0, 1]) for _ in range(2 * workers)]:
            future.result()
        begin = time.perf_counter()
        seeds = [list(range(100 + size * b, 100 + size * (b + 1))) for b in range(batches)]
        for future in [executor.submit(run_batch, collector, s) for s in seeds]:
            future.result()
        return batches * size / (time.perf_counter() - begin)


def naive_trial(seed: int) -> float:
    """The same trial as a first attempt with PyBullet would simulate it; returns the fraction in the bowl.

    Default solver, one mesh per vessel made of convex parts, beads as multibodies, dt 1/480 s, the whole
    motion always carried out.
    """
    import numpy as np

    from memristor_bdnn.motion.bullet import pybullet as p
    from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, pour_path
    from memristor_bdnn.skills.pouring.hand import tilts
    from memristor_bdnn.skills.pouring.pool import trial_of
    from memristor_bdnn.skills.pouring.setup import draw
    from memristor_bdnn.skills.pouring.vessels import bowl_of, cup_of
    from memristor_bdnn.skills.pouring.world import WorldConfig

    cfg, dt = WorldConfig(), 1 / 480
    context, parameters = trial_of(seed)
    setup = draw(seed, context)
    n = round(abs(parameters.pitch) / cfg.tilt_speed / dt)
    poses, turns = pour_path(context, parameters, 0.0, n + 1), tilts(0.0, np.linspace(0, parameters.pitch, n + 1))
    client = p.connect(p.DIRECT)
    try:
        p.setGravity(0, 0, -9.81, physicsClientId=client)
        p.setTimeStep(dt, physicsClientId=client)
        p.createMultiBody(0, p.createCollisionShape(p.GEOM_PLANE, physicsClientId=client), physicsClientId=client)
        bodies = []
        with tempfile.TemporaryDirectory() as folder:
            for name, vessel, mass, place in (
                ("bowl", bowl_of(context), setup.bowl_mass, BOWL_POSITION),
                ("cup", cup_of(context), setup.cup_mass, poses[0, :3, 3].tolist()),
            ):
                mesh = Path(folder) / f"{name}.obj"
                mesh.write_text(convex_parts(vessel))
                shape = p.createCollisionShape(p.GEOM_MESH, fileName=str(mesh), physicsClientId=client)
                bodies.append(p.createMultiBody(mass, shape, basePosition=place, physicsClientId=client))
        bowl, cup = bodies
        grip = p.createConstraint(
            cup, -1, -1, -1, p.JOINT_FIXED, (0, 0, 0), (0, 0, 0), poses[0, :3, 3].tolist(), physicsClientId=client
        )
        beads = []
        for radius, mass, position in zip(
            setup.radii.tolist(), setup.masses.tolist(), (setup.positions + poses[0, :3, 3]).tolist(), strict=True
        ):
            shape = p.createCollisionShape(p.GEOM_SPHERE, radius=radius, physicsClientId=client)
            bead = p.createMultiBody(mass, shape, basePosition=position, physicsClientId=client)
            p.changeDynamics(
                bead,
                -1,
                lateralFriction=0.5,
                rollingFriction=0.001,
                spinningFriction=0.001,
                restitution=0.8,
                physicsClientId=client,
            )
            beads.append(bead)
        for k in range(n + 1):
            p.changeConstraint(grip, poses[k, :3, 3].tolist(), turns[k], maxForce=500, physicsClientId=client)
            p.stepSimulation(physicsClientId=client)
        for _ in range(round(cfg.wait / dt)):
            p.stepSimulation(physicsClientId=client)
        points = np.array([p.getBasePositionAndOrientation(b, physicsClientId=client)[0] for b in beads])
        centre = p.getBasePositionAndOrientation(bowl, physicsClientId=client)[0]
        inside = (np.hypot(*(points - centre)[:, :2].T) < context.bowl_diameter / 2) & (points[:, 2] > 0)
        return float((inside & (points[:, 2] < context.bowl_height + 0.01)).mean())
    finally:
        p.disconnect(client)


def convex_parts(vessel: Any) -> str:
    """A vessel as the text of an OBJ file: one mesh whose objects are the convex parts of wall and base."""
    import numpy as np
    from transforms3d.quaternions import quat2mat

    from memristor_bdnn.skills.pouring.vessels import slats

    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    faces = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
    lines = []
    for k, box in enumerate(slats(vessel)):
        x, y, z, w = box.quaternion
        points = (corners * box.half_extents) @ quat2mat((w, x, y, z)).T + box.position
        lines += [f"o part{k}", *(f"v {a:.6f} {b:.6f} {c:.6f}" for a, b, c in points)]
        lines += ["f " + " ".join(str(8 * k + i) for i in face) for face in faces]
    return "\n".join(lines) + "\n"
