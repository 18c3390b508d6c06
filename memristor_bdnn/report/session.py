"""The report of a session of any skill: summary.json, the plot of accuracy and skill, the film, an HTML page."""

from __future__ import annotations

import contextlib
import html
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import skills
from memristor_bdnn.active.rounds import Rounds
from memristor_bdnn.active.store import LABEL_PHASES, Trial, TrialStore
from memristor_bdnn.errors import MemristorError, StoreError
from memristor_bdnn.report.record import save_figure
from memristor_bdnn.report.summary import evaluations_by_labels, summarise
from memristor_bdnn.state import write_atomic


def write_report(
    folder: Path, options: Mapping[str, Any], wall_s: Mapping[str, float], animate: bool = True
) -> dict[str, Any]:
    """Write everything about a finished session into its folder; returns the summary.

    Args:
        folder: results folder with trials.jsonl and rounds.jsonl.
        options: what the session was started with; ``skill`` names the skill.
        wall_s: seconds of each phase so far.
        animate: also simulate the best confident trial again and film it.
    """
    began = time.monotonic()
    skill = skills.load(options["skill"])
    if not (folder / "trials.jsonl").is_file():
        raise StoreError(f"{folder / 'trials.jsonl'}: no such file; was the folder removed while the session ran?")
    store = TrialStore(folder / "trials.jsonl", readonly=True)
    trials = list(store.trials)
    store.close()
    rounds = Rounds(folder / "rounds.jsonl").read()
    plot_session(skill, trials, rounds, folder / "learning.png")
    film = None
    if animate and (best := best_trial(trials)) is not None:
        film = film_trial(skill, best, str(options["arm"]), folder)
    times = {**wall_s, "report": time.monotonic() - began}
    summary = summarise(skill, trials, rounds, options, times)
    write_atomic(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomic(folder / "index.html", page(summary, film).encode(errors="backslashreplace"))
    return summary


def plot_session(skill: skills.Skill, trials: Sequence[Trial], rounds: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy of the network, how much of the task it does, and failures so far, against the number of labels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right, cost) = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    n = [r["labels"] for r in rounds]
    left.plot(n, [r["train_accuracy"] for r in rounds], "o-", color="#1f77b4", label="on the labels", markersize=4)
    if rounds and "test_accuracy" in rounds[-1]:
        known = [r for r in rounds if "test_accuracy" in r]
        x = [r["labels"] for r in known]
        left.plot(x, [r["test_accuracy"] for r in known], "s-", color="#d62728", label="on unseen trials", markersize=4)
        balanced = [r["test_balanced_accuracy"] for r in known]
        left.plot(x, balanced, "^--", color="#ff9896", label="unseen, balanced", markersize=4)
    left.set(xlabel="labels", ylabel="accuracy", ylim=(0.3, 1.03), title="What the network predicts right")
    left.grid(alpha=0.3)
    left.legend(loc="lower right", frameon=False)

    random = [t.fraction for t in trials if t.phase == "initial" and t.feasible]
    if random:
        right.axhline(float(np.mean(random)), color="0.5", linestyle=":", label="random trials")
    groups = [(n, [t.fraction for t in group]) for n, group in evaluations_by_labels(trials)]
    for labels, fractions in groups:
        right.plot([labels] * len(fractions), fractions, "o", color="#2ca02c", alpha=0.35, markersize=5)
    if groups:
        means = [float(np.mean(f)) for _, f in groups]
        right.plot([k for k, _ in groups], means, "D-", color="#2ca02c", label="most confident trial")
    right.set(xlabel="labels", ylabel=skill.fraction_label, ylim=(-0.03, 1.05), title="What it does")
    right.grid(alpha=0.3)
    right.legend(loc="lower right", frameon=False)
    _plot_failures(cost, trials)
    for axes in (left, right, cost):
        axes.xaxis.get_major_locator().set_params(integer=True)
    try:
        save_figure(figure, path, dpi=130)
    finally:
        plt.close(figure)


def _plot_failures(axes: Any, trials: Sequence[Trial]) -> None:
    """Failures so far over the labels, beside what random trials would go on to cost."""
    labels = [t for t in trials if t.feasible and t.phase in LABEL_PHASES]
    n = np.arange(len(labels) + 1)
    failed = np.concatenate([[0], np.cumsum([t.score <= 0 for t in labels])])
    axes.step(n, failed, where="post", color="#d62728", label="this session")
    first = sum(t.phase == "initial" for t in labels)
    if 0 < first < len(labels):
        rate = failed[first] / first
        axes.plot(n[first:], rate * n[first:], ":", color="0.5", label="random trials, at the rate of the first")
        axes.axvline(first, color="0.85", zorder=0)
    axes.set(xlabel="labels", ylabel="failures", title="What learning cost")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The confident trial to film: the last of those that did most."""
    shown = [t for t in trials if t.phase == "evaluation" and t.feasible]
    return max(reversed(shown), key=lambda t: t.fraction, default=None)


def film_trial(skill: skills.Skill, trial: Trial, arm: str, folder: Path) -> str | None:
    """Let the skill simulate a trial of the store again and film it; returns the file's name.

    A trial that cannot be repeated is reported and leaves the film out: the results are complete without it.
    """
    film = folder / skill.film_name
    unfinished = film.with_name(f".unfinished.{os.getpid()}{film.suffix}")
    try:
        skill.film(trial, arm, unfinished)
        os.replace(unfinished, film)
    except MemristorError as error:
        print(f"no animation: {error}")
        return None
    except Exception as error:  # a skill of another package may fail in any way, after the trials are paid for
        print(f"no animation: {type(error).__name__}: {error}")
        return None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return skill.film_name


def page(summary: Mapping[str, Any], film: str | None) -> str:
    """A page of the session for a browser."""
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(_text(value))}</td></tr>"
        for key, value in summary.items()
        if not isinstance(value, dict | list)
    )
    picture = f'<img src="{html.escape(film)}" alt="the learned skill">' if film else ""
    return (
        "<!doctype html><meta charset='utf-8'><title>memristor_bdnn session</title>"
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto}td{padding:.1rem 1rem .1rem 0}"
        "img{max-width:100%}</style><h1>A skill learned on memristors</h1>"
        f"<p><img src='learning.png' alt='accuracy and skill against labels'></p><p>{picture}</p>"
        f"<table>{rows}</table>\n"
    )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
