"""Pouring as the active-learning loop sees it: contexts, valid candidates, encoding, trials."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.skills.pouring.context import (
    FEATURE_NAMES,
    N_PARAMETERS,
    RANGES,
    PourContext,
    PourParameters,
    encode,
)
from memristor_bdnn.skills.pouring.geometry import CLEARANCE, arm_clearance, is_valid
from memristor_bdnn.skills.pouring.setup import draw_context
from memristor_bdnn.skills.pouring.world import PouringWorld, PourOutcome, WorldConfig
from memristor_bdnn.skills.protocol import TrialOutcome

FloatArray = npt.NDArray[np.floating[Any]]

PARAMETER_LOW = np.array([RANGES[name][0] for name in FEATURE_NAMES[:N_PARAMETERS]])
PARAMETER_HIGH = np.array([RANGES[name][1] for name in FEATURE_NAMES[:N_PARAMETERS]])

SkillConfig = WorldConfig
"""Options of the skill; section ``skill`` of a configuration file."""


class PouringSkill:
    """Implements :class:`memristor_bdnn.skills.protocol.Skill`.

    Trials run in one :class:`PouringWorld`, made on the first of them. Without an arm the cup moves
    alone; with ``world.arm`` (or a planner given here) every trial is planned first, and one that
    cannot be planned is infeasible, not a failure.

    Args:
        config: how trials are simulated; ``config.arm`` decides whether an arm carries the cup.
        planner: an object with ``plan(context, parameters, start=None, seed=0)``; made from the
            world's arm when left out.
    """

    name = "pouring"
    feature_names = FEATURE_NAMES

    def __init__(self, config: WorldConfig | None = None, planner: Any = None) -> None:
        self.config = WorldConfig() if config is None else config
        self.with_arm = bool(self.config.arm) or planner is not None
        self._planner = planner
        self._world: PouringWorld | None = None

    @property
    def world(self) -> PouringWorld:
        """The world that trials run in."""
        if self._world is None:
            self._world = PouringWorld(self.config)
        return self._world

    @property
    def planner(self) -> Any:
        """The planner, or None when the cup moves alone."""
        if self._planner is None and self.config.arm:
            from memristor_bdnn.motion.arms.description import load
            from memristor_bdnn.skills.pouring.motion import PourPlanner

            self._planner = PourPlanner(load(self.config.arm))
        return self._planner

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """A random bowl/cup pair, shape (6,), metres."""
        return draw_context(rng)[0].array()

    def sample_candidates(self, context: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """n valid control parameters for a context, uniform over the valid ones, shape (n, 5).

        With an arm the cup keeps clear of the bowl, as the planner asks.
        """
        found: list[FloatArray] = []
        clearance = arm_clearance(PourContext.from_array(context)) if self.with_arm else CLEARANCE
        for _ in range(1000):
            rows = rng.uniform(PARAMETER_LOW, PARAMETER_HIGH, (max(2 * n, 16), N_PARAMETERS))
            found.append(rows[is_valid(context, rows, clearance)])
            if sum(map(len, found)) >= n:
                return np.concatenate(found)[:n]
        raise ConfigError(f"no valid control parameters found for the context {np.round(context, 4).tolist()} m")

    def encode(self, context: FloatArray, parameters: FloatArray) -> FloatArray:
        """Network inputs, shape (n, 11)."""
        return encode(context, parameters)

    def run_trial(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """Execute one trial; context (6,), parameters (5,) as physical values.

        Raises:
            ConfigError: a value outside its range.
        """
        pair, params = PourContext.from_array(context), PourParameters.from_array(parameters)
        self.world.reset(seed, pair)
        if self.planner is None:
            return _outcome(self.world.pour_cup_alone(params))
        try:
            plan = self.planner.plan(pair, params, seed=seed)
        except PlanningError as error:
            return TrialOutcome(False, 0.0, 0.0, {"seed": seed, "reason": error.reason, "text": str(error)})
        return _outcome(self.world.pour_with_arm(plan), planning_time_s=float(plan.planning_time_s))

    def close(self) -> None:
        """Close the world."""
        if self._world is not None:
            self._world.close()
            self._world = None


def _outcome(poured: PourOutcome, **details: Any) -> TrialOutcome:
    facts = {k: v for k, v in asdict(poured).items() if k not in ("details", "score")}
    return TrialOutcome(True, poured.score, poured.fraction_in_bowl, {**facts, **poured.details, **details})
