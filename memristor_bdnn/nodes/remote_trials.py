"""Trials whose contexts and outcomes come from the world node, planned by the planner node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.action import ExecuteTrial, PlanMotion
from memristor_bdnn.active.trials import outcome_of
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import PeerLost, Peers
from memristor_bdnn.nodes.remote import refused
from memristor_bdnn.skills.protocol import Measured, Skill, TrialOutcome
from memristor_bdnn.srv import ResetWorld

FloatArray = npt.NDArray[np.floating[Any]]

RESET_S, PLAN_S, TRIAL_S = 30.0, 120.0, 600.0
"""Deadlines of the calls, seconds."""


class RemoteTrials:
    """Implements :class:`memristor_bdnn.active.trials.Trials` over ROS.

    Args:
        peers: clients of the calling node.
        skill: names the two nodes; its spaces check what they answer.
        arm: name of the arm that carries trials out.
        wait_for_label: asked when an arm executed a trial that nobody measured yet; returns (measures (m,), source).
        next_id: number of the next trial.
        start: gives the joint state that plans begin at; the arm's home without it.
    """

    def __init__(
        self,
        peers: Peers,
        skill: Skill,
        arm: str,
        wait_for_label: Callable[[int], tuple[FloatArray, str]],
        next_id: Callable[[], int],
        start: Callable[[], Any] | None = None,
    ) -> None:
        self.arm = arm
        self._peers, self._skill, self._wait_for_label, self._next_id = peers, skill, wait_for_label, next_id
        self._start = start
        self._world, self._planner = skill.node_names
        self.planning_times: list[float] = []
        self.last_outcome: Any = None

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A context drawn by the world, or the one that stands there, (c,)."""
        answer = self._reset(ResetWorld.Request(seed=int(rng.integers(2**31)), given=False))
        return convert.row_from_message(answer.context, self._skill.context_space)

    def run(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Reset the world to a context, plan, execute; an impossible plan is an infeasible trial.

        Raises:
            PeerLost: world or planner died.
            ArmError: the arm failed, or stands where no plan can begin; nothing is recorded.
        """
        found = convert.table(self._skill.context_space.names, self._skill.context_space.check(context))
        chosen = convert.table(self._skill.parameter_space.names, self._skill.parameter_space.check(parameters))
        self._reset(ResetWorld.Request(seed=seed, given=True, context=found))
        goal = ExecuteTrial.Goal(trial_id=self._next_id(), context=found, parameters=chosen, seed=seed)
        extras: dict[str, Any] = {}
        if self._skill.phases:
            plan = self._plan(found, chosen, seed)
            if isinstance(plan, TrialOutcome):
                return plan
            goal.plan = plan
            self.planning_times.append(plan.planning_time)
            extras["planning_time_s"] = round(plan.planning_time, 4)
        return self._execute(goal, extras)

    def _plan(self, context: Any, parameters: Any, seed: int) -> Any:
        """A plan as a message, or the outcome of a trial that cannot be planned."""
        instance = self._peers.instance(self._planner)
        goal = PlanMotion.Goal(context=context, parameters=parameters, seed=seed)
        if self._start is not None and (state := self._start()) is not None:
            goal.start = state
        result = self._peers.act(self._planner, PlanMotion, "plan_motion", goal, PLAN_S)
        codes = PlanMotion.Result
        if result.error_code == codes.NONE:
            return result.plan
        if result.error_code == codes.CANCELED:
            raise Cancelled(result.error_msg)
        if result.error_code == codes.START_MISMATCH:
            raise ArmError("start_mismatch", f"{self._planner}: {result.error_msg}; nothing was tried or recorded")
        # Only what is certainly about the candidate makes an infeasible trial.
        if result.error_code in (codes.NO_IK, codes.COLLISION, codes.JOINT_LIMITS, codes.TIMEOUT):
            return TrialOutcome(False, 0.0, 0.0, {"reason": result.error_msg})
        refused(self._peers, self._planner, instance, result.error_msg or f"error code {result.error_code}")

    def _execute(self, goal: Any, extras: dict[str, Any]) -> TrialOutcome:
        instance = self._peers.instance(self._world)
        result = self._peers.act(self._world, ExecuteTrial, "execute_trial", goal, TRIAL_S)
        codes = ExecuteTrial.Result
        if result.error_code == codes.CONTEXT_MISMATCH:
            raise PeerLost(
                self._world, f"{self._world} was started anew, or reset by somebody else: {result.error_msg}"
            )
        if result.error_code == codes.CANCELED:
            raise Cancelled(result.error_msg)
        if result.error_code == codes.ARM_FAILED:
            raise ArmError("arm_failed", f"{self._world}: {result.error_msg}")
        space, outcome = self._skill.measure_space, result.outcome
        if result.error_code == codes.NO_LABEL:
            measures, source = self._wait_for_label(goal.trial_id)
            outcome.measures, outcome.source = convert.table(space.names, measures), source
            outcome.score = float(self._skill.score(measures))
            outcome.success = outcome.score > 0.0
        elif result.error_code:
            refused(self._peers, self._world, instance, result.error_msg)
        self.last_outcome = outcome
        (measures,) = convert.rows_from_table(outcome.measures, space.names, space.what)
        details = {**dict(zip(space.names[1:], measures[1:].tolist(), strict=True)), "source": outcome.source, **extras}
        return outcome_of(self._skill, Measured(measures, outcome.source, details))

    def _reset(self, request: Any) -> Any:
        instance = self._peers.instance(self._world)
        response = self._peers.call(self._world, ResetWorld, "reset", request, RESET_S)
        if not response.success:
            refused(self._peers, self._world, instance, response.message, ConfigError)
        return response
