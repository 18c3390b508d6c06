"""One TCP connection to a board: one request in flight, deadlines, reconnection, nothing repeated blindly.

The client says of every failure whether the request can have been executed: NotExecuted (it cannot) or
AnswerLost (it may have been). What is tried again here stands in :mod:`.attempts`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from memristor_bdnn.accelerator.escim.attempts import (
    REJECTED_CHECKS,
    AnswerLost,
    BoardError,
    Foreign,
    NotExecuted,
    Silence,
    attempt,
    may_repeat,
    wait_s,
)
from memristor_bdnn.accelerator.escim.wire import packet
from memristor_bdnn.accelerator.escim.wire.commands import Command, ErrorCode, Request, response_bytes
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import AcceleratorError


@dataclass(frozen=True)
class ClientConfig:
    """How to reach a board and how patient to be."""

    host: str = option("192.168.1.10", "address of the board or emulator", source="board default")
    port: int = option(7, "command port", low=1, high=65535, source="board default")
    abort_port: int = option(
        5000, "second command port, for MAP_ABORT and MAP_PROGRESS only", low=1, high=65535, source="board default"
    )
    connect_timeout_s: float = option(2.0, "time to connect", low=0.01, high=600, unit="s", source="host software")
    answer_timeout_s: float = option(
        0.0, "time to wait for any answer; 0 uses the time each command needs", low=0, high=3600, unit="s"
    )
    retries: int = option(8, "further attempts of a request that is safe to repeat", low=0, high=1000)
    backoff_s: float = option(0.05, "first wait before reconnecting; doubles", low=0, high=60, unit="s")
    backoff_max_s: float = option(2.0, "longest wait before reconnecting", low=0, high=600, unit="s")
    resync_s: float = option(0.5, "how long to look for an answer behind garbage", low=0, high=60, unit="s")
    allow_unchecked: bool = option(
        False, "tolerate old firmware that neither sends nor verifies checks", changes="start"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass
class ClientStatistics:
    """What the connection went through."""

    requests: int = 0
    connections: int = 0
    lost_answers: int = 0
    retried: int = 0
    resynchronised: int = 0
    rejected_checks: int = 0


_LOG = logging.getLogger(__name__)
_SHORT, _READ, _LONG = 5.0, 10.0, 1800.0
_FRESH_S, _FRESH_SILENCES = 3.5, 2
"""A read that is the first request of a connection need not be waited for as long: so often no byte came, and the peer
is taken for dead."""
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence after which a peer is asked whether it is there: one that lost its power is noticed in half a
minute, also in the middle of a job of half an hour."""
_TIMEOUTS = {
    Command.MAP_RESULT: _READ,
    Command.SEQ_READ: _READ,
    Command.CFG_REG: _READ,
    Command.SET_TARGET: _READ,
    Command.RESET_TARGET: _READ,
    Command.OP_RESULT: _READ,
    Command.CELL_PARA: _READ,
    Command.PULSE_GENERATOR: 60.0,
    Command.MAP_ARRAY: _LONG,
    Command.APPLY_OP: _LONG,
    Command.MAP_FLOW: _READ,
}


