"""Random requests, seeded, to a node in a process of its own: every one is answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_node import OneNode, features, labels, learn, nodes_in, predict

pytest.importorskip("rclpy")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., OneNode]]:
    yield from nodes_in(tmp_path)


def test_random_requests_end_in_answers(start: Callable[..., OneNode], tmp_path: Path) -> None:
    """Seeded: services, parameters and transitions with values at and beyond their limits, in any state."""
    node = start("accelerator").wait_ready()
    rng = np.random.default_rng(14)
    asked: Counter[str] = Counter()
    for _ in range(400):
        name, call = _random_call(node, rng)
        asked[name] += 1
        call()
        node.check_alive()
    assert len(asked) >= 9, asked
    node.change("deactivate"), node.change("cleanup")
    assert node.set(learner="msgld", accelerator="simulated", preset="tsinghua_taox_hfox", options="").successful
    assert all(node.change("configure", "activate")), node.log.read_text()[-2000:]
    assert learn(node).error_code == 0 and predict(node).success


def _random_call(node: OneNode, rng: np.random.Generator) -> tuple[str, Callable[[], Any]]:
    from lifecycle_msgs.srv import GetState
    from memristor_bdnn.srv import AddObservations, LoadCheckpoint, Predict, SaveCheckpoint, SelectQueries
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

    def pick(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    text = pick("", ".", "/", "..", "msgld", "x" * 5000, "\x01", "a b", "é.npz", "learner.npz", "/etc/passwd", "{a: 1}")
    number = pick(0, 1, -1, 5, 2**31, -(2**31), 2**63 - 1, -(2**63))
    unsigned = pick(0, 1, 3, 12, 13, 10_000, 2**31, 2**32 - 1)
    message = features(int(rng.integers(0, 30)), seed=1)
    if rng.random() < 0.5:
        message.names = pick([], list(message.names)[:-1], [*message.names, "x"], ["x"], list(message.names)[::-1])
    if rng.random() < 0.5 and len(message.values):
        message.values[0] = pick(math.nan, math.inf, -math.inf, 1e308, 2.0)
    given = labels(features(int(rng.integers(0, 30)), seed=1))
    value = ParameterValue(
        type=int(rng.integers(0, 12)),
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
    name = pick("samples", "seed", "learner", "options", "results", "msgld.max_epochs", "use_sim_time", "nothing", text)
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
    if rng.random() < 0.1:
        label = pick("configure", "activate", "deactivate", "cleanup", "nonsense", text)
        return "change_state", lambda: node.change(label)
    service = pick(*table)
    kind, fields = table[service]
    return service, lambda: node.call(kind, service, kind.Request(**fields))
