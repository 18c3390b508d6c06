"""Reinforcement learning by Metropolis-Hastings on memristor rows: the cart-pole.

Two arrays, one for each action, share their counters: a parameter is the difference of one device
in each. The reward of an episode takes the place of the likelihood. The equations of motion are
those of gymnasium's CartPole-v1, for many carts at once; a test holds them against gymnasium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.config import check, option
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.learners.mcmc.models import sigmoid
from memristor_bdnn.learners.mcmc.rows import Posterior, RowArrays

Array = npt.NDArray[Any]

GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5  # m/s^2, kg, kg, m
FORCE, TIME_STEP = 10.0, 0.02  # N, s
X_LIMIT, ANGLE_LIMIT = 2.4, 12 * 2 * np.pi / 360  # m, rad
EPISODE = 500
"""Longest episode, steps; the reward is one a step."""


def reset(n: int, rng: np.random.Generator) -> Array:
    """Start states (n, 4): position, velocity, angle, angular velocity, each uniform in +-0.05."""
    return rng.uniform(-0.05, 0.05, (n, 4))


def step(state: Array, right: Array) -> tuple[Array, Array]:
    """One explicit Euler step of n carts.

    Args:
        state: (n, 4), SI units.
        right: (n,) bool, push right instead of left.

    Returns:
        New states (n, 4) and which have fallen or left the track, (n,) bool.
    """
    x, speed, angle, spin = state.T
    force = np.where(right, FORCE, -FORCE)
    cos, sin = np.cos(angle), np.sin(angle)
    total = CART_MASS + POLE_MASS
    push = (force + POLE_MASS * HALF_LENGTH * np.square(spin) * sin) / total
    turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / total))
    drive = push - POLE_MASS * HALF_LENGTH * turn * cos / total
    new = np.stack(
        [x + TIME_STEP * speed, speed + TIME_STEP * drive, angle + TIME_STEP * spin, spin + TIME_STEP * turn], axis=1
    )
    return new, (np.abs(new[:, 0]) > X_LIMIT) | (np.abs(new[:, 2]) > ANGLE_LIMIT)


@dataclass(frozen=True)
class CartPoleConfig:
    """Arrays and constants of the cart-pole experiment."""

    rows: int = option(512, "rows of each of the two arrays", low=2, high=65536, source="MCMC paper")
    burn_in: int = option(64, "first rows left out of the policy", low=0, high=65535, source="MCMC paper")
    acceptance: str = option(
        "temperature",
        "how rewards r are compared: temperature, exp((r' - r) / kappa); ratio, r' / (r kappa) as printed",
        choices=("temperature", "ratio"),
        source="D",
    )
    kappa: float = option(10.0, "temperature in steps, or divisor", low=1e-3, high=1e6, source="D; unpublished")
    prior_sd_us: float = option(50.0, "SD of the Gaussian prior on a parameter", low=1e-3, unit="uS", source="D")
    conductance_us: tuple[float, float] = option(
        (50.0, 200.0), "lowest and highest median conductance", low=1.0, unit="uS", source="MCMC paper"
    )
    scale_per_us: float = option(0.05, "S of the responses that the policy averages", low=1e-6, unit="1/uS", source="D")
    parallel: int = option(
        8, "proposals simulated ahead; those after an acceptance are discarded and not counted", low=1, high=1024
    )
    max_proposals: int = option(40_000, "proposals after which a chain ends", low=1, high=100_000_000)
    patience: int = option(20, "refusals after which a row is skipped; 0 never", low=0, source="D")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


def episode_rewards(g: Array, rng: np.random.Generator) -> Array:
    """Steps that each model keeps the pole up, (n,), at most 500; parameters g (n, 4) in uS.

    The action is that of the array which responds more strongly to the state: right where V.g > 0.
    """
    n = len(g)
    state, rewards, alive = reset(n, rng), np.zeros(n, np.int64), np.arange(n)
    for _ in range(EPISODE):
        right = np.einsum("ij,ij->i", state, g[alive]) > 0
        state, over = step(state, right)
        rewards[alive] += 1
        if over.any():
            state, alive = state[~over], alive[~over]
            if alive.size == 0:
                break
    return rewards


def train(
    preset: DevicePreset,
    config: CartPoleConfig,
    trainings: int,
    rng: np.random.Generator,
    stuck_low: float = 0.0,
    stuck_high: float = 0.0,
) -> Posterior:
    """Independent trainings side by side, each a chain over two arrays of ``config.rows`` rows of 4 parameters.

    The acceptance ratio is the ratio of priors times that of the rewards (``config.acceptance``). While a
    chain stays where it is its next proposals are independent of each other, so several are simulated
    at once and then examined in order.
    """
    window = tuple(edge * preset.read_voltage_v for edge in config.conductance_us)
    arrays = RowArrays(_with_window(preset, window), trainings, config.rows, 4, rng, stuck_low, stuck_high)
    active = np.arange(trainings)
    row, trial = np.zeros(trainings, np.intp), np.ones(trainings, np.intp)
    refusals, proposals = np.zeros(trainings, np.int64), np.zeros(trainings, np.int64)
    counters = np.zeros((trainings, config.rows), np.int64)
    counters[:, 0] = 1
    inverse = -0.5 / config.prior_sd_us**2

    temperature = config.acceptance == "temperature"
    offset = 0.0 if temperature else np.log(config.kappa)

    def merit(g: Array) -> Array:
        rewards = episode_rewards(g, rng)
        gain = rewards / config.kappa if temperature else np.log(rewards)
        return gain + inverse * (g * g).sum(axis=1)

    present = merit(arrays.first(active, row))
    while active.size:
        candidates = [arrays.draw(active, row[active], trial[active]) for _ in range(config.parallel)]
        models = np.stack([pair[..., 0] - pair[..., 1] for pair in candidates])
        merits = merit(models.reshape(-1, 4)).reshape(len(candidates), -1)
        waiting = np.ones(active.size, bool)
        for pair, value in zip(candidates, merits, strict=True):
            limit = (config.patience == 0) | (refusals[active] < config.patience)
            index = np.flatnonzero(waiting & limit)
            who = active[index]
            arrays.store(who, trial[who], pair[index])
            proposals[who] += 1
            accept = np.log(rng.random(who.size)) < value[index] - present[who] - offset
            taken, refused = who[accept], who[~accept]
            present[taken] = value[index[accept]]
            row[taken] = trial[taken]
            counters[taken, row[taken]] = 1
            counters[refused, row[refused]] += 1
            refusals[refused] += 1
            arrays.reset(refused)
            waiting[index[accept]] = False
        moved = active[~waiting | ((config.patience > 0) & (refusals[active] >= config.patience))]
        trial[moved] += 1
        refusals[moved] = 0
        active = active[(trial[active] < config.rows) & (proposals[active] < config.max_proposals)]
    accepted = np.count_nonzero(counters, axis=1) - 1
    return Posterior(arrays.g, counters, proposals, accepted, config.burn_in, arrays.sets + arrays.resets)


def _with_window(preset: DevicePreset, window_ua: tuple[float, ...]) -> DevicePreset:
    from memristor_bdnn.device.presets import override

    low, high = window_ua
    return override(preset, {"blind_write": {"target_ua": [low, high], "gate_levels": 0}})


class Policy:
    """Decides by the counter-weighted mean response of all rows of a training after burn-in."""

    def __init__(self, posterior: Posterior, training: int, scale_per_us: float = 0.05) -> None:
        """Take the rows of one training."""
        weights = posterior.weights()[training]
        rows = np.flatnonzero(weights)
        self.weights = weights[rows]
        self.g = scale_per_us * posterior.g[training, rows].astype(np.float64)

    def __call__(self, state: Array) -> int:
        """Action for a state (4,): 0 pushes left, 1 right, as in gymnasium."""
        return int(self.weights @ sigmoid(self.g @ state) > 0.5)
