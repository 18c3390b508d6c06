"""What trials are made of: outcomes, measures, recipes, worlds, motions; and what pools need of a skill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from memristor_bdnn.spaces import Space

if TYPE_CHECKING:
    from memristor_bdnn.motion.plan import MotionPlan

FloatArray = npt.NDArray[np.floating[Any]]
Progress = Callable[[str, float], None]
"""Called with (phase, share of it that is done)."""
CancelCallback = Callable[[], bool]


@dataclass(frozen=True)
class TrialOutcome:
    """What one executed (or refused) trial gave.

    Attributes:
        feasible: False when no motion was found; such a trial is recorded but is no label.
        score: in [-1, 1]; above 0 is a success. 0.0 when infeasible.
        fraction: how much of the task was done, in [0, 1]; see :meth:`Skill.fraction`.
        details: JSON-able extras for the trial store (measures, reasons, times).
    """

    feasible: bool
    score: float
    fraction: float
    details: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a world measured of one executed trial.

    Attributes:
        measures: values of the skill's ``measure_space``, (m,); NaN where nothing measured it.
        source: ``simulation``, ``operator``, ``scale``; empty when nobody has measured the trial yet.
        details: JSON-able extras.
    """

    measures: FloatArray
    source: str = "simulation"
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Options of a learner that a skill recommends.

    Attributes:
        options: option values by name, for :func:`memristor_bdnn.learners.create`.
        doc: one sentence.
        prior: the learner is fitted to the skill's own pool first, then learns in situ.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""
    prior: bool = False


@dataclass(frozen=True)
class Shot:
    """One picture of a film of a trial.

    Attributes:
        image: uint8 (height, width, 3).
        phase: of the trial; ``end`` for the last.
        done: how much of the task is done at that moment, in [0, 1]; None where that is known at the end only.
    """

    image: npt.NDArray[np.uint8]
    phase: str
    done: float | None = None


@dataclass(frozen=True)
class Words:
    """How a skill says what it did, for sentences that people read.

    Attributes:
        past: of several trials, with {} for the share, such as "poured {} of their beads".
        present: of what was learned, with {} for the share and its error.
        unseen: appended where no trial had the contexts of the evaluation before.
        by: the share is the mean ``fraction``, or the share of trials that were a ``success``.
    """

    past: str = "did {} of the task"
    present: str = "does {}"
    unseen: str = " in situations it has never met"
    by: str = "fraction"


@dataclass(frozen=True)
class NoOptions:
    """A world or a motion without options."""


class World(Protocol):
    """A simulated scene in which trials are executed; used by one thread at a time.

    Optional members, used by the world node where they exist: ``joint_state() -> dict`` (names, positions,
    velocities, and fingers: positions and velocities of the hand's joints, (2, gripper joints)), ``shapes() ->
    list[memristor_bdnn.motion.shapes.Shape]``, ``render(view, width, height)`` and ``progress_measures() -> (m,)``
    while a trial runs.
    """

    def reset(self, seed: int, context: FloatArray | None = None) -> FloatArray:
        """Draw a scene from one seed; a given context (c,) replaces what would be drawn. Returns the context (c,)."""

    def execute(
        self,
        parameters: FloatArray,
        plan: MotionPlan | None = None,
        progress: Progress | None = None,
        cancelled: CancelCallback | None = None,
    ) -> Measured:
        """Carry out one trial in the scene of the last reset.

        Args:
            parameters: (p,), physical values.
            plan: the arm's motion; None moves the object alone.
            progress: called a few times a second.
            cancelled: asked as often; True stops the trial.

        Raises:
            ConfigError: before a reset, or a plan that does not fit.
            ArmError: the arm did not follow.
            Cancelled: the caller stopped the trial.
        """

    def close(self) -> None:
        """Free the simulator; safe to call twice."""


class Motion(Protocol):
    """Plans the arm's motion of one trial.

    A motion whose ways through free space others may plan has a settable ``free_space``
    (:class:`memristor_bdnn.motion.free_space.FreeSpacePlanner`).
    """

    def plan(
        self, context: FloatArray, parameters: FloatArray, start: FloatArray | None = None, seed: int = 0
    ) -> MotionPlan:
        """From a context (c,) and parameters (p,) to an executable motion, from ``start`` (dof,) or the arm's home.

        Raises:
            PlanningError: no motion; ``reason`` and text say why.
        """

    def close(self) -> None:
        """Free the collision world; safe to call twice."""


class SkillMaths(Protocol):
    """The part of a skill that pools need; :class:`memristor_bdnn.skills.protocol.Skill` has it all."""

    name: ClassVar[str]
    context_space: ClassVar[Space]
    parameter_space: ClassVar[Space]
    measure_space: ClassVar[Space]
    fraction_label: ClassVar[str]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the network's inputs."""

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random context, (c,)."""

    def sample_candidates(self, context: FloatArray, n: int, rng: np.random.Generator, arm: str = "") -> FloatArray:
        """n valid parameters for a context, (n, p)."""

    def encode(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """Network inputs in [-1, 1], (n, d)."""

    def score(self, measures: FloatArray) -> float:
        """Score in [-1, 1] of measures (m,)."""

    def fraction(self, measures: FloatArray) -> float:
        """How much of the task was done, in [0, 1]."""

    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> World:
        """A simulated world."""
