"""Arms and their motion: kinematics, collision checking, planning, timing, execution; knows no skill."""
