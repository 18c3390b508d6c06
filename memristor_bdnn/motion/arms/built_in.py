"""The arms that ship with this package, each described in a YAML file below this module."""

from __future__ import annotations

import importlib.resources

from memristor_bdnn.motion.arms.description import ArmDescription, from_file


def panda() -> ArmDescription:
    """Franka Emika Panda with its hand, 7 joints."""
    return _described("panda")


def kuka_iiwa() -> ArmDescription:
    """KUKA LBR iiwa 7 without a gripper, 7 joints; what it holds is fixed to the flange."""
    return _described("kuka_iiwa")


def ur3e() -> ArmDescription:
    """Universal Robots UR3e without a gripper, 6 joints; what it holds is fixed to the flange."""
    return _described("ur3e")


def ur3e_2f85() -> ArmDescription:
    """Universal Robots UR3e with a Robotiq 2F-85 gripper, 6 joints."""
    return _described("ur3e_2f85")


def ur5e() -> ArmDescription:
    """Universal Robots UR5e without a gripper, 6 joints; what it holds is fixed to the flange."""
    return _described("ur5e")


def ur5e_2f85() -> ArmDescription:
    """Universal Robots UR5e with a Robotiq 2F-85 gripper, 6 joints."""
    return _described("ur5e_2f85")


def ur10e() -> ArmDescription:
    """Universal Robots UR10e without a gripper, 6 joints; what it holds is fixed to the flange."""
    return _described("ur10e")


def ur10e_2f85() -> ArmDescription:
    """Universal Robots UR10e with a Robotiq 2F-85 gripper, 6 joints."""
    return _described("ur10e_2f85")


def _described(name: str) -> ArmDescription:
    source = importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / f"{name}.yaml"
    with importlib.resources.as_file(source) as path:
        return from_file(path)
