"""The first day with an ESCIM board (or its emulator).

board info --host 192.168.1.10               does it answer, which dialect, how fast
board read --chip 1 --bl 5 --sl 7            one cell, or a whole chip
board map --out maps.png --npz maps.npz      what all chips look like
board selftest --out transitions.csv         SET and RESET some unused cells; the table is for `device fit`
board log session.jsonl                      a recording (--record) in words
"""

from __future__ import annotations

import argparse
from typing import Any

from memristor_bdnn.parsing import RawHelp

DEFAULT_BLOCK = "3:120-127:24-31"
"""Cells of chip 3 that the published network leaves unused."""
MOST = 10_000
"""Reads, pulses and cycles at most: reads of a chip take 330 MB then."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser per noun, all with the address of the board."""
    parser.formatter_class = RawHelp
    sub = parser.add_subparsers(dest="noun", required=True, metavar="info|read|map|selftest|log")
    address = argparse.ArgumentParser(add_help=False)
    address.add_argument("--host", default="192.168.1.10", help="address of the board (default: %(default)s)")
    address.add_argument("--port", type=int, default=7, help="command port (default: %(default)s)")
    address.add_argument("--abort-port", type=int, default=5000, help="second command port (default: %(default)s)")
    address.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="seconds to wait for a connection and for any answer (default: what each command needs)",
    )
    address.add_argument("--allow-unchecked", action="store_true", help="tolerate old firmware without packet checks")
    address.add_argument("--record", metavar="FILE", help="record every packet, for `board log` and for replay")
    sub.add_parser("info", parents=[address], help="connectivity, dialect, chips, answer times")
    read = sub.add_parser("read", parents=[address], help="read a cell or a chip")
    read.add_argument("--chip", type=int, default=1, help="1 to 3 (default: %(default)s)")
    read.add_argument("--bl", type=int, help="bit line 0 to 127; with --sl one cell, otherwise the chip")
    read.add_argument("--sl", type=int, help="source line 0 to 31")
    read.add_argument("--samples", type=int, default=10, help="reads (default: %(default)s)")
    read.add_argument("--npz", metavar="FILE", help="save all reads as read_ua (samples, 128, 32)")
    maps = sub.add_parser("map", parents=[address], help="images of all chips")
    maps.add_argument("--samples", type=int, default=10, help="reads averaged (default: %(default)s)")
    maps.add_argument("--out", metavar="PNG", default="chip_maps.png", help="image (default: %(default)s)")
    maps.add_argument("--npz", metavar="FILE", help="save the averages as read_ua (chips, 128, 32)")
    test = sub.add_parser("selftest", parents=[address], help="SET/RESET chosen cells: transition statistics")
    test.add_argument(
        "--cells",
        default=DEFAULT_BLOCK,
        metavar="CHIP:BL-BL:SL-SL",
        help="block of cells (default: %(default)s, unused by the network)",
    )
    test.add_argument("--pulses", type=int, default=8, help="SETs, then RESETs, in a cycle (default: %(default)s)")
    test.add_argument("--cycles", type=int, default=2, help="cycles (default: %(default)s)")
    test.add_argument("--reads", type=int, default=10, help="reads averaged for a state (default: %(default)s)")
    test.add_argument("--preset", default="tsinghua_taox_hfox", help="preset that gives the pulse voltages")
    test.add_argument("--dry-run", action="store_true", help="send no pulse; record what would be sent")
    test.add_argument("--out", metavar="CSV", help="transitions and reads for `memristor-bdnn device fit`")
    log = sub.add_parser("log", help="a recording in words")
    log.add_argument("file", metavar="FILE", help="made with --record")


