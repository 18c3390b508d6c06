"""Runs of the active-learning benchmark over processes; every finished run is a file, so work resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from memristor_bdnn import accelerator, acquisitions, learners, skills
from memristor_bdnn.active import recipes
from memristor_bdnn.benchmark import runs
from memristor_bdnn.benchmark.dbal import generic
from memristor_bdnn.benchmark.dbal import methods as dbal_methods
from memristor_bdnn.benchmark.dbal.data import Trials, load_trials, with_audit
from memristor_bdnn.benchmark.dbal.run import Protocol64, run

Job = tuple[str, str, int]
"""Contender, strategy, seed."""

CODE = (
    "config.py", "state.py", "spaces.py", "device", "crossbar", "accelerator", "network", "learners", "acquisitions",
    "active/recipes.py", "skills", *(f"benchmark/dbal/{name}.py" for name in ("data", "generic", "jobs", "methods",
    "published", "run")),
)  # fmt: skip
"""Rooms whose code decides a run."""
PUBLISHED = "pouring"
"""The skill with published trials, whose contenders and bowl sizes have a history; others are in ``generic``."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of one benchmark share; sizes and prior mean something for pouring only.

    ``audit``: rows of the pool that are withheld for an audit, or a file of other rows; 0 for none.
    ``successes``: share of successes to which the pool is thinned; 0 leaves it as it is.
    """

    dataset: str
    init: str
    initial: int
    queries: int
    prior: str
    prior_pool: str | None
    sizes: str = "corrected"
    validate: bool = False
    skill: str = PUBLISHED
    accelerator: str = "simulated"
    audit: int | str = 0
    successes: float = 0.0

    def trials(self, method: str, seed: int) -> Trials:
        """The dataset as a contender sees it in the run of a seed, with the rows of an audit.

        Raises:
            ConfigError: the audit's file has another width, or holds rows of the dataset.
        """
        trials = self.load()
        if self.validate:
            trials = trials.held_out(seed)
        if isinstance(self.audit, str):
            trials = with_audit(trials, skills.load(self.skill).pool(Path(self.audit)), self.audit)
        elif self.audit:
            trials = trials.audited(self.audit, seed)
        if self.successes:
            trials = trials.with_successes(self.successes, seed)
        if self.skill != PUBLISHED:
            return trials
        corrected = self.sizes == "corrected" and method in dbal_methods.LIP_CONTENDERS
        return trials.with_corrected_sizes() if corrected else trials

    def load(self, initial: int = 64) -> Trials:
        """The dataset, checked; at least ``initial`` rows in its pool."""
        if self.skill == PUBLISHED:
            return load_trials(self.dataset, initial)
        return generic.trials(skills.load(self.skill), self.dataset, initial)

    def make(self, method: str, seed: int) -> Any:
        """A fresh contender."""
        if self.skill == PUBLISHED:
            return dbal_methods.make(method, seed, prior_rows(self), self.accelerator)
        return generic.make(skills.load(self.skill), method, seed, self.accelerator)

    def key(self, method: str, strategy: str = "random") -> str:
        """A short name of everything that decides a run's result: setting, data, options, and the code itself."""
        skill = skills.load(self.skill)
        files = [self._content()]
        if isinstance(self.audit, str):
            files.append(Path(self.audit).read_bytes())
        if self.prior == "simulator":
            from memristor_bdnn.skills.pouring import pool

            files.append(Path(self.prior_pool or pool.SHIPPED).read_bytes())
        if self.skill == PUBLISHED:
            name = dbal_methods.recipe_name(method, self.prior != "none")
            options = recipes.options(skill, "msgld", name) if name else {}
        else:
            options = generic.options(skill, method)
        audit = self.audit if isinstance(self.audit, int) else "file"
        fields = {**dataclasses.asdict(self), "dataset": "", "prior_pool": "", "audit": audit}
        text = json.dumps([code_of(self, method, strategy), fields, options], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode())
        for content in files:
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()[:12]

    def _content(self) -> bytes:
        """What the dataset consists of: its file, or the rows that a skill ships."""
        if self.dataset != "shipped":
            return Path(self.dataset).read_bytes()
        pool = skills.load(self.skill).pool()
        return pool.x.tobytes() + pool.score.tobytes()


def code_of(setting: Setting, method: str, strategy: str) -> str:
    """A short name of the code behind a contender's runs: ours, and that of plugins from other packages."""
    used = [type(skills.load(setting.skill)), accelerator.load(setting.accelerator), acquisitions.load(strategy)]
    if method in learners.names():
        used.append(learners.learner_class(method))
    return runs.code_digest(*CODE, plugins=used)


def prior_rows(setting: Setting) -> Any:
    """Inputs and scores of the simulated trials, or None without a prior."""
    if setting.prior == "none":
        return None
    from memristor_bdnn.skills.pouring.pool import load

    pool = load(setting.prior_pool)
    return pool.x, pool.score


def execute(setting: Setting, job: Job) -> dict[str, Any]:
    """One run, from reading the data to its figures."""
    name, strategy, seed = job
    trials = setting.trials(name, seed)
    method = setting.make(name, seed)
    protocol = Protocol64(setting.initial, setting.queries, max(1, setting.queries // 4), setting.init == "first")
    made = run(method, trials, strategy, seed, protocol, skills.load(setting.skill).likeness)
    return {"method": name, "strategy": strategy, "seed": seed, **made}


def run_all(setting: Setting, jobs: list[Job], work: Path | None, workers: int) -> list[dict[str, Any]]:
    """Results of all jobs, those found in ``work`` without running them again."""
    keys = {pair: setting.key(*pair) for pair in dict.fromkeys((method, strategy) for method, strategy, _ in jobs)}
    names = [f"{keys[name, strategy]}-{name}-{strategy}-{seed}.json" for name, strategy, seed in jobs]
    return runs.run_all(work, names, execute, [(setting, job) for job in jobs], workers)
