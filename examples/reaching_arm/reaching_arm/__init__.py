"""Registers the environment, so that ``gymnasium.make("reaching_arm:Reach-v0")`` finds it."""

import gymnasium

gymnasium.register("Reach-v0", entry_point="reaching_arm.environment:Reach", max_episode_steps=40, reward_threshold=7.5)
