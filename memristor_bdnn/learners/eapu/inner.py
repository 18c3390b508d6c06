"""The wrapped optimiser's own step: refused before it harms anything, and on torch's fastest path."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from memristor_bdnn.errors import ConfigError

Tensor = torch.Tensor
_FUSED = (torch.optim.Adam, torch.optim.AdamW)


def check_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Refuse gradients that are not finite.

    Raises:
        ConfigError: names the group and the parameter's shape; nothing was changed.
    """
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            values = gradient.detach()
            if values.is_sparse:
                values = values._values()
            # A sum costs one pass and is finite for almost every finite gradient: only else look at each.
            total = values.sum().item()
            if isinstance(total, complex) or math.isfinite(total) or bool(torch.isfinite(values).all()):
                continue
            bad = int((~torch.isfinite(values)).sum())
            raise ConfigError(
                f"the gradient of the parameter of shape {tuple(parameter.shape)} in group {number} holds NaN or"
                f" infinity in {bad} of {values.numel()} places; nothing was changed: lower the learning rate, clip the"
                " gradients, or skip the step (torch.amp.GradScaler does)"
            )


def step(optimizer: torch.optim.Optimizer, closure: Callable[[], Any] | None) -> Any:
    """One step of an optimiser; returns what that returns.

    Adam and AdamW run torch's fused implementation, three times as fast on one core, where the caller chose none
    (``fused`` and ``foreach`` None, as by default); the same step but for rounding.

    Raises:
        ConfigError: a gradient is not finite; without a closure, or at its first evaluation, nothing was changed.
    """
    if closure is not None:
        return optimizer.step(_guarded(optimizer, closure))
    check_gradients(optimizer)
    groups = [group for group in optimizer.param_groups if _can_fuse(optimizer, group)]
    for group in groups:
        group["fused"] = True
    try:
        return optimizer.step()
    finally:
        for group in groups:
            group["fused"] = None


def _guarded(optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
    def evaluate() -> Any:
        loss = closure()
        check_gradients(optimizer)
        return loss

    return evaluate


def unchosen(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether a group is Adam's or AdamW's, and the caller chose no implementation of the step, nor what needs one."""
    if type(optimizer) not in _FUSED or group.get("fused", 0) is not None or group.get("foreach", 0) is not None:
        return False
    return not (group["capturable"] or group["differentiable"] or isinstance(group["lr"], Tensor))


def _can_fuse(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    plain = torch.get_default_dtype() == torch.float32 and unchosen(optimizer, group)
    return plain and all(_plain(p) and _plain(p.grad) for p in group["params"])


def _plain(tensor: Tensor | None) -> bool:
    """What torch's fused kernels read as it lies in memory: on the CPU, dense, in order."""
    if tensor is None:
        return True
    plain = tensor.layout == torch.strided and tensor.is_contiguous() and tensor.is_cpu
    return plain and tensor.dtype in (torch.float32, torch.float64) and tensor.numel() > 0
