"""The tasks of the MCMC benchmark: breast cancer, cart-pole, and what backpropagation needs for the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from memristor_bdnn.benchmark.mcmc import cartpole
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.mcmc.models import BernoulliData, Logistic, Model, posterior_mean
from memristor_bdnn.learners.mcmc.rows import ChainConfig, Posterior, RowArrays, run_chains

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """One random division of the breast-cancer data: x (n, k) standardised, y (n,) 1 = malignant."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def cancer_split(seed: int, features: int = 16) -> Split:
    """369 rows to train on and 200 to test on, stratified; chi2 selection and scaling from the training rows."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.feature_selection import SelectKBest, chi2
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, target = load_breast_cancer(return_X_y=True)
    y = (target == 0).astype(float)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=200, random_state=seed, stratify=y)
    select = SelectKBest(chi2, k=features).fit(x_train, y_train)
    scale = StandardScaler().fit(select.transform(x_train))
    return Split(scale.transform(select.transform(x_train)), y_train, scale.transform(select.transform(x_test)), y_test)


def cancer_runs(
    preset: DevicePreset,
    config: ChainConfig,
    runs: int,
    seed: int = 0,
    model: Model | None = None,
    features: int = 16,
    stuck: float = 0.0,
) -> tuple[Array, Posterior]:
    """Test accuracies (runs,) of independent arrays, each on its own split, and their posterior.

    ``stuck`` devices are half at zero, half at the top of the window.
    """
    model = model or Logistic(0.1)
    splits = [cancer_split(seed * 100_000 + k, features) for k in range(runs)]
    arrays = RowArrays(
        preset, runs, config.rows, model.parameters(features), np.random.default_rng(seed), stuck / 2, stuck / 2
    )
    data = BernoulliData(model, np.stack([s.x_train for s in splits]), np.stack([s.y_train for s in splits]))
    posterior = run_chains(arrays, data, config)
    mean = posterior_mean(model, posterior, np.stack([s.x_test for s in splits]).astype(np.float32))
    right = (mean > 0.5) == (np.stack([s.y_test for s in splits]) > 0.5)
    return right.mean(axis=1), posterior


@dataclass(frozen=True)
class Backpropagation:
    """Accuracy after each epoch (epochs,) and programming operations of one epoch, in devices."""

    accuracy: Array
    operations_per_epoch: int

    def operations_to(self, accuracy: float) -> int:
        """Operations until the accuracy is first reached; those of the whole run if it never is."""
        reached = np.flatnonzero(self.accuracy >= accuracy)
        epochs = int(reached[0]) + 1 if reached.size else len(self.accuracy)
        return epochs * self.operations_per_epoch


def backpropagation(seed: int, hidden: int, epochs: int = 40, batch: int = 32, features: int = 16) -> Backpropagation:
    """Adam on the same split; every batch RESETs and SETs both devices of every weight.

    ``hidden`` = 240 makes a 16-240-1 network of 8,160 devices, as many as a 256x16 array of pairs;
    0 is a logistic model of 32 devices.
    """
    data = cancer_split(seed, features)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in (data.x_train, data.y_train))
    x_test, y_test = (torch.tensor(a, dtype=torch.float32) for a in (data.x_test, data.y_test))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (
            [nn.Linear(features, hidden, bias=False), nn.Sigmoid(), nn.Linear(hidden, 1, bias=False)]
            if hidden
            else [nn.Linear(features, 1, bias=False)]
        )
        model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    generator = torch.Generator().manual_seed(seed)
    accuracy, steps = [], 0
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], y[rows]).backward()
            optimizer.step()
            steps += 1
        with torch.no_grad():
            accuracy.append(float(((model(x_test)[:, 0] > 0) == (y_test > 0.5)).float().mean()))
    weights = sum(p.numel() for p in model.parameters())
    return Backpropagation(np.array(accuracy), 2 * 2 * weights * steps // epochs)


def test_policy(policy: Any, episodes: int, seed: int) -> float:
    """Mean reward of a policy over fresh episodes of gymnasium's CartPole-v1."""
    try:
        import gymnasium
    except ImportError as error:
        raise ConfigError("the cart-pole test needs gymnasium: pip install gymnasium") from error
    environment = gymnasium.make("CartPole-v1")
    total = 0.0
    state, _ = environment.reset(seed=seed)
    for _ in range(episodes):
        over = False
        while not over:
            state, reward, fallen, late, _ = environment.step(policy(state))
            total += float(reward)
            over = fallen or late
        state, _ = environment.reset()
    environment.close()
    return total / episodes


