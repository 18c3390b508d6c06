"""Figures of a device model: read noise, pulse trains, transitions, write-verify, chip maps; PNG files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.crossbar.cells import CellArray
from memristor_bdnn.crossbar.validation import BINS_UA
from memristor_bdnn.device.presets import DevicePreset, override
from memristor_bdnn.report import style

FloatArray = npt.NDArray[np.floating[Any]]

SET_COLOUR, RESET_COLOUR, READ_COLOUR = style.ORANGE, style.BLUE, style.GREEN


def _healthy(preset: DevicePreset, n: int, rng: np.random.Generator, state_ua: FloatArray | float) -> CellArray:
    """n working cells of the preset in given states."""
    array = CellArray(override(preset, {"faults": {"stuck_low": 0.0, "stuck_high": 0.0}}), n, rng)
    array.move(np.arange(n), np.broadcast_to(np.asarray(state_ua, dtype=np.float32), (n,)))
    return array


def _states(preset: DevicePreset, shares: FloatArray | tuple[float, ...]) -> FloatArray:
    low, high = preset.window_ua
    return low + np.asarray(shares) * (high - low)


@style.drawn
def read_noise(preset: DevicePreset, path: Path, rng: np.random.Generator) -> Path:
    """Density of single reads at three states, and of the sum of three devices; scale b(I) over the window."""
    widest = float(np.max(preset.read_noise_scale_ua(np.linspace(*preset.window_ua, 200))))
    figure = style.slide(f"{preset.name}: a read scatters by at most {widest:.3g} uA (Laplace scale)")
    axes = figure.subplots(1, 3)
    n = 200_000
    for state in _states(preset, (0.17, 0.45, 0.72)):
        array = _healthy(preset, 1, rng, state)
        noise = array.read(0, 1, n, rng)[:, 0] - state
        span = max(6 * float(array.noise_ua(slice(0, 1))[0]), 1e-6)
        axes[0].hist(noise, np.linspace(-span, span, 121), density=True, histtype="step", label=f"{state:.2f} uA")
    axes[0].set(xlabel="read - state (uA)", ylabel="density (1/uA)", title="One read", yscale="log")
    axes[0].legend()
    state = float(_states(preset, (0.45,))[0])
    three = _healthy(preset, 3, rng, state).read(0, 3, n, rng).sum(axis=1) - 3 * state
    single = _healthy(preset, 1, rng, state).read(0, 1, n, rng)[:, 0] - state
    grid = np.linspace(-5, 5, 121)
    for values, label in ((single, "one device"), (three, "sum of three")):
        if values.std() > 0:
            axes[1].hist(values / values.std(), grid, density=True, histtype="step", label=label)
    axes[1].plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=style.INK, ls="--", lw=1.5, label="Gaussian")
    axes[1].set(xlabel="read noise / SD", title="Three devices: nearer to Gaussian", yscale="log", ylim=(1e-5, 2))
    axes[1].legend()
    states = np.linspace(*preset.window_ua, 200)
    axes[2].plot(states, preset.read_noise_scale_ua(states), color=READ_COLOUR)
    axes[2].set(xlabel="state (uA)", ylabel="Laplace scale b (uA)", title="Scale over the window", ylim=(0, None))
    return style.save(figure, path)


@style.drawn
def pulse_trains(preset: DevicePreset, path: Path, rng: np.random.Generator) -> Path:
    """60 SET, then 60 RESET pulses on 200 devices: ten traces, mean and one SD."""
    array = _healthy(preset, 200, rng, preset.window_ua[0])
    cells, traces = np.arange(200), [array.state_ua.copy()]
    for pulse in range(120):
        array.pulse(cells, pulse < 60, rng)
        traces.append(array.state_ua.copy())
    track = np.array(traces)
    mean, sd = track.mean(axis=1), track.std(axis=1)
    figure = style.slide(
        f"{preset.name}: 60 SET pulses lead to {mean[60]:.2f} uA, 60 RESET pulses to {mean[-1]:.2f} uA"
    )
    axis = figure.subplots()
    axis.plot(track[:, :10], color=style.FAINT, lw=1.0)
    axis.plot(mean, color="k", label="mean of 200 devices")
    axis.fill_between(np.arange(mean.size), mean - sd, mean + sd, alpha=0.25, color=READ_COLOUR, label="1 SD")
    axis.axvline(60, color="0.4", ls=":")
    axis.set(xlabel="pulse (60 SET, then 60 RESET)", ylabel="state (uA)", title="Ten devices, and all of them")
    axis.legend()
    return style.save(figure, path)


@style.drawn
def transition_map(preset: DevicePreset, path: Path, rng: np.random.Generator) -> Path:
    """Mean and SD of the next state for 20 initial states, simulated (points) and nominal (lines)."""
    states = _states(preset, np.linspace(1 / 12, 11 / 12, 20))
    furthest = max(
        float(np.abs(preset.set_mean_ua(states) - states).max()),
        float(np.abs(preset.reset_mean_ua(states) - states).max()),
    )
    figure = style.slide(f"{preset.name}: one pulse moves a device by {furthest:.2g} uA at most, on average")
    axes = figure.subplots(1, 2)
    for up, colour, label in ((True, SET_COLOUR, "SET"), (False, RESET_COLOUR, "RESET")):
        results = []
        for state in states:
            array = _healthy(preset, 4000, rng, state)
            array.pulse(np.arange(4000), up, rng)
            results.append((array.state_ua.mean(), array.state_ua.std()))
        mean, sd = np.array(results).T
        nominal = preset.set_mean_ua(states) if up else preset.reset_mean_ua(states)
        axes[0].errorbar(states, mean - states, yerr=sd, fmt="o", ms=3, color=colour, capsize=2, label=label)
        axes[0].plot(states, nominal - states, color=colour, lw=1)
        axes[1].plot(states, sd, "o", ms=3, color=colour, label=f"{label}, simulated with clipping")
        axes[1].plot(states, preset.set_sd_ua(states) if up else preset.reset_sd_ua(states), color=colour, lw=1)
    axes[0].axhline(0, color="0.6", lw=0.8)
    axes[0].set(xlabel="state before (uA)", ylabel="change by one pulse (uA)", title="Mean change and its SD")
    axes[1].set(xlabel="state before (uA)", ylabel="SD (uA)", title="Spread (lines: before clipping)", ylim=(0, None))
    for axis in axes:
        axis.legend()
    return style.save(figure, path)


@style.drawn
def transition_densities(
    preset: DevicePreset, path: Path, rng: np.random.Generator, states_ua: tuple[float, ...] | None = None
) -> Path:
    """Densities of the next state after one SET and one RESET pulse (default 1, 2, 3 uA where in the window)."""
    low, high = preset.window_ua
    default = (1.0, 2.0, 3.0) if low < 1 and 3 < high < 6 else tuple(_states(preset, (0.2, 0.5, 0.8)))
    states = default if states_ua is None else states_ua
    figure = style.slide(f"{preset.name}: where one pulse leaves a device, from {len(states)} states")
    axes = figure.subplots(1, len(states), sharey=True, squeeze=False)
    for axis, state in zip(axes[0], states, strict=True):
        for up, colour, label in ((True, SET_COLOUR, "SET"), (False, RESET_COLOUR, "RESET")):
            array = _healthy(preset, 50_000, rng, state)
            array.pulse(np.arange(50_000), up, rng)
            axis.hist(array.state_ua, 100, density=True, histtype="stepfilled", alpha=0.4, color=colour, label=label)
        axis.axvline(state, color="k", lw=1, ls=":")
        axis.set(xlabel="state after one pulse (uA)", title=f"From {state:g} uA")
    axes[0][0].set_ylabel("density (1/uA)")
    axes[0][0].legend()
    return style.save(figure, path)


@style.drawn
def blind_writes(preset: DevicePreset, path: Path, rng: np.random.Generator) -> Path:
    """SD of blind writes over their median, and densities at three targets over devices and cycles."""
    reach = preset.blind_write.target_ua
    figure = style.slide(f"{preset.name}: how far blind writes (RESET, then SET at a gate voltage) scatter")
    axes = figure.subplots(1, 2)
    targets = np.linspace(max(reach[0], 0.02 * reach[1]), reach[1], 100)
    axes[0].plot(targets, preset.blind_sd_ua(targets), color=SET_COLOUR)
    axes[0].set(
        xlabel="median (uA)", ylabel="SD of one device (uA)", title="One device, cycle to cycle", ylim=(0, None)
    )
    for share in (0.2, 0.5, 0.8):
        target = preset.blind_target_ua(reach[0] + share * (reach[1] - reach[0]))
        array = _healthy(preset, 50_000, rng, float(target))
        array.blind_write(np.arange(50_000), np.full(50_000, target), rng)
        axes[1].hist(array.state_ua, 100, density=True, histtype="step", label=f"target {float(target):.2f} uA")
    axes[1].set(xlabel="state (uA)", ylabel="density (1/uA)", title="Devices and cycles together")
    axes[1].legend()
    return style.save(figure, path)


@style.drawn
def write_verify_errors(
    target_ua: FloatArray, chip_ua: FloatArray, model_ua: FloatArray, path: Path, title: str = "write-verify"
) -> Path:
    """Densities of (read - target) of chip and model by target range; arguments of shape (n,)."""
    bins = [(a, b) for a, b in pairwise(BINS_UA) if ((target_ua >= a) & (target_ua < b)).any()]
    rows = -(-(len(bins) + 1) // 4)
    figure = style.slide(f"{title}: read - target (uA), chips and model", (12.8, max(7.2, 3.0 * rows)))
    axes = figure.subplots(rows, 4, squeeze=False)
    edges = np.linspace(-1.2, 0.8, 81)
    panels = [(0.0, np.inf), *bins]
    for axis, (low, high) in zip(axes.ravel(), panels, strict=False):
        inside = (target_ua >= low) & (target_ua < high)
        for reads, look in (
            (chip_ua, {"alpha": 0.5, "color": RESET_COLOUR, "label": "chips"}),
            (model_ua, {"histtype": "step", "color": SET_COLOUR, "label": "model"}),
        ):
            axis.hist((reads - target_ua)[inside], edges, density=True, **look)
        top = max(float(target_ua[inside].max()), low)
        axis.set_title("All targets" if np.isinf(high) else f"Target {low:g} to {min(high, top):.3g} uA", fontsize=13)
        axis.tick_params(labelsize=11)
    for axis in axes.ravel()[len(panels) :]:
        axis.axis("off")
    axes[0][0].legend()
    for axis in axes[:, 0]:
        axis.set_ylabel("density (1/uA)")
    return style.save(figure, path)


@style.drawn
def chip_maps(maps_ua: FloatArray, path: Path, title: str = "read currents (uA)") -> Path:
    """Images of all chips, (chips, rows, columns) in uA; cells without a value (NaN) stay white."""
    maps = np.asarray(maps_ua)
    filled = int(np.isfinite(maps).sum())
    figure = style.slide(f"{filled:,} devices on {len(maps)} chips: {title}")
    axes = figure.subplots(1, len(maps), squeeze=False)
    low, high = np.nanmin(maps), np.nanmax(maps)
    for number, (axis, image) in enumerate(zip(axes[0], maps, strict=True), start=1):
        shown = axis.imshow(image, aspect="auto", vmin=low, vmax=high, cmap="viridis", interpolation="nearest")
        axis.grid(False)
        axis.set(title=f"Chip {number}", xlabel="column (SL)")
    axes[0][0].set_ylabel("row (BL)")
    figure.colorbar(shown, ax=list(axes[0]), label=title)
    return style.save(figure, path)


def all_figures(preset: DevicePreset, folder: Path, seed: int = 0) -> list[Path]:
    """Draw the figures of a preset into an existing folder; returns the files."""
    rng = np.random.default_rng(seed)
    drawers = (read_noise, pulse_trains, transition_map, transition_densities, blind_writes)
    return [drawer(preset, folder / f"{preset.name}_{drawer.__name__}.png", rng) for drawer in drawers]
