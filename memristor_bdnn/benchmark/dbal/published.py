"""The published trials: their vessels, and how far the sizes that they record can be trusted.

Every published trial draws a continuous scale for its bowl and its cup, so no size should come twice. Yet 8,082 rows
hold only some hundred sizes of each vessel: a size was recorded for the first trial that wrote a mesh file and again
for every later one that reused the file's name, whatever it simulated. That is to be seen in the inputs alone, without
a label, and so is the correction: of k rows that record one size, one at most is right. `docs/pouring.md` has the
figures.
Worlds of our own record what they simulate and need none of this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.context import FEATURE_NAMES, decode, rescaled
from memristor_bdnn.skills.pouring.vessels import BOWLS, HEIGHT_LEVEL

FloatArray = npt.NDArray[np.floating[Any]]

# Base over top diameter as the published contexts record it: scaling a vessel leaves it alone, so it names the vessel.
PUBLISHED_BOWLS: dict[str, float] = {
    "small_blue": 0.53173,
    "green": 0.54982,
    "orange": 0.55816,
    "purple": 0.55842,
    "lime": 0.56575,
    "small_green": 0.56869,
    "blue": 0.57128,
    "large_red": 0.57321,
    "tan": 0.57678,
    "red": 0.59296,
    "yellow": 0.59719,
    "blue_white": 0.59979,
    "brown": 0.64682,
    "red_speckled": 0.67480,
    "white": 0.97969,
}
PUBLISHED_CUPS: tuple[float, ...] = (
    0.76475, 0.78649, 0.80065, 0.81303, 0.81866, 0.83394, 0.84424, 0.84698, 0.85748, 0.86054, 0.87515, 0.89212,
    0.96074, 0.96599, 0.96997, 1.00040,
)  # fmt: skip
"""The same of the cups; three of the printed ones cannot be told apart and share the last entry."""
VESSELS: dict[str, slice] = {"bowl sizes": slice(5, 8), "cup sizes": slice(8, 11)}
"""Columns of the network inputs that one mesh decides."""
_SAME_BOWL, _SAME_CUP = 2.5e-4, 6e-4
_RATIOS = np.array(list(PUBLISHED_BOWLS.values()))
_NOMINAL = 0.01 * np.array([(BOWLS[name][1], HEIGHT_LEVEL * BOWLS[name][2]) for name in PUBLISHED_BOWLS])


def bowl_scales(x: FloatArray) -> FloatArray:
    """Width and height of the bowls in network inputs x (n, 11), over those of the published bowl of that shape.

    Returns:
        Shape (n, 2); NaN where no published bowl has the shape.
    """
    context = decode(np.asarray(x, dtype=float))[0]
    bowl = _known(context[:, :3], _RATIOS, _SAME_BOWL)
    scales = context[:, 1:3] / _NOMINAL[bowl]
    scales[bowl < 0] = np.nan
    return scales


def are_published(x: FloatArray) -> bool:
    """Whether network inputs (n, 11) are trials of the published bowls: nearly all have one of their shapes."""
    x = np.asarray(x, dtype=float)
    return x.ndim == 2 and x.shape[1] == len(FEATURE_NAMES) and float(np.isfinite(bowl_scales(x)).mean()) > 0.99


def sharing(values: FloatArray, among: FloatArray | None = None) -> npt.NDArray[np.integer[Any]]:
    """How many rows hold exactly the same values, (n,), each row counted with itself.

    Args:
        values: (n, d). among: further rows to count, (m, d).
    """
    every = values if among is None else np.concatenate([values, among])
    inverse, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)[1:]
    shared: npt.NDArray[np.integer[Any]] = counts[inverse.reshape(-1)][: len(values)]
    return shared


def corrected_sizes(x: FloatArray, among: FloatArray | None = None) -> FloatArray:
    """The same motions with vessels of the size to expect, given how many rows record the same size.

    A size that k rows record is right for one of them at most; the others had sizes of their own, drawn about the
    middle of that vessel's sizes. So the expected size (in the logarithm) is the recorded one with weight 1 / k, and
    the middle of the distinct sizes of that vessel with the rest. Cup and tilt axis stay where they were in the room,
    so the parameters that are measured from bowl and cup change with them and may leave their ranges. Vessels of
    unknown shape, and sizes that come once, stay as they are.

    Args:
        x: network inputs (n, 11).
        among: inputs of further trials of the same origin, (m, 11): they say which sizes repeat and where the middle
            of a vessel's sizes is.

    Returns:
        Shape (n, 11).

    Raises:
        ConfigError: inputs of another width.
    """
    x = np.asarray(x, dtype=float)
    every = x if among is None else np.concatenate([x, np.asarray(among, dtype=float)])
    if every.ndim != 2 or every.shape[1] != len(FEATURE_NAMES):
        raise ConfigError(f"inputs have shape {every.shape}: expected (n, {len(FEATURE_NAMES)})")
    recorded = decode(every)[0]
    expected = recorded.copy()
    known = (_RATIOS, _SAME_BOWL), (np.array(PUBLISHED_CUPS), _SAME_CUP)
    for columns, shape, (ratios, same) in zip(VESSELS.values(), (slice(0, 3), slice(3, 6)), known, strict=True):
        trust = 1.0 / sharing(every[:, columns])
        expected[:, shape] = _expected(recorded[:, shape], _known(recorded[:, shape], ratios, same), trust)
    changed = np.any(expected[: len(x)] != recorded[: len(x)], axis=1)
    corrected = x.copy()
    if changed.any():
        corrected[changed] = _moved(x[changed], expected[: len(x)][changed])
    return corrected


def _known(sizes: FloatArray, ratios: FloatArray, same: float) -> npt.NDArray[np.integer[Any]]:
    """Index of the vessel whose shape sizes (n, 3) have, (n,); -1 for none."""
    distance = np.abs((sizes[:, 0] / sizes[:, 1])[:, None] - ratios)
    return np.where(distance.min(axis=1) <= same, distance.argmin(axis=1), -1)


def _expected(sizes: FloatArray, vessel: npt.NDArray[np.integer[Any]], trust: FloatArray) -> FloatArray:
    """Sizes (n, 3) drawn towards the middle of the distinct sizes of their vessel, but for a share ``trust`` (n,)."""
    expected = sizes.copy()
    for index in np.unique(vessel[vessel >= 0]):
        rows = np.flatnonzero((vessel == index) & (trust < 1.0))
        if len(rows):
            middle = np.log(np.unique(sizes[vessel == index], axis=0)).mean(axis=0)
            expected[rows] = np.exp(middle + trust[rows, None] * (np.log(sizes[rows]) - middle))
    return expected


def _moved(x: FloatArray, context: FloatArray) -> FloatArray:
    """Network inputs of the motions in x (n, 11) with vessels of other sizes (n, 6)."""
    recorded, parameters = decode(x)
    moved = parameters.copy()
    moved[:, 0] *= recorded[:, 1] / context[:, 1]
    moved[:, 1] += recorded[:, 2] - context[:, 2]
    moved[:, 2] *= recorded[:, 4] / context[:, 4]
    moved[:, 3] *= recorded[:, 5] / context[:, 5]
    return rescaled(np.concatenate([moved, context], axis=1))
