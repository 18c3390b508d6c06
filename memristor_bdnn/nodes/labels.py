"""Labels that a person gives: read as they are typed, and handed to the coordinator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from memristor_bdnn.errors import ConfigError, MemristorError

TIMEOUT_S = 15.0


def give_label(client: Any, trial: int, words: Sequence[str], source: str = "operator", namespace: str = "") -> None:
    """Give a trial's outcome to the coordinator.

    Args:
        client: a :class:`memristor_bdnn.nodes.client.GraphClient`.
        trial: number of the trial that waits.
        words: measures as typed, see :func:`measures`.
        source: ``operator`` or ``scale``.
        namespace: of the graph, for errors.

    Raises:
        ConfigError: a trial or measures that are none.
        MemristorError: nobody answers, or the coordinator refuses, with its reason.
    """
    if not 0 <= trial < 2**64:
        raise ConfigError(f"trial = {trial}: allowed 0 to {2**64 - 1}")
    names, values = measures(words)
    from memristor_bdnn.msg import ValueTable
    from memristor_bdnn.nodes.peers import PeerLost
    from memristor_bdnn.srv import LabelTrial

    table = ValueTable(names=names, values=values)
    request = LabelTrial.Request(trial_id=trial, measures=table, source=source)
    try:
        response = client.call("coordinator", LabelTrial, "label_trial", request, timeout_s=TIMEOUT_S)
    except PeerLost as error:
        where = f"namespace {namespace!r}" if namespace else "no namespace"
        raise MemristorError(f"{error}; is the graph running, with this ROS_DOMAIN_ID and {where}?") from error
    if not response.success:
        raise MemristorError(f"coordinator: {response.message}")


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
