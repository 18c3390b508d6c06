"""What every benchmark shares: the JSON record and the printed table."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
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
    parent = Path(path).resolve().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f"{flag} {path}: the folder {parent} does not exist or is not writable")


def write_record(path: str | None, content: Mapping[str, Any]) -> None:
    """Write the JSON record if --out was given."""
    if path is not None:
        write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
        print(f"wrote {path}")


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
