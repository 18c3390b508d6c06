"""Learner plugins by name: built in, or from any package's entry-point group ``memristor_bdnn.learners``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import build
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner
from memristor_bdnn.registry import Registry

BUILT_IN: dict[str, str] = {
    "msgld": "memristor_bdnn.learners.msgld.learner:MSGLD",
    "eapu": "memristor_bdnn.learners.eapu.learner:EaPULearner",
    "mcmc": "memristor_bdnn.learners.mcmc.learner:MCMCLearner",
}


def _check(name: str, cls: Any) -> None:
    """Refuse what cannot be made from options; raises ConfigError."""
    options = getattr(cls, "config_type", None)
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        raise ConfigError(f"learner {name!r} has no config_type dataclass")
    if "n_inputs" not in {field.name for field in dataclasses.fields(options)}:
        raise ConfigError(
            f"learner {name!r}: {options.__name__} has no option n_inputs; inherit learners.base.LearnerConfig"
        )
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"learner {name!r}: {cls.__name__} lacks {', '.join(missing)}")


REGISTRY = Registry("learner", BUILT_IN, _check)


def names() -> list[str]:
    """Every known learner, the built-in ones first."""
    return REGISTRY.names()


def learner_class(name: str) -> Any:
    """The class behind a name.

    Raises:
        ConfigError: unknown name (with the choices), a name given twice (with both packages), or a plugin that cannot
            be imported (with the reason) or is no learner.
    """
    return REGISTRY.load(name)


def create(
    name: str, accelerator: Accelerator, config: Mapping[str, Any] | Any | None = None, seed: int = 0
) -> Learner:
    """Make a learner that owns a network on an accelerator.

    Args:
        name: registry name, see :func:`available`.
        accelerator: where its devices live.
        config: option values by name (or an instance of its config class); default its defaults.
        seed: of the learner's own random generator.

    Raises:
        ConfigError: unknown name or option.
        CapacityError: the accelerator has too few cells.
    """
    cls = learner_class(name)
    if config is None or isinstance(config, Mapping):
        config = build(cls.config_type, config)
    elif not isinstance(config, cls.config_type):
        raise ConfigError(f"learner {name!r} expects a {cls.config_type.__name__}, got {type(config).__name__}")
    learner: Learner = cls(accelerator, config, seed)
    return learner


def available() -> dict[str, str]:
    """Name -> the first line of its class's description, or why it cannot be loaded."""
    return REGISTRY.available()
