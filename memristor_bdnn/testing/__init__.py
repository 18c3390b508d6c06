"""Conformance suite that any learner plugin can run; see docs/writing_a_learner.md. Needs pytest."""

from memristor_bdnn.testing.learner import LearnerConformance

__all__ = ["LearnerConformance"]
