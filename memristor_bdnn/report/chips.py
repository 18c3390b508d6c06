"""What a session's checkpoints tell of the chips: conductances before and after learning, stuck devices; a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.active.checkpoints import first
from memristor_bdnn.config import build
from memristor_bdnn.crossbar.cells import HEALTHY
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.report import style
from memristor_bdnn.state import load_npz, unpack_json

FloatArray = npt.NDArray[np.floating[Any]]
MOVED = 0.05
"""A device has moved when its conductance has changed by more than this share of the range of all."""
_PREFIX = "accelerator."


@dataclass(frozen=True)
class Chips:
    """States of the network's devices in a session's checkpoints.

    Attributes:
        preset: of the devices.
        placement: where they sit.
        after_us: conductances at the last checkpoint, (n_cells,) microsiemens.
        before_us: at the first one, before anything was learned; None where it was not kept.
        stuck: which devices are stuck at the last checkpoint, (n_cells,).
    """

    preset: DevicePreset
    placement: Placement
    after_us: FloatArray
    before_us: FloatArray | None
    stuck: npt.NDArray[np.bool_]

    @property
    def figures(self) -> dict[str, Any]:
        """For the summary."""
        preset, n = self.preset, len(self.after_us)
        moved = None if self.before_us is None else float(np.abs(self.after_us - self.before_us).mean())
        return {
            "preset": preset.name,
            "chips": preset.chips,
            "devices": n,
            "stuck_devices": int(self.stuck.sum()),
            "mean_conductance_us": float(self.after_us.mean()),
            "mean_conductance_before_us": None if self.before_us is None else float(self.before_us.mean()),
            "mean_conductance_change_us": moved,
        }


def read(checkpoint: Path) -> Chips | None:
    """The chips of a session from its checkpoint; None where there is none, or one that holds no states of cells.

    The first checkpoint is looked for beside it (:func:`memristor_bdnn.active.checkpoints.first`).

    Raises:
        ConfigError: a damaged file.
    """
    if not checkpoint.is_file():
        return None
    last = load_npz(checkpoint)
    if not {f"{_PREFIX}cells.state_ua", f"{_PREFIX}cells.stuck", f"{_PREFIX}identity"} <= last.keys():
        return None
    identity = unpack_json(last[f"{_PREFIX}identity"], f"{checkpoint}: identity")
    preset = build(DevicePreset, identity["preset"])
    n, per_ua = int(identity["n_cells"]), 1.0 / preset.read_voltage_v
    before = None
    if first(checkpoint).is_file():
        start = load_npz(first(checkpoint))
        if _same(start, last):
            before = start[f"{_PREFIX}cells.state_ua"][:n] * per_ua
    stuck = last[f"{_PREFIX}cells.stuck"][:n] != HEALTHY
    return Chips(preset, Placement.of(preset), last[f"{_PREFIX}cells.state_ua"][:n] * per_ua, before, stuck)


def _same(start: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Whether two checkpoints are of the same chips in the same session."""
    if f"{_PREFIX}cells.state_ua" not in start or not {"session"} <= start.keys() & last.keys():
        return False
    marks = [unpack_json(of["session"], "session") for of in (start, last)]
    if any(not isinstance(mark, dict) for mark in marks):
        raise ConfigError("a checkpoint's mark is no mapping")
    begun = [str(mark.get("history", "")).partition("-")[0] for mark in marks]
    chips = [bytes(of.get(f"{_PREFIX}identity", b"")) for of in (start, last)]
    return bool(begun[0]) and begun[0] == begun[1] and chips[0] == chips[1]


@style.drawn
def draw(chips: Chips, path: Path) -> Path:
    """Maps of all chips before and after learning, and the densities of both."""
    before, n = chips.before_us, len(chips.after_us)
    if before is None:
        figure = style.slide(f"{n:,} devices after learning (their state before was not kept){_stuck(chips)}")
    else:
        moved = int((np.abs(chips.after_us - before) > MOVED * np.ptp(chips.after_us)).sum())
        figure = style.slide(f"Learning has moved {moved:,} of {n:,} devices{_stuck(chips)}")
    maps = [("after learning", chips.after_us)]
    if before is not None:
        maps.insert(0, ("before learning", before))
    top = float(np.quantile(np.concatenate([values for _, values in maps]), 0.999))
    left, right = figure.subfigures(1, 2, width_ratios=(1.9, 1))
    axes = left.subplots(chips.placement.chips, len(maps), squeeze=False, sharex=True, sharey=True)
    image = None
    for column, (title, values) in enumerate(maps):
        for row, chip in enumerate(chips.placement.maps(values)):
            axis = axes[row][column]
            image = axis.imshow(chip.T, cmap="viridis", vmin=0.0, vmax=top, aspect="auto", interpolation="nearest")
            axis.grid(False)
            if row == 0:
                axis.set_title(title.capitalize())
            if column == 0:
                axis.set_ylabel(f"chip {row + 1}\ncolumn")
            if row == chips.placement.chips - 1:
                axis.set_xlabel("row")
            if column == len(maps) - 1:
                _mark_stuck(axis, chips, row)
    left.colorbar(image, ax=axes, label="conductance (µS)", shrink=0.9, pad=0.02)
    _densities(right.subplots(), maps, top)
    return style.save(figure, path)


def _stuck(chips: Chips) -> str:
    n = int(chips.stuck.sum())
    return f"; {n} {'is' if n == 1 else 'are'} stuck (circles)" if n else "; none is stuck"


def _mark_stuck(axis: Any, chips: Chips, chip: int) -> None:
    site = chips.placement.locate(np.flatnonzero(chips.stuck))
    here = site.chip == chip
    if here.any():
        axis.plot(site.row[here], site.column[here], "o", ms=8, mfc="none", mec="#FF2D6F", mew=2.0)


def _densities(axis: Any, maps: list[tuple[str, FloatArray]], top: float) -> None:
    bins = np.linspace(0.0, 1.05 * top, 60)
    colours = [style.GREY, style.BLUE][-len(maps) :]
    for (label, values), colour in zip(maps, colours, strict=True):
        axis.hist(np.minimum(values, bins[-1]), bins, color=colour, alpha=0.30, lw=0)
        axis.hist(np.minimum(values, bins[-1]), bins, color=colour, histtype="step", lw=2.2, label=label)
    axis.set(xlabel="conductance (µS)", ylabel="devices", title="How many devices hold what", xlim=(0, bins[-1]))
    axis.legend(loc="upper right")
