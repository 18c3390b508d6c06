"""What several verbs share: --skill, the sections of --config, a skill's world options and trials."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.config import build, from_yaml, merged, parse_yaml, read_yaml, shown, yaml_mapping
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills import DEFAULT, Skill

SECTIONS = ("loop", "learner", "skill", "accelerator")


def stop_on_signals() -> Callable[[], bool]:
    """From now on SIGINT and SIGTERM end nothing by themselves; the answer is whether one has come."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: came.append(signum))
    return lambda: bool(came)


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


def add_learner_options(parser: argparse.ArgumentParser) -> None:
    """The flag by which every option of every learner is given."""
    parser.add_argument(
        "--learner-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the learner, such as max_epochs=40 or ex_situ.epochs=500, in place of the recipe's; may be "
        "repeated (an unknown name lists them)",
    )


def learner_options(args: argparse.Namespace, section: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of ``args.learner`` from a section of --config and the flag, which wins.

    Raises:
        ConfigError: not NAME=VALUE, or one given twice; what the learner does not have is refused when it is made.
    """
    from memristor_bdnn import learners

    kind = learners.learner_class(args.learner).config_type
    return merged(dict(section or {}), option_words(kind, args.learner_option, "--learner-option"))


def add_accelerator_options(parser: argparse.ArgumentParser) -> None:
    """The flags by which every option of every accelerator is given."""
    parser.add_argument(
        "--accelerator-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the accelerator, such as reset_by=cfg_reg or limits.max_wl_v=3; may be repeated (an unknown "
        "name lists them)",
    )
    parser.add_argument(
        "--accelerator-options", default="", metavar="YAML", help="the same as one YAML mapping: '{adc: true}'"
    )


def accelerator_options(args: argparse.Namespace, section: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of ``args.accelerator`` from a section of --config and the flags, which win; all are checked.

    Raises:
        ConfigError: an option that the accelerator does not have, or a value that is not allowed.
    """
    from memristor_bdnn import accelerator

    kind = accelerator.load(args.accelerator).config_type
    values = dict(section or {})
    more = yaml_mapping(args.accelerator_options, "--accelerator-options")
    short = {name: value for name in ("host", "port") if (value := getattr(args, name, None)) is not None}
    for name, value in short.items():
        if name not in {field.name for field in dataclasses.fields(kind)}:
            raise ConfigError(f"--{name} {value}: accelerator {args.accelerator} has no such option; leave it out")
    for part in (more, option_words(kind, args.accelerator_option), short):
        values = merged(values, part)
    build(kind, values)
    return values


def option_yaml(options: Mapping[str, Any]) -> str:
    """Options as the text of one YAML mapping, as a node takes them; empty without any."""
    return yaml.safe_dump(dict(options), default_flow_style=True, width=1 << 30).strip() if options else ""


def option_words(kind: Any, words: Sequence[str], flag: str = "--accelerator-option") -> dict[str, Any]:
    """Values of options given as words ``name=value``, of the type that the option has; ``limits.name=value`` nests.

    Raises:
        ConfigError: no such option, no value, or one given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"{flag} {word}: expected NAME=VALUE")
        *path, last = name.strip().split(".")
        at, cls = values, kind
        for part in path:
            cls = typing.get_type_hints(cls).get(part)
            if not dataclasses.is_dataclass(cls):
                raise ConfigError(f"{flag} {word}: {kind.__name__} has no group of options {part!r}")
            at = at.setdefault(part, {})
        if last in at:
            raise ConfigError(f"{flag} {word}: {name} is given twice")
        hint = typing.get_type_hints(cls).get(last)
        text_is_meant = hint is str or str in typing.get_args(hint)
        at[last] = text if text_is_meant else parse_yaml(text, f"{flag} {word}")
    return values


def refuse_dry_run(options: Mapping[str, Any], verb: str) -> None:
    """Refuse a verb whose files would tell of pulses that a dry run does not give. Raises ConfigError."""
    if options.get("dry_run") is True:
        raise ConfigError(
            f"dry_run: `{verb}` would keep results of pulses that never happened, and nothing can be learned without "
            "them; use `board selftest --dry-run`"
        )


class WritingLine:
    """Shows how far a deployment is: in a progress bar on a terminal, else as a line every few seconds.

    Args:
        bar: a rich progress bar that is being shown.
    """

    EVERY_S = 2.0

    def __init__(self, bar: Any) -> None:
        self._bar, self._task, self._said = bar, None, 0.0

    def __call__(self, done: int, cells: int) -> None:
        """Cells done of cells."""
        if self._bar.console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("write-verify", total=cells, labels="", good="")
            self._bar.update(self._task, completed=done, total=cells, visible=done < cells)
        elif time.monotonic() - self._said > self.EVERY_S:
            self._said = time.monotonic()
            print(f"write-verify: {done} of {cells} cells", file=sys.stderr, flush=True)


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
