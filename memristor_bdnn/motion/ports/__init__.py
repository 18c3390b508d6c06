"""Ports that execute a joint trajectory on an arm, simulated or physical."""
