"""Kills, hostile parameters, requests and files by the thousand: what is lost, and what is believed that should not be.

Five parts, each reproducible by seed: `learn` and `graph` kill processes at random moments, `parameters` and
`services` send nodes what no user would, `files` hands damaged files to the library. The exit code is 0 only if
nothing was lost, duplicated or wrongly accepted, no run diverged and nothing crashed. docs/reliability.md says how to
read it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memristor_bdnn.benchmark.faults.findings import KINDS, Tally, summary
from memristor_bdnn.errors import ConfigError

PARTS = ("learn", "graph", "parameters", "services", "files")
FULL = {"learn": 50, "graph": 60, "parameters": 10_000, "services": 10_000, "files": 5_000}
QUICK = {"learn": 5, "graph": 4, "parameters": 250, "services": 250, "files": 300}
SKILL = "pushing"
"""Its trials are the shortest of the built-in skills."""
LINE_EVERY_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beyond --out, --seeds, --quick."""
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma list (default: {','.join(PARTS)})")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0); --seeds counts on from it")
    parser.add_argument("--case", type=int, help="only this case of the parts, to repeat a finding")
    parser.add_argument("--kills", type=int, help="kills of `learn`, and as many of nodes (default: 50 and 60)")
    parser.add_argument("--sets", type=int, help="parameter sets (default: 10000, quick 250)")
    parser.add_argument("--calls", type=int, help="service calls and goals (default: 10000, quick 250)")
    parser.add_argument("--files", type=int, help="damaged files (default: 5000, quick 300)")
    parser.add_argument("--skill", default=SKILL, metavar="NAME", help=f"skill plugin (default {SKILL}: short trials)")
    parser.add_argument(
        "--work", metavar="FOLDER", help="where to work, and to keep what a finding left (default: /tmp)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the parts with every seed, print the table and the findings, write JSON."""
    from memristor_bdnn.report.record import check_out, record, write_record

    check_out(args.out)
    parts = [name for name in args.parts.split(",") if name]
    for name in parts:
        if name not in PARTS:
            raise ConfigError(f"--parts {name}: choose from {', '.join(PARTS)}")
    if args.seed < 0 or (args.seeds is not None and args.seeds < 1):
        raise ConfigError(f"--seed {args.seed} --seeds {args.seeds}: at least 0 and 1")
    sizes = _sizes(args)
    seeds = [args.seed + k for k in range(1 if args.seeds is None else args.seeds)]
    work = Path(tempfile.mkdtemp(prefix="memristor_bdnn_faults_", dir=args.work))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing that was started stays behind
    # Whatever starts a process below: one thread each, nobody else's graph, nobody's home.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    os.environ.update(HOME=str(work), ROS_LOG_DIR=str(work / "log"))
    tallies: list[Tally] = []
    seconds: dict[str, float] = {}
    for name in parts:
        for seed in seeds:
            began = time.monotonic()
            tallies.append(_part(name, seed, sizes[name], args, work / f"{name}_{seed}"))
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 1)
    figures = {**summary(tallies), "seconds": seconds}
    _show(figures, work)
    write_record(args.out, record(figures, seeds))
    if figures["ok"]:
        shutil.rmtree(work, ignore_errors=True)
    return 0 if figures["ok"] else 1


def _sizes(args: argparse.Namespace) -> dict[str, int]:
    given = {
        "learn": args.kills,
        "graph": args.kills,
        "parameters": args.sets,
        "services": args.calls,
        "files": args.files,
    }
    defaults = QUICK if args.quick else FULL
    sizes = {name: defaults[name] if value is None else value for name, value in given.items()}
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{name}: {value} cases, expected at least 1")
    return sizes


def _part(name: str, seed: int, size: int, args: argparse.Namespace, folder: Path) -> Tally:
    tally = Tally(name, seed)
    folder.mkdir(parents=True)
    module: Any = importlib.import_module(f"memristor_bdnn.benchmark.faults.{name}")
    with _progress(tally, size) as progress:
        module.run(tally, folder, size, args.skill, args.case, progress)
    return tally


@contextmanager
def _progress(tally: Tally, size: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.progress import Progress

    text = f"{tally.part}, seed {tally.seed}"
    if sys.stdout.isatty():
        with Progress(transient=True) as bar:
            task = bar.add_task(text, total=size)
            yield lambda done: bar.update(task, completed=done)
        return
    said, shown = time.monotonic(), 0

    def line(done: int) -> None:
        nonlocal said, shown
        for finding in tally.findings[shown:]:
            print(_line(asdict(finding)), flush=True)
        shown = len(tally.findings)
        if time.monotonic() - said > LINE_EVERY_S:
            said = time.monotonic()
            print(f"{text}: {done} of {size}, {shown} findings", flush=True)

    yield line


def _show(figures: dict[str, Any], work: Path) -> None:
    from memristor_bdnn.report.record import print_table

    rows = [
        [name, "; ".join(f"{n} {what}" for what, n in row["tried"].items()), *(row[kind] for kind in KINDS)]
        for name, row in figures["parts"].items()
    ]
    rows.append(["all", "", *(figures[kind] for kind in KINDS)])
    print_table("faults", ["part", "tried", *(kind.replace("_", " ") for kind in KINDS)], rows)
    # Where there is no bar, each was printed when it was found.
    for finding in figures["findings"][: 20 if sys.stdout.isatty() else 0]:
        print(_line(finding))
    if sys.stdout.isatty() and len(figures["findings"]) > 20:
        print(f"... and {len(figures['findings']) - 20} more, see --out")
    if figures["findings"]:
        print(f"what the findings left is in {work}")


def _line(finding: dict[str, Any]) -> str:
    where = f"{finding['part']} seed {finding['seed']} case {finding['case']}"
    return f"{where}: {finding['kind']}: {finding['done']}: {finding['happened']}"
