"""Learner plugins by name: built in, or from any package's entry-point group ``memristor_bdnn.learners``."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.config import build
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Learner

ENTRY_POINT_GROUP = "memristor_bdnn.learners"

BUILT_IN: dict[str, str] = {
    "msgld": "memristor_bdnn.learners.msgld.learner:MSGLD",
    "eapu": "memristor_bdnn.learners.eapu.learner:EaPULearner",
    "mcmc": "memristor_bdnn.learners.mcmc.learner:MCMCLearner",
}


def names() -> dict[str, str]:
    """Every known learner: name -> "module:class". A plugin may not replace a built-in name."""
    found = {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return {**found, **BUILT_IN}


def learner_class(name: str) -> Any:
    """The class behind a name.

    Raises:
        ConfigError: unknown name (with the choices), or the plugin cannot be imported (with the reason).
    """
    known = names()
    if name not in known:
        raise ConfigError(f"learner = {name!r}: choose one of {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"learner {name!r} ({known[name]}) cannot be loaded: {error}") from error
    if not dataclasses.is_dataclass(getattr(cls, "config_type", None)):
        raise ConfigError(f"learner {name!r} ({known[name]}) has no config_type dataclass")
    return cls


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
    """name -> the first line of its class's description, or why it cannot be loaded."""
    table = {}
    for name in sorted(names()):
        try:
            table[name] = (learner_class(name).__doc__ or "no description").strip().splitlines()[0]
        except ConfigError as error:
            table[name] = f"not available: {error}"
    return table
