"""Predictions by the accelerator node beside the same predictions in this process: what messages and executors cost.

On the clock, since two processes take turns and wait for each other; other work on the machine counts, so the least
of many calls is given beside their median.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CANDIDATES, SAMPLES, LABELS, CALLS = 100, 20, 20, 300
READY_S = 60.0


def figures(seed: int = 0, calls: int = CALLS) -> dict[str, float]:
    """Seconds of a call: here, over ROS, what the node itself takes, and how much more a call over ROS is.

    Both learners have the same seed and labels. The node lives in a namespace of its own and ends with this call.

    Raises:
        PeerLost: the node is not active within a minute.
    """
    from memristor_bdnn import accelerator, learners, skills
    from memristor_bdnn.nodes.client import GraphClient
    from memristor_bdnn.nodes.remote import RemoteLearner
    from memristor_bdnn.nodes.supervisor import Supervisor

    features = skills.load(skills.DEFAULT).feature_names
    rng = np.random.default_rng(seed)
    x, labels = rng.uniform(-1, 1, (CANDIDATES, len(features))), rng.uniform(-1, 1, (LABELS, len(features)))
    y = (labels[:, 0] > 0).astype(float)
    chips = accelerator.create("simulated", seed=seed)
    here: Any = learners.create("msgld", chips, seed=seed)
    space = f"speed_{os.getpid()}"
    node = Supervisor([_node(space, seed)], log=lambda line: None)
    node.start()
    try:
        with GraphClient("speed_client", space) as client:
            client.peers.wait_ready(("accelerator",), READY_S)
            there = RemoteLearner(client.peers, features)
            for learner in (here, there):
                learner.learn(labels, y)
            computed: list[float] = []
            times = np.array([_turn(here, there, client, features, x, computed) for _ in range(calls)])[calls // 10 :]
    finally:
        node.stop()
        chips.close()
    return {
        "predict_100_clock_s": float(np.median(times[:, 0])),
        "predict_100_over_ros_clock_s": float(np.median(times[:, 1])),
        "over_ros_more_s": float(np.median(times[:, 1] - times[:, 0])),
        "over_ros_more_least_s": float(times[:, 1].min() - times[:, 0].min()),
        "over_ros_node_computes_s": float(np.median(computed)),
    }


def _node(namespace: str, seed: int) -> Any:
    from memristor_bdnn.nodes.arguments import NodeCommand

    parameters: dict[str, bool | int | float | str] = {"learner": "msgld", "seed": seed}
    return NodeCommand("accelerator", "accelerator_node", namespace, "", parameters, "error", False)


def _turn(here: Any, there: Any, client: Any, features: Any, x: Any, computed: list[float]) -> tuple[float, float]:
    """One prediction here and one there, and what the node says that it took."""
    from memristor_bdnn.nodes import convert
    from memristor_bdnn.srv import Predict

    own = _clock(lambda: here.predict(x, SAMPLES))
    remote = _clock(lambda: there.predict(x, SAMPLES))
    request = Predict.Request(candidates=convert.table(features, x), samples=SAMPLES)
    computed.append(client.call("accelerator", Predict, "predict", request, 10.0).prediction.compute_time)
    return own, remote


def _clock(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
