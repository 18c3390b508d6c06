"""Shows an arm to RViz, Foxglove and tf: ``robot_description``, ``/tf_static`` and ``/tf``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.exceptions import NoTypeSupportImportedException
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.frames import Frames, Link
from memristor_bdnn.motion.kinematics import quaternions

TOPIC, TF, TF_STATIC = "robot_description", "/tf", "/tf_static"
RATE_HZ = 25.0
WHO = ("auto", "always", "never")
"""Whether an arm is described: unless somebody else does it, always, never."""
LOOK_S = 5.0
"""Others are looked for so long before anything is said (discovery takes up to 4.3 s), and as often later."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DYNAMIC = QoSProfile(depth=100)


class Known(NamedTuple):
    """Positions of joints (rad or m) by name without prefix, and the time they were measured."""

    positions: Mapping[str, float]
    stamp: Time


def frame_prefix(namespace: str, joint_prefix: str) -> str:
    """What stands before an arm's frames, so that two arms can share one bus: ``lab/left_`` for left_ in lab."""
    spaces = namespace.strip("/")
    return f"{spaces}/{joint_prefix}" if spaces else joint_prefix


class RobotDescription:
    """Publishes one arm's description and its frames until it is closed.

    The links of the description are called as their frames, prefix included: a display needs no prefix of its own.
    A link whose joint nobody reports has no frame.
    """

    def __init__(
        self,
        node: Any,
        arm: ArmDescription,
        joint_prefix: str,
        who: str,
        source: Callable[[], Known | None],
        rate_hz: float = RATE_HZ,
    ) -> None:
        """
        Args:
            node: publishes.
            arm: to describe.
            joint_prefix: of the joints in joint_states.
            who: one of :data:`WHO`.
            source: where the joints are, asked in the node's threads; None while that is not known. The same stamp
                again is not published again.
            rate_hz: how often it looks; 0 for a caller that says itself when to :meth:`look`.

        Raises:
            ConfigError: as :class:`memristor_bdnn.motion.frames.Frames`.
        """
        self._node, self._who, self._source = node, who, source
        self.frames = Frames(arm, frame_prefix(node.get_namespace(), joint_prefix))
        self._text = self.frames.description(joint_prefix)
        self._lock = threading.Lock()
        self._publishers: list[Any] = []
        self._tf: Any = None
        self._stamp: Time | None = None
        self._ended, self._looked = who == "never", time.monotonic()
        self._timer = None
        if not self._ended:
            if who == "always":
                self._begin()
            if rate_hz:
                self._timer = node.create_timer(1.0 / rate_hz, self.look, callback_group=node.group)

    def close(self) -> None:
        """Publish nothing any more, latched messages included; safe to call twice."""
        with self._lock:
            self._ended = True
            self._withdraw()

    def _withdraw(self) -> None:
        while self._publishers:
            self._node.destroy_publisher(self._publishers.pop())
        self._tf = None

    def look(self) -> None:
        """Publish the frames if the joints are somewhere else now; in "auto", look for others now and then."""
        with self._lock:
            if self._ended:
                return
            if self._who == "auto" and time.monotonic() - self._looked > LOOK_S:
                self._look_for_others()
            known = self._source() if self._tf is not None else None
            if known is None or known.stamp == self._stamp:
                return
            self._stamp = known.stamp
            moved = self.frames.moved(known.positions)
            if moved:
                self._tf.publish(self._message(moved, known.stamp))

    def _look_for_others(self) -> None:
        """Leave the robot to somebody else who describes it, such as a driver's robot_state_publisher."""
        self._looked = time.monotonic()
        topic = self._node.resolve_topic_name(TOPIC)
        me = (self._node.get_name(), self._node.get_namespace())
        found = [(i.node_name, i.node_namespace) for i in self._node.get_publishers_info_by_topic(topic)]
        others = sorted({f"{space.rstrip('/')}/{name}" for name, space in found if (name, space) != me})
        if others:
            self._ended = True
            self._withdraw()
            self._node.get_logger().info(
                f"{topic} is published by {', '.join(others)}: frames are left to it (frames:=always has ours too)"
            )
        elif not self._publishers:
            self._begin()

    def _begin(self) -> None:
        node = self._node
        self._publishers.append(node.create_publisher(String, TOPIC, LATCHED))
        self._publishers[0].publish(String(data=self._text))
        try:
            from tf2_msgs.msg import TFMessage

            static = node.create_publisher(TFMessage, TF_STATIC, LATCHED)
            self._publishers.append(static)
            self._tf = node.create_publisher(TFMessage, TF, DYNAMIC)
            self._publishers.append(self._tf)
        except (ImportError, NoTypeSupportImportedException) as error:
            node.get_logger().warning(
                f"tf2_msgs cannot be used ({error}): /tf and /tf_static are not published; the rest goes on. It comes "
                "with ROS 2, and with `make build`"
            )
            return
        fixed = [(link, link.pose()) for link in self.frames.fixed()]
        static.publish(self._message(fixed, node.get_clock().now().to_msg()))

    def _message(self, links: Sequence[tuple[Link, npt.NDArray[np.float64]]], stamp: Time) -> Any:
        from tf2_msgs.msg import TFMessage

        poses = np.array([pose for _, pose in links])
        rows = zip(links, poses[:, :3, 3].tolist(), quaternions(poses[:, :3, :3]).tolist(), strict=True)
        return TFMessage(transforms=[_stamped(link, at, turn, stamp) for (link, _), at, turn in rows])


def _stamped(link: Link, at: list[float], turn: list[float], stamp: Time) -> TransformStamped:
    message = TransformStamped(child_frame_id=link.name)
    message.header.frame_id, message.header.stamp = link.parent, stamp
    place, rotation = message.transform.translation, message.transform.rotation
    place.x, place.y, place.z = at
    rotation.x, rotation.y, rotation.z, rotation.w = turn
    return message
