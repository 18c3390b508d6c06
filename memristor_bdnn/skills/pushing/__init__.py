"""Pushing: an object on the table is pushed by the closed hand into a goal region."""
