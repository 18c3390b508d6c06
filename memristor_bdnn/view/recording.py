"""A recorded session (MCAP) as moments over its time. No ROS is needed: the file holds the types of its messages."""

from __future__ import annotations

import bisect
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

from memristor_bdnn.archives import read_file
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.view.arm import ArmModel
from memristor_bdnn.view.hearing import ALL, Heard, type_of, wanted
from memristor_bdnn.view.moment import Axis, Moment

LARGEST = 2**30
"""Largest recording that is read, bytes; an hour with a demo's topics has some 30 MB."""
LARGEST_UNPACKED = 2**32
_LZ4_RATIO = 255
"""An LZ4 chunk may unpack to so many times its size, whatever it says; a Zstandard chunk to what it says."""
STEP_S = 0.05
RECENT_S = 6.0
"""Of /diagnostics, messages of so many seconds before a moment are looked at."""
ABSENT = {
    "arm": "this recording has no robot_description",
    "scene": "this recording has no markers yet",
    "candidates": "no candidates in this recording yet",
    "learning": "nothing was learned yet",
    "chips": "no chips' currents in this recording yet",
    "ledger": "no accelerator/status in this recording yet",
    "nodes": "no /diagnostics in this recording yet",
}


class _Topic(NamedTuple):
    schema: Any
    times: list[int]
    data: list[bytes]


class Recording:
    """Moments of one file.

    Args:
        path: the file, as ``record:=true`` or ``demo --record`` writes it; one that was cut off is shown as far as it
            goes.
        namespace: of the graph that was recorded.

    Raises:
        ConfigError: missing, too large, no MCAP file, packages that are not installed, or nothing of ours in it.
    """

    axes: tuple[Axis, ...]

    def __init__(self, path: Path, namespace: str = "") -> None:
        self.title, self._prefix = path.name, f"/{namespace.strip('/')}".rstrip("/") + "/"
        self._topics: dict[str, _Topic] = {}
        self.note = self._read(path)
        known = [t for t in self._topics.values() if t.times]
        self._begin = min(t.times[0] for t in known)
        length = 1e-9 * (max(t.times[-1] for t in known) - self._begin)
        self.axes = (Axis("time", "s", max(STEP_S, math.ceil(length / STEP_S) * STEP_S), STEP_S, rate=1.0),)
        self._decoders: dict[int, Any] = {}
        self._decoded: dict[tuple[str, int], Any] = {}
        self._arm: ArmModel | None = None

    def _read(self, path: Path) -> str:
        """Keep the messages that the page shows; returns what is to be said of the file."""
        try:
            from mcap.reader import NonSeekingReader
            from mcap_ros2.decoder import DecoderFactory
        except ImportError as error:
            raise ConfigError(
                f"reading a recording needs the package {str(error.name or '').partition('.')[0]}: "
                "pip install mcap mcap-ros2-support"
            ) from None
        content = read_file(path, LARGEST)
        if content[:5] != b"\x89MCAP":
            raise ConfigError(f"{path} is no recording: it does not begin as an MCAP file does")
        self._factory = DecoderFactory()
        if (size := _unpacked(content)) > LARGEST_UNPACKED:
            raise ConfigError(f"{path} would unpack to {size} bytes: at most {LARGEST_UNPACKED} are read")
        seen, note = set(), ""
        try:
            reader = NonSeekingReader(io.BytesIO(content))
            for schema, channel, message in reader.iter_messages(log_time_order=False):
                seen.add(channel.topic)
                if (
                    (name := wanted(channel.topic, self._prefix))
                    and schema is not None
                    and schema.name == type_of(name)
                ):
                    topic = self._topics.setdefault(name, _Topic(schema, [], []))
                    topic.times.append(message.log_time)
                    topic.data.append(message.data)
        except Exception as error:  # bytes of a file may be anything: the reader raises whatever they lead it to
            note = f"cut off or damaged: shown as far as it goes ({str(error)[:100] or type(error).__name__})"
        for name, topic in self._topics.items():
            if topic.times != sorted(topic.times):
                order = sorted(range(len(topic.times)), key=topic.times.__getitem__)
                self._topics[name] = _Topic(
                    topic.schema, [topic.times[k] for k in order], [topic.data[k] for k in order]
                )
        if not set(self._topics) - {"/diagnostics", "/tf_static"}:
            others = sorted({t.removesuffix("/joint_states") for t in seen if t.endswith("/joint_states")})
            there = f"; it has those of {', '.join(others)[:200]}: give --namespace" if others else ""
            raise ConfigError(
                f"{path} has no message of a session in namespace {self._prefix!r}{there}"
                + (f" ({note})" if note else "")
            )
        return note

    def moment(self, at: tuple[float, ...]) -> Moment:
        """What had been sent at a time, seconds from the first message."""
        now = self._begin + round(at[0] * 1e9)
        heard = Heard(ABSENT)
        for name, topic in self._topics.items():
            end = bisect.bisect_right(topic.times, now)
            begin = max(end - 1, 0)
            if name == "/diagnostics":
                begin = bisect.bisect_left(topic.times, now - round(RECENT_S * 1e9))
            elif name in ALL or name == "/tf_static":
                begin = 0
            if name in ("robot_description", "/tf_static"):  # no event: it says what the arm is
                end = max(end, 1)
            for k in range(begin, end):
                message = self._message(name, topic, k)
                if message is not None:
                    heard.take(name, message, 1e-9 * (topic.times[k] - self._begin))
        heard.keep_arm(self._arm)
        when = f"{at[0]:.1f} of {self.axes[0].end:.1f} s" + (f"; {self.note}" if self.note else "")
        moment = heard.moment(when, at[0])
        self._arm = heard.arm()
        return moment

    def _message(self, name: str, topic: _Topic, k: int) -> Any:
        """A message of a topic, decoded once; None for one that cannot be read."""
        key = (name, k)
        if key not in self._decoded:
            if len(self._decoded) > 20_000:
                self._decoded.clear()
            try:
                if topic.schema.id not in self._decoders:
                    self._decoders[topic.schema.id] = self._factory.decoder_for("cdr", topic.schema)
                self._decoded[key] = self._decoders[topic.schema.id](topic.data[k])
            except Exception:  # bytes of a file may be anything, and so may the definition of their type
                self._decoded[key] = None
        return self._decoded[key]

    def label(self, trial: int, words: list[str]) -> None:
        """There is nobody to tell."""
        raise MemristorError("a recording takes no labels")

    def close(self) -> None:
        """Nothing is held."""


def _unpacked(content: bytes) -> int:
    """Bytes that the chunks of an MCAP file may unpack to, as far as it can be read."""
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader

    total = 0
    try:
        for record in StreamReader(io.BytesIO(content), emit_chunks=True).records:
            if isinstance(record, Chunk):
                packed = _LZ4_RATIO * len(record.data) if record.compression == "lz4" else 0
                total += max(record.uncompressed_size, packed)
    except Exception:  # the same bytes are read again, and there it is said
        pass
    return total
