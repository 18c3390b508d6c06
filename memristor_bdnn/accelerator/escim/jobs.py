"""A write-verify job on the board from its beginning to an end that is known: finished, aborted, or lost.

One path for jobs that block the command port until they are done and for those that are answered at once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from memristor_bdnn.accelerator.escim import watch as port
from memristor_bdnn.accelerator.escim.attempts import AnswerLost, NotExecuted
from memristor_bdnn.accelerator.escim.client import Client
from memristor_bdnn.accelerator.escim.watch import MapWatcher, SecondPort
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.watching import JobWatch
from memristor_bdnn.errors import AcceleratorError, Cancelled

_LOG = logging.getLogger(__name__)
ABORTED = "the write-verify job was aborted on the board"
STILL_WRITING = "stopped as asked, but the board did not abort its write-verify job and may still be writing"


class JobControl:
    """Watches, follows and aborts the job of one board.

    Attributes:
        runs: whether a job that was begun here may still run.
    """

    def __init__(self, client: Client, recorder: Recorder, stall_s: float, sleep: Callable[[float], None]) -> None:
        """Prepare; nothing is sent.

        Args:
            client: of the command port.
            recorder: gets the packets of the second port too.
            stall_s: a job without progress for so long has ended.
            sleep: replaced in tests.
        """
        self.runs = False
        self._client, self._recorder, self._stall_s, self._sleep = client, recorder, stall_s, sleep

    def _second(self) -> SecondPort:
        return SecondPort(self._client.config, self._recorder, self._client.checks)

    @contextlib.contextmanager
    def watched(self, cells: int, watch: JobWatch) -> Iterator[None]:
        """Inside, while a job may block the command port, it is watched through the second one.

        Raises:
            Cancelled: at the end, when it was aborted as asked.
        """
        with MapWatcher(self._second(), cells, watch) as watcher:
            yield
        if watcher.aborted:
            self.runs = False
            raise Cancelled(ABORTED)

    def wait(self, cells: int, watch: JobWatch) -> None:
        """Follow the job until it has finished.

        Raises:
            JobLost: no progress for ``stall_s``, or the board was restarted.
            AnswerLost: nobody tells how it stands.
            Cancelled: aborted as asked.
        """
        with self.attended(AnswerLost), self._second() as second:
            try:
                port.follow(self._client, second, cells, watch, self._stall_s, self._sleep)
            except Cancelled:
                self.runs = True
                raise Cancelled(ABORTED if self.leave() else STILL_WRITING) from None
        self.runs = False

    def abort(self) -> None:
        """Abort a job through the second port, which answers while the first one blocks, or else through the first.

        Raises:
            AcceleratorError: it still runs after ten seconds, or no port answers.
        """
        try:
            with self._second() as second:
                second.abort()
        except (NotExecuted, AnswerLost) as error:
            _LOG.warning("the second port does not answer, the command port is asked to abort: %s", error)
            port.abort(self._client)

    def leave(self) -> bool:
        """Abort the job that was begun here, if it may still run; False if it could not be aborted (logged)."""
        if not self.runs:
            return True
        self.runs = False
        try:
            port.unbroken(self.abort)
        except AcceleratorError as error:
            _LOG.error("%s did not abort its write-verify job and may still be writing: %s", self._client.where, error)
            return False
        _LOG.warning("the write-verify job of %s was aborted, as nobody waits for it any more", self._client.where)
        return True

    @contextlib.contextmanager
    def attended(self, *recoverable: type[BaseException]) -> Iterator[None]:
        """Inside, what ends the block early, Ctrl-C and SIGTERM too, has the job aborted; ``recoverable`` has not."""
        with port.orderly_end():
            try:
                yield
            except recoverable:
                raise
            except BaseException:
                self.leave()
                raise
