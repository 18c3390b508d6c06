"""Which of the 64 ADC channels senses which line of a chip, and the currents of a CFG_REG read by line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def _channels(table: str) -> npt.NDArray[np.intp]:
    return np.array(table.split(), dtype=np.intp)


# ADC channel of BL i in a negative read; each half of the lines uses every channel once.
TIA_OF_BL = _channels(
    """
    56 10 40 23 25 44 54 12  6 51 58 32  9 16 38  0
    22 15 42 31 24 14 11 47  8 48 21 33  7 17 53  1
    39 30 55 63 57 61 60 46 26 50 20 62  5 18 52 34
    37 13 41  2 59 45 36 29 27 49 28 35  4 19 43  3
    40 13 10 31 56 16  9  0  7 48 22  1 24 47  8 63
    57 15 42 62 39 17 41 14  6 32 21 46 43 49 23 29
    25 50 37 34 38 18 11  2 27 30 36 51 20 45 52 61
    26 33  4 19 58 28 55 35 59 60 53 12  5 44 54  3
    """
)
# ADC channel of SL j in a positive read.
TIA_OF_SL = _channels(
    """
    48 32 16  0  6 38 22 21 23 51 39 36 52 17  3 55
    50 20 19 35  5 34  1  4 54  2 18 37 53 33 49  7
    """
)


def bl_currents(channels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Order 64 ADC channels of a negative read by BL, shape (128,).

    Each channel serves a line of both halves: only lines that were switched to a TIA carry meaning.
    """
    return np.asarray(channels)[TIA_OF_BL]


def sl_currents(channels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Order 64 ADC channels of a positive read by SL, shape (32,)."""
    return np.asarray(channels)[TIA_OF_SL]
