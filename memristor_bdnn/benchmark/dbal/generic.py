"""The active-learning benchmark for any skill but the published one: contenders and dataset follow from the skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memristor_bdnn import learners
from memristor_bdnn.active import recipes
from memristor_bdnn.benchmark.dbal.data import Trials, checked, split
from memristor_bdnn.benchmark.dbal.methods import BASELINES, LearnerMethod
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import Skill

SUFFIX = "_features"
NEED_SKLEARN = tuple(name + end for name in ("gp", "random_forest") for end in ("", SUFFIX))


def features(skill: Skill) -> str:
    """The change of variables that the skill's default recipe puts in front of a learner; "" where it names none."""
    for recipe in skill.recipes.get(skill.default_recipe, {}).values():
        if found := recipe.options.get("features", ""):
            return str(found)
    return ""


def contenders(skill: Skill) -> dict[str, str]:
    """Every contender with what it is: all registered learners, and software on raw inputs and on the features."""
    default = skill.recipes.get(skill.default_recipe, {})
    found = {}
    for name in learners.names():
        found[name] = "learner with its own defaults"
        if name in default:
            prior = ", without its prior" if default[name].prior else ""
            found[name] = f"learner, recipe {skill.default_recipe}{prior}"
    found |= {name: f"{_first_line(cls)} Raw inputs." for name, cls in BASELINES.items()}
    if features(skill):
        found |= {name + SUFFIX: f"as {name}, on {features(skill)}" for name in BASELINES}
    return found


def make(skill: Skill, name: str, seed: int, chips: str = "simulated") -> Any:
    """A fresh contender, learners on an accelerator by name; raises ConfigError listing the names."""
    known = contenders(skill)
    if name not in known:
        raise ConfigError(f"--learner {name}: choose from {', '.join(known)}")
    base, on = (name[: -len(SUFFIX)], features(skill)) if name.endswith(SUFFIX) else (name, "")
    if base in BASELINES:
        return BASELINES[base](seed, on)
    return LearnerMethod(skill, name, "", seed, chips=chips)


def options(skill: Skill, name: str) -> dict[str, Any]:
    """What decides a contender's result beside its name: a learner's options, or the features of software."""
    if name.endswith(SUFFIX) or name in BASELINES:
        return {"features": features(skill) if name.endswith(SUFFIX) else ""}
    return recipes.options(skill, name)


def trials(skill: Skill, dataset: str, initial: int) -> Trials:
    """A pool of the skill as a dataset: its last quarter are the test rows.

    Args:
        skill: the skill.
        dataset: a file, or ``shipped``.
        initial: fewest rows of the pool.

    Raises:
        ConfigError, StoreError: none is shipped, or the file is no pool of this skill.
    """
    pool = skill.pool(None if dataset == "shipped" else Path(dataset))
    return checked(split(pool), dataset, initial)


def _first_line(cls: Any) -> str:
    return str(cls.__doc__).splitlines()[0]
