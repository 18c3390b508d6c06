"""Runs a node until a signal asks it to stop; no message and no callback may end it before."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, TimeoutException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from memristor_bdnn.errors import MemristorError
from memristor_bdnn.nodes.guards import THREADS

TEARDOWN_S = 6.0
"""How long releasing may take at the end; our supervisor sends SIGKILL after 7 s."""
WAKE_S = 0.5
"""How often an idle node looks whether it is to stop: every look builds the wait set anew."""
FAILURES_IN_A_ROW = 100
"""An executor that fails so often without doing anything in between will not recover."""
GONE_IN_A_ROW = 10
"""So often in a row something may be destroyed while it is waited for; oftener something is wrong."""


class EnduringExecutor(MultiThreadedExecutor):
    """Takes messages so that one that cannot be read is dropped, instead of its service never answering again.

    rclpy marks an entity as busy before it takes from it, and an error in between would leave the mark. What another
    thread destroys while the wait set is being made is no error either: the next wait set is made without it.
    """

    _gone_in_a_row = 0

    def _wait_for_ready_callbacks(self, *arguments: Any, **named: Any) -> Any:
        try:
            for ready in super()._wait_for_ready_callbacks(*arguments, **named):
                self._gone_in_a_row = 0
                yield ready
        except rclpy_implementation.InvalidHandle:
            self._gone_in_a_row += 1
            if self._gone_in_a_row > GONE_IN_A_ROW:
                raise
            raise TimeoutException from None  # nothing is ready; whoever spins looks again
        except TimeoutException:
            self._gone_in_a_row = 0
            raise

    def _take_subscription(self, sub: Any) -> Any:
        return self._guarded(super()._take_subscription, sub)

    def _take_service(self, srv: Any) -> Any:
        return self._guarded(super()._take_service, srv)

    def _take_client(self, client: Any) -> Any:
        return self._guarded(super()._take_client, client)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._guarded(super()._take_waitable, waitable)

    def _guarded(self, take: Callable[[Any], Any], entity: Any) -> Any:
        try:
            return take(entity)
        except Exception as error:
            print(f"a message was dropped, it cannot be read: {type(error).__name__}: {error}", file=sys.stderr)
            return None


def spin(node_class: Callable[..., Any], **arguments: Any) -> int:
    """Run a node until a signal asks it to stop.

    The signals only set an event: a second SIGINT during shutdown finds nothing to interrupt.

    Returns:
        0 after SIGINT or SIGTERM, 1 when the node could not be created or autostart failed.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    code = 0
    node: Any = None
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = node_class(**arguments)
        executor = EnduringExecutor(num_threads=THREADS)
        executor.add_node(node)
        code = _spin(node, executor, stop)
    except (MemristorError, ParameterException, NameValidationException, rclpy_implementation.RCLError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    if node is not None:
        # In a thread of its own: what hangs in a callback must not keep the process.
        _in_time(lambda: _end(node), TEARDOWN_S)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads still inside an aborted callback must not keep the process: state is already saved.
    os._exit(code)


def _spin(node: Any, executor: EnduringExecutor, stop: threading.Event) -> int:
    """Spin until ``stop``; returns 1 when autostart failed or the executor cannot go on."""
    # Spinning while the node is being configured: calls are answered, and a signal finds somebody who hears it.
    starting = executor.create_task(_autostart, node) if node.get_parameter("autostart").value else None
    failures = 0
    while not stop.is_set() and rclpy.ok():
        if starting is not None and starting.done():
            if not starting.result():
                return 1
            starting = None
        try:
            executor.spin_once(timeout_sec=WAKE_S)
            failures = 0
        except ExternalShutdownException:
            return 0
        except Exception:
            failures += 1
            node.get_logger().error(f"a callback failed, the node goes on: {traceback.format_exc()}")
            if failures >= FAILURES_IN_A_ROW or not rclpy.ok():
                return 1
            time.sleep(0.01)
    return 0


def _autostart(node: Any) -> bool:
    success = TransitionCallbackReturn.SUCCESS
    return bool(node.trigger_configure() == success and node.trigger_activate() == success)


def _end(node: Any) -> None:
    """Release what the node holds, and tell the others that it leaves."""
    node.active = False
    try:
        node.teardown()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _in_time(work: Callable[[], Any], seconds: float) -> None:
    """Do work in a thread, and go on without it after so long."""

    def guarded() -> None:
        try:
            work()
        except Exception:
            traceback.print_exc()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
