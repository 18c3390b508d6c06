"""Kills of `memristor-bdnn learn` at random moments: every chain must end as the run that nobody killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memristor_bdnn.benchmark.faults import sessions
from memristor_bdnn.benchmark.faults.findings import Tally

LEARNERS = ("msgld", "eapu", "mcmc")
MOMENTS = ("any", "commit", "checkpoint", "evaluation")
SIZES = {"initial": 6, "queries": 4, "evaluations": 3, "candidates": 100}
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Reference:
    """The run that nobody kills: its store, trials and duration."""

    content: bytes
    trials: list[dict[str, Any]]
    seconds: float


def run(tally: Tally, folder: Path, kills: int, skill: str, case: int | None, progress: Callable[[int], None]) -> None:
    """Chains of kills until there were ``kills``; each chain is a case."""
    references: dict[str, Reference] = {}
    number = 0 if case is None else case
    while tally.tried["kills"] < kills and not tally.given_up:
        learner = LEARNERS[number % len(LEARNERS)]
        if learner not in references:
            references[learner] = _reference(folder / learner, skill, learner, tally.seed)
            tally.count("uninterrupted runs")
        _chain(tally, folder / f"{learner}_{number}", skill, learner, references[learner], number)
        number += 1
        progress(min(tally.tried["kills"], kills))
        if case is not None:
            break


def _command(skill: str, learner: str, seed: int) -> list[str]:
    words = [sys.executable, "-m", "memristor_bdnn.cli", "learn", "--skill", skill, "--learner", learner]
    for name, value in SIZES.items():
        words += [f"--{name}", str(value)]
    return [*words, "--seed", str(seed), "--store", "trials.jsonl", "--out", "result.json"]


def _start(folder: Path, skill: str, learner: str, seed: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            _command(skill, learner, seed), cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def _reference(folder: Path, skill: str, learner: str, seed: int) -> Reference:
    folder.mkdir(parents=True)
    began = time.monotonic()
    process = _start(folder, skill, learner, seed)
    if process.wait(PATIENCE_S) != 0:
        raise RuntimeError(f"the uninterrupted run failed: {(folder / 'output.txt').read_text()[-2000:]}")
    seconds = time.monotonic() - began
    store = folder / "trials.jsonl"
    return Reference(store.read_bytes(), sessions.trials(store), seconds)


def _chain(tally: Tally, folder: Path, skill: str, learner: str, reference: Reference, case: int) -> None:
    """Kill a run once to four times, let it come to its end, and judge."""
    folder.mkdir(parents=True)
    rng = tally.rng(case)
    store = folder / "trials.jsonl"
    moments: list[str] = []
    states: list[bytes] = []
    for _ in range(int(rng.integers(1, 5))):
        process = _start(folder, skill, learner, tally.seed)
        moment = _wait_for_moment(process, folder, reference, rng)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code != -signal.SIGKILL:  # it ended before the moment came
            _judge_end(tally, folder, code, f"{learner}: {'; '.join(moments) or 'no kill'}", case)
            break
        tally.count("kills")
        states.append(sessions.read(store))
        moments.append(f"killed {moment}, {len(sessions.whole_lines(states[-1]))} lines")
    done = f"learn --learner {learner}, {'; '.join(moments) or 'not killed'}"
    process = _start(folder, skill, learner, tally.seed)
    try:
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        tally.found("crashed", case, done, f"the run that goes on does not end within {PATIENCE_S:.0f} s")
        return
    tally.count("chains")
    if not _judge_end(tally, folder, code, done, case):
        return
    final = sessions.read(store)
    found = [j for before in states for j in sessions.lost(before, final)][:1]
    found += sessions.compare(store, reference.trials)
    if not found and final != reference.content:
        found = [("diverged", "the store is not byte for byte that of the uninterrupted run")]
    for kind, happened in found:
        tally.found(kind, case, done, happened)
    if not found:
        shutil.rmtree(folder)


def _judge_end(tally: Tally, folder: Path, code: int, done: str, case: int) -> bool:
    if code != 0:
        last = (folder / "output.txt").read_text(errors="replace").strip().splitlines()[-3:]
        tally.found("crashed", case, done, f"exit code {code}: {' | '.join(last)}")
    return code == 0


def _wait_for_moment(process: subprocess.Popen[bytes], folder: Path, reference: Reference, rng: Any) -> str:
    """Sleep until a random moment of the run, or its end; says which moment it was."""
    kind = str(rng.choice(MOMENTS))
    store, checkpoint = folder / "trials.jsonl", folder / "trials.jsonl.npz"
    delay = float(rng.choice([0.0, 0.001, 0.005, 0.02, 0.06]) * rng.random())
    if kind == "any":
        seconds = float(rng.random() * reference.seconds)
        text, reached = f"after {seconds:.2f} s", _elapsed(seconds)
    elif kind == "checkpoint":
        count = int(rng.integers(1, SIZES["queries"] + 1))
        text, reached = f"at checkpoint {count} of this run + {delay * 1e3:.1f} ms", _changes(checkpoint, count)
    else:
        lines = len(reference.trials) + 1
        now = len(sessions.whole_lines(sessions.read(store)))
        first = max(now, lines - SIZES["evaluations"]) if kind == "evaluation" else now
        line = int(rng.integers(min(first + 1, lines), lines + 1))
        text, reached = f"at line {line} + {delay * 1e3:.1f} ms", _lines(store, line)
    while process.poll() is None and not reached():
        time.sleep(0.0005)
    if kind != "any":
        time.sleep(delay)
    return text


def _elapsed(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _lines(path: Path, count: int) -> Callable[[], bool]:
    return lambda: len(sessions.whole_lines(sessions.read(path))) >= count


def _changes(path: Path, count: int) -> Callable[[], bool]:
    """Whether a file was replaced so many times since now."""
    seen = [_identity(path)]

    def reached() -> bool:
        now = _identity(path)
        if now != seen[-1]:
            seen.append(now)
        return len(seen) > count

    return reached


def _identity(path: Path) -> Any:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
