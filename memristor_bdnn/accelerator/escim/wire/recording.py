"""Recordings of a session with a board: one JSON line a packet, readable, sendable, replayable.

A line is {"t": seconds since the start, "kind": ..., "hex": ...}; kind is ``tx`` (request sent), ``rx``
(answer received), ``withheld`` (a dry run did not send it) or ``event`` with a "text" instead of bytes. What passed
through the board's second port has "port": 2. A recording is never written over: the next one gets a number.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from memristor_bdnn.accelerator.escim.wire import packet
from memristor_bdnn.accelerator.escim.wire.commands import ERROR_TEXT, Command, ErrorCode, Request
from memristor_bdnn.accelerator.escim.wire.registers import TABLE_BYTES, Lines, Mode, Switch
from memristor_bdnn.config import regular_bytes
from memristor_bdnn.errors import ConfigError, StoreError

_LOG = logging.getLogger(__name__)
MOST_BYTES = 1 << 30
KINDS = ("tx", "rx", "withheld", "event")


@dataclass(frozen=True)
class Entry:
    """One line of a recording: time since its start, kind, bytes of the packet or text of the event.

    Attributes:
        port: 1 for the command port, 2 for the second one.
    """

    time_s: float
    kind: str
    data: bytes
    text: str = ""
    port: int = 1


class Recorder:
    """Appends packets to a new file, one line each; without a file, withheld packets and events go to the log.

    Attributes:
        path: the file that is written: the one asked for, or with a number where that holds an earlier recording.
        withheld: packets that a dry run did not send.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Open a new file for writing; one that is there is left as it is, as it may hold what led to a crash.

        Raises:
            ConfigError: the file cannot be written.
        """
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        self._failure: str | None = None
        self.withheld = 0
        self.path: Path | None = None
        if path is not None:
            self.path, self._file = _new_file(Path(path))
            if self.path != Path(path):
                _LOG.warning("%s holds an earlier recording and is kept: this one is %s", path, self.path)

    @property
    def to_file(self) -> bool:
        """Whether packets are kept."""
        return self._file is not None

    def check(self) -> None:
        """To be called before a request is sent: nothing is sent that could not be recorded.

        Raises:
            StoreError: an earlier packet could not be written (disk full); the file holds what came before.
        """
        if self._failure is not None:
            raise StoreError(self._failure)

    def packet(self, kind: str, data: bytes, port: int = 1) -> None:
        """Record the bytes of one packet; a failure is kept for :meth:`check`, as an answer may be on its way."""
        self.withheld += kind == "withheld"
        if self._file is None:
            if kind == "withheld":
                _LOG.info("dry run, not sent: %s", describe(data))
            elif _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s", describe(data))
            return
        self._write({"t": self._now(), "kind": kind, **({"port": port} if port != 1 else {}), "hex": data.hex()})

    def event(self, text: str) -> None:
        """Record something that happened to the connection; a failure is kept for :meth:`check`."""
        if self._file is None:
            _LOG.debug("%s", text)
            return
        self._write({"t": self._now(), "kind": "event", "text": text})

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
                self._file = None

    def _now(self) -> float:
        return round(time.monotonic() - self._start, 6)

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write(json.dumps(line) + "\n")
            except OSError as error:
                self._failure = (
                    f"the recording {self.path} cannot be written: {error.strerror or error}. Nothing more is sent to"
                    " the board; make room or record elsewhere, and run again"
                )
                with contextlib.suppress(OSError):
                    self._file.close()
                self._file = None


MOST_RECORDINGS = 10_000


def _new_file(path: Path) -> tuple[Path, IO[str]]:
    """A file that was not there before, by this name or with the next number before its suffix, open for writing."""
    for number in range(MOST_RECORDINGS):
        candidate = path.with_name(f"{path.stem}.{number}{path.suffix}") if number else path
        try:
            return candidate, open(candidate, "x", buffering=1)
        except FileExistsError:
            if not candidate.is_file() and not candidate.is_symlink():
                raise ConfigError(f"cannot write the recording {path}: it is no regular file") from None
            if candidate.is_file() and candidate.stat().st_size == 0:
                with contextlib.suppress(OSError):  # an empty one is nobody's
                    return candidate, open(candidate, "a", buffering=1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"cannot write the recording {path}: {reason}") from error
    raise ConfigError(f"cannot write the recording {path}: there are {MOST_RECORDINGS} of it already; move them away")


def load(path: str | Path) -> Iterator[Entry]:
    """Read a recording.

    Raises:
        ConfigError: missing or damaged; names the line. A torn last line is left out.
    """
    try:
        lines = regular_bytes(path, "recording", MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no text (byte {error.start})"
        raise ConfigError(f"cannot read the recording {path}: {reason}") from error
    for number, line in enumerate(lines, start=1):
        try:
            item = json.loads(line)
            kind = item["kind"]
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}")
            data, port = bytes.fromhex(item.get("hex", "")), item.get("port", 1)
            if port not in (1, 2):
                raise ValueError(f"port {port!r}: 1 or 2")
            yield Entry(float(item["t"]), kind, data, str(item.get("text", "")), port)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):
                _LOG.warning("%s: the last line is torn and left out", path)
                return
            raise ConfigError(f"{path}, line {number}: not a recording ({error})") from error


def exchanges(path: str | Path, port: int = 1) -> list[tuple[bytes, bytes | None]]:
    """Requests of a recording through one port with their answers; None where the answer was lost."""
    pairs: list[tuple[bytes, bytes | None]] = []
    for entry in load(path):
        if entry.port != port:
            continue
        if entry.kind == "tx":
            pairs.append((entry.data, None))
        elif entry.kind == "rx" and pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], entry.data)
    return pairs


def describe(data: bytes) -> str:
    """One line for a person about a packet's bytes."""
    try:
        frame = packet.parse(data)
    except packet.FrameError as error:
        return f"broken packet: {error}"
    name = Command(frame.command).name if frame.command in set(Command) else f"0x{frame.command:02X}"
    marks = "" if frame.head_ok and frame.crc_ok else " [check wrong or off]"
    if frame.start == packet.RESPONSE_START:
        if frame.error_code:
            code = frame.error_code
            text = ERROR_TEXT[ErrorCode(code)] if code in set(ErrorCode) else "unknown error"
            return f"<- {name} error 0x{code:02X}: {text}{marks}"
        return f"<- {name} {len(frame.payload)} bytes{marks}"
    request = Request(frame.command, frame.parameter1, frame.parameter2, frame.payload)
    return f"-> {name} {_details(request)}{marks}"


def _details(request: Request) -> str:
    if request.command != Command.CFG_REG or len(request.payload) != TABLE_BYTES:
        return f"p1 {request.parameter1} p2 {request.parameter2}, {len(request.payload)} bytes"
    lines = Lines.unpack(request.payload)
    mode = Mode(lines.mode).name if lines.mode in set(Mode) else f"mode 0x{lines.mode:X}"
    active = Switch.TIA if lines.mode == Mode.READ else Switch.GND if lines.mode == Mode.RESET else Switch.DAC
    rows = [int(i) for i in (lines.bl_switch == active).nonzero()[0]]
    columns = [int(i) for i in (lines.wl_switch == Switch.DAC).nonzero()[0]]
    return f"{mode} chip {lines.chip} BL {_span(rows)} WL {_span(columns)} {lines.count} x {20 * lines.width} ns"


def _span(lines: list[int]) -> str:
    if len(lines) > 2 and lines == list(range(lines[0], lines[-1] + 1)):
        return f"{lines[0]}..{lines[-1]}"
    return ",".join(map(str, lines[:8])) + (",..." if len(lines) > 8 else "")
