"""The peers themselves: the same work by other libraries, as their documentation says it is done."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark.dbal.methods import Refitted
from memristor_bdnn.benchmark.peers.measure import Work
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction

FloatArray = npt.NDArray[np.floating[Any]]
MILLION = (1000, 900, 100, 100)
"""Widths of a network with 1,000,000 weights in cells."""


def torch_prediction(learner: Any, candidates: FloatArray, samples: int = 20) -> Work:
    """The learner's own network in torch: reads drawn, all of them passed forward at once, mean and spread."""
    import torch

    torch.set_num_threads(1)
    network, preset = learner.network, learner.accelerator.preset
    state = torch.tensor(learner.accelerator.read(20).mean(axis=0))
    scale = torch.tensor(np.asarray(preset.read_noise_scale_ua(state.numpy()), dtype=np.float32)).clamp(min=1e-9)
    noise, floor = torch.distributions.Laplace(state, scale), preset.read_noise.floor_ua
    rows = torch.tensor(learner.scaler(learner.features(candidates)))
    ones = torch.ones(samples, len(rows), 1)

    def work() -> Any:
        with torch.no_grad():
            currents = noise.sample((samples,)).clamp(min=floor)
            hidden, begin = rows.expand(samples, -1, -1), 0
            for layer, (inputs, outputs, devices) in enumerate(network.shapes):
                cells = currents[:, begin : begin + inputs * outputs * devices]
                begin += inputs * outputs * devices
                weight = cells.reshape(samples, inputs, outputs, devices).sum(dim=3)
                hidden = torch.bmm(torch.cat([hidden, ones], dim=2), (weight - network.offset) / network.scale)
                if layer < len(network.shapes) - 1:
                    hidden = torch.sigmoid(hidden)
            p = torch.softmax(hidden, dim=2)[..., 1]
            return p.mean(dim=0), p.std(dim=0)

    return work


def sklearn_gp(x: FloatArray, y: FloatArray, candidates: FloatArray) -> Work:
    """A Gaussian process of scikit-learn, fitted to labels: mean and standard deviation of all candidates."""
    from memristor_bdnn.benchmark.dbal.methods import GaussianProcess

    model = GaussianProcess(0)
    model.fit(x, 2.0 * y - 1.0)
    model.predict(candidates[:2])
    return lambda: model.predicted(candidates)


class BotorchGP(Refitted):
    """A SingleTaskGP of BoTorch (Matern 5/2, a length scale an input) on the score, refitted every 16 labels."""

    model: Any = None

    def refit(self, x: FloatArray, score: FloatArray) -> None:
        """Fit; hyperparameters by marginal likelihood at every 16th label."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.kernels import MaternKernel, ScaleKernel
        from gpytorch.mlls import ExactMarginalLogLikelihood

        torch.set_num_threads(1)
        z = torch.tensor(self.scaled(x), dtype=torch.double)
        kernel = ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=z.shape[1]))
        model = SingleTaskGP(z, torch.tensor(score[:, None], dtype=torch.double), covar_module=kernel)
        if self.model is None or len(x) % 16 == 0:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        else:
            for part in ("covar_module", "mean_module", "likelihood"):
                getattr(model, part).load_state_dict(getattr(self.model, part).state_dict())
        self.model = model.eval()

    def predicted(self, x: FloatArray) -> Prediction:
        """The score's posterior on the scale p = (score + 1) / 2."""
        import torch

        with torch.no_grad():
            # In parts: the joint covariance of all, which nobody asks for, takes 50 times as long.
            parts = torch.tensor(self.scaled(x), dtype=torch.double).split(250)
            posteriors = [self.model.posterior(part) for part in parts]
            mean = torch.cat([posterior.mean[:, 0] for posterior in posteriors]).numpy()
            variance = torch.cat([posterior.variance[:, 0] for posterior in posteriors])
            sd = variance.clamp(min=0.0).sqrt().numpy()
        p = np.clip((mean + 1.0) / 2.0, 0.0, 1.0)
        return Prediction(p, sd / 2.0, np.stack([np.clip(p - sd / 2, 0, 1), np.clip(p + sd / 2, 0, 1)]))


def botorch_gp(x: FloatArray, y: FloatArray, candidates: FloatArray) -> Work:
    """The same of BoTorch."""
    model = BotorchGP(0)
    model.fit(x, 2.0 * y - 1.0)
    model.predict(candidates[:2])
    return lambda: model.predicted(candidates)


