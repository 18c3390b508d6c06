"""Give the outcome of a trial that an arm has executed: what the skill measures.

The coordinator waits for it (service coordinator/label_trial), checks it against the skill's ranges, and commits the
trial with it.
"""

from __future__ import annotations

import argparse

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.labels import give_label, measures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Trial, measures, source, namespace."""
    parser.add_argument("trial", type=int, help="number of the trial, as the coordinator names it")
    parser.add_argument(
        "measures",
        nargs="+",
        metavar="VALUE",
        help="the skill's first measure, such as a fraction; or NAME=VALUE for each measure that was taken",
    )
    parser.add_argument("--source", choices=("operator", "scale"), default="operator", help="who measured it")
    parser.add_argument("--namespace", default="", help="namespace of the graph")


def run(args: argparse.Namespace) -> int:
    """Send the label and print the coordinator's answer."""
    if not 0 <= args.trial < 2**64:
        raise ConfigError(f"trial = {args.trial}: allowed 0 to {2**64 - 1}")
    measures(args.measures)
    from memristor_bdnn.nodes.client import GraphClient

    with GraphClient("label_client", args.namespace) as client:
        give_label(client, args.trial, args.measures, args.source, args.namespace)
    print(f"trial {args.trial}: {', '.join(args.measures)} recorded")
    return 0
