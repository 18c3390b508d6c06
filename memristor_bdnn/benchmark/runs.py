"""Runs of a benchmark over processes; every finished run is a file, so work that was stopped goes on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from memristor_bdnn.skills import workers as parallel
from memristor_bdnn.state import write_atomic

PACKAGE = Path(__file__).parent.parent


LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pybullet")
"""Installed packages whose version may decide a run's result."""


def code_digest(*rooms: str, plugins: Sequence[Any] = ()) -> str:
    """A short name of the code that runs come from: of a whole package, or of some of its folders and files.

    Two versions of the code, or of the libraries that compute, never share finished runs.

    Args:
        rooms: folders and files of this package, relative to it; none stands for all.
        plugins: classes and functions that a run uses; where another package brought one, its code counts too.

    Raises:
        ValueError: a room that does not exist, which would cover nothing.
    """
    digest = hashlib.sha256()
    places = [PACKAGE / room for room in rooms] or [PACKAGE]
    if lost := [str(place) for place in places if not place.exists()]:
        raise ValueError(f"no such code: {', '.join(lost)}")
    foreign = {place for plugin in plugins if (place := _foreign(plugin)) is not None}
    for place in [*places, *sorted(foreign)]:
        root = place.parent if place in foreign else PACKAGE
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(json.dumps(_versions()).encode())
    return digest.hexdigest()[:12]


def _foreign(plugin: Any) -> Path | None:
    """The top folder, or the single file, of the code of a class or function from another package."""
    module = sys.modules.get(getattr(plugin, "__module__", None) or type(plugin).__module__)
    name = "" if module is None else module.__name__.partition(".")[0]
    top = sys.modules.get(name)
    source = getattr(top, "__file__", None) or getattr(module, "__file__", None)
    if source is None or name == __name__.partition(".")[0]:
        return None
    path = Path(source).resolve()
    return path.parent if path.name == "__init__.py" else path


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run_all(
    work: Path | None,
    names: Sequence[str],
    execute: Callable[..., Any],
    pieces: Sequence[tuple[Any, ...]],
    workers: int,
) -> list[dict[str, Any]]:
    """Results of all runs, those found in a folder without running them again.

    Args:
        work: folder of finished runs; None keeps none.
        names: of the runs' files, (n,): whatever decides a result is in its name.
        execute: a function that other processes can import; gives what JSON can hold.
        pieces: arguments of each call, (n,).
        workers: processes; 1 runs in this one.

    Raises:
        WorkerLost: workers died again and again; what was finished is in the folder.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = {} if work is None else _found(work, names)
    missing = [index for index in range(len(names)) if index not in done]
    if done:
        print(f"found {len(done)} of {len(names)} runs in {work}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("runs", total=len(names), completed=len(done))
        for place, result in _results(execute, [pieces[index] for index in missing], workers):
            done[missing[place]] = result
            if work is not None:
                write_atomic(work / names[missing[place]], json.dumps(result).encode())
            bar.advance(task)
    return [done[index] for index in range(len(names))]


def _found(work: Path, names: Sequence[str]) -> dict[int, Any]:
    """Finished runs by index."""
    work.mkdir(parents=True, exist_ok=True)
    done: dict[int, Any] = {}
    for index, name in enumerate(names):
        if (work / name).exists():
            try:
                done[index] = json.loads((work / name).read_bytes())
            except ValueError:
                print(f"{work / name} is damaged: its run is done again")
    return done


def _results(execute: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, Any]]:
    """(index, result) as they finish."""
    if workers <= 1 or len(pieces) <= 1:
        for index, arguments in enumerate(pieces):
            yield index, execute(*arguments)
    else:
        yield from parallel.results(execute, pieces, min(workers, len(pieces)))
