"""The board behind the accelerator protocol: placement, whole-chip reads, masked pulses, deployment.

What may go wrong on the wire is dealt with in :mod:`.recovery`; pulses whose answer was lost are kept in
:attr:`EscimAccelerator.lost_pulses`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.blocks import rectangles
from memristor_bdnn.accelerator.escim.board import Board, Pulse
from memristor_bdnn.accelerator.escim.recovery import LostPulse, Recovery
from memristor_bdnn.accelerator.escim.settings import EscimConfig
from memristor_bdnn.accelerator.escim.wire.layouts import MapParameters
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, CELLS, CHIPS, COLUMNS, ROWS, code_current
from memristor_bdnn.accelerator.protocol import FloatArray, WriteVerifyReport
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import CapacityError, ConfigError, UnsupportedError
from memristor_bdnn.state import pack_json, unpack_json


class EscimAccelerator:
    """Three 4K chips behind the board; implements :class:`memristor_bdnn.accelerator.protocol.Accelerator`.

    Cell k sits on chip k // 4096 + 1, BL (k mod 4096) // 32, SL k mod 32.
    """

    name = "escim"

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
        self.config = EscimConfig() if config is None else config
        if (preset.rows, preset.columns) != (ROWS, COLUMNS) or preset.chips > CHIPS:
            raise ConfigError(
                f"preset {preset.name!r} has {preset.chips} chips of {preset.rows} x {preset.columns}; the ESCIM board"
                f" has {CHIPS} of {ROWS} x {COLUMNS}"
            )
        self.preset = preset
        self.seed = seed
        self.placement = Placement.of(preset)
        self.capacity = self.placement.capacity
        self.n_cells = 0
        self.ledger = Ledger(preset)
        self._last_ua: npt.NDArray[np.float32] = np.zeros(self.capacity, dtype=np.float32)
        self._current_ua = _code_table(preset)
        self._accesses = self.placement.accesses(0, CELLS)
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
        """Reserve cells 0..n_cells-1; see the protocol. Raises CapacityError naming the cells missing."""
        if n_cells < 1:
            raise ConfigError(f"allocate({n_cells}): at least one cell")
        if n_cells > self.capacity:
            raise CapacityError(
                f"the network needs {n_cells} cells, the board has {self.capacity}:"
                f" {n_cells - self.capacity} cells are missing"
            )
        self.n_cells = self._recovery.n_cells = int(n_cells)
        self.ledger.allocate(self.n_cells)

    def read(self, samples: int = 1, cells: slice | None = None) -> FloatArray:
        """Noisy currents in microampere, shape (samples, cells), float32; whole chips are read for it."""
        start, stop = self._range(cells)
        if samples < 1:
            raise ConfigError(f"read(samples={samples}): at least one")
        chips = range(start // CELLS, (max(stop, start + 1) - 1) // CELLS + 1)
        reads = np.empty((samples, stop - start), dtype=np.float32)
        for sample in range(samples):
            for chip in chips:
                self._read_chip(chip)
            reads[sample] = self._last_ua[start:stop]
        self.ledger.count_reads(
            stop - start, float(self._last_ua[start:stop].sum(dtype=np.float64)), self._accesses * len(chips), samples
        )
        return reads

    def pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """Single pulses, +1 SET, -1 RESET, 0 none, shape (n_cells,): SETs first, then RESETs, cell by cell.

        Raises:
            ConfigError: wrong shape or values.
            SafetyError: a limit; what was pulsed before stays.
            AcceleratorError: the board is lost, or too many answers in a row were.
        """
        direction = np.asarray(direction)
        if direction.shape != (self.n_cells,):
            raise ConfigError(f"pulse: expected shape ({self.n_cells},), got {direction.shape}")
        bad = np.setdiff1d(direction, [-1, 0, 1])
        if bad.size:
            raise ConfigError(f"pulse: direction {bad[0]!r} is not one of +1 (SET), -1 (RESET), 0 (none)")
        up, down = np.flatnonzero(direction == 1), np.flatnonzero(direction == -1)
        self._recovery.refresh(np.concatenate([up, down]))
        currents = [float(self._last_ua[cells].sum(dtype=np.float64)) for cells in (up, down)]
        for cells, reset in ((up, False), (down, True)):
            for pulse in self._requests(cells, reset):
                self._recovery.give(pulse)
        if not self.config.dry_run:
            self.ledger.count_pulses(up.size, currents[0], down.size, currents[1])
            self.ledger.add_wear(slice(0, self.n_cells), direction != 0)

    def write_verify(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> WriteVerifyReport:
        """Deploy by the board's own write-verify, rectangle by rectangle, then read and compare.

        The board does not tell its pulses: ``pulses`` of the report, and the ledger, count the cells times
        ``limits.typical_map_pulses``.
        """
        target = np.asarray(target_ua, dtype=np.float64)
        chosen = np.ones(self.n_cells, np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
        for name, array in (("target_ua", target), ("mask", chosen)):
            if array.shape != (self.n_cells,):
                raise ConfigError(f"{name}: expected shape ({self.n_cells},), got {array.shape}")
        cells = np.flatnonzero(chosen)
        wanted = target[cells]
        if not cells.size:
            return WriteVerifyReport(0, 0, 0, 0.0, 0.0)
        if not (np.isfinite(wanted).all() and (wanted >= 0).all()):
            raise ConfigError("target_ua: expected finite currents in uA, not negative")
        tolerance = self.preset.write_verify.tolerance_ua
        self._recovery.refresh(cells)
        self._map(chosen, target)
        for chip in np.unique(cells // CELLS):
            self._read_chip(int(chip))
        error = self._last_ua[cells] - np.asarray(target_ua)[cells]
        pulses = 0 if self.config.dry_run else cells.size * self.config.limits.typical_map_pulses
        current = float(self._last_ua[cells].sum(dtype=np.float64))
        self.ledger.count_verify_reads(pulses + cells.size, current * (pulses / cells.size + 1))
        self.ledger.count_pulses(pulses // 2, 0.5 * current, pulses - pulses // 2, 0.5 * current)
        self.ledger.add_wear(cells, np.full(cells.size, pulses // cells.size))
        within = int((np.abs(error) <= tolerance).sum())
        return WriteVerifyReport(cells.size, within, pulses, float(error.mean()), float(error.std()))

    def program(self, target_ua: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Not on this board. Raises UnsupportedError."""
        raise UnsupportedError(
            "the ESCIM board's chips have no calibrated SET by gate voltage, so a blind write has no target: use"
            " write_verify, or a learner that does"
        )

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Identity, ledger, pulse counts, and the last reading, by which the chips are recognised."""
        state = {f"ledger.{key}": value for key, value in self.ledger.state_dict().items()}
        state["identity"] = pack_json({"accelerator": self.name, "preset": self.preset.name, "n_cells": self.n_cells})
        state["pulses"] = self.board.guard.pulses.copy()
        state["currents_ua"] = self._last_ua[: self.n_cells].copy()
        return state

    def load_state_dict(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Restore :meth:`state_dict`; the chips must read as they did then, or are deployed (``restore``).

        Raises:
            ConfigError: no state of this driver, or other chips.
        """
        missing = [key for key in ("identity", "pulses", "currents_ua") if key not in state]
        if missing:
            raise ConfigError(f"no state of an ESCIM board: {', '.join(missing)} missing")
        identity = unpack_json(state["identity"])
        self.allocate(int(identity["n_cells"]))
        ledger = {key[len("ledger.") :]: value for key, value in state.items() if key.startswith("ledger.")}
        self.ledger.load_state_dict(ledger)
        np.maximum(self.board.guard.pulses, state["pulses"], out=self.board.guard.pulses)
        saved = state["currents_ua"]
        difference = float(np.median(np.abs(self.read(3).mean(axis=0) - saved)))
        if difference <= self.config.restore_tolerance_ua:
            return
        if self.config.restore != "deploy":
            raise ConfigError(
                f"the chips read differently from the checkpoint (median {difference:.3g} uA, allowed"
                f" {self.config.restore_tolerance_ua:g} uA): other chips, or pulsed since. Use restore=deploy to write"
                " the checkpoint's currents onto them"
            )
        self.write_verify(saved)

    def close(self) -> None:
        """Store the endurance record and close the connection; safe to call twice."""
        self.board.close()

    def _range(self, cells: slice | None) -> tuple[int, int]:
        if self.n_cells == 0:
            raise ConfigError("no cells allocated: call allocate(n_cells) first")
        start, stop, step = (slice(None) if cells is None else cells).indices(self.n_cells)
        if step != 1:
            raise ConfigError(f"read(cells={cells}): only contiguous ranges (step 1)")
        return start, max(start, stop)

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

    def _map(self, chosen: npt.NDArray[np.bool_], target: npt.NDArray[np.float64]) -> None:
        """Write-verify jobs for all chosen cells, rectangle by rectangle."""
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
        whole[: self.n_cells] = chosen
        # The board compares unsigned codes: a target below the tolerance would wrap around.
        wanted = np.full(self.capacity, tolerance)
        wanted[: self.n_cells] = np.maximum(target, tolerance)
        for chip in np.unique(np.flatnonzero(whole) // CELLS):
            part = slice(int(chip) * CELLS, (int(chip) + 1) * CELLS)
            for block in rectangles(whole[part].reshape(ROWS, COLUMNS), int(chip) + 1):
                self._recovery.map_block(block, wanted[part].reshape(ROWS, COLUMNS), parameters, tolerance)


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
