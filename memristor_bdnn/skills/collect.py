"""Mass production of a skill's trials: on local processes or on a Dask cluster, resumable."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import pool as pools
from memristor_bdnn.skills import workers as parallel

if TYPE_CHECKING:
    from memristor_bdnn.skills.records import SkillMaths as Skill

RowArray = npt.NDArray[np.void]

BATCH = 16
"""Seeds a worker runs before it reports; also what a kill can cost each worker."""


@dataclass(frozen=True)
class Collector:
    """What a worker simulates for a skill, and the file its rows go to; sent to other processes.

    This one serves every skill with :mod:`memristor_bdnn.skills.pool`. A skill with a file of its own inherits from
    it and is asked for it with :meth:`memristor_bdnn.skills.Skill.collector`.

    Attributes:
        skill: whose trials.
        options: how they are simulated, an instance of the skill's ``world_options``.
    """

    skill: Skill
    options: Any

    @property
    def key(self) -> tuple[Any, ...]:
        """Collectors with equal keys can share a world."""
        return type(self), type(self.skill), self.options

    def world(self) -> Any:
        """A world without an arm that runs one trial after the other."""
        return self.skill.world("", self.options)

    def row(self, world: Any, seed: int) -> RowArray:
        """Simulate the trial of a seed; a row, shape ()."""
        return pools.simulate(self.skill, world, seed)

    def open(self, path: str | Path, readonly: bool = False) -> Any:
        """The file, with ``rows``, ``append`` and ``close``; see :class:`memristor_bdnn.skills.pool.PoolFile`."""
        return pools.PoolFile(path, self.skill, None if readonly else self.settings(), readonly)

    def settings(self) -> dict[str, Any]:
        """The options that a file remembers, as JSON gives them back."""
        if not dataclasses.is_dataclass(self.options):
            raise ConfigError(f"skill {self.skill.name}: its world options are {self.options!r}, not a dataclass")
        settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.options)))  # type: ignore[arg-type]
        return settings

    def labelled(self, rows: RowArray) -> pools.Pool:
        """Network inputs and scores of rows."""
        return pools.labelled(self.skill, rows)

    def export(self, file: Any, path: str | Path, command: str) -> str:
        """Write a file as a compact .npz that ``skill.pool(path)`` reads; returns its SHA-256."""
        return pools.export(file, path, command)

    def summary(self, rows: RowArray) -> str:
        """One paragraph on what a pool contains."""
        measures = rows["measures"].astype(float)
        success = np.mean([self.skill.score(m) > 0 for m in measures])
        fraction = np.mean([self.skill.fraction(m) for m in measures])
        return f"{len(rows)} trials, {100 * success:.1f} % successes, mean {self.skill.fraction_label} {fraction:.3f}"


_world: Any = None
_key: tuple[Any, ...] | None = None
_lock = threading.Lock()  # a Dask worker may have several threads, but a process has one world


def run_batch(collector: Collector, seeds: Sequence[int]) -> list[RowArray]:
    """Simulate some seeds in this process, in one world that is kept for the next batch."""
    global _world, _key
    with _lock:
        if _world is None or _key != collector.key:
            if _world is not None:
                _world.close()
                _world = None
            _world, _key = collector.world(), collector.key
        return [collector.row(_world, seed) for seed in seeds]


def collect(
    path: str | Path,
    trials: int,
    collector: Collector,
    *,
    workers: int = 1,
    dask: str | None = None,
    first_seed: int = 0,
    show: bool = True,
) -> pools.Pool:
    """Bring a pool file up to a number of trials.

    Args:
        path: the pool file; rows already in it are kept and not run again.
        trials: rows wanted in the end; their seeds are ``first_seed`` and the following.
        collector: what to simulate and how; must match an existing file's settings.
        workers: local processes; 1 runs in this process.
        dask: address of a Dask scheduler to use instead.
        first_seed: of the first row.
        show: a progress line with rate and remaining time.

    Raises:
        ConfigError: numbers that make no sense, or the cluster cannot be reached.
        StoreError: the file is no pool, of another version, made with other settings, in use, or cannot be written.
        WorkerLost: workers died again and again; the rows that were finished are in the file.
    """
    if trials < 1 or workers < 1 or first_seed < 0:
        raise ConfigError(
            f"trials = {trials}, workers = {workers}, first_seed = {first_seed}: allowed are at least 1, 1 and 0"
        )
    with collector.open(path) as file:
        have = set(file.rows["seed"].tolist())
        missing = [s for s in range(first_seed, first_seed + trials) if s not in have]
        batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
        with _progress(trials, trials - len(missing), show) as advance:
            try:
                for rows in _results(collector, batches, workers, dask):
                    file.append(rows)
                    advance(len(rows))
            except parallel.WorkerLost as error:
                raise parallel.WorkerLost(
                    f"{error}. {len(file.rows)} rows are in {path}: run it again to go on"
                ) from error
        return collector.labelled(file.rows)


def _results(
    collector: Collector, batches: list[list[int]], workers: int, dask: str | None
) -> Iterator[list[RowArray]]:
    """Rows of the batches as they are finished."""
    if dask is not None:
        yield from _dask_results(collector, batches, dask)
    elif workers == 1:
        for batch in batches:
            yield run_batch(collector, batch)
    else:
        for _, rows in parallel.results(run_batch, [(collector, batch) for batch in batches], workers):
            yield rows


def _dask_results(collector: Collector, batches: list[list[int]], address: str) -> Iterator[list[RowArray]]:
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
        submit = lambda batch: client.submit(run_batch, collector, batch, pure=False)  # noqa: E731
        first = [submit(batch) for _, batch in zip(range(ahead), waiting, strict=False)]
        queue: Any = as_completed(first)
        for future in queue:
            try:
                rows = future.result()
            except Exception as error:
                if type(error).__module__.partition(".")[0] != "distributed":
                    raise
                raise parallel.WorkerLost(f"the Dask cluster lost a batch of trials: {error}") from error
            yield rows
            batch = next(waiting, None)
            if batch is not None:
                queue.add(submit(batch))


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
