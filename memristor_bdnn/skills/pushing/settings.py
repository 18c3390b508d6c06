"""Options of the simulated world and of the planner, apart from both: a skill is loaded without a simulator."""

from __future__ import annotations

from dataclasses import dataclass

from memristor_bdnn.config import check, option


@dataclass(frozen=True)
class PushWorldConfig:
    """How a push is simulated."""

    time_step: float = option(
        1 / 480,
        "simulation step",
        low=1e-4,
        high=1 / 200,
        unit="s",
        source="assumption: half of the engine's usual step",
    )
    solver_iterations: int = option(30, "constraint solver iterations a step", low=5, high=500, source="assumption")
    settle: float = option(0.1, "time for the object to come to rest before the push", low=0.0, high=5.0, unit="s")
    wait: float = option(1.5, "longest wait for the pushed object to come to rest", low=0.1, high=10.0, unit="s")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)


@dataclass(frozen=True)
class PushPlannerConfig:
    """How pushes are planned."""

    clearance: float = option(
        0.10, "height above the push from which the hand comes straight down", low=0.05, high=0.3, unit="m"
    )
    dwell: float = option(0.25, "rest at the end of the push", low=0.0, high=10.0, unit="s", source="assumption")
    speed: float = option(
        0.6, "share of the joint speed limits used in approach and retreat", low=0.01, high=1.0, source="assumption"
    )
    acceleration: float = option(
        0.4, "share of the joint acceleration limits used there", low=0.01, high=1.0, source="assumption"
    )
    padding: float = option(0.003, "room kept around everything but the pushed object", low=0.0, high=0.02, unit="m")
    waypoints: int = option(12, "tool poses at which a push is looked at first", low=4, high=200)
    free_samples: int = option(48, "values of the free joint that are tried", low=2, high=512)
    refine: int = option(5, "fine poses for each of these steps", low=1, high=50)
    attempts: int = option(16, "pushes that are worked out before the search is given up", low=1, high=10_000)
    iterations: int = option(
        400, "extensions of the search for an approach; unlike time, the same on any machine", low=1, high=10_000_000
    )
    budget: float = option(4.0, "give up after this time", low=0.01, high=600.0, unit="s")
    time_step: float = option(0.01, "spacing of trajectory samples", low=0.001, high=0.1, unit="s")

    def __post_init__(self) -> None:
        """Validate."""
        check(self)
