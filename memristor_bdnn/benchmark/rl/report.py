"""Tables and pictures of the reinforcement-learning benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.report import style
from memristor_bdnn.report.record import print_table
from memristor_bdnn.report.style import BLUE, GREY, ORANGE

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def summary(found: Runs) -> dict[str, Any]:
    """Medians over seeds with their spread, nested by the group's dotted name."""
    results: dict[str, Any] = {}
    for group, runs in found.items():
        at = results
        *path, last = group.split(".", 1)
        for part in path:
            at = at.setdefault(part, {})
        at[last] = _figures(runs)
    return results


def _figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reward, steps = ([float(run[key]) for run in runs] for key in ("reward", "steps"))
    ledgers = [run["ledger"] for run in runs if run["ledger"]]
    figures: dict[str, Any] = {
        "reward_median": float(np.median(reward)),
        "reward_spread": [min(reward), max(reward)],
        "rewards": reward,
        "steps_median": float(np.median(steps)),
        "steps_spread": [min(steps), max(steps)],
        "steps": steps,
        "share_475": float(np.mean(np.array(reward) >= 475)),
        "seeds": [run["seed"] for run in runs],
    }
    for key in ("training_episodes", "training_steps", "validation_episodes", "validation_steps", "processor_s"):
        values = [float(run[key]) for run in runs]
        figures[key] = float(np.median(values))
        figures[f"{key}_spread"] = [min(values), max(values)]
    if ledgers:
        pulses = [entry["set_pulses"] + entry["reset_pulses"] for entry in ledgers]
        figures["pulses"] = float(np.median(pulses))
        for name in ("set_pulses", "reset_pulses", "reads", "max_wear"):
            figures[name] = float(np.median([entry[name] for entry in ledgers]))
        figures["joules"] = float(np.median([entry["system_energy_j"] for entry in ledgers]))
        figures["device_joules"] = float(np.median([entry["device_energy_j"] for entry in ledgers]))
    return figures


def print_tables(results: Mapping[str, Any]) -> None:
    """A table for each environment, and one for each study."""
    for name in ("cartpole", "mcmc"):
        if name in results:
            title = "Cart-pole" if name == "cartpole" else "Cart-pole by Metropolis-Hastings on rows"
            _print(f"{title}: mean reward of the greedy test episodes (500 is the most)", results[name], "reward")
    if "mountain_car" in results:
        _print("Mountain car: mean steps to the goal (42 by the velocity rule)", results["mountain_car"], "steps")
    for name, unit in (("slopes", "gate slope (uS/V)"), ("errors", "write SD (uS)")):
        for kept in ("", "_last"):
            if name + kept in results:
                which = "the last policy" if kept else "the best policy kept"
                _print(f"Cart-pole by {unit}, {which}: mean reward", results[name + kept], "reward")


def _print(title: str, rows: Mapping[str, Any], key: str) -> None:
    table = []
    for name, figures in rows.items():
        low, high = figures[f"{key}_spread"]
        row = [name.replace("_", " "), len(figures["seeds"]), figures[f"{key}_median"], f"{low:.0f} to {high:.0f}"]
        for part in ("training", "validation"):
            row.append(f"{figures[f'{part}_episodes']:.0f} ({figures[f'{part}_steps']:.0f})")
        row += [f"{figures['pulses']:.2g}", f"{figures['joules']:.2g}"] if "pulses" in figures else ["-", "-"]
        table.append(row)
    columns = ("", "seeds", "median", "spread", "episodes (steps)", "comparing", "pulses", "J")
    print_table(title, columns, table)


def draw(folder: Path, results: Mapping[str, Any], found: Runs) -> list[Path]:
    """rl_training.png and rl_studies.png, each where its parts were run."""
    paths = []
    if {"cartpole.devices", "cartpole.software"} <= found.keys():
        paths.append(_training(folder / "rl_training.png", found))
    if "slopes" in results or "errors" in results:
        paths.append(_studies(folder / "rl_studies.png", results))
    return paths


@style.drawn
def _training(path: Path, found: Runs) -> Path:
    reward = float(np.median([run["reward"] for run in found["cartpole.devices"]]))
    figure = style.slide(f"Agents that learn in devices: cart-pole {reward:.0f} of 500 (median of the seeds)")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.7, 1, 1))
    for run in found.get("cartpole.devices_last", found["cartpole.devices"]):
        left.plot(
            np.arange(1, len(run["training_returns"]) + 1), run["training_returns"], color=BLUE, lw=0.8, alpha=0.6
        )
    left.set(title="Cart-pole: training episodes, a line a seed", xlabel="episode", ylabel="reward")
    rows = [("cartpole.devices", "devices", BLUE), ("cartpole.software", "software", ORANGE)]
    _dots(middle, found, rows, "reward")
    middle.axhline(475, color=GREY, ls=":", label="475")
    middle.set(title="Cart-pole: test", ylabel="mean reward of 100 episodes", ylim=(0, 515))
    middle.legend(loc="lower left", frameon=False)
    rows = [("mountain_car.devices", "devices", BLUE), ("mountain_car.software", "software", ORANGE)]
    if all(name in found for name, _, _ in rows):
        _dots(right, found, rows, "steps")
        right.axhline(42, color=GREY, ls=":", label="velocity rule, 42")
        right.set(title="Mountain car", ylabel="mean steps to the goal", ylim=(0, 50))
        right.legend(loc="lower left", frameon=False)
    else:
        right.set_axis_off()
    return style.save(figure, path)


@style.drawn
def _studies(path: Path, results: Mapping[str, Any]) -> Path:
    figure = style.slide("Cart-pole on other devices: medians (bars) and seeds (dots)")
    studies = [
        (n, label) for n, label in (("slopes", "gate slope (uS/V)"), ("errors", "write SD (uS)")) if n in results
    ]
    axes = np.atleast_1d(figure.subplots(1, len(studies), sharey=True))
    for axis, (name, label) in zip(axes, studies, strict=True):
        x = np.array([float(value) for value in results[name]])
        aside = 0.015 * float(np.ptp(x))
        for kept, colour, what, side in (
            ("", BLUE, "best policy kept", -aside),
            ("_last", ORANGE, "last policy", aside),
        ):
            rows = list(results[name + kept].values())
            places = np.repeat(x + side, [len(row["rewards"]) for row in rows])
            axis.plot(places, np.concatenate([row["rewards"] for row in rows]), "o", color=colour, ms=5, alpha=0.6)
            axis.plot(x + side, [row["reward_median"] for row in rows], "_", color=colour, ms=26, mew=2.5, label=what)
        axis.axhline(475, color=GREY, ls=":", label="475")
        axis.set(xlabel=label, ylim=(0, 515))
        axis.set_xticks(x)
    axes[0].set(ylabel="mean greedy reward of 100 episodes")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return style.save(figure, path)


def _dots(axis: Any, found: Runs, rows: Sequence[tuple[str, str, str]], key: str) -> None:
    for place, (name, _, colour) in enumerate(rows):
        values = [run[key] for run in found[name]]
        offsets = place + 0.3 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
        axis.plot(offsets, values, "o", color=colour)
        axis.plot([place - 0.3, place + 0.3], [np.median(values)] * 2, color=colour, lw=1.5)
    axis.set_xticks(range(len(rows)), [label for _, label, _ in rows])
    axis.set_xlim(-0.6, len(rows) - 0.4)
