"""Start the graph's nodes as child processes and keep watch over them, without `ros2 launch`.

This is no launch system: no includes, events or conditions beyond the graph's arguments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from memristor_bdnn.nodes.arguments import NodeCommand
from memristor_bdnn.nodes.environment import choose_discovery, prepare_logs, without_ours
from memristor_bdnn.nodes.installed import OURS
from memristor_bdnn.nodes.installed import executable_path as executable_path
from memristor_bdnn.processes import child_of_this

RESPAWN_DELAY_S = 1.0
MAX_RESPAWNS = 5


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
        self._environment = child_environment()
        self._tails: dict[str, deque[str]] = {}
        self._readers: dict[str, threading.Thread] = {}
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
            if not self.commands[name].vital:
                self._log(f"[supervisor] {name} ended (exit code {code}); the session goes on{self._last_words(name)}")
                del self.processes[name]
                continue
            how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
            if not self.commands[name].respawn or code == 0:
                raise NodeDied(f"node {name} died ({how}){self._last_words(name)}")
            self._respawns[name] += 1
            if self._respawns[name] > MAX_RESPAWNS:
                end = f"for the {MAX_RESPAWNS + 1}th time; giving up{self._last_words(name)}"
                raise NodeDied(f"node {name} died ({how}) {end}")
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
        for reader in self._readers.values():
            reader.join(1.0)

    def _start(self, command: NodeCommand) -> None:
        path, environment = str(executable_path(command.executable, command.package)), self._environment
        words = [path, *command.ros_arguments()]
        if command.package == OURS:
            words.insert(0, sys.executable)
        else:
            environment = without_ours(environment, path)
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                bufsize=1,
                errors="replace",
                start_new_session=True,
                preexec_fn=child_of_this(signal.SIGTERM),
                env={**environment, **command.environment},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NodeDied(f"node {command.name} cannot be started: {error}") from error
        self.processes[command.name] = process
        self._tails[command.name] = deque(maxlen=20)
        reader = threading.Thread(target=self._forward, args=(command.name, process.stdout), daemon=True)
        self._readers[command.name] = reader
        reader.start()

    def _forward(self, name: str, stream: IO[str]) -> None:
        """Pass a node's output on; whatever becomes of the log file, the node never waits for a reader."""
        kept = self._open_log(name)
        for line in stream:
            self._tails[name].append(line.rstrip())
            self._pass_on(f"[{name}] {line.rstrip()}")
            if kept is not None:
                try:
                    kept.write(line)
                    kept.flush()
                except OSError as error:
                    self._say_log_lost(name, error)
                    kept = None
        if kept is not None:
            with contextlib.suppress(OSError):
                kept.close()

    def _open_log(self, name: str) -> IO[str] | None:
        if self._log_folder is None:
            return None
        try:
            return open(self._log_folder / f"{name}.log", "a")
        except OSError as error:
            self._say_log_lost(name, error)
            return None

    def _say_log_lost(self, name: str, error: OSError) -> None:
        self._pass_on(f"[supervisor] WARN {self._log_folder}/{name}.log: {error.strerror}; {name} goes on without it")

    def _pass_on(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            self._log(line)

    def _last_words(self, name: str) -> str:
        """What a dead node said about its end, if it did."""
        self._readers[name].join(1.0)
        said = [line for line in self._tails[name] if any(word in line.lower() for word in ("error", "cannot"))]
        return f": {said[-1].removeprefix('error: ')}" if said else ""


def child_environment() -> dict[str, str]:
    """The environment of a node; whom it finds on the network it decides itself.

    Raises:
        ConfigError: the user's ROS_LOG_DIR cannot be written, or the discovery range is none.
    """
    environment = dict(os.environ)
    prepare_logs(environment)
    choose_discovery(dict(environment))
    # Each process computes in one thread: four nodes share the cores.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment.setdefault("RCUTILS_COLORIZED_OUTPUT", "0")
    return environment


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
