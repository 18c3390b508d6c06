"""Labelled trials for the active-learning benchmark, and an oracle that gives one label at a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pool import Pool
from memristor_bdnn.state import check_array, load_npz

FloatArray = npt.NDArray[np.floating[Any]]
COLUMNS = ("x_pool", "score_pool", "x_test", "score_test")


@dataclass(frozen=True)
class Trials:
    """Inputs in [-1, 1] and scores in [-1, 1] of a pool and of test rows.

    Attributes:
        x_pool: shape (n, d). score_pool: shape (n,).
        x_test: shape (m, d). score_test: shape (m,).
    """

    x_pool: FloatArray
    score_pool: FloatArray
    x_test: FloatArray
    score_test: FloatArray

    def with_corrected_sizes(self) -> Trials:
        """Published trials with the bowl sizes that their outcomes fit (:mod:`memristor_bdnn.skills.pouring.sizes`).

        Trials of other bowls are returned as they are.
        """
        from memristor_bdnn.skills.pouring.sizes import are_published, corrected_sizes

        if not are_published(self.x_pool):
            return self
        return dataclasses.replace(self, x_pool=corrected_sizes(self.x_pool), x_test=corrected_sizes(self.x_test))

    def held_out(self, seed: int) -> Trials:
        """A third of the pool, drawn by seed, in place of the test rows: to choose options without looking at those."""
        test = np.zeros(len(self.x_pool), dtype=bool)
        test[np.random.default_rng([seed, 3]).choice(len(test), len(test) // 3, replace=False)] = True
        return Trials(self.x_pool[~test], self.score_pool[~test], self.x_pool[test], self.score_pool[test])


def load_trials(path: str | Path, initial: int = 64) -> Trials:
    """Load a dataset and check everything that could spoil a result silently.

    A pool of our own (`memristor-bdnn collect`) gives its last quarter as test rows.

    Raises:
        ConfigError: missing columns, wrong shapes, NaN, scores out of [-1, 1], too few rows, one class only.
    """
    arrays = load_npz(path)
    if "schema" in arrays:
        arrays = _own_pool(path)
    return checked(arrays, path, initial)


def checked(arrays: dict[str, npt.NDArray[Any]], path: str | Path, initial: int) -> Trials:
    """A dataset from its arrays, or a ConfigError that names the file and what is wrong; see :func:`load_trials`."""
    missing = [name for name in COLUMNS if name not in arrays]
    if missing:
        raise ConfigError(f"{path}: missing {', '.join(missing)}; expected the arrays {', '.join(COLUMNS)}")
    for name in COLUMNS:
        check_array(f"{path}: {name}", arrays[name], kinds="fiub", nan=True)
    data = {name: np.asarray(arrays[name], dtype=np.float64) for name in COLUMNS}
    for part in ("pool", "test"):
        x, score = data[f"x_{part}"], data[f"score_{part}"]
        if x.ndim != 2 or score.shape != (len(x),):
            raise ConfigError(
                f"{path}: x_{part} has shape {x.shape} and score_{part} {score.shape}: expected (n, d) and (n,)"
            )
        for name, values in ((f"x_{part}", x), (f"score_{part}", score)):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                raise ConfigError(f"{path}: {name}{bad[0].tolist()} is not finite")
        wrong = np.flatnonzero(np.abs(score) > 1.0)
        if len(wrong):
            raise ConfigError(f"{path}: score_{part}[{wrong[0]}] = {score[wrong[0]]:g}: allowed [-1, 1]")
        if not (score > 0).any() or (score > 0).all():
            raise ConfigError(f"{path}: score_{part} holds one class only; successes (> 0) and failures are needed")
    if data["x_pool"].shape[1] != data["x_test"].shape[1]:
        raise ConfigError(f"{path}: x_pool has {data['x_pool'].shape[1]} columns, x_test {data['x_test'].shape[1]}")
    if len(data["x_pool"]) < initial:
        raise ConfigError(f"{path}: the pool has {len(data['x_pool'])} rows: at least {initial} are needed")
    return Trials(**data)


def _own_pool(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """The columns of a dataset from an exported pool of `collect`."""
    from memristor_bdnn.skills.pouring import pool

    return split(pool.load(path))


def split(rows: Pool) -> dict[str, npt.NDArray[Any]]:
    """The columns of a dataset from a pool: its last quarter are the test rows."""
    cut = len(rows.x) - len(rows.x) // 4
    return dict(zip(COLUMNS, (rows.x[:cut], rows.score[:cut], rows.x[cut:], rows.score[cut:]), strict=True))


class Oracle:
    """Gives the score of a pool row when it is asked; nothing else in the benchmark sees pool scores."""

    def __init__(self, scores: FloatArray) -> None:
        self._scores = scores
        self.asked: list[int] = []

    def ask(self, row: int) -> float:
        """The score of one row, counted as one label."""
        self.asked.append(int(row))
        return float(self._scores[row])
