"""Makes the pictures of docs/pouring.md: python docs/figures/pouring.py [FOLDER [PART ...]]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.figures import animation, filmstrip, record_pour, save_image
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

PAIR = context_of("blue", "red")
POUR = PourParameters(0.1, 0.12, -0.3, 0.4, -2.6)
SHOWN = (("white", "cyan3D"), ("brown", "olive3"), ("tan", "teal"), ("lime", "purple"))
MOMENTS = (0.94, 1.0)
"""Shares of the tilt at which the beads are in the air."""


def cup_alone(folder: Path) -> None:
    """Filmstrip at four times, and an animation."""
    with PouringWorld() as world:
        world.reset(5, PAIR)
        frames, phases, outcome = record_pour(
            world, lambda progress: world.pour_cup_alone(POUR, progress=progress), width=400, height=360
        )
        print("cup alone:", outcome.fraction_in_bowl, len(frames), "frames")
    tilt = [k for k, phase in enumerate(phases) if phase == "tilt"]
    moments = [tilt[0], *(tilt[round(part * (len(tilt) - 1))] for part in MOMENTS), len(frames) - 1]
    filmstrip([frames[k] for k in moments], folder / "filmstrip.png")
    animation(frames, folder / "pour.gif")


def with_arm(folder: Path) -> None:
    """The arm pouring: a picture and a film."""
    from memristor_bdnn.motion.arms import load
    from memristor_bdnn.skills.pouring.motion import PourPlanner

    planner = PourPlanner(load("panda"))
    plan = planner.plan(PAIR, POUR, seed=0)
    with PouringWorld(WorldConfig(arm="panda", whole_motion=True)) as world:
        world.reset(5, PAIR)
        views: list[np.ndarray] = []

        def look(phase: str, fraction: float) -> None:
            if phase == "pour" and 0.27 < fraction < 0.4 and not views:
                views.append(world.render("side", 640, 480))

        print("arm:", world.pour_with_arm(plan, progress=look).fraction_in_bowl)
        save_image(views[0], folder / "arm.png")
        world.reset(5, PAIR)
        frames, _, _ = record_pour(
            world, lambda progress: world.pour_with_arm(plan, progress=progress), width=400, height=340, every=6
        )
        animation(frames, folder / "arm_pour.gif", frames_per_s=10)
        animation(frames, folder / "arm_pour.mp4", frames_per_s=10)
    planner.close()


def vessels(folder: Path) -> None:
    """Four bowl and cup pairs after their beads were poured."""
    pictures = []
    with PouringWorld() as world:
        for seed, (bowl, cup) in enumerate(SHOWN):
            pair = context_of(bowl, cup)
            world.reset(seed, pair)
            world.pour_cup_alone(POUR)
            pictures.append(world.render("side", 400, 360))
    filmstrip(pictures, folder / "vessels.png")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "images" / "pouring")
    target.mkdir(parents=True, exist_ok=True)
    parts = {"cup_alone": cup_alone, "vessels": vessels, "with_arm": with_arm}
    for name in sys.argv[2:] or parts:
        parts[name](target)
