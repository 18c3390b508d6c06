"""What can go wrong with a board, each case on the emulator: which error names it, and after how long."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator
from memristor_bdnn.crossbar.cells import STUCK_LOW
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, Server
from memristor_bdnn.errors import AcceleratorError, DeviceWarning

Codes = npt.NDArray[np.uint16]
NETWORK_CELLS = 9756


@dataclass(frozen=True)
class Named:
    """How a case ended.

    Attributes:
        case: what was wrong.
        error: name of the error; empty when nothing was said.
        seconds: from the operation's start to the error.
        pulses: pulses given to cells meanwhile; 0 is right, None where they were asked for.
    """

    case: str
    error: str
    seconds: float
    pulses: int | None


def run() -> list[Named]:
    """All cases of :data:`CASES`."""
    return [case(name) for name, case in CASES.items()]


class _Bench:
    """A served emulator, a driver on it, and a board to exchange it for."""

    def __init__(self) -> None:
        faults = FaultInjector(FaultConfig())
        self.own, self.strange = (EmulatedBoard(EmulatorConfig(seed=seed)) for seed in (5, 77))
        self.responder = BoardResponder(self.own, faults)
        self.server = Server(self.responder, faults=faults).start()
        self.driver: Any = None

    def connect(self) -> None:
        """Make a driver with the network's cells."""
        ports = {"port": self.server.port, "abort_port": self.server.abort_port}
        self.driver = accelerator.create("escim", host="127.0.0.1", **ports)
        self.driver.allocate(NETWORK_CELLS)

    def exchange(self) -> None:
        """Other chips, over a new connection."""
        self.driver.board.client.disconnect()
        self.responder.board = self.strange

    def given(self) -> int:
        """Pulses that any cell has had."""
        boards = (self.own, self.strange)
        return int(sum(board.chips.pulses.sum() + board.chips.map_pulses.sum() for board in boards))


@contextlib.contextmanager
def _bench() -> Iterator[_Bench]:
    bench = _Bench()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)
        try:
            yield bench
        finally:
            if bench.driver is not None:
                bench.driver.close()
            bench.server.stop()


def _named(case: str, bench: _Bench, operation: Callable[[], object]) -> Named:
    before, start, error = bench.given(), time.perf_counter(), ""
    try:
        operation()
    except AcceleratorError as raised:
        error = type(raised).__name__
    return Named(case, error, time.perf_counter() - start, bench.given() - before)


def _swap(operation: Callable[[Any], object]) -> Callable[[str], Named]:
    """The chips are exchanged while the connection is away, then somebody goes on."""

    def case(name: str) -> Named:
        with _bench() as bench:
            bench.connect()
            bench.driver.write_verify(np.full(NETWORK_CELLS, 2.0))
            bench.exchange()
            return _named(name, bench, lambda: operation(bench.driver))

    return case


def _implausible(change: Callable[[Codes], Codes]) -> Callable[[str], Named]:
    """Whole-chip reads come out changed from the beginning."""

    def case(name: str) -> Named:
        with _bench() as bench:
            read = bench.own.chips.read_chip
            bench.own.chips.read_chip = lambda chip: change(read(chip))  # type: ignore[method-assign]

            def session() -> None:
                bench.connect()
                bench.driver.read(2)

            return _named(name, bench, session)

    return case


def _stuck(name: str) -> Named:
    """Every cell is stuck, and a network is to be deployed: only that tells, by its own pulses."""
    with _bench() as bench:
        cells = bench.own.chips.cells
        cells.break_cells(np.arange(bench.own.chips.capacity), STUCK_LOW, np.random.default_rng(0))
        bench.connect()
        named = _named(name, bench, lambda: bench.driver.write_verify(np.full(NETWORK_CELLS, 3.0)))
        return Named(named.case, named.error, named.seconds, None)


def _pulses(driver: Any) -> None:
    driver.pulse(np.ones(NETWORK_CELLS, np.int8))


CASES: dict[str, Callable[[str], Named]] = {
    "other chips, then a read": _swap(lambda driver: driver.read()),
    "other chips, then pulses": _swap(_pulses),
    "other chips, then a deployment": _swap(lambda driver: driver.write_verify(np.full(NETWORK_CELLS, 3.0))),
    "all codes 0xFFFF": _implausible(lambda codes: np.full_like(codes, 0xFFFF)),
    "all codes 0": _implausible(np.zeros_like),
    "all codes at full scale": _implausible(lambda codes: np.full_like(codes, 4095)),
    "no read noise": _implausible(lambda codes: np.arange(1, codes.size + 1, dtype=np.uint16) // 2 + 1),
    "all cells stuck, then a deployment": _stuck,
}
"""By what is wrong."""
