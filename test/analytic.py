"""A skill whose outcome is a formula, registered as another package would: through an entry point."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import Skill
from memristor_bdnn.skills.protocol import Measured, Recipe
from memristor_bdnn.spaces import Dimension, Space

SMALL: Mapping[str, Any] = {"hidden": [6], "max_epochs": 2, "stop_accuracy": 1.1, "ex_situ": {"epochs": 5}}


def squares(x: np.ndarray) -> np.ndarray:
    """The inputs and their squares, (n, 2 d)."""
    return np.concatenate([x, np.square(x)], axis=1)


@dataclass(frozen=True)
class SlideOptions:
    """How a slide is simulated."""

    friction: float = option(0.5, "friction", low=0.1, high=2.0)

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


class SlideWorld:
    """Pushes a puck: how far it is from the goal follows from speed and friction, and a little from the seed."""

    def __init__(self, options: SlideOptions) -> None:
        self.options, self.rng = options, np.random.default_rng(0)

    def reset(self, seed: int, context: Any = None) -> Any:
        self.rng, self.context = np.random.default_rng(seed), np.asarray(context)
        return self.context

    def execute(self, parameters: Any, plan: Any = None, progress: Any = None, cancelled: Any = None) -> Measured:
        reach = float(parameters[0]) ** 2 / (4 * self.options.friction) + self.rng.normal(0, 0.01)
        miss = min(abs(reach - float(self.context[0])), 1.0)
        return Measured(np.array([miss, np.nan]), details={"reach": reach})

    def close(self) -> None:
        """Nothing to free."""


class SlideSkill(Skill):
    """A puck slides until friction stops it; it shall stop at a mark."""

    name = "slide"
    context_space = Space([Dimension("mark", "m", 0.1, 1.0)], "context")
    parameter_space = Space([Dimension("speed", "m/s", 0.0, 2.0), Dimension("spin", "1/s", -1.0, 1.0)], "parameters")
    measure_space = Space([Dimension("miss", "m", 0.0, 1.0), Dimension("turns", "", 0.0, 9.0)], "measures")
    recipes: ClassVar[Mapping[str, Mapping[str, Recipe]]] = {
        "plain": {"msgld": Recipe({**SMALL, "features": "analytic:squares"}, "squares of the inputs")},
        "taught": {"msgld": Recipe(SMALL, "fitted to a pool first", prior=True)},
    }
    default_recipe = "plain"
    world_options = SlideOptions
    fraction_name, fraction_label = "nearness", "nearness to the mark"
    film_name = "slide.gif"

    def score(self, measures: Any) -> float:
        return float(np.clip(1.0 - 5.0 * measures[0], -1.0, 1.0))

    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> SlideWorld:
        if arm:
            raise ConfigError(f"arm = {arm!r}: nothing carries a puck")
        return SlideWorld(options or SlideOptions())

    def film(self, trial: Any, arm: str, path: Path) -> None:
        raise ValueError("no camera")


def register(patch: pytest.MonkeyPatch) -> None:
    """Let the registry find the skill as an installed package's."""
    point = importlib.metadata.EntryPoint("slide", "analytic:SlideSkill", "memristor_bdnn.skills")
    real = importlib.metadata.entry_points

    def found(**wanted: Any) -> Any:
        return [*real(**wanted), point] if wanted.get("group") == "memristor_bdnn.skills" else real(**wanted)

    patch.setattr(importlib.metadata, "entry_points", found)
