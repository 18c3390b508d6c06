"""Recipes for pouring: the published options, and those that our measurements recommend."""

from __future__ import annotations

from collections.abc import Mapping

from memristor_bdnn.skills.recipes import ASKED, GENERAL
from memristor_bdnn.skills.records import Recipe

LIP = "memristor_bdnn.skills.pouring.lip:lip_features"
LIP_AND_INPUTS = "memristor_bdnn.skills.pouring.lip:lip_and_inputs"

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "paper": GENERAL["paper"],
    # The general recipe on lip features, which leave less to learn: ex situ training stops earlier.
    "pouring": {
        **GENERAL["general"],
        "msgld": Recipe(
            {
                **GENERAL["general"]["msgld"].options,
                "features": LIP,
                "ex_situ": {"epochs": 60, "learning_rate": 0.04},
            },
            "lip features and labels with noise",
        ),
    },
    "pouring_asked": {
        "msgld": Recipe(
            {
                **GENERAL["general"]["msgld"].options,
                **ASKED,
                "features": LIP,
                "ex_situ": {"epochs": 60, "learning_rate": 0.04},
            },
            "as pouring, for few labels most of which were asked for",
        )
    },
    # Three networks that see the raw inputs too, fitted ex situ to simulated trials first, with a learning rate that
    # falls to nearly nothing. Few steps in situ, a prior about the deployed weights and some simulated rows replayed,
    # so that the labels correct what the simulator taught instead of erasing it.
    "pouring_prior": {
        "msgld": Recipe(
            {
                "features": LIP_AND_INPUTS,
                "chains": 3,
                "hidden": [24, 24],
                "largest_weight": 1.8,
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
            "fitted to simulated trials first, then learned in situ",
            prior=True,
        ),
    },
}
