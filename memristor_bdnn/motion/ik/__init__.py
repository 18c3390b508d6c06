"""Inverse kinematics: one interface, our closed forms, and compiled IKFast modules."""
