"""Damaged pools of trials and test data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memristor_bdnn import skills
from memristor_bdnn.active.test_data import load_test_data
from memristor_bdnn.benchmark.faults import mutate
from memristor_bdnn.benchmark.faults.verdict import Verdict
from memristor_bdnn.errors import MemristorError
from memristor_bdnn.skills import pool as pools


class Tables:
    """A good pool and good test data of a skill."""

    def __init__(self, folder: Path, skill: str) -> None:
        self._folder, self._skill = folder, skills.load(skill)
        names = self._skill.feature_names
        rng = np.random.default_rng(0)
        np.savez(folder / "data.npz", x=rng.uniform(-1, 1, (20, len(names))), score=rng.uniform(-1, 1, 20))
        self._data = (folder / "data.npz").read_bytes()
        world = self._skill.world("", None)
        rows = [pools.simulate(self._skill, world, seed) for seed in range(6)]
        world.close()
        with pools.PoolFile(folder / "good.pool", self._skill, {}) as pool:
            pool.append(np.array(rows))
        self._pool = (folder / "good.pool").read_bytes()

    def judge(self, rng: np.random.Generator) -> Verdict:
        """Damage one file, read it, judge."""
        if rng.random() < 0.5:
            return self._judge_data(rng)
        content, what = mutate.raw(rng, self._pool)
        path = self._folder / "damaged.pool"
        path.write_bytes(content)
        verdict = Verdict(f"pool, {what}")
        try:
            pool = pools.PoolFile(path, self._skill, readonly=True)
        except MemristorError:
            return verdict
        except Exception as error:
            verdict.crashed(error)
            return verdict
        verdict.taken = True
        good = self._folder / "good.pool"
        expected = pools.PoolFile(good, self._skill, readonly=True).rows
        if len(pool.rows) > len(expected) or not np.array_equal(pool.rows, expected[: len(pool.rows)]):
            if "twice" not in what:
                verdict.found("wrongly_accepted", f"{len(pool.rows)} rows that nobody simulated so")
        return verdict

    def _judge_data(self, rng: np.random.Generator) -> Verdict:
        content, what = mutate.checkpoint(rng, self._data)
        path = self._folder / "damaged.npz"
        path.write_bytes(content)
        verdict = Verdict(f"test data, {what}")
        try:
            x, success = load_test_data(path, self._skill)
        except MemristorError:
            return verdict
        except Exception as error:
            verdict.crashed(error)
            return verdict
        verdict.taken = True
        if x.shape != (len(success), len(self._skill.feature_names)) or not np.isfinite(x).all():
            verdict.found("wrongly_accepted", f"x of shape {x.shape}, {len(success)} outcomes")
        return verdict
