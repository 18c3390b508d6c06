"""What learners are started with for a skill that recommends nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

from memristor_bdnn.skills.records import Recipe

GENERAL: Mapping[str, Mapping[str, Recipe]] = {
    "paper": {
        "msgld": Recipe({}, "the published method"),
        "eapu": Recipe({}, "the learner's defaults"),
        "mcmc": Recipe({}, "the learner's defaults"),
    },
    # For few labels. Four small networks side by side on the chips, whose disagreement is the doubt to ask with;
    # small weights (more current per unit of weight) that neither write error nor few labels lead astray, held by a
    # weak prior on all layers; a fixed number of epochs per label instead of memorising them; gradients scaled by a
    # short memory; the last reads of the trajectory join the live ones. Labels are the chance that a repeat succeeds,
    # not the bit: near the boundary, where active learning asks, the bit is chance and the score is not. The
    # published options need more than 64 labels to be steady: docs/writing_a_skill.md has the figures.
    "general": {
        "msgld": Recipe(
            {
                "chains": 4,
                "hidden": [24, 24],
                "largest_weight": 1.08,
                "mark_fraction": 0.06,
                "rms_decay": 0.9,
                "kl_layers": "all",
                "prior_sd": 1.0,
                "beta": 0.03,
                "stop_accuracy": 1.1,
                "max_epochs": 8,
                "memory_samples": 16,
                "label_noise": 0.35,
                "ex_situ": {"epochs": 200, "learning_rate": 0.04},
            },
            "for few labels, on raw inputs",
        ),
        "eapu": Recipe({}, "the learner's defaults"),
        "mcmc": Recipe({}, "the learner's defaults"),
    },
}

ASKED: Mapping[str, object] = {"refit_growth": 1.5, "reference_rows": 1024}
"""For labels that were asked for, which are no fair sample: trained anew as they grow, so that what the first few
taught does not decide for ever what is asked; the share of successes is estimated on candidates."""
