"""Named sets of mSGLD options: the published ones, and those that our measurements recommend for pouring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memristor_bdnn.errors import ConfigError

LIP = "memristor_bdnn.skills.pouring.lip:lip_features"
LIP_AND_INPUTS = "memristor_bdnn.skills.pouring.lip:lip_and_inputs"

RECIPES: dict[str, dict[str, Any]] = {
    # The source paper's method: raw inputs, bits as labels, up to 110 epochs until 98 % of the labels are right.
    "paper": {},
    # Lip features instead of raw inputs; four small networks side by side on the chips, whose disagreement is the
    # doubt to ask with; small weights (more current per unit of weight) that neither write error nor few labels
    # lead astray, held by a weak prior on all layers; ex situ training that stops before the labels are memorised,
    # and a fixed number of epochs per label for the same reason; gradients scaled by a short memory; the last
    # reads of the trajectory join the live ones. Labels are the chance that a repeat succeeds, not the bit: near the
    # boundary, where active learning asks, the bit is chance and the score is not.
    "pouring": {
        "features": LIP,
        "chains": 4,
        "hidden": [24, 24],
        "scale_ua": 5.0,
        "mark_fraction": 0.06,
        "rms_decay": 0.9,
        "kl_layers": "all",
        "prior_sd": 1.0,
        "beta": 0.03,
        "stop_accuracy": 1.1,
        "max_epochs": 8,
        "memory_samples": 16,
        "label_noise": 0.35,
        "ex_situ": {"epochs": 60, "learning_rate": 0.04},
    },
    # Three networks that see the raw inputs too, fitted ex situ to simulated trials first, with a learning rate that
    # falls to nearly nothing. Few steps in situ, a prior about the deployed weights and some simulated rows replayed,
    # so that the labels correct what the simulator taught instead of erasing it.
    "pouring_prior": {
        "features": LIP_AND_INPUTS,
        "chains": 3,
        "hidden": [24, 24],
        "scale_ua": 3.0,
        "mark_fraction": 0.003,
        "kl_layers": "all",
        "prior_sd": 1.0,
        "prior_mean": "deployed",
        "stop_accuracy": 1.1,
        "max_epochs": 4,
        "memory_samples": 64,
        "label_noise": 0.35,
        "replay_rows": 256,
        "replay_weight": 1.0,
        "ex_situ": {"epochs": 12, "learning_rate": 0.03, "final_rate": 0.02, "batch": 256, "reads": 2},
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
