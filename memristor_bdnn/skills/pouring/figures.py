"""Figures and animations of the pouring skill, all written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pictures import save_image, writable, write_film
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters
from memristor_bdnn.skills.pouring.geometry import cup_pose
from memristor_bdnn.skills.pouring.vessels import Vessel, bowl_of, cup_of

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

INK, GREY = "#26323a", "#8a949b"


def filmstrip(frames: Sequence[Image], path: str | Path, gap: int = 6) -> Image:
    """Some moments of a pour side by side (Fig. 4f); returns the picture that was written."""
    if not frames:
        raise ConfigError("a filmstrip needs at least one picture")
    parts: list[Image] = []
    for frame in frames:
        parts += [frame, np.full((frame.shape[0], gap, 3), 255, np.uint8)]
    strip = np.concatenate(parts[:-1], axis=1)
    save_image(strip, path)
    return strip


def animation(frames: Sequence[Image], path: str | Path, frames_per_s: float = 20.0) -> None:
    """Write a GIF or an MP4, by the name's ending; see :func:`memristor_bdnn.skills.pictures.write_film`."""
    write_film(frames, path, frames_per_s)


def final_poses(context: PourContext, parameters: FloatArray, confidence: FloatArray, path: str | Path) -> None:
    """Final cup poses of confident candidates for one pair, coloured by confidence (Fig. 4g).

    Args:
        context: bowl and cup.
        parameters: (n, 5) physical values.
        confidence: (n,), mu / sigma.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    cup, bowl = _silhouette(cup_of(context)), _outline(bowl_of(context))
    order = np.argsort(confidence)
    shapes = []
    for row in np.asarray(parameters)[order]:
        p = PourParameters.from_array(row)
        pose = cup_pose(context, p, p.pitch, (0.0, 0.0, 0.0))
        shapes.append(cup @ pose[:3, :3][[0, 2]][:, [0, 2]].T + pose[[0, 2], 3])
    # Ranks, because mu / sigma has a long tail that would use up the colours. Random order of drawing, so
    # that no colour hides another.
    rank = np.arange(len(order)) / max(len(order) - 1, 1)
    mixed = np.random.default_rng(0).permutation(len(order))
    cups = LineCollection(
        [100 * shapes[k] for k in mixed], array=rank[mixed], cmap="plasma", linewidths=0.5, alpha=0.6, joinstyle="round"
    )
    everything = 100 * np.concatenate([*shapes, bowl])
    low, high = everything.min(axis=0) - 1.5, everything.max(axis=0) + 1.5
    low[1] = -0.8
    wide, tall = high - low
    figure = Figure(figsize=(6.1 * wide / tall + 2.4, 7.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.add_collection(cups)
    axes.fill(*(100 * bowl).T, color="#8fa3ad", zorder=5, linewidth=0)
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=0)
    axes.set(
        xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
        aspect="equal",
        xlabel="across the bowl (cm)",
        ylabel="height above the table (cm)",
    )
    axes.set_title(f"{len(shapes)} confident pours for one pair, coloured by confidence", color=INK, loc="left")
    bar = figure.colorbar(cups, ax=axes, shrink=0.8, pad=0.02)
    bar.set_ticks([0, 0.5, 1], labels=[f"{np.quantile(confidence, q):.1f}" for q in (0, 0.5, 1)])
    bar.set_label("confidence  μ/σ")
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
    axes.grid(visible=False)
    figure.savefig(writable(path))


def _silhouette(v: Vessel) -> FloatArray:
    """A vessel seen from the side, open at the mouth: (4, 2), x and z, metres."""
    base, rim = float(v.outer_radius(0.0)), float(v.outer_radius(v.height))
    low, high = v.bottom, v.bottom + v.height
    return np.array([(-rim, high), (-base, low), (base, low), (rim, high)])


def _outline(v: Vessel) -> FloatArray:
    """Cross-section of a vessel's wall and base in its own frame, (n, 2): x and z, metres."""
    low, high = v.bottom, v.bottom + v.height
    outer = [(float(v.outer_radius(0.0)), low), (float(v.outer_radius(v.height)), high)]
    inner = [(float(v.inner_radius(v.height)), high), (float(v.inner_radius(v.wall)), low + v.wall)]
    half = outer + inner
    return np.array(half + [(-x, z) for x, z in reversed(half)])
