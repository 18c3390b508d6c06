"""Reinforcement learning with networks on devices."""
