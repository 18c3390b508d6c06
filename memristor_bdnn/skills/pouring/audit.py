"""Finds beads that went through a wall or a floor instead of over the rim."""

from __future__ import annotations

import numpy as np

from memristor_bdnn.skills.pouring.scene import Scene

UNDER = 0.02
"""How deep a bead must be to count as under the table, metres. A bead that falls at 2 m/s moves 9 mm a step, so
it may dip into the table for one step before it bounces."""


class LeakAudit:
    """Watches every bead at every step.

    A bead leaks when one step finds it well below a vessel's rim inside, and the next one outside of
    the outer wall or under the floor; or when it is under the table.

    Attributes:
        leaks: beads that leaked so far.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._deep = self._depths()[0]
        self._sunk = np.zeros(len(scene.setup.radii), dtype=bool)
        self.leaks = 0

    def look(self) -> None:
        """Compare with the last step; call after every simulation step."""
        deep, outside, below = self._depths()
        self.leaks += int((self._deep & outside).sum()) + int((below & ~self._sunk).sum())
        self._sunk |= below
        self._deep = deep

    def _depths(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Well inside (2, n), outside (2, n) of cup and bowl; under the table (n,)."""
        scene = self._scene
        points = scene.bead_positions()
        deep, outside = [], []
        for body, vessel in ((scene.cup, scene.cup_vessel), (scene.bowl, scene.bowl_vessel)):
            radius, level = scene.local(body, vessel, points)
            within = (radius < vessel.inner_radius(level)) & (level > 0)
            deep.append(within & (level < vessel.height - 0.012))
            outside.append((radius > vessel.outer_radius(level)) | (level < 0))
        return np.array(deep), np.array(outside), points[:, 2] < -UNDER
