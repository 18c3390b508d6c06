"""Reinforcement learning on devices beside software: cart-pole, mountain car, slopes and write errors; resumable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memristor_bdnn.benchmark.rl.run import Setting

PARTS = ("cartpole", "mountain-car", "mcmc", "slopes", "errors")
SLOPES, ERRORS = (125.0, 250.0, 400.0), (0.0, 2.0, 5.0, 10.0)
"""Gate slopes, uS/V, and SDs of a write, uS."""
VELOCITY_RULE_STEPS = 42
"""Steps of the mountain car that is pushed the way it moves, median of its starts (a test holds it)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--tests", type=int, default=100, help="greedy episodes of the test (default 100)")
    parser.add_argument("--work", metavar="FOLDER", help="finished runs, for resuming (default: beside --out)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--figures", metavar="DIR", help="write the figures as PNG files into this folder")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the tables, write JSON and pictures."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: one process per core is the better use of two cores
    from memristor_bdnn.agents import PRESETS
    from memristor_bdnn.benchmark import runs
    from memristor_bdnn.benchmark.rl import report
    from memristor_bdnn.benchmark.rl.run import execute
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report.record import check_out, make_folder, record, write_record

    check_out(args.out)
    make_folder(args.figures, "--figures")
    for name, low in (("tests", 1), ("workers", 0), ("seed", 0)):
        if getattr(args, name) < low:
            raise ConfigError(f"--{name} {getattr(args, name)}: allowed {low} and above")
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: allowed 1 and above")
    plan = settings(args.part or PARTS, args.tests, args.quick)
    pieces = [
        (setting, args.seed + k) for setting, count in plan for k in range(args.seeds or (1 if args.quick else count))
    ]
    work = Path(args.work) if args.work else (Path(f"{args.out}.runs") if args.out else None)
    names = [setting.file(seed) for setting, seed in pieces]
    done = runs.run_all(work, names, execute, pieces, args.workers or os.cpu_count() or 1)
    found: dict[str, list[dict[str, Any]]] = {}
    for (setting, _), result in zip(pieces, done, strict=True):
        found.setdefault(setting.group, []).append(result)
    results = report.summary(found)
    report.print_tables(results)
    if args.figures:
        for path in report.draw(Path(args.figures), results, found):
            print(f"wrote {path}")
    seeds = sorted({seed for _, seed in pieces})
    write_record(args.out, record({"results": results, "presets": PRESETS}, seeds))
    return 0


def settings(parts: Sequence[str], tests: int, quick: bool) -> list[tuple[Setting, int]]:
    """Settings of the parts, each with its number of seeds."""
    wanted: list[tuple[Setting, int]] = []
    if "cartpole" in parts:
        wanted += [
            (Setting("cartpole.devices", tests=tests), 5),
            (Setting("cartpole.software", hardware="software", tests=tests), 5),
            (Setting("cartpole.software_own_step", hardware="software", tests=tests, options={"twin_gain": 1.0}), 5),
            (Setting("cartpole.devices_last", keep_best=False, tests=tests), 5),
            (Setting("cartpole.software_last", hardware="software", keep_best=False, tests=tests), 5),
        ]
    if "mountain-car" in parts:
        wanted += [
            (Setting("mountain_car.devices", "mountain-car", tests=tests), 3),
            (Setting("mountain_car.software", "mountain-car", hardware="software", tests=tests), 3),
        ]
    if "mcmc" in parts:
        rows = {"rows": 96, "burn_in": 32} if quick else {}
        for hardware, name in (("simulated", "devices"), ("software", "software")):
            chain = Setting(f"mcmc.{name}", "cartpole", "mcmc", hardware, episodes=100_000, tests=tests, options=rows)
            wanted.append((chain, 3))
    for keep in (True, False):
        last = "" if keep else "_last"
        if "slopes" in parts:
            for slope in SLOPES:
                one = Setting(f"slopes{last}.{slope:g}", slope_us_per_v=slope, keep_best=keep, tests=tests)
                wanted.append((one, 5))
        if "errors" in parts:
            for error in ERRORS:
                one = Setting(f"errors{last}.{error:g}", write_sd_us=error, keep_best=keep, tests=tests)
                wanted.append((one, 5))
    return wanted
