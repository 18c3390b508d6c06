"""Work on several processes of this machine that outlives neither its caller nor the death of a worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from memristor_bdnn.errors import MemristorError
from memristor_bdnn.processes import end_with

ATTEMPTS = 3
"""How often a piece of work is begun when the process that does it dies."""


class WorkerLost(MemristorError):
    """Processes that worked for this one died, again and again; the text says how to go on."""


def results(work: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, Any]]:
    """Do pieces of work; what was lost with a worker is done again.

    Args:
        work: a function that other processes can import.
        pieces: arguments of each call.
        workers: processes.

    Returns:
        Index of a piece and its result, as they are finished.

    Raises:
        WorkerLost: workers died at the same piece :data:`ATTEMPTS` times.
        MemristorError: one that ``work`` has raised.
    """
    waiting, begun = deque(range(len(pieces))), Counter[int]()
    while waiting:
        lost: list[int] = []
        yield from _until_one_dies(work, pieces, workers, waiting, lost)
        begun.update(lost)
        if any(begun[index] >= ATTEMPTS for index in lost):
            raise WorkerLost(
                f"a worker process died {ATTEMPTS} times at the same work (killed, or out of memory?); "
                "try fewer workers"
            )
        if lost:
            print("a worker process died; what it was doing is done again", file=sys.stderr, flush=True)
        waiting.extendleft(reversed(lost))


def _until_one_dies(
    work: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], workers: int, waiting: deque[int], lost: list[int]
) -> Iterator[tuple[int, Any]]:
    """Take pieces from ``waiting`` while all workers live; puts what was lost when one died into ``lost``."""
    # Children start afresh: a forked physics client or thread pool would be shared by accident.
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=die_with, initargs=(os.getpid(),)
    )
    running: dict[Future[Any], int] = {}
    finished = False
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                future = executor.submit(_work, work, pieces[waiting[0]])
                running[future] = waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield running.pop(future), future.result()
            if len(done - running.keys()) < len(done):
                raise BrokenProcessPool
        finished = True
    except BrokenProcessPool:
        for future, index in running.items():
            if future.done() and future.exception() is None:
                yield index, future.result()
            else:
                lost.append(index)
        finished = True
    finally:
        if not finished:  # interrupted, or an error: what is being done has no taker
            for process in list((getattr(executor, "_processes", None) or {}).values()):
                process.terminate()
        executor.shutdown(cancel_futures=True)


def _work(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """In the worker: errors with attributes of their own do not survive the way back."""
    try:
        return work(*arguments)
    except MemristorError as error:
        raise MemristorError(str(error)) from None


def die_with(parent: int) -> None:
    """In a worker: leave interrupts to the parent, and end when it does, also by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    end_with(parent)
    if sys.platform != "linux":
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    process = multiprocessing.parent_process()
    if process is not None:
        process.join()
        os._exit(1)
