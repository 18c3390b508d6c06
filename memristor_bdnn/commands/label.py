"""Give the outcome of a trial that an arm has executed: what the skill measures.

The coordinator waits for it (service coordinator/label_trial), checks it against the skill's ranges, and commits the
trial with it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from memristor_bdnn.errors import ConfigError, MemristorError


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
    names, values = measures(args.measures)
    from memristor_bdnn.msg import ValueTable
    from memristor_bdnn.nodes.client import GraphClient
    from memristor_bdnn.nodes.peers import PeerLost
    from memristor_bdnn.srv import LabelTrial

    with GraphClient("label_client", args.namespace) as client:
        table = ValueTable(names=names, values=values)
        request = LabelTrial.Request(trial_id=args.trial, measures=table, source=args.source)
        try:
            response = client.call("coordinator", LabelTrial, "label_trial", request, timeout_s=15.0)
        except PeerLost as error:
            where = f"namespace {args.namespace!r}" if args.namespace else "no namespace"
            raise MemristorError(f"{error}; is the graph running, with this ROS_DOMAIN_ID and {where}?") from error
    if not response.success:
        raise MemristorError(f"coordinator: {response.message}")
    print(f"trial {args.trial}: {', '.join(args.measures)} recorded")
    return 0


def measures(words: Sequence[str]) -> tuple[list[str], list[float]]:
    """Names and values of measures as typed; no name for a single value, which is the skill's first measure.

    Raises:
        ConfigError: no finite number, a name twice, or several values that are not all named.
    """
    if len(words) == 1 and "=" not in words[0]:
        return [], [_number(words[0], "the first measure")]
    names, values = [], []
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or not name.isidentifier():
            raise ConfigError(f"{word!r}: expected NAME=VALUE when several measures are given, or one VALUE alone")
        if name in names:
            raise ConfigError(f"{word!r}: the measure {name} is given twice")
        names.append(name)
        values.append(_number(text, name))
    return names, values


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{name} = {text!r}: expected a number") from None
    if not math.isfinite(value):
        raise ConfigError(f"{name} = {text!r}: expected a finite number")
    return value
