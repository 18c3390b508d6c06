"""Arm kinematics, collision checking, RRT-Connect, the constrained pour path and its timing."""
