"""Compares simulated write-verify with reads of real chips, and fits its parameters to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.crossbar import programming
from memristor_bdnn.crossbar.adc import quantise
from memristor_bdnn.crossbar.cells import CellArray
from memristor_bdnn.device.presets import DevicePreset, override
from memristor_bdnn.errors import ConfigError, UnsupportedError
from memristor_bdnn.state import check_array, load_npz

FloatArray = npt.NDArray[np.floating[Any]]

BINS_UA = (0.0, 0.41, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 1000.0)
"""Edges of the target ranges compared separately, microampere."""


@dataclass(frozen=True)
class ErrorFigures:
    """Moments of (read - target): mean and SD in uA, share within the tolerance, number of cells."""

    mean_error_ua: float
    sd_error_ua: float
    share_within_tolerance: float
    cells: int


@dataclass(frozen=True)
class BinComparison:
    """Chip against model for targets in [low, high) uA."""

    low_ua: float
    high_ua: float
    chip: ErrorFigures
    model: ErrorFigures
    ks_distance: float


@dataclass(frozen=True)
class Comparison:
    """Measured against simulated write-verify errors of the same targets."""

    chip: ErrorFigures
    model: ErrorFigures
    ks_distance: float
    bins: tuple[BinComparison, ...]


def load_measurement(path: str | Path) -> tuple[FloatArray, FloatArray]:
    """Targets and reads of a write-verify measurement, both flattened to (n,), microampere.

    The file is an .npz with arrays ``target_ua`` and ``read_ua`` of one shape.

    Raises:
        ConfigError: unreadable file, missing arrays, different shapes, NaN, negative or above 1 mA.
    """
    arrays = load_npz(path)
    for name in ("target_ua", "read_ua"):
        if name not in arrays:
            raise ConfigError(f"{path}: no array {name!r}; found {', '.join(arrays) or 'nothing'}")
        check_array(f"{path}: {name}", arrays[name], kinds="fiu", low=0, high=1000, unit="microampere")
    if arrays["target_ua"].shape != arrays["read_ua"].shape:
        raise ConfigError(f"{path}: target_ua {arrays['target_ua'].shape} and read_ua {arrays['read_ua'].shape} differ")
    return arrays["target_ua"].ravel(), arrays["read_ua"].ravel()


def simulate_reads(preset: DevicePreset, target_ua: FloatArray, seed: int) -> FloatArray:
    """Fabricate cells, write-verify the targets (n,) and read each once through the converter, uA, (n,)."""
    rng = np.random.default_rng(seed)
    array = CellArray(preset, target_ua.size, rng)
    cells = np.arange(target_ua.size)
    programming.write_verify(array, cells, target_ua, rng)
    reads = array.read_cells(cells, 1, rng)[0]
    quantise(reads, preset.periphery.adc_bits, preset.periphery.adc_full_scale_ua)
    return reads


def ks_distance(a: FloatArray, b: FloatArray) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the largest difference of the two distribution functions."""
    both = np.concatenate([a, b])
    first = np.searchsorted(np.sort(a), both, side="right") / a.size
    second = np.searchsorted(np.sort(b), both, side="right") / b.size
    return float(np.abs(first - second).max())


def compare(preset: DevicePreset, target_ua: FloatArray, read_ua: FloatArray, seed: int = 0) -> Comparison:
    """Simulate the targets and compare the error distributions, overall and by target range."""
    tolerance = preset.write_verify.tolerance_ua
    chip = read_ua - target_ua
    model = simulate_reads(preset, target_ua, seed) - target_ua
    bins = []
    for low, high in pairwise(BINS_UA):
        inside = (target_ua >= low) & (target_ua < high)
        if inside.sum() >= 20:
            pair = (_figures(chip[inside], tolerance), _figures(model[inside], tolerance))
            bins.append(BinComparison(low, high, *pair, ks_distance(chip[inside], model[inside])))
    return Comparison(_figures(chip, tolerance), _figures(model, tolerance), ks_distance(chip, model), tuple(bins))


# (topic, field, index in a tuple or None) of every fitted parameter, with its smallest and largest value
_FITTED: tuple[tuple[str, str, int | None, float, float], ...] = (
    ("", "fresh_ua", 0, 0.05, 3.0),
    ("", "fresh_ua", 1, 0.02, 2.0),
    ("write_verify", "step_ua", None, 0.02, 2.0),
    ("write_verify", "step_linear", None, -0.2, 0.5),
    ("write_verify", "step_cv", None, 0.05, 3.0),
    ("relaxation", "mean_constant_ua", None, -0.5, 0.5),
    ("relaxation", "mean_linear", None, -0.2, 0.2),
    ("relaxation", "sd_constant_ua", None, 0.0, 0.5),
    ("relaxation", "sd_linear", None, -0.05, 0.2),
    ("relaxation", "tail_constant", None, 0.0, 0.2),
    ("relaxation", "tail_linear_per_ua", None, -0.02, 0.2),
    ("relaxation", "tail_quadratic_per_ua2", None, -0.05, 0.01),
    ("relaxation", "tail_scale_ua", None, 0.05, 2.0),
    ("relaxation", "tail_down", None, 0.0, 1.0),
)


