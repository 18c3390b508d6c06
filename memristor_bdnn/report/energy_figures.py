"""Picture of a task's energy and time: totals of every platform, where they go, and every number that was used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from memristor_bdnn.crossbar.pricing import (
    PUBLISHED_ENERGY_RATIO,
    PUBLISHED_SPEED_GAIN_PERCENT,
    Breakdown,
)
from memristor_bdnn.report import style

PARTS = {
    "reads": "#0072B2",
    "pulses": "#D55E00",
    "pulse set-up": "#E69F00",
    "rests": "#F0E442",
    "converters": "#009E73",
    "amplifiers": "#56B4E9",
    "line drivers": "#CC79A7",
    "controller": "#7F6A93",
    "host arithmetic": "#8C8C8C",
    "random weights, updates": "#C8C8C8",
    "GPU": "#3A3A3A",
}
"""Parts in the order in which they are stacked, with colours that stay apart for colour-blind readers."""
_SMALL = 0.06
"""Least share of a bar that has room for its figure."""


@style.drawn
def draw(found: Sequence[Breakdown], assumptions: Sequence[Sequence[str]], title: str, path: Path) -> Path:
    """Energy above, time below; totals on the left, shares of the parts on the right, all numbers used underneath.

    Args:
        found: platforms; the one called GPU is the one compared with.
        assumptions: rows of name, value, unit, source.
        title: of the picture.
        path: its suffix says which kind.
    """
    gpu = next(of for of in found if of.platform == "GPU")
    figure = style.slide(title, (14.4, 10.6))
    parts: Any = figure.subfigures(2, 1, height_ratios=(7.6, 1.7))
    upper, lower = parts
    axes = upper.subplots(2, 2, width_ratios=(1, 1.15))
    published_j = gpu.total_j / PUBLISHED_ENERGY_RATIO
    published_s = gpu.total_s / (1 + PUBLISHED_SPEED_GAIN_PERCENT / 100)
    _totals(axes[0][0], [(of.platform, of.total_j) for of in found], "J", gpu.total_j)
    _totals(axes[1][0], [(of.platform, of.total_s) for of in found], "s", gpu.total_s)
    _claim(axes[0][0], published_j, f"published: GPU / {PUBLISHED_ENERGY_RATIO:g}")
    _claim(axes[1][0], published_s, f"published: GPU / {1 + PUBLISHED_SPEED_GAIN_PERCENT / 100:g}")
    _shares(axes[0][1], [of.energy_j for of in found], "energy")
    _shares(axes[1][1], [of.time_s for of in found], "time")
    used = [name for name in PARTS if any(name in of.energy_j or name in of.time_s for of in found)]
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=PARTS[name], label=name) for name in used]
    upper.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=11)
    _numbers(lower, assumptions)
    return style.save(figure, path)


def _totals(axis: Any, of: Sequence[tuple[str, float]], unit: str, gpu: float) -> None:
    """Bars of every platform's total, with what it is against the GPU's."""
    names, values = [name for name, _ in of], [value for _, value in of]
    bars = axis.barh(names, values, color=[_colour(name) for name in names], height=0.65)
    texts = [_said(value, unit) + ("" if value == gpu else f"  ({_ratio(value, gpu)})") for value in values]
    axis.bar_label(bars, texts, padding=4, fontsize=11, bbox={"fc": "white", "ec": "none", "pad": 0.6})
    axis.set_xscale("log")
    axis.set_xlim(min(values) / 3, max(values) * 300)
    axis.set_ylim(len(of) + 0.1, -0.6)
    axis.set_title("Energy (J); beside it, against the GPU" if unit == "J" else "Time (s); beside it, against the GPU")
    axis.grid(visible=False, axis="y")


def _colour(platform: str) -> str:
    return {"CPU": "#8C8C8C", "GPU": "#3A3A3A"}.get(platform, "#9CC4DE" if "host" in platform else "#0072B2")


def _claim(axis: Any, value: float, text: str) -> None:
    """What the paper says of its own GPU and chips, put on our GPU's bar."""
    axis.axvline(value, color=style.ORANGE, lw=1.4, ls="--", zorder=0)
    axis.annotate(
        text, (value, 0.0), (4, 3), ("data", "axes fraction"), "offset points", fontsize=10.5, color=style.ORANGE
    )


def _shares(axis: Any, of: Sequence[dict[str, float]], what: str) -> None:
    for row, parts in enumerate(of):
        total, left = sum(parts.values()), 0.0
        for name in (name for name in PARTS if name in parts):
            share = parts[name] / total if total else 0.0
            axis.barh(row, share, left=left, color=PARTS[name], height=0.65)
            if share > _SMALL:
                dark = name in ("reads", "pulses", "GPU", "controller", "converters", "host arithmetic")
                axis.text(left + share / 2, row, f"{100 * share:.0f} %", ha="center", va="center", fontsize=10.5,
                          color="white" if dark else "black")  # fmt: skip
            left += share
    axis.set(xlim=(0, 1), ylim=(len(of) - 0.5, -0.5), yticks=[], title=f"Where the {what} goes")
    axis.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)


def _numbers(part: Any, rows: Sequence[Sequence[str]], columns: int = 3, width: int = 62) -> None:
    """Every number that was used, with where it comes from, in columns of small print."""
    lines = [line for row in rows for line in wrap(_told(row), width, subsequent_indent="    ")]
    height = -(-len(lines) // columns)
    for column in range(columns):
        text = "\n".join(lines[column * height : (column + 1) * height])
        part.text(0.01 + 0.99 * column / columns, 0.99, text, fontsize=8.2, va="top", family="monospace")


def _told(row: Sequence[str]) -> str:
    name, value, unit, source = row
    where = "" if source in ("", "see left") else f" [{source}]"
    return f"{name}: {value}{' ' + unit if unit else ''}{where}"


def _said(value: float, unit: str) -> str:
    for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _ratio(value: float, gpu: float) -> str:
    ratio = gpu / value
    return f"{_short(ratio)} x less" if ratio >= 1 else f"{_short(1 / ratio)} x more"


def _short(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.12g}"
