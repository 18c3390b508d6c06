"""Parameters that no user would set, in every state of every node: each is refused with a reason, or obeyed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.benchmark.faults.findings import Tally
from memristor_bdnn.benchmark.faults.nodes import ACTIVE, INACTIVE, STATES, UNCONFIGURED, House, house, snapshot
from memristor_bdnn.benchmark.faults.processes import NodeFailed, NodeProcess

BLOCK = 40
"""Requests to one node before another node and state are chosen."""
NEVER = re.compile(r"(^|\.)(enable_hardware|results|controller|\w+_tolerance|stale_after)$")
"""What no peer may change: what lets an arm move or judges its motion, and where files go."""
LIVE = re.compile(r"takes effect: at once", re.IGNORECASE)
STANDARD = ("use_sim_time",)
"""Parameters that rclpy declares and obeys at once."""
_FIELDS = {
    1: "bool_value",
    2: "integer_value",
    3: "double_value",
    4: "string_value",
    5: "byte_array_value",
    6: "bool_array_value",
    7: "integer_array_value",
    8: "double_array_value",
    9: "string_array_value",
}
# As folders and files they must stay harmless where a node takes them.
_TEXTS = ("", " ", "x" * 100_000, "../..", "/proc/none", "näh", "'", "{", "- [", "nan", "lab #2", "\t\n", "true", "-1")


@dataclass
class Known:
    """What is known of a node's parameters: descriptors, values now, values at the start."""

    about: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    original: dict[str, Any] = field(default_factory=dict)


