"""Skills by name: built in, or from any package's entry-point group ``memristor_bdnn.skills``."""

from __future__ import annotations

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.registry import Registry
from memristor_bdnn.skills.protocol import Skill
from memristor_bdnn.spaces import Space

BUILT_IN = {
    "pouring": "memristor_bdnn.skills.pouring.skill:PouringSkill",
    "pushing": "memristor_bdnn.skills.pushing.skill:PushingSkill",
}
DEFAULT = "pouring"
"""The skill of a command that names none."""


def _check(name: str, cls: object) -> None:
    """Refuse a class whose trials would be lost: spaces and names are checked before any trial."""
    if not (isinstance(cls, type) and issubclass(cls, Skill)):
        raise ConfigError(f"skill {name!r}: {cls!r} is no class that inherits from memristor_bdnn.skills.Skill")
    for kind in ("context", "parameter", "measure"):
        if not isinstance(getattr(cls, f"{kind}_space", None), Space):
            raise ConfigError(f"skill {name!r}: {kind}_space is no memristor_bdnn.spaces.Space")
    if getattr(cls, "name", None) != name:
        raise ConfigError(f"skill {name!r}: its class is named {getattr(cls, 'name', None)!r}; both must be the same")


REGISTRY = Registry("skill", BUILT_IN, _check)
names, available = REGISTRY.names, REGISTRY.available


def load(name: str) -> Skill:
    """A skill by name.

    Raises:
        ConfigError: unknown (with the choices), cannot be imported, or is not complete.
    """
    cls = REGISTRY.load(name)
    try:
        skill: Skill = cls()
    except TypeError as error:
        raise ConfigError(f"skill {name!r} cannot be made: {error}") from error
    return skill


__all__ = ["DEFAULT", "REGISTRY", "Skill", "available", "load", "names"]
