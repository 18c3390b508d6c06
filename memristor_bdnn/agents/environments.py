"""What an agent acts in: gymnasium environments with discrete actions and vector observations, and two tasks by name.

``cartpole`` is gymnasium's CartPole-v1 with the pole's angle fed tenfold; ``mountain-car`` has the dynamics of the
reinforcement-learning study's code. Any other name is an id of gymnasium, such as ``Acrobot-v1`` or
``package:Name-v0``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError, UnsupportedError

Array = npt.NDArray[Any]

ALIASES = ("cartpole", "mountain-car")
TRAIN, VALIDATE, TEST = 0, 1, 2
"""What an episode is for: its start is drawn from another stream of seeds."""


class Actor(Protocol):
    """What a task asks of gymnasium's ``Env``."""

    observation_space: Any
    action_space: Any

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the seed decides its start."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Observation, reward, whether the episode ended, whether it was cut off, and more."""

    def close(self) -> None:
        """Release what it holds."""


@dataclass(frozen=True)
class Task:
    """An environment and how an agent looks at it.

    Attributes:
        name: as it was asked for.
        make: makes the environment.
        scale: factors of the observations, (inputs,).
        explore: (observation, generator) -> an action while exploring; None draws uniformly.
        longest: steps after which an episode of an environment without a limit is cut off.
        copies_of_wins: how often the last step of a won episode goes into the replay memory.
        solved: greedy return from which training may stop; None never.
    """

    name: str
    make: Callable[[], Actor]
    scale: Array
    explore: Callable[[Array, np.random.Generator], int] | None = None
    longest: int = 1000
    copies_of_wins: int = 1
    solved: float | None = None


class Environment:
    """An environment whose spaces were checked; observations come scaled, float32.

    Args:
        task: what to make.

    Raises:
        UnsupportedError: continuous actions, or observations that are no vectors.
    """

    def __init__(self, task: Task) -> None:
        self.task, self._env = task, task.make()
        try:
            self.n_inputs, self.n_actions = _sizes(task.name, self._env)
        except UnsupportedError:
            self._env.close()
            raise
        self._first = int(getattr(self._env.action_space, "start", 0))
        self.scale: Array = np.broadcast_to(np.asarray(task.scale, np.float32), (self.n_inputs,))
        self._age = 0

    def reset(self, seed: int) -> Array:
        """Begin the episode of a seed; returns its first observation (n_inputs,)."""
        self._age = 0
        observation, _ = self._env.reset(seed=seed)
        return self._seen(observation)

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Act (0 .. n_actions - 1): observation (n_inputs,), reward, whether it ended, whether it was cut off."""
        observation, reward, ended, cut, _ = self._env.step(self._first + int(action))
        self._age += 1
        cut = bool(cut) or (self._age >= self.task.longest and not ended)
        return self._seen(observation), float(reward), bool(ended), cut

    def explore(self, observation: Array, rng: np.random.Generator) -> int:
        """An action that is not the agent's own."""
        if self.task.explore is None:
            return int(rng.integers(self.n_actions))
        return self.task.explore(observation, rng)

    @property
    def pictures_per_s(self) -> float:
        """Steps a second at which the environment is watched, as its ``metadata`` says; 25 where it does not."""
        found = (getattr(self._env, "metadata", None) or {}).get("render_fps")
        return float(found) if isinstance(found, int | float) and 1 <= found <= 100 else 25.0

    def render(self) -> Array | None:
        """A picture (height, width, 3) where the environment draws itself (render_mode rgb_array), else None."""
        if getattr(self._env, "render_mode", None) != "rgb_array":
            return None
        drawn: Any = self._env.render()  # type: ignore[attr-defined]
        return np.asarray(drawn, np.uint8)

    def close(self) -> None:
        """Release the environment."""
        self._env.close()

    def _seen(self, observation: Any) -> Array:
        seen: Array = np.asarray(observation, dtype=np.float32) * self.scale
        if not np.isfinite(seen).all():
            raise UnsupportedError(
                f"environment {self.task.name}: an observation holds {seen}, expected finite numbers"
            )
        return seen


def episode_seed(seed: int, purpose: int, episode: int) -> int:
    """The seed of an episode's start, its own for every purpose (``TRAIN``, ``VALIDATE``, ``TEST``)."""
    return int(np.random.SeedSequence((seed, purpose, episode)).generate_state(1)[0] >> 1)


