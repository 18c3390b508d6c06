"""Requests that no client of ours sends: wrong names, NaN, sizes of 2**32, paths out of the folder, spoilt plans."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, 2.0, -2.0, 1.0000001)
COUNTS = (0, 1, 5, 20, 10_001, 100_000, 2**31, 2**32 - 1)
SEEDS = (-1, 0, 1, 2**31, 2**63 - 1, -(2**63))
WORDS = ("", " ", "x" * 70_000, "straddle", "guess", "näh", "a\nb", "../x", "%s", "{}", "'; --")


@dataclass
class Request:
    """One call.

    Attributes:
        role: of the node.
        kind: type of service or action.
        name: of the service or action.
        message: request or goal.
        text: what is odd about it.
        bad: whether it must be refused; False where a refusal would be wrong, None where both are right.
        action: whether it is a goal.
        cancel_after: cancel the goal after so many seconds; below 0 never.
    """

    role: str
    kind: Any
    name: str
    message: Any
    text: str
    bad: bool | None
    action: bool = False
    cancel_after: float = -1.0


@dataclass
class Place:
    """A context (c,) that stands in a world, parameters (p,) for it, and a MotionPlan."""

    context: Any
    parameters: Any
    plan: Any


@dataclass
class Known:
    """What is right, to be spoilt.

    Attributes:
        skill: of the graph.
        results: folder of the nodes.
        outside: a folder that none of them may touch.
        places: by role of a world: what can be executed there.
        checkpoints: names in the results folder that hold damaged files, and what is wrong with each.
    """

    skill: Any
    results: Path
    outside: Path
    places: dict[str, Place]
    checkpoints: dict[str, str]


# -- tables ----------------------------------------------------------------------------------------


RIGHT = 0.3
"""Share of tables that are right: a request is then spoilt elsewhere, or must be answered."""
_SPOILT = ("prefix", "longer", "order", "no names", "twice", "word", "number", "short", "empty")


def table(rng: np.random.Generator, names: tuple[str, ...], values: Any, right: float = RIGHT) -> tuple[Any, str, bool]:
    """A ValueTable of these names and values (n, columns), spoilt in one way; what it is, and whether it is bad."""
    from memristor_bdnn.msg import ValueTable
    from memristor_bdnn.nodes.convert import floats

    kind = "right" if rng.random() < right else str(rng.choice(_SPOILT))
    columns, numbers = list(names), np.array(values, float).ravel()
    at = int(rng.integers(len(columns)))
    if kind == "prefix":
        columns.pop()
    elif kind == "longer":
        columns.append("extra")
    elif kind == "order":
        columns[0], columns[-1] = columns[-1], columns[0]
    elif kind == "no names":
        columns = []
    elif kind == "twice":
        columns[-1] = columns[0]
    elif kind == "word":
        columns[at] = str(rng.choice(WORDS))
    elif kind == "number":
        numbers[int(rng.integers(len(numbers)))] = float(rng.choice(NUMBERS[:5]))
    elif kind == "short":
        numbers = numbers[:-1] if rng.random() < 0.5 else np.append(numbers, 0.0)
    elif kind == "empty":
        numbers = numbers[:0]
    if kind in ("prefix", "longer") and rng.random() < 0.5:  # as many values as names: only the names are wrong
        numbers = np.zeros(len(columns))
    if (kind == "short" and len(names) == 1) or (kind in ("order", "twice") and len(names) == 1):
        return ValueTable(names=columns, values=floats(numbers)), kind, False
    return ValueTable(names=columns, values=floats(numbers)), kind, kind != "right"


def features(rng: np.random.Generator, known: Known) -> tuple[Any, str, bool]:
    """Network inputs for 1 to 12 candidates, spoilt or not."""
    names = known.skill.feature_names
    return table(rng, names, rng.uniform(-1, 1, (int(rng.integers(1, 13)), len(names))))


def contexts(
    rng: np.random.Generator, known: Known, role: str = "world", right: float = RIGHT
) -> tuple[Any, str, bool]:
    """A world's context, spoilt or not."""
    return table(rng, known.skill.context_space.names, known.places[role].context, right)


# -- the accelerator -------------------------------------------------------------------------------


