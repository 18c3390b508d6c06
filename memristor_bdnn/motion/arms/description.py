"""An arm as data: everything that planning and execution need to know about one robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.archives import kind_of
from memristor_bdnn.config import check, from_yaml, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.packages import in_package, resolve, where_looked

NO_PYBULLET = (
    "PyBullet is not installed: simulated worlds and planning need it; pip install pybullet (where it has no wheel, as "
    "on Python 3.12 and newer, it is compiled: some minutes)"
)


@dataclass(frozen=True)
class ArmDescription:
    """One serial arm with a hand; loaded by :func:`memristor_bdnn.motion.arms.load`.

    Frames: the world's z axis points up, the table top is at z = 0; the base link stands at the `mount_*` fields, by
    default at the world's origin. The tool frame is `tool_link` moved by `tool_offset`; its z axis is the approach
    axis of the hand, its y axis the closing direction of the fingers.
    """

    name: str = option("", "name of the arm")
    urdf: str = option(
        "",
        "URDF file: absolute, beside the description, package://NAME/FILE (ROS), package:NAME/FILE (a Python package), "
        "or inside pybullet_data",
    )
    joint_names: tuple[str, ...] = option((), "moving joints from base to tool, in order")
    lower: tuple[float, ...] = option((), "lower joint limits", unit="rad")
    upper: tuple[float, ...] = option((), "upper joint limits", unit="rad")
    velocity: tuple[float, ...] = option((), "joint velocity limits", low=0.0, unit="rad/s")
    acceleration: tuple[float, ...] = option((), "joint acceleration limits", low=0.0, unit="rad/s^2")
    effort: tuple[float, ...] = option((), "joint torque limits", low=0.0, unit="N m")
    home: tuple[float, ...] = option((), "where every trial starts: tool z horizontal, cup upright", unit="rad")
    base_link: str = option("", "link that carries the arm, the root of the URDF; the mount_* fields say where it is")
    mount_height: float = option(0.0, "base link above the table top (a pedestal)", low=-2.0, high=3.0, unit="m")
    mount_position: tuple[float, float] = option((0.0, 0.0), "base link along x and y", low=-3.0, high=3.0, unit="m")
    mount_rotation: tuple[float, float, float] = option(
        (0.0, 0.0, 0.0), "roll, pitch and yaw of the base link (a wall, a ceiling)", low=-6.3, high=6.3, unit="rad"
    )
    tool_link: str = option("", "link that the tool frame is fixed to")
    tool_offset: tuple[float, float, float] = option((0.0, 0.0, 0.0), "tool frame in the tool link", unit="m")
    cup_axis: int = option(1, "cup's upward axis is +x (1) or -x (-1) of the tool frame", choices=(1, -1))
    gripper_joints: tuple[str, ...] = option(
        (), "finger joints; each moves half of the grasp width, unless finger_open and finger_closed say otherwise"
    )
    finger_open: tuple[float, ...] = option((), "position of each finger joint at max_grasp_width", unit="m or rad")
    finger_closed: tuple[float, ...] = option((), "position of each finger joint when closed", unit="m or rad")
    gripper_links: tuple[str, ...] = option((), "links that may touch the held cup")
    max_grasp_width: float = option(0.0, "widest object the hand can close on; 0: no gripper", low=0.0, unit="m")
    palm_clearance: float = option(
        0.0, "from the tool frame back to the palm along the approach axis", low=0.0, unit="m"
    )
    may_touch: tuple[tuple[str, str], ...] = option((), "pairs of links whose contact is no collision")
    srdf: str = option("", "SRDF file (MoveIt) whose disable_collisions pairs may touch too; places as for urdf")
    ik: str = option(
        "panda",
        "IK solver: panda, srs, ur, or ikfast for a compiled module",
        choices=("panda", "srs", "ur", "ikfast"),
    )
    ik_module: str = option("", "importable IKFast module, for ik: ikfast")
    ik_options: Mapping[str, Any] | None = option(None, "names inside the IKFast module: see docs/planning.md")

    def __post_init__(self) -> None:
        """Validate; all joint tuples must have one entry per joint, home must lie within the limits."""
        check(self)
        n = len(self.joint_names)
        if n == 0:
            raise ConfigError(f"arm {self.name!r}: joint_names is empty")
        for field in ("lower", "upper", "velocity", "acceleration", "effort", "home"):
            if len(getattr(self, field)) != n:
                raise ConfigError(
                    f"arm {self.name!r}: {field} has {len(getattr(self, field))} values, "
                    f"expected one for each of the {n} joints"
                )
        for name, low, value, high in zip(self.joint_names, self.lower, self.home, self.upper, strict=True):
            if not low <= value <= high:
                raise ConfigError(f"arm {self.name!r}: home of {name} = {value} rad is outside [{low}, {high}]")
        fingers = (len(self.finger_open), len(self.finger_closed))
        if any(fingers) and fingers != (len(self.gripper_joints),) * 2:
            raise ConfigError(
                f"arm {self.name!r}: finger_open and finger_closed have {fingers[0]} and {fingers[1]} values, expected "
                f"one for each of the {len(self.gripper_joints)} gripper_joints"
            )
        if any(fingers) and self.max_grasp_width == 0.0:
            raise ConfigError(f"arm {self.name!r}: finger_open is for a hand that opens: give max_grasp_width")
        for field in ("velocity", "acceleration", "effort"):
            if min(getattr(self, field)) <= 0.0:
                raise ConfigError(f"arm {self.name!r}: {field} = {getattr(self, field)}: all must be positive")

    @property
    def dof(self) -> int:
        """Number of moving joints."""
        return len(self.joint_names)

    def limits(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper joint limits, each (dof,), rad."""
        return np.array(self.lower), np.array(self.upper)

    def within_limits(self, q: npt.ArrayLike, margin: float = 0.0) -> npt.NDArray[np.bool_]:
        """Which configurations (..., dof) lie inside the joint limits by at least margin (rad)."""
        low, high = self.limits()
        q = np.asarray(q)
        return np.asarray(((q >= low + margin) & (q <= high - margin)).all(axis=-1))

    def finger_positions(self, width: float) -> tuple[float, ...]:
        """Finger joint positions for an object of this width (m), as far open as the hand goes."""
        width = min(max(width, 0.0), self.max_grasp_width)
        if not self.finger_open:
            return (width / 2,) * len(self.gripper_joints)
        share = width / self.max_grasp_width
        return tuple(
            shut + share * (wide - shut) for shut, wide in zip(self.finger_closed, self.finger_open, strict=True)
        )

    def urdf_path(self) -> str:
        """Absolute path of the URDF file.

        Raises:
            ConfigError: the file is neither where it says nor inside pybullet_data, or is no regular file.
        """
        if not self.urdf or "\0" in self.urdf:
            raise ConfigError(f"arm {self.name!r}: urdf = {self.urdf!r}: expected the name of a URDF file")
        return self._file(self.urdf, "URDF")

    def srdf_path(self) -> str:
        """Absolute path of the SRDF file, empty for none. Raises ConfigError as :meth:`urdf_path`."""
        if "\0" in self.srdf:
            raise ConfigError(f"arm {self.name!r}: srdf = {self.srdf!r}: expected the name of an SRDF file")
        return self._file(self.srdf, "SRDF") if self.srdf else ""

    def _file(self, name: str, what: str) -> str:
        # links are not resolved: meshes may lie beside the link or beside what it points to
        if in_package(name):
            found = resolve(name, Path.cwd())
            if found is None:
                raise ConfigError(f"arm {self.name!r}: {what} {name} not found {where_looked(name)}")
            return str(found.absolute())
        if Path(name).exists():
            kind = kind_of(Path(name).stat().st_mode)
            if kind:
                raise ConfigError(f"arm {self.name!r}: {what} {name} is {kind}: expected a file")
            return str(Path(name).absolute())
        try:
            import pybullet_data
        except ImportError as error:
            raise ConfigError(f"arm {self.name!r}: {what} {name} is not here; {NO_PYBULLET} ({error})") from error
        inside = Path(pybullet_data.getDataPath()) / name
        if not inside.is_file():
            raise ConfigError(f"arm {self.name!r}: {what} {name} not found here or in {inside.parent}")
        return str(inside)


def from_file(path: Path) -> ArmDescription:
    """The arm described in a YAML file; files that it names are looked for beside it, and beside what a link means.

    Raises:
        ConfigError: as :func:`memristor_bdnn.config.from_yaml`.
    """
    arm = from_yaml(ArmDescription, path)

    def beside(name: str) -> str:
        if not name or in_package(name):
            return name
        places = (path.absolute().parent / name, path.resolve().parent / name)
        return next((str(place) for place in places if place.exists()), name)

    return replace(arm, urdf=beside(arm.urdf), srdf=beside(arm.srdf))
