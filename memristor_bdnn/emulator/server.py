"""Serves an emulated board, or a recorded session, over TCP: two ports, one client at a time on each."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from memristor_bdnn.accelerator.escim.wire import packet, recording
from memristor_bdnn.accelerator.escim.wire.commands import Command, ErrorCode
from memristor_bdnn.emulator.board import EmulatedBoard
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector, Plan
from memristor_bdnn.emulator.maps import PowerCut
from memristor_bdnn.errors import AcceleratorError, ConfigError

_LOG = logging.getLogger(__name__)
BOARD_ABORT_PORT = 5000
BESIDE = (Command.MAP_PROGRESS, Command.MAP_ABORT)


class Responder(Protocol):
    """What a server needs: bytes for a frame, or None to close the connection."""

    def respond(self, frame: packet.Frame, plan: Plan) -> bytes | None:
        """Answer of one request under its faults."""


class BoardResponder:
    """An emulated board under faults."""

    def __init__(self, board: EmulatedBoard, faults: FaultInjector) -> None:
        """Answer from ``board``; faults that change frames use the injector's generator."""
        self.board, self.faults = board, faults

    def respond(self, frame: packet.Frame, plan: Plan) -> bytes | None:
        """The answer's bytes; None closes the connection."""
        if plan.reset:
            self.board.power_up()
            return None
        if plan.drop_before:
            return None
        if plan.busy:
            return self.board.refuse(frame.command, ErrorCode.MAP_BUSY)
        try:
            answer = self.board.answer(frame)
        except PowerCut:
            return None
        if plan.drop_after:
            return None
        return self.faults.corrupted(answer) if plan.corrupt_answer else answer


class ReplayResponder:
    """A recorded session: every request must be the next one of the recording, byte for byte."""

    def __init__(self, path: str | Path) -> None:
        """Load a recording.

        Raises:
            ConfigError: unreadable, or without a request.
        """
        self.pairs = recording.exchanges(path)
        self.beside = [answer for _, answer in recording.exchanges(path, port=2)]
        if not self.pairs:
            raise ConfigError(f"{path}: the recording holds no request")
        self.position = 0
        self.mismatch: str | None = None

    def respond(self, frame: packet.Frame, plan: Plan) -> bytes | None:
        """The recorded answer; None (close) where it was lost, at the end, or on a different request."""
        if frame.command in BESIDE and self.beside and not self._expects(frame.command):
            return self.beside.pop(0)  # progress or abort through the second port, whenever it is asked for
        if self.position >= len(self.pairs):
            self.mismatch = f"request {self.position + 1}: the recording ends after {len(self.pairs)}"
            return None
        expected, answer = self.pairs[self.position]
        recorded = packet.parse(expected)
        if recorded != frame:
            self.mismatch = (
                f"request {self.position + 1} differs: recorded {recording.describe(expected)}, got command"
                f" 0x{frame.command:02X} with {len(frame.payload)} bytes"
            )
            _LOG.warning("%s", self.mismatch)
            return None
        self.position += 1
        return answer

    def _expects(self, command: int) -> bool:
        return self.position < len(self.pairs) and self.pairs[self.position][0][1] == command


class Server:
    """Listens on two ports; use as a context manager or with :meth:`start` and :meth:`stop`."""

    def __init__(
        self,
        responder: Responder,
        host: str = "127.0.0.1",
        port: int = 0,
        abort_port: int | None = 0,
        faults: FaultInjector | None = None,
    ) -> None:
        """Bind the ports (0: any free one; None for the second: the board's 5000 if it is free).

        Raises:
            AcceleratorError: an address is in use or not allowed.
        """
        self._responder = responder
        self._faults = FaultInjector(FaultConfig()) if faults is None else faults
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._listeners: list[socket.socket] = []
        for numbers in ((port,), (BOARD_ABORT_PORT, 0) if abort_port is None else (abort_port,)):
            self._listeners.append(self._bind(host, numbers))
        self.host = host
        self.port, self.abort_port = (listener.getsockname()[1] for listener in self._listeners)

    def _bind(self, host: str, numbers: tuple[int, ...]) -> socket.socket:
        """A listener on the first of these ports that can be had."""
        for number in numbers:
            try:
                return socket.create_server((host, number), backlog=0)
            except OSError as error:
                reason = error.strerror or str(error)
            except OverflowError:
                reason = "a port is a number from 0 to 65535"
            except (UnicodeError, ValueError):
                reason = "no name of a computer"
        self.stop()
        raise AcceleratorError(f"cannot listen on {host}:{numbers[-1]}: {reason}")

    def start(self) -> Server:
        """Serve in background threads."""
        for listener in self._listeners:
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        """Close all connections and ports; safe to call twice."""
        self._stop.set()
        for each in (*self._listeners, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                connection, address = listener.accept()
            except OSError:
                return
            _LOG.debug("client %s connected", address)
            self._connections.add(connection)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(connection)
            except OSError as error:
                _LOG.debug("client %s lost: %s", address, error)
            except Exception:
                # A defect in answering one client must not take the board away from the next.
                _LOG.exception("client %s: its connection is closed", address)
            finally:
                connection.close()
                self._connections.discard(connection)

    def _serve(self, connection: socket.socket) -> None:
        decoder = packet.Decoder(packet.REQUEST_START)
        while not self._stop.is_set():
            data = connection.recv(1 << 17)
            if not data:
                return
            decoder.feed(data)
            while (frame := decoder.next()) is not None:
                if not self._handle(connection, frame):
                    return

    def _handle(self, connection: socket.socket, frame: packet.Frame) -> bool:
        plan = self._faults.plan()
        if plan.corrupt_request:
            data = packet.encode(frame.start, frame.command, frame.parameter1, frame.parameter2, frame.payload)
            frame = _as_arrived(self._faults.corrupted(data), frame)
        answer = self._responder.respond(frame, plan)
        if plan.delay_s:
            self._stop.wait(plan.delay_s)
        if answer is None:
            return False
        if plan.garbage:
            connection.sendall(self._faults.random_bytes(plan.garbage))
        if plan.truncate:
            connection.sendall(answer[: max(1, len(answer) // 2)])
            return False
        connection.sendall(answer)
        return True


def _as_arrived(data: bytes, frame: packet.Frame) -> packet.Frame:
    """A corrupted request as the board's decoder sees it, with the body it had."""
    body = data[packet.HEAD_BYTES :]
    crc_ok = len(body) <= 2 or packet.crc16(body[:-2]) == (body[-2] | body[-1] << 8)
    return packet.Frame(
        frame.start, data[1], data[2], data[3], frame.length, body[:-2], packet.head_check(data) == data[6], crc_ok
    )


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = 0.05) -> bool:
    """Poll a condition; False after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True
