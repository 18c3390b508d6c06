"""What other nodes say of themselves: the skill that they were started with, and the learner of the accelerator."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from memristor_bdnn.errors import Cancelled, ConfigError
from memristor_bdnn.msg import SkillDescription
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.peers import PeerLost
from memristor_bdnn.skills import Skill

DESCRIPTION_S = 10.0
"""How long another node may take to say what its skill and its learner are."""
LONGEST_SCHEMA = 1 << 20
"""Characters of the accelerator's description of its learner at most."""


class Introductions:
    """Listens to latched descriptions from when it is made until it is closed.

    Args:
        node: whose subscriptions they are.
        skill: what that node was started with.
        cancelled: asked while something is waited for.
    """

    def __init__(self, node: Any, skill: Skill, cancelled: Callable[[], bool]) -> None:
        self._node, self._skill, self._cancelled = node, skill, cancelled
        self.others = ("accelerator", *skill.node_names)
        self._skills: dict[str, SkillDescription] = {}
        self._schema: dict[str, Any] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [self._listen(name, latched) for name in self.others]
        self._subscriptions.append(
            node.create_subscription(
                String, "accelerator/schema", self._schema_heard, latched, callback_group=node.group
            )
        )

    def _listen(self, name: str, latched: QoSProfile) -> Any:
        def heard(message: SkillDescription) -> None:
            self._skills[name] = message

        return self._node.create_subscription(
            SkillDescription, f"{name}/skill", heard, latched, callback_group=self._node.group
        )

    def _schema_heard(self, message: String) -> None:
        """Keep what the accelerator says of its learner; another's message may hold anything."""
        try:
            said = json.loads(message.data[:LONGEST_SCHEMA])
        except (ValueError, RecursionError):
            said = None
        self._schema = said if isinstance(said, dict) else {}

    def close(self) -> None:
        """Stop listening and forget what was said."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._skills.clear()
        self._schema = {}

    def check_skills(self) -> None:
        """Refuse a graph whose nodes were started with different skills, before a trial is paid for.

        Raises:
            ConfigError: names the node and what differs.
            PeerLost: a node said nothing in time.
        """
        mine = convert.describe_skill(self._skill)
        for name in self.others:
            self._wait(lambda name=name: name in self._skills)  # type: ignore[misc]
            found = self._skills.get(name)
            if found is None:
                raise PeerLost(name, f"node {name} did not say what skill it has ({name}/skill)")
            for part in ("name", "context", "parameters", "measures", "features", "phases"):
                if getattr(found, part) != getattr(mine, part):
                    raise ConfigError(
                        f"node {name} was started with skill {found.name}, the coordinator with {mine.name}: their "
                        f"{part} differ; start all nodes with the same skill:="
                    )

    def wants_prior(self, pool: str = "") -> bool:
        """Whether the recipe of the accelerator's learner is to be fitted to simulated trials first.

        Args:
            pool: that somebody gave for it.

        Raises:
            ConfigError: a pool was given, and the recipe has no prior.
            PeerLost: the accelerator said nothing in time.
        """
        self._wait(lambda: bool(self._schema))
        if not self._schema:
            raise PeerLost("accelerator", "node accelerator did not say what its learner is (accelerator/schema)")
        prior = self._schema.get("prior", False) is True
        if pool and not prior:
            raise ConfigError(
                f"prior_pool = {pool}: the recipe of learner {self._schema.get('learner')!r} has no prior; leave it "
                "out, or choose a recipe with one"
            )
        return prior

    def _wait(self, heard: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DESCRIPTION_S
        while not heard() and time.monotonic() < deadline:
            if self._cancelled():
                raise Cancelled("canceled while waiting for the other nodes")
            time.sleep(0.05)
