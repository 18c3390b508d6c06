"""Hears one topic in a thread of its own: an executor builds its wait set anew for every message that it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

TICK_S, FAILED_S = 0.5, 0.1


class _NotOfTheExecutor(CallbackGroup):
    """What is in it is waited for elsewhere."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing is executed here."""


class Listener:
    """A subscription whose messages go to ``hear`` from a thread of its own; ends with its node."""

    def __init__(
        self, node: Node, kind: Any, topic: str, depth: int, hear: Callable[[Any], None], tick: Callable[[], None]
    ) -> None:
        """
        Args:
            node: owns the subscription.
            kind, topic, depth: of the subscription.
            hear: called with every message; what it raises is logged.
            tick: called at least every ``TICK_S`` seconds as long as the thread comes to it.
        """
        self._node, self._hear, self._tick = node, hear, tick
        self._group = _NotOfTheExecutor()
        self._subscription: Any = node.create_subscription(kind, topic, hear, depth, callback_group=self._group)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listener of {topic}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; call it before the node is destroyed. Safe to call twice."""
        self._ending.set()
        self._thread.join(2.0 * TICK_S)

    def _run(self) -> None:
        context = self._node.context
        wait_set = rclpy_implementation.WaitSet(1, 0, 0, 0, 0, 0, context.handle)
        while not self._ending.is_set() and context.ok():
            try:
                self._take(wait_set)
                self._tick()
            except rclpy_implementation.InvalidHandle:
                return  # the node is gone
            except Exception as error:  # a message that cannot be read is dropped, the next ones are heard
                if self._ending.is_set() or not context.ok():
                    return
                self._node.get_logger().error(f"{self._subscription.topic_name}: {type(error).__name__}: {error}")
                time.sleep(FAILED_S)

    def _take(self, wait_set: Any) -> None:
        handle = self._subscription.handle
        with handle:
            wait_set.clear_entities()
            wait_set.add_subscription(handle)
            wait_set.wait(int(TICK_S * 1e9))
            while (taken := handle.take_message(self._subscription.msg_type, False)) is not None:
                self._hear(taken[0])
