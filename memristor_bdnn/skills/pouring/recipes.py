"""Recipes for pouring: the published options, and those that our measurements recommend."""

from __future__ import annotations

from collections.abc import Mapping

from memristor_bdnn.skills.protocol import Recipe

LIP = "memristor_bdnn.skills.pouring.lip:lip_features"
LIP_AND_INPUTS = "memristor_bdnn.skills.pouring.lip:lip_and_inputs"

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    # The source papers' methods: raw inputs; mSGLD on bits, up to 110 epochs until 98 % of the labels are right.
    "paper": {
        "msgld": Recipe({}, "the published method"),
        "eapu": Recipe({}, "the learner's defaults"),
        "mcmc": Recipe({}, "the learner's defaults"),
    },
    # Lip features instead of raw inputs; four small networks side by side on the chips, whose disagreement is the
    # doubt to ask with; small weights (more current per unit of weight) that neither write error nor few labels
    # lead astray, held by a weak prior on all layers; ex situ training that stops before the labels are memorised,
    # and a fixed number of epochs per label for the same reason; gradients scaled by a short memory; the last
    # reads of the trajectory join the live ones. Labels are the chance that a repeat succeeds, not the bit: near the
    # boundary, where active learning asks, the bit is chance and the score is not.
    "pouring": {
        "msgld": Recipe(
            {
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
            "lip features and labels with noise",
        ),
        "eapu": Recipe({}, "the learner's defaults"),
        "mcmc": Recipe({}, "the learner's defaults"),
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
            "fitted to simulated trials first, then learned in situ",
            prior=True,
        ),
    },
}
