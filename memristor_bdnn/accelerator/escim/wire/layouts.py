"""Payloads of the write-verify commands, both dialects: MAP_ARRAY, MAP_FLOW, SET/RESET_TARGET.

The dataclasses hold the integers of the wire, so that parsing and packing are exact inverses; the
class methods and functions take physical units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.wire.commands import Command, Dialect, Request, word_values, words
from memristor_bdnn.accelerator.escim.wire.scaling import (
    check_block,
    current_code,
    current_codes,
    volt_code,
    width_units,
)
from memristor_bdnn.errors import ConfigError

Volts = tuple[float, float, float]
"""A voltage ladder in volt: start, step, end."""
Currents = Sequence[float] | npt.NDArray[np.floating[Any]]


class LayoutError(ConfigError):
    """A payload has not the length its command needs."""


@dataclass(frozen=True)
class Ladder:
    """A voltage ladder as codes: start, step, end."""

    start: int
    step: int
    end: int

    @classmethod
    def volts(cls, ladder: Volts) -> Ladder:
        """From volts."""
        return cls(*(volt_code(v) for v in ladder))

    def words(self) -> list[int]:
        """Three words."""
        return [self.start, self.step, self.end]


@dataclass(frozen=True)
class Block:
    """A rectangle of cells; ``chip`` None is the layout of dialect P, which has no chip field."""

    chip: int | None
    bl: int
    n_bl: int
    sl: int
    n_sl: int

    def __post_init__(self) -> None:
        check_block(1 if self.chip is None else self.chip, self.bl, self.n_bl, self.sl, self.n_sl)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.n_bl * self.n_sl

    def words(self) -> list[int]:
        """The block's words, the chip first where the dialect has it."""
        chip = [] if self.chip is None else [self.chip]
        return [*chip, self.bl, self.n_bl, self.sl, self.n_sl]

    @classmethod
    def parse(cls, values: Sequence[int], with_chip: bool) -> Block:
        """From its words. Raises ConfigError for a block the board does not have."""
        return cls(*values) if with_chip else cls(None, *values)


def target_codes(targets_ua: Currents) -> tuple[int, ...]:
    """Target currents in microampere, BL-major, as codes at feedback 3."""
    return tuple(current_codes(np.asarray(targets_ua, dtype=np.float64).reshape(-1)).tolist())


def _split(payload: bytes, head: int, block_at: int, with_chip: bool) -> tuple[list[int], Block, tuple[int, ...]]:
    """Head words, block and targets of a payload; surplus targets are kept."""
    if len(payload) % 4 or len(payload) < 4 * head:
        raise LayoutError(f"payload of {len(payload)} bytes: expected at least {head} words")
    values = word_values(payload).tolist()
    block = Block.parse(values[block_at:head], with_chip)
    if len(values) - head < block.cells:
        raise LayoutError(f"{len(values) - head} targets for {block.cells} cells")
    return values[:head], block, tuple(values[head:])


def need_targets(block: Block, targets: Sequence[int]) -> None:
    """Refuse fewer targets than the block has cells; raises ConfigError."""
    if len(targets) < block.cells:
        raise ConfigError(f"{len(targets)} targets for a block of {block.cells} cells: one each is needed")


@dataclass(frozen=True)
class MapParameters:
    """Parameters of MAP_ARRAY in physical units; the defaults are the host software's.

    Attributes:
        set_wl, set_bl, reset_wl, reset_sl: voltage ladders (start, step, end) in volt.
        tolerance_high_ua, tolerance_low_ua: allowed reading above and below the target.
        max_pulses: programming pulses per cell at most.
        max_checks, check_threshold: after a cell is in range it is read again up to ``max_checks``
            times and accepted with ``check_threshold`` readings in range (inferred from the names).
        relax_us: wait before the check, microseconds.
        set_width_ns, reset_width_ns: pulse widths; rounded down to 20 ns.
    """

    set_wl: Volts = (1.0, 0.1, 3.0)
    set_bl: Volts = (1.5, 0.1, 3.0)
    reset_wl: Volts = (3.2, 0.1, 5.0)
    reset_sl: Volts = (1.8, 0.1, 4.0)
    tolerance_high_ua: float = 0.3
    tolerance_low_ua: float = 0.3
    max_pulses: int = 300
    max_checks: int = 20
    check_threshold: int = 10
    relax_us: int = 10_000
    set_width_ns: float = 20
    reset_width_ns: float = 20


