"""Learners on devices beside software on small data sets of several classes."""
