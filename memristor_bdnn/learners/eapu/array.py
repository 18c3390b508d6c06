"""The weight matrices under a torch optimiser as one flat array of cells: who lies where, and what each holds.

A matrix that does not fit the cells' window is stored divided by a scale of its own (1 for every matrix that
fits); rules and programming work on the divided weights, "of a cell", the parameters hold the whole ones.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu.cells import PROGRAMMERS
from memristor_bdnn.learners.eapu.device import EapuDevice
from memristor_bdnn.learners.eapu.passes import Cells
from memristor_bdnn.native import kernels
from memristor_bdnn.state import check_array

Tensor = torch.Tensor
Array = npt.NDArray[Any]

_FEW = 20_000  # cells up to which copying all of them to the parameters is cheaper than looking for some
_LARGE = 200_000  # cells from which a matrix is a block of its own
_FAR_OUTSIDE = 0.25  # shares of the window that a weight must be asked beyond its edge for a warning


class WeightArray:
    """Parameters in cells. ``held`` (n,) is the weight in each cell; ``parameters`` are their owners."""

    def __init__(self, device: EapuDevice, programming: str, rng: np.random.Generator) -> None:
        """An array without cells; :meth:`add` puts parameters into it.

        Raises:
            ConfigError: unknown programming method.
        """
        if programming not in PROGRAMMERS:
            raise ConfigError(f"programming = {programming!r}: choose one of {', '.join(PROGRAMMERS)}")
        self.device = device
        self.programmer = PROGRAMMERS[programming](device, 0, rng)
        self.parameters: list[Tensor] = []
        self.scales: list[float] = []
        self.held: Array = np.empty(0, np.float32)
        self._warned = False
        self._lay_out()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("device", "programmer", "parameters", "scales", "held", "_warned")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lay_out()

    @property
    def size(self) -> int:
        """Cells of all parameters."""
        return self.held.size

    def add(self, parameters: Sequence[Tensor], deploy: bool) -> int:
        """Put parameters into new cells behind the present ones; returns the pulses that this took.

        Args:
            parameters: with as many cells as elements; a parameter given twice is taken once.
            deploy: write their weights to the cells, with error; else they are taken as already there.

        Raises:
            ConfigError: a type or value that no cell can hold, or parameters that share memory; nothing was changed.
        """
        parameters = list({id(p): p for p in parameters}.values())
        self._check(parameters)
        scales = [self._scale(p) if deploy else 1.0 for p in parameters]
        if not self.parameters and parameters:
            self.held = self.held.astype(torch.empty(0, dtype=parameters[0].dtype).numpy().dtype)
        start, pulses = self.size, self.programmer.pulses
        self.programmer.extend(sum(p.numel() for p in parameters))
        self.parameters += parameters
        self.scales += scales
        self.held = np.concatenate([self.held, np.empty(self.programmer.cells - start, self.held.dtype)])
        self.held[start:] = np.concatenate([self.held[:0], *(_flat(p) for p in parameters)])
        self._lay_out()
        if deploy:
            self._deploy(start)
        return self.programmer.pulses - pulses

    def deploy(self) -> int:
        """Choose the scales anew and write every parameter's present weights; returns the pulses that this took."""
        self._check_values(self.parameters)
        self.scales = [self._scale(p) for p in self.parameters]
        self.held[:] = np.concatenate([self.held[:0], *(_flat(p) for p in self.parameters)])
        self._lay_out()
        self._warned = False
        pulses = self.programmer.pulses
        self._deploy(0)
        return self.programmer.pulses - pulses

    def _deploy(self, start: int) -> None:
        index = np.arange(start, self.size)
        self.write(index, np.zeros(index.size, self.held.dtype))

    @torch.no_grad()
    def restore(self) -> None:
        """Give the parameters the weights that their cells hold."""
        torch._foreach_copy_(self.parameters, self._held_views)

    @torch.no_grad()
    def steps(self) -> list[tuple[int, Array, float]]:
        """How far each parameter is from its cell, in weights of a cell.

        Large matrices are overwritten by their steps, which spares the memory's time: call :meth:`restore` when these
        have been looked at, whatever happens.

        Returns:
            By blocks of cells: the first one's number, their steps (k,), the largest magnitude among these (or NaN).
        """
        return [self._step_of(members, start, end) for members, start, end in self._blocks]

    def _step_of(self, members: range, start: int, end: int) -> tuple[int, Array, float]:
        first = self.parameters[members[0]].detach()
        plain = first.is_cpu and first.is_contiguous() and first.dtype == self._flat_held.dtype
        if len(members) == 1 and end - start >= _LARGE and plain:
            delta = first.view(-1)
            delta -= self._flat_held[start:end]
            if self.scales[members[0]] != 1:
                delta /= self.scales[members[0]]
        else:
            delta = self._flat_delta[start:end]
            for i in members:
                held, part = self._held_views[i], self._delta_views[i]
                torch.sub(self.parameters[i].detach().to(held.device), held, out=part)
                if self.scales[i] != 1:
                    part /= self.scales[i]
        if end == start:
            return start, delta.numpy(), 0.0
        low, high = torch.aminmax(delta)  # both ends in one pass
        return start, delta.numpy(), max(-low.item(), high.item())

    @property
    def unscaled(self) -> bool:
        """Whether every matrix is stored as it is."""
        return self._scale_of is None

    def write(self, index: Array, change: Array) -> None:
        """Program cells (k,), ascending, to their weights plus a change (k,) of a cell; parameters follow the cells."""
        d = self.device
        packed = self.cells.packed_for(index) if self.unscaled and self.programmer.bare else None
        if packed is not None:
            index, change = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(change, np.float32)
            numbers = (d.r_wg, d.g_zero_us, d.writing_sd_us, d.loss_us)
            kernels.eapu_write(packed, index, change, self.programmer.errors(index.size), numbers)
            return
        unit = (
            d.r_wg if self._scale_of is None else d.r_wg * self._scale_of[np.searchsorted(self._ends, index, "right")]
        )
        present = self.held.take(index)
        present /= unit
        present += d.g_zero_us
        target = present + change / d.r_wg
        if self.programmer.windowed and not self._warned:
            self._warn(index, target)
        landed = self.programmer.write(index, present, target)
        weights = ((landed - d.g_zero_us) * unit).astype(self.held.dtype, copy=False)
        self.held[index] = weights
        self._hand_over(index, weights)

    @torch.no_grad()
    def _hand_over(self, index: Array, weights: Array) -> None:
        """Give the parameters the weights of the cells just written: those alone where that is less work."""
        if self.size < _FEW or index.size > self.size // 8:
            return self.restore()
        bounds = np.searchsorted(index, self._ends).tolist()
        for parameter, held, end, first, last in zip(
            self.parameters, self._held_views, self._ends.tolist(), [0, *bounds], bounds, strict=False
        ):
            if first == last:
                continue
            present = parameter.detach()
            if present.is_cpu and present.is_contiguous():
                present.view(-1).numpy()[index[first:last] - (end - held.numel())] = weights[first:last]
            else:
                present.copy_(held)
        return None

    def differs(self) -> bool:
        """Whether any parameter is not what its cell holds."""
        return not all(torch.equal(p.to(h.device), h) for p, h in zip(self.parameters, self._held_views, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What the cells are and hold, as tensors; the parameters too where something has changed them since."""
        state: dict[str, Any] = {
            "cells": {name: torch.from_numpy(np.array(value)) for name, value in self.programmer.state_dict().items()},
            "held": torch.from_numpy(self.held.copy()),
            "scales": torch.tensor(self.scales, dtype=torch.float64),
            "shapes": [list(p.shape) for p in self.parameters],
            "programming": self.programmer.name,
        }
        if self.differs():
            state["weights"] = torch.from_numpy(np.concatenate([_flat(p) for p in self.parameters]))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, the parameters included, or nothing.

        Raises:
            ConfigError: the state is of other cells, or damaged.
        """
        shapes = [list(p.shape) for p in self.parameters]
        if list(map(list, state.get("shapes", shapes))) != shapes:
            raise ConfigError(f"saved state has cells for matrices {state['shapes']}, this optimiser for {shapes}")
        programming = state.get("programming", self.programmer.name)
        if programming != self.programmer.name:
            raise ConfigError(
                f"saved state is of programming = {programming!r}, this optimiser {self.programmer.name!r}"
            )
        held, scales = _numpy(state["held"]), _numpy(state.get("scales", torch.ones(len(self.scales))))
        check_array("saved state 'held'", held, shape=self.held.shape)
        check_array("saved state 'scales'", scales, shape=(len(self.scales),), low=1e-30)
        weights = _numpy(state.get("weights", state["held"]))
        check_array("saved state 'weights'", weights, shape=self.held.shape, nan=True)
        self.programmer.load_state_dict({name: _numpy(value) for name, value in state["cells"].items()})
        self.scales = [float(scale) for scale in scales]
        self._lay_out()
        self.held[:] = weights
        self.restore()
        self.held[:] = held

    def _lay_out(self) -> None:
        """Views of the flat copies in the parameters' shapes, and the tables of where each scale applies."""
        # The flat copies are read and written as numpy arrays of the same memory: for the few cells
        # of one iteration numpy's calls are several times cheaper than torch's.
        self._flat_held = torch.from_numpy(self.held)
        self._flat_delta = torch.empty_like(self._flat_held)
        sizes = [p.numel() for p in self.parameters]
        self._held_views, self._delta_views = (
            [part.view(p.shape) for part, p in zip(flat.split(sizes), self.parameters, strict=True)]
            for flat in (self._flat_held, self._flat_delta)
        )
        self._ends = np.cumsum(sizes)
        self._blocks = _blocks(sizes)
        scaled = any(scale != 1 for scale in self.scales)
        self._scale_of = np.array(self.scales, self.held.dtype) if scaled else None
        self.cells = Cells(self.parameters, self._flat_held)

    def _scale(self, parameter: Tensor) -> float:
        """What a matrix is divided by to fit the window: 1 where it fits, or where there is no window."""
        if not self.programmer.windowed or not parameter.numel():
            return 1.0
        low, high = (self._weight(g) for g in (self.device.g_min_us, self.device.g_max_us))
        least, most = (v.item() for v in torch.aminmax(parameter.detach()))
        if least < 0 <= low:
            raise ConfigError(
                f"a weight of {least:g} needs a cell below the reference column g_zero_us = {self.device.g_zero_us:g},"
                f" but g_min_us = {self.device.g_min_us:g}: no negative weight can be stored"
            )
        return max(1.0, most / high, least / low if low < 0 else 0.0)

    def _weight(self, conductance_us: float) -> float:
        return (conductance_us - self.device.g_zero_us) * self.device.r_wg

    def _warn(self, index: Array, target_us: Array) -> None:
        low, high = self.device.g_min_us, self.device.g_max_us
        margin = _FAR_OUTSIDE * (high - low)
        outside = ((target_us < low - margin) | (target_us > high + margin)).nonzero()[0]
        if outside.size:
            self._warned = True
            layer = int(np.searchsorted(self._ends, index[outside[0]], "right"))
            warnings.warn(
                f"{outside.size} cells are asked for conductances far outside {low:g} to {high:g} uS (the first,"
                f" {target_us[outside[0]]:.4g} uS, in the matrix of shape {tuple(self.parameters[layer].shape)}) and"
                " stay at the edge; deploy() writes all weights again, with scales that fit",
                stacklevel=8,
            )

    def _check(self, parameters: Sequence[Tensor]) -> None:
        every = [*self.parameters, *parameters]
        if len({(p.dtype, p.device) for p in every}) > 1:
            raise ConfigError(
                "parameters in cells must share one dtype and one torch device, not"
                f" {', '.join(sorted({f'{p.dtype} on {p.device}' for p in every}))}"
            )
        if every and every[0].dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"parameters in cells are {every[0].dtype}: use float32 or float64")
        spans = sorted((p.data_ptr(), p.numel() * p.element_size()) for p in every if p.numel() and p.is_contiguous())
        if any(start + length > after for (start, length), (after, _) in itertools.pairwise(spans)):
            raise ConfigError("two parameters in cells share memory: one weight cannot be in two cells")
        self._check_values(parameters)

    def _check_values(self, parameters: Sequence[Tensor]) -> None:
        for p in parameters:
            if not math.isfinite(p.detach().sum().item()) and not torch.isfinite(p).all():
                raise ConfigError(f"the parameter of shape {tuple(p.shape)} holds NaN or infinity: no cell can")


def _blocks(sizes: Sequence[int]) -> list[tuple[range, int, int]]:
    """Runs of matrices to look at together, a large one alone: which, and their first and last cell (excluded)."""
    blocks: list[tuple[range, int, int]] = []
    start = 0
    for i, size in enumerate(sizes):
        last = blocks[-1] if blocks else (range(0), 0, 0)
        if size < _LARGE and blocks and last[2] - last[1] < _LARGE:
            blocks[-1] = (range(last[0].start, i + 1), last[1], start + size)
        else:
            blocks.append((range(i, i + 1), start, start + size))
        start += size
    return blocks


def _flat(parameter: Tensor) -> Array:
    return np.asarray(parameter.detach().cpu().reshape(-1).numpy())


def _numpy(value: Any) -> Array:
    return np.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