@dataclass(frozen=True)
class MapArray:
    """MAP_ARRAY (dialect C): write-verify of a block. Currents are codes at feedback 3."""

    set_wl: Ladder
    set_bl: Ladder
    reset_wl: Ladder
    reset_sl: Ladder
    tolerance_high: int
    tolerance_low: int
    max_pulses: int
    max_checks: int
    check_threshold: int
    relax_us: int
    set_width: int
    reset_width: int
    block: Block
    targets: tuple[int, ...]

    HEAD_WORDS = 25

    @classmethod
    def build(cls, block: Block, targets_ua: Currents, parameters: MapParameters | None = None) -> MapArray:
        """From physical units; targets in BL-major order."""
        p = MapParameters() if parameters is None else parameters
        targets = target_codes(targets_ua)
        need_targets(block, targets)
        if block.chip is None:
            raise ConfigError("MAP_ARRAY needs the chip number; dialect P has MAP_FLOW instead")
        return cls(
            Ladder.volts(p.set_wl),
            Ladder.volts(p.set_bl),
            Ladder.volts(p.reset_wl),
            Ladder.volts(p.reset_sl),
            current_code(p.tolerance_high_ua),
            current_code(p.tolerance_low_ua),
            p.max_pulses,
            p.max_checks,
            p.check_threshold,
            p.relax_us,
            width_units(p.set_width_ns),
            width_units(p.reset_width_ns),
            block,
            targets,
        )

    def request(self) -> Request:
        """The request."""
        return Request(
            Command.MAP_ARRAY,
            chip=self.block.chip,
            payload=words(
                [
                    *self.set_wl.words(),
                    *self.set_bl.words(),
                    *self.reset_wl.words(),
                    *self.reset_sl.words(),
                    self.tolerance_high,
                    self.tolerance_low,
                    self.max_pulses,
                    self.max_checks,
                    self.check_threshold,
                    self.relax_us,
                    self.set_width,
                    self.reset_width,
                    *self.block.words(),
                    *self.targets,
                ]
            ),
        )

    @classmethod
    def parse(cls, payload: bytes) -> MapArray:
        """From a payload. Raises LayoutError for a wrong length, ConfigError for an impossible block."""
        head, block, targets = _split(payload, cls.HEAD_WORDS, 20, True)
        high, low, pulses, checks, threshold, relax, set_width, reset_width = head[12:20]
        return cls(
            Ladder(*head[0:3]),
            Ladder(*head[3:6]),
            Ladder(*head[6:9]),
            Ladder(*head[9:12]),
            high,
            low,
            pulses,
            checks,
            threshold,
            relax,
            set_width,
            reset_width,
            block,
            targets,
        )


