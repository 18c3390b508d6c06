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
    """Inputs in [-1, 1] and scores in [-1, 1] of a pool, of test rows, and of rows for an audit.

    Attributes:
        x_pool: shape (n, d). score_pool: shape (n,).
        x_test: shape (m, d). score_test: shape (m,).
        x_audit: shape (k, d); rows that take part in nothing before the last figures; None without an audit.
        score_audit: shape (k,).
    """

    x_pool: FloatArray
    score_pool: FloatArray
    x_test: FloatArray
    score_test: FloatArray
    x_audit: FloatArray | None = None
    score_audit: FloatArray | None = None

    def with_corrected_sizes(self) -> Trials:
        """Published trials with the sizes to expect where recorded ones repeat (:mod:`.published`).

        Repeats among pool rows correct the pool; test and audit rows are corrected by what they share with it, and
        change nothing in the pool. Trials of other vessels are returned as they are.
        """
        from memristor_bdnn.benchmark.dbal.published import are_published, corrected_sizes

        if not are_published(self.x_pool):
            return self
        pool = self.x_pool
        audit = None if self.x_audit is None else corrected_sizes(self.x_audit, pool)
        return dataclasses.replace(
            self, x_pool=corrected_sizes(pool), x_test=corrected_sizes(self.x_test, pool), x_audit=audit
        )

    def audited(self, rows: int, seed: int) -> Trials:
        """With so many rows of the pool, drawn by seed, withheld from it for an audit."""
        kept = np.zeros(len(self.x_pool), dtype=bool)
        kept[np.random.default_rng([seed, 5]).choice(len(kept), rows, replace=False)] = True
        return dataclasses.replace(
            self,
            x_pool=self.x_pool[~kept],
            score_pool=self.score_pool[~kept],
            x_audit=self.x_pool[kept],
            score_audit=self.score_pool[kept],
        )

    def with_successes(self, share: float, seed: int) -> Trials:
        """With successes left out of the pool, by seed, until they are so rare; test and audit rows stay as they are.

        Raises:
            ConfigError: the pool has fewer successes than that, or would be left with none.
        """
        good = np.flatnonzero(self.score_pool > 0)
        kept = round((len(self.score_pool) - len(good)) * share / (1.0 - share))
        if not 1 <= kept <= len(good):
            raise ConfigError(
                f"--successes {share:g}: {kept} of the pool's {len(good)} successes would be left; allowed is a share "
                f"that leaves one and above, up to {len(good) / len(self.score_pool):.3f}, what the pool has"
            )
        out = np.random.default_rng([seed, 7]).permutation(good)[kept:]
        return dataclasses.replace(
            self, x_pool=np.delete(self.x_pool, out, axis=0), score_pool=np.delete(self.score_pool, out)
        )

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


def with_audit(trials: Trials, rows: Pool, path: str | Path) -> Trials:
    """A dataset with rows from elsewhere to be predicted after everything else.

    Raises:
        ConfigError: rows of another width, or rows that the dataset has too: those would have taken part.
    """
    x = np.asarray(rows.x, dtype=np.float64)
    width = trials.x_pool.shape[1]
    if x.ndim != 2 or x.shape[1] != width:
        raise ConfigError(f"--audit {path}: its rows have shape {x.shape[1:]}, those of the dataset ({width},)")
    known = {row.tobytes() for part in (trials.x_pool, trials.x_test) for row in np.ascontiguousarray(part) + 0.0}
    taken = [k for k, row in enumerate(np.ascontiguousarray(x) + 0.0) if row.tobytes() in known]
    if taken:
        raise ConfigError(
            f"--audit {path}: {len(taken)} of its {len(x)} rows are in the dataset (the first is row {taken[0]}): "
            "give rows that took part in nothing"
        )
    if not (rows.score > 0).any() or (rows.score > 0).all():
        raise ConfigError(f"--audit {path} holds one class only; successes (score > 0) and failures are needed")
    return dataclasses.replace(trials, x_audit=x, score_audit=np.asarray(rows.score, dtype=np.float64))


class Oracle:
    """Gives the score of a pool row when it is asked; nothing else in the benchmark sees pool scores."""

    def __init__(self, scores: FloatArray) -> None:
        self._scores = scores
        self.asked: list[int] = []

    def ask(self, row: int) -> float:
        """The score of one row, counted as one label."""
        self.asked.append(int(row))
        return float(self._scores[row])
