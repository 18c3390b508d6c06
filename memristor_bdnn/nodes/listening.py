"""Topics, services and answers that are heard beside the executor, which builds its wait set anew for every message."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from memristor_bdnn.errors import Cancelled, MemristorError

TICK_S, FAILED_S = 0.5, 0.1


class NotOfTheExecutor(CallbackGroup):
    """What is in it is waited for elsewhere."""

    def can_execute(self, entity: Any) -> bool:
        """Never here."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never here."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing is executed here."""


class _Beside(ABC):
    """A thread that waits for one entity of a node and ends with it."""

    def __init__(self, node: Node, what: str) -> None:
        self._node, self._what = node, what
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; call it before the node is destroyed. Safe to call twice."""
        self._ending.set()
        self._thread.join(2.0 * TICK_S)

    def _run(self) -> None:
        context = self._node.context
        wait_set = rclpy_implementation.WaitSet(1, 0, 0, 0, 1, 0, context.handle)
        while not self._ending.is_set() and context.ok():
            try:
                self._turn(wait_set)
            except rclpy_implementation.InvalidHandle:
                return  # the node is gone
            except Exception as error:  # a message that cannot be read is dropped, the next ones are heard
                if self._ending.is_set() or not context.ok():
                    return
                self._node.get_logger().error(f"{self._what}: {type(error).__name__}: {error}")
                time.sleep(FAILED_S)

    @abstractmethod
    def _turn(self, wait_set: Any) -> None:
        """Wait for at most ``TICK_S`` seconds and take what has come."""


class Listener(_Beside):
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
        self._hear, self._tick = hear, tick
        group = NotOfTheExecutor()
        self._subscription: Any = node.create_subscription(kind, topic, hear, depth, callback_group=group)
        super().__init__(node, f"listener of {topic}")

    def _turn(self, wait_set: Any) -> None:
        handle = self._subscription.handle
        with handle:
            wait_set.clear_entities()
            wait_set.add_subscription(handle)
            wait_set.wait(int(TICK_S * 1e9))
            while (taken := handle.take_message(self._subscription.msg_type, False)) is not None:
                self._hear(taken[0])
        self._tick()


class Answerer(_Beside):
    """A service (of the group :class:`NotOfTheExecutor`) whose calls are answered by threads of its own."""

    def __init__(self, node: Node, service: Any, at_once: int) -> None:
        """
        Args:
            node: owner of the service.
            service: its callback returns the response.
            at_once: calls that are worked at; later ones wait for one of them to end.
        """
        self._service = service
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=service.srv_name)
        super().__init__(node, f"service {service.srv_name}")

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self._threads.shutdown(wait=False)

    def _turn(self, wait_set: Any) -> None:
        handle = self._service.handle
        with handle:
            wait_set.clear_entities()
            wait_set.add_service(handle)
            wait_set.wait(int(TICK_S * 1e9))
            request, header = handle.service_take_request(self._service.srv_type.Request)
        if header is not None:
            self._threads.submit(self._answer, request, header)

    def _answer(self, request: Any, header: Any) -> None:
        try:
            response = self._service.callback(request, self._service.srv_type.Response())
            self._service.send_response(response, header)
        except rclpy_implementation.InvalidHandle:
            return  # the node left in the meantime
        except Exception as error:
            self._node.get_logger().error(f"{self._what}: {type(error).__name__}: {error}")


class Answers:
    """What one client (of the group :class:`NotOfTheExecutor`) is answered, taken by the thread that waits for it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._taking = threading.Lock()
        self._wait_set = rclpy_implementation.WaitSet(0, 0, 0, 1, 0, 0, client.context.handle)

    def wait(self, future: Any, seconds: float) -> bool:
        """Wait for the answer of one call for so long; returns whether it is there.

        One of the waiting threads takes for all of them.

        Raises:
            Cancelled: the node of the client has left.
            MemristorError: an answer came that cannot be read.
        """
        if self._taking.acquire(timeout=seconds):
            try:
                if not future.done():
                    self._take(seconds)
            except rclpy_implementation.InvalidHandle as error:
                raise Cancelled(f"canceled: this node left while it waited for {self._client.srv_name}") from error
            except Exception as error:
                raise MemristorError(
                    f"{self._client.srv_name} gave an answer that cannot be read: {type(error).__name__}: {error}"
                ) from error
            finally:
                self._taking.release()
        return bool(future.done())

    def _take(self, seconds: float) -> None:
        handle = self._client.handle
        with handle:
            self._wait_set.clear_entities()
            self._wait_set.add_client(handle)
            self._wait_set.wait(int(seconds * 1e9))
            header, response = handle.take_response(self._client.srv_type.Response)
        if header is None:
            return
        try:
            asked = self._client.get_pending_request(header.request_id.sequence_number)
        except KeyError:
            return  # given up by who asked
        asked.set_result(response)
