"""The learner and the skill as the active-learning loop sees them, each call a message to another node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.action import Learn, PlanPour, Pour
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError, MemristorError
from memristor_bdnn.learners.protocol import LearnProgress, LearnReport, Prediction, ProgressCallback
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import Peers
from memristor_bdnn.skills.pouring.context import FEATURE_NAMES, PourContext, PourParameters
from memristor_bdnn.skills.pouring.skill import PouringSkill
from memristor_bdnn.skills.protocol import TrialOutcome
from memristor_bdnn.srv import LoadCheckpoint, Predict, ResetWorld, SaveCheckpoint

FloatArray = npt.NDArray[np.floating[Any]]

PREDICT_S, LEARN_S, CHECKPOINT_S, RESET_S, PLAN_S = 60.0, 900.0, 60.0, 30.0, 120.0
"""Deadlines of the calls, seconds."""


class RemoteLearner:
    """A learner behind the accelerator node; ``status`` is its last LearnerStatus."""

    def __init__(self, peers: Peers, want_samples: bool = False, peer: str = "accelerator") -> None:
        """
        Args:
            peers: clients of the calling node.
            want_samples: transfer every posterior sample (the bald strategy needs them).
            peer: name of the accelerator node.
        """
        self._peers, self._want_samples, self._peer = peers, want_samples, peer
        self.status: Any = None

    def fit(
        self, x: FloatArray, y: FloatArray, progress: ProgressCallback | None = None, cancelled: Any = None
    ) -> LearnReport:
        """Train ex situ and deploy."""
        return self._learn(x, y, True, progress)

    def learn(
        self, x: FloatArray, y: FloatArray, progress: ProgressCallback | None = None, cancelled: Any = None
    ) -> LearnReport:
        """Train in situ on all labels."""
        return self._learn(x, y, False, progress)

    def _learn(
        self, x: FloatArray, y: FloatArray, from_scratch: bool, progress: ProgressCallback | None
    ) -> LearnReport:
        history: list[float] = []

        def feedback(message: Any) -> None:
            history.append(message.accuracy)
            if progress is not None:
                progress(LearnProgress(message.epoch, message.epochs, message.loss, message.accuracy, message.pulses))

        goal = Learn.Goal(
            x=convert.features_to_message(x, FEATURE_NAMES), y=convert.floats(y), from_scratch=from_scratch
        )
        result = self._peers.act(self._peer, Learn, "learn", goal, LEARN_S, feedback)
        if result.error_code == Learn.Result.CANCELED:
            raise Cancelled(result.error_msg)
        if result.error_code:
            raise MemristorError(f"{self._peer}: {result.error_msg}")
        self.status = result.status
        s = result.status
        return LearnReport(s.epoch, s.loss, s.train_accuracy, int(s.set_pulses + s.reset_pulses), tuple(history))

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Predict candidates from reads of the accelerator."""
        request = Predict.Request(
            candidates=convert.features_to_message(x, FEATURE_NAMES), samples=samples, want_samples=self._want_samples
        )
        response = self._checked(self._peers.call(self._peer, Predict, "predict", request, PREDICT_S))
        mean, std = np.array(response.prediction.mean), np.array(response.prediction.std)
        drawn = np.array(response.sample_data).reshape(-1, len(mean)) if self._want_samples else mean[None]
        return Prediction(mean, std, drawn)

    def save(self, path: str | Path) -> str:
        """Have the node write a checkpoint; returns its SHA-256."""
        request = SaveCheckpoint.Request(path=str(Path(path).resolve()))
        return str(
            self._checked(self._peers.call(self._peer, SaveCheckpoint, "save_checkpoint", request, CHECKPOINT_S)).sha256
        )

    def load(self, path: str | Path) -> str:
        """Have the node restore a checkpoint; returns its SHA-256."""
        request = LoadCheckpoint.Request(path=str(Path(path).resolve()), strict=True)
        return str(
            self._checked(self._peers.call(self._peer, LoadCheckpoint, "load_checkpoint", request, CHECKPOINT_S)).sha256
        )

    def _checked(self, response: Any) -> Any:
        if not response.success:
            raise MemristorError(f"{self._peer}: {response.message}")
        return response