def task(name: str) -> Task:
    """A task by name: an alias, or an id of gymnasium.

    Raises:
        UnsupportedError: gymnasium is not installed.
        ConfigError: no such environment.
    """
    if name == "mountain-car":
        return MOUNTAIN_CAR
    gymnasium = _gymnasium()
    identity = "CartPole-v1" if name == "cartpole" else name

    def make() -> Any:
        try:
            return gymnasium.make(identity, disable_env_checker=True)
        except (gymnasium.error.Error, ImportError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"environment {name!r}: {reason}; give {', '.join(ALIASES)} or an id of gymnasium "
                "(python -c 'import gymnasium; gymnasium.pprint_registry()')"
            ) from error

    if name == "cartpole":
        return Task(name, make, np.array([1.0, 1.0, 10.0, 1.0]), longest=500, solved=475.0)
    probe = make()
    try:
        scale = _scale_of(probe.observation_space)
        solved = getattr(getattr(probe, "spec", None), "reward_threshold", None)
    finally:
        probe.close()
    return Task(name, make, scale, solved=None if solved is None else float(solved))


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise UnsupportedError("reinforcement learning needs gymnasium: pip install gymnasium") from error
    return gymnasium


def _sizes(name: str, env: Actor) -> tuple[int, int]:
    """Inputs and actions of an environment. Raises UnsupportedError, see :class:`Environment`."""
    actions, observations = env.action_space, env.observation_space
    count = getattr(actions, "n", None)
    if count is None or np.ndim(count) != 0 or type(actions).__name__ != "Discrete":
        raise UnsupportedError(
            f"environment {name}: actions are {actions}, expected Discrete(n): an agent chooses among values of single "
            "actions; wrap continuous ones into steps"
        )
    shape = getattr(observations, "shape", None)
    if type(observations).__name__ != "Box" or shape is None or len(shape) != 1 or shape[0] < 1:
        raise UnsupportedError(
            f"environment {name}: observations are {observations}, expected a vector (Box of shape (n,)): images and "
            "single numbers need a wrapper (gymnasium.wrappers.FlattenObservation)"
        )
    return int(shape[0]), int(count)


def _scale_of(space: Any) -> Array:
    """1 over the largest magnitude of every bounded observation above 1; 1 for the others."""
    if type(space).__name__ != "Box" or len(space.shape) != 1:
        return np.ones(1)
    reach = np.maximum(np.abs(space.low.astype(np.float64)), np.abs(space.high.astype(np.float64)))
    bounded = np.isfinite(reach) & (reach > 1) & (reach < 1e6)
    return np.where(bounded, 1.0 / np.where(bounded, reach, 1.0), 1.0)


class MountainCar:
    """The car of the reinforcement-learning study between two hills; it must swing to reach the right one.

    Mass 0.2, force 0.2, friction 0.5, steps of 0.1 s (explicit Euler: the place moves with the old speed), start
    uniform in -0.6 .. -0.4 at rest, goal 0.5, a wall at -1.2; reward -1 a step, 0 at the goal. Actions: push left,
    nothing, push right. Source: its published code.
    """

    MASS, FORCE, FRICTION, TIME_STEP, GRAVITY = 0.2, 0.2, 0.5, 0.1, 9.8
    WALL, GOAL = -1.2, 0.5

    def __init__(self) -> None:
        spaces = _gymnasium().spaces
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.place, self.speed = -0.5, 0.0

    def reset(self, *, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """A start at rest."""
        self.place, self.speed = float(np.random.default_rng(seed).uniform(-0.6, -0.4)), 0.0
        return self._seen(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """0 pushes left, 1 not at all, 2 right."""
        push = (int(action) - 1) * self.FORCE / self.MASS
        slope = -self.GRAVITY * self.MASS * math.cos(3.0 * self.place)
        change = slope + push - self.FRICTION * self.speed
        self.place += self.speed * self.TIME_STEP
        self.speed += change * self.TIME_STEP
        if self.place < self.WALL:
            self.place, self.speed = self.WALL, 0.0
        won = self.place >= self.GOAL
        return self._seen(), 0.0 if won else -1.0, won, False, {}

    def close(self) -> None:
        """Nothing to release."""

    def _seen(self) -> Array:
        return np.array([self.place, self.speed], np.float32)


def with_the_speed(observation: Array) -> int:
    """The rule that needs no learning: push the way the mountain car moves (right at rest); median 42 steps."""
    return 2 if observation[1] >= 0 else 0


def _mostly_with_the_speed(observation: Array, rng: np.random.Generator) -> int:
    """80 % along the speed, 20 % at random [assumption: the study's exploration is unpublished]."""
    return int(rng.integers(3)) if rng.random() < 0.2 else with_the_speed(observation)


MOUNTAIN_CAR = Task("mountain-car", MountainCar, np.ones(2), _mostly_with_the_speed, longest=500, copies_of_wins=100)
