"""Re-simulate labelled trials and compare the labels.

About 0.81 is near the ceiling for the published pool: two seeds of one simulator agree on 87 %.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``memristor-bdnn validate-world``."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="labelled trials: an .npz with x_pool and score_pool, or a pool of `collect`",
    )
    parser.add_argument("--rows", type=int, default=300, help="rows drawn from it without replacement (default 300)")
    parser.add_argument("--seeds", type=int, default=2, help="simulations of each row, at least 2 (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of rows and of the scenes (default 0)")
    parser.add_argument("--audit", action="store_true", help="also count beads that go through walls (slow)")
    parser.add_argument("--world", metavar="YAML", help="world configuration (section `world` of a YAML file)")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate, print the comparison, write it."""
    import dataclasses

    import numpy as np
    from rich.progress import Progress

    from memristor_bdnn.config import from_yaml
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report import record as common
    from memristor_bdnn.skills.pouring.pool import load
    from memristor_bdnn.skills.pouring.validate import compare
    from memristor_bdnn.skills.pouring.world import WorldConfig

    common.check_out(args.out)
    config = from_yaml(WorldConfig, args.world, "world") if args.world else WorldConfig()
    config = dataclasses.replace(config, audit=args.audit or config.audit)
    data = load(args.data)
    if not 1 <= args.rows <= len(data.x):
        raise ConfigError(f"--rows {args.rows}: the file has {len(data.x)} rows")
    chosen = np.random.default_rng(args.seed).choice(len(data.x), args.rows, replace=False)
    with Progress(transient=True) as progress:
        task = progress.add_task("trials", total=args.rows * args.seeds)
        found = compare(
            data.x[chosen],
            data.score[chosen],
            config,
            args.seeds,
            1000 * args.seed,
            lambda done, total: progress.update(task, completed=done),
        )
    rows = [(name, value) for name, value in asdict(found).items()]
    if not config.audit:
        rows = [r for r in rows if r[0] != "leaks"]
    common.print_table(f"labels of {args.data}, re-simulated", ("figure", "value"), rows)
    common.write_record(args.out, common.record(dict(rows), list(range(args.seeds))))
    return 0
