"""What simulated hours do to a learned skill: read noise, drift, read disturb; nothing done, offset, re-learning.

A skill is learned on simulated chips from the labels of the pool that ships with it. Then hours pass. Accuracy and
calibration on test rows and the choices in unseen contexts are looked at on a grid of hours, each time as the cells
are and with three remedies. Drift and disturb are assumptions in several strengths; medians over seeds; resumable.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from memristor_bdnn.skills import DEFAULT

if TYPE_CHECKING:
    from memristor_bdnn.benchmark.stability.run import Setting

PERCENTS = (0.5, 2.0, 5.0)
KIND_NAMES = ("shift", "spread", "drift", "disturb")
LEARNER_NAMES = ("msgld_reads", "msgld", "eapu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--skill", default=DEFAULT, metavar="NAME", help=f"skill with a pool (default {DEFAULT})")
    parser.add_argument(
        "--learner",
        action="append",
        choices=LEARNER_NAMES,
        help=f"may be repeated (default {', '.join(LEARNER_NAMES)})",
    )
    parser.add_argument(
        "--preset",
        default="tsinghua_taox_hfox",
        help="device preset or YAML file; what a file says under `retention` is a condition of its own",
    )
    parser.add_argument("--kind", action="append", choices=KIND_NAMES, help="may be repeated (default all)")
    parser.add_argument(
        "--percent",
        action="append",
        type=float,
        metavar="P",
        help="strength, per cent of the window per decade; may be repeated (default 0.5, 2, 5)",
    )
    parser.add_argument("--labels", type=int, default=128, help="random labels of the pool (default 128)")
    parser.add_argument("--hours", type=float, default=60.0, help="last hour of the grid 0, 1, 3, 10, 30, ...")
    parser.add_argument(
        "--reads-per-hour",
        type=int,
        default=1200,
        help="reads of every cell while time passes (default 1200: a prediction of 20 reads a minute)",
    )
    parser.add_argument("--epochs", type=int, default=40, help="epochs of one re-learning, at least (default 40)")
    parser.add_argument("--rows", type=int, default=2000, help="test rows of the pool (default 2000)")
    parser.add_argument("--pairs", type=int, default=20, help="unseen contexts in which it chooses (default 20)")
    parser.add_argument("--candidates", type=int, default=500, help="candidates in each (default 500)")
    parser.add_argument(
        "--no-world", action="store_true", help="do not execute the first and the last choices in the simulated world"
    )
    parser.add_argument("--work", metavar="FOLDER", help="finished runs, for resuming (default: beside --out)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--figure", metavar="PNG", help="picture of the first learner; others get their name added")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the tables, write JSON and pictures."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: one process per core is the better use of two cores
    from memristor_bdnn.benchmark import runs
    from memristor_bdnn.benchmark.stability import figures as pictures
    from memristor_bdnn.benchmark.stability import report
    from memristor_bdnn.benchmark.stability.conditions import conditions
    from memristor_bdnn.benchmark.stability.run import execute
    from memristor_bdnn.device import presets
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report.record import check_out, check_picture, record, write_record

    check_out(args.out)
    check_picture(args.figure, "--figure")
    setting = _setting(args)
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: allowed 1 and above")
    percents = args.percent or ([2.0] if args.quick else list(PERCENTS))
    if bad := [p for p in percents if not 0 < p <= 100]:
        raise ConfigError(f"--percent {bad[0]:g}: allowed above 0, up to 100")
    seeds = list(range(args.seeds if args.seeds is not None else (2 if args.quick else 10)))
    names = list(dict.fromkeys(args.learner or (LEARNER_NAMES[:1] if args.quick else LEARNER_NAMES)))
    found = conditions(presets.load(args.preset), dict.fromkeys(args.kind or KIND_NAMES), set(percents))
    jobs = [(name, condition, seed) for seed in seeds for name in names for condition in found]
    work = Path(args.work) if args.work else (Path(f"{args.out}.runs") if args.out else None)
    files = [setting.name(*job) for job in jobs]
    done = runs.run_all(work, files, execute, [(setting, *job) for job in jobs], args.workers or os.cpu_count() or 1)
    figures = report.summary(done, setting)
    report.print_tables(figures)
    if args.figure:
        for path in pictures.draw_all(figures, Path(args.figure)):
            print(f"wrote {path}")
    write_record(args.out, record(figures, seeds))
    return 0


def _setting(args: argparse.Namespace) -> Setting:
    from memristor_bdnn import skills
    from memristor_bdnn.benchmark.stability.run import Setting
    from memristor_bdnn.errors import ConfigError

    lowest = (("labels", 8), ("reads_per_hour", 0), ("epochs", 1), ("rows", 50), ("pairs", 1), ("candidates", 2),
              ("workers", 0))  # fmt: skip
    for name, low in lowest:
        if getattr(args, name) < low:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)}: allowed {low} and above")
    if not 0 < args.hours <= 1e6:
        raise ConfigError(f"--hours {args.hours:g}: allowed above 0, up to 1e6")
    grid = [digit * 10.0**power for power in range(7) for digit in (1, 3)]
    hours = (0.0, *(hour for hour in grid if hour < args.hours), args.hours)
    quick = {"rows": min(args.rows, 500), "pairs": min(args.pairs, 5), "candidates": min(args.candidates, 100)}
    return Setting(
        skill=skills.load(args.skill).name,
        preset=args.preset,
        labels=args.labels,
        hours=(0.0, args.hours) if args.quick else hours,
        reads_per_hour=args.reads_per_hour,
        epochs=args.epochs,
        executed=not (args.no_world or args.quick),
        **(quick if args.quick else {"rows": args.rows, "pairs": args.pairs, "candidates": args.candidates}),
    )
