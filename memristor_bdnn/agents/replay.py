"""The last transitions that an agent saw, from which it learns in random batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array

Array = npt.NDArray[Any]


class Replay:
    """A ring of transitions.

    Attributes:
        before, after: (size, inputs) observations.
        action: (size,).
        reward: (size,).
        ended: (size,) 1 where nothing follows.
        count: transitions stored so far, overwritten ones included.
    """

    def __init__(self, size: int, inputs: int) -> None:
        """Room for ``size`` transitions of ``inputs`` observations."""
        self.size = size
        self.before, self.after = np.zeros((2, size, inputs), np.float32)
        self.action = np.zeros(size, np.int64)
        self.reward, self.ended = np.zeros((2, size), np.float32)
        self.count = 0

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return min(self.count, self.size)

    def add(self, before: Array, action: int, reward: float, after: Array, ended: bool, copies: int = 1) -> None:
        """Store a transition, several times where it is rare."""
        for _ in range(copies):
            slot = self.count % self.size
            self.before[slot], self.after[slot] = before, after
            self.action[slot], self.reward[slot], self.ended[slot] = action, reward, ended
            self.count += 1

    def batch(self, n: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array, Array]:
        """Before, action, reward, after and ended of ``n`` different transitions."""
        rows = rng.choice(len(self), n, replace=False, shuffle=False)
        return self.before[rows], self.action[rows], self.reward[rows], self.after[rows], self.ended[rows]

    def state(self) -> dict[str, Array]:
        """What is stored, as arrays of a checkpoint."""
        n = len(self)
        return {
            "replay.before": self.before[:n],
            "replay.after": self.after[:n],
            "replay.action": self.action[:n],
            "replay.reward": self.reward[:n],
            "replay.ended": self.ended[:n],
            "replay.count": np.array([self.count], np.int64),
        }

    def check_state(self, state: Mapping[str, Array], actions: int) -> None:
        """Refuse arrays that are no memory of this size. Raises ConfigError."""
        check_array("replay.count", state["replay.count"], kinds="i", shape=(1,), low=0, high=2**60)
        n, inputs = min(int(state["replay.count"][0]), self.size), self.before.shape[1]
        for key, shape in (("before", (n, inputs)), ("after", (n, inputs)), ("reward", (n,)), ("ended", (n,))):
            high = 1 if key == "ended" else 1e30
            check_array(
                f"replay.{key}", state[f"replay.{key}"], shape=shape, low=0 if key == "ended" else -1e30, high=high
            )
        check_array("replay.action", state["replay.action"], kinds="i", shape=(n,), low=0, high=actions - 1)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take over :meth:`state` after :meth:`check_state`."""
        self.count = int(state["replay.count"][0])
        n = len(self)
        for key in ("before", "after", "action", "reward", "ended"):
            own = getattr(self, key)
            own[:] = 0
            own[:n] = state[f"replay.{key}"]


def missing(state: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Refuse a state that lacks an array, or has one more. Raises ConfigError."""
    odd = sorted(state.keys() ^ wanted.keys())
    if odd:
        raise ConfigError(f"damaged checkpoint: {', '.join(odd)} missing or unknown")
