"""The trial store: one checked JSON line per trial, on disk before anyone hears of the outcome.

A trial costs a robot's time, so the file is append-only, synced after every line, locked against a
second writer, and readable after a kill at any moment: only our own torn last line is ever dropped.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.active.journal import Journal
from memristor_bdnn.errors import StoreError

FloatArray = npt.NDArray[np.floating[Any]]
SCHEMA = "memristor_bdnn.trials"
PHASES = ("initial", "query", "evaluation")
LABEL_PHASES = ("initial", "query")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One executed (or refused) trial.

    Attributes:
        phase: ``initial`` or ``query`` (labels to learn from), or ``evaluation`` (never a label).
        context: physical values of the situation.
        parameters: physical values of the control parameters.
        features: the network's inputs.
        feasible: False when no motion was found; such a trial is no label.
        score: in [-1, 1]; above 0 is a success.
        fraction: the skill's raw measure in [0, 1].
        seed: of the trial itself.
        strategy: what chose it.
        acquisition: its acquisition score (0.0 where there was none).
        predicted_mean: success probability predicted before the trial (0.5 where there was none).
        predicted_std: spread of the prediction.
        details: JSON-able extras from the skill.
    """

    phase: str
    context: tuple[float, ...]
    parameters: tuple[float, ...]
    features: tuple[float, ...]
    feasible: bool
    score: float
    fraction: float
    seed: int
    strategy: str = "random"
    acquisition: float = 0.0
    predicted_mean: float = 0.5
    predicted_std: float = 0.0
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no later reader could use."""
        if self.phase not in PHASES:
            raise StoreError(f"trial phase {self.phase!r}: choose one of {', '.join(PHASES)}")
        for name, kind in (("feasible", bool), ("seed", int), ("strategy", str), ("details", dict)):
            if not isinstance(getattr(self, name), kind):
                raise StoreError(f"trial {name} {getattr(self, name)!r}: expected {kind.__name__}")
        numbers = (*self.context, *self.parameters, *self.features, self.score, self.fraction)
        if not all(math.isfinite(v) for v in numbers):
            raise StoreError(f"a trial of phase {self.phase} holds a value that is not finite: {numbers}")
        if not -1.0 <= self.score <= 1.0:
            raise StoreError(f"trial score {self.score}: allowed [-1, 1]")


class TrialStore:
    """Append-only file of trials.

    Args:
        path: the file; created with its header at the first commit, or by :meth:`begin`.
        metadata: what must be the same whenever this store is opened (skill, feature names, seed);
            written to the header of a new file and compared with an existing one.
        readonly: open without the writer's lock; commit is refused.

    Raises:
        StoreError: no trial store, another schema, version or metadata, damage, lines that were removed, repeated or
            reordered, or a second writer. Nothing in the file is changed then.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, Any] | None = None, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.metadata: dict[str, Any] = json.loads(json.dumps(dict(metadata or {})))
        self.trials: list[Trial] = []
        self.readonly = readonly
        self._journal = Journal(self.path, SCHEMA, readonly)
        try:
            if self._journal.values:
                self._check_header(self._journal.values[0])
            for number, value in enumerate(self._journal.values[1:], start=2):
                self.trials.append(self._trial(value, number))
            self._journal.settle()
        except BaseException:
            self._journal.close()
            raise

    def begin(self) -> None:
        """Write the header of a new file, so that what is made before the first trial belongs to this session.

        Raises:
            StoreError: it is not on disk.
        """
        if not self._journal.writable:
            raise StoreError(f"{self.path} is open read-only or closed: no trial can be committed")
        if not self._journal.values:
            self._journal.append({"metadata": self.metadata})

    def commit(self, trial: Trial) -> int:
        """Append one trial and sync it to disk; returns its index.

        Raises:
            StoreError: it is not on disk; file and memory are as they were before.
        """
        self.begin()
        value = _jsonable(dataclasses.asdict(trial))
        read = self._trial(value, len(self.trials) + 2)  # as a later reader will see it
        self._journal.append(value)
        self.trials.append(read)
        return len(self.trials) - 1

    def history(self, trials: int | None = None) -> str:
        """Checksums of the header and of the first trials (all when left out): equal only for equal trials in order."""
        sums = self._journal.checksums
        count = len(self.trials) if trials is None else trials
        return f"{sums[0]:08x}-{sums[count]:08x}" if sums else ""

    def same_session(self, history: str) -> bool:
        """Whether a history is of a store that began with the same header (skill, features, seed)."""
        return history.partition("-")[0] == self.history(0).partition("-")[0]

    def labels(self, trials: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What may be learned from: features (n, d), success as 0/1 (n,), scores (n,), in order of trial.

        Args:
            trials: only the labels among so many first trials.
        """
        kept = [t for t in self.trials[:trials] if t.feasible and t.phase in LABEL_PHASES]
        width = len(kept[0].features) if kept else len(self.metadata.get("features", ()))
        x = np.array([t.features for t in kept], dtype=np.float64).reshape(len(kept), width)
        scores = np.array([t.score for t in kept], dtype=np.float64)
        return x, (scores > 0.0).astype(np.float64), scores

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        self._journal.close()

    def __enter__(self) -> TrialStore:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _check_header(self, header: dict[str, Any]) -> None:
        found = header.get("metadata", {})
        if not isinstance(found, dict):
            raise StoreError(f"{self.path}: the header's metadata are {found!r}, expected a mapping")
        for key, value in self.metadata.items():
            if key in found and found[key] != value:
                raise StoreError(
                    f"{self.path}: {key} is {found[key]!r} in the file but {value!r} now; use another file"
                )
        self.metadata = {**self.metadata, **found}

    def _trial(self, value: dict[str, Any], number: int) -> Trial:
        try:
            fields = {key: item for key, item in value.items() if key != "number"}
            for key in ("context", "parameters", "features"):
                fields[key] = tuple(float(v) for v in fields[key])
            return Trial(**fields)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise StoreError(f"{self.path}: line {number} is no trial: {error}") from error


def _jsonable(value: Any) -> Any:
    """The value with arrays as lists and NaN as null: a skill's odd detail must not cost the trial."""
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
