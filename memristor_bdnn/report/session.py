"""The report of a session of any skill: summary.json, its pictures, the film, and one HTML page that holds them all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memristor_bdnn import skills
from memristor_bdnn.active.rounds import Rounds
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.errors import MemristorError, StoreError
from memristor_bdnn.report import belief, chips, curves
from memristor_bdnn.report.page import Figure, page
from memristor_bdnn.report.session_film import Filming
from memristor_bdnn.report.summary import summarise
from memristor_bdnn.state import write_atomic

CHECKPOINT = "learner.npz"
"""Name of a session's checkpoint in its results folder."""


def write_report(
    folder: Path, options: Mapping[str, Any], wall_s: Mapping[str, float], animate: bool = True
) -> dict[str, Any]:
    """Write everything about a finished session into its folder; returns the summary.

    Args:
        folder: results folder with trials.jsonl and rounds.jsonl.
        options: what the session was started with; ``skill`` names the skill. ``command_line`` is what was typed,
            ``accelerator_values`` the options of its accelerator by name.
        wall_s: seconds of each phase so far.
        animate: also simulate two trials again and film them.
    """
    began = time.monotonic()
    skill = skills.load(options["skill"])
    if not (folder / "trials.jsonl").is_file():
        raise StoreError(f"{folder / 'trials.jsonl'}: no such file; was the folder removed while the session ran?")
    store = TrialStore(folder / "trials.jsonl", readonly=True)
    trials = list(store.trials)
    store.close()
    rounds = Rounds(folder / "rounds.jsonl").read()
    filming = Filming(skill, trials, str(options["arm"] or ""), folder) if animate else None
    try:
        summary = summarise(skill, trials, rounds, options, wall_s)
        figures = [_learning(skill, trials, rounds, summary, folder), _belief(skill, trials, options, folder)]
        held, figure = _chips(folder)
        figures.append(figure)
    finally:
        film = _film(filming)
    summary["chips"] = None if held is None else held.figures
    _add_time(summary, wall_s, time.monotonic() - began)
    write_atomic(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    text = page(skill, summary, trials, film, figures)
    write_atomic(folder / "index.html", text.encode(errors="backslashreplace"))
    return summary


def _add_time(summary: dict[str, Any], wall_s: Mapping[str, float], report_s: float) -> None:
    """The report's own seconds, which are known last."""
    summary["wall_report_s"] = round(report_s, 3)
    summary["wall_s"] = round(sum(wall_s.values()) + report_s, 3)


def _film(filming: Filming | None) -> Figure:
    title = "A random trial and a learned one"
    if filming is None:
        return Figure(title, None, "The session was asked to make no animation.")
    name = filming.finish()
    if name is None:
        return Figure(title, None, filming.reason)
    return Figure(title, filming.path, filming.caption, filming.still)


def _learning(
    skill: skills.Skill,
    trials: Sequence[Trial],
    rounds: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    folder: Path,
) -> Figure:
    path = curves.learning(skill, trials, rounds, summary, folder / "learning.png")
    return Figure(
        "What the trials did, what the network predicts right, what learning cost",
        path,
        f"Left: {skill.fraction_label} of every trial, in the order in which it learned from them (0 nothing, 1 all); "
        "grey band: mean of the random trials and its standard error; diamonds: mean of trials of the learned skill "
        "and its standard error, dashes: those trials. Right: share of trials whose success it predicts right, and "
        "failures among the trials that it learned from.",
    )


def _belief(skill: skills.Skill, trials: Sequence[Trial], options: Mapping[str, Any], folder: Path) -> Figure:
    """Confidence around the last trial that the network chose."""
    title = "What the network believes"
    chosen = [t for t in trials if t.feasible and t.phase != "initial"]
    if not chosen:
        return Figure(title, None, "The network has chosen no trial.")

    def drawn() -> Path:
        learner = belief.learner_of(folder / CHECKPOINT, options.get("learner"), options.get("accelerator_values"))
        found = belief.believed(skill, learner, chosen[-1], str(options["arm"] or ""))
        return belief.draw(skill, found, trials, folder / "belief.png")

    path, reason = _tried(drawn)
    said = (
        "Predicted probability of success (left) and its standard deviation over posterior samples (right), over the "
        "two parameters that matter most there; the other parameters are those of the last trial that it chose (star). "
        "The line is 0.5. Circles are trials of other situations, where these two parameters lie."
    )
    return Figure(title, path, reason or said)


def _chips(folder: Path) -> tuple[chips.Chips | None, Figure]:
    title = "Conductances of the devices before and after learning"
    held: list[chips.Chips] = []

    def drawn() -> Path | None:
        found = chips.read(folder / CHECKPOINT)
        if found is None:
            return None
        held.append(found)
        return chips.draw(found, folder / "chips.png")

    path, reason = _tried(drawn)
    if path is None:
        reason = reason or f"The session kept no states of cells in {CHECKPOINT}."
    else:
        before = "" if held[0].before_us is not None else " The state before learning was not kept."
        reason = (
            "Every pixel is a device, in microsiemens; circles are stuck devices. A device has moved when its "
            f"conductance has changed by more than {100 * chips.MOVED:.0f} % of the range of all.{before}"
        )
    return (held[0] if held else None), Figure(title, path, reason)


def _tried(draw: Callable[[], Path | None]) -> tuple[Path | None, str]:
    """A picture, or why there is none: the results are complete without it."""
    try:
        return draw(), ""
    except MemristorError as error:
        return None, f"{error}."
    except (
        Exception
    ) as error:  # a learner or skill of another package may fail in any way, after the trials are paid for
        return None, f"{type(error).__name__}: {error}."
