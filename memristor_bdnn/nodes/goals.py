"""Goals that are never left behind: what was given up is cancelled, also when it is accepted only later."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalInfo
from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node

POLL_S = 0.02


class SpinSafeActionClient(ActionClient):
    """An action client that may be made, and may send goals, while an executor spins.

    rclpy shows a new client to the executor before the client has its lock, which ends the executor with an
    AttributeError now and then; until the client has its own, this lock serves. It also registers the future of a goal
    twice: an acceptance that arrives between the two reaches the one that nobody has, and the goal would run unknown.
    """

    _lock = threading.Lock()
    _sending = threading.Lock()

    def send_goal_async(self, *arguments: Any, **options: Any) -> Any:
        """Send a goal; its acceptance is handled after this has returned."""
        with self._sending:
            return super().send_goal_async(*arguments, **options)

    async def execute(self, taken_data: Any) -> None:
        """Handle what has arrived; called by the executor."""
        with self._sending:
            pass
        await super().execute(taken_data)

    def cancel_goal_async(self, goal_id: Any) -> Any:
        """Ask the server to cancel a goal by its id, whether its acceptance has been heard or not."""
        response = self._action_type.Impl.SendGoalService.Response(accepted=True)
        return ClientGoalHandle(self, goal_id, response).cancel_goal_async()


class SentGoal:
    """One goal on its way: :meth:`abandon` ends it in whatever state it is.

    Attributes:
        acceptance: future of the server's answer to the goal.
    """

    def __init__(self, client: SpinSafeActionClient, goal: Any, feedback: Callable[[Any], None] | None = None) -> None:
        """Send the goal; feedback is called from an executor's thread and must not raise."""
        self._client = client
        # An id of our own, to cancel a goal whose acceptance never arrives.
        self._id = GoalInfo().goal_id
        self._id.uuid = list(uuid.uuid4().bytes)
        self._lock = threading.Lock()
        self._cancel: Any = None
        self._knows_goal = False
        self._outcomes: list[Any] = []
        self.acceptance = client.send_goal_async(goal, feedback_callback=feedback, goal_uuid=self._id)

    @property
    def over(self) -> bool:
        """Whether the goal was rejected or has ended."""
        return self.outcome is not None or bool(self.acceptance.done() and not self.acceptance.result().accepted)

    @property
    def outcome(self) -> Any:
        """The response with status and result, None until it is there."""
        return next((future.result() for future in self._outcomes if future.done()), None)

    def request_result(self) -> Any:
        """Ask for the result, once the goal was accepted; returns the future of the response.

        Asking again is allowed: an answer is lost where this process was stopped for longer than DDS waits for it.
        """
        self._outcomes.append(self.acceptance.result().get_result_async())
        return self._outcomes[-1]

    def abandon(self) -> str:
        """Cancel the goal now, and again should it be accepted later; never raises.

        Returns:
            What could not be done, empty for nothing.
        """
        try:
            if self.over:
                return ""
            self._knows_goal = self.acceptance.done()
            self._cancel = self._client.cancel_goal_async(self._id)
            if not self._knows_goal:
                self.acceptance.add_done_callback(self._cancel_late)
        except Exception as error:
            return f"the goal could not be cancelled ({type(error).__name__}: {error})"
        return ""

    def _cancel_late(self, acceptance: Any) -> None:
        """A server that has only now accepted did not know the goal when it was asked to cancel it."""
        with self._lock:
            if self._knows_goal or not acceptance.result().accepted:
                return
            self._knows_goal = True
        self._cancel = self._client.cancel_goal_async(self._id)

    def settle(self, timeout_s: float) -> str:
        """Wait until an abandoned goal has ended or its end is certain; never raises.

        Returns:
            What is not certain, empty when the goal is known to be cancelled, rejected or over.
        """
        deadline, problem = time.monotonic() + timeout_s, "the goal is unanswered"
        while time.monotonic() < deadline:
            try:
                if (problem := self._unsettled()) == "":
                    return ""
            except Exception as error:
                return f"the goal could not be cancelled ({type(error).__name__}: {error})"
            time.sleep(POLL_S)
        return problem

    def _unsettled(self) -> str:
        if self.over:
            return ""
        if not self.acceptance.done():
            return "the server has neither accepted nor refused the goal"
        if self._cancel is None or not self._cancel.done():
            return "the server has not answered the cancellation"
        answer, codes = self._cancel.result(), CancelGoal.Response
        if answer.goals_canceling or answer.return_code == codes.ERROR_GOAL_TERMINATED:
            return ""
        if answer.return_code == codes.ERROR_UNKNOWN_GOAL_ID:
            if self._knows_goal:
                return ""  # over for so long that the server has forgotten it
            self._cancel_late(self.acceptance)
            return "the server has not answered the cancellation"
        return "the server refused to cancel the goal"


class Callers:
    """Notices that whoever sent a goal has gone: every action client hears the feedback, so its end is seen there."""

    def __init__(self, node: Node, action: str) -> None:
        """Remember who listens to ``action`` (a name as the server was given) now."""
        self._node, self._topic = node, f"{action}/_action/feedback"
        self._known = self._present()
        self._asked = time.monotonic()
        self._gone = False

    def _present(self) -> frozenset[bytes]:
        found = self._node.get_subscriptions_info_by_topic(self._topic)
        return frozenset(bytes(info.endpoint_gid) for info in found)

    def gone(self) -> bool:
        """Whether all of those who could have sent the goal have left the graph; looks twice a second."""
        now = time.monotonic()
        if not self._gone and now - self._asked > 0.5:
            self._asked, present = now, self._present()
            self._known = self._known or present  # discovery may be slower than the goal
            self._gone = bool(self._known) and not self._known & present
        return self._gone
