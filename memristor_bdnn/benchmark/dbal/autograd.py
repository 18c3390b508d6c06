"""The same in situ learning written plainly with torch autograd: the yardstick for speed.

Tensors of (inputs, outputs, devices) per layer as in the published code; every read of the devices is sampled,
passed forward and differentiated on its own; predictions read the network once per sample. One CPU thread.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.learners.msgld.learner import MSGLD

FloatArray = npt.NDArray[np.floating[Any]]


class PlainAutograd:
    """Devices and learning loop of one learner, copied into plain torch.

    Args:
        learner: gives layout, options, scaler and the present device states.
        reads: per gradient evaluation. The published method reads M = 10 times in every evaluation; our
            implementation shares its 10 reads among the evaluations, that is 2 in each.
    """

    def __init__(self, learner: MSGLD, reads: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch, self.learner, self.reads = torch, learner, reads
        network = learner.network
        sizes = [i * o * d for i, o, d in network.shapes]
        self.chains = []
        for cells in np.split(learner.accelerator.read(20).mean(axis=0), network.count):
            parts = torch.split(torch.tensor(cells), sizes)
            self.chains.append([part.reshape(shape) for part, shape in zip(parts, network.shapes, strict=True)])
        self.mean = [[torch.zeros(layer.shape[:2]) for layer in chain] for chain in self.chains]
        self.square = [[torch.zeros(layer.shape[:2]) for layer in chain] for chain in self.chains]

    def seconds_per_query(self, x: FloatArray, y: FloatArray, candidates: FloatArray, samples: int) -> float:
        """CPU seconds to learn labels x (n, d), y (n,) and to predict all candidates (m, d) once."""
        torch, learner = self.torch, self.learner
        assert learner.scaler is not None
        started = time.process_time()
        scaled, asked, weight = learner.training_rows(x, y)
        rows, truth = torch.tensor(scaled), torch.tensor(np.stack([1.0 - asked, asked], axis=1).astype(np.float32))
        truth = truth if weight is None else truth * torch.tensor(weight.astype(np.float32))[:, None]
        for _ in range(learner.config.max_epochs):
            self._step(rows, truth)
        with torch.no_grad():
            rows = torch.tensor(learner.scaler(learner.features(candidates)))
            p = torch.stack(
                [
                    torch.softmax(self._logits(self._read(chain), rows), dim=1)[:, 1]
                    for _ in range(samples)
                    for chain in self.chains
                ]
            )
            p.mean(dim=0), p.std(dim=0)
        return time.process_time() - started

    def _read(self, states: list[Any]) -> list[Any]:
        torch, noise = self.torch, self.learner.accelerator.preset.read_noise
        reads = []
        for state in states:
            scale = (noise.constant_ua + noise.linear * state + noise.quadratic_per_ua * state**2).clamp(min=1e-9)
            reads.append((state + torch.distributions.Laplace(0.0, scale).sample()).clamp(min=noise.floor_ua))
        return reads

    def _logits(self, currents: list[Any], rows: Any) -> Any:
        torch, network = self.torch, self.learner.network
        hidden = rows
        for index, layer in enumerate(currents):
            weight = (layer.sum(dim=2) - network.offset) / network.scale
            hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1) @ weight
            if index < len(currents) - 1:
                hidden = torch.sigmoid(hidden)
        return hidden

    def _step(self, rows: Any, truth: Any) -> None:
        torch, cfg = self.torch, self.learner.config
        votes = [[torch.zeros_like(m) for m in chain] for chain in self.mean]
        total = [[torch.zeros_like(m) for m in chain] for chain in self.mean]
        for _ in range(cfg.evaluations):
            gradients, scaled = [], []
            for states, means, squares in zip(self.chains, self.mean, self.square, strict=True):
                gradient = [torch.zeros_like(m) for m in means]
                for _ in range(self.reads):
                    currents = [layer.requires_grad_() for layer in self._read(states)]
                    loss = -(truth * torch.log_softmax(self._logits(currents, rows), dim=1)).sum()
                    for sum_, layer in zip(gradient, torch.autograd.grad(loss, currents), strict=True):
                        sum_ += layer.sum(dim=2) / self.reads
                for g, mean, square in zip(gradient, means, squares, strict=True):
                    mean.mul_(cfg.rms_decay).add_(g, alpha=1 - cfg.rms_decay)
                    square.mul_(cfg.rms_decay).add_(g * g, alpha=1 - cfg.rms_decay)
                    scaled.append((g / (torch.sqrt((square - mean * mean).clamp(min=0.0)) + 1e-8)).abs())
                gradients.append(gradient)
            every = torch.cat([s.flatten() for s in scaled])
            threshold = torch.topk(every, max(1, round(cfg.mark_fraction * len(every)))).values.min()
            marks = iter(scaled)
            for vote_c, total_c, gradient in zip(votes, total, gradients, strict=True):
                for vote, sum_, g in zip(vote_c, total_c, gradient, strict=True):
                    vote += next(marks) >= threshold
                    sum_ += g
        for states, vote_c, total_c in zip(self.chains, votes, total, strict=True):
            for state, vote, g in zip(states, vote_c, total_c, strict=True):
                self._pulse(state, (vote >= cfg.mark_votes * cfg.evaluations).float() * -torch.sign(g))

    def _pulse(self, state: Any, direction: Any) -> None:
        torch, preset = self.torch, self.learner.accelerator.preset
        chosen = torch.nn.functional.one_hot(torch.randint(0, state.shape[2], direction.shape), state.shape[2])
        move = direction.unsqueeze(2) * chosen
        low, high = preset.window_ua
        for pulse, sign, edge in ((preset.set_pulse, 1, high), (preset.reset_pulse, -1, low)):
            sd = pulse.sd_constant_ua + pulse.sd_linear * state
            after = state + pulse.fraction * (edge - state) + sd * torch.randn_like(state)
            state.copy_(torch.where(move == sign, after.clamp(low, high), state))
