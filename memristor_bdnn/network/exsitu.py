"""Ex situ training: device states as parameters, trained through the reparameterised read model.

Every step reads the states as the chips would, current = state + b(state) * u with u a unit
Laplace draw, so the network that is deployed already expects the devices' read noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network.bayesian import decided, kl_to_prior
from memristor_bdnn.network.chains import Chains
from memristor_bdnn.network.window import window_share, write_sd_ua

if TYPE_CHECKING:
    from memristor_bdnn.device.presets import DevicePreset

FloatArray = npt.NDArray[np.floating[Any]]
Penalty = Callable[[FloatArray, bool], tuple[float, FloatArray]]
"""From flat weights of reads (S, n_weights), and whether the value is asked for, to value and gradient (n_weights,)."""


@dataclass(frozen=True)
class ExSituConfig:
    """Options of ex situ training (Adam on the device states)."""

    epochs: int = option(300, "full-batch epochs", low=1, high=100_000, source="assumption")
    learning_rate: float = option(
        0.02,
        "Adam step on a window of 3.6 uA, as published; on another one it is larger or smaller with the window",
        low=1e-5,
        high=1.0,
        unit="uA",
        source="assumption",
    )
    final_rate: float = option(
        1.0, "learning rate of the last epoch over the first; falls along a cosine", low=0.0, high=1.0, source="D"
    )
    reads: int = option(4, "reads of all cells per step", low=1, high=64, source="assumption")
    write_sd_ua: float | None = option(
        None,
        "SD of the write error that each step trains against, per device; empty: from the preset's write-verify",
        low=0.0,
        high=1000.0,
        unit="uA",
        source="D, 0.2 where the chips' errors have 0.23",
    )
    batch: int = option(0, "rows per step; 0 uses all", low=0, high=100_000, source="assumption")
    initial_sd: float = option(
        1.7, "SD of the first random weights of the hidden layers", low=0.0, high=10.0, source="D, the chips' own"
    )
    initial_output_sd: float = option(
        0.3, "SD of the first random weights of the last layer", low=0.0, high=10.0, source="D, the chips' own"
    )
    stop_accuracy: float = option(
        1.1, "stop when the training accuracy has reached this for 10 epochs; above 1 never", low=0.5, high=1.1
    )

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass(frozen=True)
class ExSituResult:
    """States (n_cells,) in microampere and how training went."""

    states: FloatArray
    loss: float
    accuracy: float
    history: tuple[float, ...]


def following(config: ExSituConfig, preset: DevicePreset) -> ExSituConfig:
    """The options with what they leave to the device taken from its preset."""
    return config if config.write_sd_ua is not None else dataclasses.replace(config, write_sd_ua=write_sd_ua(preset))


class Adam:
    """Adam with the usual constants on one array (Kingma and Ba 2015)."""

    def __init__(self, size: int, learning_rate: float) -> None:
        self.learning_rate, self.steps = learning_rate, 0
        self.first = np.zeros(size, dtype=np.float32)
        self.second = np.zeros(size, dtype=np.float32)

    def step(self, gradient: FloatArray) -> FloatArray:
        """The change to add to the parameters for this gradient."""
        self.steps += 1
        self.first += np.float32(0.1) * (gradient - self.first)
        self.second += np.float32(0.001) * (gradient * gradient - self.second)
        first = self.first / (1.0 - 0.9**self.steps)
        second = self.second / (1.0 - 0.999**self.steps)
        return -self.learning_rate * first / (np.sqrt(second) + 1e-8)


def initial_states(network: Chains, preset: DevicePreset, config: ExSituConfig, rng: np.random.Generator) -> FloatArray:
    """States (n_cells,) of random weights: independent devices spread over the window, scaled per layer."""
    low, high = preset.usable_ua
    centre = np.clip(network.offset / network.devices, low, high)
    states = np.empty((network.n_weights, network.devices))
    for layer, part in enumerate(network.layers):
        sd = config.initial_output_sd if layer == len(network.layers) - 1 else config.initial_sd
        spread = sd * network.scale / np.sqrt(network.devices) * np.sqrt(3.0)
        states[part] = centre + rng.uniform(-spread, spread, (len(part), network.devices))
    return np.clip(states.ravel(), low, high)


def train(
    network: Chains,
    preset: DevicePreset,
    x: FloatArray,
    y: FloatArray,
    config: ExSituConfig,
    rng: np.random.Generator,
    *,
    kl: Penalty | None = None,
    start: FloatArray | None = None,
    on_epoch: Callable[[int, float, float, int], bool] | None = None,
) -> ExSituResult:
    """Minimise the expected cross entropy (plus ``kl``) over device states.

    Args:
        network: layout, offset and scale.
        preset: window and read noise of the devices.
        x: standardised inputs, shape (n, n_inputs).
        y: asked probability of success, shape (n,), or of every class, (n, classes).
        config: steps and step size.
        rng: source of every draw.
        kl: penalty, see :func:`gaussian_kl`.
        start: states (n_cells,) to start from; default random weights.
        on_epoch: called with (epoch, loss, accuracy, 0); returning True stops.

    Raises:
        ConfigError: no rows.
    """
    if len(x) == 0:
        raise ConfigError("ex situ training needs at least one labelled row")
    low, high = preset.usable_ua
    span = window_share(preset)
    write_sd, nudge = following(config, preset).write_sd_ua, 0.01 * span
    states = initial_states(network, preset, config, rng) if start is None else start
    states = np.asarray(states, dtype=np.float32).copy()
    optimiser = Adam(network.n_cells, config.learning_rate)
    history: list[float] = []
    loss, accuracy, streak = 0.0, 0.0, 0
    target = decided(y)
    for epoch in range(config.epochs):
        fallen = (1.0 - math.cos(math.pi * epoch / config.epochs)) / 2.0
        optimiser.learning_rate = span * (config.learning_rate * (1.0 - fallen * (1.0 - config.final_rate)))
        loss, hits = 0.0, 0
        for rows in _batches(len(x), config.batch, rng):
            noise = np.asarray(preset.read_noise_scale_ua(states), dtype=np.float32)
            slope = (np.asarray(preset.read_noise_scale_ua(states + nudge), dtype=np.float32) - noise) / nudge
            unit = _laplace(rng, (config.reads, network.n_cells))
            written = states + np.float32(write_sd) * rng.standard_normal(
                (config.reads, network.n_cells), dtype=np.float32
            )
            flat = network.flat_weights(written + noise * unit)
            result = network.gradient(x[rows], y[rows], flat, groups=config.reads)
            per_weight = result.gradient
            part = result.loss
            if kl is not None:
                share = len(rows) / len(x)  # a batch carries its part of the penalty
                penalty, kl_gradient = kl(flat, True)
                part += share * penalty
                per_weight = per_weight + np.float32(share) * kl_gradient
            per_cell = np.repeat(per_weight, network.devices, axis=1) * (1.0 + slope * unit)
            states += optimiser.step(per_cell.mean(axis=0) / np.float32(network.scale))
            np.clip(states, low, high, out=states)
            loss += part
            hits += int((decided(result.probability) == target[rows]).sum())
        accuracy = hits / len(x)
        history.append(accuracy)
        streak = streak + 1 if accuracy >= config.stop_accuracy else 0
        if (on_epoch is not None and on_epoch(epoch, loss, accuracy, 0)) or streak >= 10:
            break
    return ExSituResult(states.astype(np.float64), loss, accuracy, tuple(history))


def gaussian_kl(
    network: Chains, layers: str, prior_sd: float, beta: float, anchor: FloatArray | None = None
) -> Penalty | None:
    """The penalty beta KL[q || N(anchor, prior_sd^2)] of the chosen layers ("last", "all"; "none" gives None).

    q's mean and SD are those of the reads themselves; the gradient is with respect to q's mean. The penalty is 0.0
    where its value is not asked for.
    """
    if layers == "none" or beta == 0.0:
        return None
    part: Any = network.layers[-1] if layers == "last" else slice(0, network.n_weights)

    def penalty(flat: FloatArray, asked: bool) -> tuple[float, FloatArray]:
        own = flat[:, part]
        mean = _mean_over_reads(own)
        away = mean if anchor is None else mean - anchor[part]
        gradient = np.zeros(network.n_weights, dtype=np.float32)
        gradient[part] = beta / prior_sd**2 * away
        if not asked:
            return 0.0, gradient
        if len(flat) > 1:
            spread = own - mean
            spread *= spread
            sd = np.sqrt(spread.sum(axis=0) / np.float32(len(flat)))
        else:
            sd = np.full_like(mean, prior_sd)
        return beta * kl_to_prior(away, sd, prior_sd), gradient

    return penalty


def _mean_over_reads(flat: FloatArray) -> FloatArray:
    """Mean over reads (S, n), shape (n,).

    Rounded as a sum of a weight's reads side by side, which NumPy takes pairwise: row by row would round otherwise and
    change sessions. For usual numbers of reads the same pairs are added here, many weights at a time.
    """
    if len(flat) >= 16:
        mean: FloatArray = flat.T.copy().mean(axis=1)
        return mean
    if len(flat) < 8:
        total, left = flat[0].copy(), flat[1:]
    else:
        total = ((flat[0] + flat[1]) + (flat[2] + flat[3])) + ((flat[4] + flat[5]) + (flat[6] + flat[7]))
        left = flat[8:]
    for read in left:
        total += read
    total /= np.float32(len(flat))
    return total


def _batches(n: int, batch: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    if batch <= 0 or batch >= n:
        return [np.arange(n)]
    order = rng.permutation(n)
    return [order[start : start + batch] for start in range(0, n, batch)]


def _laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Unit Laplace draws, float32: an exponential with a random sign."""
    u = rng.random(shape, dtype=np.float32)
    u -= np.float32(0.5)
    magnitude = -np.log(np.maximum(1.0 - 2.0 * np.abs(u), np.float32(1e-12)))
    return np.copysign(magnitude, u)