class DeepQ:
    """Several small deep Q-networks trained side by side: 4-48-48-2, replay, epsilon-greedy, target network.

    Sizes, replay of 20,000, batch 80, gamma 0.99 and epsilon 0.01 + 0.99 exp(-0.001 step) are those of the
    memristor deep-Q study; Adam and a target network, renewed every 200 steps, make it learn reliably.
    """

    def __init__(self, agents: int, seed: int) -> None:
        """Draw the agents' first weights."""
        self.rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self.parameters = []
        for inputs, outputs in ((4, 48), (48, 48), (48, 2)):
            bound = inputs**-0.5
            for shape in ((agents, inputs, outputs), (agents, 1, outputs)):
                values = (2 * torch.rand(shape, generator=generator) - 1) * bound
                self.parameters.append(values.requires_grad_())
        self.agents = agents
        self.best = [p.detach().clone() for p in self.parameters]
        """Weights of each agent when its last ten training episodes were longest."""
        self.target = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)

    @staticmethod
    def values(state: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Action values (agents, n, 2) of states (agents, n, 4)."""
        w1, b1, w2, b2, w3, b3 = parameters
        hidden = torch.relu(torch.baddbmm(b1, state, w1))
        return torch.baddbmm(b3, torch.relu(torch.baddbmm(b2, hidden, w2)), w3)

    def train(self, steps: int, memory: int = 20_000, batch: int = 80) -> None:
        """Every agent plays and learns for this many steps of its own cart-pole."""
        n, size = self.agents, min(memory, steps)
        states, after = np.zeros((2, n, size, 4), np.float32)
        actions, over = np.zeros((n, size), np.int64), np.zeros((n, size), np.float32)
        state, age = cartpole.reset(n, self.rng), np.zeros(n, np.int64)
        who, lengths, record = np.arange(n)[:, None], np.zeros((n, 10)), np.zeros(n)
        for step in range(steps):
            with torch.no_grad():
                value = self.values(torch.tensor(state[:, None], dtype=torch.float32), self.parameters)
                greedy = value[:, 0].argmax(1).numpy()
            explore = self.rng.random(n) < 0.01 + 0.99 * np.exp(-0.001 * step)
            action = np.where(explore, self.rng.integers(0, 2, n), greedy)
            new, fallen = cartpole.step(state, action == 1)
            slot = step % size
            states[:, slot], after[:, slot], actions[:, slot], over[:, slot] = state, new, action, fallen
            age += 1
            ended = fallen | (age >= cartpole.EPISODE)
            state = np.where(ended[:, None], cartpole.reset(n, self.rng), new)
            lengths[ended] = np.concatenate([lengths[ended, 1:], age[ended, None]], axis=1)
            age[ended] = 0
            improved = ended & (step > 2000) & (lengths.mean(axis=1) > record)
            if improved.any():
                record[improved] = lengths[improved].mean(axis=1)
                for kept, present in zip(self.best, self.parameters, strict=True):
                    kept[improved] = present.detach()[improved]
            if step % 200 == 0:
                for kept, present in zip(self.target, self.parameters, strict=True):
                    kept.copy_(present.detach())
            if step >= batch:
                rows = self.rng.integers(0, min(step + 1, size), (n, batch))
                arrays = (states[who, rows], actions[who, rows], after[who, rows], over[who, rows])
                self._learn(*(torch.from_numpy(part) for part in arrays))

    def _learn(self, state: torch.Tensor, action: torch.Tensor, after: torch.Tensor, over: torch.Tensor) -> None:
        with torch.no_grad():
            goal = 1.0 + 0.99 * (1.0 - over) * self.values(after, self.target).amax(2)
        value = self.values(state, self.parameters).gather(2, action[..., None])[..., 0]
        self.optimizer.zero_grad()
        functional.smooth_l1_loss(value, goal, reduction="none").mean(1).sum().backward()
        self.optimizer.step()

    def policy(self, agent: int) -> Any:
        """The greedy policy of one agent at its best in training: state (4,) to action."""
        w1, b1, w2, b2, w3, b3 = (p[agent].numpy().astype(np.float64) for p in self.best)

        def act(state: Array) -> int:
            hidden = np.maximum(np.maximum(state @ w1 + b1, 0) @ w2 + b2, 0)
            return int((hidden @ w3 + b3).argmax())

        return act
