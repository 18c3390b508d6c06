"""Time of an optimiser step with and without EaPU, measured side by side."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from memristor_bdnn.learners.eapu.cells import EapuDevice
from memristor_bdnn.learners.eapu.optimizer import EaPU

MILLION = (1000, 900, 100, 100)
"""Widths of a network with 1,000,000 weights in cells."""


def step_times(
    widths: Sequence[int], device: EapuDevice, steps: int = 150, fused: bool | None = None
) -> tuple[float, float]:
    """Median time of one step of Adam and of EaPU(Adam), seconds; ``fused`` is Adam's option of both.

    Both take turns, step by step, with the same gradients, which change from step to step as in
    stochastic training; the first steps are not counted.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    first = nn.Sequential(*layers)
    models = [first, copy.deepcopy(first)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(models[0].parameters(), fused=fused)]
    optimizers.append(EaPU(torch.optim.Adam(models[1].parameters(), fused=fused), device))
    generator = torch.Generator().manual_seed(0)
    gradients = [[1e-2 * torch.randn(p.shape, generator=generator) for p in first.parameters()] for _ in range(7)]
    taken: tuple[list[float], list[float]] = ([], [])
    for step in range(steps + 20):
        for model, optimizer, times in zip(models, optimizers, taken, strict=True):
            for parameter, gradient in zip(model.parameters(), gradients[step % 7], strict=True):
                parameter.grad = gradient
            start = time.perf_counter()
            optimizer.step()
            times.append(time.perf_counter() - start)
    return float(np.median(taken[0][20:])), float(np.median(taken[1][20:]))
