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
from memristor_bdnn.accelerator.escim import plausible
from memristor_bdnn.accelerator.escim.attempts import BoardError
from memristor_bdnn.accelerator.escim.blocks import rectangles
from memristor_bdnn.accelerator.escim.board import Board, Pulse
from memristor_bdnn.accelerator.escim.recognise import READS, Readings, compare_to
from memristor_bdnn.accelerator.escim.recovery import LostPulse, Recovery
from memristor_bdnn.accelerator.escim.safety import SafetyError, check_pulse
from memristor_bdnn.accelerator.escim.settings import EscimConfig
from memristor_bdnn.accelerator.escim.wire.commands import Dialect
from memristor_bdnn.accelerator.escim.wire.layouts import MapParameters
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.escim.wire.scaling import ADC_MAX, CELLS, CHIPS, COLUMNS, ROWS, code_current
from memristor_bdnn.accelerator.protocol import FloatArray
from memristor_bdnn.accelerator.watching import JobWatch, Watched
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import AcceleratorError, ConfigError, UnsupportedError
from memristor_bdnn.state import check_array, pack_json, unpack_json


class EscimAccelerator(Watched, BaseAccelerator):
    """The ESCIM board over TCP: three chips of 4,096 cells, whole-chip reads, masked pulses.

    Cell k sits on chip k // 4096 + 1, BL (k mod 4096) // 32, SL k mod 32.
    """

    name = "escim"
    blind_writes = False
    config_type = EscimConfig

    def __init__(self, preset: DevicePreset, seed: int = 0, config: EscimConfig | None = None) -> None:
        """Connect to the board, find out its dialect, and read all chips once.

        Args:
            preset: nominal physics of the chips, and default voltages of the pulses.
            seed: not used; the noise is the board's.
            config: address, pulses, limits.

        Raises:
            ConfigError: the preset's chips are not the board's.
            SafetyError: a voltage or width of the pulses; nothing was sent.
            AcceleratorError: the board cannot be reached, is none that can be driven, lacks chips, or reads nonsense.
        """
        super().__init__(preset, seed, config)
        if (preset.rows, preset.columns) != (ROWS, COLUMNS) or preset.chips > CHIPS:
            raise ConfigError(
                f"preset {preset.name!r} has {preset.chips} chips of {preset.rows} x {preset.columns}; the ESCIM board"
                f" has {CHIPS} of {ROWS} x {COLUMNS}"
            )
        self._responses = plausible.Responses(preset)
        self._readings = Readings(self.capacity, self._responses.add)
        self._last_ua = self._readings.last_ua
        self._codes: dict[int, npt.NDArray[np.uint16]] = {}
        self._current_ua = _code_table(preset)
        # Devices without noise of half a code may well read the same twice.
        self._noisy = float(preset.read_noise_scale_ua(np.mean(preset.window_ua))) > 0.5 * code_current(1)
        self._chip_accesses = self.placement.accesses(0, CELLS)
        c = self.config
        self._set, self._reset = c.pulse(preset, reset=False), c.pulse(preset, reset=True)
        for (volts, gate, width), line in ((self._set, "bl"), (self._reset, "sl")):
            check_pulse(c.limits, **{line: volts}, wl=gate, width_ns=width)
        self.board = Board(
            c,
            c.limits,
            recorder=Recorder(c.record),
            dry_run=c.dry_run,
            endurance_file=c.endurance_file,
            map_stall_s=c.map_stall_s,
        )
        self._recovery = Recovery(self.board, c, self._look, self._readings)
        try:
            self._dialect, first = self.board.detect()
            by_target = c.reset_by == "reset_target" or (c.reset_by == "auto" and self._dialect is Dialect.C)
            self._reset_target_ua = c.reset_target_ua if by_target else None
            self._first_look(first)
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
                self._recovery.read(chip)
            reads[sample] = self._last_ua[start:stop]
        self._say("", self._responses.findings())
        return reads

    def _current_sum_ua(self, start: int, stop: int, reads: FloatArray) -> float:
        return float(self._last_ua[start:stop].sum(dtype=np.float64))

    def _accesses(self, start: int, stop: int) -> int:
        return self._chip_accesses * len(_chips(start, stop))

    def _pulse(self, direction: npt.NDArray[np.int8]) -> None:
        """SETs first, then RESETs, cell by cell.

        Raises:
            SafetyError: a limit that the pulses together would exceed; none was sent.
            AcceleratorError: the board is lost, or too many answers in a row were; what was pulsed before is counted.
        """
        up, down = np.flatnonzero(direction == 1), np.flatnonzero(direction == -1)
        pulsed = np.concatenate([up, down])
        self.board.guard.check(pulsed)
        if self._reset_target_ua is not None and down.size:
            self.board.check_reset_target(int((down % CELLS).max()) // COLUMNS)
        self._recovery.refresh(pulsed)
        if not self.config.dry_run:
            self.board.guard.save(ahead=pulsed)
        read, counted = self._last_ua[: self.n_cells].copy(), self._counted()
        try:
            for cells, reset in ((up, False), (down, True)):
                for pulse in self._requests(cells, reset):
                    self._recovery.give(pulse)
        finally:
            given = self._counted() - counted
            self._book(self._pulses_of(np.where(given > 0, direction, 0), read), pulses=given)

    def _write_verify(self, cells: IntArray, target_ua: FloatArray) -> FloatArray:
        """The board's own write-verify, rectangle by rectangle.

        The board does not tell its pulses: ``limits.typical_map_pulses`` a cell and job are counted.

        Raises:
            SafetyError: a limit or a target outside of the preset's window; nothing was sent.
            Implausible: nearly no cell moved.
        """
        if not cells.size:
            self._book(Work())
            return np.zeros(0, dtype=np.float32)
        parameters = self._map_parameters()
        self._check_targets(cells, target_ua)
        wanted = np.maximum(target_ua, parameters.tolerance_low_ua)
        self.board.guard.check_map(parameters, wanted, self._dialect)
        self.board.guard.check(cells, parameters.max_pulses)
        self._recovery.refresh(cells)
        before, counted = self._last_ua[cells], self._counted()
        reads = 0
        try:
            self._map(cells, target_ua, parameters)
            for chip in np.unique(cells // CELLS):
                self._recovery.read(int(chip))
            reads = cells.size
        finally:
            read, given = self._last_ua[cells], (self._counted() - counted)[cells]
            self._book_map(read, given, reads, cells)
        if not self.config.dry_run:
            found = plausible.deployment(before, read, target_ua, parameters.tolerance_low_ua)
            self._say("", [found] if found else [])
        return read

    def _book_map(self, read: FloatArray, given: IntArray, reads: int, cells: IntArray) -> None:
        """Count the pulses given to cells (n,), and ``reads`` of them afterwards."""
        current, pulses = float(read.sum(dtype=np.float64)), int(given.sum())
        work = Work(
            set_pulses=pulses // 2,
            set_current_ua=0.5 * current if pulses else 0.0,
            reset_pulses=pulses - pulses // 2,
            reset_current_ua=0.5 * current if pulses else 0.0,
            verify_reads=pulses + reads,
            verify_current_ua=current * (pulses + reads) / cells.size,
        )
        self._book(work, cells, given)

    def _program(self, cells: IntArray, target_ua: FloatArray) -> None:
        """Not on this board. Raises UnsupportedError."""
        raise UnsupportedError(
            "the ESCIM board's chips have no calibrated SET by gate voltage, so a blind write has no target: use"
            " write_verify, or a learner that does"
        )

    def state_dict(self) -> Arrays:
        """Identity, ledger, pulse counts, and the last reading, by which the chips are recognised.

        Raises:
            AcceleratorError: in a dry run, as the chips never got what a checkpoint would say they did.
        """
        if self.config.dry_run:
            raise AcceleratorError("dry run: no pulse was sent, so there is no state of the chips to keep")
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
        before, readings = (self.n_cells, self.ledger.state_dict()), self._readings.forget()
        saved = np.asarray(state["currents_ua"])
        try:
            self.allocate(n_cells)
            self.ledger.load_state_dict(_ledger_of(state))
            fits = self._recognises(saved)
        except BaseException:
            self.n_cells = self._recovery.n_cells = before[0]
            self.ledger.load_state_dict(before[1])
            self._readings.recall(readings)
            self._recovery.doubt()
            raise
        np.maximum(self.board.guard.pulses, state["pulses"], out=self.board.guard.pulses)
        if not fits:
            self.write_verify(np.clip(saved, *self.preset.window_ua))

    def _recognises(self, saved_ua: FloatArray) -> bool:
        """Whether the chips read as saved (n,), uA, chip by chip; raises ConfigError where they must and do not."""
        reads = self.read(READS)
        for chip in _chips(0, self.n_cells):
            part = slice(chip * CELLS, (chip + 1) * CELLS)
            found = compare_to(saved_ua[part], reads[:, part], self.config.restore_tolerance_ua)
            if found.median_ua <= found.tolerance_ua:
                continue
            if self.config.restore == "deploy":
                return False
            raise ConfigError(
                f"the chips read differently from the checkpoint (chip {chip + 1}: {found}): other chips, or pulsed"
                " since. Use restore=deploy to write the checkpoint's currents onto them"
            )
        return True

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

    def _look(self, chip: int) -> npt.NDArray[np.float32]:
        """Currents (4096,) of a chip, counted from 0; raises Implausible where they cannot be any."""
        codes = self.board.read_chip(chip + 1)
        self._say(f"chip {chip + 1}: ", self._judged(chip, codes))
        return self._currents(codes)

    def _judged(self, chip: int, codes: npt.NDArray[np.uint16]) -> list[plausible.Finding]:
        """What is wrong with codes (128, 32) of a chip."""
        before = self._codes.get(chip) if self._noisy else None
        self._codes[chip] = codes
        return plausible.chip(codes, before, self.preset)

    def _say(self, where: str, findings: list[plausible.Finding]) -> None:
        for found in findings:
            if found.fatal:
                raise plausible.Implausible(where + found.text)
            self._warn(where + found.kind, where + found.text)

    def _currents(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        return self._current_ua[np.minimum(codes.reshape(CELLS), ADC_MAX)]

    def _first_look(self, first: npt.NDArray[np.uint16] | None) -> None:
        """Read all chips once; those that cannot work are said, and refused when they are used.

        Args:
            first: the codes of the first chip, where they are known already.

        Raises:
            BoardError: a chip does not answer.
            Implausible: no chip can work.
        """
        hopeless = []
        for chip in range(self.preset.chips):
            try:
                codes = self.board.read_chip(chip + 1) if chip or first is None else first
            except BoardError as error:
                error.args = (
                    f"chip {chip + 1} of {self.preset.chips} of preset {self.preset.name!r} does not answer: {error};"
                    " a preset with fewer chips works with those that do",
                )
                raise
            found = self._judged(chip, codes)
            self._recovery.arrived(chip, self._currents(codes))
            hopeless += [f"chip {chip + 1}: {each.text}" for each in found if each.fatal]
            for each in found:
                self._warn(f"chip {chip + 1}: {each.kind}", f"chip {chip + 1}: {each.text}")
        if len({text.split(":")[0] for text in hopeless}) == self.preset.chips:
            raise plausible.Implausible(f"no chip of the board can work: {'; '.join(hopeless)}")

    def _counted(self) -> npt.NDArray[np.int64]:
        """Pulses counted for each allocated cell so far, shape (n_cells,)."""
        return self.board.guard.pulses.reshape(-1)[: self.n_cells].copy()

    def _check_targets(self, cells: IntArray, target_ua: FloatArray) -> None:
        low, high = self.preset.window_ua
        half_code = 0.5 * code_current(1)
        outside = np.flatnonzero((target_ua < low - half_code) | (target_ua > high + half_code))
        if outside.size:
            first = outside[0]
            raise SafetyError(
                f"target_ua[{cells[first]}] = {target_ua[first]:g} uA and {outside.size - 1} more: the window of preset"
                f" {self.preset.name!r} is {low:g} to {high:g} uA"
            )

    def _requests(self, cells: npt.NDArray[np.intp], reset: bool) -> Iterator[Pulse]:
        volts, gate, width = self._reset if reset else self._set
        target = self._reset_target_ua if reset else None
        grouping = "cell" if target is not None else self.config.pulses_per_request
        chip, row, column = cells // CELLS, cells % CELLS // COLUMNS, cells % COLUMNS
        if grouping == "cell":
            for c, i, j in zip(chip.tolist(), row.tolist(), column.tolist(), strict=True):
                yield Pulse(c + 1, (i,), (j,), reset, volts, gate, width, target)
            return
        line = row if grouping == "row" else column
        key = chip * ROWS + line
        order = np.argsort(key, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            if group.size:
                rows, columns = np.unique(row[group]).tolist(), np.unique(column[group]).tolist()
                yield Pulse(int(chip[group[0]]) + 1, tuple(rows), tuple(columns), reset, volts, gate, width)

    def _map_parameters(self) -> MapParameters:
        verify = self.preset.write_verify
        return MapParameters(
            tolerance_high_ua=verify.tolerance_ua,
            tolerance_low_ua=verify.tolerance_ua,
            relax_us=self.config.map_relax_us,
            max_pulses=min(verify.max_pulses, self.config.limits.max_map_pulses),
            max_checks=verify.checks,
            check_threshold=verify.check_threshold,
        )

    def _map(self, cells: IntArray, target_ua: FloatArray, parameters: MapParameters) -> None:
        """Write-verify jobs for cells (n,) and targets (n,), rectangle by rectangle."""
        tolerance = parameters.tolerance_low_ua
        whole = np.zeros(self.capacity, np.bool_)
        # The board compares unsigned codes: a target below the tolerance would wrap around.
        wanted = np.full(self.capacity, tolerance)
        whole[cells], wanted[cells] = True, np.maximum(target_ua, tolerance)
        before = 0
        with self.board.job.attended():
            for chip in np.unique(np.flatnonzero(whole) // CELLS):
                part = slice(int(chip) * CELLS, (int(chip) + 1) * CELLS)
                for block in rectangles(whole[part].reshape(ROWS, COLUMNS), int(chip) + 1):
                    watch = JobWatch() if self.config.dry_run else self.watch.part(before, cells.size)
                    self._recovery.map_block(block, wanted[part].reshape(ROWS, COLUMNS), parameters, tolerance, watch)
                    before += block.cells
                    watch.tell(block.cells, cells.size)


def _ledger_of(state: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return {key[len("ledger.") :]: value for key, value in state.items() if key.startswith("ledger.")}


def _chips(start: int, stop: int) -> range:
    """Chips, counted from 0, that hold cells start..stop-1; at least one."""
    return range(start // CELLS, (max(stop, start + 1) - 1) // CELLS + 1)


def _code_table(preset: DevicePreset) -> npt.NDArray[np.float32]:
    """Current in microampere of every ADC code, shape (4096,), as the simulated converter rounds it."""
    full_scale, bits = preset.periphery.adc_full_scale_ua, preset.periphery.adc_bits
    board = code_current(ADC_MAX)
    same = bits == 12 and abs(full_scale / board - 1) < 1e-6
    table = np.arange(ADC_MAX + 1, dtype=np.float32)
    table *= (full_scale if same else board) / ADC_MAX
    return table
