"""Every link of an arm as a frame below the world, and the description that goes with the frames: for displays.

Planning needs the chain to the tool only (:mod:`memristor_bdnn.motion.kinematics`); a display draws fingers, covers and
stands as well.
"""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.arms import urdf
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.arms.packages import resolve
from memristor_bdnn.motion.kinematics import joint_axis, joint_origin, mounting, rotation, transform

FloatArray = npt.NDArray[np.float64]

WORLD = "world"
TOOL = "tool_frame"
"""The frame in which the skill holds things: the tool link, moved by the tool offset."""
_TURNS, _SLIDES = ("revolute", "continuous"), ("prismatic",)
_NOT_SHOWN = ("transmission", "gazebo", "ros2_control")


@dataclass(frozen=True, eq=False)
class Link:
    """How one link hangs on its parent.

    Attributes:
        name: of the frame.
        parent: the frame above.
        origin: (4, 4) pose in the parent, before the joint moves.
        joint: name of the joint (without prefix) whose position moves it; empty for a link that never moves.
        axis: (3,) unit axis of the joint, in its own frame.
        slides: whether the joint is prismatic (m) and not revolute (rad).
        factor: of the joint's position; other than 1 for a joint that mimics another.
        offset: added to it, in rad or m.
    """

    name: str
    parent: str
    origin: FloatArray
    joint: str = ""
    axis: FloatArray | None = None
    slides: bool = False
    factor: float = 1.0
    offset: float = 0.0

    def pose(self, position: float = 0.0) -> FloatArray:
        """Pose (4, 4) in the parent with the joint at a position, rad or m."""
        if self.axis is None:
            return self.origin
        moved = self.factor * position + self.offset
        if self.slides:
            return np.asarray(self.origin @ transform(position=self.axis * moved))
        return np.asarray(self.origin @ transform(rotation(self.axis, moved)))


class Frames:
    """The frames of one arm, from the world down to every link and the tool.

    Two arms on one bus get prefixes of their own. The world is shared.
    """

    def __init__(self, arm: ArmDescription, prefix: str = "") -> None:
        """
        Args:
            arm: whose links they are; its base stands where the description mounts it.
            prefix: before every frame but the world.

        Raises:
            ConfigError: as :func:`memristor_bdnn.motion.arms.urdf.loadable`.
        """
        urdf.loadable(arm)  # every part has been looked at, with its name in the errors
        root, _ = urdf.read(arm)
        self._arm, self._prefix = arm, prefix
        joints = {str(_end(joint, "child")): joint for joint in root.findall("joint")}
        names = [str(link.get("name")) for link in root.findall("link")]
        top = _root(joints, arm.base_link)
        # What joins the top to the base link has no length (urdf.loadable): the base is mounted, so the top is.
        links = [Link(self.frame(top), WORLD, mounting(arm)), *hanging(root, self.frame)]
        tool = TOOL if TOOL not in names else f"{arm.name}_{TOOL}"
        self.tool = prefix + tool
        links.append(Link(self.tool, self.frame(arm.tool_link), transform(position=arm.tool_offset)))
        self.links = tuple(links)

    def frame(self, link: str) -> str:
        """Name of a link's frame; a link that is itself called world is renamed, for that frame is not the arm's."""
        name = self._prefix + link
        return name if name != WORLD else f"{self._arm.name}_{WORLD}"

    @property
    def joints(self) -> tuple[str, ...]:
        """Joints (without prefix) whose positions are needed to place every link."""
        return tuple(dict.fromkeys(link.joint for link in self.links if link.joint))

    def fixed(self) -> list[Link]:
        """Links that never move against their parents."""
        return [link for link in self.links if not link.joint]

    def moved(self, positions: Mapping[str, float]) -> list[tuple[Link, FloatArray]]:
        """Movable links whose joint's position (rad or m, by name) is known, with their poses (4, 4) in the parent."""
        return [(link, link.pose(positions[link.joint])) for link in self.links if link.joint in positions]

    def poses(self, positions: Mapping[str, float]) -> dict[str, FloatArray]:
        """Poses (4, 4) in the world of every frame that can be placed with these joint positions (rad or m)."""
        return placed(self.links, positions, {WORLD: np.eye(4)})

    # -- the description ----------------------------------------------------------------------

    def description(self, joint_prefix: str = "") -> str:
        """URDF whose links are these frames, as robot_description carries it.

        Meshes of installed ROS packages keep their ``package://``; all others are absolute ``file://``. A visual mesh
        that is nowhere is left out, and so is what only controllers and simulators read.

        Args:
            joint_prefix: before the name of every joint, as in joint_states.
        """
        root, _ = urdf.read(self._arm)
        for tag in _NOT_SHOWN:
            for element in root.findall(tag):
                root.remove(element)
        for link in root.findall("link"):
            link.set("name", self.frame(str(link.get("name"))))
        for joint in root.findall("joint"):
            joint.set("name", joint_prefix + str(joint.get("name")))
            for tag in ("parent", "child"):
                joint.find(tag).set("link", self.frame(str(_end(joint, tag))))  # type: ignore[union-attr]
            if (mimic := joint.find("mimic")) is not None:
                mimic.set("joint", joint_prefix + str(mimic.get("joint")))
        self._name_meshes(root)
        return ET.tostring(root, encoding="unicode")

    def _name_meshes(self, root: ET.Element) -> None:
        beside = Path(self._arm.urdf_path()).parent
        for link in root.findall("link"):
            for part in [*link.findall("visual"), *link.findall("collision")]:
                mesh = part.find("geometry/mesh")
                if mesh is None:
                    continue
                given = mesh.get("filename", "")
                file = resolve(given, beside) or resolve(given, Path(self._arm.urdf_path()).resolve().parent)
                if file is None:
                    link.remove(part)
                elif not _in_ros_package(given, file):
                    mesh.set("filename", file.absolute().as_uri())


