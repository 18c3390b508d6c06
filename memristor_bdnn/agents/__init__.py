"""Reinforcement learning with networks on devices.

An agent acts in a gymnasium environment with discrete actions and learns in situ: ``dqn`` is deep Q-learning through
gate voltages, ``mcmc`` a linear policy by Metropolis-Hastings on rows. Each has a software twin. Agents know hardware
through the accelerator protocol only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn import accelerator
from memristor_bdnn.agents import gates
from memristor_bdnn.agents.checkpoint import SOFTWARE, read_what
from memristor_bdnn.agents.dqn import DQNAgent, DQNConfig
from memristor_bdnn.agents.environments import Environment, task
from memristor_bdnn.agents.mcmc import DeviceRows, ExactRows, MCMCAgent, MCMCAgentConfig
from memristor_bdnn.agents.network import PairLayout
from memristor_bdnn.agents.training import Training, TrainingConfig
from memristor_bdnn.agents.weights import DeviceWeights, ExactWeights
from memristor_bdnn.config import build, merged, shown
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError, UnsupportedError

CONFIGS: dict[str, Any] = {"dqn": DQNConfig, "mcmc": MCMCAgentConfig}
"""Options of every agent, by its name."""
PRESETS = {"dqn": gates.PRESET, "mcmc": gates.ROWS_PRESET}
"""The preset that an agent takes where nobody names one."""


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
    if hardware == SOFTWARE:
        if hardware_options:
            raise ConfigError(f"{', '.join(hardware_options)}: the software twin has no options of an accelerator")
        agent = _twin(config, env, devices, np.random.default_rng(seed))
    else:
        if not getattr(accelerator.load(hardware), "blind_writes", True):
            raise UnsupportedError(
                f"accelerator {hardware!r} cannot carry agent {name!r}, which is written through gate voltages: it has "
                "no blind writes; choose simulated, another accelerator plugin that has them, or software"
            )
        chips = accelerator.create(hardware, preset=devices, seed=seed, **(hardware_options or {}))
        try:
            agent = _on_devices(config, env, chips, np.random.default_rng(seed))
        except BaseException:
            chips.close()
            raise
    agent.preset = devices
    return agent


def _on_devices(config: Any, env: Environment, chips: Any, rng: np.random.Generator) -> DQNAgent | MCMCAgent:
    if isinstance(config, DQNConfig):
        layout = PairLayout((env.n_inputs, *config.hidden, env.n_actions))
        return DQNAgent(DeviceWeights(chips, layout, rng, config.weight_us, config.assumed_slope), config, rng)
    inputs = env.n_inputs + config.bias
    return MCMCAgent(DeviceRows(chips, config.rows, env.n_actions * inputs), inputs, env.n_actions, config, rng)


def _twin(config: Any, env: Environment, devices: DevicePreset, rng: np.random.Generator) -> DQNAgent | MCMCAgent:
    if isinstance(config, DQNConfig):
        layout, line = PairLayout((env.n_inputs, *config.hidden, env.n_actions)), gates.GateLine(devices)
        gain = config.twin_gain or None
        return DQNAgent(ExactWeights(layout, line, rng, config.weight_us, config.assumed_slope, gain), config, rng)
    return MCMCAgent(ExactRows(devices, rng), env.n_inputs + config.bias, env.n_actions, config, rng)


def reopen(path: Path, hardware_options: Mapping[str, Any] | None = None, environment: str = "") -> Training:
    """The training that a checkpoint is of, with its agent on devices of its own, as it was saved.

    Args:
        path: the checkpoint.
        hardware_options: of the accelerator, beside those that the checkpoint holds (a board's address).
        environment: name that is expected; a file alone may not name a package to be imported (``package:id``).

    Raises:
        ConfigError: it is none, damaged, or of another environment or one that cannot be made here.
    """
    said = read_what(path)
    if (environment or ":" in said["environment"]) and environment != said["environment"]:
        raise ConfigError(
            f"{path} is of environment {shown(said['environment'])}, "
            + (f"not {environment}" if environment else "which imports a package: name it (--env) to agree")
        )
    env = Environment(task(said["environment"]))
    try:
        more = merged(said["accelerator_options"], hardware_options or {})
        preset = build(DevicePreset, said["preset"])
        agent = make(said["agent"], env, said["seed"], said["accelerator"], preset, said["options"], more)
        return Training(agent, env, build(TrainingConfig, said["training"]), said["seed"], path, more)
    except BaseException:
        env.close()
        raise


__all__ = ["CONFIGS", "PRESETS", "SOFTWARE", "make", "reopen"]
