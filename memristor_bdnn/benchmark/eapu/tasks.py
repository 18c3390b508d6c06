"""The two training tasks of the EaPU benchmark: digits with an MLP, denoising with an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from memristor_bdnn.learners.eapu.cells import EapuDevice
from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer

Wrap = Callable[[torch.optim.Optimizer], torch.optim.Optimizer]
"""Puts an optimiser on devices, or returns it as it is."""


@dataclass(frozen=True)
class Trained:
    """Outcome of one training: a score in [0, 1] and the counters of the device optimiser, if any."""

    score: float
    r_up: float = 0.0
    n_up: float = 0.0
    per_update: float = 0.0

    @classmethod
    def of(cls, score: float, optimizer: torch.optim.Optimizer) -> Trained:
        """Collect the counters where the optimiser has some."""
        if not isinstance(optimizer, DeviceOptimizer):
            return cls(score)
        each = optimizer.n_up / optimizer.r_up if optimizer.r_up else 0.0
        return cls(score, optimizer.r_up, optimizer.n_up, each)


def bare(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser as it is: software weights without error."""
    return optimizer


def on(cls: type[DeviceOptimizer], device: EapuDevice, seed: int, programming: str = "gaussian") -> Wrap:
    """Puts an optimiser on devices of that kind, with that seed and programming method."""
    return lambda optimizer: cls(optimizer, device, programming=programming, seed=seed)


def build(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """A module with torch's own initialisation from a seed, the global generator left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The 1,797 handwritten 8x8 digits of scikit-learn: pixels (1797, 64) in [0, 1], classes (1797,)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)


def digits_mlp() -> nn.Module:
    """The 64-32-24-10 network: 3,056 weights in cells, 66 biases in software."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))


def train_digits(seed: int, wrap: Wrap, epochs: int = 100, rate: float = 5e-4) -> Trained:
    """Adam on 1,437 digits in batches of 32; the score is the accuracy on the other 360."""
    x, y = digits()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    train, test = order[:1437], order[1437:]
    model = build(seed, digits_mlp)
    optimizer = wrap(torch.optim.Adam(model.parameters(), lr=rate, fused=True))
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train), generator=generator)].split(32):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        right = (model(x[test]).argmax(1) == y[test]).float().mean()
    return Trained.of(float(right), optimizer)


def digit_images() -> torch.Tensor:
    """The digits scaled up bilinearly to 16x16 inside a border of 2, shape (1797, 1, 20, 20)."""
    small = digits()[0].view(-1, 1, 8, 8)
    large = functional.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
    return functional.pad(large, (2, 2, 2, 2))


def autoencoder() -> nn.Module:
    """Convolutions 1-3-3-1 with 3x3 kernels: 27 + 81 + 27 = 135 weights in cells."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 3, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 1, 3, padding=1),
        nn.Sigmoid(),
    )


def train_autoencoder(seed: int, wrap: Wrap, batches: int = 1100, rate: float = 1e-3) -> Trained:
    """Remove Gaussian noise (SD 0.3) from digit images with MSE; the score is the SSIM on 360 unseen ones."""
    images = digit_images()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    train, test = images[order[:1437]], images[order[1437:]]
    model = build(seed, autoencoder)
    optimizer = wrap(torch.optim.Adam(model.parameters(), lr=rate, fused=True))
    for _ in range(batches):
        clean = train[torch.randint(len(train), (64,), generator=generator)]
        noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator)
        optimizer.zero_grad()
        functional.mse_loss(model(noisy), clean).backward()
        optimizer.step()
    with torch.no_grad():
        restored = model(test + 0.3 * torch.randn(test.shape, generator=generator))
    return Trained.of(ssim(restored, test), optimizer)


def ssim(a: torch.Tensor, b: torch.Tensor, window: int = 7) -> float:
    """Mean structural similarity of image batches (n, 1, h, w) with range 1, uniform window.

    Source: Wang et al. 2004, equation 13, K1 = 0.01, K2 = 0.03.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = functional.avg_pool2d(a, window, 1), functional.avg_pool2d(b, window, 1)
    unbiased = window**2 / (window**2 - 1)
    var_a = unbiased * (functional.avg_pool2d(a * a, window, 1) - mean_a**2)
    var_b = unbiased * (functional.avg_pool2d(b * b, window, 1) - mean_b**2)
    cov = unbiased * (functional.avg_pool2d(a * b, window, 1) - mean_a * mean_b)
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((top / bottom).mean())


def median(values: list[float]) -> float:
    """Median as a plain float."""
    return float(np.median(values))
