"""One trial, from a candidate to what is committed of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.active.store import Trial
from memristor_bdnn.active.trials import Trials
from memristor_bdnn.errors import MemristorError, PlanningError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.skills.candidates import encoded
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]

Asked = tuple[Prediction, int, float]
"""What a trial was chosen by: the prediction of its context's candidates, its index among them, its score."""


def executed(
    skill: Skill,
    trials: Trials,
    phase: str,
    context: FloatArray,
    parameters: FloatArray,
    seed: int,
    chosen_by: str,
    asked: Asked | None = None,
) -> Trial:
    """Run one trial; one that cannot be planned is infeasible, with the reason among its details.

    Args:
        skill: encodes it.
        trials: runs it.
        phase: of the loop.
        context: shape (c,).
        parameters: shape (p,).
        seed: of the trial.
        chosen_by: name of the strategy or the final choice.
        asked: left out for a trial that nobody chose.
    """
    prediction, index, score = asked or (None, 0, 0.0)
    features = encoded(skill, context, parameters[None])[0]
    try:
        outcome = trials.run(context, parameters, seed)
        feasible, value, fraction, details = outcome.feasible, outcome.score, outcome.fraction, outcome.details
    except PlanningError as error:
        feasible, value, fraction, details = False, 0.0, 0.0, {"reason": error.reason, "error": str(error)}
    return Trial(
        phase=phase,
        context=_floats(context),
        parameters=_floats(parameters),
        features=_floats(features),
        feasible=bool(feasible),
        score=float(value),
        fraction=float(fraction),
        seed=seed,
        strategy=chosen_by,
        acquisition=score,
        predicted_mean=0.5 if prediction is None else float(prediction.mean[index]),
        predicted_std=0.0 if prediction is None else float(prediction.std[index]),
        details=details,
    )


def check_feasible(trials: list[Trial], limit: int) -> None:
    """Give up after so many infeasible trials in a row.

    Raises:
        MemristorError: the last ``limit`` trials were all infeasible.
    """
    if len(trials) >= limit and not any(t.feasible for t in trials[-limit:]):
        raise MemristorError(
            f"{limit} trials in a row were infeasible (the last: {trials[-1].details or 'no reason'}); check the arm, "
            "the skill's ranges and the planner; what was committed is kept"
        )


def _floats(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values, dtype=np.float64))
