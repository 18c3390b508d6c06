"""Serve the ESCIM board protocol over simulated chips (or replay a recorded session) on two TCP ports.

Point a driver or any other host program at it: --host and --port of `memristor-bdnn board`, or
accelerator:=escim. Stops on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
from types import FrameType

from memristor_bdnn.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Address, chips, dialect, faults, replay."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7007, help="command port, 0 for any free one (%(default)s)")
    parser.add_argument("--abort-port", type=int, help="second command port (default: 5000 if free, else any)")
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or YAML file (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same chips as accelerator:=simulated")
    parser.add_argument(
        "--network-cells",
        type=int,
        default=9756,
        help="cells that share the simulated accelerator's random stream (%(default)s)",
    )
    parser.add_argument("--dialect", choices=("C", "P"), default="C", help="C: current boards; P: published firmware")
    parser.add_argument("--no-checks", action="store_true", help="send no head check and no CRC, verify none")
    parser.add_argument("--background-map", action="store_true", help="MAP_ARRAY answers before the job is done")
    parser.add_argument("--timing", action="store_true", help="take the time the real board would take")
    parser.add_argument(
        "--faults",
        default="",
        metavar="NAME=P,...",
        help="drop, corrupt, truncate, garbage, busy, reset, delay (probabilities per request),"
        " delay_max_s, stuck (share of cells); e.g. drop=0.05,corrupt=0.01,delay=0.01",
    )
    parser.add_argument("--replay", metavar="FILE", help="answer from a recorded session instead of chips")
    parser.add_argument(
        "--stats",
        metavar="FILE",
        help="on exit write requests, pulses and faults (or a replay's end) as JSON",
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot be served, or would be left out without a word."""
    for name, value in (("port", args.port), ("abort-port", args.abort_port)):
        if value is not None and not 0 <= value <= 65535:
            raise ConfigError(f"--{name} {value}: allowed 0 to 65535 (0: any free port)")
    if args.port and args.port == args.abort_port:
        raise ConfigError(f"--abort-port {args.abort_port} is --port too: the board has two")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: allowed 0 and above")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
    from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
    from memristor_bdnn.emulator.server import BoardResponder, ReplayResponder, Server
    from memristor_bdnn.report.record import check_out
    from memristor_bdnn.state import write_atomic

    _check(args)
    check_out(args.stats, "--stats")
    stopped = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.set()

    faults = FaultConfig.parse(args.faults)
    injector = FaultInjector(faults, args.seed)
    board = None
    if args.replay:
        replay = ReplayResponder(args.replay)
        server = Server(replay, args.host, args.port, args.abort_port, injector)
    else:
        config = EmulatorConfig(
            preset=args.preset,
            seed=args.seed,
            network_cells=args.network_cells,
            dialect=args.dialect,
            checks=not args.no_checks,
            blocking_map=not args.background_map,
            timing=args.timing,
            stuck=faults.stuck,
        )
        board = EmulatedBoard(config)
        server = Server(BoardResponder(board, injector), args.host, args.port, args.abort_port, injector)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with server:
        what = f"replay of {args.replay}" if args.replay else f"ESCIM emulator (dialect {args.dialect})"
        print(f"{what} listening on {server.host} port {server.port}, abort port {server.abort_port}", flush=True)
        stopped.wait()
    statistics: dict[str, object] = {}
    if args.replay:
        statistics = {"requests": replay.position, "recorded": len(replay.pairs), "diverged": replay.mismatch}
    if board is not None:
        given = board.pulses_given
        statistics = {
            "requests": board.requests,
            "pulses": int(given.sum()),
            "max_pulses_per_cell": int(given.max()),
            "map_pulses": int(board.chips.map_pulses.sum()),
            "faults": injector.counts,
            "pulses_per_cell": given.tolist(),
        }
    if args.stats:
        write_atomic(args.stats, (json.dumps(statistics) + "\n").encode())
    if args.replay and replay.mismatch:
        print(f"the replayed session diverged: {replay.mismatch}")
        return 1
    return 0
