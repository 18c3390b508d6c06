"""Figures of the learning benchmarks: curves, spread, calibration, conductance histograms, the study's curves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED
from memristor_bdnn.report.record import save_figure

FloatArray = npt.NDArray[np.floating[Any]]

# Colours that stay apart for colour-blind readers (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")


SMALLEST_SPAN = 0.1
"""Least range of an axis of accuracies: differences of a tenth of a point shall not look like any."""
NAMES = {"accuracy_matched": 'accuracy, share of "yes" matched', "auc": "area under the ROC curve"}


def write_all(figures: dict[str, Any], trials: Any, folder: Path, prior: str = "none") -> list[Path]:
    """Write every figure of a `benchmark dbal` result; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    tag = "" if prior == "none" else f"_{prior}"
    made = [
        active_against_passive(figures, folder / f"dbal_curves{tag}.png"),
        calibration(figures, folder / f"dbal_calibration{tag}.png"),
    ]
    if "passive_curve" in figures:
        made.append(labels_saved(figures, folder / f"dbal_labels{tag}.png"))
    if figures.get("skill", PUBLISHED) == PUBLISHED and prior == "none" and "msgld" in figures["results"]:
        made.append(training(trials, folder / "dbal_training.png"))
        made.append(conductances(trials, folder / "dbal_conductances.png"))
    return made


def active_against_passive(figures: dict[str, Any], path: Path) -> Path:
    """Accuracy with the share of "yes" matched, and area under the ROC curve, over labels; neither knows a threshold.

    Active solid, passive dashed; bands are the quartiles of the recipe.
    """
    fig, axes = _axes(1, 2, (10, 4.2))
    for axis, name in zip(axes, ("accuracy_matched", "auc"), strict=True):
        for (colour, marker), (method, strategies) in zip(_styles(), figures["results"].items(), strict=False):
            for strategy, points in strategies.items():
                labels = sorted(int(n) for n in points if n.isdigit())
                middle = [points[str(n)][f"{name}_median"] for n in labels]
                passive = strategy == "random"
                axis.plot(
                    labels,
                    middle,
                    ("--" if passive else "-") + marker,
                    color=colour,
                    ms=4,
                    lw=1.2 if passive else 2.0,
                    label=f"{method}, {'passive' if passive else strategy}",
                )
                if method == "msgld":
                    low, high = ([points[str(n)][f"{name}_{q}"] for n in labels] for q in ("q25", "q75"))
                    axis.fill_between(labels, low, high, color=colour, alpha=0.10 if passive else 0.22, lw=0)
        axis.set_xlabel("labels")
        axis.set_ylabel(f"{NAMES[name]}, test rows")
        _widen(axis)
        axis.grid(alpha=0.3)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return _save(fig, path)


def calibration(figures: dict[str, Any], path: Path) -> Path:
    """Observed share of successes against the predicted probability, at the last number of labels."""
    fig, (axis,) = _axes(1, 1, (4.6, 4.4))
    axis.plot([0, 1], [0, 1], color="#8C8C8C", lw=1)
    last = str(figures["final_labels"])
    for (colour, marker), (method, strategies) in zip(_styles(marker="o"), figures["results"].items(), strict=False):
        strategy = next((s for s in strategies if s != "random"), "random")
        point = strategies[strategy][last]
        bins = point["calibration"]
        keep = [i for i, n in enumerate(bins["count"]) if n > 0.005 * sum(bins["count"])]
        axis.plot(
            [bins["predicted"][i] for i in keep],
            [bins["observed"][i] for i in keep],
            f"{marker}-",
            color=colour,
            ms=4,
            label=f"{method}, {strategy} (ECE {point['ece_median']:.2f})",
        )
    axis.set_xlabel("predicted probability of success")
    axis.set_ylabel("observed share of successes")
    axis.set_title(f"test rows, {last} labels", fontsize=10)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    axis.grid(alpha=0.3)
    return _save(fig, path)


