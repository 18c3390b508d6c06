"""What RViz, Foxglove and tf are told of an arm: frames that are those of the kinematics, and a description of them."""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from conftest import until

from memristor_bdnn.motion import arms, kinematics
from memristor_bdnn.motion.frames import TOOL, WORLD, Frames

ROOT = Path(__file__).parent.parent
ARMS = ("panda", "kuka_iiwa", "ur5e_2f85")

# ---- frames, without ROS ------------------------------------------------------------------------


def configurations(name: str) -> list[dict[str, float]]:
    arm, rng = arms.load(name), np.random.default_rng(0)
    fingers = dict.fromkeys(arm.gripper_joints, 0.01)  # alike: one may mimic the other
    return [dict(zip(arm.joint_names, rng.uniform(*arm.limits()), strict=True)) | fingers for _ in range(20)]


@pytest.mark.parametrize("name", ARMS)
def test_the_chain_from_the_world_to_the_tool_is_the_forward_kinematics(name: str) -> None:
    arm = arms.load(name)
    frames, chain = Frames(arm, "left/"), kinematics.chain(arm)
    for positions in configurations(name):
        found = frames.poses(positions)
        expected = chain.fk([positions[joint] for joint in arm.joint_names])
        np.testing.assert_allclose(found[f"left/{TOOL}"], expected, atol=1e-9)
        assert set(found) == {WORLD, *(link.name for link in frames.links)}, "every link has a place"


@pytest.mark.parametrize("name", ("panda", "ur5e_2f85"))
def test_every_link_is_where_the_simulator_has_it(name: str) -> None:
    """Fingers and covers are not in the chain; the simulator reads the same file by other means."""
    from pybullet_utils.bullet_client import BulletClient

    from memristor_bdnn.motion.ports.simulated import SimulatedArm

    arm, bullet = arms.load(name), BulletClient()
    simulated, frames = SimulatedArm(bullet, arm), Frames(arm)
    names, numbers = [*arm.joint_names, *arm.gripper_joints], [*simulated.joints, *simulated.fingers]
    indices = dict(zip(names, numbers, strict=True))
    for positions in configurations(name)[:5]:
        for joint, value in positions.items():
            bullet.resetJointState(simulated.body, indices[joint], value)
        found = frames.poses(positions)
        for link, index in simulated.links.items():
            if index >= 0:
                state = bullet.getLinkState(simulated.body, index, computeForwardKinematics=True)
                np.testing.assert_allclose(found[link][:3, 3], state[4], atol=1e-6, err_msg=link)
    bullet.disconnect()


def test_a_joint_nobody_reports_leaves_its_links_without_a_frame_and_no_others() -> None:
    arm = arms.load("panda")
    frames = Frames(arm)
    found = frames.poses(dict(zip(arm.joint_names, arm.home, strict=True)))
    assert "panda_finger_joint1" in frames.joints
    assert "panda_hand" in found and TOOL in found
    assert "panda_leftfinger" not in found and "panda_rightfinger" not in found


MIMIC = """<robot name="r">
  <link name="world"><collision><geometry><box size="1 1 1"/></geometry></collision></link>
  <link name="a"><collision><geometry><box size="1 1 1"/></geometry></collision></link>
  <link name="b"/><link name="c"/><link name="tool_frame"/>
  <joint name="j" type="revolute"><parent link="world"/><child link="a"/><axis xyz="0 0 1"/>
    <limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
  <joint name="f" type="prismatic"><parent link="a"/><child link="b"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="1" effort="1" velocity="1"/></joint>
  <joint name="g" type="prismatic"><parent link="a"/><child link="c"/><axis xyz="1 0 0"/>
    <limit lower="-1" upper="0" effort="1" velocity="1"/><mimic joint="f" multiplier="-2" offset="0.5"/></joint>
  <joint name="t" type="fixed"><parent link="a"/><child link="tool_frame"/></joint>
  <gazebo reference="a"/><transmission name="x"><joint name="j"/></transmission>
</robot>"""


@pytest.fixture
def mimic_arm(tmp_path: Path) -> Any:
    from memristor_bdnn.motion.arms.description import ArmDescription

    (tmp_path / "r.urdf").write_text(MIMIC)
    one = {"lower": (-1.0,), "upper": (1.0,), "velocity": (1.0,), "acceleration": (1.0,), "effort": (1.0,)}
    return ArmDescription(
        name="r",
        urdf=str(tmp_path / "r.urdf"),
        joint_names=("j",),
        home=(0.0,),
        base_link="world",
        tool_link="a",
        **one,
    )


