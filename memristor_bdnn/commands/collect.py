"""Run many simulated trials of a skill in parallel and append them to a file.

The file can be killed and resumed at any time: seeds that are in it are not run again. Every row holds its seed,
what was executed and what came out, and can be re-simulated alone.
"""

from __future__ import annotations

import argparse

from memristor_bdnn.commands import shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``memristor-bdnn collect``."""
    shared.add_skill(parser)
    parser.add_argument("--trials", type=int, required=True, metavar="N", help="rows the file shall have in the end")
    parser.add_argument("--out", required=True, metavar="FILE", help="pool file; continued if it exists")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, metavar="K", help="local processes (default 1)")
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster, such as tcp://host:8786")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="seed of the first row (default 0)")
    parser.add_argument("--export", metavar="NPZ", help="also write the finished pool as one compact .npz")
    parser.add_argument("--world", metavar="YAML", help="options of the skill's world (section `world` of a YAML file)")


def run(args: argparse.Namespace) -> int:
    """Collect, print a summary, and export if asked."""
    from memristor_bdnn import skills
    from memristor_bdnn.report.record import check_out
    from memristor_bdnn.skills.collect import collect

    check_out(args.out)
    check_out(args.export, "--export")
    skill = skills.load(args.skill)
    collector = skill.collector(shared.world_options(skill, args.world))
    made = collect(args.out, args.trials, collector, workers=args.workers, dask=args.dask, first_seed=args.first_seed)
    print(collector.summary(made.rows))
    if args.export:
        which = "" if skill.name == skills.DEFAULT else f" --skill {skill.name}"
        start = f" --first-seed {args.first_seed}" if args.first_seed else ""
        command = f"memristor-bdnn collect{which} --trials {args.trials} --out FILE{start} --export FILE.npz"
        with collector.open(args.out, readonly=True) as file:
            digest = collector.export(file, args.export, command)
        print(f"wrote {args.export}, SHA-256 {digest}")
    return 0
