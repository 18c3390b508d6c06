"""The pouring world as every runner of trials sees it: contexts, parameters and measures as plain arrays."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.skills.pouring import shapes
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.records import PourOutcome, WorldConfig
from memristor_bdnn.skills.pouring.world import PouringWorld
from memristor_bdnn.skills.protocol import CancelCallback, Measured, Progress

FloatArray = npt.NDArray[np.floating[Any]]


class PouringTrialWorld:
    """Implements :class:`memristor_bdnn.skills.protocol.World` with a :class:`PouringWorld`."""

    def __init__(self, config: WorldConfig, gui: bool = False) -> None:
        self.inner = PouringWorld(config, gui=gui)

    def reset(self, seed: int, context: FloatArray | None = None) -> FloatArray:
        """Draw vessels and beads from one seed; see the protocol."""
        return self.inner.reset(seed, None if context is None else PourContext.from_array(context)).array()

    def execute(
        self,
        parameters: FloatArray,
        plan: MotionPlan | None = None,
        progress: Progress | None = None,
        cancelled: CancelCallback | None = None,
    ) -> Measured:
        """Pour with the cup alone, or with the arm along a plan; see the protocol."""
        if plan is None:
            control = PourParameters.from_array(parameters)
            outcome = self.inner.pour_cup_alone(control, progress=progress, cancelled=cancelled)
        else:
            outcome = self.inner.pour_with_arm(plan, progress=progress, cancelled=cancelled)
        return Measured(measures_of(outcome), outcome.source, extras_of(outcome))

    def joint_state(self) -> dict[str, Any]:
        """Joint names, positions, velocities and efforts of the arm now."""
        return self.inner.joint_state()

    def progress_measures(self) -> FloatArray:
        """What is in the bowl now; the rest is known at the end."""
        return np.array([self.inner.fraction_in_bowl(), np.nan, np.nan])

    def shapes(self) -> list[Shape]:
        """The bowl where it stands; once a pour has begun, the cup and the beads too."""
        setup = self.inner.setup
        if not self.inner.built:
            return shapes.scene(setup.context)
        return shapes.scene(setup.context, self.inner.snapshot(), 2 * float(np.mean(setup.radii)))

    def render(self, view: str = "side", width: int = 640, height: int = 480) -> Any:
        """A picture of the scene now, uint8 (height, width, 3)."""
        return self.inner.render(view=view, width=width, height=height)

    def close(self) -> None:
        """Disconnect from the simulator."""
        self.inner.close()


def measures_of(outcome: PourOutcome) -> FloatArray:
    """The measures (3,) of an outcome."""
    return np.array([outcome.fraction_in_bowl, outcome.fraction_in_cup, outcome.fraction_spilled])


def extras_of(outcome: PourOutcome) -> dict[str, Any]:
    """What a trial file keeps of an outcome beside score and fraction, in the keys it has always had."""
    facts = {k: v for k, v in asdict(outcome).items() if k not in ("details", "score")}
    return {**facts, **outcome.details}
