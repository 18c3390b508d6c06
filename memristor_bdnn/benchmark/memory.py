"""Whether a process that plans or simulates for days grows: memory over many plans and scenes of every skill."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
PARTS = 10


def resident_kib() -> int:
    """Memory that this process holds, KiB; what the C library keeps for later is given back first."""
    with suppress(OSError, AttributeError):  # a C library without malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_KIB


def growth_kib(step: Callable[[int], object], n: int, warm_up: int | None = None) -> float:
    """KiB by which a repetition of ``step(i)`` lets the process grow: over ``n`` of them, looked at in ten parts.

    The mean of the parts without the two that grew most and least: what anything else of the process takes once does
    not count.

    Args:
        step: called with 0, 1, 2 ...
        n: repetitions that count.
        warm_up: repetitions before, in which caches fill; default a fifth of ``n``.
    """
    warm_up = n // 5 if warm_up is None else warm_up
    for i in range(warm_up):
        step(i)
    done, memory = [0], [resident_kib()]
    for i in range(n):
        step(warm_up + i)
        if (i + 1) % max(n // PARTS, 1) == 0:
            done.append(i + 1)
            memory.append(resident_kib())
    parts = np.sort(np.diff(memory) / np.diff(done))
    return float(np.mean(parts[2:-2] if len(parts) > 4 else parts))


def plans(skill: Any, arm: str, seed: int = 0) -> tuple[Callable[[int], object], Callable[[], None]]:
    """One random plan of a skill after the other, and what closes the planner. What cannot be planned counts too."""
    from memristor_bdnn.errors import PlanningError

    planner, rng = skill.motion(arm), np.random.default_rng(seed)

    def plan(i: int) -> None:
        context = skill.sample_context(rng)
        parameters = skill.sample_candidates(context, 1, rng, arm)[0]
        with suppress(PlanningError):
            planner.plan(context, parameters, seed=i)

    return plan, planner.close


def scenes(skill: Any, arm: str, seed: int = 0) -> tuple[Callable[[int], object], Callable[[], None]]:
    """One random scene of a skill's simulated world after the other, and what closes the world."""
    world, rng = skill.world(arm), np.random.default_rng(seed)

    def build(i: int) -> None:
        world.reset(i, skill.sample_context(rng))
        if arm:
            world.joint_state()  # a scene is built when it is looked at

    return build, world.close


def measure(arm: str, n: int) -> dict[str, float]:
    """Growth (KiB) per plan and per scene with the arm, of every skill that plans."""
    from memristor_bdnn import skills
    from memristor_bdnn.errors import ConfigError

    figures: dict[str, float] = {"memory_repetitions": n}
    for name in skills.names():
        skill = skills.load(name)
        if not skill.phases:
            continue
        for what, make in (("plan", plans), ("scene", scenes)):
            try:
                step, close = make(skill, arm)
            except ConfigError as error:  # an arm without a hand
                print(f"not measured: {name} {what}s: {error}")
                continue
            figures[f"{name}_kib_per_{what}"] = growth_kib(step, n)
            close()
    return figures
