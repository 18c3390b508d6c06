"""List the learners with their options and defaults: `memristor-bdnn info learners`."""

from __future__ import annotations

import argparse

from memristor_bdnn.commands import info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One learner, or all of them."""
    parser.add_argument("name", nargs="?", metavar="LEARNER", help="one of them alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Print them; returns 1 if one cannot be loaded, and refuses what is no learner."""
    from memristor_bdnn import learners

    if args.name is not None:
        learners.learner_class(args.name)
    return info.describe(args.name or "learners", args.json)
