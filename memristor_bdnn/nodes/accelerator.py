"""The accelerator node: one learner plugin on one accelerator, behind services and an action."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rclpy.action.server import ServerGoalHandle
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from memristor_bdnn import acquisitions, skills
from memristor_bdnn.acquisitions.scores import straddle
from memristor_bdnn.action import Learn
from memristor_bdnn.active import checkpoints
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.learners.protocol import FloatArray, LearnProgress
from memristor_bdnn.msg import LearnerStatus
from memristor_bdnn.msg import Prediction as PredictionMessage
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.convert import features_from_message, floats, labels_from_message
from memristor_bdnn.srv import AddObservations, LoadCheckpoint, Predict, SaveCheckpoint, SelectQueries


@dataclass(frozen=True)
class AcceleratorNodeConfig:
    """Parameters of the accelerator node, beside those of learner and accelerator.

    The learner's own are declared as ``<learner>.<field>``, the accelerator's (such as ``host``) by their names.
    """

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    learner: str = option("msgld", "learner plugin by name")
    accelerator: str = option("simulated", "accelerator by name")
    preset: str = option("tsinghua_taox_hfox", "device preset by name, or a YAML file")
    recipe: str = option("", "recipe of the skill for the learner; empty: what the skill recommends")
    options: str = option(
        "", "more options of the accelerator as a YAML mapping, such as '{adc: true}' or '{reset_by: cfg_reg}'"
    )
    seed: int = option(0, "seed of the simulated devices and of the learner", low=0)
    results: str = option("results/session", "folder of the checkpoints", changes="start")
    samples: int = option(20, "posterior samples of a prediction when the request says 0", low=1, high=10000)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class AcceleratorNode(SkillNode):
    """Predicts, selects queries and learns on noisy memristor reads; of a skill it knows names and recipes."""

    config_type = AcceleratorNodeConfig

    def __init__(self, default_learner: str | None = None) -> None:
        super().__init__("accelerator", **({"learner": default_learner} if default_learner else {}))
        self._lock = threading.Lock()
        self._learner: Any = None
        self._accelerator: Any = None
        self._skill: Any = None
        self._version = self._learned = 0
        self._x, self._y = _no_labels(0)
        self._progress = LearnProgress(0, 0, 0.0, 0.0, 0)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = self.create_publisher(LearnerStatus, "~/status", latched)
        self._schema = self.create_publisher(String, "~/schema", latched)
        for kind, name, handler in (
            (Predict, "~/predict", self._predict),
            (SelectQueries, "~/select_queries", self._select),
            (AddObservations, "~/add_observations", self._add),
            (SaveCheckpoint, "~/save_checkpoint", self._save),
            (LoadCheckpoint, "~/load_checkpoint", self._load),
        ):
            self.create_service(kind, name, handler, callback_group=self.group)
        self._server = self.offer(Learn, "~/learn", self._learn, Learn.Result.LEARNER_FAILED)

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Open the accelerator and put the learner on it."""
        from memristor_bdnn import accelerator, learners
        from memristor_bdnn.active import recipes

        config = self.config
        skill = self._skill = skills.load(config.skill)
        if recipes.recipe(skill, config.learner, config.recipe).prior:
            raise ConfigError(
                f"recipe {config.recipe!r} fits the learner to simulated trials first, which the nodes do not do: "
                "use `memristor-bdnn learn`, or another recipe"
            )
        starting = recipes.options(skill, config.learner, config.recipe)
        self.declare_section(learners.learner_class(config.learner).config_type, config.learner, starting)
        options = accelerator.load(config.accelerator).config_type
        self.declare_section(options, "", key="accelerator options")
        self._accelerator = accelerator.create(
            config.accelerator,
            preset=config.preset,
            seed=config.seed,
            **{**self.read_section("accelerator options"), **parse_options(config.options)},
        )
        changes = {**starting, **self.read_section(config.learner)}
        self._learner = learners.create(config.learner, self._accelerator, changes, seed=config.seed)
        recipes.check_width(skill, self._learner)
        self._version = self._learned = 0
        self._x, self._y = _no_labels(len(skill.feature_names))
        self._schema.publish(
            String(
                data=json.dumps(
                    {
                        "skill": skill.name,
                        "features": skill.feature_names,
                        "range": [-1, 1],
                        "labels": [0, 1],
                        "strategies": acquisitions.names(),
                        "learner": config.learner,
                        "config": asdict(self._learner.config),
                        "accelerator": config.accelerator,
                    },
                    default=str,
                )
            )
        )
        self.announce(skill)
        self._publish_status()

    def teardown(self) -> None:
        """Release the hardware; waits for a running operation to see its cancellation."""
        with self._lock:
            if self._accelerator is not None:
                self._accelerator.close()
            self._accelerator = self._learner = None

    def describe(self) -> str:
        """Learner and accelerator by name."""
        return (
            f"skill {self.config.skill}, {self.config.learner} on {self.config.accelerator}, preset "
            f"{self.config.preset}, seed {self.config.seed}"
        )

    def diagnostic_values(self) -> dict[str, Any]:
        """Learner, model version and labels."""
        if self.config is None:
            return {}
        return {
            "learner": self.config.learner,
            "accelerator": self.config.accelerator,
            "model_version": self._version,
            "labels": len(self._y),
        }

    # -- services -----------------------------------------------------------------------------

    def _predict(self, request: Any, response: Any) -> Any:
        try:
            prediction, message = self._run_prediction(request.candidates, request.samples)
            response.prediction = message
            if request.want_samples:
                response.sample_data = floats(prediction.samples)
            response.success = True
        except MemristorError as error:
            response.message = str(error)
        return response

    def _run_prediction(self, candidates: Any, samples: int) -> tuple[Any, Any]:
        if reason := self.refuse():
            raise ConfigError(reason)
        x = features_from_message(candidates, self._skill.feature_names)
        if len(x) == 0:
            raise ConfigError("candidates: 0 rows, expected at least one")
        samples = samples or self.config.samples
        began = time.perf_counter()
        with self._lock:
            prediction = self._learner.predict(x, samples)
        message = PredictionMessage(
            learner=self.config.learner,
            model_version=self._version,
            samples=len(prediction.samples),
            mean=floats(prediction.mean),
            std=floats(prediction.std),
            straddle=floats(straddle(prediction)),
            compute_time=time.perf_counter() - began,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        return prediction, message

    def _select(self, request: Any, response: Any) -> Any:
        try:
            acquisition = acquisitions.load(request.strategy)
            prediction, _ = self._run_prediction(request.candidates, 0)
            rows = len(prediction.mean)
            if not 1 <= request.k <= rows:
                raise ConfigError(f"k = {request.k}: allowed [1, {rows}], the number of candidates")
            rng = np.random.default_rng(self.config.seed if request.seed < 0 else request.seed)
            scores = acquisition(prediction, rng)
            best = np.argsort(-scores, kind="stable")[: request.k]
            response.indices, response.scores = best.astype(np.uint32).tolist(), floats(scores[best])
            response.success = True
        except MemristorError as error:
            response.message = str(error)
        return response

    def _add(self, request: Any, response: Any) -> Any:
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            x = features_from_message(request.x, self._skill.feature_names)
            y = labels_from_message(request.y, len(x))
            self._x, self._y = np.concatenate([self._x, x]), np.concatenate([self._y, y])
            response.success = True
        except MemristorError as error:
            response.message = str(error)
        response.labels = len(self._y)
        return response

    def _save(self, request: Any, response: Any) -> Any:
        def save() -> str:
            path = (Path(self.config.results) / request.path).resolve()
            # A session says before its first training that it knows no trial yet.
            labels = 0 if request.history and not request.trials else self._learned
            accuracy = self._progress.accuracy if labels else None
            mark = checkpoints.Mark(labels, request.trials, request.history, accuracy)
            return checkpoints.keep(path, self._learner.save, mark)

        return self._checkpoint(response, save)

    def _load(self, request: Any, response: Any) -> Any:
        def load() -> str:
            path = (Path(self.config.results) / request.path).resolve()
            mark = checkpoints.mark_of(path)
            sha = self._learner.load(path)
            self._version += 1
            self._learned = response.labels = 0 if mark is None else mark.labels
            return str(sha)

        return self._checkpoint(response, load)

    def _checkpoint(self, response: Any, work: Any) -> Any:
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            with self._lock:
                response.sha256 = work()
            response.success = True
        except (MemristorError, OSError) as error:
            response.message = str(error)
        response.model_version = self._version
        return response

    # -- learning -----------------------------------------------------------------------------

    def _learn(self, goal: ServerGoalHandle) -> Any:
        result, request = Learn.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            if request.x.values:
                x = features_from_message(request.x, self._skill.feature_names)
                self._x, self._y = x, labels_from_message(request.y, len(x))
            if len(self._y) == 0:
                raise ConfigError("no labels: give x and y in the goal, or call add_observations first")
        except MemristorError as error:
            result.error_code, result.error_msg = Learn.Result.BAD_INPUT, str(error)
            goal.abort()
            return result

        def progress(p: LearnProgress) -> None:
            self._progress = p
            goal.publish_feedback(
                Learn.Feedback(epoch=p.epoch, epochs=p.epochs, accuracy=p.accuracy, loss=p.loss, pulses=p.pulses)
            )

        def cancelled() -> bool:
            return bool(goal.is_cancel_requested) or not self.active

        try:
            with self._lock:
                work = self._learner.fit if request.from_scratch else self._learner.learn
                report = work(self._x, self._y, progress=progress, cancelled=cancelled)
                self._version += 1
                self._learned = len(self._y)
            self._progress = LearnProgress(report.epochs, report.epochs, report.loss, report.accuracy, report.pulses)
        except MemristorError as error:
            result.error_code, result.error_msg = Learn.Result.LEARNER_FAILED, str(error)
            goal.abort()
            return result
        result.status = self._publish_status()
        if goal.is_cancel_requested:
            result.error_code, result.error_msg = Learn.Result.CANCELED, "canceled; what was learned so far is kept"
            goal.canceled()
        else:
            goal.succeed()
        return result

    def _publish_status(self) -> LearnerStatus:
        ledger = self._accelerator.ledger.summary()
        message = LearnerStatus(
            learner=self.config.learner,
            accelerator=self.config.accelerator,
            model_version=self._version,
            labels=len(self._y),
            epoch=self._progress.epoch,
            loss=float(self._progress.loss),
            train_accuracy=float(self._progress.accuracy),
            set_pulses=int(ledger["set_pulses"]),
            reset_pulses=int(ledger["reset_pulses"]),
            reads=int(ledger["reads"]),
            energy_j=float(ledger["device_energy_j"]),
            system_energy_j=float(ledger["system_energy_j"]),
            latency_s=float(ledger["latency_s"]),
            max_wear=int(ledger["max_wear"]),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)
        return message


def parse_options(text: str) -> dict[str, Any]:
    """A YAML mapping given as one parameter. Raises ConfigError when it is none."""
    try:
        value = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise ConfigError(f"options = {text!r} is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"options = {text!r}: expected a mapping such as '{{adc: true}}'")
    return {str(key): item for key, item in value.items()}


def _no_labels(width: int) -> tuple[FloatArray, FloatArray]:
    return np.empty((0, width)), np.empty(0)
