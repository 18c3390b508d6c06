"""A chip of few rules: Gaussian noise, a pulse goes part of the way to the end of the window, writes try ten times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.accelerator.base import BaseAccelerator, Work
from memristor_bdnn.config import check, option
from memristor_bdnn.state import check_array


@dataclass(frozen=True)
class NoisyConfig:
    """Options; every one is checked when the chip is made."""

    noise_ua: float = option(0.1, "SD of a read", low=0.0, high=10.0, unit="uA")
    step: float = option(0.1, "share of the way that a pulse goes", low=0.001, high=1.0)

    def __post_init__(self):
        """Validate."""
        check(self)


class NoisyChip(BaseAccelerator):
    """Gaussian read noise and pulses that go a tenth of the way; quick, and enough for trying out a learner."""

    name = "noisy"
    config_type = NoisyConfig

    def __init__(self, preset, seed=0, config=None):
        """Put every cell into the middle of the preset's window."""
        super().__init__(preset, seed, config)
        self._rng = np.random.default_rng(seed)
        self.low, self.high = preset.window_ua
        self.state = np.full(self.capacity, (self.low + self.high) / 2)

    def _read(self, start, stop, samples):
        noise = self._rng.normal(0.0, self.config.noise_ua, (samples, stop - start))
        return np.maximum(self.state[start:stop] + noise, 0.0)

    def _pulse(self, direction):
        state = self.state[: self.n_cells]
        self._book(self._pulses_of(direction, state), pulses=direction != 0)
        end = np.where(direction > 0, self.high, self.low)
        state += np.abs(direction) * self.config.step * self._rng.uniform(0.0, 2.0, state.size) * (end - state)

    def _write_verify(self, cells, target_ua):
        for _ in range(10):  # every cell is set, read and set again by half of what is missing
            current = float(self.state[cells].sum())
            work = Work(cells.size, current, verify_reads=cells.size, verify_current_ua=current)
            self._book(work, cells, 1)
            missing = target_ua - self.state[cells] - self._rng.normal(0.0, self.config.noise_ua, cells.size)
            self.state[cells] = np.clip(self.state[cells] + 0.5 * missing, self.low, self.high)
        return np.maximum(self.state[cells] + self._rng.normal(0.0, self.config.noise_ua, cells.size), 0.0)

    def _state(self):
        return {"state": self.state.copy()}

    def _restore(self, arrays, n_cells):
        check_array("state", arrays["state"], shape=self.state.shape, low=self.low, high=self.high)
        self.state = arrays["state"].astype(float)
