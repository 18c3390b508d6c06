"""The arms that ship with this package, each described in a YAML file beside this module."""

from __future__ import annotations

import importlib.resources

from memristor_bdnn.config import from_yaml
from memristor_bdnn.motion.arms.description import ArmDescription


def panda() -> ArmDescription:
    """Franka Emika Panda with its hand, 7 joints."""
    return _described("panda")


def kuka_iiwa() -> ArmDescription:
    """KUKA LBR iiwa 7 without a gripper, 7 joints; what it holds is fixed to the flange."""
    return _described("kuka_iiwa")


def _described(name: str) -> ArmDescription:
    source = importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / f"{name}.yaml"
    with importlib.resources.as_file(source) as path:
        return from_yaml(ArmDescription, path)
