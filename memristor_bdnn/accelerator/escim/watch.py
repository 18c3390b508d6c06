"""What goes on beside a write-verify job: progress and abort through the board's second port, and an orderly end.

A job may block the command port for half an hour, or be answered at once and go on in the background. Either way it
goes on when nobody waits for it any more, so whoever stops waiting has it aborted.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType

from memristor_bdnn.accelerator.escim.attempts import AnswerLost, BoardError, JobLost, NotExecuted
from memristor_bdnn.accelerator.escim.client import Client, ClientConfig
from memristor_bdnn.accelerator.escim.wire import commands
from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE, ErrorCode
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.accelerator.watching import JobWatch
from memristor_bdnn.errors import AcceleratorError, Cancelled

_LOG = logging.getLogger(__name__)
INTERVAL_S, POLL_S = 0.5, 0.06
SECOND_PORT_S = 4.0
"""The board answers MAP_ABORT after up to 2 s, everything else on this port at once."""
ABORTS = 5
"""MAP_ABORT is repeated so often while the board says that the job still runs (it ends between two cells)."""


class SecondPort:
    """The board's second command port, for MAP_PROGRESS and MAP_ABORT only; connects when it is needed."""

    def __init__(self, config: ClientConfig, recorder: Recorder, checks: bool) -> None:
        """Prepare; ``checks``: whether the board's packets carry checks."""
        impatient = replace(config, answer_timeout_s=SECOND_PORT_S, retries=min(config.retries, 1))
        self._client = Client(impatient, recorder, port=config.abort_port)
        self._client.checks = checks

    def progress(self) -> int:
        """As :meth:`.board.Board.progress`."""
        return progress(self._client)

    def abort(self) -> None:
        """As :func:`abort`."""
        abort(self._client)

    def __enter__(self) -> SecondPort:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()


def progress(client: Client, retries: int | None = None) -> int:
    """Cells finished by the map job; 0xFFFF when it has ended."""
    return int(commands.word_values(client.request(commands.map_progress(), retries=retries).payload)[0])


def abort(client: Client) -> None:
    """Ask the running job to stop, and wait until it has.

    Raises:
        AcceleratorError: it still runs, or the port does not answer.
    """
    for left in range(ABORTS - 1, -1, -1):
        try:
            client.request(commands.map_abort())
            return
        except BoardError as error:
            if error.code != ErrorCode.ABORT_TIMEOUT or not left:
                raise


class MapWatcher:
    """Follows a job that blocks the command port, through the second one, until the with block ends."""

    def __init__(self, second: SecondPort, cells: int, watch: JobWatch) -> None:
        """Watch a job; without callbacks nothing is done.

        Args:
            second: to ask and to abort through.
            cells: cells of the job.
            watch: told of the progress; asked whether to abort.
        """
        self._second, self._cells, self._watch = second, cells, watch
        self.aborted = False
        """Whether the job was aborted as asked."""
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MapWatcher:
        if self._watch != JobWatch():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def _run(self) -> None:
        with self._second:
            try:
                while not self._stop.wait(INTERVAL_S):
                    if self._watch.stop:
                        self._second.abort()
                        self.aborted = True
                        return
                    done = self._second.progress()
                    if done != PROGRESS_DONE:
                        self._watch.tell(done, self._cells)
            except AcceleratorError as error:
                _LOG.warning("the board's second port does not tell of the write-verify job: %s", error)
                self._wait_to_stop()
            except BaseException as error:  # a callback's: it ends the job like one of the caller's
                self._failure = error
                with contextlib.suppress(AcceleratorError):
                    self._second.abort()

    def _wait_to_stop(self) -> None:
        """Without a port to see through, a wish to stop is still heard, and told to the port again."""
        while not self._stop.wait(INTERVAL_S):
            if self._watch.stop:
                with contextlib.suppress(AcceleratorError):
                    self._second.abort()
                    self.aborted = True
                    return


def follow(
    client: Client, second: SecondPort, cells: int, watch: JobWatch, stall_s: float, sleep: Callable[[float], None]
) -> None:
    """Poll a job's progress until it has finished.

    Args:
        client: of the command port.
        second: asked when that port does not answer, as it may be blocked by the job itself.
        cells: cells of the job.
        watch: told of the progress; asked whether to stop.
        stall_s: without progress for so long it has ended.
        sleep: replaced in tests.

    Raises:
        Cancelled: the watch asks to stop; the job was not aborted yet.
        JobLost: no progress for ``stall_s``: aborted elsewhere, forgotten after a power cycle, or a hardware fault.
        AnswerLost: nobody tells how the job stands.
    """
    last, since, failures, link = -1, time.monotonic(), 0, client.generation
    pause = POLL_S
    ports: list[Callable[[], int]] = [partial(progress, client, retries=0), second.progress]
    while True:
        try:
            done = ports[0]()
        except (NotExecuted, AnswerLost) as error:
            ports.reverse()
            failures += 1
            if failures > 2 * (client.config.retries + 1):
                raise AnswerLost(f"the board does not tell how the write-verify job stands: {error}") from error
            continue
        failures = 0
        if done == PROGRESS_DONE:
            return
        if done < last and client.generation != link:
            raise JobLost(f"the board was restarted: it tells of {done} cells after {last} of {cells}")
        if done != last:
            last, since = done, time.monotonic()
            watch.tell(done, cells)
        if watch.stop:
            raise Cancelled("stopped as asked")
        if time.monotonic() - since > stall_s:
            raise JobLost(
                f"the write-verify job stands at {done} of {cells} cells for {stall_s:g} s: aborted, forgotten by a"
                " board that was switched off, or a hardware fault"
            )
        sleep(pause)
        pause = min(2 * pause, INTERVAL_S)


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Inside, a signal that would end this process at once (SIGTERM, SIGHUP) raises SystemExit instead.

    Handlers that a program has set are its own business and are left alone, as are other threads.
    """
    ours: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def unbroken(action: Callable[[], None]) -> None:
    """Do something to its end, however often Ctrl-C is pressed meanwhile; the last interruption is raised after it.

    Raises:
        AcceleratorError: from the action.
    """
    failures: list[AcceleratorError] = []
    done = threading.Event()  # an interrupted join takes the thread for ended (CPython up to 3.12)

    def run() -> None:
        try:
            action()
        except AcceleratorError as error:
            failures.append(error)
        finally:
            done.set()

    threading.Thread(target=run).start()
    interruption: BaseException | None = None
    while not done.is_set():
        try:
            done.wait()
        except BaseException as error:  # Ctrl-C, or a signal that ends the process: not before the board has stopped
            interruption = error
    if interruption is not None:
        raise interruption
    if failures:
        raise failures[0]
