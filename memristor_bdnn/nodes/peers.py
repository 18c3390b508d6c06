"""Calls to the other nodes: every call has its own deadline, and a peer that falls silent is named."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from memristor_bdnn.errors import Cancelled, MemristorError

SILENCE_S = 12.0
"""A peer that has published no diagnostics for so long is taken for dead (it does so every second)."""


class PeerLost(MemristorError):
    """A node did not answer; the text names the node and what was asked of it."""

    def __init__(self, peer: str, message: str) -> None:
        super().__init__(message)
        self.peer = peer


class SpinSafeActionClient(ActionClient):
    """An action client that may be made while an executor spins.

    rclpy shows a new client to the executor before the client has its lock, which ends the executor with an
    AttributeError now and then; until the client has its own, this lock serves.
    """

    _lock = threading.Lock()


class Peers:
    """Clients of one node for the services and actions of others, with heartbeats from /diagnostics."""

    def __init__(self, node: Node, cancelled: Callable[[], bool]) -> None:
        """
        Args:
            node: the calling node; it must spin in a multi-threaded executor.
            cancelled: asked while waiting; True ends the wait with :class:`Cancelled`.
        """
        self._node, self._cancelled = node, cancelled
        self._group = ReentrantCallbackGroup()
        self._clients: dict[str, Any] = {}
        self._heard: dict[str, float] = {}
        self._ready: dict[str, bool] = {}
        self._instances: dict[str, str] = {}
        self._subscription = node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, 20, callback_group=self._group
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._heard[status.name] = time.monotonic()
            self._instances[status.name] = status.hardware_id
            self._ready[status.name] = status.level == DiagnosticStatus.OK

    def is_ready(self, peer: str) -> bool:
        """Whether a peer said within the last seconds that it is active."""
        name = self._full_name(peer)
        return self._ready.get(name, False) and time.monotonic() - self._heard.get(name, 0.0) < SILENCE_S / 2

    def instance(self, peer: str) -> str | None:
        """Which run of a peer was heard last; None before its first heartbeat."""
        return self._instances.get(self._full_name(peer))

    def wait_ready(self, peers: tuple[str, ...], timeout_s: float) -> None:
        """Wait until every peer is active.

        Raises:
            PeerLost: one is not active in time.
        """
        deadline = time.monotonic() + timeout_s
        for peer in peers:
            while not self.is_ready(peer):
                if self._cancelled():
                    raise Cancelled("canceled while waiting for the other nodes")
                if time.monotonic() > deadline:
                    raise PeerLost(peer, f"node {peer} is not active after {timeout_s:.0f} s")
                time.sleep(0.05)

    def call(self, peer: str, kind: Any, name: str, request: Any, timeout_s: float) -> Any:
        """Call service ``peer/name`` and wait for the response."""
        client = self._client(
            f"{peer}/{name}", lambda path: self._node.create_client(kind, path, callback_group=self._group)
        )
        self._await_server(client.service_is_ready, peer, name)
        return self._wait(client.call_async(request), peer, name, timeout_s)

    def act(
        self,
        peer: str,
        kind: Any,
        name: str,
        goal: Any,
        timeout_s: float,
        feedback: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send a goal to action ``peer/name`` and wait for its result; a cancelled wait cancels the goal."""
        client = self._client(
            f"{peer}/{name}", lambda path: SpinSafeActionClient(self._node, kind, path, callback_group=self._group)
        )
        self._await_server(client.server_is_ready, peer, name)
        on_feedback = (lambda message: feedback(message.feedback)) if feedback else None
        handle = self._wait(client.send_goal_async(goal, feedback_callback=on_feedback), peer, name, 10.0)
        if not handle.accepted:
            raise MemristorError(f"{peer}/{name} rejected the goal")
        try:
            response = self._wait(handle.get_result_async(), peer, name, timeout_s)
        except (Cancelled, PeerLost):
            handle.cancel_goal_async()
            raise
        if response.status not in (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED, GoalStatus.STATUS_CANCELED):
            raise PeerLost(peer, f"{peer}/{name} ended with status {response.status}")
        if response.status != GoalStatus.STATUS_SUCCEEDED and not response.result.error_code:
            raise MemristorError(f"{peer}/{name} failed without giving a reason: see the log of {peer}")
        return response.result

    def _client(self, key: str, make: Callable[[str], Any]) -> Any:
        if key not in self._clients:
            self._clients[key] = make(key)
        return self._clients[key]

    def _await_server(self, ready: Callable[[], bool], peer: str, name: str, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._cancelled():
                raise Cancelled("canceled")
            if time.monotonic() > deadline:
                raise PeerLost(peer, f"node {peer} does not offer {name} (waited {timeout_s:.0f} s)")
            time.sleep(0.02)

    def _wait(self, future: Any, peer: str, name: str, timeout_s: float) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        began, full_name = time.monotonic(), self._full_name(peer)
        instance = self._instances.get(full_name)
        while not done.wait(0.1):
            now = time.monotonic()
            if self._cancelled():
                raise Cancelled(f"canceled during {peer}/{name}")
            if now - began > timeout_s:
                raise PeerLost(peer, f"node {peer} did not answer {name} within {timeout_s:.0f} s")
            if now - max(began, self._heard.get(full_name, began)) > SILENCE_S:
                raise PeerLost(peer, f"node {peer} fell silent during {name}")
            if instance is not None and self._instances[full_name] != instance and not done.is_set():
                raise PeerLost(peer, f"node {peer} was started anew during {name}, which it knows nothing of")
        return future.result()

    def _full_name(self, peer: str) -> str:
        return f"{self._node.get_namespace().rstrip('/')}/{peer}"
