"""How a trial is run: here, in this process; over ROS it is :mod:`memristor_bdnn.nodes.remote_trials`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ArmError, PlanningError
from memristor_bdnn.skills.protocol import Measured, Motion, Skill, TrialOutcome, World

FloatArray = npt.NDArray[np.floating[Any]]


class Trials(Protocol):
    """Runs trials of one skill; the loop knows nothing more of worlds and arms."""

    arm: str
    """Name of the arm that carries trials out; empty when the object moves alone."""

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """The context of the next trial, (c,): drawn, or what stands there."""

    def run(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Execute one trial; context (c,) and parameters (p,) as physical values."""


class LocalTrials:
    """Trials of a skill in one simulated world, made on the first of them.

    Args:
        skill: the skill.
        arm: plans and executes every trial; empty moves the object alone. A trial that cannot be planned is
            infeasible, not a failure.
        options: of the skill's world.
        motion_options: of the skill's motion.
    """

    def __init__(
        self,
        skill: Skill,
        arm: str = "",
        options: Mapping[str, Any] | Any | None = None,
        motion_options: Mapping[str, Any] | Any | None = None,
    ) -> None:
        self.skill, self.arm = skill, arm
        self._options, self._motion_options = options, motion_options
        self._world: World | None = None
        self._motion: Motion | None = None

    @property
    def world(self) -> World:
        """The world that trials run in."""
        if self._world is None:
            self._world = self.skill.world(self.arm, self._options)
        return self._world

    @property
    def motion(self) -> Motion | None:
        """The planner, or None when nothing is planned."""
        if self._motion is None and self.arm and self.skill.phases:
            self._motion = self.skill.motion(self.arm, self._motion_options)
        return self._motion

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random context, (c,)."""
        return self.skill.sample_context(rng)

    def run(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Execute one trial.

        Raises:
            ConfigError: a value outside its range.
            ArmError: ``start_mismatch``: no candidate can be planned from where the arm is; nothing was tried.
        """
        context = self.skill.context_space.check(context)
        parameters = self.skill.parameter_space.check(parameters)
        self.world.reset(seed, context)
        if self.motion is None:
            return outcome_of(self.skill, self.world.execute(parameters))
        try:
            plan = self.motion.plan(context, parameters, seed=seed)
        except PlanningError as error:
            if error.reason == "start_mismatch":
                raise ArmError(error.reason, str(error)) from error
            return TrialOutcome(False, 0.0, 0.0, {"seed": seed, "reason": error.reason, "text": str(error)})
        return outcome_of(self.skill, self.world.execute(parameters, plan), planning_time_s=float(plan.planning_time_s))

    def close(self) -> None:
        """Close world and planner; safe to call twice."""
        for part in (self._world, self._motion):
            if part is not None:
                part.close()
        self._world = self._motion = None


def outcome_of(skill: Skill, measured: Measured, **details: Any) -> TrialOutcome:
    """Score and fraction of what a world measured.

    Raises:
        ConfigError: a wrong number of measures, or the first one is missing or out of its range.
    """
    measures = np.asarray(measured.measures, dtype=float)
    known = np.where(np.isnan(measures), skill.measure_space.low, measures)
    skill.measure_space.check(np.concatenate([measures[:1], known[1:]]))
    extras = {**measured.details, **details}
    return TrialOutcome(True, float(skill.score(measures)), float(skill.fraction(measures)), extras)
