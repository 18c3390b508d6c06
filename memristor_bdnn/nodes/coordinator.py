"""The coordinator node: runs the active-learning loop over the other three nodes and keeps the trials."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.action.server import ServerGoalHandle
from sensor_msgs.msg import JointState

from memristor_bdnn import acquisitions, skills
from memristor_bdnn.action import ActiveLearn
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig, LoopProgress, Round
from memristor_bdnn.active.rounds import Rounds
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.active.test_data import load_test_data, without
from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError
from memristor_bdnn.motion import arms
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.introductions import Introductions
from memristor_bdnn.nodes.joint_states import JointStates
from memristor_bdnn.nodes.peers import PeerLost, Peers
from memristor_bdnn.nodes.telling import SessionTeller
from memristor_bdnn.srv import LabelTrial

SAID_BY_GOALS = ("queries", "evaluations")
"""Fields of the loop's configuration that every ActiveLearn goal gives; as parameters nobody would obey them."""
LOOP_DEFAULTS = {"candidates": 1000, "strategy": "sturdy", "final": "sturdy"}
"""Where a session through the nodes differs from the paper's: a robot pays for every failure, so it asks on policy."""
JOINT_STATE_S = 10.0
"""How long a joint state of a physical arm may take."""
START_AGE_S = 1.0
"""How old it may be where a plan starts: the last words of a driver that died are no start."""


