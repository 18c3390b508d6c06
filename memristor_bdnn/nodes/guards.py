"""What keeps a node alive and answering: every callback is guarded, goals and calls are bounded, nothing leaks.

An error in a callback is an answer with a reason (services, actions) or a line in the log (topics, timers) with its
traceback, never the node's end.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError
from memristor_bdnn.nodes.listening import Answerer, NotOfTheExecutor
from memristor_bdnn.nodes.parameters import ParameterNode

THREADS = 24
"""Of a node's executor: more than calls and goals may hold at once, so that heartbeats and cancels always find one."""
CALLS_AT_ONCE, GOALS_AT_ONCE = 12, 3
"""Service calls of a node, and goals of one action, that may run or wait at the same time."""
PATIENCE_S = 10.0
"""How long a call or a goal waits for another one that works with the same thing."""
UNCONFIRMED_S = 5.0
"""After so long a goal that was accepted and never begun (its client is gone) no longer counts."""
RESULT_S = 900
"""How long a result is kept for a caller that was stopped when it came."""
REASON_LENGTH = 2000
"""Characters of a reason: a message with a million names must not come back a million names long."""
LOG_EVERY_S = 1.0
"""A callback that fails again within this time is counted, not logged again."""


class GuardedNode(ParameterNode):
    """A node whose services, topics, timers and actions cannot end it, and which forgets nothing it made in setup.

    Entities made through ``create_*`` while :meth:`recording` are destroyed by :meth:`destroy_recorded`. Timers run on
    a steady clock: with ``use_sim_time`` and no ``/clock`` a node must still tell that it lives.
    """

    def __init__(self, name: str, defaults: dict[str, Any]) -> None:
        self.group = ReentrantCallbackGroup()
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._slots = threading.BoundedSemaphore(CALLS_AT_ONCE)
        self._recorder: int | None = None
        self._recorded: list[tuple[Callable[[Any], Any], Any]] = []
        self._failures: dict[str, tuple[float, int]] = {}
        super().__init__(name, defaults)
        for service in self.services:  # the lifecycle's are made without create_service
            if not hasattr(service.callback, "guarded"):
                service.callback = self._answering(service.srv_type, service.srv_name, service.callback)

    def refuse(self) -> str:
        """The reason why the node cannot answer now; empty when it can."""
        return ""

    # -- services -----------------------------------------------------------------------------

    def serve(
        self,
        kind: Any,
        name: str,
        handler: Callable[[Any, Any], Any],
        complete: Callable[[Any], None] | None = None,
        beside: bool = False,
    ) -> Any:
        """Offer a service whose response has ``success`` and ``message``.

        Args:
            kind: type of the service.
            name: of the service.
            handler: fills and returns the response, which counts as a success unless it says otherwise; an error it
                raises becomes the message of a failure.
            complete: called with every response before it is sent, also with that of a failure.
            beside: answered by threads of its own, sooner than by way of the executor (`benchmark speed --ros`); only
                for a service that lives as long as the node.
        """

        def answer(request: Any, response: Any) -> Any:
            if not self._slots.acquire(blocking=False):
                raise ConfigError(f"{self.get_name()} is busy: {CALLS_AT_ONCE} calls are waiting; ask again")
            try:
                if reason := self.refuse():
                    raise ConfigError(reason)
                response.success = True
                return handler(request, response)
            finally:
                self._slots.release()

        guarded = self._answering(kind, name, answer, complete)
        group = NotOfTheExecutor() if beside else self.group
        service = super().create_service(kind, name, guarded, callback_group=group)
        self._record(self.destroy_service, service)
        if beside:  # one more than may be at work: somebody has to say that the node is busy
            Answerer(self, service, CALLS_AT_ONCE + 1)
        return service

    def create_service(self, srv_type: Any, srv_name: str, callback: Any, **arguments: Any) -> Any:
        """As of a node, but an error is an answer; parameters are set with our own words."""
        if srv_type is SetParameters:
            callback = self._on_set
        elif srv_type is SetParametersAtomically:
            callback = self._on_set_atomically
        service = super().create_service(srv_type, srv_name, self._answering(srv_type, srv_name, callback), **arguments)
        self._record(self.destroy_service, service)
        return service

    def _on_set(self, request: Any, response: Any) -> Any:
        response.results = [self.set_by_message([parameter]) for parameter in request.parameters]
        return response

    def _on_set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self.set_by_message(request.parameters)
        return response

    def _answering(self, kind: Any, name: str, handler: Any, complete: Callable[[Any], None] | None = None) -> Any:
        """A handler that always returns a response of this kind."""

        @functools.wraps(handler)
        def guarded(request: Any, response: Any) -> Any:
            try:
                response = handler(request, response)
                if not isinstance(response, kind.Response):
                    raise TypeError(f"the handler returned {type(response).__name__}, no response")
            except Exception as error:
                response = _failed(kind.Response(), self._reason(name, error))
            if complete is not None:
                with self.only_logged(name):
                    complete(response)
            if hasattr(response, "message") and isinstance(response.message, str):
                response.message = printable(response.message)
            return response

        guarded.guarded = True  # type: ignore[attr-defined]
        return guarded

    # -- topics and timers --------------------------------------------------------------------

    def create_publisher(self, *arguments: Any, **named: Any) -> Any:
        """As of a node; made in setup, it ends in cleanup."""
        publisher = super().create_publisher(*arguments, **named)
        self._record(self.destroy_publisher, publisher)
        return publisher

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, *arguments: Any, **named: Any) -> Any:
        """As of a node, but an error in the callback is logged; made in setup, it ends in cleanup."""
        subscription = super().create_subscription(msg_type, topic, self._logging(topic, callback), *arguments, **named)
        self._record(self.destroy_subscription, subscription)
        return subscription

    def create_timer(self, timer_period_sec: float, callback: Any, *arguments: Any, **named: Any) -> Any:
        """As of a node, but on a steady clock, and an error in the callback is logged."""
        if len(arguments) < 2:
            named.setdefault("clock", self.steady)
        timer = super().create_timer(timer_period_sec, self._logging("timer", callback), *arguments, **named)
        self._record(self.destroy_timer, timer)
        return timer

    def create_client(self, *arguments: Any, **named: Any) -> Any:
        """As of a node; made in setup, it ends in cleanup."""
        client = super().create_client(*arguments, **named)
        self._record(self.destroy_client, client)
        return client

    def _logging(self, what: str, callback: Any) -> Any:
        """A callback whose errors are logged; rclpy reads its signature, so that is kept."""

        @functools.wraps(callback)
        def guarded(*arguments: Any, **named: Any) -> Any:
            with self.only_logged(f"{what} ({getattr(callback, '__name__', 'callback')})"):
                return callback(*arguments, **named)

        return guarded

    @contextmanager
    def only_logged(self, what: str) -> Iterator[None]:
        """Log an error of the block and go on."""
        try:
            yield
        except Exception as error:
            self._reason(what, error)

    def _reason(self, what: str, error: Exception) -> str:
        """The reason of a failure; one that nobody foresaw is logged with its traceback."""
        if isinstance(error, MemristorError):
            return printable(str(error))
        now = time.monotonic()
        last, times = self._failures.get(what, (-LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._failures[what] = (last, times + 1)
        else:
            again = f" ({times} more times since the last line)" if times else ""
            self._failures[what] = (now, 0)
            self.get_logger().error(printable(f"{what}{again}: {traceback.format_exc()}"))
        return printable(f"unexpected {type(error).__name__}: {error} (see the log of {self.get_name()})")

    # -- actions ------------------------------------------------------------------------------

    def offer(
        self,
        kind: Any,
        name: str,
        execute: Callable[[Any], Any],
        failed: int,
        accept: Any = None,
        exclusive: bool = False,
        complete: Callable[[Any], None] | None = None,
    ) -> ActionServer:
        """An action server whose result always has a reason, and whose goals are bounded in number.

        Args:
            kind: type of the action.
            name: of the action.
            execute: carries a goal out and returns its result.
            failed: error_code of an error that nobody foresaw.
            accept: judges a goal before it is counted; default all are accepted.
            exclusive: a second goal is rejected at once while one runs; only where all others are being cancelled
                already, one is accepted, which then waits for them.
            complete: called with every result before it is sent.
        """
        desk = GoalDesk(exclusive)

        def guarded(goal: Any) -> Any:
            try:
                result = execute(goal)
            except Exception as error:
                reason = self._reason(name, error)
                with suppress(Exception):  # the goal may have ended already
                    goal.abort()
                result = kind.Result(error_code=failed, error_msg=reason)
            finally:
                desk.leave(goal)
            if complete is not None:
                with self.only_logged(name):
                    complete(result)
            result.error_msg = printable(result.error_msg)
            return result

        def judged(request: Any) -> GoalResponse:
            with self.only_logged(name):
                if accept is not None and accept(request) != GoalResponse.ACCEPT:
                    return GoalResponse.REJECT
                if desk.reserve():
                    return GoalResponse.ACCEPT
                self.get_logger().warning(f"{name}: a goal was rejected, another one is running")
            return GoalResponse.REJECT

        def accepted(goal: Any) -> None:
            desk.enter(goal)
            try:
                goal.execute()
            except Exception as error:
                desk.leave(goal)
                self._reason(name, error)

        return ActionServer(
            self,
            kind,
            name,
            guarded,
            callback_group=self.group,
            goal_callback=judged,
            handle_accepted_callback=accepted,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            result_timeout=RESULT_S,
        )

    @contextmanager
    def holding(
        self, lock: Any, what: str, cancelled: Callable[[], bool] = lambda: False, patience_s: float = PATIENCE_S
    ) -> Iterator[None]:
        """Hold a lock of the node for a block, and find the node still answering once it is held.

        Args:
            lock: to hold.
            what: the other work that may hold it, for the reason.
            cancelled: asked while waiting.
            patience_s: longest wait.

        Raises:
            ConfigError: the lock was not free in time, or the node was deactivated in the meantime.
            Cancelled: ``cancelled`` said so.
        """
        deadline = time.monotonic() + patience_s
        while not lock.acquire(timeout=0.05):
            if cancelled():
                raise Cancelled(f"canceled while waiting for {what}")
            if time.monotonic() > deadline:
                raise ConfigError(f"{self.get_name()} is busy: {what} (waited {patience_s:.0f} s)")
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            yield
        finally:
            lock.release()

    # -- what setup makes ---------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember what this thread makes, for :meth:`destroy_recorded`."""
        self._recorder = threading.get_ident()
        try:
            yield
        finally:
            self._recorder = None

    def _record(self, destroy: Callable[[Any], Any], entity: Any) -> None:
        if self._recorder == threading.get_ident():
            self._recorded.append((destroy, entity))

    def destroy_recorded(self) -> None:
        """Destroy what was made while recording; what is gone already is no error."""
        while self._recorded:
            destroy, entity = self._recorded.pop()
            with self.only_logged("cleanup"):
                destroy(entity)


class GoalDesk:
    """Counts the goals of one action from the moment they are accepted, however they end."""

    def __init__(self, exclusive: bool) -> None:
        self._exclusive = exclusive
        self._lock = threading.Lock()
        self._reserved: list[float] = []
        self._goals: list[Any] = []

    def reserve(self) -> bool:
        """Take a place for a goal that is about to be accepted; False when there is none."""
        with self._lock:
            now = time.monotonic()
            self._reserved = [since for since in self._reserved if now - since < UNCONFIRMED_S]
            if len(self._reserved) + len(self._goals) >= GOALS_AT_ONCE:
                return False
            if self._exclusive and (self._reserved or not all(g.is_cancel_requested for g in self._goals)):
                return False
            self._reserved.append(now)
            return True

    def enter(self, goal: Any) -> None:
        """The goal was accepted."""
        with self._lock:
            if self._reserved:
                self._reserved.pop(0)
            self._goals.append(goal)

    def leave(self, goal: Any) -> None:
        """The goal has ended."""
        with self._lock:
            self._goals = [other for other in self._goals if other is not goal]


def printable(text: str) -> str:
    """Text that a message can carry (no lone surrogates, no NUL) and a person can read (not too long)."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]} ... ({len(text)} characters)"


def _failed(response: Any, reason: str) -> Any:
    """A response that says no, as far as its type can."""
    for field, value in (("success", False), ("successful", False), ("message", reason), ("reason", reason)):
        if hasattr(response, field):
            setattr(response, field, value)
    return response
