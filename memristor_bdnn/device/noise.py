"""Laplace and normal deviates at a few nanoseconds a sample, from raw random bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.native import kernels

Float32 = npt.NDArray[np.float32]

_BLOCK = 1 << 17
"""Samples of whole rows whose bits are one stretch: the last raw word of a stretch is not shared with the next."""
_PIECE = 1 << 16
"""Samples worked on at a time: bits, noise and reads stay in the cache; even, so that pieces share no raw word."""
_MANY = 4096
"""Words from which on it pays to look up a generator's state for a kernel."""
_HALF = (1 << 64) - 1
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
    compiled = kernels is not None and scale_ua.dtype == state_ua.dtype == np.float32
    if compiled and reads.size <= min(_PIECE, _BLOCK):
        _compiled(raw_bits(rng, reads.size), reads, scale_ua, state_ua, floor_ua)
        return reads
    rows = max(1, _BLOCK // max(cells, 1))
    # An array, not a number: NumPy compares two arrays several times faster.
    floor = np.full(min(cells, _PIECE) if rows == 1 or cells % 2 == 0 else cells, floor_ua, dtype=np.float32)
    for start in range(0, samples, rows):  # the same bits as in one piece
        block = reads[start : start + rows]
        for row, column in _pieces(*block.shape):
            piece, scale, state = block[row, column], scale_ua[column], state_ua[column]
            bits = raw_bits(rng, piece.size)
            if compiled:
                _compiled(bits, piece, scale, state, floor_ua)
            else:
                _inverted(bits.reshape(piece.shape), piece, scale, state, floor[: piece.shape[1]])
    return reads


def _compiled(bits: npt.NDArray[Any], reads: Float32, scale: Float32, state: Float32, floor_ua: float) -> None:
    """As :func:`_inverted`, in two passes beside the logarithm."""
    kernels.uniforms(bits, reads)
    np.log(reads, out=reads)
    kernels.reads(bits, reads, scale, state, floor_ua)


def _inverted(bits: npt.NDArray[Any], reads: Float32, scale: Float32, state: Float32, floor: Float32) -> None:
    """Reads (rows, cells), into ``reads``, of as many random words; the bits are overwritten."""
    words = reads.view(np.uint32)
    np.bitwise_and(bits, _MANTISSA, out=words)
    np.bitwise_or(words, _ONE, out=words)
    np.subtract(np.float32(2.0), reads, out=reads)
    np.log(reads, out=reads)
    np.bitwise_and(bits, _SIGN, out=bits)
    np.bitwise_xor(words, bits, out=words)
    np.multiply(reads, scale, out=reads)
    np.add(reads, state, out=reads)
    np.maximum(reads, floor, out=reads)


def _pieces(rows: int, cells: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a block (rows, cells) in the order of its memory, all but the last of an even number of samples."""
    if cells <= _PIECE or (rows > 1 and cells % 2):
        step = max(2, _PIECE // max(cells, 1) // 2 * 2)
        yield from ((slice(start, start + step), slice(0, cells)) for start in range(0, rows, step))
    else:
        columns = [slice(start, min(start + _PIECE, cells)) for start in range(0, cells, _PIECE)]
        yield from ((slice(row, row + 1), column) for row in range(rows) for column in columns)


def raw_bits(rng: np.random.Generator, n: int) -> npt.NDArray[Any]:
    """n random 32-bit words, shape (n,), uint32: two from every 64-bit word of the generator."""
    words = (n + 1) // 2
    drawn = _drawn(rng.bit_generator, words) if words >= _MANY else rng.bit_generator.random_raw(words)
    bits: npt.NDArray[Any] = drawn.view(np.uint32)
    return bits[:n]


def _drawn(generator: Any, words: int) -> npt.NDArray[Any]:
    """What ``random_raw`` would give, sooner where a kernel knows the generator."""
    drawing = getattr(kernels, "words", None)
    if drawing is None or type(generator) is not np.random.PCG64:
        return np.asarray(generator.random_raw(words))
    with generator.lock:
        whole = generator.state
        own = whole["state"]
        parts = [half for number in (own["state"], own["inc"]) for half in (number & _HALF, number >> 64)]
        state, out = np.array(parts, dtype=np.uint64), np.empty(words, dtype=np.uint64)
        drawing(state, out)
        own["state"] = int(state[0]) | int(state[1]) << 64
        generator.state = whole
    return out


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