def run(args: argparse.Namespace) -> int:
    """Run the chosen noun."""
    if args.noun == "log":
        return _log(args)
    if args.noun == "selftest":
        return _selftest(args)
    from memristor_bdnn.report.record import check_out, check_picture

    check_picture(getattr(args, "out", None), "--out")
    for flag in ("npz", "record"):
        check_out(getattr(args, flag, None), f"--{flag}")
    from memristor_bdnn.accelerator.escim.board import Board
    from memristor_bdnn.accelerator.escim.client import ClientConfig
    from memristor_bdnn.accelerator.escim.wire.recording import Recorder

    config = ClientConfig(**_address(args))
    _check_numbers(args)
    recorder = Recorder(args.record)
    board = Board(config, recorder=recorder)
    try:
        return {"info": _info, "read": _read, "map": _map}[args.noun](args, board)
    finally:
        board.close()
        _say_recorded(args, recorder)


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse what no board has and what cannot be counted, before anything is connected."""
    from memristor_bdnn.accelerator.escim.wire.scaling import CHIPS, COLUMNS, ROWS
    from memristor_bdnn.errors import ConfigError

    for name, low, high, why in (
        ("samples", 1, MOST, ""),
        ("pulses", 1, MOST, ""),
        ("cycles", 1, MOST, ""),
        ("reads", 1, MOST, ""),
        ("chip", 1, CHIPS, f": the board has 1 to {CHIPS}"),
        ("bl", 0, ROWS - 1, ""),
        ("sl", 0, COLUMNS - 1, ""),
    ):
        value = getattr(args, name, None)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"--{name} {value}{why or f': allowed {low} to {high}'}")
    if (getattr(args, "bl", None) is None) != (getattr(args, "sl", None) is None):
        raise ConfigError("--bl and --sl name one cell together; give both or none")
    if getattr(args, "bl", None) is not None and args.npz:
        raise ConfigError(f"--npz {args.npz} is for a whole chip: leave out --bl and --sl")


def _say_recorded(args: argparse.Namespace, recorder: Any) -> None:
    """Where the recording went, when that is not what was asked for."""
    if recorder.path is not None and str(recorder.path) != args.record:
        print(f"{args.record} holds an earlier recording; this one is {recorder.path}")


def _address(args: argparse.Namespace) -> dict[str, Any]:
    from memristor_bdnn.errors import ConfigError

    options = {
        "host": args.host,
        "port": args.port,
        "abort_port": args.abort_port,
        "allow_unchecked": args.allow_unchecked,
        "retries": 3,
    }
    for name in ("port", "abort_port"):
        if not 1 <= options[name] <= 65535:
            raise ConfigError(f"--{name.replace('_', '-')} {options[name]}: allowed 1 to 65535")
    if args.timeout is None:
        return options
    if not 0.01 <= args.timeout <= 600:
        raise ConfigError(f"--timeout {args.timeout:g}: allowed 0.01 to 600 s")
    return {**options, "connect_timeout_s": args.timeout, "answer_timeout_s": args.timeout}


def _info(args: argparse.Namespace, board: Any) -> int:
    from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE
    from memristor_bdnn.report.record import print_table

    info = board.info()
    job = "finished" if info.progress == PROGRESS_DONE else f"{info.progress} cells"
    rows = [
        ["address", info.address],
        ["dialect", f"{info.dialect.value} ({'with' if info.checks else 'without'} packet checks)"],
        *[[f"chip {chip}", f"answers, mean current {mean:.3f} uA"] for chip, mean in info.chips.items()],
        *[
            [f"chip {chip}", ("CANNOT WORK: " if found.fatal else "look: ") + found.text]
            for chip, findings in info.findings.items()
            for found in findings
        ],
        ["last write-verify job", job],
        ["short command", f"{info.answer_ms[0]:.2f} ms"],
        ["whole-chip read", f"{info.answer_ms[1]:.2f} ms"],
        ["codes beyond 12 bits", board.out_of_range_codes],
    ]
    print_table("ESCIM board", ["", ""], rows)
    return 0 if info.sound else 1


def _chip_ua(board: Any, chip: int, samples: int) -> Any:
    """Reads of a chip in microampere, shape (samples, 128, 32), and what is wrong with them."""
    import numpy as np

    from memristor_bdnn.accelerator.escim import plausible
    from memristor_bdnn.accelerator.escim.wire.scaling import code_currents

    codes = [board.read_chip(chip) for _ in range(samples)]
    return code_currents(np.stack(codes)), plausible.chip(codes[-1], codes[0] if samples > 1 else None)


def _said(chip: int, findings: Any) -> int:
    """Say what is wrong with a chip's reads; exit status, 1 where it cannot work."""
    import sys

    for found in findings:
        print(f"chip {chip}: {found.text}", file=sys.stderr)
    return int(any(found.fatal for found in findings))


def _read(args: argparse.Namespace, board: Any) -> int:
    import numpy as np

    from memristor_bdnn.accelerator.escim import plausible
    from memristor_bdnn.state import save_npz

    if args.bl is not None:
        board.detect()
        reads = np.array([board.read_cell(args.chip, args.bl, args.sl) for _ in range(args.samples)])
        print(
            f"chip {args.chip} BL {args.bl} SL {args.sl}: mean {reads.mean():.4f} uA, SD {reads.std():.4f} uA,"
            f" {reads.size} reads from {reads.min():.4f} to {reads.max():.4f} uA"
        )
        return _said(args.chip, plausible.cell(reads))
    reads, findings = _chip_ua(board, args.chip, args.samples)
    state, noise = reads.mean(axis=0), reads.std(axis=0)
    quantiles = np.quantile(state, [0, 0.05, 0.5, 0.95, 1])
    print(
        f"chip {args.chip}: mean {state.mean():.4f} uA, quantiles 0/5/50/95/100 %: "
        + " ".join(f"{q:.3f}" for q in quantiles)
        + f" uA; mean SD of a read {noise.mean():.4f} uA"
    )
    if args.npz:
        save_npz(args.npz, {"read_ua": reads})
        print(f"wrote {args.npz}")
    return _said(args.chip, findings)


