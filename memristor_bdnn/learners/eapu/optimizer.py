"""EaPU: any torch optimiser on memristors whose writing error is larger than its steps.

Usable alone, in a training script that knows nothing else of this package::

    optimizer = EaPU(torch.optim.AdamW(model.parameters(), lr=1e-3), device="eapu_180nm")
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu import inner, passes, rule
from memristor_bdnn.learners.eapu.array import WeightArray
from memristor_bdnn.learners.eapu.cells import Programmer
from memristor_bdnn.learners.eapu.device import EapuDevice, as_device
from memristor_bdnn.learners.eapu.rule import probabilistic_update
from memristor_bdnn.state import check_array

Tensor = torch.Tensor
Array = npt.NDArray[Any]

NOT_FINITE = "a step is not finite (learning rate, or a parameter set to NaN); no cell was written"


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
        device: EapuDevice | Mapping[str, Any] | str | Path | DevicePreset = "eapu_180nm",
        *,
        parameters: Iterable[Tensor] | None = None,
        programming: str = "gaussian",
        seed: int = 0,
        deploy: bool = True,
    ) -> None:
        """Wrap an optimiser and write the present weights to cells.

        Args:
            optimizer: any torch optimiser.
            device: an :class:`EapuDevice`, its options, a device preset, its name or its YAML file.
            parameters: which parameters are in cells; default every one with two or more dimensions
                (weight matrices and kernels, not biases).
            programming: gaussian, write-verify, two-pulse, sign-based or memorial.
            seed: of the cells' spread, the writing error and the update choice.
            deploy: write the initial weights to the cells now; False takes them as already there.

        Raises:
            ConfigError: no parameter to put into cells, mixed types, shared memory, a weight that is not finite,
                or an unknown programming method.
        """
        if not isinstance(optimizer, torch.optim.Optimizer) or isinstance(optimizer, DeviceOptimizer):
            raise ConfigError(f"optimizer = {type(optimizer).__name__}: expected a torch optimiser not yet on devices")
        owned = [p for group in optimizer.param_groups for p in group["params"]]
        chosen = [p for p in owned if p.ndim >= 2] if parameters is None else list(parameters)
        if not chosen:
            raise ConfigError("no parameter with two or more dimensions to put into cells; name some in `parameters`")
        if any(all(p is not q for q in owned) for p in chosen):
            raise ConfigError("`parameters` names a tensor that the wrapped optimiser does not train")
        self.optimizer = optimizer
        super().__setstate__({"defaults": optimizer.defaults})  # groups and state are the wrapped optimiser's
        self.device = as_device(device)
        self.rng = np.random.default_rng(seed)
        self.deploys = deploy
        self.array = WeightArray(self.device, programming, self.rng)
        self.iterations, self.updates, self._cell_steps = 0, 0, 0
        self._groups = len(optimizer.param_groups)
        self.deploy_pulses = self.array.add(chosen, deploy)

    _KEPT = ("optimizer", "defaults", "device", "rng", "deploys", "array", "iterations", "updates", "_cell_steps")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the hooks, as torch has it."""
        return {name: self.__dict__[name] for name in (*self._KEPT, "_groups", "deploy_pulses")}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The wrapped optimiser's parameter groups."""
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.optimizer.param_groups = groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The wrapped optimiser's state, by parameter."""
        return self.optimizer.state

    @state.setter
    def state(self, state: Any) -> None:
        self.optimizer.state = state

    @property
    def programmer(self) -> Programmer:
        """What writes the cells, with its pulse counter."""
        return self.array.programmer

    @property
    def n_cells(self) -> int:
        """Trainable cells under this optimiser."""
        return self.array.size

    @property
    def r_up(self) -> float:
        """R_up: share of the cells updated per iteration, mean over the iterations so far."""
        return self.updates / max(self._cell_steps, 1)

    @property
    def n_up(self) -> float:
        """N_up: programming pulses per cell and iteration, deployments not counted."""
        return (self.programmer.pulses - self.deploy_pulses) / max(self._cell_steps, 1)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give the wrapped optimiser another group; its matrices (two or more dimensions) go to cells.

        Raises:
            ConfigError: as at construction; the group was not added.
        """
        self._adopt()
        self.optimizer.add_param_group(param_group)
        try:
            self._adopt()
        except BaseException:
            self.param_groups.pop()
            raise

    def _adopt(self) -> None:
        """Put the matrices of groups that came since (to the wrapped optimiser, perhaps) into cells."""
        new = [p for group in self.param_groups[self._groups :] for p in group["params"] if p.ndim >= 2]
        if new:
            self.deploy_pulses += self.array.add(new, self.deploys)
        self._groups = len(self.param_groups)

    def deploy(self) -> None:
        """Write every parameter's present weight to its cell again, each matrix with a scale that fits the window."""
        self.deploy_pulses += self.array.deploy()

    @torch._disable_dynamo
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One optimiser step, of which the cells receive what :meth:`choose` selects.

        ``closure`` is handed to the wrapped optimiser. Returns what that returns. Under ``torch.compile`` the step
        runs as it is.

        Raises:
            ConfigError: a gradient is not finite (nothing was changed), or a step is not (no cell was written).
        """
        if len(self.param_groups) != self._groups:
            self._adopt()
        loss, index, update = self._advance(closure)
        if index.size:
            self.array.write(index, update)
        self.iterations += 1
        self.updates += index.size
        self._cell_steps += self.n_cells
        return loss

    def _advance(self, closure: Callable[[], Any] | None) -> tuple[Any, Array, Array]:
        """The wrapped optimiser's step: what that returns, and what is to be written (cells and changes)."""
        loss = inner.step(self.optimizer, closure)
        return loss, *self._choice()

    def _choice(self) -> tuple[Array, Array]:
        """What :meth:`choose` selects of all cells; the parameters get back what the cells hold."""
        return self._of_blocks(lambda start, delta, largest: _moved(start, *self.choose(delta, largest)))

    def _of_blocks(self, choose: Callable[[int, Array, float], tuple[Array, Array]]) -> tuple[Array, Array]:
        """What a rule (first cell, steps, largest magnitude) selects of all cells, block by block."""
        try:
            blocks = self.array.steps()
            if not all(largest < float("inf") for _, _, largest in blocks):
                raise ConfigError(NOT_FINITE)
            chosen = [choose(*block) for block in blocks]
        finally:
            self.array.restore()
        if len(chosen) == 1:
            return chosen[0]
        return np.concatenate([index for index, _ in chosen]), np.concatenate([change for _, change in chosen])

    def choose(self, delta: Array, largest: float | None = None) -> tuple[Array, Array]:
        """Which cells to write and by how much, from the full step (n,): indices and changes (k,).

        ``largest`` is the largest magnitude in ``delta``, if it is known already.
        """
        index = delta.nonzero()[0]
        return index, delta[index]

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """The wrapped optimiser's ``state`` and ``param_groups``, and what the cells are and hold.

        A copy, which later steps leave alone: moments and cells must be of the same moment.
        """
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        state = {
            **copy.deepcopy(self.optimizer.state_dict()),
            **self.array.state_dict(),
            "counters": [self.iterations, self.updates, self.deploy_pulses, self._cell_steps],
        }
        for after in self._optimizer_state_dict_post_hooks.values():
            changed = after(self, state)
            state = state if changed is None else changed
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restore :meth:`state_dict`, and the parameters in cells with it: training goes on identically.

        The other parameters (biases) come back with the model's own state, loaded before or after this.

        Raises:
            ConfigError: a part is missing, or of other cells; nothing was changed.
        """
        state = dict(state_dict)
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, state)
            state = state if changed is None else dict(changed)
        if "optimizer" in state:  # as saved by earlier versions
            state |= state["optimizer"]
        missing = [key for key in ("state", "param_groups", "cells", "held", "counters") if key not in state]
        if missing:
            raise ConfigError(
                f"no saved state of {type(self).__name__}: {', '.join(missing)} missing"
                " (a plain optimiser's state is for `.optimizer.load_state_dict`)"
            )
        counters = list(state["counters"])
        if len(counters) == 3:  # as saved by earlier versions
            counters.append(counters[0] * self.n_cells)
        check_array("saved state 'counters'", counters, kinds="i", shape=(4,), low=0)
        before_cells = self.array.state_dict()
        self.array.load_state_dict(state)
        try:
            self.optimizer.load_state_dict(copy.deepcopy({key: state[key] for key in ("state", "param_groups")}))
        except Exception:
            self.array.load_state_dict(before_cells)
            raise
        self.iterations, self.updates, self.deploy_pulses, self._cell_steps = (int(n) for n in counters)
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)


class EaPU(DeviceOptimizer):
    """Error-aware probabilistic update around any torch optimiser.

    With the threshold T = SD_eps R_wg, a step d of a cell is written as it is where |d| >= T;
    below, sign(d) T is written with probability |d| / T and nothing otherwise, so that the
    expected change is d. Few cells are written, and none by less than its writing error.

    Source: EaPU paper, update rule and authors' code.
    """

    def choose(self, delta: Array, largest: float | None = None) -> tuple[Array, Array]:
        """Indices (k,) and changes (k,), in expectation the full step (n,)."""
        return probabilistic_update(delta, self.device.threshold, self.rng, largest)

    def _advance(self, closure: Callable[[], Any] | None) -> tuple[Any, Array, Array]:
        passable = closure is None and self._many() and self.array.unscaled
        parts = passes.adam(self.optimizer, self.array.cells) if passable else None
        if parts is None:
            return super()._advance(closure)
        if not passes.finite(*parts):
            inner.check_gradients(self.optimizer)
        return None, *self._pass(*parts)

    def _choice(self) -> tuple[Array, Array]:
        if not self._many():
            return super()._choice()
        packed = self.array.cells.packed() if self.array.unscaled else None
        if packed is not None:
            return self._pass(packed, b"")
        key, threshold = rule.new_key(self.rng), self.device.threshold
        return self._of_blocks(lambda start, delta, largest: rule.choose(delta, threshold, key, start, largest))

    def _pass(self, cells: bytes, others: bytes) -> tuple[Array, Array]:
        """Steps and choice in one compiled pass."""
        chosen = self.array.cells.choose(cells, others, self.device.threshold, rule.new_key(self.rng))
        if chosen is None:
            raise ConfigError(NOT_FINITE)
        return chosen

    def _many(self) -> bool:
        """Whether all cells are chosen from at once, by :func:`memristor_bdnn.learners.eapu.rule.choose`."""
        own = type(self).choose is EaPU.choose
        return own and self.device.threshold > 0 and self.array.size >= rule.MANY


class SignUpdate(DeviceOptimizer):
    """The sign-based baseline: one pulse of fixed strength for every cell with a gradient."""

    def choose(self, delta: Array, largest: float | None = None) -> tuple[Array, Array]:
        """Every cell with a non-zero step; the change is its sign times one tolerance."""
        index = delta.nonzero()[0]
        return index, np.sign(delta[index]) * self.device.tolerance_us * self.device.r_wg


def _moved(start: int, index: Array, change: Array) -> tuple[Array, Array]:
    return start + index, change
