"""The live page in a process of its own, beside a verb that runs a graph: drawing takes nothing from the session."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from memristor_bdnn.processes import child_of_this

PATIENCE_S = 5.0


@contextlib.contextmanager
def beside(wanted: bool, namespace: str = "") -> Iterator[None]:
    """Have a page over the graph of this process's ROS domain while the block runs; it says its address itself.

    Args:
        wanted: False has none.
        namespace: of the graph.

    Raises:
        ConfigError: what it needs is not installed.
    """
    if not wanted:
        yield
        return
    from memristor_bdnn.view.page import require

    require()
    command = [sys.executable, "-m", "memristor_bdnn.cli", "view", "--namespace", namespace]
    child = subprocess.Popen(command, preexec_fn=child_of_this(signal.SIGTERM))
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