def run(tally: Tally, folder: Path, sets: int, skill: str, case: int | None, progress: Callable[[int], None]) -> None:
    """Send ``sets`` requests, each a case, block by block to one node in one state."""
    with house(folder, skill, tally.seed) as nodes:
        before = snapshot(folder, nodes.results)
        roles, known = list(nodes.nodes), {role: Known() for role in nodes.nodes}
        for role, node in nodes.nodes.items():
            _learn(nodes, node, known[role])
        for number in range(sets) if case is None else [case]:
            if number % BLOCK == 0 or case is not None:
                draws = tally.rng(10**9 + number // BLOCK)
                role = roles[int(draws.integers(len(roles)))]
                state = int(draws.choice([UNCONFIGURED, INACTIVE, ACTIVE, ACTIVE]))
                if not _enter(tally, nodes, nodes.nodes[role], known[role], state, number):
                    state = ACTIVE
            _one(tally, nodes, nodes.nodes[role], known[role], state, number)
            progress(number + 1)
            if tally.given_up:
                break
        after = snapshot(folder, nodes.results)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                tally.found("lost", sets, "all sets", f"{name} outside the results folder was made or changed")


def _learn(nodes: House, node: NodeProcess, known: Known) -> None:
    """Ask a node what parameters it has."""
    from rcl_interfaces.srv import DescribeParameters, ListParameters

    listed = nodes.caller.call(node, ListParameters, "list_parameters", ListParameters.Request()).result.names
    request = DescribeParameters.Request(names=listed)
    about = nodes.caller.call(node, DescribeParameters, "describe_parameters", request).descriptors
    known.about = {d.name: d for d in about}
    known.values = _get(nodes, node, list(known.about))
    for name, value in known.values.items():
        known.original.setdefault(name, value)


def _get(nodes: House, node: NodeProcess, names: list[str]) -> dict[str, Any]:
    from rcl_interfaces.srv import GetParameters

    request = GetParameters.Request(names=names)
    values = nodes.caller.call(node, GetParameters, "get_parameters", request).values
    return {name: _plain(value) for name, value in zip(names, values, strict=True)}


def _plain(value: Any) -> Any:
    if value.type not in _FIELDS:
        return None
    found = getattr(value, _FIELDS[value.type])
    return found if isinstance(found, bool | int | float | str) else list(found)


# -- states ----------------------------------------------------------------------------------------


def _enter(tally: Tally, nodes: House, node: NodeProcess, known: Known, state: int, case: int) -> bool:
    """Bring a node into a state with the parameters it was started with; whether that worked."""
    done = f"{node.full_name} to {STATES[state]}"
    try:
        ok = nodes.change(node, UNCONFIGURED) and _restore(tally, nodes, node, known, case)
        if ok and not nodes.change(node, state):
            tally.found("crashed", case, done, f"refused with the parameters of the start: {node.how_it_ended()}")
            ok = False
        _learn(nodes, node, known)
    except NodeFailed as error:
        nodes.revive(tally, case, done, error, node)
        known.original.clear()
        _learn(nodes, node, known)
        return False
    return ok


def _restore(tally: Tally, nodes: House, node: NodeProcess, known: Known, case: int) -> bool:
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters

    # What was never set takes the plugin's own default again when the node is configured.
    changed = [n for n, v in known.values.items() if n in known.original and not _same(v, known.original[n])]
    values = [_message(known.about[n].type, known.original[n]) for n in changed]
    request = SetParameters.Request(
        parameters=[Parameter(name=n, value=v) for n, v in zip(changed, values, strict=True)]
    )
    results = nodes.caller.call(node, SetParameters, "set_parameters", request).results
    for name, result in zip(changed, results, strict=True):
        if not result.successful:
            text = f"{name} = {known.original[name]!r}, its value at the start, is refused: {result.reason}"
            tally.found("crashed", case, f"{node.full_name} unconfigured", text)
            return False
    return True


# -- one request -----------------------------------------------------------------------------------


def _one(tally: Tally, nodes: House, node: NodeProcess, known: Known, state: int, case: int) -> None:
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically

    rng = tally.rng(case)
    atomic = bool(rng.random() < 0.3)
    asked: list[tuple[str, Any, str]] = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        name = _name(rng, known)
        value, text = _value(rng, known.about.get(name), known.values.get(name))
        asked.append((name, value, text))
    what = ", ".join(f"{n[:80]} = {t}" for n, _, t in asked)
    done = f"{node.full_name} {STATES[state]}: set{' together' if atomic else ''} {what}"
    parameters = [Parameter(name=n, value=v) for n, v, _ in asked]
    tally.count("parameter sets")
    try:
        if atomic:
            answer = nodes.caller.call(
                node,
                SetParametersAtomically,
                "set_parameters_atomically",
                SetParametersAtomically.Request(parameters=parameters),
            )
            results = [answer.result] * len(asked)
        else:
            request = SetParameters.Request(parameters=parameters)
            results = list(nodes.caller.call(node, SetParameters, "set_parameters", request).results)
        names = sorted({n for n, _, _ in asked if n in known.about})
        now = _get(nodes, node, names) if names else {}
    except NodeFailed as error:
        nodes.revive(tally, case, done, error, node)
        known.original.clear()
        _learn(nodes, node, known)
        _enter(tally, nodes, node, known, state, case)
        return
    tally.count("taken", sum(bool(r.successful) for r in results))
    if len(results) != len(asked):
        tally.found("crashed", case, done, f"{len(results)} answers to {len(asked)} parameters")
        return
    last = {n: k for k, (n, _, _) in enumerate(asked)}
    for k, ((name, value, _), result) in enumerate(zip(asked, results, strict=True)):
        if last[name] == k:
            repeated = sum(n == name for n, _, _ in asked) > 1
            verdict = judge(
                known.about.get(name), state, known.values.get(name), value, result, now.get(name), repeated
            )
            if verdict is not None:
                tally.found(verdict[0], case, f"{done} ({name[:80]})", verdict[1])
    known.values.update(now)


def judge(
    about: Any, state: int, old: Any, asked: Any, result: Any, now: Any, repeated: bool = False
) -> tuple[str, str] | None:
    """Judge the answer to one parameter.

    Args:
        about: its descriptor; None for a name that the node does not have.
        state: of the node.
        old: value before.
        asked: ParameterValue message that was sent.
        result: the node's SetParametersResult.
        now: value after.
        repeated: whether the request named the parameter several times, so that ``old`` need not have stayed.

    Returns:
        Kind and text of a finding, or None.
    """
    if not result.successful:
        if not result.reason:
            return "crashed", "refused without a reason"
        if about is not None and not _same(old, now) and not repeated:
            return "diverged", f"refused ({result.reason}), but the value became {now!r} from {old!r}"
        return None
    if about is None:
        return "wrongly_accepted", "a parameter that the node does not have"
    wanted = _plain(asked)
    if _same(wanted, old):
        return None
    if not _same(wanted, now):
        return "wrongly_accepted", f"successful, but the value is {now!r}"
    if asked.type != about.type:
        return "wrongly_accepted", f"a value of type {asked.type}, declared {about.type}"
    if reason := _not_allowed(about, wanted):
        return "wrongly_accepted", reason
    if NEVER.search(about.name) and wanted is not False:
        return "wrongly_accepted", f"a peer may not set {about.name} of a running node"
    if state != UNCONFIGURED and not LIVE.search(about.description) and about.name not in STANDARD:
        return "wrongly_accepted", "successful while configured, but its description does not say that it is live"
    return None


def _not_allowed(about: Any, value: Any) -> str:
    """Why a value is not one that its descriptor allows; empty when it is."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, float) and not math.isfinite(item):
            return f"{item} is no finite number"
        for span in [*about.floating_point_range, *about.integer_range]:
            if not isinstance(item, str | bool) and not span.from_value <= item <= span.to_value:
                return f"{item} is not in [{span.from_value}, {span.to_value}]"
    choices = re.search(r"Choices: ([^.]*)\.", about.description)
    if choices and isinstance(value, str) and value not in choices[1].split(", "):
        return f"{value[:80]!r} is none of {choices[1]}"
    return ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    return type(one) is type(other) and bool(one == other)


# -- what is asked ---------------------------------------------------------------------------------


def _name(rng: np.random.Generator, known: Known) -> str:
    names = list(known.about)
    name = names[int(rng.integers(len(names)))]
    kind = rng.random()
    if kind < 0.08:
        forms = (name + "x", name[:-1], name.upper(), "", ".", name + ".", "port." + name, "x" * 5000, "ä/~*", "a b")
        return str(rng.choice(forms))
    if kind < 0.2:
        special = [n for n in names if NEVER.search(n)]
        return str(rng.choice(special)) if special else name
    return name


def _value(rng: np.random.Generator, about: Any, now: Any) -> tuple[Any, str]:
    """A ParameterValue and how a person would write it."""
    from rcl_interfaces.msg import ParameterValue

    kind = int(about.type) if about is not None else int(rng.integers(1, 5))
    draw = rng.random()
    if draw < 0.04:
        code = int(rng.choice([0, 10, 11, 77, 255]))
        return ParameterValue(type=code, integer_value=5), f"(type code {code})"
    if draw < 0.16:
        kind = int(rng.integers(1, 10))
    value = _draw(rng, kind, about, now)
    text = repr(value)
    return _message(kind, value), text if len(text) < 100 else f"{text[:60]}... ({len(text)} characters)"


def _draw(rng: np.random.Generator, kind: int, about: Any, now: Any) -> Any:
    spans = [*about.floating_point_range, *about.integer_range] if about is not None else []
    low, high = (spans[0].from_value, spans[0].to_value) if spans else (-1e6, 1e6)
    if kind == 1:
        return bool(rng.integers(2))
    if kind == 2:
        inside: list[int] = [int(low), int(high), *(int(min(max(v, low), high)) for v in (1, 2, 3, 5, 20))]
        outside = [int(low) - 1, int(high) + 1, -1, 0, 2**31, 2**63 - 1, -(2**63)]
        value = int((inside if rng.random() < 0.6 else outside)[int(rng.integers(7))])
        return min(max(value, -(2**63)), 2**63 - 1)
    if kind == 3:
        near = float(now) if isinstance(now, float) else 1.0
        close: list[float] = [low, high, near * 1.01, near * 0.5, near, min(max(0.5, low), high), near * 1.5]
        beyond: list[float] = [math.nan, math.inf, -math.inf, 1e308, -1e308, low - 1.0, high * 2 + 1.0]
        return float((close if rng.random() < 0.6 else beyond)[int(rng.integers(7))])
    if kind == 4:
        choices = re.search(r"Choices: ([^.]*)\.", about.description) if about is not None else None
        if choices and rng.random() < 0.6:
            return str(rng.choice(choices[1].split(", ")))
        return _TEXTS[int(rng.integers(len(_TEXTS)))]
    count = int(rng.choice([0, 1, 2, 3, 1000]))
    if kind == 5:
        return [bytes([int(v)]) for v in rng.integers(0, 256, count)]
    if kind == 6:
        return [bool(v) for v in rng.integers(0, 2, count)]
    if kind == 7:
        return [int(v) for v in rng.integers(-3, 60, count)]
    if kind == 8:
        return [float(v) for v in rng.choice([math.nan, 0.0, 1.0, -1.0, math.inf, 0.3], count)]
    return [str(v) for v in rng.choice(_TEXTS[1:], count)][:20]


def _message(kind: int, value: Any) -> Any:
    from rcl_interfaces.msg import ParameterValue

    return ParameterValue(type=kind, **{_FIELDS[kind]: value})
