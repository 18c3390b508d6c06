"""What asking costs and brings: failures while learning and the final skill, a row a strategy; resumable.

The loop's own protocol in a skill's simulated world: some random trials, then trials that the strategy chooses, each
followed by in situ learning; then the surest of the candidates in contexts that were not seen.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memristor_bdnn.skills import DEFAULT

STRATEGIES = ("random", "straddle", "ucb", "thompson", "turning", "sturdy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    from memristor_bdnn import acquisitions

    parser.add_argument("--skill", default=DEFAULT, metavar="NAME", help=f"skill plugin (default {DEFAULT})")
    parser.add_argument("--learner", default="msgld", metavar="NAME", help="learner plugin (default msgld)")
    parser.add_argument("--recipe", default="", metavar="NAME", help="the skill's options for the learner, by name")
    parser.add_argument(
        "--strategy",
        action="append",
        choices=acquisitions.names(),
        help=f"may be repeated (default {', '.join(STRATEGIES)}); random is always among them",
    )
    parser.add_argument("--initial", type=int, default=16, help="random labels (default 16)")
    parser.add_argument("--queries", type=int, default=64, help="labels asked for one by one (default 64)")
    parser.add_argument("--candidates", type=int, default=1000, help="scored in each context (default 1000)")
    parser.add_argument("--pairs", type=int, default=50, help="unseen contexts in which the skill is used (default 50)")
    parser.add_argument("--work", metavar="FOLDER", help="finished runs, for resuming (default: beside --out)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--figure", metavar="PNG", help="picture of failures over labels and of the final skill")


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the table, write JSON and the picture."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: one process per core is the better use of two cores
    from memristor_bdnn import skills
    from memristor_bdnn.active import recipes
    from memristor_bdnn.benchmark import runs
    from memristor_bdnn.benchmark.strategies import report
    from memristor_bdnn.benchmark.strategies.run import Setting, execute
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report.record import check_out, check_picture, record, write_record

    check_out(args.out)
    check_picture(args.figure, "--figure")
    lowest = (("initial", 2), ("queries", 1), ("candidates", 1), ("pairs", 1), ("workers", 0))
    for name, low in lowest:
        if getattr(args, name) < low:
            raise ConfigError(f"--{name} {getattr(args, name)}: allowed {low} and above")
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: allowed 1 and above")
    skill = skills.load(args.skill)
    if recipes.recipe(skill, args.learner, args.recipe).prior:
        raise ConfigError(f"--recipe {args.recipe} is fitted to simulated trials first, which are what is counted here")
    quick = {"queries": min(args.queries, 12), "pairs": min(args.pairs, 5)} if args.quick else {}
    setting = Setting(
        skill=skill.name,
        learner=args.learner,
        recipe=args.recipe,
        initial=args.initial,
        candidates=args.candidates,
        **{"queries": args.queries, "pairs": args.pairs, **quick},
    )
    seeds = list(range(args.seeds if args.seeds is not None else (2 if args.quick else 10)))
    strategies = list(dict.fromkeys(["random", *(args.strategy or STRATEGIES)]))
    jobs = [(strategy, seed) for seed in seeds for strategy in strategies]
    work = Path(args.work) if args.work else (Path(f"{args.out}.runs") if args.out else None)
    names = [setting.name(*job) for job in jobs]
    workers = args.workers or os.cpu_count() or 1
    done = runs.run_all(work, names, execute, [(setting, *job) for job in jobs], workers)
    figures = report.summary(done, setting)
    report.print_tables(figures)
    if args.figure:
        print(f"wrote {report.draw(figures, done, Path(args.figure))}")
    write_record(args.out, record(figures, seeds))
    return 0
