"""Active-learning sessions on the simulated chips and through the board's protocol, to be compared."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator, learners
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.active.trials import LocalTrials, Trials
from memristor_bdnn.benchmark.escim.process import EmulatorProcess
from memristor_bdnn.skills.pouring.skill import PouringSkill
from memristor_bdnn.skills.protocol import TrialOutcome

FloatArray = npt.NDArray[np.floating[Any]]
CANDIDATES = 200


class RememberingTrials:
    """Trials that are simulated only once: an outcome depends on nothing but the trial.

    Args:
        trials: runs those that are not known yet.
        outcomes: shared between sessions.

    Attributes:
        executed: trials asked for, remembered or not.
    """

    def __init__(self, trials: Trials, outcomes: dict[bytes, TrialOutcome]) -> None:
        self._trials, self._outcomes = trials, outcomes
        self.arm, self.executed = trials.arm, 0

    def sample_context(self, rng: np.random.Generator) -> FloatArray:
        """As the trials'."""
        return self._trials.sample_context(rng)

    def run(self, context: FloatArray, parameters: FloatArray, seed: int) -> TrialOutcome:
        """As the trials', from memory where known."""
        self.executed += 1
        key = np.concatenate([context, parameters, [seed]]).tobytes()
        if key not in self._outcomes:
            self._outcomes[key] = self._trials.run(context, parameters, seed)
        return self._outcomes[key]


@dataclass
class Session:
    """Result of a session.

    Attributes:
        x, scores: features (n, 11) and scores (n,) of all labels, in order.
        predictions: predicted success of fixed candidates after the last round, shape (candidates,).
        samples: the posterior samples of that prediction, (samples, candidates).
        accuracy: on the labels, after the last round.
        executed: trials executed.
        asked: pulses the learner asked for, by cell.
        facts: of the connection (driver only).
    """

    x: FloatArray
    scores: FloatArray
    predictions: FloatArray
    samples: FloatArray
    accuracy: float
    executed: int
    asked: npt.NDArray[np.int64]
    facts: dict[str, Any]


def session(chips: Accelerator, seed: int, outcomes: dict[bytes, TrialOutcome], initial: int, queries: int) -> Session:
    """Run the active-learning loop of the demo on an accelerator; the store is read back from disk."""
    learner = learners.create("msgld", chips, None, seed)
    asked = np.zeros(chips.n_cells, dtype=np.int64)
    pulse = chips.pulse

    def counted(direction: npt.NDArray[np.int8]) -> None:
        asked[:] += np.abs(direction)
        pulse(direction)

    chips.pulse = counted  # type: ignore[method-assign]
    skill = PouringSkill()
    simulated = LocalTrials(skill)
    trials = RememberingTrials(simulated, outcomes)
    rng = np.random.default_rng([seed, 17])
    context = skill.sample_context(rng)
    fixed = skill.encode(context, skill.sample_candidates(context, CANDIDATES, rng))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        config = LoopConfig(initial_trials=initial, queries=queries, candidates=500)
        with TrialStore(path) as store:
            loop = ActiveLoop(skill, learner, store, config, np.random.default_rng(seed), trials=trials)
            report = loop.run()
            prediction = learner.predict(fixed)
        with TrialStore(path) as store:
            x, _, scores = store.labels()
    simulated.close()
    facts: dict[str, Any] = {}
    if chips.name == "escim":
        driver: Any = chips
        statistics = driver.board.client.statistics
        facts = {
            "requests": statistics.requests,
            "connections": statistics.connections,
            "lost_answers": statistics.lost_answers,
            "lost_pulses": len(driver.lost_pulses),
            "interruptions": driver.interruptions,
            "retried": statistics.retried,
            "rejected_checks": statistics.rejected_checks,
        }
    accuracy = report.learned.accuracy if report.learned else 0.0
    return Session(x, scores, prediction.mean, prediction.samples, accuracy, trials.executed, asked, facts)


def compare(one: Session, other: Session) -> dict[str, float]:
    """Share of equal labels, largest difference and correlation of the predictions."""
    same = len(one.scores) == len(other.scores)
    equal = (one.x == other.x).all(axis=1) & (one.scores == other.scores) if same else np.zeros(1)
    return {
        "labels_equal": float(np.mean(equal)),
        "largest_difference": float(np.abs(one.predictions - other.predictions).max()),
        "largest_sample_difference": float(np.abs(one.samples - other.samples).max()),
        "mean_difference": float((one.predictions - other.predictions).mean()),
        "correlation": float(np.corrcoef(one.predictions, other.predictions)[0, 1]),
    }


def parity(seed: int, outcomes: dict[bytes, TrialOutcome], initial: int, queries: int) -> dict[str, Any]:
    """One seed on simulated chips, on other simulated chips, and through the board's protocol in two ways."""
    chips = accelerator.create("simulated", seed=seed, adc=True)
    reference = session(chips, seed, outcomes, initial, queries)
    other = session(accelerator.create("simulated", seed=seed + 1000, adc=True), seed, outcomes, initial, queries)
    result: dict[str, Any] = {"accuracy": {"simulated": reference.accuracy, "other_chips": other.accuracy}}
    result["other_chips"] = compare(reference, other)
    for way in ("cfg_reg", "reset_target"):
        with EmulatorProcess("--seed", str(seed)) as emulator:
            board = accelerator.create("escim", seed=seed, reset_by=way, **emulator.address)
            try:
                made = session(board, seed, outcomes, initial, queries)
            finally:
                board.close()
        result[way] = compare(reference, made)
        result["accuracy"][way] = made.accuracy
        result[f"pulses_{way}"] = int(made.asked.sum())
    return result


def under_faults(
    seed: int, outcomes: dict[bytes, TrialOutcome], initial: int, queries: int, faults: str
) -> dict[str, Any]:
    """A session under faults: labels lost, pulses given twice, pulses missing, and what the connection did."""
    with EmulatorProcess("--seed", str(seed), "--faults", faults) as emulator:
        patience: dict[str, Any] = {"answer_timeout_s": 3.0, "retries": 20, "map_stall_s": 3.0}
        board = accelerator.create("escim", seed=seed, reset_by="cfg_reg", **patience, **emulator.address)
        try:
            made = session(board, seed, outcomes, initial, queries)
        finally:
            board.close()
    given = np.array(emulator.statistics["pulses_per_cell"])[: made.asked.size]
    return {
        "labels": len(made.scores),
        "labels_lost": made.executed - len(made.scores),
        "labels_missing": initial + queries - len(made.scores),
        "pulses_asked": int(made.asked.sum()),
        "double_pulses": int(np.maximum(given - made.asked, 0).sum()),
        "missing_pulses": int(np.maximum(made.asked - given, 0).sum()),
        "accuracy": made.accuracy,
        **{f"injected_{name}": count for name, count in emulator.statistics["faults"].items() if count},
        **made.facts,
    }
