"""PyBullet without its banners: it prints a line when it is imported and, as its wrapper asks, for every client."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import NO_PYBULLET


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The process's standard error leads nowhere; what Python has buffered is written before."""
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # closed, as in a daemon
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Absent:
    """In place of the engine where it is not installed: chips and learners go without, what simulates says so."""

    def __init__(self, error: ImportError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise ConfigError(f"{NO_PYBULLET} ({self._error})") from self._error


with _quiet():  # once in a process; nothing else is redirected, since other threads may be writing
    try:
        import pybullet
        from pybullet_utils.bullet_client import BulletClient
    except ImportError as error:
        pybullet, BulletClient = _Absent(error), object

__all__ = ["client", "pybullet"]


class _Client(BulletClient):  # type: ignore[misc]
    """The wrapper passes empty options on, at which the engine prints that it was given some."""

    def __init__(self, mode: int) -> None:
        self._shapes: dict[Any, Any] = {}
        self._pid = os.getpid()
        self._client = pybullet.connect(mode)


def client(gui: bool = False) -> Any:
    """A new client of the engine in this process, or (``gui``) one with a window."""
    return _Client(pybullet.GUI if gui else pybullet.DIRECT)
