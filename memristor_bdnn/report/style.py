"""How pictures look, so that all of them look alike: colours, sizes for a 16:9 slide, axes of shares, titles that say
what to see.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from memristor_bdnn.report.record import save_figure

P = ParamSpec("P")
T = TypeVar("T")

BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
INK, GREY, FAINT = "#1F2933", "#7B8794", "#CBD2D9"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, "#000000", "#8C8C8C")
"""Colours that stay apart for colour-blind readers (Okabe and Ito 2008), in the order in which lines take them."""
RANDOM, ASKED, LEARNED, FAILED = GREY, BLUE, GREEN, ORANGE
"""What trials are made of: random ones, asked ones, those of the learned skill; and what went wrong."""

WIDE = (12.8, 7.2)
"""Inches; with :data:`DPI` a picture of 1280 x 720 pixels."""
DPI = 100
LONGEST = 84
"""Letters of a title that fit at its usual size; a longer one is written smaller."""

RC: dict[str, Any] = {
    "font.size": 14,
    "axes.titlesize": 14.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 14,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 1.0,
    "xtick.labelsize": 12.5,
    "ytick.labelsize": 12.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 12.5,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "figure.titlesize": 18.5,
    "figure.titleweight": "bold",
}
"""What differs from matplotlib's defaults."""


def drawn(draw: Callable[P, T]) -> Callable[P, T]:
    """A function whose figures are in the style of the house, without changing anybody else's."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib
        from cycler import cycler

        with matplotlib.rc_context({**RC, "axes.prop_cycle": cycler(color=COLOURS)}):
            return draw(*args, **kwargs)

    return wrapped


def slide(title: str, size: tuple[float, float] = WIDE) -> Any:
    """An empty figure for a slide, with a title that says what to see; to be called inside :func:`drawn`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.03, hspace=0.04)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, x=0.012, ha="left", fontsize=RC["figure.titlesize"] * min(1.0, LONGEST / max(len(title), 1)))
    return figure


def shares(axis: Any) -> None:
    """A vertical axis of shares, all of it: from 0 to 1."""
    axis.set_ylim(-0.02, 1.03)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def whole_numbers(axis: Any) -> None:
    """Ticks of a horizontal axis of counts."""
    axis.xaxis.get_major_locator().set_params(integer=True)


def save(figure: Any, path: str | Path) -> Path:
    """Write a figure as large as it was made, 1280 x 720 pixels unless another size was asked for."""
    return save_figure(figure, path, dpi=DPI)
