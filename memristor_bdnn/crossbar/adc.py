"""Analogue-to-digital conversion of read currents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def quantise(reads_ua: npt.NDArray[np.floating[Any]], bits: int, full_scale_ua: float) -> None:
    """Round currents to the converter's codes and saturate at full scale, in place.

    A code is full scale / (2^bits - 1): 0.0049 uA for the board's 12 bits at 20.08 uA. Halves round to even.
    """
    code_ua = full_scale_ua / (2**bits - 1)
    np.divide(reads_ua, code_ua, out=reads_ua)
    np.rint(reads_ua, out=reads_ua)
    np.clip(reads_ua, 0, 2**bits - 1, out=reads_ua)
    np.multiply(reads_ua, code_ua, out=reads_ua)
