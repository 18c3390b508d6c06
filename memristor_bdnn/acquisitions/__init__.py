"""Which trial next: acquisition functions by name."""
