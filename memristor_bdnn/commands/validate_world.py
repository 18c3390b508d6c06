"""Re-simulate labelled trials and compare the labels, with those given and with each other.

Two seeds of one simulator do not agree on every trial: that self agreement is near the ceiling for any given labels.
"""

from __future__ import annotations

import argparse
import dataclasses

from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``memristor-bdnn validate-world``."""
    shared.add_skill(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="labelled trials: a pool of `collect`, its export, or another .npz that the skill reads as a pool",
    )
    parser.add_argument("--rows", type=int, default=300, help="rows drawn from it without replacement (default 300)")
    parser.add_argument("--seeds", type=int, default=2, help="simulations of each row, at least 2 (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of rows and of the scenes (default 0)")
    parser.add_argument(
        "--audit", action="store_true", help="look for what a simulation must not do (slow; if the world can)"
    )
    parser.add_argument("--world", metavar="YAML", help="options of the skill's world (section `world` of a YAML file)")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate, print the comparison, write it."""
    import numpy as np
    from rich.progress import Progress

    from memristor_bdnn import skills
    from memristor_bdnn.report import record as common

    common.check_out(args.out)
    skill = skills.load(args.skill)
    options = shared.world_options(skill, args.world)
    if args.audit:
        if "audit" not in {field.name for field in dataclasses.fields(options)}:
            raise ConfigError(f"--audit: the world of skill {skill.name} has no option audit; leave it out")
        options = dataclasses.replace(options, audit=True)
    data = skill.pool(args.data)
    if not 1 <= args.rows <= len(data.x):
        raise ConfigError(f"--rows {args.rows}: the file has {len(data.x)} rows")
    chosen = np.random.default_rng(args.seed).choice(len(data.x), args.rows, replace=False)
    with Progress(transient=True) as progress:
        task = progress.add_task("trials", total=args.rows * args.seeds)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done)

        figures = skill.agreement(data.take(chosen), options, args.seeds, 1000 * args.seed, show)
    common.print_table(f"labels of {args.data}, re-simulated", ("figure", "value"), list(figures.items()))
    common.write_record(args.out, common.record(figures, list(range(args.seeds))))
    return 0
