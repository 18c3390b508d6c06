"""Deep Q-learning in situ: every step reads the weights, learns from a batch of the past, and acts.

After Nat. Electron. 2, 115 (2019), "Reinforcement learning with analogue memristor arrays", and its code: no target
network, RMSprop, weights in differential pairs written through gate voltages, biases in software.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.agents.environments import Environment
from memristor_bdnn.agents.network import PairLayout, squared_error_gradients, values
from memristor_bdnn.agents.replay import Replay
from memristor_bdnn.agents.weights import Weights
from memristor_bdnn.config import check, option
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array

Array = npt.NDArray[Any]
BIAS_START, BIAS_LIMIT = 0.5, 2.5
"""First biases are uniform within the first, and stay within the second [code]."""


@dataclass(frozen=True)
class DQNConfig:
    """Options of the deep Q-network; C = published code, A = assumption, D = measured by us."""

    hidden: tuple[int, ...] = option((48, 48), "units of the hidden layers", low=1, high=4096, source="C")
    memory: int = option(20_000, "transitions remembered", low=1, high=1_000_000, source="C")
    batch: int = option(80, "transitions of a learning step, drawn without replacement", low=1, high=65536, source="C")
    discount: float = option(0.99, "gamma: worth of the next step's value", low=0.0, high=1.0, source="C")
    explore_floor: float = option(0.01, "share of exploring steps in the end", low=0.0, high=1.0, source="C")
    explore_decay: float = option(0.001, "decay of exploring, per step", low=0.0, high=1.0, source="C")
    learning_rate: float = option(5e-4, "of RMSprop", low=0.0, high=10.0, source="C")
    decay: float = option(0.9, "of RMSprop's mean squares", low=0.0, high=0.999999, source="C")
    epsilon: float = option(1e-8, "of RMSprop", low=0.0, high=1.0, source="C")
    weight_us: float = option(250.0, "conductance difference of weight 1", low=1e-3, high=1e6, unit="uS", source="C")
    assumed_slope: float = option(
        125.0,
        "slope that the controller turns a step into gate voltage with",
        low=1e-3,
        high=1e6,
        unit="uS/V",
        source="C",
    )
    twin_gain: float = option(
        0.0,
        "size of a software twin's step, in steps of RMSprop; 0: what nominal devices take, 2 slope / assumed_slope",
        low=0.0,
        high=1e6,
    )
    reads: int = option(1, "reads of all cells averaged for a learning step or an action", low=1, high=1000, source="C")

    def __post_init__(self) -> None:
        """Validate; the memory must hold a batch."""
        check(self)
        if self.batch > self.memory:
            raise ConfigError(f"DQNConfig.batch = {self.batch}: at most memory = {self.memory}")


@dataclass(frozen=True)
class Episode:
    """One episode: steps, sum of the rewards, and how many of the steps explored."""

    steps: int
    total: float
    explored: int = 0


class DQNAgent:
    """A Q-network on weights of any kind, its replay memory and its optimiser.

    Args:
        weights: on devices or exact.
        config: options.
        rng: of biases, batches and exploring.
    """

    name = "dqn"
    preset: DevicePreset
    """Of its devices, or of those whose twin it is; whoever makes the agent says it."""

    def __init__(self, weights: Weights, config: DQNConfig, rng: np.random.Generator) -> None:
        self.weights, self.config, self.rng = weights, config, rng
        layout: PairLayout = weights.layout
        self.layout = layout
        self.biases: Array = rng.uniform(-BIAS_START, BIAS_START, layout.n_biases).astype(np.float32)
        self._square_w = np.zeros(layout.n_weights, np.float32)
        self._square_b = np.zeros(layout.n_biases, np.float32)
        self.replay = Replay(config.memory, layout.sizes[0])
        self.steps = 0

    def values(self, observation: Array, samples: int | None = None) -> Array:
        """Values of all actions (outputs,) from a fresh read of the weights."""
        read = self.weights.read(self.config.reads if samples is None else samples)
        out = values(observation[None], self.layout.matrices(read), self.layout.vectors(self.biases))
        row: Array = out[0]
        return row

    def act(self, observation: Array) -> int:
        """The best action by a fresh read."""
        return int(self.values(observation).argmax())

    def train_episode(self, env: Environment, seed: int) -> Episode:
        """Play the episode of a seed and learn at every step of it."""
        state, total, steps, explored, over = env.reset(seed), 0.0, 0, 0, False
        while not over:
            value = self.learn(state)
            explore = self.rng.random() < self.exploring
            action = env.explore(state, self.rng) if explore else int(value.argmax())
            after, reward, ended, cut = env.step(action)
            copies = env.task.copies_of_wins if ended else 1
            self.replay.add(state, action, reward, after, ended, copies)
            state, over = after, ended or cut
            total, steps, explored, self.steps = total + reward, steps + 1, explored + explore, self.steps + 1
        return Episode(steps, total, explored)

    @property
    def exploring(self) -> float:
        """Share of exploring steps now."""
        c = self.config
        return c.explore_floor + (1.0 - c.explore_floor) * math.exp(-c.explore_decay * self.steps)

    def learn(self, state: Array) -> Array:
        """One learning step; returns the values (outputs,) of ``state`` by the weights from before it."""
        read = self.weights.read(self.config.reads)
        weights, biases = self.layout.matrices(read), self.layout.vectors(self.biases)
        value: Array = values(state[None], weights, biases)[0]
        if len(self.replay) >= self.config.batch:
            before, action, reward, after, ended = self.replay.batch(self.config.batch, self.rng)
            follow = values(after, weights, biases).max(axis=1)
            goal = reward + np.float32(self.config.discount) * (1.0 - ended) * follow
            by_weights, by_biases = squared_error_gradients(before, action, goal, self.layout, weights, biases)
            step = self._rmsprop(self._square_b, by_biases)
            self.biases = np.clip(self.biases - step, -BIAS_LIMIT, BIAS_LIMIT)
            self.weights.descend(self._rmsprop(self._square_w, by_weights))
        return value

    def _rmsprop(self, square: Array, gradient: Array) -> Array:
        """The optimiser's step; its mean squares are renewed in place."""
        c = self.config
        square *= np.float32(c.decay)
        square += np.float32(1.0 - c.decay) * gradient * gradient
        step: Array = np.float32(c.learning_rate) * gradient / (np.sqrt(square) + np.float32(c.epsilon))
        return step

    def settings(self) -> dict[str, Array]:
        """What makes the present policy: gate voltages or weights, and biases."""
        return {"weights": self.weights.settings(), "biases": self.biases.copy()}

    def restore(self, settings: Mapping[str, Array]) -> None:
        """Write an earlier policy again; devices land anew about their gate voltages."""
        self.biases = settings["biases"].copy()
        self.weights.restore(settings["weights"])

    def state(self) -> dict[str, Array]:
        """Arrays of a checkpoint, without the chips and the generator."""
        return {
            **self.weights.state(),
            **self.replay.state(),
            "biases": self.biases,
            "square_w": self._square_w,
            "square_b": self._square_b,
            "steps": np.array([self.steps], np.int64),
        }

    def check_state(self, state: Mapping[str, Array]) -> None:
        """Refuse arrays that :meth:`state` cannot have given. Raises ConfigError."""
        odd = sorted(state.keys() ^ self.state().keys())
        if odd:
            raise ConfigError(f"damaged checkpoint: {', '.join(odd)} missing or unknown")
        n, m = self.layout.n_biases, self.layout.n_weights
        check_array("biases", state["biases"], shape=(n,), low=-BIAS_LIMIT, high=BIAS_LIMIT)
        check_array("square_w", state["square_w"], shape=(m,), low=0.0)
        check_array("square_b", state["square_b"], shape=(n,), low=0.0)
        check_array("steps", state["steps"], kinds="i", shape=(1,), low=0, high=2**60)
        self.weights.check_state(state)
        self.replay.check_state(state, self.layout.sizes[-1])

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take over :meth:`state` after :meth:`check_state`."""
        self.weights.load_state(state)
        self.replay.load_state(state)
        self.biases = state["biases"].astype(np.float32)
        self._square_w, self._square_b = state["square_w"].astype(np.float32), state["square_b"].astype(np.float32)
        self.steps = int(state["steps"][0])
