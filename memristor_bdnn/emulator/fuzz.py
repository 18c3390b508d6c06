"""Random and damaged bytes against the codec and the emulated board: nothing bad may be accepted, nothing may crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memristor_bdnn.accelerator.escim.wire import commands, packet
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.accelerator.escim.wire.layouts import MapArray, MapFlow, TargetPulses
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.errors import MemristorError

_COMMANDS = np.array([*Command, 0x00, 0x10, 0x7F, 0x80, 0xFF])
_PARSERS: tuple[Callable[[bytes], object], ...] = (
    MapArray.parse,
    lambda p: MapFlow.parse(p, commands.Dialect.C),
    lambda p: MapFlow.parse(p, commands.Dialect.P),
    lambda p: TargetPulses.parse(True, p, commands.Dialect.C),
    lambda p: TargetPulses.parse(False, p, commands.Dialect.P),
)


@dataclass
class FuzzResult:
    """Counts of a fuzz run.

    Attributes:
        inputs: byte strings fed.
        frames: frames cut from them.
        good_accepted: frames accepted whose bytes an independent check confirms.
        bad_accepted: frames accepted that it does not confirm.
        refused: frames refused.
        crashes: exceptions other than the package's own.
        board_requests: frames answered by an emulated board.
    """

    inputs: int = 0
    frames: int = 0
    good_accepted: int = 0
    bad_accepted: int = 0
    refused: int = 0
    crashes: int = 0
    board_requests: int = 0


def confirm(data: bytes) -> bool:
    """Whether bytes are one whole packet by the definition of the checks, bit by bit."""
    if len(data) < 7 or data[0] not in (0x3A, 0x3B) or len(data) != 7 + data[4] + 256 * data[5]:
        return False
    check = 0
    for value in data[:6]:
        check ^= value
    if check != data[6] or len(data) in (8, 9):
        return False
    crc = 0xFFFF
    for value in data[7:-2]:
        crc ^= value
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return len(data) == 7 or crc == data[-2] + 256 * data[-1]


def run(
    inputs: int, seed: int = 0, *, board_every: int = 50, progress: Callable[[int], None] | None = None
) -> FuzzResult:
    """Feed random bytes, valid packets, and valid packets with a damaged byte to decoder, parsers and board.

    Args:
        inputs: byte strings.
        seed: of the bytes.
        board_every: one in so many frames goes to an emulated board.
        progress: called now and then with the inputs done.
    """
    rng = np.random.default_rng(seed)
    result = FuzzResult()
    board = EmulatedBoard(EmulatorConfig(seed=seed))
    for number in range(inputs):
        result.inputs += 1
        try:
            _one(rng, result, board, board_every)
        except MemristorError:
            result.refused += 1
        except Exception:
            result.crashes += 1
        if progress is not None and number % 10000 == 0:
            progress(number)
    return result


def _one(rng: np.random.Generator, result: FuzzResult, board: EmulatedBoard, board_every: int) -> None:
    data, start = _bytes(rng)
    decoder = packet.Decoder(start)
    cut = int(rng.integers(len(data) + 1))
    for part in (data[:cut], data[cut:]):
        decoder.feed(part)
        while (frame := decoder.next()) is not None:
            result.frames += 1
            _judge(frame, data, result)
            if start != packet.REQUEST_START or frame.command == Command.MAP_ABORT:
                continue
            if result.frames % board_every == 0:
                packet.parse(board.answer(frame))
                result.board_requests += 1
    if len(data) > 7:
        _PARSERS[int(rng.integers(len(_PARSERS)))](data[7 : 7 + 4 * ((len(data) - 9) // 4)])


def _judge(frame: packet.Frame, data: bytes, result: FuzzResult) -> None:
    """Accept or refuse a frame as client and board do; an accepted one must stand in the input with right checks."""
    if frame.start == packet.RESPONSE_START:
        try:
            packet.accept_response(frame, frame.command)
            accepted = True
        except packet.FrameError:
            accepted = False
    else:
        accepted = frame.head_ok and frame.crc_ok
    if not accepted:
        result.refused += 1
        return
    rebuilt = packet.encode(frame.start, frame.command, frame.parameter1, frame.parameter2, frame.payload)
    if confirm(rebuilt) and rebuilt in data:
        result.good_accepted += 1
    else:
        result.bad_accepted += 1


def _bytes(rng: np.random.Generator) -> tuple[bytes, int]:
    """Input bytes of one of three kinds, and the start byte to look for."""
    start = packet.REQUEST_START if rng.random() < 0.5 else packet.RESPONSE_START
    kind = rng.random()
    if kind < 0.3:
        data = bytearray(rng.bytes(int(rng.integers(0, 64))))
        if data and kind < 0.2:
            data[0] = start
        if len(data) > 5 and kind < 0.1:
            data[4:6] = bytes((max(0, len(data) - 7), 0))
        return bytes(data), start
    payload = rng.bytes(int(rng.integers(0, 130))) if rng.random() < 0.7 else b""
    marks = (int(rng.integers(256)), int(rng.integers(256))) if start == packet.REQUEST_START else (0, 0)
    data = bytearray(packet.encode(start, int(rng.choice(_COMMANDS)), *marks, payload))
    if kind < 0.7:
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    if kind > 0.9:
        data = data[: int(rng.integers(len(data)))]
    return bytes(data), start