def labels_saved(figures: dict[str, Any], path: Path) -> Path:
    """The recipe on random labels without prior, and where results of labels learned one by one lie on that curve."""
    fig, axes = _axes(1, 2, (9, 3.8))
    for axis, name in zip(axes, ("accuracy_matched", "auc"), strict=True):
        curve = figures["passive_curve"]
        labels = sorted(map(int, curve))
        axis.plot(
            labels,
            [curve[str(n)][f"{name}_median"] for n in labels],
            "o--",
            color=COLOURS[0],
            ms=4,
            label="random labels learned at once, no prior",
        )
        for colour, (strategy, points) in zip(
            itertools.cycle(COLOURS[1:]), figures["results"]["msgld"].items(), strict=False
        ):
            value = points[str(figures["final_labels"])][f"{name}_median"]
            axis.axhline(value, color=colour, lw=1)
            axis.plot(
                [figures["final_labels"]],
                [value],
                "s",
                color=colour,
                label=f"{strategy}, {figures['final_labels']} labels one by one, prior: {figures['prior']}",
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks(labels[::2], [str(n) for n in labels[::2]])
        axis.set_xlabel("labels")
        axis.set_ylabel(f"{NAMES[name]}, test rows")
        _widen(axis)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
    return _save(fig, path)


def sizes(figures: dict[str, Any], path: Path) -> Path:
    """What the simulated world gets wrong over the width scale of a bowl, and how well it ranks rows that share one."""
    fig, axes = _axes(1, 2, (10.4, 4.0))
    edges = np.array(figures["width_edges"])
    names = {"recorded": "sizes as recorded", "corrected": "sizes to expect from repeats"}
    for index, (colour, (key, name)) in enumerate(zip(COLOURS, names.items(), strict=False)):
        found = figures["sizes"][key]
        gap = 100 * np.array(found["gap_by_width"])
        axes[0].plot((edges[1:] + edges[:-1]) / 2, gap, "o-", color=colour, label=name)
        groups = found["auc_by_group"]
        axes[1].plot(
            np.arange(len(groups)) + 0.08 * (index - 0.5), list(groups.values()), "o", color=colour, label=name
        )
    axes[0].axhline(0.0, color="black", lw=0.8)
    axes[0].set_xlabel("recorded width of the bowl, over that of the bowl it is a scaled copy of")
    axes[0].set_ylabel("published minus predicted successes, points")
    axes[0].legend(fontsize=8, frameon=False)
    counts = figures["sizes_rows_by_group"]
    axes[1].set_xticks(range(len(counts)), [f"{name}\n({n} rows)" for name, n in counts.items()])
    axes[1].set_xlabel("rows that record the same bowl")
    axes[1].set_ylabel("area under the ROC curve")
    for axis in axes:
        axis.grid(alpha=0.3)
    return _save(fig, path)


def training(trials: Any, path: Path, sizes: tuple[int, ...] = (64, 84, 104, 124)) -> Path:
    """Training accuracy per in situ epoch of the published method at four data sizes."""
    from memristor_bdnn.benchmark.dbal.methods import MemristorMethod

    fig, (axis,) = _axes(1, 1, (6, 3.8))
    rows = np.random.default_rng(0).choice(len(trials.x_pool), max(sizes), replace=False)
    x, y = trials.x_pool[rows], (trials.score_pool[rows] + 1) / 2
    method = MemristorMethod("paper", 0)
    method.learner.fit(x[: sizes[0]], y[: sizes[0]])
    for colour, n in zip(COLOURS, sizes, strict=False):
        report = method.learner.learn(x[:n], y[:n])
        axis.plot(np.arange(1, report.epochs + 1), report.history, color=colour, label=f"{n} labels")
    axis.axhline(0.98, color="#8C8C8C", lw=1, ls=":")
    axis.set_xlabel("in situ epoch")
    axis.set_ylabel("accuracy on the training labels")
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.3)
    return _save(fig, path)


