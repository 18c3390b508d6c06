"""Fits a preset to measured single pulses and reads, and says how good the fit is."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from memristor_bdnn.device.inheritance import Inherited, carried, listed, with_sources
from memristor_bdnn.device.parameters import Pulse, ReadNoise
from memristor_bdnn.device.presets import DevicePreset, override
from memristor_bdnn.device.tables import Measurements, Rows, Statistics
from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

MIN_ROWS = 50
"""Fewest single pulses or reads of one kind that are fitted."""
_BINS = 20


@dataclass(frozen=True)
class FitQuality:
    """How well a fitted distribution describes the measurements it was fitted to.

    Attributes:
        operation: set, reset or read.
        rows: measurements used.
        mean_rmse_ua: RMS over state bins of (measured mean - fitted mean).
        sd_rmse_ua: RMS over state bins of (measured SD - fitted SD).
        r_squared: share of the variance of the next state that the fitted mean explains.
        ks_distance: Kolmogorov-Smirnov distance of the standardised residuals from the model's distribution.
    """

    operation: str
    rows: int
    mean_rmse_ua: float
    sd_rmse_ua: float
    r_squared: float
    ks_distance: float


@dataclass(frozen=True)
class FitResult:
    """A fitted preset, the fields that differ from its base, the quality of each part, and what nobody measured."""

    preset: DevicePreset
    changes: dict[str, Any]
    quality: tuple[FitQuality, ...]
    inherited: tuple[Inherited, ...] = ()


def fit_measurements(
    data: Measurements | Statistics,
    base: DevicePreset,
    name: str,
    *,
    window_ua: tuple[float, float] | None = None,
    tables: bool = False,
    read_voltage_v: float | None = None,
) -> FitResult:
    """Fit pulses and read noise; what was not measured is taken from ``base``, rescaled where the window is another.

    Args:
        data: from :func:`memristor_bdnn.device.tables.read_table`.
        base: gives everything that the data do not.
        name: name of the new preset.
        window_ua: lowest and highest state of the devices; default: where the mean change of RESET and SET
            pulses vanishes.
        tables: describe the pulses by tables of (state, mean, SD) instead of the two-parameter formula.
        read_voltage_v: at which the currents were read; default: the base's.

    Raises:
        ConfigError: too few measurements, SET and RESET that go the wrong way, a window that the states do not lie in,
            or values that no preset may have.
    """
    pulses = _pulses_of(data)
    for operation, pairs in pulses.items():
        if isinstance(data, Measurements):
            _require(operation, pairs)
    _check_direction(pulses)
    window = _window(data, base) if window_ua is None else _given_window(window_ua, pulses)
    file = data.source or "measurements"
    source = f"fitted to {file}; what was not measured is from {base.name}"
    changes: dict[str, Any] = {"name": name, "source": source, "window_ua": list(window)}
    if read_voltage_v is not None:
        changes["read_voltage_v"] = read_voltage_v
    rescaled = carried(base, window)
    changes |= {topic: value for topic, value in rescaled.items() if topic not in _measured(data)}
    quality = _add_statistics(data, changes) if isinstance(data, Statistics) else _add_fits(data, base, changes, tables)
    fitted = _sources(data, window_ua is not None, tables)
    changes["sources"] = with_sources(base, changes, fitted, f"rescaled to the window from {base.name}, not measured")
    measured = (*_measured(data), *(["read_voltage_v"] if read_voltage_v is not None else []))
    return FitResult(override(base, changes), changes, tuple(quality), listed(base, measured, changes))


def _pulses_of(data: Measurements | Statistics) -> dict[str, FloatArray]:
    """(state, next state) of the operations that were measured, shape (n, 2) each; of statistics the means."""
    if isinstance(data, Statistics):
        rows = {"set": data.set_rows, "reset": data.reset_rows}
        return {name: np.array(table)[:, :2] for name, table in rows.items() if table}
    return {name: pairs for name, pairs in (("set", data.set_ua), ("reset", data.reset_ua)) if len(pairs)}


def _measured(data: Measurements | Statistics) -> tuple[str, ...]:
    found = [f"{operation}_pulse" for operation in _pulses_of(data)]
    return (*found, "read_noise") if isinstance(data, Measurements) and len(data.read_ua) else tuple(found)


def _sources(data: Measurements | Statistics, given: bool, tables: bool) -> dict[str, str]:
    """How every measured topic became known."""
    file = data.source or "measurements"
    how = "taken from the statistics in" if isinstance(data, Statistics) else "fitted to"
    found = {"window_ua": "given to the fit" if given else f"{how} {file}"}
    for operation, pairs in _pulses_of(data).items():
        tabled = tables or isinstance(data, Statistics)
        fields = ("table",) if tabled else ("fraction", "sd_constant_ua", "sd_linear")
        found |= {f"{operation}_pulse.{name}": f"{how} {file} ({len(pairs)} rows)" for name in fields}
    if isinstance(data, Measurements) and len(data.read_ua):
        for name in ("constant_ua", "linear", "quadratic_per_ua"):
            found[f"read_noise.{name}"] = f"fitted to {file} ({len(data.read_ua)} rows)"
    return found


def _check_direction(pulses: dict[str, FloatArray]) -> None:
    """Refuse SET pulses that lower the states where they should rise most, and RESET pulses that raise them."""
    wrong = []
    for operation, pairs in pulses.items():
        sign, state = (1 if operation == "set" else -1), pairs[:, 0]
        half = state <= np.median(state) if sign > 0 else state >= np.median(state)
        change = sign * (pairs[:, 1] - state)[half]
        error = change.std() / math.sqrt(change.size) if change.size > 1 else 0.0
        if change.mean() < -3 * error and change.mean() < 0:
            way, where = ("lower", "low") if sign > 0 else ("raise", "high")
            wrong.append(f"{operation} pulses {way} {where} states by {-change.mean():.3g} uA on average")
    if wrong:
        raise ConfigError(
            f"{' and '.join(wrong)}: are SET and RESET swapped? A set raises the current, a reset lowers it; exchange "
            "them in the column operation"
        )


def _given_window(window: tuple[float, float], pulses: dict[str, FloatArray]) -> tuple[float, float]:
    """The window as given, if most measured states lie in it."""
    low, high = window
    if not (0 <= low < high <= 1000):
        raise ConfigError(f"window {low:g} {high:g}: expected 0 <= LOW < HIGH <= 1000 uA")
    states = np.concatenate([pairs[:, 0] for pairs in pulses.values()]) if pulses else np.zeros(0)
    slack = 0.1 * (high - low)
    outside = (states < low - slack) | (states > high + slack)
    if states.size and outside.mean() > 0.2:
        raise ConfigError(
            f"window {low:g} to {high:g} uA: {outside.mean():.0%} of the measured states lie outside (they go from "
            f"{states.min():.3g} to {states.max():.3g} uA): wrong unit, or a window of another device?"
        )
    return float(low), float(high)


def _add_fits(data: Measurements, base: DevicePreset, changes: dict[str, Any], tables: bool) -> list[FitQuality]:
    """Fit every operation that was measured; adds to the changes, returns how good each fit is."""
    window, quality = tuple(changes["window_ua"]), []
    for operation, pairs in _pulses_of(data).items():
        old: Pulse = getattr(base, f"{operation}_pulse")
        edge = window[1] if operation == "set" else window[0]
        fitted = _tabulate(old, pairs) if tables else _fit_pulse(old, pairs, edge, window)
        changes[f"{operation}_pulse"] = _difference(old, fitted)
        quality.append(_pulse_quality(operation, override(base, changes), pairs))
    if len(data.read_ua):
        _require("read", data.read_ua)
        noise = _fit_read_noise(data.read_ua, window)
        changes["read_noise"] = _difference(base.read_noise, noise)
        quality.append(_read_quality(override(base, changes), data.read_ua))
    return quality


def preset_yaml(base: str, changes: dict[str, Any]) -> str:
    """Text of a preset file: the base it starts from and the fitted fields."""
    return yaml.safe_dump({"base": base, **changes}, sort_keys=False, default_flow_style=None, width=100)


def _difference(old: Any, new: Any) -> dict[str, Any]:
    """Fields of a topic that differ, as plain values."""
    before, after = dataclasses.asdict(old), dataclasses.asdict(new)
    changed = {key: value for key, value in after.items() if value != before[key]}
    return {key: [list(row) for row in value] if key == "table" else value for key, value in changed.items()}


def _add_statistics(data: Statistics, changes: dict[str, Any]) -> list[FitQuality]:
    """Take statistics as tables."""
    quality = []
    for operation, rows in (("set", data.set_rows), ("reset", data.reset_rows)):
        if rows:
            changes[f"{operation}_pulse"] = {"table": [list(row) for row in rows]}
            quality.append(FitQuality(operation, len(rows), 0.0, 0.0, 1.0, math.nan))
    return quality


def _require(operation: str, pairs: FloatArray) -> None:
    if len(pairs) < MIN_ROWS:
        raise ConfigError(f"{len(pairs)} {operation} rows: at least {MIN_ROWS} are needed for a fit")
    if np.ptp(pairs[:, 0]) <= 0:
        raise ConfigError(f"all {operation} rows have the same state_ua: measure at several states")


def _window(data: Measurements | Statistics, base: DevicePreset) -> tuple[float, float]:
    """Edges at which pulses stop moving the mean: zeros of a straight line through (state, change).

    Where that line says nothing (no pulses of one kind, or an edge far from every measured state), the 0.5 or
    99.5 % quantile of the measured states; without any pulses the base's window. Statistics: the lowest and highest
    state or mean.
    """
    if isinstance(data, Statistics):
        means = np.concatenate([pairs.ravel() for pairs in _pulses_of(data).values()])
        return round(float(means.min()), 4), round(float(means.max()), 4)
    states = np.concatenate([data.set_ua.ravel(), data.reset_ua.ravel()])
    if states.size == 0:
        low, high = (float(q) for q in np.quantile(data.read_ua[:, 0], (0.005, 0.995))) if len(data.read_ua) else (0, 0)
        span = base.window_ua[1] - base.window_ua[0]
        inside = base.window_ua[0] - 0.1 * span <= low and high <= base.window_ua[1] + 0.1 * span
        return base.window_ua if inside or high <= low else (round(max(low, 0.0), 4), round(high, 4))
    low, high = (float(q) for q in np.quantile(states, (0.005, 0.995)))
    span = high - low
    edges = [_still_point(data.reset_ua, low, high), _still_point(data.set_ua, low, high)]
    if edges[0] is not None and low - 0.2 * span < edges[0] < low + 0.2 * span:
        low = max(edges[0], 0.0)
    if edges[1] is not None and high - 0.2 * span < edges[1] < high + 0.2 * span:
        high = edges[1]
    return round(low, 4), round(high, 4)


def _still_point(pairs: FloatArray, low: float, high: float) -> float | None:
    """Zero of the line through (state, change), from states whose next states are clear of the edges."""
    if len(pairs) < MIN_ROWS:
        return None
    state, following = pairs.T
    kept = np.ones(len(pairs), dtype=bool)
    for _ in range(5):
        intercept, slope = _line(state[kept], (following - state)[kept], np.ones(int(kept.sum())))
        mean, sd = state + intercept + slope * state, (following - state - intercept - slope * state)[kept].std()
        kept = (mean + 2 * sd < high) & (mean - 2 * sd > low)
        if kept.sum() < MIN_ROWS:
            return None
    return -intercept / slope if slope < -0.01 else None


def _fit_pulse(old: Pulse, pairs: FloatArray, edge: float, window: tuple[float, float]) -> Pulse:
    """mu = I + a (edge - I), sigma = s0 + s1 I, by reweighted least squares.

    Rows whose prediction lies within two SD of the window's edges are left out, where clipping would bias the
    fit; the choice depends on the state only, not on the outcome.
    """
    state, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    fraction, s0, s1 = 0.2, float(change.std()), 0.0
    for _ in range(10):
        sd = np.maximum(s0 + s1 * state, 1e-3)
        mean = state + fraction * (edge - state)
        kept = (mean + 2 * sd < window[1]) & (mean - 2 * sd > window[0])
        if kept.sum() < MIN_ROWS:
            kept = np.ones_like(kept)
        weight = kept / sd**2
        drive = edge - state
        fraction = float(np.clip((weight * drive * change).sum() / (weight * drive**2).sum(), 0, 1))
        size = np.abs(change - fraction * drive) * math.sqrt(math.pi / 2)
        s0, s1 = _line(state, size, weight)
    return dataclasses.replace(
        old, fraction=round(fraction, 5), sd_constant_ua=round(max(s0, 0.0), 5), sd_linear=round(s1, 5), table=()
    )


def _tabulate(old: Pulse, pairs: FloatArray) -> Pulse:
    """Means and SDs in bins of equal counts, as a table."""
    rows: list[tuple[float, float, float]] = []
    for chosen in _bins(pairs[:, 0]):
        state, following = pairs[chosen].T
        mean = float(state.mean() + (following - state).mean())
        row = (round(float(state.mean()), 5), round(max(mean, 0.0), 5), round(float((following - state).std()), 5))
        if not rows or row[0] > rows[-1][0]:
            rows.append(row)
    table: Rows = tuple(rows)
    return dataclasses.replace(old, table=table)


def _fit_read_noise(pairs: FloatArray, window: tuple[float, float]) -> ReadNoise:
    """b(I) = c0 + c1 I + c2 I^2 from |read - state|; of lower degree where the polynomial would not be positive.

    A parabola through few or noisy reads may be negative at states of the window that were not measured.
    """
    for degree in (2, 1):
        noise = _fit_polynomial(pairs, degree)
        states = np.linspace(*window, 101)
        scale = noise.constant_ua + states * (noise.linear + noise.quadratic_per_ua * states)
        if scale.min() > 0.02 * scale.max():
            return noise
    return ReadNoise(round(float(np.abs(pairs[:, 1] - pairs[:, 0]).mean()), 6), 0.0, 0.0)


def _fit_polynomial(pairs: FloatArray, degree: int) -> ReadNoise:
    """Coefficients up to ``degree`` from |read - state|, whose mean and SD are both b; reweighted."""
    state, size = pairs[:, 0], np.abs(pairs[:, 1] - pairs[:, 0])
    powers = np.vander(state, degree + 1, increasing=True)
    scale = np.full(state.size, size.mean())
    for _ in range(5):
        weight = 1 / np.maximum(scale, 1e-6)
        coefficients, *_ = np.linalg.lstsq(powers * weight[:, None], size * weight, rcond=None)
        scale = np.maximum(powers @ coefficients, 0.1 * size.mean())
    constant, linear, quadratic = (*(round(float(c), 6) for c in coefficients), 0.0, 0.0)[:3]
    return ReadNoise(constant_ua=max(constant, 0.0), linear=linear, quadratic_per_ua=quadratic)


def _line(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[float, float]:
    root = np.sqrt(weight)
    (constant, slope), *_ = np.linalg.lstsq(np.stack([root, root * x], axis=1), root * y, rcond=None)
    return float(constant), float(slope)


def _pulse_quality(operation: str, preset: DevicePreset, pairs: FloatArray) -> FitQuality:
    state, following = pairs.T
    up = operation == "set"
    mean = preset.set_mean_ua(state) if up else preset.reset_mean_ua(state)
    sd = np.maximum(preset.set_sd_ua(state) if up else preset.reset_sd_ua(state), 1e-9)
    z = np.sort((following - mean) / sd)
    normal = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    return _quality(operation, pairs, mean, sd, _ks(normal))


def _read_quality(preset: DevicePreset, pairs: FloatArray) -> FitQuality:
    state, read = pairs.T
    scale = np.maximum(preset.read_noise_scale_ua(state), 1e-9)
    z = np.sort((read - state) / scale)
    laplace = np.where(z < 0, 0.5 * np.exp(np.minimum(z, 0)), 1 - 0.5 * np.exp(-np.maximum(z, 0)))
    return _quality("read", pairs, state, math.sqrt(2) * scale, _ks(laplace))


def _quality(operation: str, pairs: FloatArray, mean: Any, sd: Any, ks: float) -> FitQuality:
    following = pairs[:, 1]
    groups = _bins(pairs[:, 0])
    means = [float((following[g] - mean[g]).mean()) for g in groups]
    sds = [float((following[g] - mean[g]).std() - sd[g].mean()) for g in groups]
    r2 = 1 - float(np.square(following - mean).sum() / np.square(following - following.mean()).sum())
    return FitQuality(
        operation,
        len(pairs),
        float(np.sqrt(np.mean(np.square(means)))),
        float(np.sqrt(np.mean(np.square(sds)))),
        r2,
        ks,
    )


def _bins(state: FloatArray) -> list[npt.NDArray[np.intp]]:
    """Numbers of the rows in up to 20 groups of neighbouring states, at least 10 rows in each."""
    return np.array_split(np.argsort(state, kind="stable"), max(2, min(_BINS, state.size // 10)))


def _ks(distribution: FloatArray) -> float:
    """One-sample KS distance from the model's distribution function at the sorted measurements."""
    n = distribution.size
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - distribution).max(), (distribution - steps[:-1]).max()))
