"""The trial store: one checked JSON line per trial, on disk before anyone hears of the outcome.

A trial costs a robot's time, so the file is append-only, synced after every line, locked against a
second writer, and readable after a kill at any moment: only a torn last line is ever dropped.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import StoreError

FloatArray = npt.NDArray[np.floating[Any]]
SCHEMA = "memristor_bdnn.trials"
VERSION = 1
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
        numbers = (*self.context, *self.parameters, *self.features, self.score, self.fraction)
        if not all(math.isfinite(v) for v in numbers):
            raise StoreError(f"a trial of phase {self.phase} holds a value that is not finite: {numbers}")
        if not -1.0 <= self.score <= 1.0:
            raise StoreError(f"trial score {self.score}: allowed [-1, 1]")


class TrialStore:
    """Append-only file of trials.

    Args:
        path: the file; created with its header at the first commit.
        metadata: what must be the same whenever this store is opened (skill, feature names, seed);
            written to the header of a new file and compared with an existing one.
        readonly: open without the writer's lock; commit is refused.

    Raises:
        StoreError: another schema, version or metadata, damage before the last line, or a second writer.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, Any] | None = None, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.metadata: dict[str, Any] = json.loads(json.dumps(dict(metadata or {})))
        self.trials: list[Trial] = []
        self.readonly = readonly
        self._file: Any = None
        if readonly:
            if self.path.exists():
                self._parse(self.path.read_bytes())
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError(f"{self.path} is in use by another process: stop it, or use another file") from error
        try:
            self._file.seek(0)
            content = self._file.read()
            good = self._parse(content)
            if good < len(content):
                self._file.truncate(good)
        except BaseException:
            self._file.close()
            raise

    def commit(self, trial: Trial) -> int:
        """Append one trial and sync it to disk; returns its index."""
        if self._file is None:
            raise StoreError(f"{self.path} is open read-only or closed: no trial can be committed")
        if not self.trials and self._file.tell() == 0:
            self._write({"schema": SCHEMA, "version": VERSION, "metadata": self.metadata})
        value = _jsonable(dataclasses.asdict(trial))
        self._write(value)
        self.trials.append(self._trial(value, len(self.trials) + 2))  # as a later reader will see it
        return len(self.trials) - 1

    def labels(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What may be learned from: features (n, d), success as 0/1 (n,), scores (n,), in order of trial."""
        kept = [t for t in self.trials if t.feasible and t.phase in LABEL_PHASES]
        width = len(kept[0].features) if kept else 0
        x = np.array([t.features for t in kept], dtype=np.float64).reshape(len(kept), width)
        scores = np.array([t.score for t in kept], dtype=np.float64)
        return x, (scores > 0.0).astype(np.float64), scores

    def close(self) -> None:
        """Release the file and its lock; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> TrialStore:
        """Use as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write(_encode(value))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _parse(self, content: bytes) -> int:
        """Take in the file's lines; returns the number of bytes that are good."""
        good = 0
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            value = _decode(line)
            if value is None:
                if number == len(lines):
                    warnings.warn(
                        f"{self.path}: dropped an incomplete last line ({len(line)} bytes), as after a crash",
                        stacklevel=3,
                    )
                    break
                raise StoreError(f"{self.path}: line {number} is damaged (checksum); repair it from a copy")
            if number == 1:
                self._check_header(value)
            else:
                self.trials.append(self._trial(value, number))
            good += len(line)
        return good

    def _check_header(self, header: dict[str, Any]) -> None:
        if header.get("schema") != SCHEMA or header.get("version") != VERSION:
            raise StoreError(
                f"{self.path}: schema {header.get('schema')!r} version {header.get('version')!r}, this program "
                f"reads {SCHEMA!r} version {VERSION}; use another file or the program that wrote it"
            )
        found = header.get("metadata", {})
        for key, value in self.metadata.items():
            if key in found and found[key] != value:
                raise StoreError(
                    f"{self.path}: {key} is {found[key]!r} in the file but {value!r} now; use another file"
                )
        self.metadata = {**self.metadata, **found}

    def _trial(self, value: dict[str, Any], number: int) -> Trial:
        try:
            for key in ("context", "parameters", "features"):
                value[key] = tuple(float(v) for v in value[key])
            return Trial(**value)
        except (TypeError, KeyError, ValueError) as error:
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


def _encode(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(_jsonable(value), sort_keys=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _decode(line: bytes) -> dict[str, Any] | None:
    """The value of a line, or None if it is torn or damaged."""
    if not line.endswith(b"\n") or len(line) < 10 or line[8:9] != b" ":
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:-1]):
            return None
        value = json.loads(line[9:-1])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