def predict(rng: np.random.Generator, known: Known) -> Request:
    """Candidates or sample counts that cannot be."""
    from memristor_bdnn.srv import Predict

    rows, text, bad = features(rng, known)
    samples = int(rng.choice(COUNTS))
    message = Predict.Request(candidates=rows, samples=samples, want_samples=bool(rng.integers(2)))
    message.considered = int(rng.choice([0, 0, 1, 64, 2**32 - 1]))
    verdict = True if bad or samples > 1_000_000 else (None if samples > 20 else False)
    return Request("accelerator", Predict, "predict", message, f"{text}, samples {samples}", verdict)


def select(rng: np.random.Generator, known: Known) -> Request:
    """Numbers, strategies and seeds that there are not."""
    from memristor_bdnn.srv import SelectQueries

    rows, text, bad = features(rng, known)
    k, strategy, seed = int(rng.choice(COUNTS)), str(rng.choice((*WORDS, "straddle", "random"))), int(rng.choice(SEEDS))
    message = SelectQueries.Request(candidates=rows, k=k, strategy=strategy, seed=seed)
    verdict = True if bad or k == 0 or k > 12 or seed < -1 or strategy not in ("straddle", "random") else None
    text = f"{text}, k {k}, strategy {strategy[:20]!r}, seed {seed}"
    return Request("accelerator", SelectQueries, "select_queries", message, text, verdict)


def labels(rng: np.random.Generator, rows: int) -> tuple[list[float], str, bool]:
    """Labels for rows, spoilt or not."""
    y = [float(v) for v in rng.uniform(0, 1, rows)]
    kind = str(rng.choice(("right", "number", "short", "none")))
    if kind == "number" and y:
        y[0] = float(rng.choice(NUMBERS[:5]))
        return y, "y not in [0, 1]", True
    if kind == "short":
        return [*y, 0.5], "one label more than rows", True
    if kind == "none":
        return [], "no labels", rows > 0
    return y, "labels right", False


