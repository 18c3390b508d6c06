"""`arm check`: what is right passes, and each of a dozen broken descriptions is told what is broken."""

import dataclasses
import importlib.resources
import json
import re

import numpy as np
import pytest

from memristor_bdnn.cli import main
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.check import check

SHIPPED = importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions"
UR = arms.load("ur5e")
HAND = arms.load("ur5e_2f85")


def test_arms_that_ship_have_no_problem():
    for name in ("panda", "ur5e_2f85"):
        report = check(arms.load(name))
        assert report.problems == []
        assert report.kinematics_max_error_m < 1e-6 and report.ik_max_error_m < 1e-9 and report.ik_lost == 0
        assert report.home_sag_rad < 1e-3 and report.free_share > 0.2


def elsewhere(tmp_path, name, old, new, times=1):
    """A copy of a shipped URDF with something else in it."""
    text = (SHIPPED / name).read_text()
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new, times))
    return str(path)


def stood(tmp_path, origin):
    """The UR5e on a stand that is part of its URDF."""
    stand = (
        '<link name="cell"/><joint name="stand" type="fixed"><parent link="cell"/><child link="base_link"/>'
        f"<origin {origin}/></joint></robot>"
    )
    return elsewhere(tmp_path, "ur5e.urdf", "</robot>", stand)


BROKEN = {
    "degrees": (lambda p: {"upper": (360.0, *UR.upper[1:])}, r"shoulder_pan_joint may turn .* to 360 rad.*degrees\?"),
    "fast": (lambda p: {"velocity": (180.0,) * 6}, r"velocity of shoulder_pan_joint = 180 .*radians are meant"),
    "upside down": (lambda p: {"cup_axis": -1}, "upside down at home: cup_axis should be 1"),
    "tilted": (lambda p: {"home": (*UR.home[:5], 1.0)}, r"tilted by 0\.57\d rad at home"),
    "home in the table": (
        lambda p: {"home": (0.3, 0.3, 0.5, -0.8, 0.0, np.pi / 2)},
        r"at home .*table.* apart .*choose another home",
    ),
    "another solver": (lambda p: {"ik": "panda"}, "ik panda needs 7 joints, the arm has 6"),
    "weak": (lambda p: {"effort": (150.0, 3.0, 150.0, 28.0, 28.0, 28.0)}, r"shoulder_lift_joint gives way .* 3 N m"),
    "millimetres": (lambda p: {"tool_offset": (0.0, 0.0, 120.0)}, r"tool_offset .* \(millimetres\?\)"),
    "joints in another order": (lambda p: {"joint_names": UR.joint_names[::-1]}, "joints of the URDF are"),
    "raised": (lambda p: {"urdf": stood(p, 'xyz="0 0 0.7"')}, "base_link is raised or moved by joint stand"),
    "turned": (lambda p: {"urdf": stood(p, 'rpy="0 0 1.5708"')}, "base_link is turned by joint stand"),
    "prismatic": (
        lambda p: {
            "urdf": elsewhere(
                p,
                "ur5e.urdf",
                '<joint name="wrist_3_link-tool0" type="fixed">',
                '<joint name="slide" type="prismatic"><limit lower="0" upper="1" effort="1" velocity="1"/>',
            )
        },
        "joint slide of the arm is prismatic",
    ),
    "no shape": (
        lambda p: {"urdf": without(p, "forearm_link")},
        "link forearm_link can be seen but has no <collision>",
    ),
    "neighbours that overlap": (
        lambda p: swollen(p),
        r"touch in every configuration.*may_touch",
    ),
    "parallel axes": (
        lambda p: {
            "urdf": elsewhere(
                p, "ur5e.urdf", 'rpy="1.5707963267948966 0 0"/>\n    <axis', 'rpy="1.57 0 0.01"/>\n    <axis'
            )
        },
        "ik ur: the axes of .*calibration",
    ),
}


def without(path, name):
    """The UR5e with a link that nothing can touch."""
    text = (SHIPPED / "ur5e.urdf").read_text()
    start = text.index(f'<link name="{name}">')
    end = text.index("</link>", start)
    bare = "".join(line for line in text[start:end].splitlines(keepends=True) if "<collision>" not in line)
    (path / "bare.urdf").write_text(text[:start] + bare + text[end:])
    return str(path / "bare.urdf")


def swollen(path):
    """The UR5e with a wrist as large as a barrel."""
    text = (SHIPPED / "ur5e.urdf").read_text()
    start = text.index('<link name="wrist_3_link">')
    end = text.index("</link>", start)
    fat = re.sub(r"<cylinder [^>]*>", '<sphere radius="0.3"/>', text[start:end])
    (path / "swollen.urdf").write_text(text[:start] + fat + text[end:])
    return {"urdf": str(path / "swollen.urdf")}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_said(case, tmp_path):
    change, reason = BROKEN[case]
    report = check(dataclasses.replace(UR, **change(tmp_path)))
    assert any(re.search(reason, text) for text in report.problems), report.problems


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gripper_joints": ("left_finger_joint",)}, "right_finger_joint moves and is in neither joint_names nor"),
        (
            {"max_grasp_width": 0.3},
            r"left_finger_joint is at 0\.15 for a width of 0\.3 m, the URDF allows 0 to 0\.0425",
        ),
        ({"gripper_joints": ()}, "gripper_joints has 0 joints and max_grasp_width is 0.085 m"),
    ],
)
def test_a_hand_that_does_not_close_is_said(changes, reason):
    report = check(dataclasses.replace(HAND, **changes))
    assert any(re.search(reason, text) for text in report.problems), report.problems


