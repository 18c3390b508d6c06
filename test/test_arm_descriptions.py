"""Robot descriptions as users bring them: what is wrong is named, part by part, and nothing is believed silently."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.kinematics import chain
from memristor_bdnn.motion.ports.simulated import SimulatedArm

INERTIAL = '<inertial><mass value="1"/><inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/></inertial>'
BOX = '<geometry><box size="0.05 0.05 0.2"/></geometry>'
LIMIT = '<limit lower="-2" upper="2" effort="10" velocity="1"/>'
OBJ = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"


def link(name: str, collision: str = BOX, visual: str = BOX, inertial: str = INERTIAL) -> str:
    parts = [f"<{tag}>{shape}</{tag}>" for tag, shape in (("visual", visual), ("collision", collision)) if shape]
    return f'<link name="{name}">{inertial}{"".join(parts)}</link>'


def joint(name: str, parent: str, child: str, limit: str = LIMIT, kind: str = "revolute", more: str = "") -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0 0 0.3" rpy="0 0 0"/><axis xyz="0 1 0"/>{limit}{more}</joint>'
    )


LINKS = {name: link(name) for name in ("base", "upper", "lower")}
JOINTS = {"shoulder": joint("shoulder", "base", "upper"), "elbow": joint("elbow", "upper", "lower")}


def robot(links: dict[str, str] | None = None, joints: dict[str, str] | None = None, more: str = "") -> str:
    parts = [*{**LINKS, **(links or {})}.values(), *{**JOINTS, **(joints or {})}.values(), more]
    return f'<?xml version="1.0"?><robot name="small">{"".join(parts)}</robot>'


def mesh(name: str) -> str:
    return f'<geometry><mesh filename="{name}"/></geometry>'


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """An arm of two joints whose URDF has a given text."""

    def arm(text: str | bytes | None = None, **changes: Any) -> Any:
        path = tmp_path / "robot" / "small.urdf"
        path.parent.mkdir(exist_ok=True)
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        values = {
            "name": "small",
            "urdf": str(path),
            "joint_names": ("shoulder", "elbow"),
            "base_link": "base",
            "tool_link": "lower",
            **{name: (value,) * 2 for name, value in (("lower", -2.0), ("upper", 2.0), ("home", 0.0))},
            **{name: (1.0, 1.0) for name in ("velocity", "acceleration", "effort")},
        }
        return arms.ArmDescription(**{**values, **changes})

    return arm


def used(arm: Any) -> list[str]:
    """Load an arm in every way in which it is; returns the warnings."""
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.isfinite(chain(arm).fk(np.zeros(2))).all()
        CollisionModel(arm).close()
        client = BulletClient(pybullet.DIRECT)
        try:
            SimulatedArm(client, arm)
        finally:
            client.disconnect()
    return [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


def refusals(arm: Any) -> list[str]:
    """The errors of all ways in which an arm is loaded."""
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    client = BulletClient(pybullet.DIRECT)
    texts = []
    for load in (lambda: chain(arm), lambda: CollisionModel(arm), lambda: SimulatedArm(client, arm)):
        with pytest.raises(ConfigError) as refused:
            load()
        texts.append(str(refused.value))
        assert "\n" not in texts[-1] and "small" in texts[-1]
    client.disconnect()
    return texts


def test_a_whole_description_loads_without_a_word(make: Callable[..., Any]) -> None:
    assert used(make(robot())) == []
    for name in ("panda", "kuka_iiwa"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            CollisionModel(arms.load(name)).close()


WRONG = {
    "empty": (b"", "is empty"),
    "spaces": (b" \n ", "is empty"),
    "cut off": (robot()[:200], "not valid XML"),
    "no text": (b"\xff\xfe\x00", "not valid XML"),
    "sdf": ("<sdf><model/></sdf>", "begins with <sdf>, expected <robot>"),
    "xacro element": (
        '<robot name="r" xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:arm/></robot>',
        r"xacro file \(arm\): process it first",
    ),
    "xacro value": (robot({"base": link("${prefix}base")}), r"xacro file \(\$\{prefix\}base\): process it first"),
    "no limit": (
        robot(joints={"elbow": joint("elbow", "upper", "lower", "")}),
        "joint elbow is revolute and has no <limit",
    ),
    "no number": (
        robot(joints={"elbow": joint("elbow", "upper", "lower", LIMIT.replace('"-2"', '"-2 deg"'))}),
        "joint elbow: lower of <limit> is '-2 deg'",
    ),
    "two numbers": (
        robot(joints={"elbow": JOINTS["elbow"].replace("0 0 0.3", "0 0.3")}),
        "joint elbow: xyz of <origin> is '0 0.3', expected 3 finite numbers",
    ),
    "NaN": (robot(joints={"elbow": JOINTS["elbow"].replace("0 0 0.3", "0 0 nan")}), "joint elbow: xyz of <origin>"),
    "no axis": (
        robot(joints={"elbow": JOINTS["elbow"].replace("0 1 0", "0 0 0")}),
        "joint elbow: its axis .* points nowhere",
    ),
    "prismatic": (
        robot(joints={"elbow": joint("elbow", "upper", "lower", kind="prismatic")}),
        r"joint elbow \(joint_names\) is prismatic",
    ),
    "mimic": (
        robot(joints={"elbow": joint("elbow", "upper", "lower", more='<mimic joint="shoulder"/>')}),
        r"joint elbow \(joint_names\) mimics",
    ),
    "no parent": (
        robot(joints={"elbow": JOINTS["elbow"].replace('<parent link="upper"/>', "")}),
        "joint elbow has no parent",
    ),
    "unknown child": (
        robot(joints={"elbow": joint("elbow", "upper", "forearm")}),
        "joint elbow: there is no link forearm",
    ),
    "two parents": (robot(more=joint("more", "base", "lower")), "link lower is the child of joints elbow and more"),
    "twice": (robot(more=link("upper")), "link upper is there twice"),
    "no name": (robot(more="<link/>"), "a link has no name"),
    "no collision": (robot({n: link(n, collision="") for n in LINKS}), "no link has a <collision>"),
    "a link of the arm without": (
        robot({"upper": link("upper", collision="")}),
        "link upper can be seen but has no <collision>: give it a shape",
    ),
    "a base on rails": (
        robot({"rail": link("rail")}, {"slide": joint("slide", "rail", "base", kind="prismatic")}),
        r"joint slide \(prismatic\) moves the base link base",
    ),
    "a base that is raised": (
        robot({"cell": link("cell")}, {"stand": joint("stand", "cell", "base", kind="fixed")}),
        "base link base is raised or moved by joint stand .* name the root cell as base_link, or .* mount_height",
    ),
    "a base that is turned": (
        robot(
            {"cell": link("cell")},
            {
                "stand": joint("stand", "cell", "base", kind="fixed").replace(
                    'xyz="0 0 0.3" rpy="0 0 0"', 'xyz="0 0 0" rpy="0 0 1.57"'
                )
            },
        ),
        "base link base is turned by joint stand",
    ),
    "a prismatic joint in the chain": (
        robot({"tool": link("tool")}, {"lift": joint("lift", "lower", "tool", kind="prismatic")}),
        r"joint lift of the arm is prismatic",
    ),
    "no geometry": (robot({"upper": link("upper", collision=" ")}), "<collision> of link upper has nothing"),
    "odd geometry": (
        robot({"upper": link("upper", collision="<geometry><cone/></geometry>")}),
        "<collision> of link upper has <cone>",
    ),
    "missing mesh": (
        robot({"upper": link("upper", collision=mesh("meshes/upper.stl"))}),
        "collision mesh of link upper, 'meshes/upper.stl', is not there: looked beside the URDF",
    ),
    "missing package": (
        robot({"upper": link("upper", collision=mesh("package://my_robot/upper.stl"))}),
        "'package://my_robot/upper.stl', is not there: looked in share/ of AMENT_PREFIX_PATH",
    ),
    "glb": (
        robot({"upper": link("upper", collision=mesh("upper.glb"))}),
        "collision mesh of link upper, 'upper.glb', is of a form that PyBullet cannot read: convert it to .obj",
    ),
    "no file name": (
        robot({"upper": link("upper", collision="<geometry><mesh/></geometry>")}),
        "upper, '', has no filename",
    ),
    "web": (
        robot({"upper": link("upper", collision=mesh("http://somewhere/upper.stl"))}),
        "'http://somewhere/upper.stl', is not there",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_an_error_that_names_the_part(case: str, make: Callable[..., Any]) -> None:
    import re

    text, reason = WRONG[case]
    changes = {"tool_link": "tool"} if "chain" in case else {}
    for said in refusals(make(text, **changes)):
        assert re.search(reason, said), said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joint_names": ("shoulder", "wrist")}, r"has no 'wrist' \(joint_names\); it has shoulder, elbow"),
        ({"gripper_joints": ("finger",), "max_grasp_width": 0.1}, r"has no 'finger' \(gripper_joints\)"),
        ({"gripper_links": ("hand",)}, r"has no 'hand' \(gripper_links\); it has base, upper, lower"),
        ({"tool_link": "flange"}, r"no path from base to flange: it has no 'flange' \(tool_link\)"),
        ({"base_link": "world"}, r"no path from world to lower: it has no 'world' \(base_link\)"),
    ],
)
def test_names_that_the_urdf_lacks_are_named(changes: dict[str, Any], reason: str, make: Callable[..., Any]) -> None:
    import re

    for said in refusals(make(robot(), **changes)):
        assert re.search(reason, said), said


def test_all_that_is_wrong_is_said_at_once(make: Callable[..., Any]) -> None:
    links = {n: link(n, collision=mesh(f"{n}.glb")) for n in ("upper", "lower")}
    joints = {"elbow": joint("elbow", "upper", "lower", "")}
    for said in refusals(make(robot(links, joints))):
        assert all(part in said for part in ("upper.glb", "lower.glb", "joint elbow"))


def test_a_urdf_that_is_no_file_is_said_and_nobody_waits(make: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("folder", "is a directory"),
        ("pipe", "is a pipe"),
        ("absent.urdf", "not found"),
        ("", "urdf = ''"),
    ):
        arm = make(urdf=str(tmp_path / name) if name else "")
        said: list[str] = []
        thread = threading.Thread(target=lambda arm=arm, said=said: said.extend(refusals(arm)), daemon=True)
        thread.start()
        thread.join(20.0)
        assert len(said) == 3 and all(reason in text for text in said), (name, said)


def test_what_the_simulation_will_lack_is_a_warning_that_names_the_part(make: Callable[..., Any]) -> None:
    finger = joint("finger", "lower", "tip", kind="prismatic", more='<mimic joint="elbow"/>')
    for text, reason in (
        (
            robot({"camera": link("camera", collision="")}, {"mount": joint("mount", "base", "camera", kind="fixed")}),
            "link camera can be seen but have no <collision>",
        ),
        (robot({"lower": link("lower", inertial="")}), "link lower have no <inertial>"),
        (
            robot({"lower": link("lower", visual=mesh("lower.glb"))}),
            "visual mesh of link lower, 'lower.glb', is of a form",
        ),
        (
            robot({"lower": link("lower", visual=mesh("gone.obj"))}),
            "visual mesh of link lower, 'gone.obj', is not there",
        ),
        (robot({"tip": link("tip")}, {"finger": finger}), "joint finger mimics elbow, which PyBullet does not"),
    ):
        said = used(make(text))
        assert len(said) == 1 and reason in said[0], said
    assert (
        used(make(robot({"tip": link("tip")}, {"finger": finger}), gripper_joints=("finger",), max_grasp_width=0.1))
        == []
    )


def test_packages_are_found_where_the_workspace_says(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "install" / "share" / "my_robot"
    (share / "meshes").mkdir(parents=True)
    (share / "meshes" / "upper part.obj").write_text(OBJ)
    (share / "urdf").mkdir()
    text = robot({"upper": link("upper", collision=mesh("package://my_robot/meshes/upper part.obj"))})
    (share / "urdf" / "small.urdf").write_text(text)
    assert "is not there" in refusals(make(text))[0]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(["/nowhere", str(tmp_path / "install")]))
    assert used(make(text)) == []
    assert used(make(urdf="package://my_robot/urdf/small.urdf")) == []
    model = CollisionModel(make(text))
    box = [SimpleBox((0.02, 0.02, 0.02))]
    model.add_obstacle("post", box, (0.03, 0.03, 0.32))
    assert {"upper", "post"} in [{c.first, c.second} for c in model.contacts(np.zeros(2))], "the mesh is not there"
    model.close()
    visual = robot({"upper": link("upper", visual=mesh(f"file://{share}/meshes/upper part.obj"))})
    assert used(make(visual)) == []
    arm_file = tmp_path / "small.yaml"
    arm_file.write_text(
        "name: small\nurdf: package://my_robot/urdf/small.urdf\njoint_names: [shoulder, elbow]\n"
        "lower: [-2, -2]\nupper: [2, 2]\nhome: [0, 0]\nvelocity: [1, 1]\nacceleration: [1, 1]\neffort: [1, 1]\n"
        "base_link: base\ntool_link: lower\n"
    )
    assert used(arms.load(arm_file)) == []


class SimpleBox:
    """A box at its body's origin."""

    position, quaternion = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)

    def __init__(self, half_extents: tuple[float, float, float]) -> None:
        self.half_extents = half_extents


