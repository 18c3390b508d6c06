"""What a graph's messages say, put together as a moment; over DDS and from a recording alike.

Messages are plain objects with the fields of their types. Whoever is on the network can send them: counts are bounded,
numbers must be finite, and a message that is none of ours is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.active.store import PHASES
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.nodes import rehearsal
from memristor_bdnn.view.arm import ArmModel
from memristor_bdnn.view.moment import Candidates, Chips, Condition, Measure, Moment, Result

FloatArray = npt.NDArray[np.floating[Any]]

MARKERS = "visualization_msgs/msg/MarkerArray"
MOCK = f"{rehearsal.CONTROLLER}/joint_states"
"""Where the joints of a rehearsal are; those of an arm beside it are another's."""
LAST = {
    "joint_states": "sensor_msgs/msg/JointState",
    MOCK: "sensor_msgs/msg/JointState",
    "robot_description": "std_msgs/msg/String",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "accelerator/currents": "std_msgs/msg/Float32MultiArray",
    "coordinator/skill": "memristor_bdnn/msg/SkillDescription",
    "coordinator/candidates": "memristor_bdnn/msg/ValueTable",
}
"""Topics of which the last message counts, with their types; those without a slash before them are in the namespace."""
ALL = {
    "accelerator/status": "memristor_bdnn/msg/LearnerStatus",
    "coordinator/round": "memristor_bdnn/msg/ValueTable",
    "coordinator/trial": "memristor_bdnn/msg/ValueTable",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
"""Topics of which every message counts."""

KINDS = {1: "box", 2: "sphere", 3: "cylinder", 4: "line", 7: "spheres"}
"""visualization_msgs/Marker types that our nodes publish, as kinds of shapes."""
LEDGER = (
    *("labels", "model_version", "set_pulses", "reset_pulses", "reads", "energy_j", "system_energy_j", "latency_s"),
    "max_wear",
)
MOST_MARKERS, MOST_POINTS, MOST_CANDIDATES, MOST_CELLS = 2_000, 100_000, 20_000, 1_000_000
MOST_NODES, MOST_ROUNDS, MOST_JOINTS, MOST_COLUMNS = 64, 10_000, 200, 100
SILENT_S = 4.0
"""A node that has said nothing for so long is shown as silent (it says something once a second)."""
MISSING = {
    "arm": "no robot_description has been heard",
    "scene": "no markers have been heard",
    "candidates": "no query has been made yet, or the coordinator publishes none",
    "learning": "nothing has been learned yet",
    "chips": "no accelerator/currents have been heard: cells of a board are not known without reading them",
    "ledger": "no accelerator/status has been heard",
    "nodes": "no /diagnostics have been heard",
}


def wanted(topic: str, prefix: str) -> str:
    """A topic of a namespace (``prefix``, such as / or /lab/) as :class:`Heard` knows it; empty for others."""
    if topic in LAST or topic in ALL:  # global
        return topic
    name = topic.removeprefix(prefix)
    shown = name in LAST or name in ALL or (name.endswith("/markers") and name.count("/") == 1)
    return name if shown and topic.startswith(prefix) and not name.startswith("/") else ""


def type_of(name: str) -> str:
    """Type of the messages of a topic that :func:`wanted` names."""
    return LAST.get(name) or ALL.get(name) or MARKERS


class Heard:
    """Takes messages one by one and tells what is known.

    Args:
        absent: texts in place of those of :data:`MISSING`.
    """

    def __init__(self, absent: dict[str, str] | None = None) -> None:
        self._absent = {**MISSING, **(absent or {})}
        self._arm: ArmModel | None = None
        self._text, self._bases = "", {}  # type: str, dict[str, FloatArray]
        self._wrong_arm = ""
        self._joints: dict[str, float] = {}
        self._rehearsed: dict[str, float] = {}
        self._shapes: dict[str, tuple[Shape, ...]] = {}
        self._rounds: dict[int, dict[str, float]] = {}
        self._learned: dict[int, dict[str, float]] = {}
        self._results: dict[int, Result] = {}
        self._ledger: dict[str, float] | None = None
        self._chips: Chips | None = None
        self._candidates: Candidates | None = None
        self._nodes: dict[str, tuple[float, Condition]] = {}
        self._waiting: int | None = None
        self._measures: tuple[Measure, ...] = ()
        self.refused: dict[str, str] = {}
        self._takes: dict[str, Callable[[Any, float], None]] = {
            "joint_states": self._take_joints,
            MOCK: self._take_rehearsed,
            "robot_description": self._take_description,
            "/tf_static": self._take_frames,
            "accelerator/currents": self._take_currents,
            "accelerator/status": self._take_status,
            "coordinator/skill": self._take_skill,
            "coordinator/candidates": self._take_candidates,
            "coordinator/round": self._take_round,
            "coordinator/trial": self._take_trial,
            "/diagnostics": self._take_diagnostics,
        }

    def take(self, topic: str, message: Any, at: float) -> None:
        """Take a message of a topic that :func:`wanted` names, sent ``at`` seconds; a wrong one is left out."""
        try:
            if topic.endswith("/markers"):
                self._take_markers(topic.removesuffix("/markers"), message)
            elif topic in self._takes:
                self._takes[topic](message, at)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError) as error:
            self.refused[topic] = str(error)[:200]

    def moment(self, when: str, now: float) -> Moment:
        """What is known ``now`` (seconds, on the clock of the messages)."""
        arm = self._model()
        rounds = self._rounds or self._learned
        joints = self._rehearsed or self._joints
        absent = dict(self._absent)
        if self._wrong_arm:
            absent["arm"] = self._wrong_arm
        known = {
            "arm": arm is not None and bool(joints),
            "scene": bool(self._shapes),
            "candidates": self._candidates is not None,
            "learning": bool(rounds),
            "chips": self._chips is not None,
            "ledger": self._ledger is not None,
            "nodes": bool(self._nodes),
        }
        if arm is not None and not joints:
            absent["arm"] = "no joint_states have been heard"
        return Moment(
            when=f"{when}; rehearsal: a mock moves, no arm" if self._rehearsed else when,
            arm=arm,
            joints=dict(joints),
            shapes=dict(self._shapes),
            candidates=self._candidates,
            rounds=tuple(rounds[n] for n in sorted(rounds)),
            results=tuple(self._results[n] for n in sorted(self._results)),
            ledger=self._ledger,
            chips=self._chips,
            nodes={name: _now(condition, now - at) for name, (at, condition) in self._nodes.items()},
            waiting=self._waiting,
            measures=self._measures,
            absent={name: why for name, why in absent.items() if not known.get(name)},
        )

    # -- the arm ------------------------------------------------------------------------------

    def arm(self) -> ArmModel | None:
        """The arm of the description heard."""
        return self._model()

    def keep_arm(self, known: ArmModel | None) -> None:
        """Use a model made before where the description is the same: its meshes are on the page already."""
        if known is not None and known.text == self._text:
            self._arm = known

    def _take_joints(self, message: Any, at: float) -> None:
        self._joints = _joints(message, self._joints)

    def _take_rehearsed(self, message: Any, at: float) -> None:
        self._rehearsed = _joints(message, self._rehearsed)

    def _take_description(self, message: Any, at: float) -> None:
        if message.data != self._text:
            self._text, self._arm, self._wrong_arm = str(message.data), None, ""

    def _take_frames(self, message: Any, at: float) -> None:
        for stamped in list(message.transforms)[:MOST_MARKERS]:
            if stamped.header.frame_id == "world":
                place = stamped.transform.translation
                self._bases[str(stamped.child_frame_id)[:200]] = _pose(place, stamped.transform.rotation)

    def _model(self) -> ArmModel | None:
        """The arm, made anew when its description or its place has changed."""
        if not self._text or self._wrong_arm:
            return None
        try:
            if self._arm is None:
                self._arm = ArmModel(self._text)
            base = self._bases.get(self._arm.top)
            if base is not None and not np.array_equal(base, self._arm.base):
                self._arm.base = np.asarray(base, dtype=np.float64)
        except ConfigError as error:
            self._wrong_arm = str(error)
        return self._arm

    # -- the scene ----------------------------------------------------------------------------

    def _take_markers(self, name: str, message: Any) -> None:
        if len(message.markers) > MOST_MARKERS:
            raise ConfigError(f"{len(message.markers)} markers: at most {MOST_MARKERS} are drawn")
        if name not in self._shapes and len(self._shapes) >= MOST_NODES:
            raise ConfigError(f"more than {MOST_NODES} topics of markers")
        drawn = [m for m in message.markers if m.action == 0 and m.type in KINDS and m.header.frame_id == "world"]
        self._shapes[name] = tuple(map(_shape, drawn))

    # -- learning -----------------------------------------------------------------------------

    def _take_status(self, message: Any, at: float) -> None:
        self._ledger = {name: _finite(getattr(message, name), name) for name in LEDGER}
        labels, accuracy = int(message.labels), _finite(message.train_accuracy, "train_accuracy")
        self._learned = {n: r for n, r in self._learned.items() if n < labels}
        if message.model_version and labels and len(self._learned) < MOST_ROUNDS:
            self._learned[labels] = {"labels": float(labels), "train_accuracy": accuracy, **self._ledger}

    def _take_round(self, message: Any, at: float) -> None:
        names, values = _table(message, rows=1)
        row = dict(zip(names, values[0].tolist(), strict=True))
        labels = int(row["labels"])
        self._rounds = {n: r for n, r in self._rounds.items() if n < labels}  # another session begins anew
        if len(self._rounds) < MOST_ROUNDS:
            self._rounds[labels] = {k: v for k, v in row.items() if math.isfinite(v)}

    def _take_trial(self, message: Any, at: float) -> None:
        names, values = _table(message, rows=1)
        row = dict(zip(names, values[0].tolist(), strict=True))
        number, phase, score = int(row["number"]), int(row["phase"]), _finite(row["score"], "score")
        self._results = {n: r for n, r in self._results.items() if n < number}  # another session begins anew
        if len(self._results) < MOST_ROUNDS:
            predicted = row["predicted_mean"] if phase else None
            self._results[number] = Result(number, score, PHASES[phase], bool(row["feasible"]), predicted)

    def _take_candidates(self, message: Any, at: float) -> None:
        names, values = _table(message, MOST_CANDIDATES)
        column = {name: values[:, k] for k, name in enumerate(names)}
        own = ("confidence", "confidence_sd", "x", "y", "z")
        points = np.stack([column[c] for c in "xyz"], axis=1) if all(c in column for c in "xyz") else None
        parameters = tuple(name for name in names if name not in own)
        chosen = np.stack([column[name] for name in parameters], axis=1)
        if not np.isfinite(values).all():
            raise ConfigError("candidates with values that are not finite")
        self._candidates = Candidates(parameters, chosen, column["confidence"], column["confidence_sd"], points)

    def _take_currents(self, message: Any, at: float) -> None:
        shape = tuple(int(d.size) for d in message.layout.dim)
        if len(shape) != 3 or math.prod(shape) > MOST_CELLS or math.prod(shape) != len(message.data):
            raise ConfigError(f"currents of shape {shape}: expected chips x rows x columns, at most {MOST_CELLS} cells")
        self._chips = Chips(np.array(message.data, dtype=np.float32).reshape(shape), "as last told")

    def _take_skill(self, message: Any, at: float) -> None:
        self._measures = tuple(
            Measure(str(d.name)[:100], str(d.unit)[:20], float(d.low), float(d.high)) for d in message.measures[:20]
        )

    # -- the nodes ----------------------------------------------------------------------------

    def _take_diagnostics(self, message: Any, at: float) -> None:
        for status in message.status[:MOST_NODES]:
            name = str(status.name)[:200]
            if name not in self._nodes and len(self._nodes) >= MOST_NODES:
                continue
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            self._nodes[name] = at, Condition(min(level, 3), str(status.message)[:300])
            values = {str(v.key): str(v.value) for v in status.values}
            if name.endswith("/coordinator"):
                waiting = values.get("waits_for_label", "")
                self._waiting = int(waiting) if waiting.isdecimal() and len(waiting) < 20 else None


