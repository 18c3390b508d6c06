"""Start the graph's nodes as child processes and keep watch over them, without `ros2 launch`.

This is no launch system: no includes, events or conditions beyond the graph's arguments.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.graph import NodeCommand

RESPAWN_DELAY_S = 1.0
MAX_RESPAWNS = 5
_PR_SET_PDEATHSIG = 1


class NodeDied(Exception):
    """A node ended although nobody asked it to; the text names the node and how it ended."""


class Supervisor:
    """Children die with this process, and this process reports the first child that dies."""

    def __init__(
        self, commands: Sequence[NodeCommand], log: Callable[[str], None] = print, log_folder: Path | None = None
    ) -> None:
        """
        Args:
            commands: the resolved graph.
            log: receives every line of output, prefixed with the node's name.
            log_folder: where each node's output is also kept, one file a node.
        """
        self.commands = {command.name: command for command in commands}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._log, self._log_folder = log, log_folder
        self._respawns = dict.fromkeys(self.commands, 0)
        self._due: dict[str, float] = {}
        self._stopping = False

    def start(self) -> None:
        """Start every node. Raises ConfigError when the package's executables are not installed."""
        for command in self.commands.values():
            self._start(command)

    def poll(self) -> None:
        """Look after the children once; call it often.

        Raises:
            NodeDied: a node ended and may not be respawned (any more).
        """
        now = time.monotonic()
        for name, process in list(self.processes.items()):
            if name in self._due:
                if now >= self._due[name]:
                    del self._due[name]
                    self._start(self.commands[name])
                continue
            code = process.poll()
            if code is None or self._stopping:
                continue
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if not self.commands[name].respawn or code == 0:
                raise NodeDied(f"node {name} died ({how})")
            self._respawns[name] += 1
            if self._respawns[name] > MAX_RESPAWNS:
                raise NodeDied(f"node {name} died ({how}) for the {MAX_RESPAWNS + 1}th time; giving up")
            self._log(f"[supervisor] node {name} died ({how}); starting it again")
            self._due[name] = now + RESPAWN_DELAY_S

    def stop(self) -> None:
        """SIGINT, then SIGTERM, then SIGKILL; returns when every child is gone."""
        self._stopping = True
        for number, patience in ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
            alive = [p for p in self.processes.values() if p.poll() is None]
            for process in alive:
                process.send_signal(number)
            deadline = time.monotonic() + patience
            for process in alive:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue

    def _start(self, command: NodeCommand) -> None:
        process = subprocess.Popen(
            [sys.executable, str(executable_path(command.executable)), *command.ros_arguments()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
            env=child_environment(),
        )
        self.processes[command.name] = process
        assert process.stdout is not None
        threading.Thread(target=self._forward, args=(command.name, process.stdout), daemon=True).start()

    def _forward(self, name: str, stream: IO[str]) -> None:
        kept = open(self._log_folder / f"{name}.log", "a") if self._log_folder else None
        for line in stream:
            self._log(f"[{name}] {line.rstrip()}")
            if kept:
                kept.write(line)
                kept.flush()
        if kept:
            kept.close()


def executable_path(executable: str) -> Path:
    """The installed file of a node. Raises ConfigError when the package was not installed."""
    path = Path(sys.prefix) / "lib" / "memristor_bdnn" / executable
    if not path.is_file():
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
            other = Path(prefix) / "lib" / "memristor_bdnn" / executable
            if prefix and other.is_file():
                return other
        raise ConfigError(f"{path} does not exist: install the package first (`make build` or `colcon build`)")
    return path


def child_environment() -> dict[str, str]:
    """The environment of a node: discovery stays on this machine unless the user asked otherwise."""
    environment = dict(os.environ)
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Each process computes in one thread: four nodes share the cores.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment.setdefault("RCUTILS_COLORIZED_OUTPUT", "0")
    return environment


def _die_with_parent() -> None:
    """In the child: be killed when the supervisor dies, however it dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
