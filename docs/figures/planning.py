"""Draw the picture of docs/planning.md: one plan as a camera sees it, and its joints against their limits.

python docs/figures/planning.py [folder]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.motion import arms
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.report import style
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.film import PourStudio
from memristor_bdnn.skills.pouring.motion import PourPlanner
from memristor_bdnn.skills.pouring.records import Snapshot, WorldConfig
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.skills.pouring.world import PouringWorld
from memristor_bdnn.skills.studio import Camera

MOMENTS = (
    (("approach", 0.0), "start"),
    (("approach", 0.9), "arriving at the bowl"),
    (("pour", 0.2), "tilting"),
    (("pour", 0.4), "final pitch"),
)
CAMERA = Camera((1.75, -0.85, 0.75), (0.36, 0.02, 0.29), 29.0)
"""Far enough to see the arm."""


def example() -> tuple[PourContext, PourParameters]:
    """The pour that is shown."""
    return context_of("blue_white", "green"), PourParameters(0.1, 0.07, -0.2, 0.3, -2.3)


def frames(plan: MotionPlan, context: PourContext, arm: str) -> list[Any]:
    """Images (h, w, 3) of an executed plan at MOMENTS, the vessels of glass."""
    with PouringWorld(WorldConfig(arm=arm, whole_motion=True)) as world:
        world.reset(1, context)
        moments: list[Snapshot] = []

        def look(phase: str, fraction: float) -> None:
            if len(moments) < len(MOMENTS):
                wanted, since = MOMENTS[len(moments)][0]
                if phase == wanted and fraction >= since:
                    moments.append(world.snapshot())

        world.pour_with_arm(plan, progress=look)
        studio = PourStudio(world.setup, arms.load(arm), CAMERA, (520, 480))
    try:
        return [studio.picture(moment) for moment in moments]
    finally:
        studio.close()


@style.drawn
def draw(path: str | Path, arm_name: str = "panda") -> None:
    """Plan, execute, and write the picture."""
    arm = arms.load(arm_name)
    context, parameters = example()
    planner = PourPlanner(arm)
    plan = planner.plan(context, parameters, seed=1)
    planner.close()
    whole, dof = plan.whole(), arm.dof
    most = max(np.abs(whole.velocities / arm.velocity).max(), np.abs(whole.accelerations / arm.acceleration).max())
    figure = style.slide(f"One plan: to the bowl, tilt, wait, tilt back, home; at most {most:.0%} of a joint's limit")
    grid = figure.add_gridspec(2, len(MOMENTS), height_ratios=(1, 1))
    for k, (image, (_, title)) in enumerate(zip(frames(plan, context, arm_name), MOMENTS, strict=True)):
        axes = figure.add_subplot(grid[0, k])
        axes.imshow(image)
        axes.set_title(title)
        axes.axis("off")
    tilt = plan.details["tilt_time"]
    parts = (plan.part("approach").duration, tilt, plan.part("pour").duration - 2 * tilt, tilt)
    for k, (values, limits, title) in enumerate(
        (
            (whole.velocities, arm.velocity, "Speed of each joint, as a share of its limit"),
            (whole.accelerations, arm.acceleration, "Acceleration, as a share of its limit"),
        )
    ):
        axes = figure.add_subplot(grid[1, 2 * k : 2 * k + 2])
        lines = axes.plot(whole.times, values / np.asarray(limits), lw=1.6)
        for at in np.cumsum(parts):
            axes.axvline(at, color=style.GREY, lw=1.0, zorder=0)
        axes.set(xlabel="time (s)", title=title, ylim=(-1.05, 1.05), xlim=(0, whole.duration))
        if k == 0:
            figure.legend(lines, [f"joint {j + 1}" for j in range(dof)], ncols=dof, loc="outside lower center")
    style.save(figure, path)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "images" / "planning")
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "plan.png")
