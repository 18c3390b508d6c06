"""Pictures for super-resolution and denoising: digits, and photographs that come with installed packages."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

SIZE = 28
"""Side of a picture, pixels."""
PATCHES = 500
"""Patches of a photograph."""

TRAINING = ("china", "chelsea", "coffee")
TEST = ("flower", "astronaut", "rocket")
"""Photographs by name; those of scikit-image are left out where it is not installed. china and flower (scikit-learn)
are CC BY 2.0; astronaut (NASA) and rocket (SpaceX) are in the public domain, chelsea and coffee CC0."""


@dataclass(frozen=True)
class Pictures:
    """Pictures to learn from and other ones for the test, (n, 1, 28, 28) and (m, 1, 28, 28) in [0, 1].

    ``source`` says whose they are.
    """

    train: torch.Tensor
    test: torch.Tensor
    source: str


def digits(seed: int) -> Pictures:
    """The 1,797 digits of scikit-learn, enlarged to 28x28 (bilinear); 1,437 to learn from, by seed."""
    from memristor_bdnn.benchmark.eapu.tasks import digits as small

    images = small()[0].view(-1, 1, 8, 8)
    large = functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    order = torch.randperm(len(large), generator=torch.Generator().manual_seed(seed))
    return Pictures(large[order[:1437]], large[order[1437:]], "digits of scikit-learn")


def photographs(seed: int) -> Pictures:
    """Grey patches of photographs; no photograph gives patches to both sides."""
    found = _loaders()
    train, test = (
        torch.cat([patches(found[name](), seed) for name in names if name in found]) for names in (TRAINING, TEST)
    )
    return Pictures(train, test, ", ".join(name for name in (*TRAINING, *TEST) if name in found))


def patches(photograph: Any, seed: int) -> torch.Tensor:
    """Grey patches (500, 1, 28, 28) in [0, 1] at random places of a photograph (h, w, 3) or (h, w) of bytes."""
    image = np.asarray(photograph, dtype=np.float32) / 255.0
    grey = image if image.ndim == 2 else image[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, side - SIZE + 1, PATCHES) for side in grey.shape)
    cut = [grey[r : r + SIZE, c : c + SIZE] for r, c in zip(rows, columns, strict=True)]
    return torch.tensor(np.stack(cut))[:, None]


def _loaders() -> dict[str, Callable[[], Any]]:
    from sklearn.datasets import load_sample_image

    found: dict[str, Callable[[], Any]] = {
        name: functools.partial(load_sample_image, f"{name}.jpg") for name in ("china", "flower")
    }
    if importlib.util.find_spec("skimage") is not None:
        from skimage import data

        found |= {name: getattr(data, name) for name in ("chelsea", "coffee", "astronaut", "rocket")}
    return found