def test_a_joint_that_mimics_another_follows_it(mimic_arm: Any) -> None:
    frames = Frames(mimic_arm, "p_")
    assert frames.joints == ("j", "f")
    found = frames.poses({"j": 0.0, "f": 0.2})
    np.testing.assert_allclose(found["p_b"][:3, 3], [0.2, 0, 0])
    np.testing.assert_allclose(found["p_c"][:3, 3], [0.1, 0, 0])


def test_links_called_as_our_own_frames_are_kept_apart(mimic_arm: Any) -> None:
    frames = Frames(mimic_arm)
    names = [link.name for link in frames.links]
    assert len(set(names)) == len(names) and WORLD not in names
    assert frames.links[0].name == "r_world" and frames.tool == "r_tool_frame"
    text = frames.description()
    assert '<link name="r_world">' in text and "gazebo" not in text and "transmission" not in text


@pytest.mark.parametrize("name", ARMS)
def test_the_description_names_the_frames_and_files_that_are_there(name: str) -> None:
    frames = Frames(arms.load(name), "lab/left_")
    root = ET.fromstring(frames.description("left_"))
    links = {link.get("name") for link in root.findall("link")}
    assert links == {link.name for link in frames.links} - {frames.tool}
    ends = {e.get("link") for joint in root.findall("joint") for e in joint if e.tag in ("parent", "child")}
    assert ends == links
    moving = {j.get("name") for j in root.findall("joint") if j.get("type") != "fixed"}
    assert moving >= {f"left_{joint}" for joint in arms.load(name).joint_names}
    for mesh in root.iter("mesh"):
        uri = urlparse(mesh.get("filename"))
        assert uri.scheme == "file" and Path(unquote(uri.path)).is_file()


def test_meshes_of_ros_packages_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memristor_bdnn.motion import frames

    file = tmp_path / "share" / "lab_description" / "meshes" / "link.stl"
    assert not frames._in_ros_package("package://lab_description/meshes/link.stl", file)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert frames._in_ros_package("package://lab_description/meshes/link.stl", file)


# ---- over DDS -----------------------------------------------------------------------------------

pytest.importorskip("rclpy")

from hardware_bench import Bench, Lab  # noqa: E402


class Listener:
    """Comes late, and keeps what it is told of robots, frames and joints."""

    def __init__(self, bench: Bench, space: str = "") -> None:
        pytest.importorskip("tf2_msgs.msg")
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String
        from tf2_msgs.msg import TFMessage

        latched = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node = bench.client().node
        self.descriptions: list[str] = []
        self.fixed: dict[str, Any] = {}
        self.moved: dict[str, Any] = {}
        self.joints: dict[tuple[int, int], dict[str, float]] = {}
        self.node.create_subscription(
            String, f"{space}/robot_description", lambda m: self.descriptions.append(m.data), latched
        )
        self.node.create_subscription(TFMessage, "/tf_static", self._on(self.fixed), latched)
        self.node.create_subscription(TFMessage, "/tf", self._on(self.moved), 100)
        self.node.create_subscription(JointState, f"{space}/joint_states", self._on_joints, 100)

    def _on(self, kept: dict[str, Any]) -> Callable[[Any], None]:
        return lambda message: kept.update({t.child_frame_id: t for t in message.transforms})

    def _on_joints(self, message: Any) -> None:
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        self.joints[stamp] = dict(zip(message.name, message.position, strict=True))

    def pose(self, frame: str) -> Any:
        """Pose (4, 4) of a frame in the world, along the chain of transforms."""
        from transforms3d.quaternions import quat2mat

        pose = np.eye(4)
        while frame != WORLD:
            message = (self.moved | self.fixed)[frame]
            t, r = message.transform.translation, message.transform.rotation
            pose = kinematics.transform(quat2mat([r.w, r.x, r.y, r.z]), (t.x, t.y, t.z)) @ pose
            frame = message.header.frame_id
        return pose


def test_a_simulated_arm_is_shown_to_a_late_joiner_until_cleanup(bench: Bench) -> None:
    from lifecycle_msgs.msg import Transition

    bench.node("world_node", "frames:=always", "__ns:=/lab")
    client = bench.client(namespace="/lab")
    until(lambda: client.peers.is_ready("pouring_world"), 60.0)
    heard = Listener(bench, "/lab")
    until(lambda: bool(heard.descriptions) and "lab/panda_link7" in heard.moved and bool(heard.fixed), 20.0)
    arm = arms.load("panda")
    np.testing.assert_allclose(heard.pose(f"lab/{TOOL}"), kinematics.chain(arm).fk(arm.home), atol=1e-6)
    assert set(heard.moved | heard.fixed) == {link.name for link in Frames(arm, "lab/").links}, "fingers too"
    assert heard.descriptions == [Frames(arm, "lab/").description()]
    assert change(client, Transition.TRANSITION_DEACTIVATE) and change(client, Transition.TRANSITION_CLEANUP)
    until(lambda: heard.node.count_publishers("/tf") == 0 == heard.node.count_publishers("/tf_static"), 20.0)
    assert heard.node.count_publishers("/lab/robot_description") == 0


