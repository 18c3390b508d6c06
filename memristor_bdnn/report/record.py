"""What every benchmark shares: the JSON record and the printed table."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memristor_bdnn import __version__
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import write_atomic


def record(figures: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Figures at the top level, with seeds, versions, machine and command beside them."""
    versions = {"memristor_bdnn": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "pybullet", "scikit-learn", "gymnasium"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        **figures,
        "seeds": list(seeds),
        "versions": versions,
        "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "command": " ".join(["memristor-bdnn", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def check_out(path: str | None, flag: str = "--out") -> None:
    """Refuse a file that cannot be written before any work is done; ``flag`` is what the user gave it with."""
    if path is None:
        return
    target = Path(path)
    parent = Path(os.path.abspath(path)).parent
    if not target.name or target.is_dir():
        raise ConfigError(f"{flag} {path} is a folder: give the name of a file")
    if not parent.is_dir():
        raise ConfigError(f"{flag} {path}: the folder {parent} does not exist")
    if os.path.lexists(path) and not target.is_file():
        raise ConfigError(f"{flag} {path} is a pipe, a device or a link to nothing: give the name of a file")
    check_folder(parent, flag)


PICTURES = ("png", "pdf", "svg", "jpg", "jpeg", "tif", "tiff", "webp", "eps", "ps")


def check_picture(path: str | None, flag: str) -> None:
    """The same for a picture, whose kind follows from the name's suffix."""
    check_out(path, flag)
    if path is not None and Path(path).suffix.removeprefix(".").lower() not in ("", *PICTURES):
        raise ConfigError(f"{flag} {path}: no kind of picture; choose one of {', '.join(PICTURES)}")


def check_folder(folder: Path, flag: str) -> None:
    """Refuse a folder in which no file can be made; ``flag`` is what the user gave it with.

    Permissions alone do not tell, for root and on a disk that is read-only or full: a file is made and is gone again.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
            file.flush()
    except OSError as error:
        raise ConfigError(
            f"{flag}: the folder {folder} is not writable ({error.strerror}); choose another with {flag}"
        ) from error


def make_folder(path: str | None, flag: str) -> None:
    """Make the folder that files go into later; one that cannot be made or written is refused before any work."""
    if path is None:
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{flag} {path}: cannot make the folder: {reason}") from error
    check_folder(Path(path), flag)


def write_record(path: str | None, content: Mapping[str, Any]) -> None:
    """Write the JSON record if --out was given."""
    if path is not None:
        write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
        print(f"wrote {path}")


def save_figure(figure: Any, path: str | Path, **options: Any) -> Path:
    """Draw a matplotlib figure into a file that is there whole or not at all; the name's suffix says which kind."""
    buffer = io.BytesIO()
    kind = Path(path).suffix.removeprefix(".").lower() or "png"
    figure.savefig(buffer, format=kind, **options)
    write_atomic(path, buffer.getvalue())
    return Path(path)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people; numbers are formatted to four significant digits."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row])
    Console(width=None if sys.stdout.isatty() else 120).print(table)
