"""PyBullet without its banners: it prints a line when it is imported and another for every client."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The process's standard output and error lead nowhere; what Python has buffered is written before."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    kept: list[tuple[int, int]] = []
    try:
        for number in (1, 2):
            with contextlib.suppress(OSError):  # closed, as in a daemon
                kept.append((number, os.dup(number)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number, _ in kept:
            os.dup2(nowhere, number)
        os.close(nowhere)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


with _quiet():
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

__all__ = ["client", "pybullet"]


def client(gui: bool = False) -> Any:
    """A new client of the engine in this process, or (``gui``) one with a window."""
    with _quiet():
        return BulletClient(connection_mode=pybullet.GUI if gui else pybullet.DIRECT)
