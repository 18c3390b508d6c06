"""The same in situ learning written plainly with autograd, read by read: the yardstick for speed.

Nothing is batched over reads, weights are built in the published (inputs, outputs, devices) layout and
torch differentiates them. Devices, marks and pulses are the simulated accelerator's, as in the fast version.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.learners.msgld import MSGLD
from memristor_bdnn.learners.msgld_update import choose_pulses, mark

FloatArray = npt.NDArray[np.floating[Any]]


def seconds_per_query(
    learner: MSGLD, x: FloatArray, y: FloatArray, candidates: FloatArray, epochs: int, samples: int
) -> float:
    """CPU seconds of learning x (n, d), y (n,) for some epochs and predicting all candidates once."""
    import torch

    torch.set_num_threads(1)
    network, chips, cfg = learner.network, learner.accelerator, learner.config
    assert learner.scaler is not None
    started = time.process_time()
    rows = torch.tensor(learner.scaler(learner.features(x)))
    truth = torch.tensor((y > 0.5).astype(np.int64))
    for _ in range(epochs):
        votes = []
        for _ in range(cfg.evaluations):
            total = np.zeros(network.n_weights, dtype=np.float32)
            for _ in range(cfg.reads // cfg.evaluations):
                currents = torch.tensor(chips.read(1)[0], requires_grad=True)
                loss = torch.nn.functional.cross_entropy(
                    _logits(torch, network, currents, rows), truth, reduction="sum"
                )
                loss.backward()
                total += currents.grad.numpy().reshape(-1, network.devices).sum(axis=1)
            votes.append(total)
        gradient = np.stack(votes)
        marked = mark(learner.trainer.scale.apply(gradient), cfg.mark_fraction, cfg.mark_votes)
        for pulse in choose_pulses(
            -np.sign(gradient.mean(axis=0)), marked, np.ones(network.n_weights), network.devices, 1, learner.rng
        ):
            chips.pulse(pulse)
    with torch.no_grad():
        all_rows = torch.tensor(learner.scaler(learner.features(candidates)))
        for _ in range(samples):
            torch.softmax(_logits(torch, network, torch.tensor(chips.read(1)[0]), all_rows), dim=1)
    return time.process_time() - started


def _logits(torch: Any, network: Any, currents: Any, rows: Any) -> Any:
    start, hidden = 0, rows
    for index, (i, o, d) in enumerate(network.shapes):
        cells = currents[start : start + i * o * d].reshape(i, o, d)
        start += i * o * d
        weight = (cells.sum(dim=2) - network.offset) / network.scale
        hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1) @ weight
        if index < len(network.shapes) - 1:
            hidden = torch.sigmoid(hidden)
    return hidden
