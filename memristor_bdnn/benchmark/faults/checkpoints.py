"""Damaged checkpoints: refused without a trace, or loaded into a learner that then works."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import accelerator, learners
from memristor_bdnn.benchmark.faults import mutate
from memristor_bdnn.benchmark.faults.verdict import Verdict
from memristor_bdnn.errors import MemristorError

OPTIONS: dict[str, dict[str, Any]] = {
    "msgld": {"n_inputs": 3, "hidden": (6,), "max_epochs": 2},
    "eapu": {"n_inputs": 3, "hidden": (6,), "max_epochs": 2},
    "mcmc": {"n_inputs": 3, "rows": 8, "burn_in": 4, "max_proposals": 200},
}
"""Small networks: what is damaged is the file."""


class Checkpoints:
    """A learner of each kind, taught, and its good file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rng = np.random.default_rng(0)
        self._x = rng.uniform(-1, 1, (16, 3))
        self._y = (self._x[:, 0] > 0).astype(float)
        self._learners: dict[str, Any] = {}
        self._good: dict[str, bytes] = {}
        for name, options in OPTIONS.items():
            learner = learners.create(name, accelerator.create("simulated", seed=1), options, seed=1)
            learner.fit(self._x, self._y)
            learner.learn(self._x, self._y)
            path = folder / f"good_{name}.npz"
            learner.save(path)
            self._learners[name], self._good[name] = learner, path.read_bytes()

    def judge(self, rng: np.random.Generator) -> Verdict:
        """Damage one file, load it, judge."""
        name = str(rng.choice(sorted(self._learners)))
        learner, path = self._learners[name], self._folder / "checkpoint.npz"
        what = self._lay_out(rng, name, path)
        verdict = Verdict(f"checkpoint of {name}, {what}")
        before = self._state(learner)
        try:
            learner.load(path)
        except MemristorError:
            if self._state(learner) != before:
                verdict.found("diverged", "refused, but the learner or its chips are not what they were")
        except Exception as error:
            verdict.crashed(error)
        else:
            verdict.taken = True
            self._judge_loaded(learner, verdict, bool(rng.random() < 0.2))
        if verdict.taken or verdict.findings:
            learner.load(self._folder / f"good_{name}.npz")
        return verdict

    def _lay_out(self, rng: np.random.Generator, name: str, path: Path) -> str:
        """Put a damaged file, or something that is no file, at the path; says what."""
        _remove(path)
        draw = rng.random()
        if draw > 0.04:
            content, what = mutate.checkpoint(rng, self._good[name])
            path.write_bytes(content)
            return what
        kind = int(rng.integers(6))
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.mkdir()
        elif kind == 2:
            path.symlink_to(path.name)
        elif kind == 3:
            other = str(rng.choice([n for n in self._learners if n != name]))
            path.write_bytes(self._good[other])
        elif kind == 4:
            path.symlink_to("/dev/zero")  # read only: nothing here writes to it
        return ("a FIFO", "a folder", "a link to itself", "of another learner", "a link to /dev/zero", "missing")[kind]

    def _state(self, learner: Any) -> str:
        return str(learner.save(self._folder / "state.npz"))

    def _judge_loaded(self, learner: Any, verdict: Verdict, teach: bool) -> None:
        """What was loaded must predict numbers, and learn on."""
        try:
            prediction = learner.predict(self._x, 5)
            p = np.asarray(prediction.samples)
            shape = prediction.mean.shape == prediction.std.shape == (len(self._x),) and p.shape[1] == len(self._x)
            if not shape or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
                verdict.found(
                    "wrongly_accepted", f"then predicts {prediction.mean[:3]} of shape {prediction.mean.shape}"
                )
            elif teach:
                learner.learn(self._x, self._y)
                self._state(learner)
        except MemristorError as error:
            verdict.found("wrongly_accepted", f"and then says: {error}")
        except Exception as error:
            verdict.found("wrongly_accepted", f"and then {type(error).__name__}: {error}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
