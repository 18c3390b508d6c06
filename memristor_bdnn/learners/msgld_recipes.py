"""Named sets of mSGLD options: the published ones, and those that our measurements recommend for pouring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memristor_bdnn.errors import ConfigError

LIP = "memristor_bdnn.pouring.lip:lip_features"

RECIPES: dict[str, dict[str, Any]] = {
    # The source paper's method: raw inputs, bits as labels, up to 110 epochs until 98 % of the labels are right.
    "paper": {},
    # Lip features instead of raw inputs; four small networks side by side on the chips, whose disagreement is the
    # doubt to ask with; weights of half the published size, so that the deployment's write error does not destroy
    # them; more marks, and a fixed number of epochs per label instead of memorising; the last reads of the
    # trajectory join the live ones.
    "pouring": {
        "features": LIP,
        "chains": 4,
        "hidden": [24, 24],
        "scale_ua": 2.0,
        "mark_fraction": 0.12,
        "stop_accuracy": 1.1,
        "max_epochs": 8,
        "memory_samples": 16,
        "ex_situ": {"epochs": 200, "learning_rate": 0.04},
    },
    # One published-size network fitted ex situ to simulated trials first: few steps in situ, and some simulated rows
    # replayed, so that the labels correct the prior instead of erasing it.
    "pouring_prior": {
        "features": LIP,
        "scale_ua": 4.0,
        "mark_fraction": 0.003,
        "stop_accuracy": 1.1,
        "max_epochs": 4,
        "memory_samples": 48,
        "softness": 0.25,
        "replay_rows": 512,
        "replay_weight": 0.3,
        "ex_situ": {"epochs": 40, "learning_rate": 0.03, "batch": 128},
    },
}


def recipe(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of a recipe with some changed; raises ConfigError listing the names."""
    if name not in RECIPES:
        raise ConfigError(f"recipe = {name!r}: choose one of {', '.join(RECIPES)}")
    options = {**RECIPES[name], **(changes or {})}
    if changes and isinstance(changes.get("ex_situ"), Mapping):
        options["ex_situ"] = {**RECIPES[name].get("ex_situ", {}), **changes["ex_situ"]}
    return options