def _map(args: argparse.Namespace, board: Any) -> int:
    from pathlib import Path

    import numpy as np

    from memristor_bdnn.accelerator.escim.wire.scaling import CHIPS
    from memristor_bdnn.report.device_figures import chip_maps
    from memristor_bdnn.state import save_npz

    chips = {chip: _chip_ua(board, chip, args.samples) for chip in range(1, CHIPS + 1)}
    states = np.stack([reads.mean(axis=0) for reads, _ in chips.values()])
    print(f"wrote {chip_maps(states, Path(args.out), f'read currents (uA), {args.host}:{args.port}')}")
    if args.npz:
        save_npz(args.npz, {"read_ua": states})
        print(f"wrote {args.npz}")
    return max(_said(chip, findings) for chip, (_, findings) in chips.items())


def _block(text: str) -> Any:
    """Cell numbers of CHIP:BL-BL:SL-SL."""
    import re

    import numpy as np

    from memristor_bdnn.accelerator.escim.wire.scaling import CELLS, CHIPS, COLUMNS, check_block
    from memristor_bdnn.errors import ConfigError

    match = re.fullmatch(r"(\d+):(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?", text)
    if not match:
        raise ConfigError(f"--cells {text!r}: expected CHIP:BL-BL:SL-SL, for example {DEFAULT_BLOCK}")
    chip, bl, bl_end, sl, sl_end = (int(g) if g is not None else -1 for g in match.groups())
    for first, last in ((bl, bl_end), (sl, sl_end)):
        if 0 <= last < first:
            raise ConfigError(f"--cells {text!r}: {first}-{last} runs backwards")
    n_bl, n_sl = max(bl_end, bl) - bl + 1, max(sl_end, sl) - sl + 1
    if not 1 <= chip <= CHIPS:
        raise ConfigError(f"--cells {text!r}: chip 1 to {CHIPS}")
    check_block(chip, bl, n_bl, sl, n_sl)
    rows, columns = np.arange(bl, bl + n_bl)[:, None], np.arange(sl, sl + n_sl)
    return ((chip - 1) * CELLS + rows * COLUMNS + columns).reshape(-1)


def _selftest(args: argparse.Namespace) -> int:
    from rich.progress import Progress

    from memristor_bdnn import accelerator
    from memristor_bdnn.accelerator.escim import selftest
    from memristor_bdnn.report.record import check_out

    check_out(args.out)
    check_out(args.record, "--record")
    cells = _block(args.cells)
    _check_numbers(args)
    options = {**_address(args), "record": args.record, "dry_run": args.dry_run, "reset_by": "cfg_reg"}
    board: Any = accelerator.create("escim", preset=args.preset, **options)
    counts = {"pulses": args.pulses, "cycles": args.cycles}
    try:
        board.allocate(board.capacity)
        if args.dry_run:
            return _say_dry(args, selftest.rehearse(board, cells, **counts), board.board.recorder.withheld)
        with Progress(transient=True) as bar:
            task = bar.add_task("pulses", total=None)
            result = selftest.run(
                board,
                cells,
                **counts,
                reads=args.reads,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                keep=lambda result: result.write_csv(args.out) if args.out else None,
            )
    finally:
        board.close()
        _say_recorded(args, board.board.recorder)
    return _say_selftest(args, cells.size, result, len(board.lost_pulses))


def _say_dry(args: argparse.Namespace, pulses: int, requests: int) -> int:
    """What a dry run did: nothing, of which no file can tell."""
    print(f"dry run: no pulse was sent; it would have been {pulses} pulses in {requests} requests")
    if args.out:
        print(f"{args.out} is not written: there are no transitions to tell of")
    return 0


def _say_selftest(args: argparse.Namespace, cells: int, result: Any, lost: int) -> int:
    from memristor_bdnn.report.record import print_table

    print_table(
        f"transitions of {cells} cells",
        ["state before", "pulses", "mean change uA", "SD uA", "share up"],
        result.table(),
    )
    print(
        f"SET {result.mean_set_ua:+.3f} uA, RESET {result.mean_reset_ua:+.3f} uA on average;"
        f" {result.silent} of {cells} cells do not respond; {lost} answers lost"
    )
    if args.out:
        print(f"wrote {args.out}; next: memristor-bdnn device fit {args.out} --out my_chips.yaml")
    print("passed" if result.passed else "FAILED: see the table; are the chips seated, formed, and the voltages right?")
    return 0 if result.passed else 1


def _log(args: argparse.Namespace) -> int:
    from memristor_bdnn.accelerator.escim.wire import recording

    for entry in recording.load(args.file):
        text = entry.text if entry.kind == "event" else recording.describe(entry.data)
        mark = " (dry run: not sent)" if entry.kind == "withheld" else ""
        port = " (second port)" if entry.port == 2 else ""
        print(f"{entry.time_s:10.4f} s  {text}{mark}{port}")
    return 0
