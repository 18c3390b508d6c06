"""What is compared: a work of ours, the least that it must cost on this machine, what bounds it, and its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.peers.measure import Machine, Peer, Work


@dataclass(frozen=True)
class Comparison:
    """One work.

    Attributes:
        name: as it is written in the results.
        text: what is done, for the table.
        ours: our work, ready to be timed.
        peers: who does it too.
        limit_s: the least CPU time of the work, from what it must compute, draw or move; None where there is no bound.
        bound: what bounds ours, in words.
        rounds: turns of both.
        close: releases what the work holds.
    """

    name: str
    text: str
    ours: Work
    peers: tuple[Peer, ...]
    limit_s: float | None
    bound: str
    rounds: int = 5
    close: Callable[[], Any] = lambda: None


def predict(machine: Machine, quick: bool) -> Comparison:
    """Success probabilities of candidates with their spread, by the published network and 20 reads of its cells."""
    from memristor_bdnn import accelerator, learners
    from memristor_bdnn.benchmark.peers import models
    from memristor_bdnn.benchmark.speed import plain_prediction

    rng = np.random.default_rng(0)
    chips = accelerator.create("simulated", seed=0)
    learner: Any = learners.create("msgld", chips, seed=0)
    x = rng.uniform(-1, 1, (128, learner.n_inputs))
    y = (np.sin(3 * x[:, 0]) + x[:, 1] > 0).astype(float)
    learner.fit(x, y)
    many = rng.uniform(-1, 1, (2000 if quick else 10_000, learner.n_inputs))
    weights = learner.network.n_weights
    limit = 20 * (2 * weights * len(many) / machine.flops + 3 * weights * machine.bits_s)
    note = "a model of its own, 128 labels"
    peers = (
        Peer("numpy_loop", "", lambda: lambda: plain_prediction(chips, many), "the same network, one read at a time"),
        Peer("torch", "torch", lambda: models.torch_prediction(learner, many), "the same network, batched"),
        Peer("sklearn_gp", "scikit-learn", lambda: models.sklearn_gp(x, y, many), note),
        Peer("botorch_gp", "botorch", lambda: models.botorch_gp(x, y, many), note),
    )
    return Comparison(
        "predict",
        f"{len(many):,} candidates, 20 reads of the published network",
        lambda: learner.predict(many, 20),
        peers,
        limit,
        "matrix products of 50 units, half of it; tanh",
        close=chips.close,
    )


def pulses(machine: Machine, quick: bool) -> Comparison:
    """One pulse on every cell of the three chips."""
    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
    from memristor_bdnn.benchmark.device import CELLS, LoopChips, NaiveChips
    from memristor_bdnn.benchmark.peers.models import aihwkit_pulses
    from memristor_bdnn.device import presets

    preset = presets.load("tsinghua_taox_hfox")
    chips = SimulatedAccelerator(preset, 0)
    chips.allocate(min(CELLS, chips.capacity))
    n = chips.n_cells
    direction = np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.int8), n)

    def loop() -> Work:
        plain = LoopChips(preset, n, 0)
        return lambda: plain.pulse(direction)

    def naive() -> Work:
        vectorised = NaiveChips(preset, n, 0)
        return lambda: vectorised.pulse(direction)

    note = "a pulse train of one pulse on a tile as large, its own device model"
    return Comparison(
        "pulses",
        f"one SET or RESET on each of {n:,} cells",
        lambda: chips.pulse(direction),
        (
            Peer("python_loop", "", loop, "the same cells"),
            Peer("numpy_naive", "", naive, "the same cells"),
            Peer("aihwkit", "aihwkit", lambda: aihwkit_pulses(n, direction), note),
        ),
        n * machine.bits_s,
        "normal deviates (log, sqrt, sine and cosine), then the ledger",
        rounds=3 if quick else 7,
        close=chips.close,
    )


def active_run(machine: Machine, quick: bool) -> Comparison:
    """64 labels, then one query after the other by straddle, on the shipped pool."""
    from memristor_bdnn.benchmark.dbal import methods
    from memristor_bdnn.benchmark.dbal.data import checked, split
    from memristor_bdnn.benchmark.dbal.run import Protocol64, run
    from memristor_bdnn.benchmark.peers.models import BotorchGP
    from memristor_bdnn.skills.pouring import pool

    data = checked(split(pool.load()), "the shipped pool", 64)
    protocol = Protocol64(queries=8 if quick else 64)

    def runs(make: Callable[[], Any]) -> Work:
        return lambda: run(make(), data, "straddle", 0, protocol)

    def of(name: str) -> Callable[[], Work]:
        return lambda: runs(lambda: methods.make(name, 0))

    ours = methods.make("msgld", 0)
    network, cfg = ours.learner.network, ours.learner.config
    first, kept = 2 * network.n_weights * len(data.x_pool), (ours.samples + cfg.memory_samples) * 512
    labels = 64 + protocol.queries / 2
    trained = cfg.max_epochs * cfg.reads * 3 * network.n_weights * labels
    read = (cfg.max_epochs * cfg.reads + ours.samples) * network.n_cells * machine.bits_s
    a_query = 2 * (first + kept * network.n_weights + trained) / machine.flops + read
    ours.accelerator.close()
    return Comparison(
        "active_run",
        f"{protocol.queries} queries in a pool of {len(data.x_pool):,}, recipe pouring, straddle",
        runs(lambda: methods.make("msgld", 0)),
        (
            Peer("sklearn_gp", "scikit-learn", of("gp"), "Matern 5/2, refitted every 16 labels"),
            Peer("sklearn_forest", "scikit-learn", of("random_forest"), "50 trees"),
            Peer(
                "deep_ensemble", "", of("deep_ensemble"), "five 50-50 networks, 30 more epochs a label, our gradients"
            ),
            Peer("botorch_gp", "botorch", lambda: runs(lambda: BotorchGP(0)), "Matern 5/2, refitted every 16 labels"),
        ),
        protocol.queries * a_query,
        "gradients of 40 small networks: half matrix products, half their elementwise steps",
        rounds=1 if quick else 3,
    )


def inverse_kinematics(machine: Machine, quick: bool) -> list[Comparison]:
    """All solutions of the Panda at tool poses whose free joint is the same, one by one and many at once."""
    from memristor_bdnn.benchmark.peers.models import eaik_robot
    from memristor_bdnn.motion import arms
    from memristor_bdnn.motion.ik import solvers

    arm = arms.load("panda")
    solver = solvers.create(arm)
    low, high = arm.limits()
    q = np.random.default_rng(0).uniform(low, high, (512, arm.dof))
    q[:, -1] = 0.5
    poses, free = solver.chain.fk(q), solver.free_of(q)
    few = 50

    def one_by_one() -> None:
        for i in range(few):
            solver.solve(poses[i : i + 1], free[i : i + 1])

    def single() -> Work:
        robot = eaik_robot(solver.chain, float(q[0, -1]), poses[:20], q[:20])
        tools = [np.ascontiguousarray(pose) for pose in robot.reached(poses[:few])]
        return lambda: [robot.solve(pose) for pose in tools]

    def batch() -> Work:
        robot = eaik_robot(solver.chain, float(q[0, -1]), poses[:20], q[:20])
        tools = robot.reached(poses)
        return lambda: robot.solve_batch(tools)

    note = "joint 7 fixed at the same angle; without joint limits"
    rounds = 3 if quick else 9
    return [
        Comparison(
            "ik_single",
            f"all solutions of {few} poses, one by one",
            one_by_one,
            (Peer("eaik", "eaik", single, note),),
            None,
            "arc tangents of 8 branches, then the call",
            rounds,
        ),
        Comparison(
            "ik_batch",
            "all solutions of 512 poses at once",
            lambda: solver.solve(poses, free),
            (Peer("eaik", "eaik", batch, note),),
            None,
            "sines, cosines and arc tangents of 8 branches",
            rounds,
        ),
    ]


def planning(kind: str, quick: bool) -> Comparison:
    """RRT-Connect with shortcuts and re-check between fixed pairs of configurations; kind is open or hard."""
    from memristor_bdnn.benchmark.peers.models import ompl_paths
    from memristor_bdnn.errors import PlanningError
    from memristor_bdnn.motion import arms, rrt
    from memristor_bdnn.motion.collision import CollisionModel
    from memristor_bdnn.motion.ik import solvers
    from memristor_bdnn.testing import scenes

    arm = arms.load("panda")
    solver, model = solvers.create(arm), CollisionModel(arm, padding=0.003)
    (scenes.open_scene if kind == "open" else scenes.hard_scene)(model)
    rng, space = np.random.default_rng(0), rrt.JointSpace(model)
    config = rrt.RRTConfig(timeout=600.0)
    queries: list[Any] = []
    while len(queries) < (3 if quick else 12):
        query = scenes.random_query(model, solver, rng)
        try:
            rrt.plan(space, query[0], query[1], np.random.default_rng(1), config)
        except PlanningError:
            continue
        queries.append(query)

    def ours() -> None:
        for k, (start, goal) in enumerate(queries):
            rrt.plan(space, start, goal, np.random.default_rng(k), config)

    return Comparison(
        f"rrt_{kind}",
        f"{len(queries)} paths re-checked at 0.01 rad, {'a bowl on a table' if kind == 'open' else 'wall and shelf'}",
        ours,
        (Peer("ompl", "ompl", lambda: ompl_paths(space, queries), "RRT-Connect, our steps, shortcuts and re-check"),),
        None,
        "bounds of spheres, and distances of bodies in PyBullet where they leave a doubt",
        rounds=1 if quick else 5,
        close=model.close,
    )


def eapu_step(machine: Machine, quick: bool) -> Comparison:
    """One optimiser step of a million weights in cells; the peers write no devices."""
    from memristor_bdnn.benchmark.peers.models import optimizer_steps

    steps, numbers = 2 if quick else 10, 1_000_000
    return Comparison(
        "eapu_step",
        f"{steps} steps of EaPU(Adam), {numbers:,} weights in cells",
        optimizer_steps("eapu", steps),
        (
            Peer("adam_fused", "torch", lambda: optimizer_steps("fused", steps), "software alone: the least there is"),
            Peer("adam_foreach", "torch", lambda: optimizer_steps("foreach", steps), "software alone"),
        ),
        steps * 7 * 4 * numbers / machine.bytes_s,
        "moments, gradients, weights and cells once each beyond the cache; then the deviates of 13,000 writes",
        rounds=3 if quick else 9,
    )