def hanging(root: ET.Element, frame: Callable[[str], str] = str) -> list[Link]:
    """Every link of a <robot> element that hangs on another; ``frame`` names a link's frame.

    Raises:
        ConfigError: as :func:`memristor_bdnn.motion.kinematics.joint_origin`.
    """
    joints = {str(_end(joint, "child")): joint for joint in root.findall("joint")}
    by_name = {str(joint.get("name")): joint for joint in joints.values()}
    return [_link(frame(child), joint, by_name, frame) for child, joint in joints.items()]


def placed(
    links: Sequence[Link], positions: Mapping[str, float], known: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Poses (4, 4) of known frames and of all that can be placed below them with joint positions, rad or m by name."""
    found = dict(known)
    waiting = [link for link in links if not link.joint or link.joint in positions]
    while here := [link for link in waiting if link.parent in found]:
        for link in here:
            found[link.name] = found[link.parent] @ link.pose(positions.get(link.joint, 0.0))
        waiting = [link for link in waiting if link.name not in found]
    return found


def _link(name: str, joint: ET.Element, by_name: Mapping[str, ET.Element], frame: Callable[[str], str]) -> Link:
    parent, origin, kind = frame(str(_end(joint, "parent"))), joint_origin(joint), joint.get("type")
    if kind not in (*_TURNS, *_SLIDES):
        return Link(name, parent, origin)
    moved_by, factor, offset = str(joint.get("name")), 1.0, 0.0
    for _ in by_name:  # a joint may mimic one that mimics
        mimic = by_name[moved_by].find("mimic") if moved_by in by_name else None
        if mimic is None:
            break
        multiplier, added = float(mimic.get("multiplier", 1.0)), float(mimic.get("offset", 0.0))
        moved_by, factor, offset = str(mimic.get("joint")), factor * multiplier, offset + factor * added
    return Link(name, parent, origin, moved_by, joint_axis(joint), kind in _SLIDES, factor, offset)


def _in_ros_package(given: str, file: Path) -> bool:
    """Whether ``package://`` in a URDF means for every ROS tool the file that it means for us."""
    scheme, _, rest = given.rpartition("://")
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return scheme == "package" and any(file == Path(p, "share", rest) for p in (*prefixes, sys.prefix))


def _end(joint: ET.Element, tag: str) -> str | None:
    element = joint.find(tag)
    return None if element is None else element.get("link")


def _root(joints: Mapping[str, ET.Element], link: str) -> str:
    """The link at the top of what a link hangs on."""
    while link in joints:
        link = str(_end(joints[link], "parent"))
    return link
