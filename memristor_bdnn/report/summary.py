"""A finished session in figures: what summary.json holds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import __version__, skills
from memristor_bdnn.active.losses import Losses
from memristor_bdnn.active.store import LABEL_PHASES, Trial
from memristor_bdnn.report.words import learned_in_words, mean_error, share_error

STARTED_WITH = ("skill", "seed", "learner", "accelerator", "arm", "strategy", "preset", "recipe")
"""Options of a session that its summary repeats."""


def summarise(
    skill: skills.Skill,
    trials: Sequence[Trial],
    rounds: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    wall_s: Mapping[str, float],
) -> dict[str, Any]:
    """The session in flat figures."""
    labels = [t for t in trials if t.feasible and t.phase in LABEL_PHASES]
    shown = evaluations_by_labels(trials)
    final = shown[-1][1] if shown else []
    done = skill.fraction_name
    lost, asked = Losses.of(trials), Losses.of(trials, ("query",))
    last = dict(rounds[-1]) if rounds else {}
    first = [t for t in labels if t.phase == "initial"]
    random = [t.fraction for t in first]
    summary: dict[str, Any] = {
        "labels": len(labels),
        "label_successes": sum(t.score > 0 for t in labels),
        "queries": sum(t.phase == "query" for t in labels),
        "failures": lost.failures,
        "query_failures": asked.failures,
        "undone_share": lost.undone_share,
        "query_undone_share": asked.undone_share,
        "infeasible": sum(not t.feasible for t in trials),
        "train_accuracy": last.get("train_accuracy"),
        "test_accuracy": last.get("test_accuracy"),
        "test_balanced_accuracy": last.get("test_balanced_accuracy"),
        done: _mean([t.fraction for t in final]),
        "success_rate": _mean([t.score > 0 for t in final]),
        "evaluation_trials": len(final),
        f"{done}_random": _mean(random),
        "random_trials": len(random),
        "success_rate_random": _mean([t.score > 0 for t in first]),
        f"{done}_error": mean_error([t.fraction for t in final]),
        "success_rate_error": share_error(sum(t.score > 0 for t in final), len(final)),
        "evaluation_labels": shown[-1][0] if shown else None,
        "evaluation_unseen": _unseen(final, labels) if final else None,
        "set_pulses": last.get("set_pulses"),
        "reset_pulses": last.get("reset_pulses"),
        "pulses": last["set_pulses"] + last["reset_pulses"] if last else None,
        "reads": last.get("reads"),
        "energy_j": last.get("energy_j"),
        "system_energy_j": last.get("system_energy_j"),
        "latency_s": last.get("latency_s"),
        "max_wear": last.get("max_wear"),
        "median_planning_s": last.get("median_planning_s"),
        "wall_s": round(sum(wall_s.values()), 3),
        **{f"wall_{phase}_s": round(seconds, 3) for phase, seconds in wall_s.items()},
        **{name: options.get(name) for name in STARTED_WITH},
        "label_scores": [round(t.score, 6) for t in labels],
        "failures_by_label": np.cumsum([t.score <= 0 for t in labels], dtype=int).tolist(),
        "train_accuracy_by_labels": {str(r["labels"]): r["train_accuracy"] for r in rounds},
        "test_accuracy_by_labels": {str(r["labels"]): r["test_accuracy"] for r in rounds if "test_accuracy" in r},
        f"{done}_by_labels": {str(n): _mean([t.fraction for t in group]) for n, group in shown},
        "versions": versions(),
        "commit": commit(),
        "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "command_line": options.get("command_line"),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    summary["learned"] = learned_in_words(summary)
    return summary


def _unseen(shown: Sequence[Trial], labels: Sequence[Trial]) -> bool:
    """Whether no trial that was learned from had the context of one that is shown."""
    return not {t.context for t in shown} & {t.context for t in labels}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def versions() -> dict[str, str]:
    """Versions of what the session ran on."""
    found = {"memristor_bdnn": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "pybullet", "ros-rclpy", "matplotlib", "pillow"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of the sources that ran, with "(changed)" where they differ from it; None where none is known."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "memristor_bdnn")
        return git("rev-parse", "HEAD") + (" (changed)" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def evaluations_by_labels(trials: Sequence[Trial]) -> list[tuple[int, list[Trial]]]:
    """The confident trials, grouped by how many labels the network had learned."""
    groups: dict[int, list[Trial]] = {}
    labels = 0
    for trial in trials:
        if trial.feasible and trial.phase in LABEL_PHASES:
            labels += 1
        elif trial.feasible and trial.phase == "evaluation":
            groups.setdefault(labels, []).append(trial)
    return sorted(groups.items())
