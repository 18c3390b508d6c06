"""Calls to the other nodes: every call has its own deadline, and a peer that falls silent is named.

Time is the steady clock of this process, as far as it ran: what it slept through is held against nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from memristor_bdnn.errors import Cancelled, MemristorError
from memristor_bdnn.nodes.goals import SentGoal, SpinSafeActionClient
from memristor_bdnn.nodes.listening import Answers, Listener, NotOfTheExecutor

SILENCE_S = 12.0
"""A peer that has published no diagnostics for so long is taken for dead (it does so every second)."""
ALIVE_S, DOUBT_S = 3.0, 4.0
"""A node heard within the first is there; two under one name for the second are two, not one that was started anew."""
FORGET_S = 60.0
STALL_S = 2.5
"""When this process has not come to its own ticks for so long, it was asleep: silence is counted from its waking on."""
ACCEPT_S = 10.0
"""How long a peer may take to accept a goal."""
SETTLE_S = 5.0
"""How long a process that leaves waits for peers to hear that its goals are cancelled."""
ASK_AGAIN_S = 3.0
"""After a sleep, how often a result is asked for again: what was sent meanwhile may be lost."""
MOST_PEERS = 1000


class PeerLost(MemristorError):
    """A node did not answer; the text names the node and what was asked of it."""

    def __init__(self, peer: str, message: str) -> None:
        super().__init__(message)
        self.peer = peer


class Patience:
    """A span of time that this process spends awake: being stopped for a minute uses up a second of it."""

    def __init__(self, seconds: float) -> None:
        self._left, self._last = seconds, time.monotonic()

    def over(self) -> bool:
        """Whether it is used up; ask several times a second."""
        now = time.monotonic()
        self._left -= min(now - self._last, 1.0)
        self._last = now
        return self._left <= 0.0


@dataclass
class _Heartbeats:
    """What was heard under one name: instance -> (first, last) time."""

    ready: bool = False
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def hear(self, instance: str, ready: bool, now: float) -> None:
        first = self.seen.get(instance, (now, now))[0]
        kept = {i: t for i, t in self.seen.items() if now - t[1] < FORGET_S}
        self.seen = {**kept, instance: (first, now)}
        self.ready = ready

    @property
    def last(self) -> float:
        return max((last for _, last in self.seen.values()), default=0.0)

    def newest(self) -> tuple[str, float] | None:
        """The instance that appeared last, and when."""
        seen = self.seen
        return max(((i, first) for i, (first, _) in seen.items()), key=lambda item: item[1]) if seen else None

    def twins(self, now: float, awake: float) -> bool:
        """Whether two nodes have this name: both there, both for longer than a restart would take."""
        there = [first for first, last in self.seen.values() if now - last < ALIVE_S]
        return len(there) > 1 and now - max(*there, awake) > DOUBT_S

    def replaced(self, instance: str, now: float, awake: float) -> bool:
        """Whether another one has taken the place of an instance."""
        newest = self.newest()
        return newest is not None and newest[0] != instance and now - max(newest[1], awake) > DOUBT_S


class Peers:
    """Clients of one node for the services and actions of others, with heartbeats from /diagnostics."""

    def __init__(self, node: Node, cancelled: Callable[[], bool]) -> None:
        """
        Args:
            node: the calling node; it must spin in a multi-threaded executor.
            cancelled: asked while waiting; True ends the wait with :class:`Cancelled`.
        """
        self._node, self._cancelled = node, cancelled
        self._group, self._aside = ReentrantCallbackGroup(), NotOfTheExecutor()
        self._making = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._heard: dict[str, _Heartbeats] = {}
        self._abandoned: list[SentGoal] = []
        self._awake = self._ticked = time.monotonic()
        self._listener = Listener(node, DiagnosticArray, "/diagnostics", 20, self._on_diagnostics, self._tick)

    def close(self) -> None:
        """Hear no more; call it before the node is destroyed."""
        self._listener.close()

    # -- who is there -------------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        for status in message.status:
            if status.name not in self._heard and len(self._heard) >= MOST_PEERS:
                continue
            heard = self._heard.setdefault(status.name, _Heartbeats())
            heard.hear(status.hardware_id, status.level == DiagnosticStatus.OK, now)

    def _tick(self) -> None:
        """Notice when this process itself has been stopped or starved."""
        now = time.monotonic()
        if now - self._ticked > STALL_S:
            self._awake = now
        self._ticked = now

    def instance(self, peer: str) -> str | None:
        """Which process answers for a peer: another text after it died and came back. None before it was heard."""
        newest = self._of(peer).newest()
        return None if newest is None else newest[0]

    def is_ready(self, peer: str) -> bool:
        """Whether a peer said within the last seconds that it is active."""
        heard = self._of(peer)
        return heard.ready and time.monotonic() - heard.last < SILENCE_S / 2

    def wait_ready(self, peers: tuple[str, ...], timeout_s: float) -> None:
        """Wait until every peer is active.

        Raises:
            PeerLost: one is not active in time, or there are two of that name.
        """
        patience = Patience(timeout_s)
        for peer in peers:
            while not self.is_ready(peer):
                if self._cancelled():
                    raise Cancelled("canceled while waiting for the other nodes")
                if patience.over():
                    raise PeerLost(peer, f"node {peer} is not active after {timeout_s:.0f} s")
                time.sleep(0.05)
            self._check_alone(peer)

    def _of(self, peer: str) -> _Heartbeats:
        return self._heard.get(self._full_name(peer)) or _Heartbeats()

    def _full_name(self, peer: str) -> str:
        return f"{self._node.get_namespace().rstrip('/')}/{peer}"

    def _check_alone(self, peer: str) -> None:
        if self._of(peer).twins(time.monotonic(), self._awake):
            raise PeerLost(
                peer,
                f"there are two nodes named {self._full_name(peer)} (two graphs in the domain?): either could answer; "
                "stop one, or give them another ROS_DOMAIN_ID or namespace",
            )

    # -- asking -------------------------------------------------------------------------------

    def call(self, peer: str, kind: Any, name: str, request: Any, timeout_s: float) -> Any:
        """Call service ``peer/name`` and wait for the response."""
        client, answers = self._client(f"{peer}/{name}", lambda path: self._asking(kind, path))
        self._await_server(client.service_is_ready, peer, name)
        future = client.call_async(request)
        try:
            return self._wait(future, peer, name, timeout_s, pause=answers.wait)
        except BaseException:
            client.remove_pending_request(future)
            raise

    def _asking(self, kind: Any, path: str) -> tuple[Any, Answers]:
        client = self._node.create_client(kind, path, callback_group=self._aside)
        return client, Answers(client)

    def act(
        self,
        peer: str,
        kind: Any,
        name: str,
        goal: Any,
        timeout_s: float,
        feedback: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send a goal to action ``peer/name`` and wait for its result.

        Whatever ends the wait before the result (silence, cancellation, an error in ``feedback``) cancels the goal,
        also if it is accepted only later.
        """
        client = self._client(
            f"{peer}/{name}", lambda path: SpinSafeActionClient(self._node, kind, path, callback_group=self._group)
        )
        self._await_server(client.server_is_ready, peer, name)
        errors: list[Exception] = []

        def on_feedback(message: Any) -> None:
            try:
                if feedback is not None and not errors:
                    feedback(message.feedback)
            except Exception as error:  # raised where the caller waits, not in the executor
                errors.append(error)

        sent = SentGoal(client, goal, on_feedback)
        try:
            if not self._wait(sent.acceptance, peer, name, ACCEPT_S, errors).accepted:
                raise MemristorError(f"{peer}/{name} rejected the goal: it is busy with another one, or not active")
            self._wait(sent.request_result(), peer, name, timeout_s, errors, sent)
            response = sent.outcome
        except BaseException:
            self._abandon(sent)
            raise
        if response.status == GoalStatus.STATUS_UNKNOWN:
            raise PeerLost(peer, f"{peer}/{name} no longer knows the goal: it ended long ago, or its node is another")
        if response.status not in (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_ABORTED, GoalStatus.STATUS_CANCELED):
            raise PeerLost(peer, f"{peer}/{name} ended with status {response.status}")
        if response.status != GoalStatus.STATUS_SUCCEEDED and not response.result.error_code:
            raise MemristorError(f"{peer}/{name} failed without giving a reason: see the log of {peer}")
        return response.result

    def _abandon(self, sent: SentGoal) -> None:
        self._abandoned = [goal for goal in self._abandoned if not goal.over][-100:]
        if problem := sent.abandon():
            self._node.get_logger().error(problem)
        elif not sent.over:
            self._abandoned.append(sent)

    def settle(self, timeout_s: float = SETTLE_S) -> None:
        """Before leaving: wait until the peers have heard that our abandoned goals are cancelled."""
        deadline = time.monotonic() + timeout_s
        for goal in self._abandoned:
            if problem := goal.settle(deadline - time.monotonic()):
                self._node.get_logger().warning(f"a goal may still run: {problem}")
        self._abandoned.clear()

    def _client(self, key: str, make: Callable[[str], Any]) -> Any:
        with self._making:
            if key not in self._clients:
                self._clients[key] = make(key)
            return self._clients[key]

    def _await_server(self, ready: Callable[[], bool], peer: str, name: str, timeout_s: float = 15.0) -> None:
        patience = Patience(timeout_s)
        while not ready():
            if self._cancelled():
                raise Cancelled("canceled")
            if patience.over():
                raise PeerLost(peer, f"node {peer} does not offer {name} (waited {timeout_s:.0f} s)")
            time.sleep(0.02)

    def _wait(
        self,
        future: Any,
        peer: str,
        name: str,
        timeout_s: float,
        errors: list[Exception] | None = None,
        goal: SentGoal | None = None,
        pause: Callable[[Any, float], bool] | None = None,
    ) -> Any:
        """Wait for a future: the answer of a service, or the acceptance or (with ``goal``) the result of a goal.

        ``pause`` waits for it for some seconds; without it the executor is trusted to bring it.
        """
        pause = pause or _brought(future)
        began, patience = time.monotonic(), Patience(timeout_s)
        asked = began
        # One that is silent already may have been replaced by the one that now answers.
        instance = self.instance(peer) if began - self._of(peer).last < ALIVE_S else None
        while not (pause(future, 0.1) or future.done() or (goal is not None and goal.outcome is not None)):
            if errors:
                raise errors[0]
            if self._cancelled():
                raise Cancelled(f"canceled during {peer}/{name}")
            if patience.over():
                slept = "; this process was stopped meanwhile: its answer may be lost" if self._awake > began else ""
                raise PeerLost(peer, f"node {peer} did not answer {name} within {timeout_s:.0f} s{slept}")
            self._check_alive(peer, name, began, instance)
            if goal is not None and self._awake > began and time.monotonic() - asked > ASK_AGAIN_S:
                asked = time.monotonic()
                goal.request_result()
        return future.result()

    def _check_alive(self, peer: str, name: str, began: float, instance: str | None) -> None:
        """Raise PeerLost for a peer that is silent, doubled or another than the one that was asked."""
        now = time.monotonic()
        if now - self._ticked > STALL_S:
            return  # we are behind ourselves: what was not heard says nothing of the peer
        self._check_alone(peer)
        heard = self._of(peer)
        if instance is not None and heard.replaced(instance, now, self._awake):
            raise PeerLost(peer, f"node {peer} was started anew during {name}, which it knows nothing of")
        if now - max(began, heard.last, self._awake) > SILENCE_S:
            raise PeerLost(peer, f"node {peer} fell silent during {name}")


def _brought(future: Any) -> Callable[[Any, float], bool]:
    """A way to wait for a future that another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return lambda _, seconds: done.wait(seconds)