@dataclass(frozen=True)
class CoordinatorNodeConfig:
    """Parameters of the coordinator node; the loop's own are declared as ``loop.<field>``."""

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    arm: str = option("panda", "arm that carries trials out: a name or a YAML file", files=True)
    results: str = option(
        "results/session", "folder of the trial store, the rounds and the checkpoints", changes="start"
    )
    seed: int = option(0, "seed of contexts, candidates and trials", low=0)
    test_data: str = option(
        "",
        "report accuracy every round on: 'shipped' (the skill's pool) or an .npz file with x (n, d), score (n,)",
        files=True,
    )
    prior_pool: str = option(
        "",
        "pool (.npz) that a learner whose recipe has a prior is fitted to first; empty: the one that ships with the "
        "skill",
        changes="start",
        files=True,
    )
    arm_output: str = option(
        "sim",
        "sim: plans start at the arm's home; otherwise at its measured joint state",
        choices=("sim", "action", "topic", "auto"),
    )
    joint_prefix: str = option("", "prefix of the joint names in joint_states, as in a multi-arm cell")
    recover: bool = option(
        False, "wait for a node that died and go on, instead of ending with an error", changes="live"
    )
    peer_timeout_s: float = option(
        60.0, "longest wait for the other nodes to become active", low=1.0, high=3600.0, unit="s", changes="live"
    )
    label_timeout_s: float = option(
        600.0,
        "longest wait for an operator's or a scale's outcome of a real trial",
        low=1.0,
        high=86400.0,
        unit="s",
        changes="live",
    )

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class CoordinatorNode(SkillNode):
    """One ActiveLearn goal at a time; its numbers are totals, so a goal sent again goes on."""

    config_type = CoordinatorNodeConfig

    def __init__(self) -> None:
        super().__init__("coordinator")
        self._busy = threading.Lock()
        self._store: TrialStore | None = None
        self._waiting: int | None = None
        self._told: int | None = None
        self._outcome: tuple[Any, str] | None = None
        self._label_lock = threading.Lock()
        self._skill: Any = None
        self._introductions: Introductions | None = None
        self._goal: ServerGoalHandle | None = None
        self._states: JointStates | None = None
        self._teller: SessionTeller | None = None
        self.declare_section(LoopConfig, "loop", LOOP_DEFAULTS, leave_out=SAID_BY_GOALS)
        self._peers = Peers(self, self._cancelled)
        self.serve(LabelTrial, "~/label_trial", self._label)
        self._server = self.offer(ActiveLearn, "~/active_learn", self._run, ActiveLearn.Result.FAILED, exclusive=True)

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Open the trial store; a folder that cannot be written fails here, before any trial."""
        folder = Path(self.config.results)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"results folder {folder}: {error.strerror}; choose a folder that can be written"
            ) from error
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"results folder {folder} is not writable; choose another with results:=FOLDER")
        skill = self._skill = skills.load(self.config.skill)
        self._test = load_test_data(self.config.test_data, skill) if self.config.test_data else None
        self._introductions = Introductions(self, skill, self._cancelled)
        if self.config.arm_output != "sim" and skill.phases:
            self._states = JointStates(self, arms.load(self.config.arm).joint_names, self.config.joint_prefix)
        self.announce(skill)
        self._rounds = Rounds(folder / "rounds.jsonl")
        self._store = TrialStore(folder / "trials.jsonl")
        if not self._store.trials:
            self._rounds.begin()
        self._teller = SessionTeller(self)
        self._teller.history(self._store.trials, self._rounds.read())

    def teardown(self) -> None:
        """Close the store; every committed trial is already on disk."""
        if self._states is not None:
            self._states.close()
            self._states = None
        if self._introductions is not None:
            self._introductions.close()
            self._introductions = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def describe(self) -> str:
        """Folder and number of trials already in the store."""
        trials = 0 if self._store is None else len(self._store.trials)
        return f"skill {self.config.skill}, results in {self.config.results}, {trials} trials so far"

    def diagnostic_values(self) -> dict[str, Any]:
        """Trials in the store, and the one that waits for its label."""
        waiting = "" if self._waiting is None else self._waiting
        return {} if self._store is None else {"trials": len(self._store.trials), "waits_for_label": waiting}

    # -- the other nodes ----------------------------------------------------------------------

    def _prior(self, learner: Any) -> Callable[[], None]:
        """What fits the learner to simulated trials, test rows left out; a bad pool is refused before any trial."""
        rows = self._skill.pool(self.config.prior_pool or None)
        x, y = rows.x, (rows.score + 1.0) / 2.0
        if self._test is not None:
            kept = without(x, self._test[0])
            x, y = x[kept], y[kept]
        if len(x) < 2:
            raise ConfigError(f"prior_pool = {self.config.prior_pool}: {len(x)} trials beside the test rows, 2 needed")

        def fit() -> None:
            self.get_logger().info(f"prior: fitting to {len(x)} simulated trials")
            learner.fit(x, y)

        return fit

    # -- active learning ----------------------------------------------------------------------

    def _cancelled(self) -> bool:
        goal = self._goal
        return not self.active or (goal is not None and bool(goal.is_cancel_requested))

    def _run(self, goal: ServerGoalHandle) -> Any:
        result = ActiveLearn.Result()
        with self._busy:
            self._goal = goal
            try:
                report = self._learn_actively(goal)
                result.checkpoint = str(self._checkpoint())
                if report.cancelled:
                    raise Cancelled("canceled; every finished trial is in the store")
            except PeerLost as error:
                return self._end(goal, result, ActiveLearn.Result.PEER_LOST, error)
            except Cancelled as error:
                return self._end(goal, result, ActiveLearn.Result.CANCELED, error)
            except ConfigError as error:
                return self._end(goal, result, ActiveLearn.Result.BAD_INPUT, error)
            except MemristorError as error:
                return self._end(goal, result, ActiveLearn.Result.FAILED, error)
            finally:
                self._goal = None
        self._state_of_session(result)
        self.get_logger().info(f"goal reached: {result.labels} labels, accuracy on them {result.accuracy:.2f}")
        goal.succeed()
        return result

    def _end(self, goal: ServerGoalHandle, result: Any, code: int, error: Exception) -> Any:
        """End a goal that was not reached, with what is on disk."""
        self._state_of_session(result)
        result.error_code, result.error_msg = code, str(error)
        if code == ActiveLearn.Result.CANCELED and goal.is_cancel_requested:
            goal.canceled()
        else:
            self.get_logger().error(str(error))
            goal.abort()
        return result

    def _state_of_session(self, result: Any) -> None:
        """Labels on disk, and the accuracy on the labels of the last round."""
        if self._store is not None:
            result.labels = len(self._store.labels()[1])
            result.accuracy = self._rounds.accuracy(result.labels)

    def _learn_actively(self, goal: ServerGoalHandle) -> Any:
        if reason := self.refuse():
            raise ConfigError(reason)
        request = goal.request
        section = self.read_section("loop")
        strategy = request.strategy or section["strategy"]
        acquisitions.load(strategy)
        config = build(
            LoopConfig,
            {
                **section,
                "queries": request.queries,
                "evaluations": request.evaluation_trials,
                "strategy": strategy,
            },
        )
        self.get_logger().info(
            f"goal accepted: {config.queries} queries by {strategy}, {config.evaluations} confident trials"
        )
        others = self._introductions
        assert others is not None
        while True:
            try:
                self._peers.wait_ready(others.others, self.config.peer_timeout_s)
                others.check_skills()
                return self._loop(goal, config, others.wants_prior(self.config.prior_pool))
            except PeerLost as error:
                if not self.config.recover:
                    raise
                self.get_logger().warning(f"{error}; waiting for it to come back")
                time.sleep(2.0)

    def _loop(self, goal: ServerGoalHandle, config: LoopConfig, prior: bool) -> Any:
        from memristor_bdnn.nodes.remote import RemoteLearner
        from memristor_bdnn.nodes.remote_trials import RemoteTrials

        store, skill, teller = self._store, self._skill, self._teller
        assert store is not None and teller is not None
        if prior:
            config = dataclasses.replace(config, prior_fitted=True)
        learner = RemoteLearner(
            self._peers, skill.feature_names, want_samples=acquisitions.load(config.strategy).needs_samples
        )
        trials = RemoteTrials(
            self._peers,
            skill,
            self.config.arm if skill.phases else "",
            self._wait_for_label,
            next_id=lambda: len(store.trials),
            start=None if self._states is None else self._measured_start,
        )
        clock = time.monotonic()

        def on_round(done: Round) -> None:
            nonlocal clock
            now = time.monotonic()
            self._write_round(done, learner, trials, now - clock)
            clock = now

        def progress(p: LoopProgress) -> None:
            if p.message:
                self.get_logger().warning(p.message)
            feedback = ActiveLearn.Feedback(
                round=p.done, labels=p.labels, phase=p.phase, failures=p.failures, undone=p.undone
            )
            if learner.status is not None:
                feedback.accuracy = float(learner.status.train_accuracy)
            if trials.last_outcome is not None:
                feedback.last_outcome = trials.last_outcome
                self._tell(p, trials.last_outcome)
            goal.publish_feedback(feedback)

        loop = ActiveLoop(
            skill,
            learner,
            store,
            config,
            np.random.default_rng(self.config.seed),
            trials=trials,
            checkpoint=self._checkpoint(),
            prior=self._prior(learner) if prior else None,
            on_round=on_round,
            on_trial=teller.trial,
            on_candidates=partial(teller.candidates, skill),
        )
        return loop.run(progress, self._cancelled)

    def _tell(self, p: LoopProgress, outcome: Any) -> None:
        """Say on the console what a trial gave, once."""
        if p.phase == "learn" or outcome.trial_id == self._told:
            return
        self._told = outcome.trial_id
        done = self._skill.fraction(np.array(outcome.measures.values))
        name = self._skill.fraction_name.replace("_", " ")
        self.get_logger().info(
            f"trial {outcome.trial_id} ({p.phase} {p.done} of {p.total}): {name} {done:.2f}; "
            f"{p.labels} labels, {p.failures} failures"
        )

    def _checkpoint(self) -> Path:
        return (Path(self.config.results) / "learner.npz").resolve()

    def _write_round(self, done: Round, learner: Any, trials: Any, wall_s: float) -> None:
        """Keep what is known after a round of learning in rounds.jsonl."""
        status = learner.status
        row: dict[str, Any] = {
            "labels": done.labels,
            "train_accuracy": done.report.accuracy,
            "epochs": done.report.epochs,
            "set_pulses": status.set_pulses,
            "reset_pulses": status.reset_pulses,
            "reads": status.reads,
            "energy_j": status.energy_j,
            "system_energy_j": status.system_energy_j,
            "latency_s": status.latency_s,
            "max_wear": status.max_wear,
            "wall_s": round(wall_s, 3),
            "median_planning_s": float(np.median(trials.planning_times)) if trials.planning_times else 0.0,
        }
        if self._test is not None:
            x, success = self._test
            said = learner.predict(x).mean > 0.5
            row["test_accuracy"] = float(np.mean(said == success))
            row["test_balanced_accuracy"] = float(np.mean([np.mean(said[success == k] == k) for k in (True, False)]))
        self._rounds.write(row)
        if self._teller is not None:
            self._teller.round(row)

    def _measured_start(self) -> JointState:
        """Where the arm is now, joints without their prefix; a driver that has just been started is given a moment."""
        states = self._states
        if states is None:
            raise Cancelled("the node was cleaned up")
        q = states.wait_fresh(START_AGE_S, JOINT_STATE_S, self._cancelled)
        names = [name.removeprefix(self.config.joint_prefix) for name in states.names]
        return JointState(name=names, position=convert.floats(q))

    # -- outcomes from outside ----------------------------------------------------------------

    def _wait_for_label(self, trial_id: int) -> tuple[Any, str]:
        """Measures (m,) and source of an executed trial, from the LabelTrial service."""
        with self._label_lock:
            self._waiting, self._outcome = trial_id, None
        self.get_logger().info(
            f"trial {trial_id} was executed: waiting for its outcome (memristor-bdnn label {trial_id} "
            f"{self._skill.measure_space.dimensions[0].text()})"
        )
        deadline = time.monotonic() + self.config.label_timeout_s
        problem: MemristorError | None = None
        while problem is None:
            with self._label_lock:
                if self._outcome is not None:
                    return self._outcome
                if self._cancelled():
                    problem = Cancelled(f"canceled while waiting for the outcome of trial {trial_id}")
                elif time.monotonic() > deadline:
                    limit = self.config.label_timeout_s
                    problem = MemristorError(f"no outcome for trial {trial_id} within {limit:.0f} s")
                if problem is not None:
                    self._waiting = None  # an outcome that comes later is refused, not swallowed
            time.sleep(0.05)
        raise problem

    def _label(self, request: Any, response: Any) -> Any:
        """Take the outcome of the trial that waits for it, once."""
        self._check_waiting(request.trial_id)
        measures = convert.measures_from_message(request.measures, self._skill.measure_space)
        source = request.source or "operator"
        if source not in ("operator", "scale"):
            raise ConfigError(f"source {source!r}: choose one of operator, scale")
        with self._label_lock:
            self._check_waiting(request.trial_id)
            self._waiting, self._outcome = None, (measures, source)
        return response

    def _check_waiting(self, trial_id: int) -> None:
        if self._waiting is None:
            raise ConfigError("no trial is waiting for an outcome")
        if trial_id != self._waiting:
            raise ConfigError(f"trial_id = {trial_id}: the trial waiting for an outcome is {self._waiting}")
