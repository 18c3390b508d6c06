"""The plain records of the pouring world: its configuration, outcomes and snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class WorldConfig:
    """How a trial is simulated."""

    time_step: float = option(
        1 / 240,
        "simulation step",
        low=1e-4,
        high=1 / 200,
        unit="s",
        source="measured: at 1/120 s beads tunnel through the bowl's floor",
    )
    solver_iterations: int = option(
        10, "constraint solver iterations a step", low=5, high=200, source="measured: 50 give 95 % the same labels"
    )
    tilt_speed: float = option(
        1.6,
        "speed of the tilt when the cup moves alone",
        low=0.1,
        high=6.0,
        unit="rad/s",
        source="the only figure fitted to the published labels",
    )
    settle: float = option(0.1, "time for the beads to settle before the tilt", low=0.0, high=5.0, unit="s")
    wait: float = option(1.25, "longest wait at the final pitch", low=0.1, high=10.0, unit="s")
    arm: str = option("", "arm that carries the cup: a built-in name or a YAML file; empty for none")
    whole_motion: bool = option(
        False, "with an arm: execute the plan to its end even when the outcome can no longer change (for films)"
    )
    beads_on_the_way: bool = option(
        False,
        "with an arm: simulate the beads while the full cup is carried to the bowl too (slow); otherwise they ride in "
        "it until it is there",
    )
    weld_wide_cups: bool = option(True, "weld a cup that is too wide for the hand, instead of refusing it")
    audit: bool = option(False, "look for beads that went through a wall or a floor, every step (slow)")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass(frozen=True)
class PourOutcome:
    """What became of the beads of one pour.

    Attributes:
        fraction_in_bowl, fraction_in_cup, fraction_spilled: of the beads that were in the cup, sum 1.
        score: in [-1, 1], above 0 is a success; see :func:`memristor_bdnn.skills.pouring.context.score_of`.
        success: at least nine tenths are in the bowl.
        source: ``simulation``, or what else measured it.
        details: JSON-able: beads, steps, seed, whether the bowl tipped, what the grasp was.
    """

    fraction_in_bowl: float
    fraction_in_cup: float
    fraction_spilled: float
    score: float
    success: bool
    source: str = "simulation"
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """Poses of everything movable at one moment, enough to draw it.

    Attributes:
        bowl, cup: (position (3,) m, quaternion xyzw (4,)).
        beads: (n, 3) m.
        joints: arm joint positions (dof,) rad, or None without an arm.
        grasp_width: opening of the hand, metres.
    """

    bowl: tuple[Any, Any]
    cup: tuple[Any, Any]
    beads: FloatArray
    joints: FloatArray | None
    grasp_width: float = 0.0
