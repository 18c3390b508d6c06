"""Give the outcome of a trial that an arm has executed: the fraction poured into the bowl.

The coordinator waits for it (service coordinator/label_trial) and commits the trial with it.
"""

from __future__ import annotations

import argparse
import math

from memristor_bdnn.errors import ConfigError, MemristorError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Trial, fraction, source, namespace."""
    parser.add_argument("trial", type=int, help="number of the trial, as the coordinator names it")
    parser.add_argument("fraction", type=float, help="fraction of the cup's content now in the bowl, 0 to 1")
    parser.add_argument("--source", choices=("operator", "scale"), default="operator", help="who measured it")
    parser.add_argument("--namespace", default="", help="namespace of the graph")


def run(args: argparse.Namespace) -> int:
    """Send the label and print the coordinator's answer."""
    if args.trial < 0:
        raise ConfigError(f"trial = {args.trial}: allowed 0 and above")
    if not (math.isfinite(args.fraction) and 0.0 <= args.fraction <= 1.0):
        raise ConfigError(f"fraction = {args.fraction}: allowed [0, 1]")
    from memristor_bdnn.nodes.client import GraphClient
    from memristor_bdnn.srv import LabelTrial

    with GraphClient("label_client", args.namespace) as client:
        request = LabelTrial.Request(trial_id=args.trial, fraction_in_bowl=args.fraction, source=args.source)
        response = client.call("coordinator", LabelTrial, "label_trial", request, timeout_s=15.0)
    if not response.success:
        raise MemristorError(f"coordinator: {response.message}")
    print(f"trial {args.trial}: {args.fraction:.3f} in the bowl, recorded")
    return 0