def add(rng: np.random.Generator, known: Known) -> Request:
    """Labelled trials that are none."""
    from memristor_bdnn.srv import AddObservations

    rows, text, bad = features(rng, known)
    y, about, worse = labels(rng, len(rows.values) // len(known.skill.feature_names))
    message = AddObservations.Request(x=rows, y=y)
    verdict = True if worse or (bad and text != "empty") else None
    return Request("accelerator", AddObservations, "add_observations", message, f"{text}, {about}", verdict)


def learn(rng: np.random.Generator, known: Known) -> Request:
    """Goals with rows and labels that do not fit; some that are right are cancelled."""
    from memristor_bdnn.action import Learn

    rows, text, bad = features(rng, known)
    y, about, worse = labels(rng, len(rows.values) // len(known.skill.feature_names))
    scratch = bool(rng.integers(2))
    message = Learn.Goal(x=rows, y=y, from_scratch=scratch)
    # Without rows it means: on what AddObservations gave.
    verdict = True if len(rows.values) and (bad or worse) else None
    cancel = float(rng.random() * 0.2) if rng.random() < 0.3 else -1.0
    text = f"{text}, {about}, from scratch {scratch}"
    return Request("accelerator", Learn, "learn", message, text, verdict, True, cancel)


def _path(rng: np.random.Generator, known: Known) -> tuple[str, bool | None]:
    """A path that a peer might send, and whether writing there must be refused.

    Every one of them lies in the campaign's own folder, however a node may read it: what is tried here is carried out
    where the guard against it is missing.
    """
    outside = str(known.outside)
    choices: tuple[tuple[str, bool | None], ...] = (
        ("", True),
        (".", True),
        ("/", True),
        ("..", True),
        ("../trials.jsonl", True),
        ("../../outside/keep.txt", True),
        (f"{outside}/keep.txt", True),
        (f"{outside}/new/deep/x.npz", True),
        ("link_out/x.npz", True),
        ("link_file.npz", True),
        ("trials.jsonl", True),
        ("rounds.jsonl", True),
        ("session.mcap", True),
        ("fifo.npz", True),
        ("folder.npz", True),
        ("x" * 300, True),
        ("x" * 5000, True),
        ("a/../../outside/keep.txt", True),
        ("~/x.npz", None),  # HOME is in the campaign's folder
        ("nä h.npz", None),
        ("new.npz", False),
        ("missing.npz", None),
    )
    return choices[int(rng.integers(len(choices)))]


def save(rng: np.random.Generator, known: Known) -> Request:
    """Checkpoints to places where none belongs."""
    from memristor_bdnn.srv import SaveCheckpoint

    path, bad = _path(rng, known)
    message = SaveCheckpoint.Request(path=path)
    if rng.random() < 0.2:
        message.trials, message.history = (2**63), str(rng.choice(WORDS))
        bad = True if bad else None
    return Request("accelerator", SaveCheckpoint, "save_checkpoint", message, f"path {path[:80]!r}", bad)


def load(rng: np.random.Generator, known: Known) -> Request:
    """Files that are no checkpoint of this learner, or no files."""
    from memristor_bdnn.srv import LoadCheckpoint

    if rng.random() < 0.6:
        names = list(known.checkpoints)
        path = names[int(rng.integers(len(names)))]
        text, bad = f"{path}: {known.checkpoints[path]}", None
    else:
        path, writing = _path(rng, known)
        # What may be written may have been.
        text, bad = f"path {path[:80]!r}", True if writing else None
    message = LoadCheckpoint.Request(path=path, strict=bool(rng.integers(2)))
    return Request("accelerator", LoadCheckpoint, "load_checkpoint", message, text, bad)


# -- world, planner, coordinator -------------------------------------------------------------------


def reset(rng: np.random.Generator, known: Known) -> Request:
    """Contexts that cannot be, in the simulated world and in the lab."""
    from memristor_bdnn.srv import ResetWorld

    role = "lab" if rng.random() < 0.3 else "world"
    rows, text, bad = contexts(rng, known, role)
    given, seed = bool(rng.random() < 0.8), int(rng.choice(SEEDS))
    verdict: bool | None = (given and bad) or seed < -1
    if role == "lab" and not (given and bad):
        verdict = None  # what stands there is not drawn: a seed may be ignored
    message = ResetWorld.Request(seed=seed, given=given, context=rows)
    return Request(role, ResetWorld, "reset", message, f"{text}, given {given}, seed {seed}", verdict)


def label(rng: np.random.Generator, known: Known) -> Request:
    """Outcomes of trials that nobody waits for."""
    from memristor_bdnn.srv import LabelTrial

    space = known.skill.measure_space
    rows, text, _ = table(rng, space.names, np.full(len(space), 0.5))
    message = LabelTrial.Request(
        trial_id=(0, 1, 2**64 - 1)[int(rng.integers(3))], measures=rows, source=str(rng.choice(WORDS))
    )
    return Request("coordinator", LabelTrial, "label_trial", message, f"{text}, trial {message.trial_id}", True)


def active(rng: np.random.Generator, known: Known) -> Request:
    """Sessions of sizes and strategies that cannot be; one that can is cancelled."""
    from memristor_bdnn.action import ActiveLearn

    kind = str(rng.choice(("strategy", "queries", "evaluations", "cancel")))
    goal = ActiveLearn.Goal(queries=0, strategy="straddle", evaluation_trials=0)
    if kind == "strategy":
        goal.strategy = str(rng.choice(("guess", "x" * 70_000, "näh", "../x", " ")))
    elif kind == "queries":
        goal.queries = 2**32 - 1
    elif kind == "evaluations":
        goal.evaluation_trials = 2**32 - 1
    else:
        goal.queries = 1
        return Request("coordinator", ActiveLearn, "active_learn", goal, "cancelled at once", None, True, 0.1)
    return Request("coordinator", ActiveLearn, "active_learn", goal, kind, True, True)


# -- every node ------------------------------------------------------------------------------------


def transition(rng: np.random.Generator, known: Known) -> Request:
    """Transitions that a node in its state does not have."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    role = str(rng.choice(("world", "planner", "accelerator", "coordinator", "recorder", "lab", "controller")))
    number = int(rng.choice([0, 1, 2, 3, 8, 9, 10, 20, 30, 40, 50, 60, 99, 255]))
    message = ChangeState.Request(
        transition=Transition(id=number, label=str(rng.choice(("", "configure", "näh", "x" * 999))))
    )
    if message.transition.label == "configure":
        message.transition.id = 99
    return Request(
        role, ChangeState, "change_state", message, f"id {number}, label {message.transition.label[:9]!r}", True
    )
