"""What a skill is: spaces, candidates, encoding, score and recipes; and, apart from it, how it is simulated and moved.

A skill itself is pure maths: an accelerator host loads it without a simulator. :meth:`Skill.world` and
:meth:`Skill.motion` make the two heavy things, for those who run trials. How a trial is run (in this process or
over ROS) is no part of a skill: see :mod:`memristor_bdnn.active.trials`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import build
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.recipes import GENERAL
from memristor_bdnn.skills.records import (
    CancelCallback,
    FloatArray,
    Measured,
    Motion,
    NoOptions,
    Progress,
    Recipe,
    Shot,
    TrialOutcome,
    Words,
    World,
)
from memristor_bdnn.spaces import Space

if TYPE_CHECKING:
    from memristor_bdnn.motion.plan import MotionPlan
    from memristor_bdnn.skills.collect import Collector
    from memristor_bdnn.skills.pool import Pool

__all__ = [
    "CancelCallback",
    "FloatArray",
    "Measured",
    "Motion",
    "NoOptions",
    "Progress",
    "Recipe",
    "Shot",
    "Skill",
    "TrialOutcome",
    "Words",
    "World",
]


class Skill(abc.ABC):
    """A manipulation skill; inherit from this class and give what has no default.

    Plugins are classes found under the entry-point group ``memristor_bdnn.skills``, made without arguments.

    Attributes:
        name: registry name.
        context_space: what a trial finds: sizes, positions, materials.
        parameter_space: what a trial chooses.
        measure_space: what a trial measures; the first dimension decides the score and is what an operator gives.
        phases: parts of a planned motion in order; empty when nothing is planned.
        node_names: of its world node and its planner node.
        recipes: recipe name -> learner name -> options; a learner that is not named runs with its own defaults.
        default_recipe: the recipe used when none is asked for.
        world_options, motion_options: option dataclasses of :meth:`world` and :meth:`motion`; nodes declare their
            fields as ``world.<field>`` and ``planner.<field>``.
        motion_defaults: options of :meth:`motion` that differ when a node plans.
        physical_options: option dataclass of a physical set-up (which objects stand in the lab); nodes declare its
            fields.
        arguments: those of its fields that launch files offer.
        trials_name: what several trials are called, as part of the names of figures.
        fraction_name: key of :meth:`fraction` in summaries.
        fraction_label: what it is, for axes and tables.
        words: how a sentence says what it did.
        film_name: file that :meth:`film` is asked to write in a results folder.
    """

    name: ClassVar[str]
    context_space: ClassVar[Space]
    parameter_space: ClassVar[Space]
    measure_space: ClassVar[Space]
    phases: ClassVar[tuple[str, ...]] = ()
    node_names: ClassVar[tuple[str, str]] = ("skill_world", "skill_planner")
    recipes: ClassVar[Mapping[str, Mapping[str, Recipe]]] = GENERAL
    default_recipe: ClassVar[str] = "general"
    world_options: ClassVar[type[Any]] = NoOptions
    motion_options: ClassVar[type[Any]] = NoOptions
    motion_defaults: ClassVar[Mapping[str, Any]] = {}
    physical_options: ClassVar[type[Any]] = NoOptions
    arguments: ClassVar[tuple[str, ...]] = ()
    trials_name: ClassVar[str] = "trials"
    fraction_name: ClassVar[str] = "fraction_done"
    fraction_label: ClassVar[str] = "fraction of the task done"
    words: ClassVar[Words] = Words()
    film_name: ClassVar[str] = "trial.gif"

    # -- pure maths ---------------------------------------------------------------------------

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the network's inputs: parameters, then context."""
        return (*self.parameter_space.names, *self.context_space.names)

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random context as physical values, (c,); uniform unless overridden."""
        return self.context_space.sample(1, rng)[0]

    def sample_candidates(self, context: FloatArray, n: int, rng: np.random.Generator, arm: str = "") -> FloatArray:
        """n valid parameters for a context as physical values, (n, p); uniform over :meth:`valid`.

        A skill of a finite pool that overrides this gives fewer when there are no more, and none at last: the loop
        then ends with a report.

        Args:
            context: (c,).
            n: how many.
            rng: of the draws.
            arm: name of the arm that will carry them out; empty when the object moves alone.

        Raises:
            ConfigError: hardly anything is valid for this context.
        """
        found: list[FloatArray] = []
        for _ in range(1000):
            rows = self.parameter_space.sample(max(2 * n, 16), rng)
            found.append(rows[self.valid(context, rows, arm)])
            if sum(map(len, found)) >= n:
                return np.concatenate(found)[:n]
        raise ConfigError(
            f"skill {self.name}: no valid parameters found for the context {self.context_space.named(context)}"
        )

    def valid(self, context: FloatArray, parameters: FloatArray, arm: str = "") -> npt.NDArray[np.bool_]:
        """Which rows of parameters (n, p) make sense for a context (c,); all unless overridden."""
        return np.ones(len(parameters), dtype=bool)

    def encode(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """Network inputs in [-1, 1], (n, len(feature_names)), of one context (c,) and parameters (n, p).

        Raises:
            ConfigError: a wrong number of values, or one outside its range.
        """
        rows = self.parameter_space.check_rows(np.atleast_2d(parameters))
        found = self.context_space.check(context)
        encoded = self.context_space.encode(found[None])
        return np.concatenate(
            [self.parameter_space.encode(rows), np.broadcast_to(encoded, (len(rows), len(found)))], axis=1
        )

    def likeness(self, x: FloatArray) -> FloatArray:
        """Coordinates (n, k) in which trials near each other go alike, of network inputs x (n, d).

        How far a candidate is from what was tried is measured in them; the inputs themselves unless overridden.
        """
        return x

    @abc.abstractmethod
    def score(self, measures: FloatArray) -> float:
        """Score in [-1, 1] of the measures of one trial (m,); above 0 is a success.

        Only the first measure is sure to be there; others may be NaN (nobody measured them).
        """

    def fraction(self, measures: FloatArray) -> float:
        """How much of the task was done, in [0, 1], for curves and tables; (score + 1) / 2 unless overridden."""
        return (self.score(measures) + 1.0) / 2.0

    def baseline(self, context: FloatArray, candidates: FloatArray) -> FloatArray | None:
        """Parameters (p,) that a person would choose without learning, or None where nobody designed any."""
        return None

    # -- simulation and motion ----------------------------------------------------------------

    @abc.abstractmethod
    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> World:
        """A simulated world.

        Args:
            arm: name or YAML file of the arm in it; empty for none.
            options: an instance of ``world_options`` or a mapping of its fields.
            gui: open the simulator's window, where it has one.
        """

    def motion(self, arm: str, options: Any = None) -> Motion | None:
        """What plans the arm's motion, or None when nothing is planned (``phases`` is empty then)."""
        return None

    def physical_context(self, options: Any) -> FloatArray:
        """The context (c,) that stands in a lab, from an instance of ``physical_options``.

        Raises:
            ConfigError: the skill does not say what a physical set-up is.
        """
        raise ConfigError(f"skill {self.name} has no physical set-up: it does not implement physical_context()")

    def weighed(self, before: float, after: float, options: Any) -> FloatArray:
        """Measures (m,) from a scale's grams before and after a trial, NaN where it says nothing.

        Raises:
            ConfigError: a scale measures nothing of this skill.
        """
        raise ConfigError(f"skill {self.name}: a scale measures nothing of it; leave scale_topic empty")

    # -- data and pictures --------------------------------------------------------------------

    def pool(self, path: str | Path | None = None) -> Pool:
        """Labelled trials from a file, or (None) those that ship with the skill.

        Raises:
            ConfigError, StoreError: missing, damaged, of another skill; or none is shipped.
        """
        from memristor_bdnn.skills import pool

        if path is None:
            raise ConfigError(
                f"skill {self.name} ships no pool: make one with "
                f"`memristor-bdnn collect --skill {self.name} --trials 1000 --out FILE` and give that FILE"
            )
        return pool.load(path, self)

    def collector(self, options: Any = None) -> Collector:
        """What makes a pool's rows: see :mod:`memristor_bdnn.skills.collect`.

        Args:
            options: an instance of ``world_options`` or a mapping of its fields.

        Raises:
            ConfigError: options that the world does not have.
        """
        from memristor_bdnn.skills.collect import Collector

        built = options if isinstance(options, self.world_options) else build(self.world_options, options)
        return Collector(self, built)

    def agreement(
        self,
        pool: Pool,
        options: Any = None,
        seeds: int = 2,
        first_seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Simulate a pool's trials again and compare the labels; figures by name.

        See :func:`memristor_bdnn.skills.validate.compare`, for the errors too.
        """
        from memristor_bdnn.skills.validate import compare

        return asdict(compare(self, pool, options, seeds, first_seed, progress))

    def plan_shapes(self, context: FloatArray, parameters: FloatArray, plan: MotionPlan) -> list[Any]:
        """What a planned trial looks like, as :class:`memristor_bdnn.motion.shapes.Shape`; drawn in RViz."""
        return []

    def candidate_points(self, context: FloatArray, parameters: FloatArray) -> FloatArray | None:
        """Where candidates (n, p) of a context (c,) are in the world, (n, 3) m; None where the skill does not say."""
        return None

    def confident_picture(
        self, context: FloatArray, candidates: FloatArray, sureness: FloatArray, path: str | Path
    ) -> None:
        """Draw candidates (n, p) that a learner is sure of, for one context (c,); sureness (n,) is mu / sigma.

        Raises:
            ConfigError: the skill draws no such picture.
        """
        raise ConfigError(f"skill {self.name} draws no such picture: it does not implement confident_picture()")

    def outcome_in_words(self, fraction: float) -> str:
        """What a trial of so much of the task (:meth:`fraction`) did, for pictures and tables."""
        return f"{self.fraction_label} {fraction:.2f}"

    def shots(self, trial: Any, arm: str, size: tuple[int, int]) -> list[Shot]:
        """Simulate a trial of the store again (same seed, same outcome) and take pictures of it.

        Args:
            trial: with context, parameters and seed, as a trial store keeps it.
            arm: that carried it out; empty when the object moved alone.
            size: width and height, pixels.

        Returns:
            At least one picture, :data:`memristor_bdnn.skills.pictures.RATE` a second of the film.

        Raises:
            ConfigError: the skill takes no pictures.
        """
        raise ConfigError(f"skill {self.name} makes no film")

    def film(self, trial: Any, arm: str, path: Path) -> None:
        """Write a film of a trial of the store, GIF or MP4; of :meth:`shots` unless overridden.

        Raises:
            ConfigError: the skill has no film.
        """
        from memristor_bdnn.skills.pictures import write_film

        write_film([shot.image for shot in self.shots(trial, arm, (480, 400))], path)
