"""The learner as the active-learning loop sees it, each call a message to the accelerator node.

Every answer says which version of the model gave it. An answer of a version that this session did not make is never
used: the node came back blank after a crash, or somebody else taught it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from memristor_bdnn.action import Learn
from memristor_bdnn.active.checkpoints import Mark
from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError
from memristor_bdnn.learners.protocol import LearnProgress, LearnReport, Prediction, ProgressCallback
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import PeerLost, Peers
from memristor_bdnn.srv import LoadCheckpoint, Predict, SaveCheckpoint

FloatArray = npt.NDArray[np.floating[Any]]

PREDICT_S, LEARN_S, CHECKPOINT_S = 60.0, 900.0, 60.0
"""Deadlines of the calls, seconds."""
HEARTBEAT_S = 2.5
"""Within this time a node that was started anew, or is not active, has said so."""


class RemoteLearner:
    """A learner behind the accelerator node; ``status`` is its last LearnerStatus."""

    def __init__(
        self, peers: Peers, features: Sequence[str], want_samples: bool = False, peer: str = "accelerator"
    ) -> None:
        """
        Args:
            peers: clients of the calling node.
            features: names of the network's inputs.
            want_samples: transfer every posterior sample (some acquisition functions need them).
            peer: name of the accelerator node.
        """
        self._peers, self._features, self._want_samples, self._peer = peers, tuple(features), want_samples, peer
        self.status: Any = None
        self._version: int | None = None
        self._instance: str | None = None
        self._considered: FloatArray = np.zeros((0, len(self._features)))

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

        goal = Learn.Goal(x=convert.table(self._features, x), y=convert.floats(y), from_scratch=from_scratch)
        self._same_instance()
        result = self._peers.act(self._peer, Learn, "learn", goal, LEARN_S, feedback)
        if result.error_code == Learn.Result.CANCELED:
            self._version = None  # the loop starts again from its checkpoint
            raise Cancelled(result.error_msg)
        if result.error_code:
            refused(self._peers, self._peer, self._instance, result.error_msg)
        self._expect(result.status.model_version, 1)
        self.status = result.status
        s = result.status
        return LearnReport(s.epoch, s.loss, s.train_accuracy, int(s.set_pulses + s.reset_pulses), tuple(history))

    def consider(self, x: FloatArray) -> None:
        """Have the node's learner take notice of candidates (n, d): they travel as the first of the next prediction."""
        self._considered = np.array(x)

    def predict(self, x: FloatArray, samples: int = 20) -> Prediction:
        """Predict candidates from reads of the accelerator."""
        shown, self._considered = self._considered, self._considered[:0]
        if not np.array_equal(shown, x[: len(shown)]):
            raise ConfigError(f"the {len(shown)} candidates to consider are not the first of those to predict")
        request = Predict.Request(
            candidates=convert.table(self._features, x),
            samples=samples,
            want_samples=self._want_samples,
            considered=len(shown),
        )
        response = self._call(Predict, "predict", request, PREDICT_S)
        self._expect(response.prediction.model_version)
        mean, std = np.array(response.prediction.mean), np.array(response.prediction.std)
        drawn = np.array(response.sample_data).reshape(-1, len(mean)) if self._want_samples else mean[None]
        return Prediction(mean, std, drawn)

    def save(self, path: str | Path) -> str:
        """Have the node write a checkpoint outside a session; returns its SHA-256."""
        return self._save(SaveCheckpoint.Request(path=str(Path(path).name)))

    def keep(self, path: Path, mark: Mark) -> str:
        """Have the node write a checkpoint of the session; returns its SHA-256.

        The name counts, not the folder: the node writes into its own results folder.
        """
        return self._save(SaveCheckpoint.Request(path=path.name, trials=mark.trials, history=mark.history))

    def _save(self, request: Any) -> str:
        response = self._call(SaveCheckpoint, "save_checkpoint", request, CHECKPOINT_S)
        self._expect(response.model_version)
        return str(response.sha256)

    def load(self, path: str | Path) -> str:
        """Have the node restore a checkpoint of its results folder by name; returns its SHA-256."""
        request = LoadCheckpoint.Request(path=Path(path).name, strict=True)
        response = self._call(LoadCheckpoint, "load_checkpoint", request, CHECKPOINT_S, ConfigError)
        self._version = int(response.model_version)
        return str(response.sha256)

    def _call(
        self, kind: Any, name: str, request: Any, timeout_s: float, error: type[MemristorError] = MemristorError
    ) -> Any:
        self._same_instance()
        response = self._peers.call(self._peer, kind, name, request, timeout_s)
        if not response.success:
            refused(self._peers, self._peer, self._instance, response.message, error)
        return response

    def _same_instance(self) -> None:
        """Refuse a node that was started anew since this learner's first call, before it is asked for anything."""
        now = self._peers.instance(self._peer)
        if self._instance is None:
            self._instance = now
        elif now != self._instance:
            raise PeerLost(self._peer, f"node {self._peer} was started anew and knows nothing of this session")

    def _expect(self, version: int, more: int = 0) -> None:
        """Refuse an answer of a model that this session did not make.

        Raises:
            PeerLost: what to expect of another instance, or of a model that somebody else changed.
        """
        expected = None if self._version is None else self._version + more
        if expected is not None and version != expected:
            raise PeerLost(
                self._peer,
                f"node {self._peer} answered from model version {version}, expected {expected}: it was started anew, "
                "or somebody else taught it; the session goes on from its checkpoint",
            )
        self._version = int(version)


def refused(
    peers: Peers, peer: str, instance: str | None, reason: str, error: type[MemristorError] = MemristorError
) -> NoReturn:
    """A node refused; it is lost, not wrong, if it was started anew or is not active.

    Raises:
        PeerLost: another instance, or not active.
        MemristorError: (or ``error``) the same node, which meant what it said.
    """
    deadline = time.monotonic() + HEARTBEAT_S
    while time.monotonic() < deadline:
        if peers.instance(peer) != instance or not peers.is_ready(peer):
            raise PeerLost(peer, f"{peer}: {reason}")
        time.sleep(0.05)
    raise error(f"{peer}: {reason}")
