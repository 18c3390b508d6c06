"""Recordings of a session with a board: one JSON line a packet, readable, sendable, replayable.

A line is {"t": seconds since the start, "kind": ..., "hex": ...}; kind is ``tx`` (request sent), ``rx``
(answer received), ``withheld`` (a dry run did not send it) or ``event`` with a "text" instead of bytes.
"""

from __future__ import annotations

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
from memristor_bdnn.errors import ConfigError

_LOG = logging.getLogger(__name__)
MOST_BYTES = 1 << 30
KINDS = ("tx", "rx", "withheld", "event")


@dataclass(frozen=True)
class Entry:
    """One line of a recording: time since its start, kind, bytes of the packet or text of the event."""

    time_s: float
    kind: str
    data: bytes
    text: str = ""


class Recorder:
    """Appends packets to a file, one line each; without a file, withheld packets and events go to the log."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Open ``path`` for writing (it is replaced).

        Raises:
            ConfigError: the file cannot be written.
        """
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._file = open(path, "w", buffering=1)
            except OSError as error:
                raise ConfigError(f"cannot write the recording {path}: {error.strerror}") from error

    @property
    def to_file(self) -> bool:
        """Whether packets are kept."""
        return self._file is not None

    def packet(self, kind: str, data: bytes) -> None:
        """Record the bytes of one packet."""
        if self._file is None:
            if kind == "withheld":
                _LOG.info("dry run, not sent: %s", describe(data))
            elif _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s", describe(data))
            return
        self._write({"t": self._now(), "kind": kind, "hex": data.hex()})

    def event(self, text: str) -> None:
        """Record something that happened to the connection."""
        if self._file is None:
            _LOG.debug("%s", text)
            return
        self._write({"t": self._now(), "kind": "event", "text": text})

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _now(self) -> float:
        return round(time.monotonic() - self._start, 6)

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            if self._file is not None:
                self._file.write(json.dumps(line) + "\n")


def load(path: str | Path) -> Iterator[Entry]:
    """Read a recording.

    Raises:
        ConfigError: missing or damaged; names the line. A torn last line is left out.
    """
    try:
        lines = regular_bytes(path, "recording", MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recording {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        try:
            item = json.loads(line)
            kind = item["kind"]
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}")
            yield Entry(float(item["t"]), kind, bytes.fromhex(item.get("hex", "")), str(item.get("text", "")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):
                _LOG.warning("%s: the last line is torn and left out", path)
                return
            raise ConfigError(f"{path}, line {number}: not a recording ({error})") from error


def exchanges(path: str | Path) -> list[tuple[bytes, bytes | None]]:
    """Requests of a recording with their answers; None where the answer was lost."""
    pairs: list[tuple[bytes, bytes | None]] = []
    for entry in load(path):
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
