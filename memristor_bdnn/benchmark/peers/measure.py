"""CPU times of two who take turns, and what a peer that is absent, fails or takes too long leaves behind: a row."""

from __future__ import annotations

import importlib.metadata
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

Work = Callable[[], Any]
TURN_S = 0.02
PEER_LIMIT_S = 120.0
"""CPU time that one peer may take for one work."""


@dataclass(frozen=True)
class Peer:
    """Somebody who can do a work of ours.

    Attributes:
        name: as it is written in the results.
        distribution: the installed package that it needs; empty for plain NumPy or for code of this package.
        prepare: makes ready (not timed) and returns what is timed; imports the package.
        note: what differs from our work, where anything does.
    """

    name: str
    distribution: str
    prepare: Callable[[], Work]
    note: str = ""

    @property
    def version(self) -> str | None:
        """Of the installed package; None where it is not installed, empty where none is needed."""
        if not self.distribution:
            return ""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None


class TookTooLong(Exception):
    """A peer's CPU time is over."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`TookTooLong` inside when this process has spent so much CPU time there; main thread only.

    Code that does not come back to the interpreter is interrupted when it does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: Any) -> None:
        raise TookTooLong(f"more than {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def cpu(work: Work, calls: int = 1) -> float:
    """CPU seconds a call, all threads of this process."""
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls


def compare(ours: Work, peer: Peer, rounds: int, limit_s: float = PEER_LIMIT_S) -> dict[str, Any]:
    """One row: ``ours_s`` and ``peer_s`` a call (medians over rounds, each in turn), ``ratio`` (median), ``status``.

    Args:
        ours: our work.
        peer: who does the same.
        rounds: turns; a first one of each is not counted, and says how many calls make a turn.
        limit_s: CPU time for the peer's preparation and first call, and for all its turns.
    """
    row: dict[str, Any] = {"version": peer.version, "note": peer.note, "status": "measured"}
    if peer.version is None:
        return {**row, "status": "not installed"}
    ours_s, peer_s = [], []
    spent = 0.0
    try:
        with limited(limit_s):
            theirs = peer.prepare()
            theirs()
        ours()
        # Without the timer from here on: while one runs the kernel counts CPU time by ticks of some milliseconds.
        ours_calls, peer_calls = _calls(ours), _calls(theirs)
        for _ in range(rounds):
            ours_s.append(cpu(ours, ours_calls))
            peer_s.append(cpu(theirs, peer_calls))
            spent += peer_s[-1] * peer_calls
            if spent > limit_s:
                raise TookTooLong(f"more than {limit_s:g} s of CPU time after {len(peer_s)} of {rounds} rounds")
    except TookTooLong as error:
        row["status"] = f"timed out: {error}"
    except Exception as error:  # whatever another package does, it ends its own row and not the benchmark
        row["status"] = f"failed: {type(error).__name__}: {error}"[:200]
    if peer_s:
        n = len(peer_s)
        ratios = np.array(peer_s) / np.maximum(ours_s[:n], 1e-9)
        row |= {
            "ours_s": float(np.median(ours_s[:n])),
            "peer_s": float(np.median(peer_s)),
            "ratio": float(np.median(ratios)),
            "ratio_low": float(ratios.min()),
            "ratio_high": float(ratios.max()),
            "rounds": n,
        }
    return row


def _calls(work: Work) -> int:
    """Calls that make a turn of some 20 ms."""
    return max(1, min(1000, int(TURN_S / max(cpu(work), 1e-6))))


@dataclass(frozen=True)
class Machine:
    """What one core of this machine can do at best, measured now.

    Attributes:
        flops: float32 operations a second, matrices of 512 x 512.
        bits_s: seconds of 32 random bits.
        bytes_s: bytes a second of copying what lies beyond the cache, read and written.
    """

    flops: float
    bits_s: float
    bytes_s: float

    @classmethod
    def measure(cls) -> Machine:
        """By the libraries that ours is built on."""
        rng = np.random.default_rng(0)
        a = rng.random((512, 512), dtype=np.float32)
        b, far, there = np.empty_like(a), np.ones(1 << 25, np.float32), np.empty(1 << 25, np.float32)
        words = 1 << 20

        def best(work: Work, calls: int) -> float:
            return min(cpu(work, calls) for _ in range(5))

        best(lambda: np.matmul(a, a, out=b), 5)
        return cls(
            2 * 512**3 / best(lambda: np.matmul(a, a, out=b), 10),
            best(lambda: rng.bit_generator.random_raw(words), 3) / (2 * words),
            2 * far.nbytes / best(lambda: np.copyto(there, far), 2),
        )
