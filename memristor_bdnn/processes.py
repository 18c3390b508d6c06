"""Child processes that do not outlive their parent, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """In a child: be sent a signal when the parent dies, also by SIGKILL (Linux only; elsewhere nothing happens).

    Args:
        parent: process id of the parent, as the parent knows it.
        number: the signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def child_of_this(number: int = signal.SIGKILL) -> Callable[[], None]:
    """The same for ``preexec_fn`` of :class:`subprocess.Popen`."""
    parent = os.getpid()
    ctypes.CDLL(None)  # loaded here: the child of a threaded process should do as little as it can
    return lambda: end_with(parent, number)
