"""Arrays that are used again from call to call: to touch fresh memory costs more than what is computed in it."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


class Scratch(threading.local):
    """Named float32 arrays of one thread; each is valid until its name is asked for again.

    Nothing that a caller keeps may live here.
    """

    def __init__(self) -> None:
        self._kept: dict[str, FloatArray] = {}

    def __call__(self, name: str, *shape: int) -> FloatArray:
        """An array of this shape, whatever is in it."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < size:
            kept = self._kept[name] = np.empty(size, dtype=np.float32)
        return kept[:size].reshape(shape)
