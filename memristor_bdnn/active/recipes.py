"""From a skill and the name of a learner to a learner that fits: its recipe, its width, its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from memristor_bdnn import learners
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import merged
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner
from memristor_bdnn.skills.protocol import Recipe, Skill


def recipe(skill: Skill, learner: str, name: str = "") -> Recipe:
    """What a skill recommends for a learner.

    Args:
        skill: the skill.
        learner: registry name.
        name: of the recipe; empty takes the skill's default, or the learner's own defaults where it has none.

    Raises:
        ConfigError: a recipe that is unknown, or that is not for this learner; lists the choices.
    """
    if not name:
        return skill.recipes.get(skill.default_recipe, {}).get(learner, Recipe())
    fitting = [key for key, of in skill.recipes.items() if learner in of]
    choices = f"choose one of {', '.join(fitting)}" if fitting else f"there is none for {learner}; leave it out"
    if name not in skill.recipes:
        raise ConfigError(f"recipe = {name!r}: skill {skill.name} has no such recipe for {learner}: {choices}")
    if learner not in skill.recipes[name]:
        known = ", ".join(skill.recipes[name])
        raise ConfigError(f"recipe = {name!r} is for {known}, not for learner {learner}: {choices}")
    return skill.recipes[name][learner]


def options(skill: Skill, learner: str, name: str = "", changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of a recipe with the skill's width and some options changed, for :func:`learners.create`.

    Raises:
        ConfigError: see :func:`recipe`; or ``n_inputs`` is changed to another width than the skill's.
    """
    changes = dict(changes or {})
    made = merged(recipe(skill, learner, name).options, changes)
    fields = {f.name for f in dataclasses.fields(learners.learner_class(learner).config_type)}
    width = len(skill.feature_names)
    if "n_inputs" in fields:
        if changes.get("n_inputs", width) != width:
            raise ConfigError(
                f"n_inputs = {changes['n_inputs']}: skill {skill.name} has {width} inputs "
                f"({', '.join(skill.feature_names)}); leave n_inputs out"
            )
        made["n_inputs"] = width
    return made


def make(
    skill: Skill,
    learner: str,
    accelerator: Accelerator,
    name: str = "",
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Learner:
    """A learner of a skill on an accelerator.

    Raises:
        ConfigError: unknown names or options, or a learner that cannot take the skill's inputs.
    """
    made = learners.create(learner, accelerator, options(skill, learner, name, changes), seed)
    check_width(skill, made)
    return made


def check_width(skill: Skill, learner: Any) -> None:
    """Refuse a learner of another width than the skill's, or of other classes, before any trial is paid for."""
    if learner.n_inputs != len(skill.feature_names):
        raise ConfigError(
            f"learner {learner.name} takes {learner.n_inputs} inputs, skill {skill.name} has "
            f"{len(skill.feature_names)} ({', '.join(skill.feature_names)})"
        )
    classes = getattr(learner, "n_classes", 2)
    if classes != 2:
        raise ConfigError(
            f"learner {learner.name} tells {classes} classes apart (option n_classes), skill {skill.name} has two, "
            "success and failure; leave n_classes out"
        )
