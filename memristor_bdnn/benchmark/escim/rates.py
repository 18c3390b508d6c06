"""Rates of the board's driver against the emulator, beside a bare TCP exchange of the same sizes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.escim.wire import commands
from memristor_bdnn.benchmark.escim.process import EchoProcess, EmulatorProcess, receive
from memristor_bdnn.emulator import requests

NETWORK_CELLS = 9756
UPDATE_SHARE = 0.05


def measure(rounds: int) -> dict[str, Any]:
    """Rates as medians over rounds; protocol and bare TCP alternate, so that both meet the same load."""
    figures: dict[str, Any] = {}
    with EmulatorProcess() as emulator, EchoProcess() as echo:
        board: Any = accelerator.create("escim", reset_by="cfg_reg", **emulator.address)
        try:
            board.allocate(NETWORK_CELLS)
            read, pulse = commands.read_all(1), requests.set_pulse(3, 127, 31, 2.0, 1.25)
            client = board.board.client
            for key, request, answer in (("chip_reads_per_s", read, 8201), ("pulses_per_s", pulse, 7)):
                bare = echo.connect(len(request.encode()), answer)
                protocol, limit = partial(client.request, request), _ping(bare, request.encode(), answer)
                start = time.process_time()
                _rate(protocol, 200)
                figures[key.replace("_per_s", "_driver_cpu_us")] = 1e6 * (time.process_time() - start) / 200
                pairs = [(_rate(protocol, 100), _rate(limit, 100)) for _ in range(rounds)]
                bare.close()
                figures[key] = float(np.median([a for a, _ in pairs]))
                figures[f"{key}_limit"] = float(np.median([b for _, b in pairs]))
                figures[f"{key}_of_limit"] = float(np.median([a / b for a, b in pairs]))
            figures["three_chips_ms"] = 1e3 / float(np.median([_rate(board.read, 20) for _ in range(rounds)]))
        finally:
            board.close()
        figures.update(_updates(emulator, rounds))
    return figures


def _updates(emulator: EmulatorProcess, rounds: int) -> dict[str, Any]:
    """Times of a masked update as a learner gives it, for every way of asking."""
    rng = np.random.default_rng(0)
    direction = (rng.choice([-1, 1], NETWORK_CELLS) * (rng.random(NETWORK_CELLS) < UPDATE_SHARE)).astype(np.int8)
    figures: dict[str, Any] = {"update_cells": int(np.count_nonzero(direction))}
    for way in ("cell", "row", "column", "reset_target"):
        options: dict[str, Any] = {"reset_by": "cfg_reg", "pulses_per_request": way}
        if way == "reset_target":
            options = {"reset_by": way}
        board: Any = accelerator.create("escim", **options, **emulator.address)
        try:
            board.allocate(NETWORK_CELLS)
            board.pulse(direction)
            times = [1e3 / _rate(partial(board.pulse, direction), 1) for _ in range(rounds)]
        finally:
            board.close()
        figures[f"update_{way}_ms"] = float(np.median(times))
    return figures


def _rate(work: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return times / (time.perf_counter() - start)


def _ping(connection: socket.socket, request: bytes, answer: int) -> Callable[[], object]:
    def exchange() -> bytes:
        connection.sendall(request)
        return receive(connection, answer)

    return exchange
