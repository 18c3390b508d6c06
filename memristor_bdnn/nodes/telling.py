"""What displays are told of a session besides its services and actions; nothing waits for these topics."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from memristor_bdnn.active.store import PHASES, Trial
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.msg import ValueTable
from memristor_bdnn.nodes import convert
from memristor_bdnn.skills.protocol import Skill

FloatArray = npt.NDArray[np.floating[Any]]

KEPT = 1000
"""Trials and rounds that are kept for those who come later."""
MOST_CANDIDATES, MOST_CELLS = 2_000, 1_000_000
"""Candidates told of one query (every so many of more), and cells beyond which no currents are told."""


class SessionTeller:
    """Tells of trials, rounds and candidates: ``~/trial``, ``~/round``, ``~/candidates``; latched, ValueTable."""

    def __init__(self, node: Any) -> None:
        latched = DurabilityPolicy.TRANSIENT_LOCAL
        history = QoSProfile(depth=KEPT, durability=latched)
        self._trials = node.create_publisher(ValueTable, "~/trial", history)
        self._rounds = node.create_publisher(ValueTable, "~/round", history)
        self._candidates = node.create_publisher(ValueTable, "~/candidates", QoSProfile(depth=1, durability=latched))

    def history(self, trials: Sequence[Trial], rounds: Sequence[Mapping[str, Any]]) -> None:
        """What a session that goes on has done before."""
        for number, trial in list(enumerate(trials))[-KEPT:]:
            self.trial(number, trial)
        for row in rounds[-KEPT:]:
            self.round(row)

    def trial(self, number: int, trial: Trial) -> None:
        """A trial that was committed; ``phase`` is its place among initial, query, evaluation."""
        row = {
            "number": number,
            "phase": PHASES.index(trial.phase),
            "feasible": trial.feasible,
            "score": trial.score,
            "fraction": trial.fraction,
            "predicted_mean": trial.predicted_mean,
            "predicted_std": trial.predicted_std,
        }
        self._trials.publish(convert.table(tuple(row), [float(v) for v in row.values()]))

    def round(self, row: Mapping[str, Any]) -> None:
        """A round of learning, as in rounds.jsonl."""
        numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
        self._rounds.publish(convert.table(tuple(numbers), list(numbers.values())))

    def candidates(self, skill: Skill, candidates: FloatArray, prediction: Prediction, context: FloatArray) -> None:
        """Candidates (n, p) of a context (c,) with their predicted probability of success, and where they are."""
        some = slice(None, None, -(-len(candidates) // MOST_CANDIDATES))
        columns = [*candidates[some].T, prediction.mean[some], prediction.std[some]]
        names = [*skill.parameter_space.names, "confidence", "confidence_sd"]
        points = skill.candidate_points(context, candidates[some])
        if points is not None:
            names, columns = [*names, "x", "y", "z"], [*columns, *points.T]
        self._candidates.publish(convert.table(names, np.stack(columns, axis=1)))


class ChipTeller:
    """Tells the currents of the cells as they lie on the chips: ``~/currents``, latched, microampere, NaN: no cell."""

    def __init__(self, node: Any) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._currents = node.create_publisher(Float32MultiArray, "~/currents", latched)

    def tell(self, accelerator: Any) -> None:
        """Those of an accelerator that knows them without reading; another, or one too large, is not told of."""
        known = getattr(accelerator, "known_currents_ua", None)
        placement = Placement.of(accelerator.preset)
        if known is None or placement.capacity > MOST_CELLS:
            return
        maps = placement.maps(known()).astype(np.float32)
        message = Float32MultiArray(data=array.array("f", maps.tobytes()))
        for name, size, stride in zip(("chip", "row", "column"), maps.shape, maps.strides, strict=True):
            message.layout.dim.append(MultiArrayDimension(label=name, size=size, stride=stride // 4 * size))
        self._currents.publish(message)
