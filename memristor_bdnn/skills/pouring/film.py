"""A film of a trial of the store: the same seed and plan give the same pour again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.config import build
from memristor_bdnn.motion import arms
from memristor_bdnn.skills.pouring.context import PourContext
from memristor_bdnn.skills.pouring.figures import animation, record_pour
from memristor_bdnn.skills.pouring.motion import NODE_DEFAULTS, PlannerConfig, PourPlanner
from memristor_bdnn.skills.pouring.records import WorldConfig
from memristor_bdnn.skills.pouring.world import PouringWorld


def animate(trial: Any, arm: str, path: Path) -> None:
    """Simulate a trial that an arm executed over ROS and write it as a GIF.

    Args:
        trial: with context, parameters and seed, as a trial store keeps it.
        arm: name or YAML file.
        path: the GIF.

    Raises:
        MemristorError: it cannot be planned or executed again.
    """
    planner = PourPlanner(arms.load(arm), build(PlannerConfig, NODE_DEFAULTS))
    try:
        with PouringWorld(WorldConfig(arm=arm, whole_motion=True)) as world:
            world.reset(trial.seed, PourContext.from_array(trial.context))
            context, parameters = np.array(trial.context), np.array(trial.parameters)
            plan = planner.plan(context, parameters, seed=trial.seed).as_sent()
            frames, _, _ = record_pour(world, functools.partial(world.pour_with_arm, plan), every=2)
            animation(frames, path, frames_per_s=10.0)
    finally:
        planner.close()