def test_a_mesh_that_is_damaged_is_named_with_its_file(make: Callable[..., Any], tmp_path: Path) -> None:
    text = robot({"upper": link("upper", collision=mesh("upper.stl"))})
    arm = make(text)
    (tmp_path / "robot" / "upper.stl").write_bytes(b"")
    assert "'upper.stl', is an empty file" in refusals(arm)[0]
    (tmp_path / "robot" / "upper.stl").write_bytes(b"no triangles at all")
    with pytest.raises(ConfigError, match=r"upper\.stl"):
        CollisionModel(arm)


def test_a_link_without_inertial_weighs_a_gram_not_a_kilogram(make: Callable[..., Any]) -> None:
    """tool0, flange and grasp frames of ROS descriptions have none; a kilogram in each lets a hand sag."""
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    frame = {"tool": '<link name="tool"/>'}
    arm = make(robot(frame, {"flange": joint("flange", "lower", "tool", kind="fixed")}), tool_link="tool")
    client = BulletClient(pybullet.DIRECT)
    simulated = SimulatedArm(client, arm)
    masses = [client.getDynamicsInfo(simulated.body, simulated.links[name])[0] for name in ("lower", "tool")]
    client.disconnect()
    assert masses == [1.0, 1e-3]


NAMESPACES = {
    "undeclared prefixes": robot(
        more='<gazebo reference="upper"><sensor:camera name="c"/></gazebo>'
        '<transmission drake:rotor_inertia="1" name="t"/>'
    ),
    "a default namespace": robot().replace('<robot name="small">', '<robot name="small" xmlns="http://www.ros.org">'),
    "unused declarations": robot().replace(
        '<robot name="small">', '<robot name="small" xmlns:xacro="http://www.ros.org/wiki/xacro" xmlns:a="b">'
    ),
}


