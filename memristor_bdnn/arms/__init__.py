"""Arm descriptions and the ports that execute a trajectory."""

from memristor_bdnn.arms.description import NAMES, ArmDescription, load

__all__ = ["NAMES", "ArmDescription", "load"]
