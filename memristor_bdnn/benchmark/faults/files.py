"""Damaged files by the thousand, read by the library in a process that may die or hang without harm."""

from __future__ import annotations

import json
import os
import resource
import selectors
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memristor_bdnn.benchmark.faults.findings import Tally
from memristor_bdnn.benchmark.faults.processes import last_words
from memristor_bdnn.benchmark.faults.verdict import Verdict

KINDS = {"checkpoints": 0.4, "stores": 0.3, "texts": 0.24, "tables": 0.06}
"""What is damaged, and how often."""
READ_S, START_S = 30.0, 120.0
"""A file that takes longer to read has hung its reader; the first one waits for imports."""
MEMORY_BYTES = 1_500_000_000
ADDRESSES_BYTES = 12_000_000_000
"""Limit of the reader's address space, so that what it takes in does not take the machine."""


def run(tally: Tally, folder: Path, files: int, skill: str, case: int | None, progress: Callable[[int], None]) -> None:
    """Damage and read ``files`` files, each a case."""
    reader = _Reader(folder, skill, tally.seed)
    try:
        for number in range(files) if case is None else [case]:
            kind = str(tally.rng(number).choice(list(KINDS), p=list(KINDS.values())))
            tally.count("files")
            tally.count(kind)
            answer = reader.ask(kind, number)
            if "taken" in answer:
                tally.count("taken" if answer["taken"] else "refused")
            for what, happened in answer["findings"]:
                tally.found(what, number, answer["done"], happened)
            progress(number + 1)
            if tally.given_up:
                break
    finally:
        reader.close()


class _Reader:
    """The reading process; started again when it died or hung."""

    def __init__(self, folder: Path, skill: str, seed: int) -> None:
        self._folder, self._skill, self._seed = folder, skill, seed
        self._process: subprocess.Popen[str] | None = None
        self._ready: set[str] = set()

    def ask(self, kind: str, case: int) -> dict[str, Any]:
        """Have one file damaged and read; what it found, or how it ended."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        first = kind not in self._ready
        self._ready.add(kind)
        line = ""
        try:
            self._process.stdin.write(f"{kind} {case}\n")
            self._process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                if selector.select(START_S if first else READ_S):
                    line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            if answer["bytes"] > MEMORY_BYTES:
                answer["findings"].append(["crashed", f"reading took {answer['bytes'] / 1e9:.1f} GB of memory"])
                self.close()
            return answer
        hung = self._process.poll() is None
        self.close()
        done = (self._folder / "doing.txt").read_text() if (self._folder / "doing.txt").exists() else kind
        how = f"no end after {READ_S:.0f} s" if hung else f"the reader died: {last_words(self._folder / 'reader.log')}"
        return {"done": done, "findings": [["crashed", how]]}

    def _start(self) -> None:
        words = [sys.executable, "-m", "memristor_bdnn.benchmark.faults.files", str(self._folder), self._skill]
        with open(self._folder / "reader.log", "ab") as log:
            self._process = subprocess.Popen(
                [*words, str(self._seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._ready.clear()

    def close(self) -> None:
        """End the reading process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process = None


def _read(folder: Path, skill: str, seed: int) -> None:
    """Body of the reading process: a kind and a case a line, an answer a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    judges: dict[str, Any] = {}
    Verdict.note = folder / "doing.txt"
    for line in sys.stdin:
        kind, case = line.split()
        if kind not in judges:
            judges[kind] = _judge(kind, folder, skill)
        rng = Tally("files", seed).rng(int(case))
        rng.random()  # the draw of the kind
        verdict = judges[kind].judge(rng)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer = {"done": verdict.done, "taken": verdict.taken, "findings": verdict.findings, "bytes": used}
        print(json.dumps(answer), file=answers, flush=True)


def _judge(kind: str, folder: Path, skill: str) -> Any:
    place = folder / kind
    place.mkdir(exist_ok=True)
    if kind == "checkpoints":
        from memristor_bdnn.benchmark.faults.checkpoints import Checkpoints

        return Checkpoints(place)
    if kind == "stores":
        from memristor_bdnn.benchmark.faults.stores import Stores

        return Stores(place)
    if kind == "texts":
        from memristor_bdnn.benchmark.faults.texts import Texts

        return Texts(place, skill)
    from memristor_bdnn.benchmark.faults.tables import Tables

    return Tables(place, skill)


if __name__ == "__main__":
    _read(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