def test_a_mesh_in_millimetres_is_said(tmp_path):
    (tmp_path / "big.obj").write_text("v 0 0 0\nv 60 0 0\nv 0 60 0\nv 0 0 400\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n")
    text = (SHIPPED / "ur5e.urdf").read_text()
    start = text.index('<link name="wrist_3_link">')
    cut = re.sub(
        r"<collision>.*?</collision>",
        '<collision><geometry><mesh filename="big.obj"/></geometry></collision>',
        text[start:],
        count=1,
    )
    (tmp_path / "big.urdf").write_text(text[:start] + cut)
    report = check(dataclasses.replace(UR, urdf=str(tmp_path / "big.urdf")))
    assert any("shape of link wrist_3_link is 3" in text and "0.001" in text for text in report.problems), (
        report.problems
    )


def test_the_command_writes_what_it_measured_and_fails_where_something_is_wrong(tmp_path, capsys):
    out = tmp_path / "arm.json"
    assert main(["arm", "check", "ur5e", "--trials", "3", "--out", str(out)]) == 0
    assert "no problem found" in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert figures["kinematics_max_error_m"] < 1e-6 and figures["ik_max_error_m"] < 1e-6 and figures["ik_lost"] == 0
    assert figures["pours_tried"] == 3 and figures["pours_planned_share"] > 0.5 and figures["problems"] == []
    mine = tmp_path / "mine.yml"
    mine.write_text(
        (SHIPPED / "ur5e.yaml").read_text().replace("urdf: ur5e.urdf", f"urdf: {SHIPPED / 'ur5e.urdf'}")
        + "mount_position: [-2.0, 0.0]\n"
    )
    assert main(["arm", "check", str(mine), "--out", str(out)]) == 1
    figures = json.loads(out.read_text())
    assert figures["pours_planned_share"] == 0.0 and figures["pours_tried"] == 10
    assert "out of reach: move the base" in figures["problems"][0]
    mine.write_text("name: mine\nurdff: nothing\n")
    assert main(["arm", "check", str(mine), "--out", str(out)]) == 1
    figures = json.loads(out.read_text())
    assert "did you mean urdf" in figures["problems"][0]
    assert figures["kinematics_max_error_m"] is figures["ik_lost"] is figures["pours_planned_share"] is None
    assert main(["arm", "check", "ur5e", "--skill", "pushing"]) == 1
    assert "pushing needs closed fingers" in capsys.readouterr().out


def test_pairs_that_may_touch_come_from_the_description_and_from_an_srdf(tmp_path):
    barrel = dataclasses.replace(UR, **swollen(tmp_path))
    pairs = {
        tuple(re.search(r"add \[(\w+), (\w+)\]", text).groups()) for text in check(barrel).problems if "add [" in text
    }
    assert pairs
    named = check(dataclasses.replace(barrel, may_touch=tuple(pairs)))
    assert not any("in every configuration" in text for text in named.problems)
    lines = "".join(f'<disable_collisions link1="{a}" link2="{b}" reason="Default"/>' for a, b in pairs)
    (tmp_path / "arm.srdf").write_text(
        f'<robot name="ur5e">{lines}<disable_collisions link1="camera" link2="x"/></robot>'
    )
    listed = check(dataclasses.replace(barrel, srdf=str(tmp_path / "arm.srdf")))
    assert not any("in every configuration" in text for text in listed.problems)
    (tmp_path / "arm.srdf").write_text("<sdf/>")
    assert "is no SRDF" in check(dataclasses.replace(barrel, srdf=str(tmp_path / "arm.srdf"))).problems[0]
    assert "has no 'gone' (may_touch)" in check(dataclasses.replace(UR, may_touch=(("gone", "tool0"),))).problems[0]


def test_a_mounted_arm_is_where_its_kinematics_say():
    for rotation in ((0.0, 0.0, 0.7), (np.pi / 2, 0.0, 0.3), (np.pi, 0.0, 0.0)):
        moved = dataclasses.replace(UR, mount_height=0.8, mount_position=(-0.1, 0.3), mount_rotation=rotation)
        assert check(moved).kinematics_max_error_m < 1e-6


def test_fingers_that_meet_before_the_hand_is_closed_are_said(tmp_path):
    thick = elsewhere(
        tmp_path,
        "ur5e_2f85.urdf",
        '<collision><origin xyz="0 0.009 0.0295"/><geometry><box size="0.022 0.018 0.065"/>',
        '<collision><origin xyz="0 0.009 0.0295"/><geometry><box size="0.022 0.148 0.065"/>',
    )
    report = check(dataclasses.replace(HAND, urdf=thick))
    reason = (
        r"at home, the hand \d+ mm open, \w+_finger and \w+_finger are -.*add \[\w+_finger, \w+_finger\] to may_touch"
    )
    assert any(re.search(reason, text) for text in report.problems), report.problems
