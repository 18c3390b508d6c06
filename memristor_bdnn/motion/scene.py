"""What stands around an arm and what it holds, as data: for a planner outside of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.engine import BoxLike

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Body:
    """One body of boxes.

    Attributes:
        name: as errors call it.
        boxes: its parts, in its own frame.
        pose: (4, 4) in the world; of the held body in the tool frame.
        room: how near the held body may come to it, m; negative forgives an overlap.
    """

    name: str
    boxes: Sequence[BoxLike]
    pose: FloatArray
    room: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A collision world without its engine.

    Attributes:
        arm: the description.
        padding: room kept around everything else, m.
        fixed: the obstacles, without the table.
        held: what the hand holds, None for nothing.
        on_table: links that may touch the table; empty without a table.
        table: whether there is one: :data:`memristor_bdnn.motion.engine.TABLE`, its top at z = 0.
    """

    arm: ArmDescription
    padding: float
    fixed: tuple[Body, ...]
    held: Body | None
    on_table: tuple[str, ...]
    table: bool

    @property
    def touching(self) -> tuple[str, ...]:
        """Links that may touch what is held."""
        return tuple(dict.fromkeys((*self.arm.gripper_links, self.arm.tool_link)))
