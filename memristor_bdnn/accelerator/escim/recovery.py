"""Pulses and write-verify jobs over a connection that may break: nothing is given twice, nothing goes on unread.

After an interruption the chips are read before anything else is sent, and must be those of before. A pulse that
certainly was not given is then given, one that may have been given counts as given, and what its cells read before and
after is kept.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.escim.attempts import (
    AnswerLost,
    BoardError,
    JobLost,
    NotExecuted,
    certainly_not_given,
    until_done,
)
from memristor_bdnn.accelerator.escim.blocks import rectangles
from memristor_bdnn.accelerator.escim.board import Board, Pulse
from memristor_bdnn.accelerator.escim.plausible import Implausible
from memristor_bdnn.accelerator.escim.recognise import READS, Comparison, FloatArray, OtherChips, Readings
from memristor_bdnn.accelerator.escim.safety import SafetyError
from memristor_bdnn.accelerator.escim.settings import EscimConfig
from memristor_bdnn.accelerator.escim.wire.commands import ErrorCode
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapParameters
from memristor_bdnn.accelerator.escim.wire.scaling import CELLS, COLUMNS, ROWS
from memristor_bdnn.accelerator.watching import JobWatch
from memristor_bdnn.errors import AcceleratorError

_LOG = logging.getLogger(__name__)
MAX_LOST_IN_A_ROW = 20


class Then(Enum):
    """What the driver does after a failure; the value is how the documentation puts it."""

    AGAIN = "chips in doubt read, then sent again"
    COUNT = "counted as given, chips in doubt read, never sent again"
    REDO = "job waited for, chips in doubt read, cells out of tolerance done again"
    STOP = "this error ends the call"


@dataclass(frozen=True)
class Failure:
    """One row of :data:`TABLE`.

    Attributes:
        happened: on the wire or at the board.
        raised: the exception that tells of it.
        codes: of a BoardError.
        pulse: what is done about a pulse.
        job: what is done about a write-verify job.
    """

    happened: str
    raised: type[AcceleratorError]
    pulse: Then
    job: Then
    codes: range | None = None

    def fits(self, error: AcceleratorError) -> bool:
        """Whether an error is of this row."""
        if not isinstance(error, self.raised):
            return False
        return self.codes is None or (isinstance(error, BoardError) and error.code in self.codes)


TABLE = (
    Failure("no connection, or the request did not leave whole", NotExecuted, Then.AGAIN, Then.AGAIN),
    Failure("the board saw wrong checks (0x05, 0x06) or is busy (0x08)", NotExecuted, Then.AGAIN, Then.AGAIN),
    Failure("a begun job stands still, or a restarted board forgot it", JobLost, Then.COUNT, Then.REDO),
    Failure("sent, but no valid answer: timeout, closed, damaged", AnswerLost, Then.COUNT, Then.REDO),
    Failure(
        "the hardware failed (codes from 0x07)",
        BoardError,
        Then.COUNT,
        Then.STOP,
        range(ErrorCode.CFG_REG_FAILED, 0x100),
    ),
    Failure(
        "the request was refused (codes to 0x04)", BoardError, Then.STOP, Then.STOP, range(ErrorCode.CFG_REG_FAILED)
    ),
    Failure("other chips after a reconnect, or pulsed by somebody else", OtherChips, Then.STOP, Then.STOP),
    Failure("reads that cannot be currents of cells", Implausible, Then.STOP, Then.STOP),
    Failure("a safety limit, before anything was sent", SafetyError, Then.STOP, Then.STOP),
)
"""Failure -> exception -> what the driver does; docs/escim.md shows it.

