"""What an EaPU step does to a million weights, in one compiled pass each: Adam with the choice of cells, the writing.

Such weights lie beyond the first caches, so that what a step costs is how often it goes over them. Where a pass does
not apply (no compiled kernels, other types, matrices with a scale, another optimiser) the callers take the ordinary
way, which is torch's and NumPy's. Choice and writing give the same numbers either way; Adam is rounded otherwise than
torch's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.optim import optimizer as _every

from memristor_bdnn.learners.eapu import inner
from memristor_bdnn.native import kernels

Tensor = torch.Tensor
Array = npt.NDArray[Any]

# Segment of native/kernels.h: p, g, m, v, held, steps; n; lr, beta1, beta2, eps, decay; decoupled
_SEGMENT = struct.Struct("@6Pq5dq")
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_FLOAT32, _STRIDED = torch.float32, torch.strided
_NO_GRADIENT = (0, 0, 0, 0), (0.0, 0.0, 0.0, 0.0, 0.0, 0)

Fields = tuple[int, tuple[int, ...], tuple[Any, ...]]
"""A parameter's address, those of its gradient, moments and counter, and the numbers of its step."""


class Cells:
    """The parameters in cells for the passes, and the memory that their answers take."""

    def __init__(self, parameters: Sequence[Tensor], held: Tensor) -> None:
        """
        Args:
            parameters: in cells one behind the other.
            held: (n,) what these hold.
        """
        self.parameters, self.held = parameters, held
        self._sizes = [p.numel() for p in parameters]
        self._index: Array = np.empty(0, np.int64)
        self._change: Array = np.empty(0, np.float32)
        self._chosen: tuple[Array, bytes] | None = None

    def packed(self, fields: dict[int, Fields] | None = None) -> bytes | None:
        """The parameters as a pass wants them, or None if it cannot have them.

        Args:
            fields: by a parameter's identity, what its optimiser's step takes; the others have no gradient.
        """
        held = None if kernels is None else _address(self.held, sum(self._sizes))
        if held is None:
            return None
        parts = []
        for p, size in zip(self.parameters, self._sizes, strict=True):
            own = fields.get(id(p)) if fields else None
            if own is None:
                address = _address(p, size)
                if address is None:
                    return None
                own = address, *_NO_GRADIENT
            elif p.numel() != size:
                return None
            parts.append(_pack(own, held, size))
            held += 4 * size
        return b"".join(parts)

    def choose(self, cells: bytes, others: bytes, threshold: float, key: int) -> tuple[Array, Array] | None:
        """Take the steps and choose; parameters in cells keep what their cells hold. None: a step is not finite."""
        if self._index.size != self.held.numel():
            self._index, self._change = np.empty(self.held.numel(), np.int64), np.empty(self.held.numel(), np.float32)
        count = kernels.eapu_step(cells, others, threshold, key, self._index, self._change)
        if count < 0:
            return None
        index = self._index[:count]
        self._chosen = index, cells
        return index, self._change[:count]

    def packed_for(self, index: Array) -> bytes | None:
        """:meth:`packed` for cells to write: what their choice was given, where they are the last choice's."""
        chosen, self._chosen = self._chosen, None
        return chosen[1] if chosen is not None and chosen[0] is index else self.packed()


def adam(optimizer: torch.optim.Optimizer, cells: Cells) -> tuple[bytes, bytes] | None:
    """A step of Adam or AdamW as a pass wants it: the parameters in cells, and the others.

    Returns:
        None where the optimiser has to take the step itself: it is another one, has options or hooks that the pass does
        not know, has no moments yet, or a tensor does not lie in order in the CPU's memory.
    """
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks or "step" in vars(optimizer)
    if kernels is None or hooked or _hooked_everywhere():
        return None
    fields: dict[int, Fields] = {}
    others = []
    inside = {id(p) for p in cells.parameters}
    for group in optimizer.param_groups:
        if not _takes(optimizer, group):
            return None
        decoupled = int(isinstance(optimizer, torch.optim.AdamW) or group.get("decoupled_weight_decay", False))
        numbers = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], decoupled)
        for p in group["params"]:
            gradient = p.grad
            if gradient is None:
                continue
            n = p.numel()
            address, addresses = _address(p, n), _moments(gradient, optimizer.state.get(p), n)
            if address is None or addresses is None:
                return None
            fields[id(p)] = own = address, addresses, numbers
            if id(p) not in inside:
                others.append(_pack(own, 0, n))
    packed = cells.packed(fields)
    return None if packed is None else (packed, b"".join(others))


def _moments(gradient: Tensor, state: dict[str, Any] | None, n: int) -> tuple[int, ...] | None:
    """Where gradient, moments and counter of a parameter of n weights lie, or None if Adam keeps something else."""
    if not state or len(state) != 3:
        return None
    mean, power, steps = state.get("exp_avg"), state.get("exp_avg_sq"), state.get("step")
    addresses = _address(gradient, n), _address(mean, n), _address(power, n), _address(steps, 1)
    return None if None in addresses else addresses  # type: ignore[return-value]


def _takes(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether the pass knows all options of a group, and the caller chose no implementation."""
    if not inner.unchosen(optimizer, group) or group["amsgrad"] or group["maximize"]:
        return False
    return not any(isinstance(beta, Tensor) for beta in group["betas"])


def _pack(own: Fields, held: int, size: int) -> bytes:
    p, (g, m, v, steps), numbers = own
    return _SEGMENT.pack(p, g, m, v, held, steps, size, *numbers)


def finite(cells: bytes, others: bytes) -> bool:
    """Whether every gradient is."""
    return bool(kernels.eapu_finite(cells) and kernels.eapu_finite(others))


def _hooked_everywhere() -> bool:
    return bool(_every._global_optimizer_pre_hooks or _every._global_optimizer_post_hooks)


def _address(tensor: Any, size: int) -> int | None:
    """Where a float32 tensor of so many numbers lies, in order, in the CPU's memory; None of any other."""
    if type(tensor) not in _TENSORS and not isinstance(tensor, Tensor):
        return None
    if tensor.dtype is not _FLOAT32 or tensor.layout is not _STRIDED or not tensor.is_cpu:
        return None
    return tensor.data_ptr() if tensor.numel() == size and tensor.is_contiguous() else None