class RemoteSkill(PouringSkill):
    """Pouring whose contexts and trials come from the world and planner nodes.

    Candidates and features are pure functions and stay here. ``wait_for_label`` is asked when an arm
    executed a pour that nobody measured yet: it returns (fraction, source). ``start`` gives the joint
    state that plans begin at (the arm's home without it).
    """

    def __init__(
        self,
        peers: Peers,
        wait_for_label: Callable[[int], tuple[float, str]],
        next_id: Callable[[], int],
        start: Callable[[], Any] | None = None,
        pour_timeout_s: float = 600.0,
    ) -> None:
        super().__init__()
        self.with_arm = True
        self._peers, self._wait_for_label, self._next_id = peers, wait_for_label, next_id
        self._start, self._pour_timeout_s = start, pour_timeout_s
        self.planning_times: list[float] = []
        self.last_outcome: Any = None

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """Vessels drawn by the world."""
        request = ResetWorld.Request(seed=int(rng.integers(2**31)), scene="random")
        return convert.context_from_message(self._reset(request).context).array()

    def run_trial(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Reset the world to a context, plan, pour; an impossible plan is an infeasible trial.

        Raises:
            PeerLost: world or planner died.
            ArmError: the arm failed; nothing was poured for certain, so nothing is recorded.
        """
        vessels, control = PourContext.from_array(context), PourParameters.from_array(parameters)
        self._reset(ResetWorld.Request(seed=seed, scene="given", requested=convert.context_to_message(vessels)))
        goal = PlanPour.Goal(
            context=convert.context_to_message(vessels), parameters=convert.parameters_to_message(control), seed=seed
        )
        if self._start is not None and (state := self._start()) is not None:
            goal.start = state
        plan = self._peers.act("pour_planner", PlanPour, "plan_pour", goal, PLAN_S)
        if plan.error_code in (PlanPour.Result.BAD_INPUT, PlanPour.Result.FAILED, PlanPour.Result.START_MISMATCH):
            raise MemristorError(f"pour_planner: {plan.error_msg}")
        if plan.error_code == PlanPour.Result.CANCELED:
            raise Cancelled(plan.error_msg)
        if plan.error_code:
            return TrialOutcome(False, 0.0, 0.0, {"reason": plan.error_msg})
        self.planning_times.append(plan.planning_time)
        return self._pour(goal, plan, seed)

    def _pour(self, planned: Any, plan: Any, seed: int) -> TrialOutcome:
        trial_id = self._next_id()
        goal = Pour.Goal(trial_id=trial_id, context=planned.context, parameters=planned.parameters, seed=seed)
        convert.copy_plan(plan, goal)
        result = self._peers.act("pouring_world", Pour, "pour", goal, self._pour_timeout_s)
        if result.error_code == Pour.Result.CANCELED:
            raise Cancelled(result.error_msg)
        if result.error_code == Pour.Result.ARM_FAILED:
            raise ArmError("arm_failed", f"pouring_world: {result.error_msg}")
        outcome = result.outcome
        if result.error_code == Pour.Result.NO_LABEL:
            from memristor_bdnn.skills.pouring.context import score_of

            fraction, source = self._wait_for_label(trial_id)
            outcome.fraction_in_bowl, outcome.source = fraction, source
            outcome.score = score_of(fraction)
            outcome.success = outcome.score > 0
        elif result.error_code:
            raise MemristorError(f"pouring_world: {result.error_msg}")
        self.last_outcome = outcome
        details = {
            "fraction_in_cup": outcome.fraction_in_cup,
            "fraction_spilled": outcome.fraction_spilled,
            "source": outcome.source,
            "planning_time_s": round(plan.planning_time, 4),
        }
        return TrialOutcome(True, outcome.score, outcome.fraction_in_bowl, details)

    def _reset(self, request: Any) -> Any:
        response = self._peers.call("pouring_world", ResetWorld, "reset", request, RESET_S)
        if not response.success:
            raise ConfigError(f"pouring_world: {response.message}")
        return response