It begins where the client has given up: that repeats reads, and what was not executed over an unbroken connection.
"""


def failure(error: AcceleratorError) -> Failure | None:
    """The row of an error; None for one that is not of the wire."""
    return next((row for row in TABLE if row.fits(error)), None)


def markdown() -> str:
    """:data:`TABLE` as the documentation shows it."""
    head = ["| what happened | exception | a pulse | a write-verify job |", "|---|---|---|---|"]
    rows = [f"| {row.happened} | `{row.raised.__name__}` | {row.pulse.value} | {row.job.value} |" for row in TABLE]
    return "\n".join([*head, *rows])


@dataclass(frozen=True)
class LostPulse:
    """A pulse whose answer did not come.

    Attributes:
        cells: cell numbers.
        reset: RESET when True.
        before_ua: what they read last before it.
        after_ua: what they read after the connection was back; NaN where they could not be read.
    """

    cells: tuple[int, ...]
    reset: bool
    before_ua: tuple[float, ...]
    after_ua: tuple[float, ...]


class Recovery:
    """Gets pulses and jobs to a board in spite of interruptions.

    Attributes:
        lost: pulses whose answer did not come.
        interruptions: times that the chips had to be read again.
        n_cells: cells in use; their chips are read after an interruption.
    """

    def __init__(
        self, board: Board, config: EscimConfig, look: Callable[[int], FloatArray], readings: Readings
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            board: to work on.
            config: retries, rounds of a job, tolerance of a recognition.
            look: reads a chip, counted from 0: currents (4096,), microampere.
            readings: what every cell read last, kept here.
        """
        self.lost: list[LostPulse] = []
        self.interruptions = 0
        self.n_cells = 0
        self._board, self._config = board, config
        self._look, self._readings = look, readings
        self._last_ua = readings.last_ua
        self._lost_in_a_row = 0
        self._link: tuple[int, int] | None = None

    def read(self, chip: int) -> None:
        """Read a chip, counted from 0; over a new connection all chips in use are read and recognised.

        Raises:
            OtherChips: they are not those of before.
            AcceleratorError: from the board.
        """
        self.arrived(chip, self._look(chip))

    def arrived(self, chip: int, currents_ua: FloatArray) -> None:
        """Keep a reading of a chip, counted from 0, shape (4096,); see :meth:`read`."""
        if self._link == self._board.link:
            self._readings.keep(chip, currents_ua)
        else:
            self._recognise({chip: currents_ua})

    def refresh(self, cells: npt.NDArray[np.integer[Any]]) -> None:
        """Read those chips of the cells that were not read since the connection was made.

        Raises:
            OtherChips: over a new connection, other chips than before.
            AcceleratorError: the connection breaks again and again meanwhile.
        """
        chips = np.unique(cells // CELLS).tolist()

        def all_known() -> bool:
            doubtful = [chip for chip in chips if not self._known(chip)]
            for chip in doubtful:
                if not self._known(chip):  # one read over a new connection makes all chips in use known
                    self.read(chip)
            return not doubtful

        if not until_done(all_known, self._config.retries + 1):
            raise AcceleratorError(f"the connection breaks too often to read {len(chips)} chips in a row")

    def doubt(self) -> None:
        """Recognise the chips before anything else is done, as after a reconnect."""
        self._link = None

    def _known(self, chip: int) -> bool:
        """Whether a chip, counted from 0, was read over this connection, and recognised."""
        return self._link == self._board.link and self._board.known(chip + 1)

    def _recognise(self, read: dict[int, FloatArray]) -> None:
        """Read all chips in use over one connection and compare them with before; nothing is kept if they differ.

        Args:
            read: chips that were read just now.
        """
        self.interruptions += self.n_cells > 0
        chips = sorted({*read, *range(-(-self.n_cells // CELLS))})

        def all_read() -> bool:
            missing = [chip for chip in chips if chip not in read or not self._board.known(chip + 1)]
            read.update((chip, self._look(chip)) for chip in missing)
            return not missing

        if not until_done(all_read, self._config.retries + 1):
            raise AcceleratorError(f"the connection breaks too often to read {len(chips)} chips in a row")
        link = self._board.link
        for chip in chips:
            found = self._compare(chip, [read[chip]])
            if found.doubtful:
                found = self._compare(chip, [read[chip], *(self._look(chip) for _ in range(READS - 1))])
            if found.differs:
                raise OtherChips(
                    f"the chips read differently since the connection was made again (chip {chip + 1}: {found}): other"
                    " chips, or pulsed by somebody else. Nothing was pulsed on them; put the chips back to go on, or"
                    " load a checkpoint with restore=deploy to write its currents onto these"
                )
        for chip in chips:
            self._readings.keep(chip, read[chip])
        self._link = link

    def _compare(self, chip: int, reads: list[FloatArray]) -> Comparison:
        return self._readings.compare(chip, np.stack(reads), self.n_cells, self._config.restore_tolerance_ua)

    def give(self, pulse: Pulse) -> None:
        """Give a pulse, never twice.

        Raises:
            AcceleratorError: see :data:`TABLE`; not taken in all attempts, or too many answers in a row were lost.
        """
        attempts = self._config.retries + 1
        if not until_done(lambda: self._given(pulse), attempts):
            raise AcceleratorError(f"the board did not take a pulse in {attempts} attempts")

    def _given(self, pulse: Pulse) -> bool:
        """One attempt; whether the pulse was given, or counts as given."""
        if not self._known(pulse.chip - 1):
            self.refresh(np.array([(pulse.chip - 1) * CELLS]))
        try:
            with self._sending(lambda: self._readings.pulsed(_numbers(pulse), pulse.reset)):
                if pulse.target_ua is not None:
                    self._board.reset_target(pulse, pulse.target_ua)
                else:
                    self._board.pulse(pulse)
        except AcceleratorError as error:
            row = failure(error)
            if row is None or row.pulse is Then.STOP:
                raise
            if row.pulse is Then.COUNT:
                self._count_as_given(pulse, error)
                return True
            _LOG.warning("pulse not given, chips are read again: %s", error)
            self._resume()
            return False
        self._lost_in_a_row = 0
        return True

    def _count_as_given(self, pulse: Pulse, error: AcceleratorError) -> None:
        """The pulse may have been given: look, and note what the cells read before and after."""
        cells = _numbers(pulse)
        before = tuple(float(v) for v in self._last_ua[cells])
        link = self._link
        try:
            self._resume()
            if self._link == link:
                self.read(pulse.chip - 1)
        except AcceleratorError:
            self.lost.append(LostPulse(tuple(cells), pulse.reset, before, (float("nan"),) * len(cells)))
            raise
        after = tuple(float(v) for v in self._last_ua[cells])
        self.lost.append(LostPulse(tuple(cells), pulse.reset, before, after))
        _LOG.warning(
            "answer to a pulse lost (%s); cell %d read %.3f uA before, %.3f now", error, cells[0], before[0], after[0]
        )
        self._lost_in_a_row += 1
        if self._lost_in_a_row > MAX_LOST_IN_A_ROW:
            raise AcceleratorError(f"the answers to {self._lost_in_a_row} pulses in a row were lost: {error}")

    @contextlib.contextmanager
    def _sending(self, mark: Callable[[], None]) -> Iterator[None]:
        """Around a request: note what it may have done to cells, unless it certainly did nothing."""
        try:
            yield
        except AcceleratorError as error:
            if not (certainly_not_given(error) or isinstance(error, SafetyError)):
                mark()
            raise
        except BaseException:
            mark()
            raise
        if not self._board.dry_run:
            mark()

    def _resume(self) -> None:
        """Read every chip in use; until then nothing is known of any of them."""
        self.refresh(np.arange(0, max(self.n_cells, 1), CELLS))

    def map_block(
        self,
        block: Block,
        wanted: npt.NDArray[np.float64],
        parameters: MapParameters,
        tolerance_ua: float,
        watch: JobWatch,
    ) -> None:
        """Write-verify a block; after a lost answer only cells that read wrong are done again.

        Args:
            block: chip and lines.
            wanted: shape (128, 32), targets of the whole chip, microampere.
            parameters: of the job.
            tolerance_ua: beyond which a cell reads wrong.
            watch: told of the progress; asked whether to stop.

        Raises:
            Cancelled: the watch asked to stop.
            AcceleratorError: see :data:`TABLE`; or interrupted ``map_rounds`` times.
        """
        blocks = [block]

        def done() -> bool:
            rest = [self._mapped(each, wanted, parameters, tolerance_ua, watch) for each in blocks]
            blocks[:] = [left for some in rest for left in some]
            return not blocks

        if not until_done(done, self._config.map_rounds):
            raise AcceleratorError(f"write-verify was interrupted {self._config.map_rounds} times; see map_rounds")

    def _mapped(
        self,
        block: Block,
        wanted: npt.NDArray[np.float64],
        parameters: MapParameters,
        tolerance_ua: float,
        watch: JobWatch,
    ) -> list[Block]:
        """One job; what is left to do of it."""
        assert block.chip is not None
        watch.check()
        rows, columns = slice(block.bl, block.bl + block.n_bl), slice(block.sl, block.sl + block.n_sl)
        self.refresh(np.array([(block.chip - 1) * CELLS]))
        cells = (block.chip - 1) * CELLS + np.arange(CELLS).reshape(ROWS, COLUMNS)[rows, columns].reshape(-1)
        try:
            with self._sending(lambda: self._readings.aimed(cells, wanted[rows, columns].reshape(-1))):
                self._board.map_block(block, wanted[rows, columns], parameters, watch.progress, watch.cancelled)
        except AcceleratorError as error:
            row = failure(error)
            if row is None or row.job is Then.STOP:
                raise
            if row.job is Then.AGAIN:
                _LOG.warning("write-verify not begun, it is asked for again: %s", error)
                return [block]
            _LOG.warning("write-verify interrupted, the chip is read before going on: %s", error)
            return self._unfinished(block, wanted, tolerance_ua, watch, isinstance(error, JobLost))
        return []

    def _unfinished(
        self, block: Block, wanted: npt.NDArray[np.float64], tolerance_ua: float, watch: JobWatch, lost: bool
    ) -> list[Block]:
        """Wait for a job that may still run, unless it is lost; rectangles of its cells that read out of tolerance."""
        assert block.chip is not None
        try:
            if not lost:
                self._board.wait_for_map(block.cells, watch.progress, watch.cancelled)
        except AnswerLost as error:
            _LOG.warning("%s", error)
        self._board.job.leave()
        self._resume()
        currents = self._last_ua[(block.chip - 1) * CELLS : block.chip * CELLS].reshape(ROWS, COLUMNS)
        inside = np.zeros((ROWS, COLUMNS), np.bool_)
        inside[block.bl : block.bl + block.n_bl, block.sl : block.sl + block.n_sl] = True
        return rectangles(inside & (np.abs(currents - wanted) > tolerance_ua), block.chip)


def _numbers(pulse: Pulse) -> list[int]:
    """The pulse's cells, numbered through all chips."""
    return [(pulse.chip - 1) * CELLS + cell for cell in pulse.cells]
