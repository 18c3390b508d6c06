"""The pouring skill: context and control parameters, vessels, world, trial, score, rendering."""