def conductances(trials: Any, path: Path) -> Path:
    """Conductances of all devices after deployment and after learning 128 labels, layer by layer."""
    from memristor_bdnn.benchmark.dbal.methods import MemristorMethod

    rows = np.random.default_rng(0).choice(len(trials.x_pool), 128, replace=False)
    x, y = trials.x_pool[rows], (trials.score_pool[rows] + 1) / 2
    method = MemristorMethod("pouring", 0)
    method.learner.fit(x[:64], y[:64])
    read = method.accelerator.read
    per_ua = 1.0 / method.accelerator.preset.read_voltage_v
    before = read(20).mean(axis=0) * per_ua
    for n in range(64, 129, 4):
        method.learner.learn(x[:n], y[:n])
    after = read(20).mean(axis=0) * per_ua
    network = method.learner.network
    fig, axes = _axes(1, len(network.layers), (10, 3.2))
    for index, (axis, part) in enumerate(zip(axes, network.layers, strict=True)):
        cells = (part[:, None] * network.devices + np.arange(network.devices)).ravel()
        bins = np.linspace(0.0, 22.0, 45)
        axis.hist(before[cells], bins, color=COLOURS[0], alpha=0.55, label="after deployment")
        axis.hist(after[cells], bins, histtype="step", color=COLOURS[1], lw=1.6, label="after in situ learning")
        axis.set_title(f"layer {index + 1}: {len(cells)} devices", fontsize=10)
        axis.set_xlabel("conductance, microsiemens")
    axes[0].set_ylabel("devices")
    axes[-1].legend(fontsize=8, frameon=False)
    return _save(fig, path)


def study(figures: dict[str, Any], path: Path) -> Path:
    """Accuracy over labels, a line with quartiles for each part of the method that is left out; one panel per task."""
    tasks = list(figures["study"])
    fig, axes = _axes(1, len(tasks), (5.2 * len(tasks), 4.0))
    for axis, task in zip(axes, tasks, strict=True):
        styles = zip(itertools.cycle(COLOURS), itertools.cycle("osD^vP"), strict=False)
        for (colour, marker), (variant, found) in zip(styles, figures["study"][task].items(), strict=False):
            labels = sorted(map(int, found["curve"]))
            low, middle, high = (
                [found["curve"][str(n)][f"accuracy_{q}"] for n in labels] for q in ("q25", "median", "q75")
            )
            whole = variant.startswith("full")
            width, above = (2.4, 3.0) if whole else (1.4, 2.0)
            axis.plot(labels, middle, f"{marker}-", color=colour, ms=5, lw=width, zorder=above, label=variant)
            axis.fill_between(labels, low, high, color=colour, alpha=0.12, lw=0)
        axis.set_xscale("log", base=2)
        axis.set_xticks(labels, [str(n) for n in labels])
        axis.minorticks_off()
        axis.set_xlabel("labels")
        axis.set_ylabel("test accuracy")
        axis.set_title(task, fontsize=10)
        axis.grid(alpha=0.3)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return _save(fig, path)


def _styles(marker: str = "") -> Iterator[tuple[str, str]]:
    """(colour, marker) without end: all colours, then the same with other markers, so that nobody is left out."""
    return ((colour, mark) for mark in itertools.chain([marker], itertools.cycle("sD^v")) for colour in COLOURS)


def _widen(axis: Any) -> None:
    """Show at least SMALLEST_SPAN of the vertical axis."""
    low, high = axis.get_ylim()
    if (lacking := SMALLEST_SPAN - (high - low)) > 0:
        axis.set_ylim(low - lacking / 2, high + lacking / 2)


def _axes(rows: int, columns: int, size: tuple[float, float]) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    return fig, tuple(axes.ravel())


def _save(fig: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    fig.tight_layout()
    save_figure(fig, path, dpi=120, bbox_inches="tight")
    plt.close(fig)
    return path
