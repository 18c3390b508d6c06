"""The accelerator node: one learner plugin on one accelerator, behind services and an action."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.action.server import ServerGoalHandle
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from memristor_bdnn import acquisitions, skills
from memristor_bdnn.accelerator.watching import watched
from memristor_bdnn.acquisitions.scores import straddle
from memristor_bdnn.action import Learn
from memristor_bdnn.active import checkpoints
from memristor_bdnn.active.checkpoints import Mark
from memristor_bdnn.active.choice import around
from memristor_bdnn.config import check, option, yaml_mapping
from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError
from memristor_bdnn.learners.protocol import FloatArray, LearnProgress
from memristor_bdnn.msg import LearnerStatus
from memristor_bdnn.msg import Prediction as PredictionMessage
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.convert import features_from_message, floats, labels_from_message, seed_from_message
from memristor_bdnn.nodes.guards import printable
from memristor_bdnn.nodes.paths import checkpoint_path, local_copy, place_to_save
from memristor_bdnn.nodes.telling import ChipTeller
from memristor_bdnn.srv import AddObservations, LoadCheckpoint, Predict, SaveCheckpoint, SelectQueries

MAX_SAMPLES = 10_000
"""Posterior samples of a prediction: their spread is known to a percent from this many."""
MAX_ROWS = 1_000_000
"""Candidates of a prediction, the most that a loop may be told to score."""
MAX_CELLS, MAX_CELLS_SENT = 20_000_000, 4_000_000
"""Rows times samples of a prediction (160 MB), and of one whose samples are sent back (32 MB in one message)."""
MAX_LABELS = 100_000
"""Labels held: every epoch passes over all of them; a session has some hundreds."""


@dataclass(frozen=True)
class AcceleratorNodeConfig:
    """Parameters of the accelerator node, beside those of learner and accelerator.

    The learner's own are declared as ``<learner>.<field>``, the accelerator's (such as ``host``) by their names.
    """

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    learner: str = option("msgld", "learner plugin by name")
    accelerator: str = option("simulated", "accelerator by name")
    preset: str = option("tsinghua_taox_hfox", "device preset by name, or a YAML file", files=True)
    recipe: str = option("", "recipe of the skill for the learner; empty: what the skill recommends")
    options: str = option(
        "", "more options of the accelerator as a YAML mapping, such as '{adc: true}' or '{reset_by: cfg_reg}'"
    )
    learner_options: str = option(
        "",
        "more options of the learner as a YAML mapping, such as '{max_epochs: 40, ex_situ: {epochs: 500}}'",
        changes="start",
    )
    seed: int = option(0, "seed of the simulated devices and of the learner", low=0)
    samples: int = option(
        20, "posterior samples of a prediction when the request says 0", low=1, high=MAX_SAMPLES, changes="live"
    )
    results: str = option("results/session", "folder of the checkpoints", changes="start")
    allow_outside_results: bool = option(
        False, "whether a checkpoint may be written and read outside of results, as any peer asks", changes="start"
    )

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class AcceleratorNode(SkillNode):
    """Predicts, selects queries and learns on noisy memristor reads; of a skill it knows names and recipes."""

    config_type = AcceleratorNodeConfig

    def __init__(self, default_learner: str | None = None) -> None:
        self._lock = threading.Lock()
        self._labels_lock, self._loading = threading.Lock(), threading.Lock()
        self._learner: Any = None
        self._accelerator: Any = None
        self._skill: Any = None
        self._version = self._learned = 0
        self._x, self._y = _no_labels(0)
        self._progress = LearnProgress(0, 0, 0.0, 0.0, 0)
        super().__init__("accelerator", **({"learner": default_learner} if default_learner else {}))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._status = self.create_publisher(LearnerStatus, "~/status", latched)
        self._schema = self.create_publisher(String, "~/schema", latched)
        self._chips = ChipTeller(self)
        self.serve(Predict, "~/predict", self._predict, self._with_version, beside=True)
        self.serve(SelectQueries, "~/select_queries", self._select)
        self.serve(AddObservations, "~/add_observations", self._add, self._with_labels)
        self.serve(SaveCheckpoint, "~/save_checkpoint", self._save, self._with_version)
        self.serve(LoadCheckpoint, "~/load_checkpoint", self._load, self._with_version)
        self._server = self.offer(
            Learn,
            "~/learn",
            self._learn,
            Learn.Result.LEARNER_FAILED,
            exclusive=True,
            complete=self._with_status,
        )

    _warnings: tuple[str, ...] = ()
    """What the last training said of devices and labels."""
    _writing = ""

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Open the accelerator and put the learner on it."""
        from memristor_bdnn import accelerator, learners
        from memristor_bdnn.active import recipes

        config = self.config
        skill = self._skill = skills.load(config.skill)
        more = yaml_mapping(config.learner_options, "learner_options")
        starting = recipes.options(skill, config.learner, config.recipe, more)
        self.declare_section(learners.learner_class(config.learner).config_type, config.learner, starting)
        options = accelerator.load(config.accelerator).config_type
        self.declare_section(options, "", key="accelerator options")
        self._accelerator = accelerator.create(
            config.accelerator,
            preset=config.preset,
            seed=config.seed,
            **{**self.read_section("accelerator options"), **yaml_mapping(config.options, "options")},
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
                        "prior": recipes.recipe(skill, config.learner, config.recipe).prior,
                        "accelerator": config.accelerator,
                    },
                    default=str,
                )
            )
        )
        self._warnings = ()
        self.announce(skill)
        self._status.publish(self._status_message())
        self._chips.tell(self._accelerator)

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
        if self.phase != "configured":
            return {}
        return {
            "learner": self.config.learner,
            "accelerator": self.config.accelerator,
            "model_version": self._version,
            "labels": len(self._y),
            "warnings": "; ".join(self._warnings),
            "writing": self._writing,
        }

    def review(self, changes: dict[str, Any]) -> str:
        """Options that name files or set limits of a chip are given at start only, also inside ``options``."""
        if not {"options", "accelerator"} & set(changes):
            return ""
        from memristor_bdnn import accelerator

        name = changes.get("accelerator", self.get_parameter("accelerator").value)
        if name not in accelerator.names():  # refused on configure, with the choices
            return f"options: set the accelerator first, {name!r} is unknown" if "options" in changes else ""
        new = yaml_mapping(changes.get("options", self.get_parameter("options").value), "options")
        at_start = yaml_mapping(self.given_at_start("options"), "options")
        fields = {f.name: f for f in dataclasses.fields(accelerator.load(name).config_type)}
        for key in (k for k in new if k in fields and new[k] != at_start.get(k)):
            meta = fields[key].metadata
            if not meta or meta.get("files") or meta.get("changes") == "start":
                return f"options: {key} may be given at start only, on the command line or in the parameter file"
        return ""

    # -- services -----------------------------------------------------------------------------

    def _with_version(self, response: Any) -> None:
        """Also a failure says which model was asked: a node that came back blank is told by it."""
        if not response.success:
            getattr(response, "prediction", response).model_version = self._version

    def _with_labels(self, response: Any) -> None:
        response.labels = len(self._y)

    def _with_status(self, result: Any) -> None:
        result.status = self._status_message()

    def _predict(self, request: Any, response: Any) -> Any:
        most = MAX_CELLS_SENT if request.want_samples else MAX_CELLS
        x = self._rows_of(request.candidates)
        prediction, response.prediction = self._run_prediction(x, request.samples, most, request.considered)
        if request.want_samples:
            response.sample_data = floats(prediction.samples)
        return response

    def _rows_of(self, candidates: Any) -> FloatArray:
        """Candidates of a message, (n, d), n at least 1."""
        x = features_from_message(candidates, self._skill.feature_names, MAX_ROWS)
        if len(x) == 0:
            raise ConfigError("candidates: 0 rows, expected at least one")
        return x

    def _run_prediction(
        self, x: FloatArray, samples: int, most: int = MAX_CELLS, considered: int = 0
    ) -> tuple[Any, Any]:
        samples = samples or self.config.samples
        if samples > MAX_SAMPLES:
            raise ConfigError(f"samples = {samples}: allowed [1, {MAX_SAMPLES}], or 0 for the node's own")
        if considered > len(x):
            raise ConfigError(f"considered = {considered}: allowed [0, {len(x)}], the number of candidates")
        if len(x) * samples > most:
            raise ConfigError(
                f"candidates: {len(x)} rows with {samples} samples each are {len(x) * samples} values, at most {most}"
            )
        began = time.perf_counter()
        with self.holding(self._lock, "it is learning"):
            if considered and hasattr(self._learner, "consider"):
                self._learner.consider(x[:considered])
            prediction, version = self._learner.predict(x, samples), self._version
        message = PredictionMessage(
            learner=self.config.learner,
            model_version=version,
            samples=len(prediction.samples),
            mean=floats(prediction.mean),
            std=floats(prediction.std),
            straddle=floats(straddle(prediction)),
            compute_time=time.perf_counter() - began,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        return prediction, message

    def _select(self, request: Any, response: Any) -> Any:
        acquisition = acquisitions.load(request.strategy[:80])
        rng = np.random.default_rng(seed_from_message(request.seed, self.config.seed))
        x = self._rows_of(request.candidates)
        if not 1 <= request.k <= len(x):
            raise ConfigError(f"k = {request.k}: allowed [1, {len(x)}], the number of candidates")
        prediction, _ = self._run_prediction(x, 0)
        best, scores = acquisitions.propose(acquisition, prediction, request.k, rng, lambda: self._tried(x))
        response.indices, response.scores = best.astype(np.uint32).tolist(), floats(scores)
        return response

    def _tried(self, x: FloatArray) -> Any:
        """Candidates (n, d) and the labels that the node holds, where trials go alike."""
        with self._labels_lock:
            known = self._x, 2.0 * self._y - 1.0
        if len(known[1]) == 0:
            raise ConfigError(
                "this strategy scores by labels too, and the node holds none (a checkpoint brings none): give them by "
                "add_observations, or choose another strategy"
            )
        return around(self._skill, x, known)

    def _add(self, request: Any, response: Any) -> Any:
        x = features_from_message(request.x, self._skill.feature_names, MAX_LABELS)
        y = labels_from_message(request.y, len(x))
        with self._labels_lock:
            if len(self._y) + len(y) > MAX_LABELS:
                raise ConfigError(f"{len(y)} labels: the node holds {len(self._y)} of at most {MAX_LABELS}")
            self._x, self._y = np.concatenate([self._x, x]), np.concatenate([self._y, y])
        return response

    def _checkpoint_path(self, text: str) -> Path:
        return checkpoint_path(self.config.results, text, self.config.allow_outside_results)

    def _save(self, request: Any, response: Any) -> Any:
        path = place_to_save(self._checkpoint_path(request.path), self.config.results)
        # A session says before its first training that it knows no trial yet.
        labels = 0 if request.history and not request.trials else self._learned
        with self.holding(self._lock, "it is learning"):
            mark = Mark(labels, request.trials, request.history, self._progress.accuracy if labels else None)
            response.sha256 = checkpoints.keep(path, self._learner.save, mark)
            if request.history and not labels:
                checkpoints.keep_first(path)
            response.model_version = self._version
        return response

    def _load(self, request: Any, response: Any) -> Any:
        """Read without the lock, so that predictions go on while a slow disk is read; then restore from memory."""
        path = self._checkpoint_path(request.path)
        with self.holding(self._loading, "another checkpoint is being loaded"), local_copy(path) as copy:
            mark = checkpoints.mark_of(copy)
            with self.holding(self._lock, "it is learning"):
                response.sha256 = str(self._learner.load(copy))
                self._version += 1
                self._learned = response.labels = 0 if mark is None else mark.labels
                self._chips.tell(self._accelerator)
                response.model_version = self._version
        return response

    def _warn(self, texts: tuple[str, ...]) -> None:
        """Keep what a report says of devices and training for the diagnostics, and log what is new."""
        for text in (text for text in texts if text not in self._warnings):
            self.get_logger().warning(printable(text))
        self._warnings = texts

    # -- learning -----------------------------------------------------------------------------

    def _tell_writing(self, done: int, cells: int) -> None:
        """How far a deployment is that takes its time, as on a board."""
        self._writing = f"{done} of {cells} cells" if done < cells else ""
        self.get_logger().info(f"write-verify: {done} of {cells} cells", throttle_duration_sec=2.0)

    def _learn(self, goal: ServerGoalHandle) -> Any:
        result = Learn.Result()
        try:
            x, y = self._labels_of(goal.request)
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
            with (
                self.holding(self._lock, "the goal before is still ending", cancelled),
                watched(self._accelerator, self._tell_writing),
            ):
                work = self._learner.fit if goal.request.from_scratch else self._learner.learn
                try:
                    report = work(x, y, progress=progress, cancelled=cancelled)
                    self._warn(report.warnings)
                finally:
                    self._version += 1
                    self._learned = len(y)
                    self._chips.tell(self._accelerator)
            self._progress = LearnProgress(report.epochs, report.epochs, report.loss, report.accuracy, report.pulses)
        except Cancelled:
            pass
        except MemristorError as error:
            result.error_code, result.error_msg = Learn.Result.LEARNER_FAILED, str(error)
            goal.abort()
            return result
        self._status.publish(self._status_message())
        if cancelled():
            result.error_code, result.error_msg = Learn.Result.CANCELED, "canceled; what was learned so far is kept"
            goal.canceled() if goal.is_cancel_requested else goal.abort()
        else:
            goal.succeed()
        return result

    def _labels_of(self, request: Any) -> tuple[FloatArray, FloatArray]:
        """Features (n, d) and labels (n,) to learn: those of the goal, which replace what the node holds, or those."""
        if reason := self.refuse():
            raise ConfigError(reason)
        with self._labels_lock:
            if request.x.values or request.y:
                x = features_from_message(request.x, self._skill.feature_names, MAX_LABELS)
                self._x, self._y = x, labels_from_message(request.y, len(x))
            if len(self._y) == 0:
                raise ConfigError("no labels: give x and y in the goal, or call add_observations first")
            return self._x, self._y

    def _status_message(self) -> LearnerStatus:
        """What is known of the learner and its accelerator now."""
        if self._accelerator is None:
            return LearnerStatus(model_version=self._version, labels=len(self._y))
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
        return message


def _no_labels(width: int) -> tuple[FloatArray, FloatArray]:
    return np.empty((0, width)), np.empty(0)
