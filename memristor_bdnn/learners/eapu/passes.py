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

from memristor_bdnn.learners.eapu import inner
from memristor_bdnn.native import kernels

Tensor = torch.Tensor
Array = npt.NDArray[Any]

# Segment of native/kernels.h: p, g, m, v, held, steps; n; lr, beta1, beta2, eps, decay; decoupled
_SEGMENT = struct.Struct("@6Pq5dq")
_SIZES = {"exp_avg": 0, "exp_avg_sq": 0, "step": 1}
"""Numbers in what Adam keeps of a parameter; 0: as many as that has."""
_NO_GRADIENT = (0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


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

    def packed(self, fields: dict[int, tuple[Any, ...]] | None = None) -> bytes | None:
        """The parameters as a pass wants them, or None if it cannot have them.

        Args:
            fields: by a parameter's identity, what its optimiser's step takes; the others have no gradient.
        """
        if kernels is None or not _plain(self.held, sum(self._sizes)):
            return None
        parts, held = [], self.held.data_ptr()
        for p, size in zip(self.parameters, self._sizes, strict=True):
            if not _plain(p, size):
                return None
            parts.append(_pack(p, held, (fields or {}).get(id(p), _NO_GRADIENT)))
            held += 4 * size
        return b"".join(parts)

    def choose(self, cells: bytes, others: bytes, threshold: float, key: int) -> tuple[Array, Array] | None:
        """Take the steps and choose; parameters in cells keep what their cells hold. None: a step is not finite."""
        if self._index.size != self.held.numel():
            self._index, self._change = np.empty(self.held.numel(), np.int64), np.empty(self.held.numel(), np.float32)
        count = kernels.eapu_step(cells, others, threshold, key, self._index, self._change)
        return None if count < 0 else (self._index[:count], self._change[:count])


def adam(optimizer: torch.optim.Optimizer, cells: Cells) -> tuple[bytes, bytes] | None:
    """A step of Adam or AdamW as a pass wants it: the parameters in cells, and the others.

    Returns:
        None where the optimiser has to take the step itself: it is another one, has options or hooks that the pass does
        not know, has no moments yet, or a tensor does not lie in order in the CPU's memory.
    """
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks or "step" in vars(optimizer)
    if kernels is None or hooked or _hooked_everywhere():
        return None
    fields: dict[int, tuple[Any, ...]] = {}
    others = []
    inside = {id(p) for p in cells.parameters}
    for group in optimizer.param_groups:
        if not _takes(optimizer, group):
            return None
        decoupled = int(isinstance(optimizer, torch.optim.AdamW) or group.get("decoupled_weight_decay", False))
        numbers = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], decoupled)
        for p in group["params"]:
            if p.grad is None:
                continue
            state, n = optimizer.state.get(p), p.numel()
            if not state or state.keys() != _SIZES.keys() or not (_plain(p, n) and _plain(p.grad, n)):
                return None
            if not all(_plain(state[name], size or n) for name, size in _SIZES.items()):
                return None
            moments = (state[name].data_ptr() for name in _SIZES)
            fields[id(p)] = own = (p.grad.data_ptr(), *moments, *numbers)
            if id(p) not in inside:
                others.append(_pack(p, 0, own))
    packed = cells.packed(fields)
    return None if packed is None else (packed, b"".join(others))


def _takes(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether the pass knows all options of a group, and the caller chose no implementation."""
    if not inner.unchosen(optimizer, group) or group["amsgrad"] or group["maximize"]:
        return False
    return not any(isinstance(beta, Tensor) for beta in group["betas"])


def _pack(p: Tensor, held: int, fields: tuple[Any, ...]) -> bytes:
    g, m, v, steps, *numbers = fields
    return _SEGMENT.pack(p.data_ptr(), g, m, v, held, steps, p.numel(), *numbers)


def finite(cells: bytes, others: bytes) -> bool:
    """Whether every gradient is."""
    return bool(kernels.eapu_finite(cells) and kernels.eapu_finite(others))


def _hooked_everywhere() -> bool:
    from torch.optim import optimizer

    return bool(optimizer._global_optimizer_pre_hooks or optimizer._global_optimizer_post_hooks)


def _plain(tensor: Any, size: int) -> bool:
    """A float32 tensor of so many numbers that lies in order in the CPU's memory."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.layout != torch.strided:
        return False
    return tensor.is_cpu and tensor.numel() == size and tensor.is_contiguous()
