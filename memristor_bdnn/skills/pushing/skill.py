"""Pushing as the active-learning loop, the nodes and the commands see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import pool as pools
from memristor_bdnn.skills.protocol import Motion, Shot, Skill, Words, World
from memristor_bdnn.skills.pushing.baseline import guess
from memristor_bdnn.skills.pushing.geometry import is_valid
from memristor_bdnn.skills.pushing.recipes import RECIPES
from memristor_bdnn.skills.pushing.settings import PushPlannerConfig, PushWorldConfig
from memristor_bdnn.skills.pushing.setup import PushSetup
from memristor_bdnn.skills.pushing.spaces import (
    CONTEXT,
    MEASURES,
    PARAMETERS,
    Parameters,
    context_of,
    distance_of,
    draw_context,
    parameters_of,
    score_of,
)

FloatArray = npt.NDArray[np.floating[Any]]

POOL = Path(__file__).with_name("pool.npz")


class PushingSkill(Skill):
    """Pushes an object into a goal region with the closed hand; what happens after the hand stops decides.

    See :class:`memristor_bdnn.skills.protocol.Skill` and docs/pushing.md.
    """

    name: ClassVar[str] = "pushing"
    trials_name: ClassVar[str] = "pushes"
    words: ClassVar[Words] = Words(
        "brought {} of their objects to the goal",
        "brings {} of them there",
        ", with objects and goals it has never seen",
        by="success",
    )
    context_space = CONTEXT
    parameter_space = PARAMETERS
    measure_space = MEASURES
    phases: ClassVar[tuple[str, ...]] = ("approach", "push", "retreat")
    node_names: ClassVar[tuple[str, str]] = ("pushing_world", "push_planner")
    recipes = RECIPES
    default_recipe: ClassVar[str] = "pushing"
    world_options = PushWorldConfig
    motion_options = PushPlannerConfig
    physical_options = PushSetup
    arguments: ClassVar[tuple[str, ...]] = ("shape", "surface", "goal_distance", "goal_direction")

    # -- pure maths ---------------------------------------------------------------------------

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random object, surface class and goal, (8,)."""
        return draw_context(rng)

    def valid(self, context: FloatArray, parameters: FloatArray, arm: str = "") -> npt.NDArray[np.bool_]:
        """Which pushes (n, 5) touch the object, face forwards and stay on the table and in reach, (n,)."""
        rows = np.atleast_2d(np.asarray(parameters, dtype=float))
        return is_valid(context_of(context), Parameters(*rows.T))

    def likeness(self, x: FloatArray) -> FloatArray:
        """Geometric features of the push, (n, 6)."""
        from memristor_bdnn.skills.pushing.features import push_features

        return push_features(x)

    def score(self, measures: FloatArray) -> float:
        """Score in [-1, 1] of the final distance, the first of the measures; 0 at the tolerance."""
        return score_of(float(np.asarray(measures)[0]))

    def fraction(self, measures: FloatArray) -> float:
        """How near the goal the object came, in [0, 1]: 1 on it, 0.5 at the tolerance."""
        return (self.score(measures) + 1.0) / 2.0

    def baseline(self, context: FloatArray, candidates: FloatArray) -> FloatArray | None:
        """Straight at the goal from behind, with a guessed coefficient of friction; (5,)."""
        return guess(context_of(context))

    # -- simulation and motion ----------------------------------------------------------------

    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> World:
        """A simulated table with an object, and an arm or fingers that move by themselves."""
        from memristor_bdnn.skills.pushing.world import PushingWorld

        return PushingWorld(arm, _options(PushWorldConfig, options), gui)

    def motion(self, arm: str, options: Any = None) -> Motion | None:
        """What plans approach, push and retreat. Raises ConfigError for an arm without fingers."""
        from memristor_bdnn.skills.pushing.motion import PushPlanner

        return PushPlanner(arm, _options(PushPlannerConfig, options))

    def physical_context(self, options: Any) -> FloatArray:
        """The context (8,) of the object that stands in the lab."""
        return _options(PushSetup, options).context()

    # -- data and pictures --------------------------------------------------------------------

    def pool(self, path: str | Path | None = None) -> pools.Pool:
        """Labelled trials from a file, or (None) the 5,000 that ship with the skill."""
        return pools.load(POOL if path is None else path, self)

    def plan_shapes(self, context: FloatArray, parameters: FloatArray, plan: Any) -> list[Any]:
        """Object, goal region and the fingertips' line."""
        from memristor_bdnn.skills.pushing.picture import plan_shapes

        return list(plan_shapes(context_of(context), parameters_of(parameters)))

    def outcome_in_words(self, fraction: float) -> str:
        """Such as "12 mm from the goal"."""
        return f"{1000 * distance_of(fraction):.0f} mm from the goal"

    def shots(self, trial: Any, arm: str, size: tuple[int, int]) -> list[Shot]:
        """Simulate a push of the store again and look at it from above."""
        from memristor_bdnn.skills.pushing.film import shots

        return shots(self, trial, arm, size)


def _options(kind: type[Any], options: Any) -> Any:
    """Options as an instance of their dataclass, from one, a mapping of its fields, or None."""
    if isinstance(options, kind):
        return options
    if options is None or isinstance(options, Mapping):
        return build(kind, options)
    raise ConfigError(f"pushing expects {kind.__name__} or a mapping of its fields, got {type(options).__name__}")
