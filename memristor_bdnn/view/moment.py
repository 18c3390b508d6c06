"""What the page shows of one moment, as plain data: every source delivers these, the page draws nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.view.arm import ArmModel

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of one context and what was predicted of them.

    Attributes:
        names: of the parameters.
        values: of the parameters, (n, p).
        confidence: predicted probability of success, (n,) in [0, 1].
        spread: its standard deviation, (n,).
        points: where the skill says that they are, (n, 3) m in the world; None where it does not.
    """

    names: tuple[str, ...]
    values: FloatArray
    confidence: FloatArray
    spread: FloatArray
    points: FloatArray | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal candidates."""
        return self.names, crc32(self.values.tobytes()), crc32(self.confidence.tobytes())


@dataclass(frozen=True, eq=False)
class Chips:
    """Read currents as they lie on the chips: (chips, rows, columns) microampere, NaN where there is no cell."""

    current_ua: FloatArray
    when: str

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal chips."""
        return self.when, self.current_ua.shape, crc32(self.current_ua.tobytes())


@dataclass(frozen=True)
class Condition:
    """What a node says of itself: ``level`` 0 ok, 1 warning, 2 error, 3 nothing heard any more."""

    level: int
    message: str


@dataclass(frozen=True)
class Result:
    """One trial: number from 0, phase (empty: not known), score in [-1, 1], predicted probability of success."""

    number: int
    score: float
    phase: str = ""
    feasible: bool = True
    predicted: float | None = None


@dataclass(frozen=True)
class Measure:
    """A measure that an operator may give: name, unit and allowed range."""

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Moment:
    """Everything that is known at one moment; what is not known is None or empty, and ``absent`` says why.

    Attributes:
        when: for people.
        arm: the arm's links and meshes.
        joints: positions by joint, rad or m.
        shapes: of every node that publishes some, by its name.
        candidates: of the last query.
        rounds: figures of every round of learning by name, in order of labels.
        results: the trials so far.
        ledger: counts and energy of the accelerator by name.
        chips: conductances as read currents.
        nodes: what the nodes say.
        waiting: number of the trial that waits for an operator's label.
        measures: what a label consists of.
        absent: part of the page -> why it is not there.
    """

    when: str
    arm: ArmModel | None = None
    joints: Mapping[str, float] = field(default_factory=dict)
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    candidates: Candidates | None = None
    rounds: tuple[Mapping[str, float], ...] = ()
    results: tuple[Result, ...] = ()
    ledger: Mapping[str, float] | None = None
    chips: Chips | None = None
    nodes: Mapping[str, Condition] = field(default_factory=dict)
    waiting: int | None = None
    measures: tuple[Measure, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """A slider of the page.

    Attributes:
        name, unit: what it is, for people.
        end: last position; the first is 0.
        step: between positions.
        rate: positions a second when it plays; 0 for an axis that does not.
        start: where the page begins.
    """

    name: str
    unit: str
    end: float
    step: float
    rate: float = 0.0
    start: float = 0.0


class Source(Protocol):
    """Where moments come from."""

    title: str
    axes: tuple[Axis, ...]
    """Empty where only now can be seen."""

    def moment(self, at: tuple[float, ...]) -> Moment:
        """What is known at a position of every axis."""

    def label(self, trial: int, words: list[str]) -> None:
        """Give a trial's outcome. Raises MemristorError with the reason when it is refused."""

    def close(self) -> None:
        """Release what is held; safe to call twice."""
