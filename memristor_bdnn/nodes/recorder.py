"""Record a session as one MCAP file that opens in Foxglove and with `ros2 bag`.

Messages are kept as the CDR bytes that came over the wire; their definitions are read from the
installed packages, so our own types are in the file too.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.base import SkillNode

_PRIMITIVE = re.compile(r"^(bool|byte|char|u?int(8|16|32|64)|float(32|64)|w?string)\b")
_SKIP = ("/parameter_events", "/rosout")


@dataclass(frozen=True)
class RecorderNodeConfig:
    """Parameters of the recorder node."""

    results: str = option("results/session", "folder that receives session.mcap (session_1.mcap, ... if it exists)")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class RecorderNode(SkillNode):
    """Subscribes to every topic as it appears and writes what it hears."""

    config_type = RecorderNodeConfig

    def __init__(self) -> None:
        super().__init__("recorder")
        self._lock = threading.Lock()
        self._writer: Any = None
        self._file: Any = None
        self._channels: dict[str, int] = {}
        self._listening: dict[str, Any] = {}
        self._messages = 0
        self.create_timer(0.5, self._discover, callback_group=self.group)

    def setup(self) -> None:
        """Open a new file; earlier recordings stay."""
        try:
            from mcap.writer import Writer
        except ImportError:
            raise ConfigError("recording needs the package mcap: pip install mcap") from None
        folder = Path(self.config.results)
        folder.mkdir(parents=True, exist_ok=True)
        self.path, number = folder / "session.mcap", 0
        while self.path.exists():
            number += 1
            self.path = folder / f"session_{number}.mcap"
        self._file = open(self.path, "wb")
        self._writer = Writer(self._file)
        self._writer.start(profile="ros2", library="memristor_bdnn")

    def teardown(self) -> None:
        """Finish the file: the index is written, so that players can seek."""
        with self._lock:
            if self._writer is not None:
                self._writer.finish()
                self._file.close()
            self._writer = None

    def describe(self) -> str:
        """The file."""
        return f"recording to {self.path}"

    def diagnostic_values(self) -> dict[str, Any]:
        """Messages and topics so far."""
        return {"messages": self._messages, "topics": len(self._listening)}

    def _discover(self) -> None:
        if not self.active:
            return
        for topic, types in self.get_topic_names_and_types():
            if topic in self._listening or topic in _SKIP or "/_" in topic:
                continue
            self._listening[topic] = self._subscribe(topic, types[0])

    def _subscribe(self, topic: str, type_name: str) -> Any:
        latched = any(
            p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            for p in self.get_publishers_info_by_topic(topic)
        )
        quality = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        if latched:
            quality.reliability = ReliabilityPolicy.RELIABLE
        with self._lock:
            schema = self._writer.register_schema(type_name, "ros2msg", message_definition(type_name).encode())
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema)
        return self.create_subscription(
            message_class(type_name),
            topic,
            lambda data: self._write(topic, data),
            quality,
            raw=True,
            callback_group=self.group,
        )

    def _write(self, topic: str, data: bytes) -> None:
        stamp = self.get_clock().now().nanoseconds
        with self._lock:
            if self._writer is not None:
                self._writer.add_message(self._channels[topic], stamp, data, stamp)
                self._messages += 1


def message_class(type_name: str) -> Any:
    """The Python class of a type such as ``sensor_msgs/msg/Image``."""
    package, kind, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def message_definition(type_name: str) -> str:
    """The text of a message type followed by the types it contains, as MCAP's ros2msg encoding wants it.

    Raises:
        ConfigError: a type whose definition is not installed.
    """
    done: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop(0)
        if name not in done:
            done[name] = _definition_file(name).read_text()
            waiting += _nested(done[name], name.split("/")[0])
    first, *others = done.items()
    blocks = [first[1]] + [f"MSG: {name.replace('/msg/', '/')}\n{text}" for name, text in others]
    return ("\n" + "=" * 80 + "\n").join(blocks)


def _definition_file(type_name: str) -> Path:
    package, _, message = type_name.split("/")
    for prefix in _prefixes():
        path = prefix / "share" / package / "msg" / f"{message}.msg"
        if path.is_file():
            return path
    raise ConfigError(f"the definition of {type_name} is not installed (looked in share/ of {_prefixes()})")


def _prefixes() -> list[Path]:
    listed = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [*listed, Path(sys.prefix)]


def _nested(text: str, package: str) -> list[str]:
    """Full names of the message types used by a definition."""
    found = []
    for line in text.splitlines():
        word = line.split("#")[0].split()
        if len(word) < 2 or _PRIMITIVE.match(word[0]):
            continue
        kind = re.sub(r"\[.*\]$", "", word[0])
        parent, _, name = kind.rpartition("/")
        parent = parent.removesuffix("/msg") or ("std_msgs" if name == "Header" else package)
        found.append(f"{parent}/msg/{name}")
    return found
