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
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.motion import PourPlanner
from memristor_bdnn.skills.pouring.vessels import context_of

MOMENTS = (
    (("approach", 0.0), "start"),
    (("approach", 0.9), "arriving at the bowl"),
    (("pour", 0.2), "tilting"),
    (("pour", 0.4), "final pitch"),
)


def example() -> tuple[PourContext, PourParameters]:
    """The pour that is shown."""
    return context_of("blue_white", "green"), PourParameters(0.1, 0.07, -0.2, 0.3, -2.3)


def frames(plan: MotionPlan, context: PourContext, arm: str) -> list[Any]:
    """Images (h, w, 3) of the simulated world at MOMENTS of an executed plan."""
    from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

    images: list[Any] = []
    with PouringWorld(WorldConfig(arm=arm, whole_motion=True)) as world:
        world.reset(1, context)

        def look(phase: str, fraction: float) -> None:
            if len(images) < len(MOMENTS):
                wanted, since = MOMENTS[len(images)][0]
                if phase == wanted and fraction >= since:
                    images.append(world.render("front", 480, 480))

        world.pour_with_arm(plan, progress=look)
    return images


def draw(path: str | Path, arm_name: str = "panda") -> None:
    """Plan, execute, and write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arm = arms.load(arm_name)
    context, parameters = example()
    planner = PourPlanner(arm)
    plan = planner.plan(context, parameters, seed=1)
    planner.close()
    whole = plan.whole()
    figure = plt.figure(figsize=(12, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, len(MOMENTS), height_ratios=(3, 2))
    for k, (image, (_, title)) in enumerate(zip(frames(plan, context, arm_name), MOMENTS, strict=True)):
        axes = figure.add_subplot(grid[0, k])
        axes.imshow(image)
        axes.set_title(title)
        axes.axis("off")
    for k, (values, limits, title) in enumerate(
        (
            (whole.velocities, arm.velocity, "joint speed / limit"),
            (whole.accelerations, arm.acceleration, "joint acceleration / limit"),
        )
    ):
        axes = figure.add_subplot(grid[1, 2 * k : 2 * k + 2])
        lines = axes.plot(whole.times, values / np.asarray(limits), lw=1)
        for at in np.cumsum(
            [
                plan.part("approach").duration,
                plan.details["tilt_time"],
                plan.part("pour").duration - 2 * plan.details["tilt_time"],
                plan.details["tilt_time"],
            ]
        ):
            axes.axvline(at, color="0.7", lw=0.8, zorder=0)
        axes.set(xlabel="time (s)", title=title, ylim=(-1.05, 1.05), xlim=(0, whole.duration))
        if k == 0:
            axes.legend(lines, [f"{j + 1}" for j in range(arm.dof)], ncols=arm.dof, fontsize=7, loc="lower left")
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "images" / "planning")
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "plan.png")
