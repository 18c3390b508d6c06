"""Arm descriptions: everything planning and execution need to know about a robot, as data."""

from memristor_bdnn.motion.arms.description import NAMES, ArmDescription, load

__all__ = ["NAMES", "ArmDescription", "load"]