def change(client: Any, transition: int) -> bool:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(client.call("pouring_world", ChangeState, "change_state", request, 20.0).success)


def test_two_physical_arms_on_one_bus_have_frames_of_their_own(bench: Bench) -> None:
    """Told apart by the prefixes of their joints; each moves as its own joint states say."""
    for side in ("left", "right"):
        bench.node("mock_controller_node", f"joint_prefix:={side}_", f"__node:={side}_mock")
        physical = (
            f"port.joint_prefix:={side}_",
            f"controller:={side}_mock",
            f"__node:={side}_world",
            "frames:=always",
        )
        bench.node("physical_world_node", *physical)
    heard = Listener(bench)
    wanted = {f"{side}_panda_link7" for side in ("left", "right")}
    until(lambda: wanted <= set(heard.moved) and {"left_tool_frame", "right_tool_frame"} <= set(heard.fixed), 60.0)
    arm = arms.load("panda")
    for side in ("left", "right"):
        np.testing.assert_allclose(heard.pose(f"{side}_{TOOL}"), kinematics.chain(arm).fk(arm.home), atol=1e-6)
    assert not any(name.startswith("panda") for name in heard.moved | heard.fixed)


def test_a_physical_arm_in_motion_is_shown_where_its_joint_states_say(bench: Bench) -> None:
    lab = Lab(bench, "frames:=always")
    heard = Listener(bench)
    until(lambda: "panda_link7" in heard.moved and bool(heard.fixed), 20.0)
    lab.start(3.0)
    seen, arm = [], arms.load("panda")
    chain = kinematics.chain(arm)

    def compared() -> bool:
        stamps = {(t.header.stamp.sec, t.header.stamp.nanosec) for t in list(heard.moved.values())}
        if len(stamps) == 1 and (stamp := stamps.pop()) in heard.joints:
            q = [heard.joints[stamp][name] for name in arm.joint_names]
            seen.append((q[0], np.abs(heard.pose(TOOL) - chain.fk(q)).max()))
        return len({round(q, 3) for q, _ in seen}) > 5

    until(compared, 30.0)
    errors = [error for _, error in seen]
    assert np.median(errors) < 1e-6, "a message may come between two looks; most do not"


def test_frames_are_left_to_a_driver_that_describes_the_robot(bench: Bench) -> None:
    from std_msgs.msg import String

    from memristor_bdnn.nodes.robot_description import LATCHED

    driver = bench.client().node
    driver.create_publisher(String, "robot_description", LATCHED).publish(String(data="<robot name='theirs'/>"))
    lab = Lab(bench)
    until(lambda: bench.says("physical_world_node", "frames are left to it"), 30.0)
    until(lambda: driver.count_publishers("/tf") == 0, 20.0)  # discovery may have come too late to say nothing at all
    heard = Listener(bench)
    until(lambda: bool(heard.descriptions), 20.0)
    time.sleep(0.5)
    assert heard.descriptions == ["<robot name='theirs'/>"] and not heard.moved and not heard.fixed
    assert lab.client.peers.is_ready("pouring_world")


def test_without_the_type_of_tf_the_node_goes_on_and_says_so_once(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "tf2_msgs.py").write_text("raise ImportError('hidden by a test')")
    path = os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])
    bench.node("world_node", "frames:=always", PYTHONPATH=path)
    client = bench.client()
    until(lambda: client.peers.is_ready("pouring_world"), 60.0)
    log = bench.log("world_node").read_text()
    assert log.count("tf2_msgs cannot be used") == 1 and "hidden by a test" in log
    assert client.node.count_publishers("/robot_description") == 1


def test_the_type_of_tf_is_the_real_one() -> None:
    """Its hash is what ROS 2 Jazzy and later have for tf2_msgs/msg/TFMessage: another one would not be heard."""
    import json
    import sys

    path = Path(sys.prefix) / "share" / "tf2_msgs" / "msg" / "TFMessage.json"
    if not path.is_file():
        pytest.skip("tf2_msgs is not in this environment's prefix")
    hashes = {h["type_name"]: h["hash_string"] for h in json.loads(path.read_text())["type_hashes"]}
    assert hashes["tf2_msgs/msg/TFMessage"] == "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
