"""Reinforcement learning with networks on devices.

An agent acts in a gymnasium environment with discrete actions and learns in situ: ``dqn`` is deep Q-learning through
gate voltages, ``mcmc`` a linear policy by Metropolis-Hastings on rows. Each has a software twin. Agents know hardware
through the accelerator protocol only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from memristor_bdnn import accelerator
from memristor_bdnn.agents import gates
from memristor_bdnn.agents.dqn import DQNAgent, DQNConfig
from memristor_bdnn.agents.environments import Environment
from memristor_bdnn.agents.mcmc import DeviceRows, ExactRows, MCMCAgent, MCMCAgentConfig
from memristor_bdnn.agents.network import PairLayout
from memristor_bdnn.agents.weights import DeviceWeights, ExactWeights, Weights
from memristor_bdnn.config import build
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

CONFIGS: dict[str, Any] = {"dqn": DQNConfig, "mcmc": MCMCAgentConfig}
"""Options of every agent, by its name."""
PRESETS = {"dqn": gates.PRESET, "mcmc": gates.ROWS_PRESET}
"""The preset that an agent takes where nobody names one."""
SOFTWARE = "software"
"""In place of an accelerator's name: the software twin."""


def make(
    name: str,
    env: Environment,
    seed: int = 0,
    hardware: str = "simulated",
    preset: str | DevicePreset = "",
    options: Mapping[str, Any] | None = None,
    hardware_options: Mapping[str, Any] | None = None,
) -> DQNAgent | MCMCAgent:
    """An agent for an environment, on devices or as its software twin.

    Args:
        name: ``dqn`` or ``mcmc``.
        env: gives the sizes of observations and actions.
        seed: of devices, first weights, batches and exploring.
        hardware: an accelerator plugin, or ``software``.
        preset: device preset; empty: the agent's own.
        options: of the agent.
        hardware_options: of the accelerator.

    Raises:
        ConfigError: an unknown name or option.
        UnsupportedError: the accelerator has no blind writes.
        CapacityError: the network does not fit.
    """
    if name not in CONFIGS:
        raise ConfigError(f"agent {name!r}: choose one of {', '.join(CONFIGS)}")
    config = build(CONFIGS[name], options)
    devices = gates.load(preset or PRESETS[name])
    rng = np.random.default_rng(seed)
    chips = None
    if hardware != SOFTWARE:
        chips = accelerator.create(hardware, preset=devices, seed=seed, **(hardware_options or {}))
    try:
        if name == "dqn":
            layout = PairLayout((env.n_inputs, *config.hidden, env.n_actions))
            scale = (config.weight_us, config.assumed_slope)
            weights: Weights = (
                ExactWeights(layout, gates.GateLine(devices), rng, *scale, gain=config.twin_gain or None)
                if chips is None
                else DeviceWeights(chips, layout, rng, *scale)
            )
            return DQNAgent(weights, config, rng)
        inputs = env.n_inputs + config.bias
        rows = ExactRows(devices, rng) if chips is None else DeviceRows(chips, config.rows, env.n_actions * inputs)
        return MCMCAgent(rows, inputs, env.n_actions, config, rng)
    except Exception:
        if chips is not None:
            chips.close()
        raise
