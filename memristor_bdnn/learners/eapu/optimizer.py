"""EaPU: any torch optimiser on memristors whose writing error is larger than its steps.

Usable alone, in a training script that knows nothing else of this package::

    optimizer = EaPU(torch.optim.AdamW(model.parameters(), lr=1e-3), device="eapu_180nm")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu.cells import PROGRAMMERS, EapuDevice, as_device
from memristor_bdnn.learners.eapu.rule import probabilistic_update
from memristor_bdnn.state import check_array

Tensor = torch.Tensor
Array = npt.NDArray[Any]


class DeviceOptimizer(torch.optim.Optimizer):
    """A torch optimiser whose weight matrices live in memristors: every step is written, with error.

    This base class writes every non-zero step (the baseline of the EaPU paper); :class:`EaPU` and
    :class:`SignUpdate` choose otherwise. The wrapped optimiser's moments see raw gradients.
    Parameter groups are shared with the wrapped optimiser, so learning-rate schedulers work.
    The cells are the truth: whatever changes a parameter between two steps (clipping, averaging)
    is a wanted change like the optimiser's own, and reaches the cell by the same rule.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        device: EapuDevice | Mapping[str, Any] | str | Any = "eapu_180nm",
        *,
        parameters: Iterable[Tensor] | None = None,
        programming: str = "gaussian",
        seed: int = 0,
        deploy: bool = True,
    ) -> None:
        """Wrap an optimiser and write the present weights to cells.

        Args:
            optimizer: any torch optimiser.
            device: an :class:`EapuDevice`, its options, a device preset or a preset's name.
            parameters: which parameters are in cells; default every one with two or more dimensions
                (weight matrices and kernels, not biases).
            programming: gaussian, write-verify, two-pulse, sign-based or memorial.
            seed: of the cells' spread, the writing error and the update choice.
            deploy: write the initial weights to the cells now; False takes them as already there.

        Raises:
            ConfigError: no parameter to put into cells, mixed types, or an unknown programming method.
        """
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self._share()
        self.device = as_device(device)
        owned = [p for group in optimizer.param_groups for p in group["params"]]
        self._cells = [p for p in owned if p.ndim >= 2] if parameters is None else list(parameters)
        self._check(owned)
        if programming not in PROGRAMMERS:
            raise ConfigError(f"programming = {programming!r}: choose one of {', '.join(PROGRAMMERS)}")
        n = sum(p.numel() for p in self._cells)
        self.rng = np.random.default_rng(seed)
        self.programmer = PROGRAMMERS[programming](self.device, n, self.rng)
        self.iterations, self.updates = 0, 0
        # The flat copies are read and written as numpy arrays of the same memory: for the few cells
        # of one iteration numpy's calls are several times cheaper than torch's.
        held, delta = (torch.empty(n, dtype=self._cells[0].dtype) for _ in range(2))
        self._held_views, self._delta_views = self._views(held), self._views(delta)
        self._held, self._delta = held.numpy(), delta.numpy()
        with torch.no_grad():
            torch._foreach_copy_(self._held_views, self._cells)
        if deploy:
            self._deploy()
        self.deploy_pulses = self.programmer.pulses

    def _check(self, owned: list[Tensor]) -> None:
        if not self._cells:
            raise ConfigError("no parameter with two or more dimensions to put into cells; name some in `parameters`")
        if any(all(p is not q for q in owned) for p in self._cells):
            raise ConfigError("`parameters` names a tensor that the wrapped optimiser does not train")
        if len({(p.dtype, p.device) for p in self._cells}) > 1:
            raise ConfigError("parameters in cells must share one dtype and one torch device")
        if self._cells[0].dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"parameters in cells are {self._cells[0].dtype}: use float32 or float64")

    def _share(self) -> None:
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    def _views(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self._cells])
        return [part.view(p.shape) for part, p in zip(parts, self._cells, strict=True)]

    @torch.no_grad()
    def _deploy(self) -> None:
        self._write(np.arange(self.n_cells), np.zeros_like(self._held))
        torch._foreach_copy_(self._cells, self._held_views)

    def _write(self, index: Array, change: Array) -> None:
        """Program cells (k,) to their weights plus a change, and keep what they hold afterwards."""
        d = self.device
        present = self._held.take(index)
        present /= d.r_wg
        present += d.g_zero_us
        landed = self.programmer.write(index, present, present + change / d.r_wg)
        self._held[index] = (landed - d.g_zero_us) * d.r_wg

    @property
    def n_cells(self) -> int:
        """Trainable cells under this optimiser."""
        return self._held.size

    @property
    def r_up(self) -> float:
        """R_up: share of the cells updated per iteration, mean over the iterations so far."""
        return self.updates / max(self.n_cells * self.iterations, 1)

    @property
    def n_up(self) -> float:
        """N_up: programming pulses per cell and iteration, the first deployment not counted."""
        return (self.programmer.pulses - self.deploy_pulses) / max(self.n_cells * self.iterations, 1)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One optimiser step, of which the cells receive what :meth:`choose` selects.

        ``closure`` is handed to the wrapped optimiser. Returns what that returns.
        """
        loss = self.optimizer.step(closure)
        for parameter, held, delta in zip(self._cells, self._held_views, self._delta_views, strict=True):
            torch.sub(parameter.detach().to(held.device), held, out=delta)
        index, update = self.choose(self._delta)
        if index.size:
            self._write(index, update)
        torch._foreach_copy_(self._cells, self._held_views)
        self.iterations += 1
        self.updates += index.size
        return loss

    def choose(self, delta: Array) -> tuple[Array, Array]:
        """Which cells to write and by how much, from the full step (n,): indices and changes (k,)."""
        index = delta.nonzero()[0]
        return index, delta[index]

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """The wrapped optimiser's state and the cells'; the parameters are in the model's own state."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "cells": {name: torch.from_numpy(value.copy()) for name, value in self.programmer.state_dict().items()},
            "held": torch.from_numpy(self._held.copy()),
            "counters": [self.iterations, self.updates, self.deploy_pulses],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restore :meth:`state_dict`; with the model's weights restored, training goes on identically.

        Raises:
            ConfigError: a part is missing, or of other cells; nothing was changed.
        """
        missing = [key for key in ("optimizer", "cells", "held", "counters") if key not in state_dict]
        if missing:
            raise ConfigError(f"no saved state of {type(self).__name__}: {', '.join(missing)} missing")
        held = state_dict["held"].numpy()
        check_array("saved state 'held'", held, shape=self._held.shape)
        check_array("saved state 'counters'", state_dict["counters"], kinds="i", shape=(3,), low=0)
        before = {name: np.array(value) for name, value in self.programmer.state_dict().items()}
        self.programmer.load_state_dict({name: value.numpy() for name, value in state_dict["cells"].items()})
        try:
            self.optimizer.load_state_dict(dict(state_dict["optimizer"]))
        except Exception:
            self.programmer.load_state_dict(before)
            raise
        self._share()
        self._held[:] = held
        self.iterations, self.updates, self.deploy_pulses = state_dict["counters"]


class EaPU(DeviceOptimizer):
    """Error-aware probabilistic update around any torch optimiser.

    With the threshold T = SD_eps R_wg, a step d of a cell is written as it is where |d| >= T;
    below, sign(d) T is written with probability |d| / T and nothing otherwise, so that the
    expected change is d. Few cells are written, and none by less than its writing error.

    Source: EaPU paper, update rule and authors' code.
    """

    def choose(self, delta: Array) -> tuple[Array, Array]:
        """Indices (k,) and changes (k,), in expectation the full step (n,)."""
        # torch finds both ends in one pass, on all cores
        low, high = torch.aminmax(torch.from_numpy(delta))
        return probabilistic_update(delta, self.device.threshold, self.rng, max(-low.item(), high.item()))


class SignUpdate(DeviceOptimizer):
    """The sign-based baseline: one pulse of fixed strength for every cell with a gradient."""

    def choose(self, delta: Array) -> tuple[Array, Array]:
        """Every cell with a non-zero step; the change is its sign times one tolerance."""
        index = delta.nonzero()[0]
        return index, np.sign(delta[index]) * self.device.tolerance_us * self.device.r_wg