def aihwkit_pulses(n: int, direction: npt.NDArray[np.int8]) -> Work:
    """A pulsed update of an AIHWKit tile with as many cells (rows of 96): trains of one pulse, constant-step devices.

    A tile is pulsed by rows and columns, so all cells of a row go the same way.
    """
    import torch
    from aihwkit.simulator.configs import ConstantStepDevice, SingleRPUConfig
    from aihwkit.simulator.tiles import AnalogTile

    torch.set_num_threads(1)
    config = SingleRPUConfig(device=ConstantStepDevice())
    config.update.desired_bl = 1
    config.update.update_management = config.update.update_bl_management = False
    columns = 96
    tile = AnalogTile(n // columns, columns, config)
    tile.set_learning_rate(1.0)
    x, d = torch.ones(1, columns), torch.tensor(direction[: n // columns].astype(np.float32))[None]
    return lambda: tile.update(x, d)


@dataclass(frozen=True)
class EaikRobot:
    """An arm in EAIK, and how its poses differ from ours."""

    robot: Any
    zero: FloatArray
    """Rotation (3, 3) of our tool frame where every joint is at 0: EAIK's has none there."""

    def reached(self, poses: FloatArray) -> FloatArray:
        """Our tool poses (n, 4, 4) as EAIK wants them."""
        turned = np.array(poses)
        turned[:, :3, :3] = poses[:, :3, :3] @ self.zero.T
        return turned

    def solve(self, pose: FloatArray) -> Any:
        """All solutions of one pose (4, 4)."""
        return self.robot.IK(pose)

    def solve_batch(self, poses: FloatArray) -> Any:
        """All solutions of poses (n, 4, 4), in this thread."""
        return self.robot.IK_batched(poses, 1)


def eaik_robot(chain: Any, last: float, poses: FloatArray, q: FloatArray) -> EaikRobot:
    """EAIK's arm of joint axes and offsets at the zero configuration, the last joint fixed at an angle.

    Raises:
        ConfigError: it does not reach poses (n, 4, 4) where ours does, at q (n, dof).
    """
    from eaik.IK_HP import HPRobot

    frames = chain.frames(np.zeros(len(chain.axes)))
    axes = np.einsum("nij,nj->ni", frames[:-1, :3, :3], chain.axes)
    points = np.concatenate([np.zeros((1, 3)), frames[:, :3, 3]])
    robot = EaikRobot(HPRobot(axes, np.diff(points, axis=0), [(len(axes) - 1, last)]), frames[-1, :3, :3])
    for pose in robot.reached(poses):
        found = robot.solve(pose)
        solutions = [np.append(s, last) if len(s) == len(axes) - 1 else s for s in np.asarray(found.Q)]
        ends = chain.fk(np.array(solutions)) if len(solutions) else np.zeros((0, 4, 4))
        wanted = np.array(pose)
        wanted[:3, :3] = pose[:3, :3] @ robot.zero
        if not len(ends) or np.abs(ends - wanted).max(axis=(1, 2)).min() > 1e-6:
            raise ConfigError("EAIK's arm does not reach the poses of ours")
    return robot


def ompl_paths(space: Any, queries: list[Any]) -> Work:
    """OMPL's RRT-Connect between the same pairs, with our steps, shortcuts and re-check."""
    from memristor_bdnn.motion import ompl, rrt

    config = rrt.RRTConfig(timeout=60.0)

    def work() -> None:
        for k, (start, goal) in enumerate(queries):
            ompl.plan(space, start, goal, np.random.default_rng(k), config, clock=time.process_time)

    return work


def optimizer_steps(kind: str, steps: int) -> Work:
    """Steps of EaPU(Adam), or of Adam alone (fused, foreach), on a network of a million weights.

    Gradients change from step to step, as in stochastic training.
    """
    import torch
    from torch import nn

    from memristor_bdnn.learners.eapu.optimizer import EaPU

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(MILLION)]
    parameters = [p for layer in layers for p in layer.parameters()]
    gradients = [[1e-2 * torch.randn(p.shape, generator=generator) for p in parameters] for _ in range(7)]
    fused, foreach = (True if kind == name else None for name in ("fused", "foreach"))
    optimizer: Any = torch.optim.Adam(parameters, fused=fused, foreach=foreach)
    if kind == "eapu":
        optimizer = EaPU(optimizer, "eapu_180nm")
    number = itertools.count()

    def work() -> None:
        for _ in range(steps):
            for parameter, gradient in zip(parameters, gradients[next(number) % 7], strict=True):
                parameter.grad = gradient
            optimizer.step()

    return work
