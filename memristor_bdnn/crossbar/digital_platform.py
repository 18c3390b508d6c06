"""The same Bayesian learning on a digital platform, measured with torch: what a GPU has to do without memristors.

One step draws all device currents (Laplace noise from random numbers), adds three to a weight, and takes the gradient
of the mean cross entropy over the samples; one prediction draws samples and runs all candidates through them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import UnsupportedError

SHAPES = ((12, 50, 3), (51, 50, 3), (51, 2, 3))
"""Layers of the pouring network: (inputs with bias, outputs, devices)."""


@dataclass(frozen=True)
class DigitalTimes:
    """Measured seconds of one learning step and of one prediction."""

    device: str
    step_s: float
    predict_s: float


def measure(
    preset: DevicePreset,
    device: str,
    *,
    labels: int,
    candidates: int,
    reads: int = 10,
    samples: int = 20,
    repeat: int = 20,
) -> DigitalTimes:
    """Time steps and predictions on a torch device.

    Args:
        preset: gives the noise scale and the window.
        device: ``cuda``, ``cuda:1``, ``cpu``.
        labels: rows of a step's batch.
        candidates: rows of a prediction.
        reads: weight samples of a step.
        samples: weight samples of a prediction.
        repeat: measurements; the median counts.

    Raises:
        UnsupportedError: torch or the device is not there.
    """
    try:
        import torch

        x = torch.rand(max(labels, candidates), SHAPES[0][0] - 1, device=device) * 2 - 1
    except (ImportError, RuntimeError, AssertionError) as error:
        raise UnsupportedError(f"cannot measure on {device!r}: {str(error).splitlines()[0]}") from error
    low, high = preset.window_ua
    cells = sum(i * o * d for i, o, d in SHAPES)
    state = (torch.rand(cells, device=device) * (high - low) + low).requires_grad_()
    target = (torch.rand(labels, device=device) > 0.5).long()
    network = _Network(torch, preset)

    def step() -> None:
        state.grad = None
        logits = network.forward(x[:labels], network.weights(state, reads))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.repeat(reads)).backward()
        gradient: Any = state.grad
        with torch.no_grad():
            state.sub_(0.01 * gradient.sign()).clamp_(low, high)

    def predict() -> None:
        with torch.no_grad():
            network.forward(x[:candidates], network.weights(state, samples)).softmax(-1)[..., 1].mean(0).sum().item()

    return DigitalTimes(device, _median(torch, device, step, repeat), _median(torch, device, predict, repeat))


class _Network:
    """Weights from noisy currents and the forward pass of three layers."""

    def __init__(self, torch: Any, preset: DevicePreset) -> None:
        self.torch, self.noise = torch, preset.read_noise

    def weights(self, state: Any, samples: int) -> Any:
        """Weights of ``samples`` noisy reads, one (samples, inputs, outputs) tensor per layer."""
        torch, c = self.torch, self.noise
        scale = c.constant_ua + state * (c.linear + c.quadratic_per_ua * state)
        u = torch.rand(samples, state.numel(), device=state.device) - 0.5
        noise = -torch.sign(u) * torch.log1p(-2 * u.abs().clamp(max=0.4999999))
        flat = state + scale * noise
        layers, start = [], 0
        for inputs, outputs, devices in SHAPES:
            size = inputs * outputs * devices
            part = flat[:, start : start + size].reshape(samples, inputs, outputs, devices)
            layers.append((part.sum(-1) - 6.66) / 1.1)
            start += size
        return layers

    def forward(self, x: Any, layers: Any) -> Any:
        """Logits of all samples, shape (samples, rows, classes)."""
        torch = self.torch
        value = x.expand(layers[0].shape[0], *x.shape)
        for number, weight in enumerate(layers):
            value = torch.baddbmm(weight[:, -1:, :], value, weight[:, :-1, :])
            if number < len(layers) - 1:
                value = torch.sigmoid(value)
        return value


def _median(torch: Any, device: str, work: Callable[[], None], repeat: int) -> float:
    """Median wall time of one call, after a warm-up and with the device synchronised."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    times = []
    for turn in range(repeat + 3):
        synchronise()
        started = time.perf_counter()
        work()
        synchronise()
        if turn >= 3:
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
