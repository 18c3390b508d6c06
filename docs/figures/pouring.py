"""Makes the pictures of docs/pouring.md: python docs/figures/pouring.py [FOLDER [PART ...]]."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from memristor_bdnn.skills.pictures import save_image, write_film
from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.figures import filmstrip
from memristor_bdnn.skills.pouring.film import shots
from memristor_bdnn.skills.pouring.vessels import context_of

PAIR = context_of("blue", "red")
POUR = PourParameters(0.1, 0.12, -0.3, 0.4, -2.6)
SHOWN = (("white", "cyan3D"), ("brown", "olive3"), ("tan", "teal"), ("lime", "purple"))
SIZE = (400, 360)
MOMENTS = (0.05, 0.5)
"""Shares of the beads that are in the bowl in the second and third picture of the filmstrip."""


def pour(bowl: str, cup: str, seed: int) -> SimpleNamespace:
    """A trial as a store would keep it."""
    return SimpleNamespace(context=context_of(bowl, cup).array(), parameters=POUR.array(), seed=seed)


def cup_alone(folder: Path) -> None:
    """Filmstrip at four times, and an animation."""
    taken = shots(pour("blue", "red", 5), "", SIZE)
    print("cup alone:", taken[-1].done, len(taken), "pictures")
    frames = [shot.image for shot in taken]
    poured = np.array([shot.done for shot in taken], dtype=float)
    between = [int(np.argmax(poured >= share)) for share in MOMENTS]
    filmstrip([frames[k] for k in (0, *between, len(frames) - 1)], folder / "filmstrip.png")
    write_film(frames, folder / "pour.gif", hold_s=1.5)


def with_arm(folder: Path) -> None:
    """The arm pouring: a picture and a film."""
    taken = shots(pour("blue", "red", 5), "panda", (640, 480))
    print("arm:", taken[-1].done, len(taken), "pictures")
    falling = int(np.argmin([abs((shot.done or 0.0) - 0.5) for shot in taken]))
    save_image(taken[falling].image, folder / "arm.png")
    for name in ("arm_pour.gif", "arm_pour.mp4"):
        write_film([shot.image for shot in taken], folder / name, hold_s=1.5)


def vessels(folder: Path) -> None:
    """Four bowl and cup pairs after their beads were poured."""
    last = [shots(pour(bowl, cup, seed), "", SIZE)[-1].image for seed, (bowl, cup) in enumerate(SHOWN)]
    filmstrip(last, folder / "vessels.png")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "images" / "pouring")
    target.mkdir(parents=True, exist_ok=True)
    parts = {"cup_alone": cup_alone, "vessels": vessels, "with_arm": with_arm}
    for name in sys.argv[2:] or parts:
        parts[name](target)
