"""Send a goal of active learning to a running graph, and show how it goes on.

The coordinator makes random trials up to its initial_trials, then asks, then makes confident trials. Numbers are totals
of the session: what its results folder holds already is not done again. Ctrl-C cancels the goal; every finished trial
is kept.
"""

from __future__ import annotations

import argparse

from memristor_bdnn.commands import shared
from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError

MOST = 2**32 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Totals, strategy, namespace."""
    parser.add_argument("queries", type=int, metavar="QUERIES", help="trials chosen by the strategy, in all")
    parser.add_argument("--evaluations", type=int, default=0, help="confident trials in unseen contexts, in all")
    parser.add_argument("--strategy", default="", help="acquisition (default: the graph's parameter loop.strategy)")
    parser.add_argument("--namespace", default="", help="namespace of the graph")


def run(args: argparse.Namespace) -> int:
    """Send the goal, wait for its end; what did not end well is an error with the coordinator's reason."""
    for name in ("queries", "evaluations"):
        if not 0 <= getattr(args, name) <= MOST:
            raise ConfigError(f"{name} = {getattr(args, name)}: allowed 0 to {MOST}")
    from memristor_bdnn.nodes.client import GraphClient, learn_actively
    from memristor_bdnn.nodes.peers import PeerLost
    from memristor_bdnn.report.console import SessionProgress

    stop = shared.stop_on_signals()
    totals = {"initial": None, "query": args.queries, "evaluation": args.evaluations}
    with GraphClient("active_learn_client", args.namespace, stop) as client:
        try:
            with SessionProgress(None, totals) as progress:
                result = learn_actively(client, args.queries, args.strategy, args.evaluations, progress.update)
        except PeerLost as error:
            where = f"namespace {args.namespace!r}" if args.namespace else "no namespace"
            raise MemristorError(f"{error}; is the graph running, with this ROS_DOMAIN_ID and {where}?") from error
        except Cancelled:
            raise Cancelled("cancelled; every finished trial is kept, send the goal again to go on") from None
    print(f"{result.labels} labels, accuracy on them {result.accuracy:.2f}; checkpoint {result.checkpoint}")
    return 0
