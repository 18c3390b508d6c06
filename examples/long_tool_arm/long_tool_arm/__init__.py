"""Example arm plugin; see docs/plugins.md of memristor_bdnn."""

from __future__ import annotations

from dataclasses import replace

from memristor_bdnn.motion import arms


def panda_long_tool() -> arms.ArmDescription:
    """Panda whose fingers hold what they hold 60 mm further out."""
    panda = arms.load("panda")
    return replace(panda, name="panda_long_tool", tool_offset=(0.0, 0.0, 0.06), palm_clearance=0.105)
