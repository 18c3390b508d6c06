"""Random requests, seeded, to a node in a process of its own: every one is answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import until
from one_node import NAMES, OneNode, features, labels, learn, nodes_in, predict

pytest.importorskip("rclpy")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., OneNode]]:
    yield from nodes_in(tmp_path)


TEXTS = (
    "",
    ".",
    "/",
    "..",
    "msgld",
    "ideal",
    "escim",
    "x" * 5000,
    "\x01",
    "a b",
    "é.npz",
    "learner.npz",
    "{a: 1}",
    "/etc/x",
)
NUMBERS = (0, 1, -1, 5, 2**31, -(2**31), 2**63 - 1, -(2**63))


def test_random_requests_end_in_answers(start: Callable[..., OneNode], tmp_path: Path) -> None:
    """Seeded: services, parameters and transitions with values at and beyond their limits, in any state."""
    node = start("accelerator").wait_ready()
    assert learn(node).error_code == 0
    rng = np.random.default_rng(14)
    asked: Counter[str] = Counter()
    for number in range(1, 501):
        name, call = _random_call(node, rng)
        asked[name] += 1
        call()
        node.check_alive()
        if number % 50 == 0:
            _repair(node)
    assert len(asked) >= 11, asked
    assert learn(node).error_code == 0 and predict(node).success
    assert "Traceback" not in node.log.read_text(), "what a message can do is foreseen"


def _repair(node: OneNode) -> None:
    """Active again, whatever was set."""
    node.change("deactivate")
    node.change("cleanup")
    good = {"learner": "msgld", "accelerator": "simulated", "preset": "tsinghua_taox_hfox", "options": "", "samples": 9}
    assert node.set(**good, seed=3, use_sim_time=False, msgld__max_epochs=5).successful
    assert all(node.change("configure", "activate")), node.log.read_text()[-2000:]


def _random_call(node: OneNode, rng: np.random.Generator) -> tuple[str, Callable[[], Any]]:
    from lifecycle_msgs.srv import GetState
    from memristor_bdnn.srv import AddObservations, LoadCheckpoint, Predict, SaveCheckpoint, SelectQueries
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

    def pick(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    text = pick(
        "",
        ".",
        "/",
        "..",
        "msgld",
        "ideal",
        "escim",
        "x" * 5000,
        "\x01",
        "a b",
        "é.npz",
        "learner.npz",
        "/etc/passwd",
        "{a: 1}",
    )
    number = pick(*NUMBERS)
    unsigned = pick(0, 1, 3, 12, 13, 10_000, 2**31, 2**32 - 1)
    message = features(int(rng.integers(0, 30)), seed=1)
    if rng.random() < 0.5:
        message.names = pick([], list(message.names)[:-1], [*message.names, "x"], ["x"], list(message.names)[::-1])
    if rng.random() < 0.5 and len(message.values):
        message.values[0] = pick(math.nan, math.inf, -math.inf, 1e308, 2.0)
    given = labels(features(int(rng.integers(0, 30)), seed=1))
    value = ParameterValue(
        type=pick(int(rng.integers(0, 12)), 1, 2, 2, 3, 4, 4),
        bool_value=bool(rng.integers(2)),
        integer_value=number,
        double_value=pick(math.nan, math.inf, 0.0, -1.0, 1e308),
        string_value=text,
        integer_array_value=[number],
        double_array_value=[math.nan],
        string_array_value=[text],
        bool_array_value=[],
        byte_array_value=[],
    )
    name = pick("samples", "seed", "learner", "options", "preset", "results", "msgld.max_epochs", "use_sim_time", text)
    table: dict[str, tuple[Any, Any]] = {
        "predict": (Predict, {"candidates": message, "samples": unsigned, "want_samples": bool(rng.integers(2))}),
        "select_queries": (
            SelectQueries,
            {"candidates": message, "k": unsigned, "strategy": pick("straddle", "random", text), "seed": number},
        ),
        "add_observations": (AddObservations, {"x": message, "y": given}),
        "save_checkpoint": (SaveCheckpoint, {"path": text, "history": text, "trials": unsigned}),
        "load_checkpoint": (LoadCheckpoint, {"path": text, "strict": bool(rng.integers(2))}),
        "set_parameters": (SetParameters, {"parameters": [Parameter(name=name, value=value)] * int(rng.integers(3))}),
        "get_parameters": (GetParameters, {"names": [name, text]}),
        "describe_parameters": (DescribeParameters, {"names": [name, text]}),
        "list_parameters": (ListParameters, {"prefixes": [text], "depth": unsigned}),
        "get_state": (GetState, {}),
    }
    if rng.random() < 0.03:
        label = pick("configure", "activate", "deactivate", "cleanup", "nonsense", text)
        return "change_state", lambda: node.change(label)
    service = pick(*table)
    kind, fields = table[service]
    return service, lambda: node.call(kind, service, kind.Request(**fields))


@pytest.mark.parametrize("executable", sorted(NAMES))
def test_random_parameters_are_obeyed_or_refused_by_every_node(start: Callable[..., OneNode], executable: str) -> None:
    """What was accepted is what is read back, in any state; the node lives, and is configured with its defaults."""
    from rcl_interfaces.srv import GetParameters, ListParameters
    from rclpy.parameter import parameter_value_to_python

    node = start(executable, autostart=False)
    until(lambda: node.client.node.count_publishers("/diagnostics") > 0)
    assert node.change("configure", "activate") == [True, True], node.log.read_text()
    names = list(node.call(ListParameters, "list_parameters").result.names)
    values = node.call(GetParameters, "get_parameters", GetParameters.Request(names=names)).values
    defaults = {n: parameter_value_to_python(v) for n, v in zip(names, values, strict=True)}
    rng, accepted = np.random.default_rng(5), 0
    for turn in range(240):
        if turn == 120:
            assert node.change("deactivate", "cleanup") == [True, True]
        name = str(rng.choice(names))
        kind = type(defaults[name]) if rng.random() < 0.8 else None
        choices: list[Any] = [v for v in (*TEXTS, *NUMBERS, math.nan, math.inf, 0.5, True, False, []) if v != []]
        fitting = [v for v in (*choices, defaults[name]) if kind is None or type(v) is kind] or [[1]]
        value = fitting[int(rng.integers(len(fitting)))]
        result = node.set(**{name.replace(".", "__"): value})
        assert result.successful or result.reason
        if result.successful:
            accepted += 1
            assert node.get(name) == value
        elif "read-only" not in result.reason:
            assert name.rpartition(".")[2] in result.reason, (name, value, result.reason)
    assert accepted > 10
    for name, value in defaults.items():
        result = node.set(**{name.replace(".", "__"): value})
        assert result.successful or "read-only" in result.reason, result.reason
    assert node.change("configure", "activate") == [True, True], node.log.read_text()[-2000:]
    assert "Traceback" not in node.log.read_text()
