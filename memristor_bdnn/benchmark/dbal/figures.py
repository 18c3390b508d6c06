"""Figures of the learning benchmarks: curves, spread, calibration, conductance histograms, the study's curves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED
from memristor_bdnn.report import style
from memristor_bdnn.report.style import COLOURS

FloatArray = npt.NDArray[np.floating[Any]]

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


@style.drawn
def active_against_passive(figures: dict[str, Any], path: Path) -> Path:
    """Accuracy with the share of "yes" matched, and area under the ROC curve, over labels; neither knows a threshold.

    Active solid, passive dashed; bands are the quartiles of the recipe.
    """
    fig, axes = _axes(1, 2, f"What asking gains over random labels, at up to {figures['final_labels']} labels")
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
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3)
    return style.save(fig, path)


@style.drawn
def calibration(figures: dict[str, Any], path: Path) -> Path:
    """Observed share of successes against the predicted probability, at the last number of labels."""
    last = str(figures["final_labels"])
    fig, (axis,) = _axes(1, 1, f"Can its probabilities be believed? Test rows, {last} labels")
    axis.plot([0, 1], [0, 1], color=style.GREY, lw=1, label="exactly right")
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
    axis.set(xlim=(-0.02, 1.02), aspect="equal")
    style.shares(axis)
    fig.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return style.save(fig, path)


@style.drawn
def labels_saved(figures: dict[str, Any], path: Path) -> Path:
    """The recipe on random labels without prior, and where results of labels learned one by one lie on that curve."""
    fig, axes = _axes(1, 2, f"How many random labels {figures['final_labels']} labels learned one by one are worth")
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
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return style.save(fig, path)


@style.drawn
def sizes(figures: dict[str, Any], path: Path) -> Path:
    """What the simulated world gets wrong over the width scale of a bowl, and how well it ranks rows that share one."""
    fig, axes = _axes(1, 2, "What the simulated world gets wrong, by the recorded width of a bowl")
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
    axes[0].set_xlabel("recorded width, over that of the bowl it is a scaled copy of")
    axes[0].set_ylabel("published minus predicted successes, points")
    axes[0].legend()
    counts = figures["sizes_rows_by_group"]
    axes[1].set_xticks(range(len(counts)), [f"{name}\n({n} rows)" for name, n in counts.items()])
    axes[1].set_xlabel("rows that record the same bowl")
    axes[1].set_ylabel("area under the ROC curve")
    return style.save(fig, path)


@style.drawn
def training(trials: Any, path: Path, sizes: tuple[int, ...] = (64, 84, 104, 124)) -> Path:
    """Training accuracy per in situ epoch of the published method at four data sizes."""
    from memristor_bdnn.benchmark.dbal.methods import MemristorMethod

    rows = np.random.default_rng(0).choice(len(trials.x_pool), max(sizes), replace=False)
    x, y = trials.x_pool[rows], (trials.score_pool[rows] + 1) / 2
    method = MemristorMethod("paper", 0)
    method.learner.fit(x[: sizes[0]], y[: sizes[0]])
    reports = {n: method.learner.learn(x[:n], y[:n]) for n in sizes}
    worst = min(report.history[-1] for report in reports.values())
    fig, (axis,) = _axes(
        1, 1, f"In situ learning gets at least {worst:.2f} of its own labels right, whatever their number"
    )
    for colour, (n, report) in zip(COLOURS, reports.items(), strict=False):
        axis.plot(np.arange(1, report.epochs + 1), report.history, color=colour, label=f"{n} labels")
    axis.axhline(0.98, color="#8C8C8C", lw=1, ls=":")
    axis.set_xlabel("in situ epoch")
    axis.set_ylabel("accuracy on the training labels")
    style.shares(axis)
    axis.legend()
    return style.save(fig, path)


@style.drawn
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
    moved = 100 * float((np.abs(after - before) > 1.0).mean())
    fig, axes = _axes(1, len(network.layers), f"In situ learning moves {moved:.0f} % of the devices by more than 1 µS")
    for index, (axis, part) in enumerate(zip(axes, network.layers, strict=True)):
        cells = (part[:, None] * network.devices + np.arange(network.devices)).ravel()
        bins = np.linspace(0.0, 22.0, 45)
        axis.hist(before[cells], bins, color=COLOURS[0], alpha=0.55, label="after deployment")
        axis.hist(after[cells], bins, histtype="step", color=COLOURS[1], lw=1.6, label="after in situ learning")
        axis.set_title(f"Layer {index + 1}: {len(cells)} devices")
        axis.set_xlabel("conductance (µS)")
    axes[0].set_ylabel("devices")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return style.save(fig, path)


@style.drawn
def study(figures: dict[str, Any], path: Path) -> Path:
    """Accuracy over labels, a line with quartiles for each part of the method that is left out; one panel per task."""
    tasks = list(figures["study"])
    fig, axes = _axes(1, len(tasks), "What each part of the method is worth: accuracy without it")
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
        axis.set_title(task)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3)
    return style.save(fig, path)


def _styles(marker: str = "") -> Iterator[tuple[str, str]]:
    """(colour, marker) without end: all colours, then the same with other markers, so that nobody is left out."""
    return ((colour, mark) for mark in itertools.chain([marker], itertools.cycle("sD^v")) for colour in COLOURS)


def _widen(axis: Any) -> None:
    """Show at least SMALLEST_SPAN of the vertical axis."""
    low, high = axis.get_ylim()
    if (lacking := SMALLEST_SPAN - (high - low)) > 0:
        axis.set_ylim(low - lacking / 2, high + lacking / 2)


def _axes(rows: int, columns: int, title: str) -> Any:
    figure = style.slide(title)
    return figure, tuple(figure.subplots(rows, columns, squeeze=False).ravel())
