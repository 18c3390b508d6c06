"""Pouring as a skill: contexts, valid candidates, encoding, score; and its world and motion behind the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import recipes
from memristor_bdnn.skills.pouring.context import (
    CONTEXT_SPACE,
    FEATURE_NAMES,
    MEASURE_SPACE,
    PARAMETER_SPACE,
    PourContext,
    encode,
    score_of,
)
from memristor_bdnn.skills.pouring.geometry import CLEARANCE, arm_clearance, is_valid
from memristor_bdnn.skills.pouring.motion import NODE_DEFAULTS, PHASES, PlannerConfig
from memristor_bdnn.skills.pouring.records import WorldConfig
from memristor_bdnn.skills.pouring.setup import draw_context
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.skills.protocol import Shot, Skill, Words

if TYPE_CHECKING:
    from memristor_bdnn.motion.plan import MotionPlan
    from memristor_bdnn.motion.shapes import Shape
    from memristor_bdnn.skills import pool as skills_pool
    from memristor_bdnn.skills.pouring.collect import PouringCollector
    from memristor_bdnn.skills.pouring.motion import PourPlanner
    from memristor_bdnn.skills.pouring.pool import Pool
    from memristor_bdnn.skills.pouring.trial import PouringTrialWorld

FloatArray = npt.NDArray[np.floating[Any]]

# A person's guess: tilt about the pouring lip, held over the middle of the bowl, until the cup is well
# past horizontal. Order: axis_in_bowl_x, axis_in_bowl_z, axis_in_cup_x, axis_in_cup_z, pitch.
DESIGNED = (0.05, 0.03, -0.5, 0.5, -2.4)


@dataclass(frozen=True)
class PhysicalPouring:
    """What stands in a lab, and what a scale under the bowl would see."""

    bowl: str = option("white", "bowl on the table, by name (docs/pouring.md)")
    cup: str = option("teal", "cup in the hand, by name (docs/pouring.md)")
    content_grams: float = option(50.0, "weight of what is in the cup before a pour", low=0.1, high=10000.0, unit="g")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class PouringSkill(Skill):
    """Beads are poured from a cup into a bowl, both of any size (source paper)."""

    name = "pouring"
    context_space, parameter_space, measure_space = CONTEXT_SPACE, PARAMETER_SPACE, MEASURE_SPACE
    phases = PHASES
    node_names = ("pouring_world", "pour_planner")
    recipes = recipes.RECIPES
    default_recipe = "pouring"
    world_options, motion_options = WorldConfig, PlannerConfig
    motion_defaults = NODE_DEFAULTS
    physical_options = PhysicalPouring
    arguments = ("bowl", "cup")
    trials_name = "pours"
    fraction_name, fraction_label = "fraction_poured", "fraction poured into the bowl"
    words = Words("poured {} of their beads into the bowl", "pours {}", " into bowls it has never seen")
    film_name = "pour.gif"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The 11 published inputs."""
        return FEATURE_NAMES

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random bowl/cup pair, shape (6,), metres."""
        return draw_context(rng)[0].array()

    def valid(self, context: FloatArray, parameters: FloatArray, arm: str = "") -> npt.NDArray[np.bool_]:
        """Whether the cup stays clear of bowl and table; with an arm by as much as the planner asks."""
        clearance = arm_clearance(PourContext.from_array(context)) if arm else CLEARANCE
        return np.asarray(is_valid(context, parameters, clearance))

    def encode(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """Network inputs, shape (n, 11)."""
        return encode(context, parameters)

    def likeness(self, x: FloatArray) -> FloatArray:
        """Where the pouring lip is over the bowl, (n, 13): what beads go by, whatever the pivot."""
        from memristor_bdnn.skills.pouring.lip import lip_features

        return lip_features(x)

    def score(self, measures: FloatArray) -> float:
        """See :func:`memristor_bdnn.skills.pouring.context.score_of`; above 0.9 in the bowl is a success."""
        return score_of(float(measures[0]))

    def fraction(self, measures: FloatArray) -> float:
        """Fraction poured into the bowl."""
        return float(measures[0])

    def baseline(self, context: FloatArray, candidates: FloatArray) -> FloatArray:
        """The same hand-made parameters for every pair, raised above the bowl until they are valid."""
        parameters = np.array(DESIGNED)
        for height in np.arange(DESIGNED[1], 0.1501, 0.01):
            parameters[1] = height
            if is_valid(PourContext.from_array(context), parameters):
                return parameters
        return parameters

    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> PouringTrialWorld:
        """The PyBullet world; with an arm its hand holds the cup."""
        from memristor_bdnn.skills.pouring.trial import PouringTrialWorld

        return PouringTrialWorld(replace(_built(WorldConfig, options), arm=arm), gui=gui)

    def motion(self, arm: str, options: Any = None) -> PourPlanner:
        """A planner for an arm by name or YAML file."""
        from memristor_bdnn.motion import arms
        from memristor_bdnn.skills.pouring.motion import PourPlanner

        return PourPlanner(arms.load(arm), _built(PlannerConfig, options))

    def physical_context(self, options: Any) -> FloatArray:
        """Sizes of the named bowl and cup, (6,)."""
        return context_of(options.bowl, options.cup).array()

    def weighed(self, before: float, after: float, options: Any) -> FloatArray:
        """The bowl's gain as a share of the content; what is left in the cup or spilled is not known."""
        gained = (after - before) / options.content_grams
        return np.array([float(np.clip(gained, 0.0, 1.0)), np.nan, np.nan])

    def pool(self, path: str | Path | None = None) -> Pool:
        """Labelled trials of a file, or the 20,000 that ship with the package."""
        from memristor_bdnn.skills.pouring import pool

        return pool.load(path)

    def collector(self, options: Any = None) -> PouringCollector:
        """Rows of counted beads, in pouring's own file."""
        from memristor_bdnn.skills.pouring.collect import PouringCollector

        return PouringCollector(self, _built(WorldConfig, options))

    def agreement(
        self,
        pool: skills_pool.Pool,
        options: Any = None,
        seeds: int = 2,
        first_seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """See :func:`memristor_bdnn.skills.pouring.validate.compare`; leaks are known with ``audit`` only."""
        from memristor_bdnn.skills.pouring.validate import compare

        config = _built(WorldConfig, options)
        figures = asdict(compare(pool.x, pool.score, config, seeds, first_seed, progress))
        return figures if config.audit else {name: value for name, value in figures.items() if name != "leaks"}

    def plan_shapes(self, context: FloatArray, parameters: FloatArray, plan: MotionPlan) -> list[Shape]:
        """The cup along the pour: a line through its centres, and the cup first, half-way and last."""
        from memristor_bdnn.skills.pouring import shapes

        return shapes.path(PourContext.from_array(context), parameters, plan.details["yaw"])

    def candidate_points(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """The tilt axis of every candidate in the plane of yaw 0; the planner turns that plane about the bowl."""
        from memristor_bdnn.skills.pouring import shapes

        return shapes.axes(PourContext.from_array(context), parameters)

    def confident_picture(
        self, context: FloatArray, candidates: FloatArray, sureness: FloatArray, path: str | Path
    ) -> None:
        """Final cup poses of confident candidates for one pair, coloured by confidence (Fig. 4g)."""
        from memristor_bdnn.skills.pouring.figures import final_poses

        final_poses(PourContext.from_array(context), candidates, sureness, path)

    def outcome_in_words(self, fraction: float) -> str:
        """Such as "poured 0.91"."""
        return f"poured {fraction:.2f}"

    def shots(self, trial: Any, arm: str, size: tuple[int, int]) -> list[Shot]:
        """Simulate a pour of the store again and look into cup and bowl."""
        from memristor_bdnn.skills.pouring.film import shots

        return shots(trial, arm, size)


def _built(cls: type[Any], options: Any) -> Any:
    """Options of a world or a motion, from an instance or a mapping."""
    if isinstance(options, cls):
        return options
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"expected {cls.__name__} or a mapping of its options, got {type(options).__name__}")
    return build(cls, options)
