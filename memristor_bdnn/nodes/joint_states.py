"""Where the joints of one arm are, whoever publishes joint_states and with whatever quality of service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import JointState

from memristor_bdnn.errors import ArmError, Cancelled

FloatArray = npt.NDArray[np.float64]

TOPIC = "joint_states"
LISTEN = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Asks for the least, so that every publisher is heard; what was latched before we listened is not: it may be old."""
FAULT_S = 0.5
"""How long a faulty message about our joints speaks against the good ones around it."""
OTHERS_SHOWN = 12
POLL_S = 0.02


class JointStates:
    """The latest finite position of every joint of one arm, each with the time it was heard.

    Several drivers may publish parts of the arm. Joints of others are not looked at. A message about our joints that
    is malformed or not finite changes nothing: it is remembered as a fault, see :meth:`fault_since`. Velocities and
    efforts are not used.
    """

    def __init__(self, node: Node, joint_names: Sequence[str], prefix: str = "") -> None:
        """
        Args:
            node: spins while the others ask.
            joint_names: of the arm, without prefix, in the order of the result.
            prefix: before every joint name on the topic; a joint without it is another arm's.
        """
        self._node, self.names = node, tuple(prefix + name for name in joint_names)
        self._where = {name: i for i, name in enumerate(self.names)}
        self._lock = threading.Lock()
        self._heard = np.full(len(self.names), -np.inf)
        self._positions = np.full(len(self.names), np.nan)
        self._fault: tuple[float, str] | None = None
        self._others: dict[str, None] = {}
        self._subscription: Any = node.create_subscription(
            JointState, TOPIC, self._on_message, LISTEN, callback_group=ReentrantCallbackGroup()
        )

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_message(self, message: JointState) -> None:
        ours = [i for i, name in enumerate(message.name) if name in self._where]
        now = time.monotonic()
        with self._lock:
            if not ours:
                for name in message.name[: OTHERS_SHOWN - len(self._others)]:
                    self._others[name] = None
                return
            if not message.position and (message.velocity or message.effort):
                return  # says nothing about where the arm is, and does not claim to
            fault = _fault(message, ours)
            if fault:
                self._fault = (now, fault)
                return
            for i in ours:
                where = self._where[message.name[i]]
                self._heard[where], self._positions[where] = now, message.position[i]

    # -- what is known ------------------------------------------------------------------------

    def last(self) -> FloatArray | None:
        """The last finite positions (dof,), rad, however old; None until every joint was heard."""
        with self._lock:
            return self._positions.copy() if np.isfinite(self._positions).all() else None

    def latest(self) -> tuple[float, FloatArray]:
        """Time of the joint heard longest ago (steady clock, s) and the positions (dof,), rad.

        Raises:
            ArmError: ``stale_state`` or ``invalid_joints`` when a joint has never been heard; the text says why.
        """
        with self._lock:
            complete = np.isfinite(self._positions).all()
            heard, positions = float(self._heard.min()), self._positions.copy()
        if not complete:
            raise self._silence()
        return heard, positions

    def fault_since(self, begin: float) -> str:
        """What was wrong with the last faulty message heard after `begin` (steady clock, s); empty for none."""
        with self._lock:
            return self._fault[1] if self._fault is not None and self._fault[0] > begin else ""

    def fresh(self, max_age: float) -> FloatArray:
        """Positions (dof,), rad, all at most `max_age` seconds old.

        Raises:
            ArmError: ``stale_state`` naming joint and age, or ``invalid_joints`` after a faulty message just now.
        """
        now = time.monotonic()
        if fault := self.fault_since(now - min(max_age, FAULT_S)):
            raise ArmError("invalid_joints", fault)
        heard, positions = self.latest()
        if now - heard > max_age:
            with self._lock:
                oldest = self.names[int(self._heard.argmin())]
            raise ArmError(
                "stale_state",
                f"the last joint state is {now - heard:.2f} s old (allowed {max_age:g} s, joint {oldest}): is the "
                "arm's driver running?",
            )
        return positions

    def wait_fresh(self, max_age: float, timeout_s: float, cancelled: Callable[[], bool]) -> FloatArray:
        """:meth:`fresh`, after giving a driver that has just been started a moment to say where the arm is.

        Raises:
            Cancelled: the caller gave up.
            ArmError: as :meth:`fresh`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.fresh(max_age)
            except ArmError:
                if time.monotonic() > deadline:
                    raise
            if cancelled():
                raise Cancelled("canceled while waiting for a joint state")
            time.sleep(POLL_S)

    def _silence(self) -> ArmError:
        """Why no complete state is known."""
        with self._lock:
            fault, others = self._fault, ", ".join(self._others)
            missing = [name for name, heard in zip(self.names, self._heard, strict=True) if heard == -np.inf]
        if fault is not None:
            return ArmError("invalid_joints", fault[1])
        if len(missing) < len(self.names) or others:
            return ArmError(
                "invalid_joints",
                f"the joint states lack {', '.join(missing)}"
                + (f"; others are heard: {others}" if others else "")
                + "; check joint names and joint_prefix",
            )
        return ArmError("stale_state", unheard(self._node, TOPIC, "sensor_msgs/msg/JointState", LISTEN))


def _fault(message: JointState, ours: Sequence[int]) -> str:
    """What is wrong with a message about our joints (indices), empty for nothing."""
    names = [message.name[i] for i in ours]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"the joint state names {', '.join(twice)} twice"
    if len(message.position) != len(message.name):
        return f"the joint state has {len(message.position)} positions for {len(message.name)} joints"
    bad = [f"{message.name[i]} = {message.position[i]}" for i in ours if not np.isfinite(message.position[i])]
    return f"the joint state is not finite: {', '.join(bad)}" if bad else ""


def unheard(node: Node, topic: str, kind: str, listen: QoSProfile) -> str:
    """Why nothing has arrived on a topic, as far as the graph tells: nobody, another type, or a QoS mismatch."""
    found = node.get_publishers_info_by_topic(topic)
    if not found:
        return f"no joint state has arrived and nobody publishes {topic}: is the arm's driver running?"
    reasons = []
    for info in found:
        who = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        compatible, reason = qos_check_compatible(info.qos_profile, listen)
        if info.topic_type != kind:
            reasons.append(f"{who} publishes {info.topic_type}, expected {kind}")
        elif compatible == QoSCompatibility.ERROR:
            reasons.append(f"QoS mismatch with {who}: {reason}")
        else:
            reasons.append(f"{who} publishes, but sent nothing")
    return f"no joint state has arrived on {topic}: {'; '.join(reasons)}"
