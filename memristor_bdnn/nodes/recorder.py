"""Record a session as one MCAP file that opens in Foxglove and with `ros2 bag`.

Messages are kept as the CDR bytes that came over the wire; their definitions are read from the
installed packages, so our own types are in the file too. What cannot be recorded (a type that is not installed, a full
disk) is said once; it never ends the session.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes.base import SkillNode

_PRIMITIVE = re.compile(r"^(bool|byte|char|u?int(8|16|32|64)|float(32|64)|w?string)\b")
_TYPE = re.compile(r"[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*")
# A comment, or a type with perhaps an array after it, a name, and perhaps a value.
_LINE = re.compile(r"\s*(#.*|[A-Za-z][\w/]*(<=\d+)?(\[(<=)?\d*\])?\s+[A-Za-z_]\w*(\s*=.*|\s+.*)?)?")
_SKIP = ("/parameter_events", "/rosout")
_GLOBAL = ("/diagnostics", "/tf", "/tf_static", "/clock")
"""Topics that belong to every namespace."""
LOOK_S, FLUSH_S = 0.5, 2.0
"""How often new topics are looked for, and what was heard is written to the file."""


@dataclass(frozen=True)
class RecorderNodeConfig:
    """Parameters of the recorder node."""

    results: str = option(
        "results/session",
        "folder that receives session.mcap (session_1.mcap, ... if it exists)",
        changes="start",
    )
    include: str = option(
        "",
        "regular expressions, separated by spaces, for topics to record besides those of the node's namespace and the "
        "global ones (/diagnostics, /tf, /tf_static, /clock); in no namespace all are recorded. A part of the name is "
        "enough; '^/lab/' is all of lab",
    )
    exclude: str = option("", "regular expressions, separated by spaces, for topics not to record; they win")

    def __post_init__(self) -> None:
        """Validate every field, and that the patterns are regular expressions."""
        check(self)
        for name in ("include", "exclude"):
            self.patterns(name)

    def patterns(self, name: str) -> list[re.Pattern[str]]:
        """The regular expressions of ``include`` or ``exclude``. Raises ConfigError naming the one that is none."""
        found = []
        for text in getattr(self, name).split():
            try:
                found.append(re.compile(text))
            except (re.error, RecursionError, OverflowError) as error:
                raise ConfigError(f"RecorderNodeConfig.{name}: {text!r} is no regular expression: {error}") from error
        return found

    def wants(self, topic: str, namespace: str) -> bool:
        """Whether a topic is to be recorded by a recorder in a namespace."""
        if topic in _SKIP or "/_" in topic or any(p.search(topic) for p in self.patterns("exclude")):
            return False
        own = f"{namespace.rstrip('/')}/"
        return topic.startswith(own) or topic in _GLOBAL or any(p.search(topic) for p in self.patterns("include"))


class _Heard(NamedTuple):
    """A topic that is listened to: its subscription, whether stored messages were asked for, and its types so far."""

    subscription: Any
    latched: bool
    recorded: str
    types: tuple[str, ...]


class RecorderNode(SkillNode):
    """Subscribes to every wanted topic as it appears, once, and writes what it hears."""

    config_type = RecorderNodeConfig

    def __init__(self) -> None:
        super().__init__("recorder")
        # Everything below is read and changed under the lock: callbacks run in several threads.
        self._lock = threading.RLock()
        self._writer: Any = None
        self._file: Any = None
        self._path = Path()
        self._ended = ""
        self._messages = 0
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._heard: dict[str, _Heard] = {}
        self._refused: dict[str, tuple[str, ...]] = {}

    def review(self, changes: dict[str, Any]) -> str:
        """Refuse a pattern that is none when it is set, not only when the node is configured."""
        RecorderNodeConfig(**{name: changes[name] for name in ("include", "exclude") if name in changes})
        return ""

    def setup(self) -> None:
        """Open a new file; earlier recordings stay."""
        try:
            from mcap.writer import Writer
        except ImportError:
            raise ConfigError("recording needs the package mcap: pip install mcap") from None
        try:
            self._open(Path(self.config.results))
            # A release without flush() writes every message as it comes instead.
            self._writer = Writer(self._file, use_chunking=hasattr(Writer, "flush"))
            self._writer.start(profile="ros2", library="memristor_bdnn")
            self._file.flush()
        except OSError as error:
            self._writer = None
            raise ConfigError(
                f"cannot record into {self.config.results}: {error.strerror or error}; choose a folder that can be "
                "written with results:=FOLDER, or record:=false"
            ) from error
        self._messages, self._ended = 0, ""
        # One at a time: a look that takes long under load must not be overtaken by the next one.
        alone = MutuallyExclusiveCallbackGroup()
        self.create_timer(LOOK_S, self._look, callback_group=alone)
        self.create_timer(FLUSH_S, self._flush, callback_group=alone)

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            self._path = folder / (f"session_{number}.mcap" if number else "session.mcap")
            try:
                self._file = open(self._path, "xb")
                return
            except FileExistsError:
                number += 1

    def teardown(self) -> None:
        """Finish the file: the index is written, so that players can seek."""
        with self._lock:
            self._stop_listening()
            writer, self._writer = self._writer, None
            try:
                if writer is not None:
                    writer.finish()
                if self._file is not None:
                    self._file.close()
            except OSError as error:
                self._say_end(error)
            self._file = None

    def describe(self) -> str:
        """The file."""
        return f"recording to {self._path}"

    def diagnostic_values(self) -> dict[str, Any]:
        """The file, messages and topics so far, topics that cannot be recorded, and whether recording goes on."""
        return {
            "file": self._path,
            "messages": self._messages,
            "topics": len(self._heard),
            "not_recorded": len(self._refused),
            "recording": self._ended or str(self._writer is not None).lower(),
        }

    # -- topics -------------------------------------------------------------------------------

    def _look(self) -> None:
        """Listen to wanted topics that have appeared."""
        if not self.active:
            return
        with self._lock:
            if self._writer is None:  # recording has ended: nothing is to be heard any more
                self._stop_listening()
                return
            for topic, types in self.get_topic_names_and_types():
                if self.config.wants(topic, self.get_namespace()):
                    self._consider(topic, tuple(sorted(types)))

    def _consider(self, topic: str, types: tuple[str, ...]) -> None:
        """Listen to a topic as its publishers need it; once, whatever happens."""
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers or self._refused.get(topic) == types:  # how it will be published is not known yet
            return
        quality = quality_of([p.qos_profile for p in publishers])
        latched = quality.durability == DurabilityPolicy.TRANSIENT_LOCAL
        before = self._heard.get(topic)
        if before is not None and set(types) - set(before.types):  # discovery may tell of them one after the other
            self._say_types(topic, types, before.recorded)
            before = self._heard[topic] = before._replace(types=types)
        if before is not None and (latched or not before.latched):
            return
        try:
            if before is not None:  # a publisher has come that keeps nothing; it would not be heard
                self.destroy_subscription(self._heard.pop(topic).subscription)
            recorded, subscription = self._subscribe(topic, types, quality)
            self._heard[topic] = _Heard(subscription, latched, recorded, types)
            if before is None and len(types) > 1:
                self._say_types(topic, types, recorded)
        except Exception as error:  # a foreign topic may be wrong in any way
            self._refused[topic] = types
            self.get_logger().warning(f"{topic} is not recorded: {error}")

    def _say_types(self, topic: str, types: tuple[str, ...], recorded: str) -> None:
        self.get_logger().warning(f"{topic} has several types ({', '.join(types)}): only {recorded} is recorded")

    def _subscribe(self, topic: str, types: tuple[str, ...], quality: QoSProfile) -> tuple[str, Any]:
        """The type that is recorded, ours first, and a subscription to it.

        Raises:
            ConfigError: none of them can be recorded, with the reason of each.
        """
        reasons = []
        for name in sorted(types, key=lambda t: not t.startswith("memristor_bdnn/")):
            try:
                definition = message_definition(name)
                kind = message_class(name)
            except Exception as error:  # importing somebody's package may fail in any way
                reasons.append(f"{name}: {error}")
                continue
            if name not in self._schemas:
                self._schemas[name] = self._writer.register_schema(name, "ros2msg", definition.encode())
            if topic not in self._channels:
                self._channels[topic] = self._writer.register_channel(topic, "cdr", self._schemas[name])
            write = partial(self._write, self._channels[topic])
            return name, self.create_subscription(kind, topic, write, quality, raw=True, callback_group=self.group)
        raise ConfigError("; ".join(reasons))

    def _stop_listening(self) -> None:
        """Stop listening; channels and schemas belong to one file."""
        for heard in self._heard.values():
            self.destroy_subscription(heard.subscription)
        for known in (self._heard, self._channels, self._schemas, self._refused):
            known.clear()  # type: ignore[attr-defined]

    # -- the file -----------------------------------------------------------------------------

    def _write(self, channel: int, data: bytes) -> None:
        stamp = self.get_clock().now().nanoseconds or time.time_ns()  # simulated time that nobody tells is 0
        with self._lock:
            if self._writer is None:
                return
            try:
                self._writer.add_message(channel, stamp, data, stamp)
                self._messages += 1
            except OSError as error:
                self._end(error)

    def _flush(self) -> None:
        """Write what was heard since the last time, so that a kill costs no more than that."""
        with self._lock:
            if self._writer is None:
                return
            try:
                getattr(self._writer, "flush", self._file.flush)()
            except OSError as error:
                self._end(error)

    def _end(self, error: OSError) -> None:
        """The file cannot be written any more: say so once, and let the session go on."""
        self._writer = None
        self._say_end(error)
        try:
            self._file.close()
        except OSError:  # what is still in its buffer
            pass
        self._file = None

    def _say_end(self, error: OSError) -> None:
        self._ended = f"ended: {error.strerror or error}"
        self.get_logger().error(
            f"recording to {self._path} {self._ended}; the session goes on without it. What was written before is "
            "kept: see docs/physical_arm.md"
        )


def quality_of(publishers: Sequence[QoSProfile]) -> QoSProfile:
    """Quality of service with which all publishers of a topic are heard.

    Stored messages are asked for only where every publisher stores them, and reliability where every one offers it
    then: a subscription that asks for more than a publisher offers does not hear it.
    """
    latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
    reliable = latched and all(p.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
    return QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def message_class(type_name: str) -> Any:
    """The Python class of a type such as ``sensor_msgs/msg/Image``."""
    package, kind, name = _parts(type_name)
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"type {type_name} is not installed ({error})") from error


def message_definition(type_name: str) -> str:
    """The text of a message type followed by the types it contains, as MCAP's ros2msg encoding wants it.

    Raises:
        ConfigError: a type whose definition is not installed, cannot be read, or is no definition.
    """
    done: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop(0)
        if name not in done:
            path = _definition_file(name)
            try:
                done[name] = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"the definition of {name}, {path}, cannot be read: {error}") from error
            for number, line in enumerate(done[name].splitlines(), start=1):
                if not _LINE.fullmatch(line):
                    raise ConfigError(f"the definition of {name}, {path}, line {number} is no field: {line[:80]!r}")
            waiting += _nested(done[name], name.split("/")[0])
    first, *others = done.items()
    blocks = [first[1]] + [f"MSG: {name.replace('/msg/', '/')}\n{text}" for name, text in others]
    return ("\n" + "=" * 80 + "\n").join(blocks)


def _parts(type_name: str) -> list[str]:
    """Package, ``msg`` and name; a name from the network must not lead out of the folders of definitions."""
    if not _TYPE.fullmatch(type_name):
        raise ConfigError(f"{type_name[:100]!r} is no type of messages")
    return type_name.split("/")


def _definition_file(type_name: str) -> Path:
    package, _, message = _parts(type_name)
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
