"""Example learner plugin; see docs/writing_a_learner.md of memristor_bdnn."""
