"""What learning has cost: trials that failed, and how much of the task was left undone by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memristor_bdnn.active.store import LABEL_PHASES, Trial


@dataclass(frozen=True)
class Losses:
    """Failures among the trials that were learned from; those of an evaluation are not counted.

    Attributes:
        trials: feasible trials of the phases counted.
        failures: of them, a score of 0 or below.
        undone: sum over them of 1 - fraction, the cumulative regret against doing the whole task every time.
    """

    trials: int
    failures: int
    undone: float

    @property
    def undone_share(self) -> float:
        """Mean of 1 - fraction; 0 without trials."""
        return self.undone / self.trials if self.trials else 0.0

    @classmethod
    def of(cls, trials: Sequence[Trial], phases: Sequence[str] = LABEL_PHASES) -> Losses:
        """Count the trials of some phases: of ``query`` alone, those that the strategy has chosen."""
        counted = [t for t in trials if t.feasible and t.phase in phases]
        return cls(len(counted), sum(t.score <= 0 for t in counted), float(sum(1.0 - t.fraction for t in counted)))


NONE = Losses(0, 0, 0.0)
"""Of a session without trials."""
