"""The board behind the accelerator protocol: placement, whole-chip reads, masked pulses, deployment.

What may go wrong on the wire is dealt with in :mod:`.recovery`; pulses whose answer was lost are kept in
:attr:`EscimAccelerator.lost_pulses`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.base import Arrays, BaseAccelerator, IntArray, Work
from memristor_bdnn.accelerator.escim.blocks import rectangles
from memristor_bdnn.accelerator.escim.board import Board, Pulse
from memristor_bdnn.accelerator.escim.recovery import LostPulse, Recovery
from memristor_bdnn.accelerator.escim.settings import EscimConfig
from memristor_bdnn.accelerator.escim.wire.layouts import MapParameters
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, CELLS, CHIPS, COLUMNS, ROWS, code_current
from memristor_bdnn.accelerator.protocol import FloatArray
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError, UnsupportedError
from memristor_bdnn.state import check_array, pack_json, unpack_json


class EscimAccelerator(BaseAccelerator):
    """The ESCIM board over TCP: three chips of 4,096 cells, whole-chip reads, masked pulses.

    Cell k sits on chip k // 4096 + 1, BL (k mod 4096) // 32, SL k mod 32.
    """

    name = "escim"
    config_type = EscimConfig

    def __init__(self, preset: DevicePreset, seed: int = 0, config: EscimConfig | None = None) -> None:
        """Connect to the board, find out its dialect, and read all chips once.

        Args:
            preset: nominal physics of the chips, and default voltages of the pulses.
            seed: not used; the noise is the board's.
            config: address, pulses, limits.

        Raises:
            ConfigError: the preset's chips are not the board's.
            AcceleratorError: the board cannot be reached or is none that can be driven.
        """
        super().__init__(preset, seed, config)
        if (preset.rows, preset.columns) != (ROWS, COLUMNS) or preset.chips > CHIPS:
            raise ConfigError(
                f"preset {preset.name!r} has {preset.chips} chips of {preset.rows} x {preset.columns}; the ESCIM board"
                f" has {CHIPS} of {ROWS} x {COLUMNS}"
            )
        self._last_ua: npt.NDArray[np.float32] = np.zeros(self.capacity, dtype=np.float32)
        self._current_ua = _code_table(preset)
        self._chip_accesses = self.placement.accesses(0, CELLS)
        c, up, down = self.config, preset.set_pulse, preset.reset_pulse
        self._set = (
            _default(c.set_voltage_v, up.voltage_v),
            _default(c.set_gate_v, up.gate_v),
            _default(c.set_width_ns, 1e9 * up.width_s),
        )
        self._reset = (
            _default(c.reset_voltage_v, down.voltage_v),
            _default(c.reset_gate_v, down.gate_v),
            _default(c.reset_width_ns, 1e9 * down.width_s),
        )
        self.board = Board(
            c,
            c.limits,
            recorder=Recorder(c.record),
            dry_run=c.dry_run,
            endurance_file=c.endurance_file,
            map_stall_s=c.map_stall_s,
        )
        self._recovery = Recovery(self.board, c, self._read_chip, self._last_ua)
        for width in (self._set[2], self._reset[2]):
            self.board.guard.check_voltages(width_ns=width)
        try:
            _, first = self.board.detect()
            if first is not None:
                self._keep(0, first)
            self._recovery.refresh(np.arange(0, self.capacity, CELLS))
        except BaseException:
            self.board.close()
            raise

    @property
    def lost_pulses(self) -> list[LostPulse]:
        """Pulses whose answer did not come, with what their cells read before and after."""
        return self._recovery.lost

    @property
    def interruptions(self) -> int:
        """Times that the chips had to be read again because the connection was in doubt."""
        return self._recovery.interruptions

    def allocate(self, n_cells: int) -> None:
        """Reserve cells 0..n_cells-1; their chips are read after an interruption."""
        super().allocate(n_cells)
        self._recovery.n_cells = self.n_cells

    def _read(self, start: int, stop: int, samples: int) -> FloatArray:
        """Whole chips are read, whatever cells are asked for."""
        reads = np.empty((samples, stop - start), dtype=np.float32)
        for sample in range(samples):
            for chip in _chips(start, stop):
                self._read_chip(chip)
            reads[sample] = self._last_ua[start:stop]
        return reads

    def _current_sum_ua(self, start: int, stop: int, reads: FloatArray) -> float:
        return float(self._last_ua[start:stop].sum(dtype=np.float64))

    def _accesses(self, start: int, stop: int) -> int:
        return self._chip_accesses * len(_chips(start, stop))

    def _pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """SETs first, then RESETs, cell by cell.

        Raises:
            SafetyError: a limit; what was pulsed before stays.
            AcceleratorError: the board is lost, or too many answers in a row were.
        """
        up, down = np.flatnonzero(direction == 1), np.flatnonzero(direction == -1)
        self._recovery.refresh(np.concatenate([up, down]))
        work = self._pulses_of(direction, self._last_ua[: self.n_cells])
        for cells, reset in ((up, False), (down, True)):
            for pulse in self._requests(cells, reset):
                self._recovery.give(pulse)
        if self.config.dry_run:
            self._book(Work())
        else:
            self._book(work, pulses=direction != 0)

    def _write_verify(self, cells: IntArray, target_ua: FloatArray) -> FloatArray:
        """The board's own write-verify, rectangle by rectangle.

        The board does not tell its pulses: the ledger counts the cells times ``limits.typical_map_pulses``.
        """
        if not cells.size:
            self._book(Work())
            return np.zeros(0, dtype=np.float32)
        self._recovery.refresh(cells)
        self._map(cells, target_ua)
        for chip in np.unique(cells // CELLS):
            self._read_chip(int(chip))
        read = self._last_ua[cells]
        pulses = 0 if self.config.dry_run else cells.size * self.config.limits.typical_map_pulses
        current = float(read.sum(dtype=np.float64))
        work = Work(
            set_pulses=pulses // 2,
            set_current_ua=0.5 * current,
            reset_pulses=pulses - pulses // 2,
            reset_current_ua=0.5 * current,
            verify_reads=pulses + cells.size,
            verify_current_ua=current * (pulses / cells.size + 1),
        )
        self._book(work, cells, np.full(cells.size, pulses // cells.size))
        return read

    def _program(self, cells: IntArray, target_ua: FloatArray) -> None:
        """Not on this board. Raises UnsupportedError."""
        raise UnsupportedError(
            "the ESCIM board's chips have no calibrated SET by gate voltage, so a blind write has no target: use"
            " write_verify, or a learner that does"
        )

    def state_dict(self) -> Arrays:
        """Identity, ledger, pulse counts, and the last reading, by which the chips are recognised."""
        state = {f"ledger.{key}": value for key, value in self.ledger.state_dict().items()}
        state["identity"] = pack_json({"accelerator": self.name, "preset": self.preset.name, "n_cells": self.n_cells})
        state["pulses"] = self.board.guard.pulses.copy()
        state["currents_ua"] = self._last_ua[: self.n_cells].copy()
        return state

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`; the chips must read as they did then, or are deployed (``restore``).

        Raises:
            ConfigError: no state of this driver, or other chips.
        """
        n_cells = self._saved_cells(state)
        before = self.n_cells, self.ledger.state_dict()
        self.allocate(n_cells)
        self.ledger.load_state_dict(_ledger_of(state))
        saved = state["currents_ua"]
        difference = float(np.median(np.abs(self.read(3).mean(axis=0) - saved)))
        fits = difference <= self.config.restore_tolerance_ua
        if not fits and self.config.restore != "deploy":
            self.n_cells = before[0]
            self.ledger.load_state_dict(before[1])
            raise ConfigError(
                f"the chips read differently from the checkpoint (median {difference:.3g} uA, allowed"
                f" {self.config.restore_tolerance_ua:g} uA): other chips, or pulsed since. Use restore=deploy to write"
                " the checkpoint's currents onto them"
            )
        np.maximum(self.board.guard.pulses, state["pulses"], out=self.board.guard.pulses)
        if not fits:
            self.write_verify(saved)

    def close(self) -> None:
        """Store the endurance record and close the connection; safe to call twice."""
        self.board.close()

    def _saved_cells(self, state: Mapping[str, npt.NDArray[Any]]) -> int:
        """How many cells a saved state is of; raises ConfigError when it is none of this driver, or damaged."""
        missing = [key for key in ("identity", "pulses", "currents_ua") if key not in state]
        if missing:
            raise ConfigError(f"no state of an ESCIM board: {', '.join(missing)} missing")
        identity = unpack_json(state["identity"], "identity")
        if not isinstance(identity, dict) or identity.get("accelerator") != self.name:
            raise ConfigError(f"no state of an ESCIM board: its identity is {identity!r}")
        n_cells = identity.get("n_cells")
        if not isinstance(n_cells, int) or isinstance(n_cells, bool) or not 0 < n_cells <= self.capacity:
            raise ConfigError(f"damaged state: n_cells = {n_cells!r}, allowed 1..{self.capacity}")
        ledger = Ledger(self.preset)
        ledger.load_state_dict(_ledger_of(state))
        check_array("damaged state: ledger.wear", ledger.wear, kinds="i", shape=(n_cells,))
        check_array("damaged state: currents_ua", state["currents_ua"], shape=(n_cells,), low=0.0, high=1000.0)
        counted = self.board.guard.pulses.shape
        check_array("damaged state: pulses", state["pulses"], kinds="i", shape=counted, low=0, high=2**48)
        unknown = sorted(state.keys() - self.state_dict().keys())
        if unknown:
            raise ConfigError(f"damaged state: {', '.join(unknown)} unknown")
        return n_cells

    def _read_chip(self, chip: int) -> None:
        """Read a chip (counted from 0) into the last known currents."""
        self._keep(chip, self.board.read_chip(chip + 1))

    def _keep(self, chip: int, codes: npt.NDArray[np.uint16]) -> None:
        currents = self._current_ua[np.minimum(codes.reshape(CELLS), ADC_MAX)]
        self._last_ua[chip * CELLS : (chip + 1) * CELLS] = currents

    def _requests(self, cells: npt.NDArray[np.intp], reset: bool) -> Iterator[Pulse]:
        volts, gate, width = self._reset if reset else self._set
        conditional = reset and self.config.reset_by == "reset_target"
        grouping = "cell" if conditional else self.config.pulses_per_request
        chip, row, column = cells // CELLS, cells % CELLS // COLUMNS, cells % COLUMNS
        if grouping == "cell":
            for c, i, j in zip(chip.tolist(), row.tolist(), column.tolist(), strict=True):
                yield Pulse(c + 1, (i,), (j,), reset, volts, gate, width)
            return
        line = row if grouping == "row" else column
        key = chip * ROWS + line
        order = np.argsort(key, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            if group.size:
                rows, columns = np.unique(row[group]).tolist(), np.unique(column[group]).tolist()
                yield Pulse(int(chip[group[0]]) + 1, tuple(rows), tuple(columns), reset, volts, gate, width)

    def _map(self, cells: IntArray, target_ua: FloatArray) -> None:
        """Write-verify jobs for cells (n,) and targets (n,), rectangle by rectangle."""
        verify = self.preset.write_verify
        tolerance = verify.tolerance_ua
        parameters = MapParameters(
            tolerance_high_ua=tolerance,
            tolerance_low_ua=tolerance,
            relax_us=self.config.map_relax_us,
            max_pulses=min(verify.max_pulses, self.config.limits.max_map_pulses),
            max_checks=verify.checks,
            check_threshold=verify.check_threshold,
        )
        whole = np.zeros(self.capacity, np.bool_)
        # The board compares unsigned codes: a target below the tolerance would wrap around.
        wanted = np.full(self.capacity, tolerance)
        whole[cells], wanted[cells] = True, np.maximum(target_ua, tolerance)
        for chip in np.unique(np.flatnonzero(whole) // CELLS):
            part = slice(int(chip) * CELLS, (int(chip) + 1) * CELLS)
            for block in rectangles(whole[part].reshape(ROWS, COLUMNS), int(chip) + 1):
                self._recovery.map_block(block, wanted[part].reshape(ROWS, COLUMNS), parameters, tolerance)


def _ledger_of(state: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return {key[len("ledger.") :]: value for key, value in state.items() if key.startswith("ledger.")}


def _chips(start: int, stop: int) -> range:
    """Chips, counted from 0, that hold cells start..stop-1; at least one."""
    return range(start // CELLS, (max(stop, start + 1) - 1) // CELLS + 1)


def _default(value: float | None, preset: float) -> float:
    return preset if value is None else value


def _code_table(preset: DevicePreset) -> npt.NDArray[np.float32]:
    """Current in microampere of every ADC code, shape (4096,), as the simulated converter rounds it."""
    full_scale, bits = preset.periphery.adc_full_scale_ua, preset.periphery.adc_bits
    board = code_current(ADC_MAX)
    same = bits == 12 and abs(full_scale / board - 1) < 1e-6
    table = np.arange(ADC_MAX + 1, dtype=np.float32)
    table *= (full_scale if same else board) / ADC_MAX
    return table