def _joints(message: Any, before: dict[str, float]) -> dict[str, float]:
    """Positions by joint: those of a message beside those of others, as of a hand with a driver of its own."""
    names, positions = [str(name) for name in message.name], [float(q) for q in message.position]
    if len(names) != len(positions) or len(names) > MOST_JOINTS or not all(map(math.isfinite, positions)):
        raise ConfigError(f"{len(names)} joints with {len(positions)} positions")
    kept = before if len(before) + len(names) <= 2 * MOST_JOINTS else {}
    return kept | dict(zip(names, positions, strict=True))


def _now(condition: Condition, silent_s: float) -> Condition:
    return condition if silent_s < SILENT_S else Condition(3, f"silent for {silent_s:.0f} s")


def _finite(value: Any, name: str) -> float:
    if not math.isfinite(value := float(value)):
        raise ConfigError(f"{name} = {value}: expected a finite number")
    return value


def _table(message: Any, rows: int) -> tuple[list[str], FloatArray]:
    """Names and values (n, names) of a table of at most so many rows."""
    names, values = [str(n) for n in message.names], np.array(message.values, dtype=np.float64)
    if not names or len(names) > MOST_COLUMNS or len(set(names)) != len(names) or values.size % len(names):
        raise ConfigError(f"a table of {values.size} values with {len(names)} names")
    if not 1 <= values.size // len(names) <= rows:
        raise ConfigError(f"a table of {values.size // len(names)} rows: allowed 1 to {rows}")
    return names, values.reshape(-1, len(names))