_REPETITIONS = 3
"""Simulations averaged in every evaluation of a fit: the tails are rare."""


def fit(
    preset: DevicePreset,
    target_ua: FloatArray,
    read_ua: FloatArray,
    *,
    seed: int = 0,
    evaluations: int = 1500,
    progress: Callable[[int, float], None] | None = None,
) -> DevicePreset:
    """Fit fresh states, small pulses and relaxation to measured write-verify reads.

    Minimises (Nelder-Mead, common random numbers) the average over target ranges, weighted by their cells, of the
    1-Wasserstein distance of the error distributions plus half the difference of their shares within the
    tolerance.

    Args:
        preset: start of the search; its other fields (tolerance, checks, faults, read noise) are kept.
        target_ua: shape (n,), wanted currents.
        read_ua: shape (n,), currents read after mapping.
        seed: seed of the simulations.
        evaluations: simulations at most, about 0.15 s each for 12,288 cells.
        progress: called with the number of simulations and the best distance in uA.

    Raises:
        UnsupportedError: scipy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise UnsupportedError("fitting needs scipy: pip install scipy") from error
    groups = [np.flatnonzero((target_ua >= a) & (target_ua < b)) for a, b in pairwise(BINS_UA)]
    groups = [g for g in groups if g.size]
    chip = [np.sort(read_ua[g] - target_ua[g]) for g in groups]
    tolerance = preset.write_verify.tolerance_ua
    best, done = np.inf, 0

    def distance(x: FloatArray) -> float:
        nonlocal best, done
        trial, total = _with(preset, x), 0.0
        for repetition in range(_REPETITIONS):
            error = simulate_reads(trial, target_ua, seed + repetition) - target_ua
            total += sum(_distance(np.sort(error[g]), c, tolerance) for g, c in zip(groups, chip, strict=True))
        total /= _REPETITIONS * target_ua.size
        best, done = min(best, total), done + 1
        if progress is not None:
            progress(done, best)
        return total

    start = _unit(preset)
    simplex = np.vstack([start, np.clip(start + np.where(start < 0.5, 0.15, -0.15) * np.eye(start.size), 0, 1)])
    result = minimize(
        distance,
        start,
        method="Nelder-Mead",
        options={
            "maxfev": evaluations,
            "initial_simplex": simplex,
            "adaptive": True,
            "xatol": 1e-4,
            "fatol": 1e-6,
        },
    )
    return _with(preset, result.x)


def _distance(model: FloatArray, chip: FloatArray, tolerance_ua: float) -> float:
    """Distance of two sorted error samples of one size, times their size; see :func:`fit`."""
    inside = abs(float((np.abs(model) <= tolerance_ua).mean() - (np.abs(chip) <= tolerance_ua).mean()))
    return float(np.abs(model - chip).sum()) + 0.5 * model.size * inside


def _unit(preset: DevicePreset) -> FloatArray:
    """The fitted parameters of a preset, each mapped to [0, 1]; shape (parameters,)."""
    values = []
    for topic, field, index, low, high in _FITTED:
        value = getattr(getattr(preset, topic) if topic else preset, field)
        values.append(((value if index is None else value[index]) - low) / (high - low))
    return np.clip(np.array(values), 0.0, 1.0)


def _with(preset: DevicePreset, x: FloatArray) -> DevicePreset:
    """Inverse of :func:`_unit`, rounded to five digits so that a written preset is the fitted one."""
    changes: dict[str, Any] = {}
    fresh: list[float] = []
    for (topic, field, index, low, high), value in zip(_FITTED, np.clip(x, 0.0, 1.0), strict=True):
        number = round(float(low + value * (high - low)), 5)
        if index is not None:
            fresh.append(number)
            changes[field] = fresh
        else:
            changes.setdefault(topic, {})[field] = number
    return override(preset, changes)


def _figures(error: FloatArray, tolerance_ua: float) -> ErrorFigures:
    within = float((np.abs(error) <= tolerance_ua + 1e-9).mean())
    return ErrorFigures(float(error.mean()), float(error.std()), within, int(error.size))


def figures(found: Sequence[Comparison]) -> dict[str, Any]:
    """Comparisons with different seeds as one record: means over seeds, and every seed's value.

    Keys: mean_error_ua, sd_error_ua, share_within_tolerance (each with chip, model, model_by_seed), ks_distance
    (mean over seeds), ks_distance_by_seed, bins (of the first seed).
    """
    record: dict[str, Any] = {}
    for name in ("mean_error_ua", "sd_error_ua", "share_within_tolerance"):
        by_seed = [float(getattr(c.model, name)) for c in found]
        record[name] = {
            "chip": getattr(found[0].chip, name),
            "model": float(np.mean(by_seed)),
            "model_by_seed": by_seed,
        }
    distances = [c.ks_distance for c in found]
    record["ks_distance"] = float(np.mean(distances))
    record["ks_distance_by_seed"] = distances
    record["cells"] = found[0].chip.cells
    record["bins"] = [asdict(b) for b in found[0].bins]
    return record
