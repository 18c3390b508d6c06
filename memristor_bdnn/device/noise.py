"""Laplace and normal deviates at a few nanoseconds a sample, from raw random bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_BLOCK = 1 << 17
"""Samples drawn at a time: small enough to stay in the cache, and memory stays flat."""
_MANTISSA, _ONE, _SIGN = np.uint32(0x007FFFFF), np.uint32(0x3F800000), np.uint32(0x80000000)


def laplace_reads(
    state_ua: Float32, scale_ua: Float32, samples: int, floor_ua: float, rng: np.random.Generator
) -> Float32:
    """Independent reads state + Laplace(0, scale), never below ``floor_ua``; shape (samples, cells), float32.

    Inverse distribution function on 24 random bits: 23 give a uniform u in (0, 1] and |noise| = -b ln u, one
    gives the sign. The largest noise is therefore 15.9 b (probability 1e-7 a sample).

    Args:
        state_ua: shape (cells,), mean currents in microampere.
        scale_ua: shape (cells,), Laplace scale b of each.
        samples: rows of the result.
        floor_ua: lowest value returned.
        rng: consumed by ceil(block / 2) raw 64-bit words for each block of rows.
    """
    cells = state_ua.shape[0]
    reads = np.empty((samples, cells), dtype=np.float32)
    rows = max(1, _BLOCK // max(cells, 1))
    # An array, not a number: NumPy compares two arrays several times faster.
    floor = np.full(cells, floor_ua, dtype=np.float32)
    for start in range(0, samples, rows):
        block = reads[start : start + rows]
        bits = raw_bits(rng, block.size).reshape(block.shape)
        words = block.view(np.uint32)
        np.bitwise_and(bits, _MANTISSA, out=words)
        np.bitwise_or(words, _ONE, out=words)
        np.subtract(np.float32(2.0), block, out=block)
        np.log(block, out=block)
        np.bitwise_and(bits, _SIGN, out=bits)
        np.bitwise_xor(words, bits, out=words)
        np.multiply(block, scale_ua, out=block)
        np.add(block, state_ua, out=block)
        np.maximum(block, floor, out=block)
    return reads


def raw_bits(rng: np.random.Generator, n: int) -> npt.NDArray[Any]:
    """n random 32-bit words, shape (n,), uint32: two from every 64-bit word of the generator."""
    words: npt.NDArray[Any] = rng.bit_generator.random_raw((n + 1) // 2).view(np.uint32)
    return words[:n]


def standard_normals(rng: np.random.Generator, n: int) -> Float32:
    """Standard normal deviates, shape (n,), float32: Box-Muller on 23-bit uniforms, so |z| is below 5.65."""
    half = (n + 1) // 2
    words = raw_bits(rng, 2 * half)
    np.bitwise_and(words, _MANTISSA, out=words)
    np.bitwise_or(words, _ONE, out=words)
    uniform = words.view(np.float32)
    radius, angle = uniform[:half], uniform[half:]
    np.subtract(np.float32(2.0), radius, out=radius)
    np.log(radius, out=radius)
    np.multiply(radius, np.float32(-2.0), out=radius)
    np.sqrt(radius, out=radius)
    np.multiply(angle, np.float32(2.0 * np.pi), out=angle)
    normals = np.empty(2 * half, dtype=np.float32)
    np.cos(angle, out=normals[:half])
    np.sin(angle, out=normals[half:])
    normals[:half] *= radius
    normals[half:] *= radius
    return normals[:n]
