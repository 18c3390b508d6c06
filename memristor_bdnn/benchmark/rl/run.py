"""One training of the reinforcement-learning benchmark, and its test on episodes that nothing was chosen by."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.runs import code_digest

ROOMS = ("agents", "accelerator", "crossbar", "device", "benchmark/rl/run.py")


@dataclass(frozen=True)
class Setting:
    """What a row of the benchmark's tables runs.

    Attributes:
        group: name of the row.
        environment: see :func:`memristor_bdnn.agents.environments.task`.
        agent: ``dqn`` or ``mcmc``.
        hardware: ``simulated`` or ``software``.
        slope_us_per_v, write_sd_us: of the devices of a deep Q-network.
        keep_best: the best policy by greedy episodes of their own, or the last one.
        episodes: training episodes at most.
        tests: greedy episodes of the test.
        options: of the agent.
    """

    group: str
    environment: str = "cartpole"
    agent: str = "dqn"
    hardware: str = "simulated"
    slope_us_per_v: float = 400.0
    write_sd_us: float = 2.0
    keep_best: bool = True
    episodes: int = 120
    tests: int = 100
    options: dict[str, Any] = field(default_factory=dict)

    def file(self, seed: int) -> str:
        """Name of the finished run's file."""
        values = asdict(self)
        values.pop("options")
        words = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([*(str(v) for v in values.values()), *words, str(seed), code_digest(*ROOMS)]) + ".json"


def execute(setting: Setting, seed: int) -> dict[str, Any]:
    """Train and test; JSON-able figures of the run."""
    from memristor_bdnn import agents
    from memristor_bdnn.agents import gates
    from memristor_bdnn.agents.environments import Environment, task
    from memristor_bdnn.agents.training import Training, TrainingConfig

    env = Environment(task(setting.environment))
    preset = gates.gate_preset(setting.slope_us_per_v, setting.write_sd_us) if setting.agent == "dqn" else ""
    agent = agents.make(setting.agent, env, seed, setting.hardware, preset, setting.options)
    config = TrainingConfig(episodes=setting.episodes, keep_best=setting.keep_best)
    training, started = Training(agent, env, config, seed), time.process_time()
    progress = training.run()
    spent = time.process_time() - started
    chips = training.accelerator
    ledger = {} if chips is None else chips.ledger.summary()
    returns, steps = training.test(setting.tests)
    if chips is not None:
        chips.close()
    env.close()
    return {
        "seed": seed,
        "reward": float(returns.mean()),
        "reward_episodes": returns.tolist(),
        "steps": float(np.mean(steps)),
        "steps_episodes": steps.tolist(),
        "training_returns": progress.total,
        "training_episodes": len(progress.total),
        "training_steps": int(sum(progress.steps)),
        "validation_episodes": progress.validation_episodes,
        "validation_steps": progress.validation_steps,
        "ledger": ledger,
        "processor_s": spent,
    }