@pytest.mark.parametrize("case", NAMESPACES)
def test_marks_of_other_programs_do_not_matter(case: str, make: Callable[..., Any]) -> None:
    assert used(make(NAMESPACES[case])) == []


@pytest.mark.parametrize("meshes_beside", ["link", "target"])
def test_meshes_lie_beside_a_symbolic_link_or_beside_its_target(
    meshes_beside: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    for folder in ("source", "install"):
        (tmp_path / folder).mkdir()
    target, link_to_it = tmp_path / "source" / "small.urdf", tmp_path / "install" / "small.urdf"
    target.write_text(robot({"upper": link("upper", collision=mesh("meshes/upper.obj"))}))
    link_to_it.symlink_to(target)
    place = (link_to_it if meshes_beside == "link" else target).parent / "meshes"
    place.mkdir()
    (place / "upper.obj").write_text(OBJ)
    assert used(make(urdf=str(link_to_it))) == []


DESCRIPTION = (
    "name: small\nurdf: {urdf}\njoint_names: [shoulder, elbow]\nlower: [-2, -2]\nupper: [2, 2]\nhome: [0, 0]\n"
    "velocity: [1, 1]\nacceleration: [1, 1]\neffort: [1, 1]\nbase_link: base\ntool_link: lower\n"
)


def test_a_description_is_found_through_links_and_with_either_suffix(tmp_path: Path) -> None:
    for folder in ("source", "lab"):
        (tmp_path / folder).mkdir()
    described = tmp_path / "source" / "small.yaml"
    described.write_text(DESCRIPTION.format(urdf="small.urdf"))
    (tmp_path / "lab" / "small.yml").symlink_to(described)
    (tmp_path / "source" / "small.urdf").write_text(robot())
    assert used(arms.load(tmp_path / "lab" / "small.yml")) == []
    (tmp_path / "source" / "small.urdf").rename(tmp_path / "lab" / "small.urdf")
    assert used(arms.load(tmp_path / "lab" / "small.yml")) == []


def test_a_urdf_in_a_python_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "robot_of_a_test"
    (package / "urdf").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "urdf" / "small.urdf").write_text(
        robot({"upper": link("upper", collision=mesh("package:robot_of_a_test/upper.obj"))})
    )
    (package / "upper.obj").write_text(OBJ)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "arm.yaml").write_text(DESCRIPTION.format(urdf="package:robot_of_a_test/urdf/small.urdf"))
    assert used(arms.load(tmp_path / "arm.yaml")) == []
    (tmp_path / "arm.yaml").write_text(DESCRIPTION.format(urdf="package:robot_that_is_not_there/small.urdf"))
    with pytest.raises(ConfigError, match=r"in the Python package 'robot_that_is_not_there'.*installed"):
        chain(arms.load(tmp_path / "arm.yaml"))


def test_fingers_close_each_in_its_own_way(make: Callable[..., Any]) -> None:
    fingers = {"gripper_joints": ("a", "b"), "max_grasp_width": 0.1}
    arm = make(robot(), **fingers, finger_open=(0.0, 0.8), finger_closed=(0.8, -0.8))
    assert arm.finger_positions(0.1) == pytest.approx((0.0, 0.8))
    assert arm.finger_positions(0.0) == pytest.approx((0.8, -0.8))
    assert arm.finger_positions(0.05) == pytest.approx((0.4, 0.0))
    assert make(robot(), **fingers).finger_positions(0.05) == pytest.approx((0.025, 0.025))
    with pytest.raises(ConfigError, match="finger_open and finger_closed have 1 and 2 values, expected one for each"):
        make(robot(), **fingers, finger_open=(0.0,), finger_closed=(0.8, 0.8))
