"""Conformance suites that plugins of all kinds can run, see docs/plugins.md; they need pytest.

A suite is imported when it is asked for, so that testing an acquisition needs neither torch nor PyBullet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memristor_bdnn.testing.accelerator import AcceleratorConformance
    from memristor_bdnn.testing.acquisition import AcquisitionConformance
    from memristor_bdnn.testing.arm import ArmConformance
    from memristor_bdnn.testing.learner import LearnerConformance
    from memristor_bdnn.testing.planner import PlannerConformance
    from memristor_bdnn.testing.skill import SkillConformance

_SUITES = {
    "AcceleratorConformance": "accelerator",
    "AcquisitionConformance": "acquisition",
    "ArmConformance": "arm",
    "LearnerConformance": "learner",
    "PlannerConformance": "planner",
    "SkillConformance": "skill",
}

__all__ = [
    "AcceleratorConformance",
    "AcquisitionConformance",
    "ArmConformance",
    "LearnerConformance",
    "PlannerConformance",
    "SkillConformance",
]


def __getattr__(name: str) -> Any:
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SUITES[name]}"), name)
