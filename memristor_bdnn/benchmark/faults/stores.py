"""Damaged trial stores: nothing that is not our own torn line is removed, and what is read was committed so."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.benchmark.faults import mutate
from memristor_bdnn.benchmark.faults.verdict import Verdict
from memristor_bdnn.errors import MemristorError

_OWN = re.compile(rb'[0-9a-f]{8} \{"')


class Stores:
    """Stores of random trials, damaged and opened again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "trials.jsonl"

    def judge(self, rng: np.random.Generator) -> Verdict:
        """Write a store, damage it, open it, go on with it, judge."""
        for path in self._path.parent.glob("trials.jsonl*"):
            path.unlink()
        good, trials = self._make(rng)
        if rng.random() < 0.1:
            content = mutate.FOREIGN[int(rng.integers(len(mutate.FOREIGN)))]
            content, what = (content.rstrip(b"\n") if rng.random() < 0.5 else content), "a foreign file"
        else:
            content, what = mutate.lines(rng, good)
        self._path.write_bytes(content)
        verdict = Verdict(f"store of {len(trials)} trials, {what}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._open(rng, verdict, content, good, trials)
        return verdict

    def _make(self, rng: np.random.Generator) -> tuple[bytes, list[Trial]]:
        with TrialStore(self._path) as store:
            store.metadata.update(skill="none", features=["a", "b"], seed=int(rng.integers(1000)))
            for _ in range(int(rng.integers(1, 9))):
                store.commit(_trial(rng))
            trials = list(store.trials)
        return self._path.read_bytes(), trials

    def _open(
        self, rng: np.random.Generator, verdict: Verdict, content: bytes, good: bytes, trials: list[Trial]
    ) -> None:
        try:
            store = TrialStore(self._path)
        except MemristorError:
            if self._path.read_bytes() != content:
                verdict.found("lost", "refused, but the file was changed")
            return
        except Exception as error:
            verdict.crashed(error)
            return
        verdict.taken = True
        with store:
            loaded, after = list(store.trials), self._path.read_bytes()
            for kind, happened in judge(content, after, self._aside(), good, loaded, trials):
                verdict.found(kind, happened)
            try:
                more = store.trials[store.commit(_trial(rng))]
            except MemristorError as error:
                verdict.found("lost", f"no trial can be committed: {error}")
                return
            except Exception as error:
                verdict.crashed(error)
                return
        try:
            again = TrialStore(self._path, readonly=True).trials
        except MemristorError as error:
            verdict.found("lost", f"what was committed afterwards cannot be read: {error}")
            return
        if again != [*loaded, more]:
            verdict.found("lost", f"{len(again)} trials are read back of {len(loaded)} and the new one")

    def _aside(self) -> bytes:
        return b"\n".join(p.read_bytes() for p in sorted(self._path.parent.glob("trials.jsonl.damaged*")))


def judge(
    content: bytes, after: bytes, aside: bytes, good: bytes, loaded: list[Trial], trials: list[Trial]
) -> list[tuple[str, str]]:
    """Judge a damaged store that was taken.

    Args:
        content: the damaged file.
        after: the file after it was opened for writing.
        aside: what was put aside, in FILE.damaged.
        good: the file before it was damaged.
        loaded: trials read.
        trials: trials committed.
    """
    found: list[tuple[str, str]] = []
    tail = content[len(after) :]
    if not content.startswith(after):
        found.append(("lost", f"the file was changed in the middle, from {len(content)} to {len(after)} bytes"))
    elif tail and tail.rstrip(b"\n") not in aside and not _own(tail, after, good):
        found.append(("lost", f"{len(tail)} bytes are gone that are no torn line of ours: {tail[:60]!r}"))
    if loaded != trials[: len(loaded)]:
        found.append(("wrongly_accepted", f"{len(loaded)} trials were read that were not committed so"))
    intact = 0
    for mine, was in zip(content.splitlines(keepends=True), good.splitlines(keepends=True), strict=False):
        if mine != was:
            break
        intact += 1
    if len(loaded) < intact - 1:
        found.append(("lost", f"{len(loaded)} trials were read, {intact - 1} are whole in the file"))
    return found


def _own(tail: bytes, before: bytes, good: bytes) -> bool:
    """Whether a tail may be dropped: an unfinished line that begins as ours do, or the start of the very next one."""
    if tail.endswith(b"\n") or b"\n" in tail:
        return False
    return (bool(before) and _OWN.match(tail) is not None) or good.startswith(before + tail)


def _trial(rng: np.random.Generator) -> Trial:
    context, parameters, features = (tuple(float(v) for v in rng.uniform(-1, 1, n)) for n in (3, 2, 2))
    score = float(rng.uniform(-1, 1))
    return Trial(
        phase="initial",
        context=context,
        parameters=parameters,
        features=features,
        feasible=bool(rng.random() < 0.9),
        score=score,
        fraction=(score + 1) / 2,
        seed=int(rng.integers(2**31)),
        details={"note": "ä", "n": int(rng.integers(9))},
    )
