"""Recipes for pushing: what is recommended for few labels, on geometric features instead of the raw inputs."""

from __future__ import annotations

from collections.abc import Mapping

from memristor_bdnn.skills.recipes import GENERAL
from memristor_bdnn.skills.records import Recipe

FEATURES = "memristor_bdnn.skills.pushing.features:push_features"

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "paper": GENERAL["paper"],
    # The features are few and sharp: more epochs teach more without learning the labels by heart.
    "pushing": {
        **GENERAL["general"],
        "msgld": Recipe(
            {**GENERAL["general"]["msgld"].options, "features": FEATURES, "max_epochs": 16}, "geometric features"
        ),
    },
}
