"""A ball is tossed into a box; drag and the hand's scatter are unknown to the learner. Exact, quick, no simulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.protocol import Measured, Skill
from memristor_bdnn.spaces import Dimension, Space

GRAVITY = 9.81
HIT = 0.3
"""A ball this near to the middle of the box (m) falls into it."""


@dataclass(frozen=True)
class WorldOptions:
    """How trials are simulated."""

    scatter: float = option(0.02, "SD of the hand's speed, as a share of it", low=0.0, high=1.0)

    def __post_init__(self):
        """Validate."""
        check(self)


class TossingSkill(Skill):
    """A ball is tossed into a box at another distance and height every time."""

    name = "tossing"
    context_space = Space(
        (
            Dimension("distance", "m", 1.5, 3.0, "from the hand to the middle of the box"),
            Dimension("height", "m", -0.3, 0.3, "of the box above the hand"),
        ),
        "context",
    )
    parameter_space = Space(
        (
            Dimension("speed", "m/s", 4.0, 6.5, "of the ball when the hand lets go"),
            Dimension("elevation", "rad", 0.5, 1.1, "of that speed above the horizontal"),
        ),
        "parameters",
    )
    measure_space = Space((Dimension("miss", "m", 0.0, 10.0, "from the ball to the middle of the box"),), "measures")
    node_names = ("tossing_world", "tossing_planner")
    world_options = WorldOptions

    def score(self, measures):
        """1 in the middle, 0 at the edge, -1 far outside."""
        return float(np.clip(1.0 - measures[0] / HIT, -1.0, 1.0))

    def world(self, arm="", options=None, gui=False):
        """The ball's flight; nothing is drawn, and no arm takes part."""
        if arm:
            raise ConfigError(f"skill tossing: arm = {arm!r}, but no arm takes part; leave it empty")
        return TossingWorld(options if isinstance(options, WorldOptions) else build(WorldOptions, options))


class TossingWorld:
    """Implements memristor_bdnn.skills.protocol.World."""

    def __init__(self, options):
        self.options, self.context, self.rng = options, None, None

    def reset(self, seed, context=None):
        """Everything random in a trial comes from its seed, whatever ran before."""
        self.rng = np.random.default_rng(seed)
        drawn = TossingSkill.context_space.sample(1, self.rng)[0]
        self.context = TossingSkill.context_space.check(drawn if context is None else context)
        return self.context

    def execute(self, parameters, plan=None, progress=None, cancelled=None):
        """Where the ball comes down at the height of the box; one that never gets so high misses by more."""
        if self.context is None:
            raise ConfigError("tossing: call reset() before execute()")
        speed, elevation = TossingSkill.parameter_space.check(parameters)
        distance, height = self.context
        speed *= 1.0 + self.options.scatter * self.rng.normal()
        forward, up = speed * np.cos(elevation), speed * np.sin(elevation)
        above = up**2 - 2.0 * GRAVITY * height
        flight = (up + np.sqrt(max(above, 0.0))) / GRAVITY
        reach = forward * flight * np.exp(-0.05 * flight)  # air holds it back a little
        miss = abs(reach - distance) + np.sqrt(max(-above, 0.0)) / GRAVITY
        return Measured(np.clip([miss], 0.0, 10.0), details={"reach": float(reach)})

    def close(self):
        """Nothing to free."""
