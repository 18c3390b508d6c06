"""A short-lived ROS 2 participant for commands that talk to a running graph."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.nodes import environment
from memristor_bdnn.nodes.peers import Peers

DAY_S = 24 * 3600.0


class GraphClient:
    """Spins a node in the background while the caller calls services and actions of the graph.

    ``cancelled`` (settable) ends a wait with :class:`memristor_bdnn.errors.Cancelled`.
    """

    def __init__(self, name: str, namespace: str = "", cancelled: Callable[[], bool] = lambda: False) -> None:
        environment.choose_discovery(os.environ)
        environment.prepare_logs(os.environ)
        import rclpy
        from rclpy.exceptions import NameValidationException
        from rclpy.signals import SignalHandlerOptions
        from rclpy.validate_namespace import validate_namespace

        from memristor_bdnn.nodes.spinning import EnduringExecutor

        self._context = rclpy.Context()
        # Explicit arguments: rclpy would take the command line's name:=value words as remaps.
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            validate_namespace(f"/{namespace.strip('/')}")
            self.node = rclpy.create_node(name, context=self._context, namespace=namespace)
        except (NameValidationException, ValueError) as error:
            self._context.try_shutdown()
            raise ConfigError(f"namespace {namespace!r}: {error}") from error
        self.peers = Peers(self.node, cancelled)
        self._executor = EnduringExecutor(num_threads=4, context=self._context)
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except Exception as error:  # one message that cannot be read must not leave every call unanswered
                if self._stopping.is_set() or not self._context.ok():
                    return
                self.node.get_logger().error(f"{type(error).__name__}: {error}")

    def call(self, peer: str, kind: Any, name: str, request: Any, timeout_s: float) -> Any:
        """Call a service of a node."""
        return self.peers.call(peer, kind, name, request, timeout_s)

    def act(
        self,
        peer: str,
        kind: Any,
        name: str,
        goal: Any,
        timeout_s: float,
        feedback: Callable[[Any], None] | None = None,
    ) -> Any:
        """Send a goal to an action of a node and wait for the result."""
        return self.peers.act(peer, kind, name, goal, timeout_s, feedback)

    def close(self) -> None:
        """Leave the graph, once the peers know that goals which were given up are cancelled; safe to call twice."""
        if self._stopping.is_set():
            return
        self.peers.settle()
        self._stopping.set()
        self._thread.join(2.0)
        self.peers.close()
        self._executor.shutdown(1.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def __enter__(self) -> GraphClient:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the graph."""
        self.close()


def learn_actively(
    client: GraphClient,
    queries: int,
    strategy: str,
    evaluations: int,
    feedback: Callable[[Any], None] | None = None,
    attempts: int = 1,
) -> Any:
    """Send one goal of active learning to the coordinator and wait for its result.

    Args:
        client: a participant of the graph.
        queries, evaluations: totals of the session, so that sending a goal again after a restart is harmless.
        strategy: name of an acquisition; empty for the coordinator's own.
        feedback: called with every feedback message.
        attempts: how often it is sent when the coordinator is lost.

    Raises:
        PeerLost: the coordinator is lost, or was never there.
        Cancelled: by the client's ``cancelled``; the goal is cancelled too.
        MemristorError: the coordinator's reason.
    """
    from memristor_bdnn.action import ActiveLearn
    from memristor_bdnn.nodes.peers import PeerLost

    goal = ActiveLearn.Goal(queries=queries, strategy=strategy, evaluation_trials=evaluations)
    for left in reversed(range(attempts)):
        try:
            client.peers.wait_ready(("coordinator",), 60.0)
            result = client.act("coordinator", ActiveLearn, "active_learn", goal, DAY_S, feedback)
        except PeerLost:
            if not left:
                raise
        else:
            break
    if result.error_code:
        raise MemristorError(result.error_msg)
    return result
