"""What goes wrong in a laboratory, and how long it takes until the driver says so by name.

Each scenario is played against an emulated board, or a peer that is none, over loopback TCP, and ends with the error
that the driver raises. A scenario without an error is a failure, except those that the driver has to get over itself.
Other chips and reads that cannot be true are the subject of :mod:`.failures`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.escim.wire import packet
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector, Plan
from memristor_bdnn.emulator.server import BoardResponder, Responder, Server, wait_until
from memristor_bdnn.errors import AcceleratorError, MemristorError

CELLS = 4096
TARGET_UA = 2.0
IN_TOLERANCE = 0.7
"""Share of the cells in tolerance from which a deployment counts as done; undisturbed it is 0.9."""


Answer = Callable[[packet.Frame, "bytes | None"], "bytes | None"]
"""What a board answers to a frame, from what it would have answered; None closes the connection."""


@dataclass(frozen=True)
class Row:
    """Outcome of one scenario.

    Attributes:
        scenario: its name.
        error: class of the error, ``no error``, or ``none needed`` where the driver got over it.
        text: of the error.
        seconds: from the fault to the error, or to the end of the work.
        ok: whether the error is one of this package's, or the work was done where that is what is wanted.
    """

    scenario: str
    error: str
    text: str
    seconds: float
    ok: bool


class Lab:
    """An emulated board behind TCP, to which things happen.

    Attributes:
        board: the emulated board.
        seen: commands it was sent.
    """

    def __init__(self, seed: int, answer: Answer | None = None, **options: Any) -> None:
        """Start it; ``answer`` may change what it answers to a frame."""
        self.board = EmulatedBoard(EmulatorConfig(seed=seed, **options))
        self.seen: list[int] = []
        self._answer = answer
        self.server = Server(self._responder()).start()
        self._opened: list[Any] = []

    def _responder(self) -> Responder:
        plain = BoardResponder(self.board, FaultInjector(FaultConfig()))

        class Changed:
            def respond(_, frame: packet.Frame, plan: Plan) -> bytes | None:
                self.seen.append(frame.command)
                given = plain.respond(frame, plan)
                return given if self._answer is None else self._answer(frame, given)

        return Changed()

    def driver(self, **options: Any) -> Any:
        """A driver of it with a chip allocated."""
        address = {"host": "127.0.0.1", "port": self.server.port, "abort_port": self.server.abort_port}
        chips = accelerator.create("escim", **{**address, "reset_by": "cfg_reg", "map_stall_s": 2.0, **options})
        self._opened.append(chips)
        chips.allocate(CELLS)
        return chips

    def restart(self, board: EmulatedBoard) -> None:
        """The power goes off, and comes back with this board at the same address."""
        port, second = self.server.port, self.server.abort_port
        self.server.stop()
        self.board = board
        self.server = Server(self._responder(), port=port, abort_port=second).start()

    def running(self, cells: int = 1024) -> None:
        """Wait until a job has done some cells."""
        wait_until(lambda: self.board.job_running and self.board.jobs.progress >= cells, 60.0, 0.005)

    def close(self) -> None:
        """Release drivers and ports."""
        for each in self._opened:
            with contextlib.suppress(MemristorError):
                each.close()
        self.server.stop()


class Stopwatch:
    """Seconds since the fault; begins with the scenario unless told otherwise."""

    def __init__(self) -> None:
        self.fault()

    def fault(self) -> None:
        """It happens now."""
        self._at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since it happened."""
        return time.perf_counter() - self._at


def measure(seed: int) -> list[Row]:
    """Play every scenario once."""
    return [_play(name, play, seed) for name, play in SCENARIOS.items()]


def _play(name: str, play: Callable[[int, Stopwatch], str | None], seed: int) -> Row:
    watch = Stopwatch()
    try:
        outcome = play(seed, watch)
    except MemristorError as error:
        return Row(name, type(error).__name__, str(error), watch.seconds, name not in WITHOUT_ERROR)
    except Exception as error:  # what the driver should have named
        return Row(name, type(error).__name__, str(error), watch.seconds, False)
    if name in WITHOUT_ERROR:
        return Row(name, "none needed", outcome or "", watch.seconds, not outcome)
    return Row(name, "no error", outcome or "", watch.seconds, False)


@contextlib.contextmanager
def _lab(seed: int, **options: Any) -> Iterator[Lab]:
    lab = Lab(seed, **options)
    try:
        yield lab
    finally:
        lab.close()


def _directions(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 1], CELLS) * (rng.random(CELLS) < 0.05)).astype(np.int8)