class Client:
    """A connection to one port of a board; every method is safe to call from several threads."""

    def __init__(
        self,
        config: ClientConfig,
        recorder: Recorder | None = None,
        *,
        port: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare a client; the first request connects.

        Args:
            config: address, timeouts, retries.
            recorder: gets every packet.
            port: the board's second one, instead of ``config.port``.
            sleep: replaced in tests.
        """
        self.config = config
        self.port = config.port if port is None else port
        self._port_number = 1 if port is None else 2
        self.checks = True
        self.statistics = ClientStatistics()
        self.generation = 0
        """Grows with every interruption of the connection: what was known of the board before is doubtful."""
        self._recorder = recorder if recorder is not None else Recorder()
        self._sleep = sleep
        self._socket: socket.socket | None = None
        self._failures = 0
        self._fresh = True
        self._fresh_silences = 0
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """Host and port."""
        return f"{self.config.host}:{self.port}"

    def request(self, request: Request, timeout_s: float | None = None, retries: int | None = None) -> packet.Frame:
        """Send a request and return its positive answer.

        Reads are repeated after a lost answer. What changes devices is repeated only if the board refused it
        unexecuted and the connection was never in doubt; the caller has to read before it goes on otherwise.

        Args:
            request: to send.
            timeout_s: for the answer, in place of what the command needs.
            retries: further attempts at most, in place of the configured ones.

        Raises:
            BoardError: the board answered with an error.
            AnswerLost: a request that may change devices was sent, and no valid answer came.
            NotExecuted: the board could not be reached, in all attempts.
        """
        with self._lock:
            generation = self.generation

            def again(error: AcceleratorError) -> bool:
                repeat = may_repeat(request, error, interrupted=self.generation != generation)
                repeat = repeat and self._fresh_silences < _FRESH_SILENCES
                self.statistics.retried += repeat
                if repeat and isinstance(error, Silence):
                    _LOG.warning("%s; asked again", error)
                return repeat

            most = self.config.retries if retries is None else retries
            return attempt(lambda: self._exchange(request, timeout_s), most, again)

    def exchange_raw(
        self, request: Request, timeout_s: float | None = None, connect_s: float | None = None
    ) -> packet.Frame:
        """One attempt whose answer's head check may be right or zero, errors included; for detection.

        Args:
            request: to send.
            timeout_s: for the answer, in place of what the command needs.
            connect_s: for the connection, in place of the configured time.

        Raises:
            NotExecuted, AnswerLost: as :meth:`request`.
        """
        with self._lock:
            return self._attempt(request, timeout_s, raw=True, connect_s=connect_s)

    def disconnect(self) -> None:
        """Close the connection; the next request opens a new one."""
        with self._lock:
            if self._socket is not None:
                self._interrupted("closed")

    close = disconnect

    def _exchange(self, request: Request, timeout_s: float | None) -> packet.Frame:
        frame = self._attempt(request, timeout_s, raw=False)
        code = frame.error_code
        if not code:
            return frame
        if code in REJECTED_CHECKS:
            self.statistics.rejected_checks += 1
            self._drop("the board saw wrong checks")
            raise NotExecuted(f"the board rejected the checks of {request.title} (0x{code:02X})")
        if code == ErrorCode.MAP_BUSY and request.command != Command.MAP_ABORT:
            self._failures += 1
            self._sleep(wait_s(self._failures, self.config.backoff_s, self.config.backoff_max_s))
            raise NotExecuted(f"the board refused {request.title}: a map job is running (0x08)")
        if code in (ErrorCode.LENGTH, ErrorCode.UNKNOWN_COMMAND) and request.payload:
            # Old firmware leaves the body in its stream and would execute what it finds there.
            self._drop("error answered before the body was read")
        raise BoardError(request, code)

    def _attempt(
        self, request: Request, timeout_s: float | None, raw: bool, connect_s: float | None = None
    ) -> packet.Frame:
        self._recorder.check()
        generation = self.generation
        connection = self._connect(self.config.connect_timeout_s if connect_s is None else connect_s)
        if request.pulses and self.generation != generation:
            raise NotExecuted(f"the connection to {self.where} was interrupted: read before pulsing")
        data = request.encode(self.checks)
        deadline = time.monotonic() + self._patience(request, timeout_s)
        self.statistics.requests += 1
        try:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            connection.sendall(data)
        except OSError as error:
            # sendall failed: the last bytes never left, so the board cannot have the whole request.
            self._recorder.event(f"not sent: {describe_error(error)}")
            self._interrupted("send failed")
            raise NotExecuted(f"sending {request.title} to {self.where} failed: {describe_error(error)}") from error
        self._recorder.packet("tx", data, self._port_number)
        try:
            frame = self._receive(connection, request, deadline, raw)
        except (OSError, packet.FrameError) as error:
            self.statistics.lost_answers += 1
            reason = str(error) if isinstance(error, packet.FrameError | _Quiet) else describe_error(error)
            self._recorder.event(f"answer lost: {reason}")
            silent = isinstance(error, _Quiet)
            self._fresh_silences += silent and self._fresh
            self._interrupted("answer lost")
            kind = Silence if silent else Foreign if isinstance(error, _NoFrame) else AnswerLost
            raise kind(f"no valid answer from {self.where} to {request.title}: {reason}") from error
        except BaseException:
            self._interrupted("cancelled while waiting")
            raise
        self._fresh, self._fresh_silences = False, 0
        if frame.error_code != ErrorCode.MAP_BUSY:
            self._failures = 0
        return frame

    def _receive(self, connection: socket.socket, request: Request, deadline: float, raw: bool) -> packet.Frame:
        head = self._head(connection, request, deadline, raw)
        length = head[4] | head[5] << 8
        body = self._bytes(connection, length, deadline)
        data = head + body
        self._recorder.packet("rx", data, self._port_number)
        frame = packet.parse(data)
        checks = self.checks and not (raw and frame.zero_head_check)
        return packet.accept_response(frame, request.command, checks)

    def _head(self, connection: socket.socket, request: Request, deadline: float, raw: bool) -> bytes:
        head = self._bytes(connection, packet.HEAD_BYTES, deadline, first=True)
        if head[0] == packet.RESPONSE_START:
            self._check_head(head, request, raw)
            return head
        if not self.checks:
            raise _NoFrame(f"it answered {head!r}, which starts with 0x{head[0]:02X} instead of 0x3B")
        limit = min(deadline, time.monotonic() + self.config.resync_s)
        dropped, seen = 0, head
        while dropped < 2 * packet.MAX_PAYLOAD:
            skip = head.find(packet.RESPONSE_START, 1)
            skip = len(head) if skip < 0 else skip
            dropped += skip
            try:
                head = head[skip:] + self._bytes(connection, skip, limit)
            except OSError as error:
                raise _NoFrame(f"it answered {seen!r}") from error
            seen = (seen + head)[:40]
            if head[0] == packet.RESPONSE_START and packet.head_check(head) == head[6]:
                with contextlib.suppress(packet.FrameError):
                    self._check_head(head, request, raw)
                    self._resynchronised(dropped)
                    return head
        raise _NoFrame(f"it answered {seen!r} and more, {dropped} bytes without an answer among them")

    def _check_head(self, head: bytes, request: Request, raw: bool) -> None:
        """Refuse a head that cannot belong to the answer before waiting for its body."""
        if packet.head_check(head) != head[6] and self.checks and not (raw and head[6] == 0):
            raise packet.FrameError("head check of the answer is wrong")
        length = head[4] | head[5] << 8
        expected = response_bytes(request)
        allowed = {0} if head[2] == packet.ERROR_MARK else {0 if not expected else expected + packet.CRC_BYTES}
        if expected is not None and length not in allowed:
            raise packet.FrameError(f"answer of {length} body bytes, expected {max(allowed)}")
        if head[1] != request.command and not (head[2] == packet.ERROR_MARK and head[1] == packet.UNKNOWN_COMMAND):
            raise packet.FrameError(f"answer to command 0x{head[1]:02X}, but 0x{request.command:02X} was asked")

    def _resynchronised(self, dropped: int) -> None:
        # The answer is whole, but the stream is not trusted for the next request.
        self.statistics.resynchronised += 1
        self._recorder.event(f"{dropped} bytes of garbage before the answer")
        self._stale = True

    def _bytes(self, connection: socket.socket, count: int, deadline: float, first: bool = False) -> bytes:
        data, begun = bytearray(), time.monotonic()
        while len(data) < count:
            remaining = deadline - time.monotonic()
            try:
                if remaining <= 0:
                    raise TimeoutError
                connection.settimeout(remaining)
                part = connection.recv(count - len(data))
            except TimeoutError as error:
                if first and not data:
                    raise _Quiet(f"timed out, not a byte in {time.monotonic() - begun:.1f} s") from error
                raise TimeoutError(f"{len(data)} of {count} bytes arrived in time") from error
            if not part:
                raise ConnectionResetError("the board closed the connection")
            data += part
        return bytes(data)

    _stale = False

    def _connect(self, timeout_s: float) -> socket.socket:
        if self._socket is not None and (self._stale or self._unusable(self._socket)):
            self._interrupted("stale connection")
        if self._socket is not None:
            return self._socket
        if self._failures:
            self._sleep(wait_s(self._failures - 1, self.config.backoff_s, self.config.backoff_max_s))
        self._failures += 1
        try:
            address = (self.config.host, self.port)
            connection = socket.create_connection(address, timeout=timeout_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(connection)
        except (OSError, UnicodeError) as error:
            reason = describe_error(error) if isinstance(error, OSError) else "no name of a computer"
            if self.statistics.connections:
                self.generation += 1
            raise NotExecuted(
                f"cannot connect to {self.where}: {reason}. Is the board on, reachable, and not"
                " in use by another client (it serves one at a time)?"
            ) from error
        self._socket, self._stale, self._fresh = connection, False, True
        self.statistics.connections += 1
        self._recorder.event(f"connected to {self.where}")
        return connection

    @staticmethod
    def _unusable(connection: socket.socket) -> bool:
        """Closed by the peer, or bytes that nobody asked for: not to be trusted with a request."""
        try:
            connection.settimeout(0)
            connection.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def _interrupted(self, reason: str) -> None:
        self.generation += 1
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        if self._socket is not None:
            self._recorder.event(f"disconnected: {reason}")
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
        self._stale = False

    def _patience(self, request: Request, timeout_s: float | None) -> float:
        if timeout_s is not None:
            return timeout_s
        if self.config.answer_timeout_s:
            return self.config.answer_timeout_s
        needed = _TIMEOUTS.get(Command(request.command), _SHORT)
        return min(needed, _FRESH_S) if self._fresh and request.repeatable else needed


class _Quiet(TimeoutError):
    """Nothing at all arrived in time."""


class _NoFrame(packet.FrameError):
    """What arrived begins like no answer."""


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def describe_error(error: OSError) -> str:
    """Text of a socket error, never empty."""
    return error.strerror or str(error) or type(error).__name__
