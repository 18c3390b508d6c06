"""The learner as the active-learning loop sees it, each call a message to the accelerator node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.action import Learn
from memristor_bdnn.errors import Cancelled, MemristorError
from memristor_bdnn.learners.protocol import LearnProgress, LearnReport, Prediction, ProgressCallback
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import Peers
from memristor_bdnn.srv import LoadCheckpoint, Predict, SaveCheckpoint

FloatArray = npt.NDArray[np.floating[Any]]

PREDICT_S, LEARN_S, CHECKPOINT_S = 60.0, 900.0, 60.0
"""Deadlines of the calls, seconds."""


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
            candidates=convert.table(self._features, x), samples=samples, want_samples=self._want_samples
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
