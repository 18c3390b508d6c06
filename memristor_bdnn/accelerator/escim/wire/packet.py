"""Packets of the board: 7-byte head with an XOR check, payload, CRC-16/MODBUS; no sockets here.

A decoder never raises on what arrives: it returns frames that say which of their checks hold, so
that the caller (client or emulator) decides. Nothing is accepted whose checks fail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import AcceleratorError, ConfigError

REQUEST_START, RESPONSE_START = 0x3A, 0x3B
HEAD_BYTES, CRC_BYTES = 7, 2
MAX_PAYLOAD = 65533
ERROR_MARK = 0x8F
UNKNOWN_COMMAND = 0xFF

_CHUNK = 256
_SHORT = 100
"""Below so many bytes a plain loop is faster."""


class FrameError(AcceleratorError):
    """What arrived is no valid packet: the byte stream cannot be trusted any more."""


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _table()


def _crc_bytes(data: bytes, crc: int) -> int:
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


@cache
def _positions() -> tuple[npt.NDArray[np.uint16], tuple[int, ...], tuple[int, ...]]:
    """Contribution of a byte value at each place of a 256-byte chunk, and the CRC shifted by a chunk.

    The CRC is linear over XOR, so a chunk's CRC is the XOR of what its bytes contribute alone.
    """
    table = np.array(_CRC_TABLE, dtype=np.uint16)
    contribution = np.empty((_CHUNK, 256), dtype=np.uint16)
    row = table
    for place in range(_CHUNK - 1, -1, -1):
        contribution[place] = row
        row = (row >> 8) ^ table[row & 0xFF]
    # One more step than place 0: a byte of the running CRC, followed by a whole chunk of zeros.
    zeros = bytes(_CHUNK)
    low = tuple(_crc_bytes(zeros, value) for value in range(256))
    high = tuple(_crc_bytes(zeros, value << 8) for value in range(256))
    return contribution.reshape(-1), low, high


_OFFSETS = np.arange(_CHUNK, dtype=np.intp) * 256


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS (0xA001 reflected, initial 0xFFFF); b"123456789" gives 0x4B37."""
    size = len(data)
    if size < _SHORT:
        return _crc_bytes(data, 0xFFFF)
    contribution, low, high = _positions()
    chunks = -(-size // _CHUNK)
    # The initial value is the same as inverting the first two bytes, and then zeros in front change nothing.
    values = np.zeros(chunks * _CHUNK, dtype=np.uint8)
    values[-size:] = np.frombuffer(data, dtype=np.uint8)
    values[-size : 2 - size] ^= 0xFF
    crc = 0
    parts = contribution[values.reshape(chunks, _CHUNK) + _OFFSETS]
    for part in np.bitwise_xor.reduce(parts, axis=1).tolist():
        crc = low[crc & 0xFF] ^ high[crc >> 8] ^ part
    return crc


def head_check(head: bytes) -> int:
    """XOR of the first six bytes of a head."""
    return head[0] ^ head[1] ^ head[2] ^ head[3] ^ head[4] ^ head[5]


@dataclass(frozen=True)
class Frame:
    """One packet as it arrived.

    Attributes:
        start: 0x3A for a request, 0x3B for a response.
        command: command number (0xFF in the answer to an unknown command).
        parameter1: parameter 1, or 0x8F in an error response.
        parameter2: parameter 2, or the error code.
        length: the head's length field: payload bytes plus 2, or 0.
        payload: the body without its CRC.
        head_ok: the head check is right.
        crc_ok: the CRC is right (True without a body; False for the impossible lengths 1 and 2).
        zero_head_check: the head check byte is zero (how firmware without checks answers).
    """

    start: int
    command: int
    parameter1: int
    parameter2: int
    length: int
    payload: bytes
    head_ok: bool
    crc_ok: bool
    zero_head_check: bool = False

    @property
    def error_code(self) -> int:
        """Error code of a response; 0 for success."""
        return self.parameter2 if self.parameter1 == ERROR_MARK else 0


def encode(
    start: int, command: int, parameter1: int = 0, parameter2: int = 0, payload: bytes = b"", checks: bool = True
) -> bytes:
    """Bytes of a packet; with ``checks`` off the head check and the CRC are sent as zeros.

    Raises:
        ConfigError: a field does not fit its byte, or the payload is too long.
    """
    for name, value in (("command", command), ("parameter 1", parameter1), ("parameter 2", parameter2)):
        if not 0 <= value <= 0xFF:
            raise ConfigError(f"{name} {value!r}: allowed 0 to 255")
    if len(payload) > MAX_PAYLOAD:
        raise ConfigError(f"payload of {len(payload)} bytes: a packet holds {MAX_PAYLOAD} at most")
    length = len(payload) + CRC_BYTES if payload else 0
    head = struct.pack("<BBBBH", start, command, parameter1, parameter2, length)
    head += bytes((head_check(head) if checks else 0,))
    if not payload:
        return head
    return head + payload + struct.pack("<H", crc16(payload) if checks else 0)


def encode_request(
    command: int, parameter1: int = 0, parameter2: int = 0, payload: bytes = b"", checks: bool = True
) -> bytes:
    """Bytes of a request."""
    return encode(REQUEST_START, command, parameter1, parameter2, payload, checks)


def encode_response(command: int, payload: bytes = b"", error: int = 0, checks: bool = True) -> bytes:
    """Bytes of a response; with ``error`` an error response, which has no payload."""
    if error:
        return encode(RESPONSE_START, command, ERROR_MARK, error, b"", checks)
    return encode(RESPONSE_START, command, 0, 0, payload, checks)


def parse(data: bytes) -> Frame:
    """The frame in a complete packet.

    Raises:
        FrameError: too short, too long, or not starting with 0x3A or 0x3B.
    """
    if len(data) < HEAD_BYTES or data[0] not in (REQUEST_START, RESPONSE_START):
        raise FrameError(f"no packet: {len(data)} bytes starting with {data[:7].hex(' ') or 'nothing'}")
    length = data[4] | data[5] << 8
    if len(data) != HEAD_BYTES + length:
        raise FrameError(f"packet of {len(data)} bytes, but its head announces {HEAD_BYTES + length}")
    return _frame(data[:HEAD_BYTES], data[HEAD_BYTES:])


def _frame(head: bytes, body: bytes) -> Frame:
    length = len(body)
    payload = body[:-CRC_BYTES] if length > CRC_BYTES else b""
    if length > CRC_BYTES:
        crc_ok = crc16(payload) == (body[-2] | body[-1] << 8)
    else:
        crc_ok = length == 0
    return Frame(head[0], head[1], head[2], head[3], length, payload, head[6] == head_check(head), crc_ok, head[6] == 0)


def accept_response(frame: Frame, command: int, checks: bool = True) -> Frame:
    """Check a response against the request it answers; returns it unchanged.

    Raises:
        FrameError: a wrong start, check, command echo or length, or a malformed error response.
    """
    if frame.start != RESPONSE_START:
        raise FrameError(f"answer starts with 0x{frame.start:02X}, expected 0x3B")
    if checks and not frame.head_ok:
        raise FrameError("head check of the answer is wrong")
    if not checks and not frame.zero_head_check and not frame.head_ok:
        raise FrameError("head check of the answer is neither right nor zero")
    if frame.length in (1, 2):
        raise FrameError(f"answer announces {frame.length} body bytes; a body has at least 3")
    if checks and not frame.crc_ok:
        raise FrameError("CRC of the answer is wrong")
    failed = frame.parameter1 == ERROR_MARK
    if failed and (frame.length or not frame.parameter2):
        raise FrameError(f"malformed error answer (length {frame.length}, code {frame.parameter2})")
    if not failed and (frame.parameter1 or frame.parameter2):
        raise FrameError(f"answer with parameters {frame.parameter1}, {frame.parameter2}; expected 0, 0")
    if frame.command != command and not (failed and frame.command == UNKNOWN_COMMAND):
        raise FrameError(f"answer to command 0x{frame.command:02X}, but 0x{command:02X} was asked")
    return frame


class Decoder:
    """Cuts a byte stream into frames; drops bytes until a start byte, as the board does.

    ``feed`` any number of bytes, then call ``next`` until it returns None. ``dropped`` counts the
    bytes that belonged to no packet.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.dropped = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Append received bytes."""
        self._buffer += data

    def next(self) -> Frame | None:
        """The next complete frame (checks evaluated, not enforced), or None when more is needed."""
        at = self._buffer.find(self.start)
        skip = len(self._buffer) if at < 0 else at
        if skip:
            self.dropped += skip
            del self._buffer[:skip]
        if len(self._buffer) < HEAD_BYTES:
            return None
        end = HEAD_BYTES + (self._buffer[4] | self._buffer[5] << 8)
        if len(self._buffer) < end:
            return None
        frame = _frame(bytes(self._buffer[:HEAD_BYTES]), bytes(self._buffer[HEAD_BYTES:end]))
        del self._buffer[:end]
        return frame

    @property
    def pending(self) -> int:
        """Bytes held back that do not form a frame yet."""
        return len(self._buffer)
