"""The update rule of EaPU: which cells to write, and by how much, so that the expected change is the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.native import kernels

Array = npt.NDArray[Any]

MANY = 20_000
"""Cells from which one random byte for each is drawn, and not one random number."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def probabilistic_update(
    delta: Array, threshold: float, rng: np.random.Generator, largest: float | None = None
) -> tuple[Array, Array]:
    """Turn a full step into few writes, none smaller than the threshold, unbiased.

    Where |d| >= T the step d itself; below, sign(d) T with probability |d| / T and nothing otherwise.

    Args:
        delta: (n,) the optimiser's full step, float32 or float64.
        threshold: T = SD of the writing error, in the unit of ``delta``; 0 passes every non-zero step.
        rng: source of the choice.
        largest: the largest |d|, if it is known already.

    Returns:
        Indices (k,) of the cells to write, ascending, and their changes (k,).

    Source: EaPU paper, update rule, and authors' code.
    """
    if threshold == 0:
        index = delta.nonzero()[0]
        return index, delta[index]
    if delta.size >= MANY:
        return choose(delta, threshold, new_key(rng), 0, largest)
    if largest is None:
        largest = _largest(delta)
    index = (np.abs(delta) > threshold * rng.random(delta.size, delta.dtype)).nonzero()[0]
    return index, _change(delta.take(index), threshold, largest)


def new_key(rng: np.random.Generator) -> int:
    """What all random bits of one choice follow from: ``rng.integers(1 << 64, dtype=np.uint64)``."""
    if type(rng.bit_generator) is np.random.PCG64:  # its raw words are that, with less code between two passes
        return int(rng.bit_generator.random_raw())
    return int(rng.integers(1 << 64, dtype=np.uint64))


def choose(
    delta: Array, threshold: float, key: int, first: int = 0, largest: float | None = None
) -> tuple[Array, Array]:
    """The rule for many cells: each with a random byte, and 24 further bits where the byte does not decide.

    The bits are those of SplitMix64 started at the key, so that those of a cell depend on key and number alone: blocks
    of an array can be chosen from one by one.

    Args:
        delta: (n,) the full step of cells number ``first`` and following.
        threshold: above 0.
        key: of :func:`new_key`.
        first: number of the first cell.
        largest: the largest |d|, if it is known already.

    Returns:
        Numbers (k,) of the cells to write, ascending, and their changes (k,).

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
    """
    if kernels is None or delta.dtype != np.float32 or not delta.flags.c_contiguous:
        return reference_choose(delta, threshold, key, first, largest)
    index, change = np.empty(delta.size, np.int64), np.empty(delta.size, np.float32)
    count = kernels.eapu_choose(delta, threshold, key, first, index, change)
    return index[:count].copy(), change[:count].copy()


def reference_choose(
    delta: Array, threshold: float, key: int, first: int = 0, largest: float | None = None
) -> tuple[Array, Array]:
    """:func:`choose` in NumPy: what the compiled kernel does, of the cells alone whose byte allows the largest step."""
    kind, limit = delta.dtype.type, delta.dtype.type(threshold)
    scale = kind(256) / limit
    most = np.uint8(min(kind(_largest(delta) if largest is None else largest) * scale, kind(255)))
    words = np.arange(first // 8, (first + delta.size + 7) // 8, dtype=np.uint64)
    random = _mixed(np.uint64(key), words).astype("<u8", copy=False).view(np.uint8)[first % 8 :][: delta.size]
    index = np.flatnonzero(random <= most)
    step, random = delta[index], random[index]
    size = np.abs(step)
    scaled = size * scale
    share = np.minimum(scaled, kind(255)).astype(np.uint8)
    further = _mixed(~np.uint64(key), (index + first).astype(np.uint64)) >> np.uint64(40)
    less = (random == share) & (further.astype(kind) * kind(2.0**-24) < scaled - share.astype(kind))
    kept = (random < share) | ((random == share) & (size >= limit)) | less
    return index[kept] + first, _change(step[kept], threshold, np.inf)


def _largest(delta: Array) -> float:
    return max(float(delta.max(initial=0.0)), -float(delta.min(initial=0.0)))


def _change(step: Array, threshold: float, largest: float) -> Array:
    """What is written where a step was chosen: at least the threshold."""
    unit = np.copysign(step.dtype.type(threshold), step)
    return unit if largest < threshold else np.where(np.abs(step) >= step.dtype.type(threshold), step, unit)


def _mixed(key: np.uint64, number: Array) -> Array:
    """SplitMix64's output (n,) number ``number`` (n,) from the start ``key``."""
    z = number + np.uint64(1)
    z *= _GAMMA
    z += key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    return np.asarray(z ^ (z >> np.uint64(31)))