def _pose(place: Any, turn: Any) -> FloatArray:
    """Pose (4, 4) of a position and a quaternion of a message."""
    w, x, y, z = (float(getattr(turn, name)) for name in "wxyz")
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if not abs(norm - 1.0) < 1e-2:
        raise ConfigError(f"a quaternion of length {norm}, expected 1")
    w, x, y, z = (value / norm for value in (w, x, y, z))
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = [_finite(getattr(place, name), f"position {name}") for name in "xyz"]
    return pose


def _shape(marker: Any) -> Shape:
    size = tuple(min(max(_finite(getattr(marker.scale, name), "scale"), 0.0), 100.0) for name in "xyz")
    colour = tuple(min(max(_finite(getattr(marker.color, name), "colour"), 0.0), 1.0) for name in "rgba")
    points = None
    kind = KINDS[int(marker.type)]
    if kind in ("line", "spheres"):
        if len(marker.points) > MOST_POINTS:
            raise ConfigError(f"a marker of {len(marker.points)} points: at most {MOST_POINTS} are drawn")
        points = np.array([(p.x, p.y, p.z) for p in marker.points], dtype=np.float64).reshape(-1, 3)
        if not np.isfinite(points).all():
            raise ConfigError("a marker with points that are not finite")
    pose = _pose(marker.pose.position, marker.pose.orientation)
    return Shape(str(marker.ns)[:100], kind, pose, size, colour, points)  # type: ignore[arg-type]