@dataclass(frozen=True)
class MapFlow:
    """MAP_FLOW, the older write-verify job in the background; both dialects (chip None: P)."""

    form_wl: Ladder
    form_bl: Ladder
    set_wl: Ladder
    set_bl: Ladder
    reset_wl: Ladder
    reset_sl: Ladder
    tolerance: int
    max_pulses: int
    negative: int
    block: Block
    targets: tuple[int, ...]

    @classmethod
    def build(
        cls,
        block: Block,
        targets_ua: Currents,
        *,
        form_wl: Volts,
        form_bl: Volts,
        set_wl: Volts,
        set_bl: Volts,
        reset_wl: Volts,
        reset_sl: Volts,
        tolerance_ua: float = 0.3,
        max_pulses: int = 300,
        negative: bool = True,
    ) -> MapFlow:
        """From physical units; targets in BL-major order."""
        targets = target_codes(targets_ua)
        need_targets(block, targets)
        return cls(
            Ladder.volts(form_wl),
            Ladder.volts(form_bl),
            Ladder.volts(set_wl),
            Ladder.volts(set_bl),
            Ladder.volts(reset_wl),
            Ladder.volts(reset_sl),
            current_code(tolerance_ua),
            max_pulses,
            int(negative),
            block,
            targets,
        )

    def request(self) -> Request:
        """The request."""
        ladders = (self.form_wl, self.form_bl, self.set_wl, self.set_bl, self.reset_wl, self.reset_sl)
        return Request(
            Command.MAP_FLOW,
            chip=self.block.chip,
            payload=words(
                [
                    *(word for ladder in ladders for word in ladder.words()),
                    self.tolerance,
                    self.max_pulses,
                    self.negative,
                    *self.block.words(),
                    *self.targets,
                ]
            ),
        )

    @classmethod
    def parse(cls, payload: bytes, dialect: Dialect) -> MapFlow:
        """From a payload. Raises LayoutError for a wrong length, ConfigError for an impossible block."""
        with_chip = dialect is Dialect.C
        head, block, targets = _split(payload, 26 if with_chip else 25, 21, with_chip)
        tolerance, pulses, negative = head[18:21]
        return cls(
            Ladder(*head[0:3]),
            Ladder(*head[3:6]),
            Ladder(*head[6:9]),
            Ladder(*head[9:12]),
            Ladder(*head[12:15]),
            Ladder(*head[15:18]),
            tolerance,
            pulses,
            negative,
            block,
            targets,
        )


@dataclass(frozen=True)
class TargetPulses:
    """SET_TARGET or RESET_TARGET: up to ``max_pulses`` conditional pulses a cell (chip None: P).

    Attributes:
        reset: RESET_TARGET when True.
        wl: gate ladder.
        line: BL ladder of a SET, SL ladder of a RESET.
        max_pulses: with 1, one read and at most one pulse.
        negative: read direction.
        wl_first: increment order: the gate steps first.
        block, targets: cells and codes; firmware compares a whole block with the first target.
    """

    reset: bool
    wl: Ladder
    line: Ladder
    max_pulses: int
    negative: int
    wl_first: int
    block: Block
    targets: tuple[int, ...]

    @classmethod
    def build(
        cls,
        reset: bool,
        block: Block,
        targets_ua: Currents,
        wl: Volts,
        line: Volts,
        *,
        max_pulses: int = 1,
        negative: bool = True,
        wl_first: bool = True,
    ) -> TargetPulses:
        """From physical units."""
        targets = target_codes(targets_ua)
        need_targets(block, targets)
        return cls(
            reset, Ladder.volts(wl), Ladder.volts(line), max_pulses, int(negative), int(wl_first), block, targets
        )

    def request(self) -> Request:
        """The request."""
        command = Command.RESET_TARGET if self.reset else Command.SET_TARGET
        return Request(
            command,
            chip=self.block.chip,
            payload=words(
                [
                    *self.wl.words(),
                    *self.line.words(),
                    self.max_pulses,
                    self.negative,
                    self.wl_first,
                    *self.block.words(),
                    *self.targets,
                ]
            ),
        )

    @classmethod
    def parse(cls, reset: bool, payload: bytes, dialect: Dialect) -> TargetPulses:
        """From a payload. Raises LayoutError for a wrong length, ConfigError for an impossible block."""
        with_chip = dialect is Dialect.C
        head, block, targets = _split(payload, 14 if with_chip else 13, 9, with_chip)
        return cls(reset, Ladder(*head[:3]), Ladder(*head[3:6]), head[6], head[7], head[8], block, targets)


class Operation(IntEnum):
    """Word 0 of APPLY_OP."""

    READ = 0
    FORM = 1
    SET = 2
    RESET = 3
    MAP = 4
