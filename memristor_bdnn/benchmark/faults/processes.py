"""Processes under test: a whole graph by `memristor-bdnn up`, or single nodes, in a ROS domain of their own."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memristor_bdnn.nodes.client import GraphClient
    from memristor_bdnn.nodes.graph import NodeCommand

START_S = 90.0
"""A node must be active within so long, also on a busy machine."""

_used: set[int] = set()


def choose_domain() -> int:
    """Set ROS_DOMAIN_ID to a domain in which nobody on this machine has a participant, and return it."""
    start = os.getpid() * 7
    for number in range(start, start + 300):
        domain = 1 + number % 100
        if (domain not in _used or number >= start + 100) and _is_free(domain):
            _used.add(domain)
            os.environ["ROS_DOMAIN_ID"] = str(domain)
            return domain
    raise RuntimeError("every ROS domain on this machine is in use")


def _is_free(domain: int) -> bool:
    """Whether the ports of a domain's first participants (RTPS 9.6.1.1) are free."""
    for participant in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", 7410 + 250 * domain + 2 * participant))
            except OSError:
                return False
    return True


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def last_words(log: Path, lines: int = 4) -> str:
    """The last lines of a log, for a finding."""
    if not log.exists():
        return "no output"
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])


def _end_with_parent() -> None:
    """In a child: end when the campaign does, however it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Graph:
    """`memristor-bdnn up` and a client that talks to it.

    Args:
        folder: receives up.log, and the results unless ``arguments`` say otherwise.
        arguments: ``name:=value``.
        names: of the nodes that must be ready.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], names: Sequence[str]) -> None:
        from memristor_bdnn.nodes.client import GraphClient

        self.names, self.log = tuple(names), folder / "up.log"
        choose_domain()
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "memristor_bdnn.cli", "up", *arguments],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,
            )
        self.client: GraphClient = GraphClient("faults")

    def wait_ready(self, names: Sequence[str] | None = None) -> bool:
        """Whether the nodes are active in time, and the graph still runs."""
        wanted = self.names if names is None else names

        def done() -> bool:
            return self.process.poll() is not None or all(map(self.client.peers.is_ready, wanted))

        return until(done, START_S) and self.process.poll() is None

    def pids(self) -> dict[str, int]:
        """Process ids of the nodes that run, by node name."""
        found = {}
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return {}
        for child in children:
            try:
                match = re.search(r"__node:=([^\0]+)", Path(f"/proc/{child}/cmdline").read_text())
            except OSError:
                continue
            if match:
                found[match[1]] = int(child)
        return found

    def kill(self, name: str) -> bool:
        """SIGKILL to a node; False when it does not run."""
        pid = self.pids().get(name)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Leave, and end the graph."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NodeProcess:
    """One node as a child of the campaign; it can be started again when it died."""

    def __init__(self, command: NodeCommand, folder: Path) -> None:
        self.name = command.name
        self.full_name = (
            f"{('/' + command.namespace.strip('/')) if command.namespace.strip('/') else ''}/{command.name}"
        )
        self.log = folder / (self.full_name.strip("/").replace("/", "_") + ".log")
        self._command, self._folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, or start it anew."""
        from memristor_bdnn.nodes.supervisor import child_environment, executable_path

        self.stop()
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(executable_path(self._command.executable)), *self._command.ros_arguments()],
                cwd=self._folder,
                env=child_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def how_it_ended(self) -> str:
        """Exit code and the last lines of its log."""
        code = None if self._process is None else self._process.poll()
        return f"node {self.full_name} ended with {code}: {last_words(self.log)}"

    def peak_bytes(self) -> int:
        """Largest resident memory so far; 0 when it does not run."""
        try:
            status = Path(f"/proc/{self._process.pid if self._process else 0}/status").read_text()
        except OSError:
            return 0
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(match[1]) * 1024 if match else 0

    def stop(self) -> None:
        """SIGINT, then SIGKILL."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(8.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


class NodeFailed(Exception):
    """A node died, or did not answer in time; the text says which."""


class Caller:
    """Calls of nodes under test that notice at once when the process behind them is gone."""

    def __init__(self, client: GraphClient) -> None:
        self.client = client
        self._clients: dict[tuple[str, str], Any] = {}

    def call(self, node: NodeProcess, kind: Any, name: str, request: Any, timeout_s: float = 15.0) -> Any:
        """Call service ``node/name``.

        Raises:
            NodeFailed: the node died or did not answer in time.
        """
        client = self._client(node, name, lambda path: self.client.node.create_client(kind, path))
        if not until(lambda: client.service_is_ready() or not node.alive, 20.0) or not node.alive:
            raise NodeFailed(node.how_it_ended() if not node.alive else f"{node.full_name} does not offer {name}")
        future = client.call_async(request)
        try:
            return self._wait(future, node, name, timeout_s)
        finally:
            client.remove_pending_request(future)

    def act(
        self, node: NodeProcess, kind: Any, name: str, goal: Any, timeout_s: float, cancel_after: float = -1.0
    ) -> Any:
        """Send a goal to ``node/name``; the result, or None when the goal was rejected.

        Args:
            node: whose action.
            kind: its type.
            name: its name.
            goal: the goal.
            timeout_s: for the result.
            cancel_after: cancel so many seconds after acceptance; below 0 never.

        Raises:
            NodeFailed: the node died or did not answer in time.
        """
        from memristor_bdnn.nodes.peers import SpinSafeActionClient

        client = self._client(node, name, lambda path: SpinSafeActionClient(self.client.node, kind, path))
        if not until(lambda: client.server_is_ready() or not node.alive, 20.0) or not node.alive:
            raise NodeFailed(node.how_it_ended() if not node.alive else f"{node.full_name} does not offer {name}")
        handle = self._wait(client.send_goal_async(goal), node, name, 15.0)
        if not handle.accepted:
            return None
        future = handle.get_result_async()
        if cancel_after >= 0.0:
            time.sleep(cancel_after)
            handle.cancel_goal_async()
        return self._wait(future, node, name, timeout_s).result

    def _client(self, node: NodeProcess, name: str, make: Callable[[str], Any]) -> Any:
        key = (node.full_name, name)
        if key not in self._clients:
            self._clients[key] = make(f"{node.full_name}/{name}")
        return self._clients[key]

    def _wait(self, future: Any, node: NodeProcess, name: str, timeout_s: float) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        deadline = time.monotonic() + timeout_s
        while not done.wait(0.05):
            if not node.alive:
                raise NodeFailed(node.how_it_ended())
            if time.monotonic() > deadline:
                raise NodeFailed(f"{node.full_name} did not answer {name} within {timeout_s:.0f} s")
        return future.result()
