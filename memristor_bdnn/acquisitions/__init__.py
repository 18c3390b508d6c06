"""Acquisitions by name, which trial next: built in, or from the entry-point group ``memristor_bdnn.acquisitions``."""

from __future__ import annotations

from typing import Any, cast

from memristor_bdnn.acquisitions.protocol import Acquisition, acquisition, propose, score
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.registry import Registry

BUILT_IN = {
    name: f"memristor_bdnn.acquisitions.scores:{name}"
    for name in ("straddle", "random", "entropy", "bald", "variance", "margin")
} | {name: f"memristor_bdnn.acquisitions.policies:{name}" for name in ("ucb", "thompson", "turning", "sturdy")}


def _check(name: str, function: Any) -> None:
    """Refuse what cannot be called, or does not say whether it reads the posterior samples."""
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"acquisition {name!r}: {function!r} is no function (prediction, rng) -> scores")
    if not isinstance(getattr(function, "needs_samples", None), bool):
        raise ConfigError(
            f"acquisition {name!r} does not say whether it reads prediction.samples: put "
            "@acquisition(needs_samples=False) or (needs_samples=True) above it (memristor_bdnn.acquisitions)"
        )


REGISTRY = Registry("acquisition", BUILT_IN, _check)
names, available = REGISTRY.names, REGISTRY.available


def load(name: str) -> Acquisition:
    """An acquisition by name.

    Raises:
        ConfigError: unknown (with the choices), given twice, cannot be imported, or is no acquisition.
    """
    return cast(Acquisition, REGISTRY.load(name))


__all__ = ["REGISTRY", "Acquisition", "acquisition", "available", "load", "names", "propose", "score"]