def _use(chips: Any, seed: int) -> None:
    """What a learner does: deploys, reads, pulses."""
    chips.read(3)
    chips.write_verify(np.full(CELLS, TARGET_UA))
    chips.read(3)
    chips.pulse(_directions(seed))
    chips.read(3)


def _pulsed_meanwhile(seed: int, watch: Stopwatch) -> None:
    with _lab(seed) as lab:
        chips = lab.driver()
        chips.write_verify(np.full(CELLS, TARGET_UA))
        board = lab.board
        lab.restart(board)
        everywhere = np.arange(CELLS)
        board.chips.cells.move(everywhere, np.full(CELLS, 1.0, np.float32))
        watch.fault()
        chips.pulse(_directions(seed))
        chips.read(3)


def _abort(blocking: bool) -> Callable[[int, Stopwatch], None]:
    def play(seed: int, watch: Stopwatch) -> None:
        with _lab(seed, timing=True, blocking_map=blocking) as lab:
            chips = lab.driver(map_relax_us=1000)
            asked = threading.Event()

            def ask() -> None:
                lab.running()
                watch.fault()
                asked.set()

            thread = threading.Thread(target=ask)
            thread.start()
            try:
                with chips.watched(cancelled=asked.is_set):
                    chips.write_verify(np.full(CELLS, TARGET_UA))
            finally:
                thread.join()
                if lab.board.jobs.running or Command.MAP_ABORT not in lab.seen:
                    raise RuntimeError("the board goes on writing")

    return play


def _resume(blocking: bool) -> Callable[[int, Stopwatch], str | None]:
    def play(seed: int, watch: Stopwatch) -> str | None:
        with _lab(seed, timing=True, blocking_map=blocking) as lab:
            chips = lab.driver(map_relax_us=300)

            def cut() -> None:
                lab.running()
                lab.board.power_up()
                watch.fault()
                lab.restart(lab.board)

            thread = threading.Thread(target=cut)
            thread.start()
            report = chips.write_verify(np.full(CELLS, TARGET_UA))
            thread.join()
            share = report.within_tolerance / report.cells
            return None if share > IN_TOLERANCE else f"{share:.0%} of the cells in tolerance"

    return play


def _second_client(seed: int, watch: Stopwatch) -> None:
    with _lab(seed) as lab:
        lab.driver()
        watch.fault()
        lab.driver()


def _peer(first: bytes, speaks: bool) -> Callable[[int, Stopwatch], None]:
    """A peer that accepts connections and says nothing, or something that is no answer."""

    def play(seed: int, watch: Stopwatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            kept = []

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        kept.append(connection)
                        if speaks:
                            connection.recv(100)
                            connection.sendall(first)

            threading.Thread(target=accept, daemon=True).start()
            port = listener.getsockname()[1]
            try:
                accelerator.create("escim", host="127.0.0.1", port=port, abort_port=port).close()
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                for connection in kept:
                    connection.close()

    return play


def _falls_silent(seed: int, watch: Stopwatch) -> None:
    quiet = threading.Event()

    def answer(frame: packet.Frame, given: bytes | None) -> bytes | None:
        return b"" if quiet.is_set() else given

    with _lab(seed, answer=answer) as lab:
        chips = lab.driver()
        quiet.set()
        watch.fault()
        chips.read(1)


def _broken_chip(seed: int, watch: Stopwatch) -> None:
    def answer(frame: packet.Frame, given: bytes | None) -> bytes | None:
        broken = frame.command == Command.READ_ALL and frame.parameter1 == 2
        return packet.encode_response(frame.command, error=3) if broken else given

    with _lab(seed, answer=answer) as lab:
        try:
            _use(lab.driver(), seed)
        except AcceleratorError as error:
            if "chip 2" not in str(error):
                raise RuntimeError(f"it does not say which chip: {error}") from error
            raise


SCENARIOS: dict[str, Callable[[int, Stopwatch], str | None]] = {
    "swap: pulsed by somebody else": _pulsed_meanwhile,
    "abort: blocking job": _abort(True),
    "abort: background job": _abort(False),
    "resume: blocking job": _resume(True),
    "resume: background job": _resume(False),
    "two clients": _second_client,
    "silent peer": _peer(b"", False),
    "silent in mid session": _falls_silent,
    "no ESCIM: a web server": _peer(b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
    "one chip does not answer": _broken_chip,
}
"""Faults by name; those in :data:`WITHOUT_ERROR` the driver gets over itself."""
WITHOUT_ERROR = ("resume: blocking job", "resume: background job")
