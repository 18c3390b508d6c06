"""Training an agent episode by episode: the best policy kept by greedy episodes of its own, exact resumption.

Episodes for training, for keeping the best and for the final test start from different streams of seeds. Every episode
begins from a seed of its own, so a run that was stopped goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.agents.checkpoint import FORMAT, SOFTWARE, check_what
from memristor_bdnn.agents.dqn import DQNAgent, Episode
from memristor_bdnn.agents.environments import TEST, TRAIN, VALIDATE, Environment, episode_seed
from memristor_bdnn.agents.mcmc import MCMCAgent
from memristor_bdnn.agents.progress import Progress, progress_of
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import pack_json, pack_rng, restore_rng, save_npz, unpack_json

Array = npt.NDArray[Any]
Agent = DQNAgent | MCMCAgent
_RACE = 3
"""Episodes after which a comparison may end."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long to train, and how the best policy is found."""

    episodes: int = option(120, "training episodes at most", low=1, high=10_000_000)
    validation_episodes: int = option(
        10, "greedy episodes by which policies are compared; they are not those of the test", low=1, high=10_000
    )
    validate_every: int = option(
        5, "training episodes between comparisons; one that does better than the best is always followed by one", low=1
    )
    compare_from: float = option(
        0.5, "share of exploring steps from which on policies are compared", low=0.0, high=1.0, source="D"
    )
    keep_best: bool = option(True, "end with the best policy instead of the last one (studies); else nothing compares")
    rewrites: int = option(
        5,
        "attempts to write the best policy again at the end, until it does as well; the last stays",
        low=1,
        high=1000,
    )
    stop_when_solved: bool = option(True, "end when the greedy return reaches what the task counts as solved")
    checkpoint_every: int = option(10, "training episodes between checkpoints", low=1)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class Training:
    """One agent in one environment.

    Args:
        agent: either kind.
        env: the environment.
        config: options.
        seed: of the episodes' starts.
        path: checkpoint file; None keeps none. One that is there is resumed.
        hardware_options: of the accelerator, to be found in the checkpoint; a board's address is left out.

    Raises:
        ConfigError: the checkpoint is damaged, or of another agent, task, seed, preset or option.
    """

    def __init__(
        self,
        agent: Agent,
        env: Environment,
        config: TrainingConfig,
        seed: int = 0,
        path: Path | None = None,
        hardware_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._hardware_options = {k: v for k, v in (hardware_options or {}).items() if k not in ("host", "port")}
        self.agent, self.env, self.config, self.seed, self.path = agent, env, config, seed, path
        self.progress = Progress()
        if path is not None and path.exists():
            self._load(path)

    def run(
        self,
        watch: Callable[[Training], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Progress:
        """Train until the episodes are used up or the task is solved; then the agent holds its best policy.

        Args:
            watch: called after every training episode.
            cancelled: True stops after the present episode, with a checkpoint.
        """
        p = self.progress
        while not p.done:
            if self._over():
                self._finish()
                break
            episode = self.agent.train_episode(self.env, episode_seed(self.seed, TRAIN, len(p.total)))
            p.total.append(episode.total)
            p.steps.append(episode.steps)
            p.present_is_best = False
            if self.config.keep_best and isinstance(self.agent, DQNAgent):
                self._validate(episode)
            if watch is not None:
                watch(self)
            stop = cancelled is not None and cancelled()
            if stop or len(p.total) % self.config.checkpoint_every == 0:
                self.save()
            if stop:
                return p
        self.save()
        return p

    @property
    def accelerator(self) -> Any:
        """The chips that the agent learns on; None in software."""
        return _accelerator(self.agent)

    def test(self, episodes: int = 100) -> tuple[Array, Array]:
        """Returns and steps (episodes,) of greedy episodes that nothing was chosen by."""
        found = [_greedy(self.agent, self.env, self.seed, TEST, k) for k in range(episodes)]
        return np.array([e.total for e in found]), np.array([e.steps for e in found])

    def _over(self) -> bool:
        p = self.progress
        if isinstance(self.agent, MCMCAgent) and self.agent.finished:
            return True
        solved = self.env.task.solved
        reached = self.config.stop_when_solved and solved is not None and p.present_is_best and p.best_value >= solved
        return len(p.total) >= self.config.episodes or reached

    def _validate(self, episode: Episode) -> None:
        """Compare the present policy with the best where the last episode, or the count of episodes, says so."""
        p, n = self.progress, len(self.progress.total)
        assert isinstance(self.agent, DQNAgent)
        if n < self.config.episodes and (
            self.agent.exploring > self.config.compare_from
            or (episode.total < p.best_value and n % self.config.validate_every)
        ):
            return
        value = self._value()
        p.validated_at.append(n)
        p.validated.append(value)
        if value > p.best_value:
            p.best, p.best_value, p.present_is_best = self.agent.settings(), value, True

    def _value(self) -> float:
        """Mean return of the present policy over greedy episodes that no other comparison uses.

        A policy whose first three episodes all fall short of the best one's mean plays no more: it is not the best.
        """
        p, count = self.progress, self.config.validation_episodes
        p.validations += 1
        first, totals = p.validations * count, list[float]()
        while len(totals) < count and not (len(totals) == _RACE and max(totals) < p.best_value):
            episode = _greedy(self.agent, self.env, self.seed, VALIDATE, first + len(totals))
            totals.append(episode.total)
            p.validation_steps += episode.steps
            p.validation_episodes += 1
        return float(np.mean(totals))

    def _finish(self) -> None:
        """The agent holds the best policy. On devices it lands anew where it is written again: the last write stays."""
        p = self.progress
        p.done = True
        if p.present_is_best or p.best is None or not isinstance(self.agent, DQNAgent):
            return
        tries = 1 if self.agent.weights.accelerator is None else self.config.rewrites
        for _ in range(tries):
            self.agent.restore(p.best)
            if tries == 1 or self._value() >= p.best_value:
                break

    # -- checkpoints --------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint, where there is one to write."""
        if self.path is None:
            return
        p, agent = self.progress, self.agent
        chips = _accelerator(agent)
        content: dict[str, Array] = {
            "format": pack_json(FORMAT),
            "what": pack_json(self._what()),
            "rng": pack_rng(agent.rng),
            **p.arrays(),
        }
        content.update({f"agent.{key}": value for key, value in agent.state().items()})
        if p.best is not None:
            content.update({f"best.{key}": value for key, value in p.best.items()})
        if chips is not None:
            content.update({f"accelerator.{key}": np.asarray(value) for key, value in chips.state_dict().items()})
        save_npz(self.path, content)

    def _what(self) -> dict[str, Any]:
        """What a checkpoint is of; one of something else is refused."""
        chips, agent = _accelerator(self.agent), self.agent
        what = {
            "environment": self.env.task.name,
            "agent": agent.name,
            "accelerator": SOFTWARE if chips is None else chips.name,
            "accelerator_options": self._hardware_options,
            "preset": agent.preset.to_dict(),
            "seed": self.seed,
            "options": dataclasses.asdict(agent.config),
            "training": dataclasses.asdict(self.config),
        }
        plain: dict[str, Any] = json.loads(json.dumps(what))
        return plain

    def _load(self, path: Path) -> None:
        content = archives.unpack(path, archives.read_file(path))
        found = unpack_json(content.pop("format"), f"{path}: format") if "format" in content else None
        if found != FORMAT:
            raise ConfigError(f"{path} is not a checkpoint of an agent (format {FORMAT})")
        try:
            check_what(content.pop("what"), self._what())
            self._restore(content)
        except KeyError as error:
            raise ConfigError(f"damaged checkpoint {path}: {error.args[0]} is missing") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def _restore(self, content: dict[str, Array]) -> None:
        """Everything is looked at before anything is taken over."""
        parts: dict[str, dict[str, Array]] = {"agent": {}, "best": {}, "accelerator": {}}
        for key in list(content):
            head, dot, tail = key.partition(".")
            if dot and head in parts:
                parts[head][tail] = content.pop(key)
        agent, chips = self.agent, _accelerator(self.agent)
        agent.check_state(parts["agent"])
        progress = progress_of(content, _best_of(agent, parts["best"]))
        if (chips is None) != (not parts["accelerator"]):
            raise ConfigError("damaged checkpoint: the chips' state is missing or unknown")
        rng = np.random.default_rng(0)
        restore_rng(rng, content["rng"], "rng")
        if chips is not None:
            chips.load_state_dict(parts["accelerator"])
        restore_rng(agent.rng, content["rng"], "rng")
        agent.load_state(parts["agent"])
        self.progress = progress
        if len(progress.total) < self.config.episodes and not self._reached():
            progress.done = False

    def _reached(self) -> bool:
        solved = self.env.task.solved
        return self.config.stop_when_solved and solved is not None and self.progress.best_value >= solved


def _accelerator(agent: Agent) -> Any:
    return agent.weights.accelerator if isinstance(agent, DQNAgent) else agent.rows.accelerator


def _greedy(agent: Agent, env: Environment, seed: int, purpose: int, episode: int) -> Episode:
    state, total, steps, over = env.reset(episode_seed(seed, purpose, episode)), 0.0, 0, False
    while not over:
        state, reward, ended, cut = env.step(agent.act(state))
        total, steps, over = total + reward, steps + 1, ended or cut
    return Episode(steps, total)


def _best_of(agent: Agent, arrays: Mapping[str, Array]) -> dict[str, Array] | None:
    """Settings of a checkpoint's best policy, judged as the present ones would be."""
    if not arrays:
        return None
    if not isinstance(agent, DQNAgent) or arrays.keys() != {"weights", "biases"}:
        raise ConfigError("damaged checkpoint: its best policy is none of this agent")
    state = dict(agent.state())
    (name,) = agent.weights.state().keys()
    state[name], state["biases"] = arrays["weights"], arrays["biases"]
    agent.check_state(state)
    return {"weights": arrays["weights"].astype(np.float64), "biases": arrays["biases"].astype(np.float32)}
