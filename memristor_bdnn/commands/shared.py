"""What several verbs share: --skill, the sections of --config, a skill's world options and trials."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.config import build, from_yaml, read_yaml, shown
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import DEFAULT, Skill

SECTIONS = ("loop", "learner", "skill", "accelerator")


def add_skill(parser: argparse.ArgumentParser) -> None:
    """The flag that names the skill."""
    parser.add_argument(
        "--skill", default=DEFAULT, metavar="NAME", help=f"skill plugin (default {DEFAULT}; see `memristor-bdnn info`)"
    )


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """The flag that names a recipe of the skill for its learner."""
    parser.add_argument(
        "--recipe",
        default="",
        metavar="NAME",
        help="the skill's options for the learner, by name (default: the skill's own choice; an unknown name lists "
        "them); --config's section learner changes single options",
    )


def sections(path: str | None) -> dict[str, Any]:
    """The sections of a --config file by name; empty without a file.

    Raises:
        ConfigError: it cannot be read, or holds something else than the sections :data:`SECTIONS`, each a mapping.
    """
    if not path:
        return {}
    content = read_yaml(path, "--config")
    content = {} if content is None else content
    if not isinstance(content, dict) or set(content) - set(SECTIONS):
        raise ConfigError(f"--config {path}: expected the sections {', '.join(SECTIONS)}")
    for name, section in content.items():
        if section is not None and not isinstance(section, dict):
            raise ConfigError(f"--config {path}: section {name} is {shown(section)}, expected a mapping of options")
    return {name: section or {} for name, section in content.items()}


def trials_of(skill: Skill, section: Mapping[str, Any] | None, arm: str | None = None) -> LocalTrials:
    """Trials of a skill in this process.

    Args:
        skill: the skill.
        section: options of its world, and ``arm``.
        arm: the arm that carries trials out, in place of the section's.

    Raises:
        ConfigError: an option that the skill's world does not have.
    """
    options = dict(section or {})
    chosen = options.pop("arm", "") if arm is None else arm
    options.pop("arm", None)
    if not isinstance(chosen, str):
        raise ConfigError(f"section skill: arm = {chosen!r}, expected the name of an arm or of a YAML file")
    return LocalTrials(skill, chosen, build(skill.world_options, options))


def world_options(skill: Skill, path: str | None) -> Any:
    """Options of a skill's world from the section ``world`` of a YAML file, or the defaults.

    Raises:
        ConfigError: see :func:`memristor_bdnn.config.from_yaml`.
    """
    return from_yaml(skill.world_options, path, "world") if path else skill.world_options()
