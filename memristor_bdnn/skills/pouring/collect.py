"""Mass production of trials: on local processes or on a Dask cluster, resumable."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.pool import Pool, PoolFile, RowArray, labelled, simulate
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

BATCH = 16
"""Seeds a worker runs before it reports; also what a kill can cost each worker."""

_world: PouringWorld | None = None
_lock = threading.Lock()  # a Dask worker may have several threads, but a process has one world


def run_batch(config: WorldConfig, seeds: Sequence[int]) -> list[RowArray]:
    """Simulate some seeds in this process, in one world that is kept for the next batch."""
    global _world
    with _lock:
        if _world is None or _world.config != config:
            if _world is not None:
                _world.close()
            _world = PouringWorld(config)
        return [simulate(_world, seed) for seed in seeds]


def collect(
    path: str | Path,
    trials: int,
    config: WorldConfig | None = None,
    *,
    workers: int = 1,
    dask: str | None = None,
    first_seed: int = 0,
    show: bool = True,
) -> Pool:
    """Bring a pool file up to a number of trials.

    Args:
        path: the pool file; rows already in it are kept and not run again.
        trials: rows wanted in the end; their seeds are ``first_seed`` and the following.
        config: how to simulate; must match an existing file's.
        workers: local processes; 1 runs in this process.
        dask: address of a Dask scheduler to use instead.
        first_seed: of the first row.
        show: a progress line with rate and remaining time.

    Raises:
        ConfigError: numbers that make no sense, or the cluster cannot be reached.
        StoreError: the file is no pool, of another version or made with other settings.
    """
    config = WorldConfig() if config is None else config
    if trials < 1 or workers < 1 or first_seed < 0:
        raise ConfigError(
            f"trials = {trials}, workers = {workers}, first_seed = {first_seed}: allowed are at least 1, 1 and 0"
        )
    if config.arm:
        raise ConfigError(f"collect moves the cup alone: leave out arm = {config.arm!r}")
    with PoolFile(path, config) as file:
        have = set(file.rows["seed"].tolist())
        missing = [s for s in range(first_seed, first_seed + trials) if s not in have]
        batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
        with _progress(trials, trials - len(missing), show) as advance:
            for rows in _results(config, batches, workers, dask):
                file.append(rows)
                advance(len(rows))
        return labelled(file.rows)


def summary(rows: RowArray) -> str:
    """One paragraph on what a pool contains."""
    fraction = rows["in_bowl"] / np.maximum(rows["beads"], 1)
    return (
        f"{len(rows)} trials, {100 * (fraction >= 0.9).mean():.1f} % successes, "
        f"mean fraction in the bowl {fraction.mean():.3f}, left in the cup "
        f"{(rows['in_cup'] / np.maximum(rows['beads'], 1)).mean():.3f}, mean {rows['beads'].mean():.1f} beads, "
        f"{int(rows['tipped'].sum())} bowls tipped over"
    )


def _results(config: WorldConfig, batches: list[list[int]], workers: int, dask: str | None) -> Iterator[list[RowArray]]:
    """Rows of the batches as they are finished."""
    if dask is not None:
        yield from _dask_results(config, batches, dask)
    elif workers == 1:
        for batch in batches:
            yield run_batch(config, batch)
    else:
        yield from _local_results(config, batches, workers)


def _local_results(config: WorldConfig, batches: list[list[int]], workers: int) -> Iterator[list[RowArray]]:
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, wait

    # Children start afresh: a forked physics client or thread pool would be shared by accident.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as executor:
        waiting, running = iter(batches), set()
        for batch in waiting:
            running.add(executor.submit(run_batch, config, batch))
            if len(running) < 2 * workers:
                continue
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _dask_results(config: WorldConfig, batches: list[list[int]], address: str) -> Iterator[list[RowArray]]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ConfigError(
            "collect --dask needs the package dask[distributed]: pip install 'dask[distributed]'"
        ) from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler` "
            f"and workers with `dask worker {address}` ({error})"
        ) from error
    with client:
        ahead = max(4, 2 * sum(client.nthreads().values()))
        waiting = iter(batches)
        submit = lambda batch: client.submit(run_batch, config, batch, pure=False)  # noqa: E731
        first = [submit(batch) for _, batch in zip(range(ahead), waiting, strict=False)]
        queue: Any = as_completed(first)
        for future in queue:
            yield future.result()
            batch = next(waiting, None)
            if batch is not None:
                queue.add(submit(batch))


def _quiet() -> None:
    """Leave interrupts to the parent, which keeps what is finished."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _progress(total: int, done: int, show: bool) -> Any:
    """A context manager giving a function that reports finished trials."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def bar() -> Iterator[Any]:
        import time

        columns = (
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        begin, fresh, reported = time.monotonic(), 0, 0.0
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not (show and console.is_terminal)) as progress:
            task = progress.add_task("trials", total=total, completed=done, rate="")

            def advance(n: int) -> None:
                nonlocal fresh, reported
                fresh += n
                elapsed = time.monotonic() - begin
                rate = fresh / max(elapsed, 1e-9)
                progress.update(task, advance=n, rate=f"{rate:.2f} trials/s")
                if show and not console.is_terminal and (elapsed - reported > 30 or done + fresh == total):
                    reported = elapsed
                    left = (total - done - fresh) / max(rate, 1e-9)
                    console.print(f"{done + fresh}/{total} trials, {rate:.2f} trials/s, {left / 60:.1f} min left")

            yield advance

    return bar()
