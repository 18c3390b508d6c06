"""Input scaling as on the hardware: standardise with the training set, quantise to the DAC's bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
ROUNDING = 1e-12
"""SD of a feature as a share of its largest value below which it is constant: what is left is rounding."""
SMALLEST, LARGEST = 1e-150, 1e150
"""SD that a feature has at least, and largest value of one: squares of both are numbers."""


@dataclass(frozen=True)
class InputScaler:
    """Standardises and quantises network inputs; see the source paper's code (8 bit over +-2.5 SD).

    Attributes:
        mean: shape (d,), mean of the training inputs.
        sd: shape (d,), standard deviation of the training inputs, never 0.
        bits: DAC resolution; 0 leaves values unquantised.
        span: clipping limit in standard deviations.
    """

    mean: FloatArray
    sd: FloatArray
    bits: int = 8
    span: float = 2.5

    @classmethod
    def fit(cls, x: FloatArray, bits: int = 8, span: float = 2.5) -> InputScaler:
        """A scaler of training inputs x (n, d)."""
        x = np.asarray(x, dtype=np.float64)
        sd = x.std(axis=0)
        varies = sd > np.maximum(ROUNDING * np.abs(x).max(axis=0, initial=0.0), SMALLEST)
        return cls(x.mean(axis=0), np.where(varies, sd, 1.0), bits, span)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Scaled inputs of shape (n, d), float32."""
        z = (np.asarray(x, dtype=np.float64) - self.mean) / self.sd
        if self.bits > 0:
            step = 2.0 * self.span / (2**self.bits - 1)
            z = np.round((np.clip(z, -self.span, self.span) + self.span) / step) * step - self.span
        return z.astype(np.float32)
