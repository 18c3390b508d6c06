"""Where the joints of one arm are, whoever publishes joint_states and with whatever quality of service."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import JointState

from memristor_bdnn.errors import ArmError, Cancelled

FloatArray = npt.NDArray[np.float64]

TOPIC = "joint_states"
LISTEN = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
"""Asks for the least, so that every publisher is heard; what was latched before we listened is not: it may be old.

So many are kept for a process that is held up, and judged afterwards.
"""
FAULT_S = 0.5
"""How long a faulty message about our joints speaks against the good ones around it."""
OTHERS_SHOWN = 12
POLL_S = 0.02
TRACK, TRACK_STEP_S = 512, 0.005
"""States remembered for whoever judges a motion, and the least time between two: 2.5 s of the fastest driver."""
WINDOW_S = 30.0
"""The least delay is that of the last one or two of these: clocks drift apart."""
SET_BACK_S = 1.0
"""A stamp that is further back than this is of a clock that was set, not of a message that was overtaken."""
DRIVERS = 16
"""Drivers whose clocks are remembered; each is known by the joints that it names."""


class State(NamedTuple):
    """A complete state: its number, when it was measured (steady clock, s), and the positions (dof,), rad."""

    number: int
    measured: float
    positions: FloatArray


class StampClock:
    """Puts the stamps of one driver on this process's steady clock, whatever its own clock is set to.

    What lies between stamp and arrival is the difference of the clocks plus the time a message took. The least of the
    last while is the difference and the shortest way there is; what a message took beyond that is its delay.
    """

    def __init__(self) -> None:
        self._least, self._before = np.inf, np.inf
        self._since, self._last = -np.inf, -np.inf

    def measured(self, stamp: float, now: float) -> float | None:
        """When the message was measured (s, our clock) that is stamped `stamp` (s, the driver's) and arrived at `now`.

        None for one that was overtaken by a later one. A stamp far back starts anew: the driver's clock was set.
        """
        if self._last - SET_BACK_S < stamp < self._last:
            return None
        if stamp < self._last:
            self._least = self._before = np.inf
        if now - self._since > WINDOW_S:
            self._before, self._least, self._since = self._least, np.inf, now
        self._last = stamp
        self._least = min(self._least, now - stamp)
        return stamp + min(self._least, self._before)


class JointStates:
    """The latest finite position of every joint of one arm, each with the time it was measured.

    The time is that of the message's stamp, put on this process's steady clock (:class:`StampClock`): a message that
    was kept waiting is as old as it is, and says where the arm was then. Without stamp, or in simulated time, the
    arrival counts.

    Several drivers may publish parts of the arm. Joints of others are not looked at. A message about our joints that
    is malformed or not finite changes nothing: it is remembered as a fault, see :meth:`fault_since`. Velocities and
    efforts are not used.
    """

    def __init__(self, node: Node, joint_names: Sequence[str], prefix: str = "", others: Sequence[str] = ()) -> None:
        """
        Args:
            node: spins while the others ask.
            joint_names: of the arm, without prefix, in the order of the result.
            prefix: before every joint name on the topic; a joint without it is another arm's.
            others: joints (without prefix) that are shown and not guarded, such as fingers; see :meth:`shown`.
        """
        self._node, self.names = node, tuple(prefix + name for name in joint_names)
        self._prefix, self._shown_names = prefix, {prefix + name for name in (*joint_names, *others)}
        self._shown: dict[str, float] = {}
        self._stamp: Time | None = None
        self._clocks: dict[tuple[str, ...], StampClock] = {}
        self._follow_stamps = not node.get_parameter_or("use_sim_time", Parameter("use_sim_time", value=False)).value
        self._track: deque[State] = deque(maxlen=TRACK)
        self._number = 0
        self._where = {name: i for i, name in enumerate(self.names)}
        self._lock = threading.Lock()
        self._heard = np.full(len(self.names), -np.inf)
        self._arrived = -np.inf
        self._positions = np.full(len(self.names), np.nan)
        self._fault: tuple[float, str] | None = None
        self._others: dict[str, None] = {}
        self._subscription: Any = node.create_subscription(
            JointState, TOPIC, self._on_message, LISTEN, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_message(self, message: JointState) -> None:
        with self._lock:
            self._take(message, time.monotonic())

    def catch_up(self) -> None:
        """Take what has arrived and still waits for the executor: a process that was held up is not a silent driver."""
        subscription = self._subscription
        if subscription is None:
            return
        for _ in range(LISTEN.depth):
            try:
                with self._lock, subscription.handle:
                    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                    if taken is None:
                        return
                    self._take(taken[0], time.monotonic())
            except rclpy_implementation.InvalidHandle:  # closed in the meantime
                return

    def _take(self, message: JointState, now: float) -> None:
        """Remember one message that arrived now (steady clock, s); the lock is held."""
        if len(message.position) == len(message.name):
            news = {n: q for n, q in zip(message.name, message.position, strict=True) if n in self._shown_names}
            if news and np.isfinite(list(news.values())).all():
                self._shown.update(news)
                stamped = message.header.stamp.sec or message.header.stamp.nanosec
                self._stamp = message.header.stamp if stamped else self._node.get_clock().now().to_msg()
        ours = [i for i, name in enumerate(message.name) if name in self._where]
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
        measured = self._measured(message, now)
        if measured is None:
            return
        self._arrived = now
        for i in ours:
            where = self._where[message.name[i]]
            self._heard[where], self._positions[where] = measured, message.position[i]
        heard, last = float(self._heard.min()), self._track[-1].measured if self._track else -np.inf
        # Back: the driver's clock is known better now, or was set.
        if np.isfinite(self._positions).all() and not 0.0 <= heard - last < TRACK_STEP_S:
            self._number += 1
            self._track.append(State(self._number, heard, self._positions.copy()))

    def _measured(self, message: JointState, now: float) -> float | None:
        """When a message's positions were measured (steady clock, s), as its driver says; None if overtaken."""
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        if stamp == 0.0 or not self._follow_stamps:
            return now
        driver = tuple(message.name)
        if driver not in self._clocks and len(self._clocks) >= DRIVERS:
            self._clocks.clear()
        return self._clocks.setdefault(driver, StampClock()).measured(stamp, now)

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

    def track(self, after: int) -> list[State]:
        """Complete states that came after that of a number, oldest first."""
        with self._lock:
            return [state for state in self._track if state.number > after]

    def shown(self) -> tuple[dict[str, float], Time] | None:
        """Last positions (rad or m) of all joints that are heard, by name without prefix, and the last stamp."""
        with self._lock:
            if self._stamp is None:
                return None
            return {name.removeprefix(self._prefix): q for name, q in self._shown.items()}, self._stamp

    def fault_since(self, begin: float) -> str:
        """What was wrong with the last faulty message heard after `begin` (steady clock, s); empty for none."""
        with self._lock:
            return self._fault[1] if self._fault is not None and self._fault[0] > begin else ""

    def fresh(self, max_age: float) -> FloatArray:
        """Positions (dof,), rad, all at most `max_age` seconds old.

        Raises:
            ArmError: ``stale_state`` naming joint and age, or ``invalid_joints`` after a faulty message just now.
        """
        self.catch_up()
        now = time.monotonic()
        if fault := self.fault_since(now - min(max_age, FAULT_S)):
            raise ArmError("invalid_joints", fault)
        heard, positions = self.latest()
        if now - heard > max_age:
            with self._lock:
                oldest, quiet = self.names[int(self._heard.argmin())], now - self._arrived
            why = "is the arm's driver running?"
            if quiet < max_age:
                why = "messages arrive, but say by their stamps that they are old: late, or the driver's clock stands"
            raise ArmError(
                "stale_state",
                f"the last joint state is {now - heard:.2f} s old (allowed {max_age:g} s, joint {oldest}): {why}",
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
    topic = node.resolve_topic_name(topic)
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
