"""One skill on one set of chips through the simulated hours: learn, wait, look, and look again with each remedy."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import learners, skills
from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
from memristor_bdnn.active import recipes
from memristor_bdnn.benchmark.dbal.data import split
from memristor_bdnn.benchmark.dbal.run import figures
from memristor_bdnn.benchmark.runs import code_digest
from memristor_bdnn.benchmark.stability.conditions import NOISE, Condition
from memristor_bdnn.benchmark.stability.scenes import Scenes
from memristor_bdnn.device import presets

FloatArray = npt.NDArray[np.floating[Any]]

LEARNERS = {
    "msgld": "the skill's recipe: live reads, and the samples that it keeps in memory",
    "msgld_reads": "the same recipe on live reads alone: nothing but the chips remembers",
    "eapu": "EaPU on the same features; live reads alone",
}
REMEDIES = {
    "nothing": "predictions from the cells as they are",
    "offset": "the mean of all reads against the mean after learning, taken off every current",
    "relearning": "in situ learning on the labels, from the cells as they are",
    "both": "the offset first, then re-learning",
}
FIRST_LABELS, STEP = 64, 8
"""Labels of the ex situ training, and how many join before each in situ learning."""
OFFSET_READS = 10
CODE = (
    "device", "crossbar", "accelerator", "network", "learners", "active", "acquisitions", "skills",
    "benchmark/stability/run.py", "benchmark/stability/scenes.py", "benchmark/stability/conditions.py",
    "benchmark/dbal/run.py", "benchmark/dbal/data.py",
)  # fmt: skip
"""Rooms whose code decides a run."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of one benchmark share.

    Attributes:
        hours: when the skill is looked at, increasing; 0 is after learning.
        reads_per_hour: reads of every cell while time passes.
        epochs: of in situ re-learning, at least.
        rows: test rows.
        pairs: unseen contexts in which the skill chooses, ``candidates`` in each.
        executed: whether the first and the last choices are carried out in the skill's world.
    """

    skill: str
    preset: str
    labels: int
    hours: tuple[float, ...]
    reads_per_hour: int
    epochs: int
    rows: int
    pairs: int
    candidates: int
    executed: bool

    def name(self, learner: str, condition: Condition, seed: int) -> str:
        """File of a finished run: names everything that decides its result, the code included."""
        preset = condition.preset(presets.load(self.preset)).to_dict()
        kind = learners.learner_class(learner.partition("_")[0])
        code = code_digest(*CODE, plugins=(type(skills.load(self.skill)), kind))
        text = json.dumps([dataclasses.asdict(self), preset], sort_keys=True, default=str)
        slug = f"{learner}-{condition.kind}-{condition.percent:g}-{seed}"
        return f"{code}-{hashlib.sha256(text.encode()).hexdigest()[:8]}-{slug}.json"


def execute(setting: Setting, learner_name: str, condition: Condition, seed: int) -> dict[str, Any]:
    """Learn, then let the hours pass; remedies are tried at every hour on a copy of the state, one by one.

    Under drift and disturb every look sees the same draws of the read noise (common random numbers), so that hours and
    remedies differ by what the cells did; where noise is all there is, every hour draws its own.

    Returns:
        ``learner``, ``condition``, ``seed``; ``points``: a list over hours of mappings from remedy to figures on the
        test rows (accuracy, AUC, NLL, ECE, ...), ``answers_kept`` and ``choices_kept`` (shares that are as after
        learning), ``shift_ua`` (mean of the reads against then), ``fraction`` (of the task, where executed: the last
        hour, and the first with nothing done), and what the remedy cost: ``pulses``, ``device_energy_j``,
        ``system_energy_j``, ``latency_s``, ``epochs``.
    """
    skill = skills.load(setting.skill)
    rows = split(skill.pool())
    # Only simulated chips can be made to wait; a board does so by itself.
    chips = SimulatedAccelerator(condition.preset(presets.load(setting.preset)), seed)
    try:
        subject = Subject(skill, learner_name, chips, rows, setting, seed)
        points = []
        for before, hour in zip((0.0, *setting.hours), setting.hours, strict=False):
            elapsed = hour - before
            chips.wait(3600.0 * elapsed, reads=round(setting.reads_per_hour * elapsed))
            if condition.kind == NOISE:
                chips.read()  # the next draws: see below
            last, first = hour == setting.hours[-1], hour == setting.hours[0]
            worth = {name: setting.executed and (last or (first and name == "nothing")) for name in REMEDIES}
            points.append({name: subject.looked_at(name, worth[name]) for name in REMEDIES})
        return {"learner": learner_name, "condition": condition.name, "seed": seed, "points": points}
    finally:
        chips.close()


class Subject:
    """A learner that has learned its labels, and what it said then.

    Args:
        skill: the skill.
        name: of :data:`LEARNERS`.
        chips: fresh simulated chips.
        rows: columns of the skill's pool, see :func:`memristor_bdnn.benchmark.dbal.data.split`.
        setting: the benchmark's.
        seed: of labels, learner and contexts.
    """

    def __init__(self, skill: Any, name: str, chips: Any, rows: Any, setting: Setting, seed: int) -> None:
        self.chips, self.setting = chips, setting
        self.learner = make(skill, name, chips, seed)
        chosen = np.random.default_rng([seed, 0x57AB]).permutation(len(rows["x_pool"]))[: setting.labels]
        self.x, self.y = rows["x_pool"][chosen], (rows["score_pool"][chosen] + 1) / 2
        self.x_test, self.score_test = rows["x_test"][: setting.rows], rows["score_test"][: setting.rows]
        first = min(FIRST_LABELS, setting.labels)
        self.learner.fit(self.x[:first], self.y[:first])
        for n in (*range(first, setting.labels, STEP), setting.labels):
            self.learner.learn(self.x[:n], self.y[:n])
        self.scenes = Scenes(skill, setting.pairs, setting.candidates, seed)
        self.mean_ua = self._mean_read()
        self.answers = self.learner.predict(self.x_test).mean > 0.5
        self.choices = self.scenes.choose(self.learner)

    def looked_at(self, remedy: str, executed: bool) -> dict[str, float]:
        """Figures with a remedy; chips and learner are as before afterwards."""
        with self._restored():
            before, epochs = self.chips.ledger.snapshot(), 0
            if remedy in ("offset", "both"):
                # A weight is the sum of its devices less the offset: what all cells lost, it lost as often.
                shift = self._mean_read() - self.mean_ua
                self.learner.network.offset += self.learner.network.devices * shift
            if remedy in ("relearning", "both"):
                epochs = self._relearn()
            cost = self.chips.ledger.since(before)
            return {**self._figures(executed), **_cost(cost, epochs)}

    def _figures(self, executed: bool) -> dict[str, float]:
        p = self.learner.predict(self.x_test).mean
        found = figures(p, self.score_test)
        choices = self.scenes.choose(self.learner)
        made = {k: found[k] for k in ("accuracy", "balanced_accuracy", "accuracy_matched", "auc", "nll", "ece")}
        made |= {
            "yes_share": found["yes_share"],
            "answers_kept": float(((p > 0.5) == self.answers).mean()),
            "choices_kept": float((choices == self.choices).mean()),
            "shift_ua": self._mean_read() - self.mean_ua,
        }
        return made | {"fraction": self.scenes.done(choices)} if executed else made

    def _mean_read(self) -> float:
        return float(self.chips.read(OFFSET_READS).mean(dtype=np.float64))

    def _relearn(self) -> int:
        """In situ on all labels until the epochs are done or the learner stops by itself; epochs."""
        done = 0
        while done < self.setting.epochs:
            report = self.learner.learn(self.x, self.y)
            done += report.epochs
            if report.epochs < self.learner.config.max_epochs:
                break
        return done

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """Chips, learner and offset as they were, afterwards."""
        offset = self.learner.network.offset
        with tempfile.TemporaryDirectory(prefix="stability-") as folder:
            path = Path(folder) / "state.npz"
            self.learner.save(path)
            try:
                yield
            finally:
                self.learner.load(path)
                self.learner.network.offset = offset


def make(skill: Any, name: str, chips: Any, seed: int) -> Any:
    """A learner of :data:`LEARNERS` for a skill; EaPU gets the features that the skill's recipe gives mSGLD."""
    if name == "eapu":
        features = recipes.recipe(skill, "msgld").options.get("features", "")
        return recipes.make(skill, "eapu", chips, "", {"features": features} if features else {}, seed)
    return recipes.make(skill, "msgld", chips, "", {"memory_samples": 0} if name == "msgld_reads" else {}, seed)


def _cost(spent: dict[str, float | int], epochs: int) -> dict[str, float]:
    names = ("device_energy_j", "system_energy_j", "latency_s")
    pulses = float(spent["set_pulses"] + spent["reset_pulses"])
    return {"pulses": pulses, "epochs": float(epochs), **{name: float(spent[name]) for name in names}}
