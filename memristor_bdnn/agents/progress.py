"""How far a training is: returns, comparisons and the best policy so far, as they go into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array

Array = npt.NDArray[Any]


@dataclass
class Progress:
    """What a training has done; everything that a checkpoint must hold of it.

    Attributes:
        total, steps: (episodes,) of the training episodes.
        validated_at: (n,) training episodes done when policies were compared, and ``validated`` (n,) their mean return.
        best: settings of the best policy so far, None before the first comparison; ``best_value`` its mean return.
        present_is_best: nothing was learned since the best policy was found.
        validations: comparisons so far, those at the end included: no two use the same episodes.
        validation_episodes, validation_steps: played in them.
        done: training is over, and the agent holds the best policy.
    """

    total: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    validated_at: list[int] = field(default_factory=list)
    validated: list[float] = field(default_factory=list)
    best: dict[str, Array] | None = None
    best_value: float = -np.inf
    present_is_best: bool = False
    validations: int = 0
    validation_episodes: int = 0
    validation_steps: int = 0
    done: bool = False

    def arrays(self) -> dict[str, Array]:
        """Everything but the best policy, as arrays of a checkpoint."""
        return {
            "done": np.array([self.done, self.present_is_best]),
            "validations": np.array([self.validations, self.validation_episodes, self.validation_steps], np.int64),
            "total": np.array(self.total, np.float64),
            "steps": np.array(self.steps, np.int64),
            "validated_at": np.array(self.validated_at, np.int64),
            "validated": np.array(self.validated, np.float64),
        }


def progress_of(content: Mapping[str, Array], best: dict[str, Array] | None) -> Progress:
    """The progress of a checkpoint. Raises ConfigError, and KeyError where an array is missing."""
    n, m = np.size(content["total"]), np.size(content["validated"])
    check_array("total", content["total"], shape=(n,), low=-1e30, high=1e30)
    check_array("steps", content["steps"], kinds="i", shape=(n,), low=0, high=2**40)
    check_array("validated", content["validated"], shape=(m,), low=-1e30, high=1e30)
    check_array("validated_at", content["validated_at"], kinds="i", shape=(m,), low=0, high=n)
    check_array("done", content["done"], kinds="b", shape=(2,))
    check_array("validations", content["validations"], kinds="i", shape=(3,), low=0, high=2**40)
    unknown = sorted(content.keys() - {"rng", *Progress().arrays()})
    if unknown:
        raise ConfigError(f"damaged checkpoint: {', '.join(unknown)[:200]} unknown")
    if (best is None) != (m == 0):
        raise ConfigError("damaged checkpoint: the best policy and its value do not come together")
    return Progress(
        total=content["total"].tolist(),
        steps=content["steps"].tolist(),
        validated_at=content["validated_at"].tolist(),
        validated=content["validated"].tolist(),
        best=best,
        best_value=float(content["validated"].max()) if m else -np.inf,
        present_is_best=bool(content["done"][1]),
        validations=int(content["validations"][0]),
        validation_episodes=int(content["validations"][1]),
        validation_steps=int(content["validations"][2]),
        done=bool(content["done"][0]),
    )
