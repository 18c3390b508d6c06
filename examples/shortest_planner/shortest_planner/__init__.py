"""Example planner plugin; see docs/planning.md of memristor_bdnn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.config import check, option
from memristor_bdnn.motion import rrt


@dataclass(frozen=True)
class Options:
    """Parameters of the planner node: ``shortest.tries``."""

    tries: int = option(3, "ways of which the shortest is taken", low=1, high=100)

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class Shortest:
    """The shortest of several RRT-Connect paths."""

    options = Options

    def __init__(self, options, node=None):
        self._tries = options.tries

    def plan(self, space, start, goal, rng, config):
        """Every try draws on in the same generator: another way each, the same ways for the same seed."""
        paths = [rrt.plan(space, start, goal, rng, config) for _ in range(self._tries)]
        return min(paths, key=lambda path: float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum()))

    def close(self):
        """Nothing to leave."""
