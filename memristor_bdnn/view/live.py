"""A running graph as moments: subscribes to what it publishes, and hands an operator's labels to it."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.client import GraphClient
from memristor_bdnn.nodes.labels import give_label
from memristor_bdnn.nodes.recorder import message_class, quality_of
from memristor_bdnn.view.hearing import Heard, type_of, wanted
from memristor_bdnn.view.moment import Axis, Moment

LOOK_S = 0.5
"""How often new topics are looked for."""
HISTORY = 1000
"""Trials and rounds asked of a coordinator that has been running."""


class Live:
    """What is heard of one graph, from now on and of what it keeps for those who come late.

    Args:
        namespace: of the graph.

    Raises:
        ConfigError: a namespace that is none.
    """

    axes: tuple[Axis, ...] = ()

    def __init__(self, namespace: str = "") -> None:
        self._client = GraphClient("view", namespace)
        self._namespace, self._node = namespace, self._client.node
        self._prefix = self._node.get_namespace().rstrip("/") + "/"
        self.title = f"live{f', namespace {namespace}' if namespace else ''}"
        self._lock = threading.Lock()
        self._heard = Heard()
        self._topics: dict[str, tuple[Any, Any]] = {}
        self._timer = self._node.create_timer(LOOK_S, self._look)

    def _look(self) -> None:
        """Listen to wanted topics that have appeared, as their publishers need it."""
        for topic, types in self._node.get_topic_names_and_types():
            name = wanted(topic, self._prefix)
            if not name or type_of(name) not in types:
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            quality = quality_of([p.qos_profile for p in publishers])
            quality.depth = HISTORY if name.startswith("coordinator/") else quality.depth
            same = (quality.durability, quality.reliability)
            heard, asked = self._topics.get(topic, (None, None))
            if asked == same:
                continue
            if heard is not None:
                self._node.destroy_subscription(heard)
            self._topics[topic] = (self._listen(topic, name, quality), same)

    def _listen(self, topic: str, name: str, quality: Any) -> Any:
        """A subscription; None where the type of the messages is not installed, which is said once."""
        try:
            kind = message_class(type_of(name))
        except ConfigError as error:
            self._node.get_logger().warning(f"{topic} is not shown: {error}")
            return None
        return self._node.create_subscription(kind, topic, partial(self._take, name), quality)

    def _take(self, name: str, message: Any) -> None:
        with self._lock:
            self._heard.take(name, message, time.monotonic())

    def moment(self, at: tuple[float, ...] = ()) -> Moment:
        """What is known now."""
        with self._lock:
            return self._heard.moment(time.strftime("live, %H:%M:%S"), time.monotonic())

    def label(self, trial: int, words: list[str]) -> None:
        """Give a trial's outcome; see :func:`memristor_bdnn.nodes.labels.give_label`."""
        give_label(self._client, trial, words, "operator", self._namespace)

    def close(self) -> None:
        """Leave the graph."""
        self._client.close()
