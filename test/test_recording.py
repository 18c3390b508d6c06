"""record:=true: an MCAP file whose messages decode, our own types included; nothing that it hears ends a session."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import RunningGraph, fresh_environment, until

pytest.importorskip("rclpy")
reader = pytest.importorskip("mcap.reader", reason="mcap is not installed: recording is optional")
pytest.importorskip("mcap_ros2")

EXECUTABLE = Path(sys.prefix) / "lib" / "memristor_bdnn" / "recorder_node"


class Recorder:
    """A recorder in a process of its own, and a participant that publishes."""

    def __init__(self, folder: Path, *words: str, environment: dict[str, str] | None = None, program: str = "") -> None:
        self.folder, self.log = folder, folder / "recorder.log"
        domain = fresh_environment()
        os.environ["ROS_DOMAIN_ID"] = domain["ROS_DOMAIN_ID"]
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        from memristor_bdnn.nodes.client import GraphClient

        self.clients = [GraphClient("somebody")]
        self.node = self.clients[0].node
        self._command = [sys.executable, *(["-c", program] if program else []), str(EXECUTABLE), "--ros-args", *words]
        self._environment = {**domain, **(environment or {})}
        self.namespace = "/lab" if "__ns:=/lab" in words else "/"
        self.process: Any = None

    def start(self) -> Recorder:
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                self._command, env=self._environment, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        self.until_said("recording to")
        return self

    def another(self) -> Any:
        """One more participant's node."""
        from memristor_bdnn.nodes.client import GraphClient

        self.clients.append(GraphClient(f"somebody_{len(self.clients)}"))
        return self.clients[-1].node

    def said(self, text: str) -> int:
        return len(re.findall(text, self.log.read_text()))

    def until_said(self, text: str) -> None:
        until(lambda: self.said(text) > 0 or self.process.poll() is not None, 60.0)
        assert self.process.poll() is None, self.log.read_text()

    def hears(self, topic: str) -> int:
        """Subscriptions of the recorder to a topic."""
        infos = self.node.get_subscriptions_info_by_topic(topic)
        return sum((info.node_namespace, info.node_name) == (self.namespace, "recorder") for info in infos)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(30.0) == 0, self.log.read_text()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def recorders(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    """Recorders with arguments; started by the test, stopped at the end."""
    made: list[Recorder] = []

    def make(*words: str, **named: Any) -> Recorder:
        made.append(Recorder(tmp_path, *words, **named))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


def texts(path: Path, whole: bool = True) -> dict[str, list[str]]:
    """The std_msgs/String messages of a file by topic; a file that was cut off is read as far as it goes."""
    from mcap.exceptions import McapError
    from mcap_ros2.decoder import DecoderFactory

    found: dict[str, list[str]] = {}
    with open(path, "rb") as stream:
        kind = reader.make_reader if whole else reader.NonSeekingReader
        messages = kind(stream, decoder_factories=[DecoderFactory()]).iter_decoded_messages(log_time_order=whole)
        try:
            for schema, channel, _, message in messages:
                if schema.name == "std_msgs/msg/String":
                    found.setdefault(channel.topic, []).append(message.data)
        except McapError:
            assert not whole
    return found


def string(text: str) -> Any:
    from std_msgs.msg import String

    return String(data=text)


def publisher(node: Any, topic: str, **quality: Any) -> Any:
    from rclpy.qos import QoSProfile
    from std_msgs.msg import String

    return node.create_publisher(String, topic, QoSProfile(depth=10, **quality))


def test_a_session_is_recorded_and_decodes(start_graph: Callable[..., RunningGraph], tmp_path: Path) -> None:
    from mcap_ros2.decoder import DecoderFactory

    graph = start_graph("record:=true")
    graph.wait_ready(("pouring_world", "accelerator", "recorder"))
    graph.client.node.get_logger().set_level(40)
    until(lambda: "recording to" in graph.log.read_text())
    wanted = {"/joint_states", "/accelerator/status", "/diagnostics"}
    node = graph.client.node
    until(
        lambda: all(
            any(info.node_name == "recorder" for info in node.get_subscriptions_info_by_topic(topic))
            for topic in wanted
        )
    )
    time.sleep(2.0)  # each of them is published at least once a second
    graph.close()
    seen: set[str] = set()
    with open(tmp_path / "results" / "session.mcap", "rb") as stream:
        for _, channel, _, message in reader.make_reader(
            stream, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages():
            if channel.topic == "/joint_states":
                assert message.name[0] == "panda_joint1" and len(message.position) == len(message.name) == 9
            if channel.topic == "/accelerator/status":
                assert message.learner == "msgld"
            seen.add(channel.topic)
    assert wanted <= seen


def test_definitions_contain_every_nested_type() -> None:
    from memristor_bdnn.nodes.recorder import message_definition

    text = message_definition("memristor_bdnn/msg/TrialOutcome")
    for name in ("MSG: memristor_bdnn/ValueTable", "MSG: std_msgs/Header", "MSG: builtin_interfaces/Time"):
        assert name in text


@pytest.mark.parametrize("name", ["x", "a/b/c/d", "../msg/X", "std_msgs/srv/X", "std_msgs/msg/../X", "os/msg/X"])
def test_types_that_are_none_are_errors_with_the_name(name: str) -> None:
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.nodes.recorder import message_class, message_definition

    for ask in (message_class, message_definition):
        with pytest.raises(ConfigError, match=re.escape(name)):
            ask(name)


@pytest.mark.parametrize("fault", ["class", "definition"])
def test_a_topic_whose_type_is_not_installed_is_said_once_and_the_rest_is_recorded(
    fault: str, recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    from visualization_msgs.msg import Marker

    if fault == "class":  # as on a machine that lacks the package
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\n"
            "class Lacks:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name.split('.')[0] == 'visualization_msgs':\n"
            "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
            "sys.meta_path.insert(0, Lacks())\n"
        )
        environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    else:
        folder = tmp_path / "share" / "visualization_msgs" / "msg"
        folder.mkdir(parents=True)
        (folder / "Marker.msg").write_bytes(b"<idl>\xff\xfe no definition\n")
        environment = {"AMENT_PREFIX_PATH": str(tmp_path)}
    recorder = recorders(environment=environment)
    foreign = recorder.node.create_publisher(Marker, "/foreign", 10)
    good = publisher(recorder.node, "/good")
    recorder.start()
    recorder.until_said("/foreign is not recorded: visualization_msgs/msg/Marker: .*")
    until(lambda: recorder.hears("/good") == 1)
    later = publisher(recorder.node, "/later")
    until(lambda: recorder.hears("/later") == 1)
    for publish in (good, later):
        publish.publish(string("here"))
    foreign.publish(Marker())
    time.sleep(1.5)  # three more looks at the topics
    recorder.stop()
    found = texts(tmp_path / "results" / "session" / "session.mcap")
    assert found["/good"] == found["/later"] == ["here"]
    assert recorder.said("/foreign") == 1


def test_a_topic_of_several_types_is_said_once_and_one_of_them_is_recorded(
    recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    from std_msgs.msg import Int32

    recorder = recorders()
    number = recorder.another().create_publisher(Int32, "/twice", 10)
    text = publisher(recorder.node, "/twice")
    until(lambda: len(dict(recorder.node.get_topic_names_and_types())["/twice"]) == 2)
    recorder.start()
    recorder.until_said("/twice has several types")
    until(lambda: recorder.hears("/twice") == 1)
    number.publish(Int32(data=3))
    text.publish(string("three"))
    time.sleep(1.5)
    recorder.stop()
    assert recorder.said("/twice has several types") == 1


def test_a_type_that_comes_later_is_said_too(recorders: Callable[..., Recorder]) -> None:
    """Discovery may tell of two types one after the other; what is not recorded of a topic is never left unsaid."""
    from std_msgs.msg import Int32

    recorder = recorders()
    publisher(recorder.node, "/later_twice")
    recorder.start()
    until(lambda: recorder.hears("/later_twice") == 1)
    assert recorder.said("/later_twice has several types") == 0
    recorder.another().create_publisher(Int32, "/later_twice", 10)
    recorder.until_said("/later_twice has several types .*: only std_msgs/msg/String is recorded")
    time.sleep(1.5)
    assert recorder.said("/later_twice has several types") == 1


def test_every_topic_is_heard_once_and_every_message_written_once(
    recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    # A long path of packages makes the first look take longer than the time to the next one.
    slow = os.pathsep.join(f"/nowhere/install/package_{i}" for i in range(4000))
    recorder = recorders(environment={"AMENT_PREFIX_PATH": slow})
    publishers = {f"/many/t{i}": publisher(recorder.node, f"/many/t{i}") for i in range(120)}
    recorder.start()
    waiting = list(publishers)

    def all_heard() -> bool:
        while waiting and recorder.hears(waiting[-1]):  # to ask for all of them each time would take the time itself
            waiting.pop()
        return not waiting

    until(all_heard, 180.0)
    for round_ in range(10):
        for publish in publishers.values():
            publish.publish(string(str(round_)))
        time.sleep(0.5)
    assert {recorder.hears(topic) for topic in publishers} == {1}
    recorder.stop()
    found = texts(tmp_path / "results" / "session" / "session.mcap")
    for topic in publishers:  # a busy machine may miss one, as best effort does, but none comes twice
        rounds = [int(text) for text in found.get(topic, [])]
        assert rounds and rounds == sorted(set(rounds)), (topic, rounds)


def test_killed_it_leaves_what_it_heard_up_to_the_last_seconds(
    recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    from memristor_bdnn.nodes.recorder import FLUSH_S

    recorder = recorders()
    publish = publisher(recorder.node, "/words")
    recorder.start()
    until(lambda: recorder.hears("/words") == 1)
    for i in range(20):
        publish.publish(string(str(i)))
        time.sleep(0.02)
    time.sleep(FLUSH_S + 1.5)
    recorder.process.kill()
    recorder.process.wait()
    path = tmp_path / "results" / "session" / "session.mcap"
    assert texts(path, whole=False)["/words"] == [str(i) for i in range(20)]
    recorder.start()  # the next one takes another file
    recorder.stop()
    assert (tmp_path / "results" / "session" / "session_1.mcap").stat().st_size > 0
    assert texts(path, whole=False)["/words"][:3] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        ([], ["/lab/arm/x", "/tf", "/tf_static", "/clock", "/diagnostics"], ["/other/x", "/labs/x", "/x"]),
        (["-p", "include:=^/other/ ^/x$"], ["/lab/arm/x", "/other/x", "/x", "/tf"], ["/labs/x"]),
        (["-p", "exclude:=arm ^/tf", "-p", "include:=."], ["/other/x", "/lab/y"], ["/lab/arm/x", "/tf", "/tf_static"]),
    ],
)
def test_in_a_namespace_it_records_that_and_what_belongs_to_all(
    words: list[str], wanted: list[str], unwanted: list[str], recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    recorder = recorders("-r", "__ns:=/lab", *words)
    held = [publisher(recorder.node, topic) for topic in (*wanted, *unwanted) if topic != "/diagnostics"]
    recorder.start()
    until(lambda: all(recorder.hears(topic) == 1 for topic in wanted))
    time.sleep(1.0)
    assert not any(recorder.hears(topic) for topic in unwanted)
    assert held


def test_outside_of_a_namespace_it_records_everything_but_what_ros_hides() -> None:
    from memristor_bdnn.nodes.recorder import RecorderNodeConfig

    config = RecorderNodeConfig()
    assert config.wants("/any", "/") and config.wants("/a/b", "/")
    for topic in ("/rosout", "/parameter_events", "/a/_action/status"):
        assert not config.wants(topic, "/")


def test_patterns_that_are_none_are_refused_with_the_pattern(recorders: Callable[..., Recorder]) -> None:
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.nodes.recorder import RecorderNodeConfig

    for name in ("include", "exclude"):
        with pytest.raises(ConfigError, match=rf"{name}.*'\(lab' is no regular expression"):
            RecorderNodeConfig(**{name: "fine (lab"})


def test_best_effort_publishers_are_heard_and_stored_messages_kept(
    recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    recorder = recorders()
    latched = {"durability": DurabilityPolicy.TRANSIENT_LOCAL}
    stored = publisher(recorder.node, "/stored", **latched)
    stored.publish(string("said before"))
    hasty = publisher(recorder.node, "/hasty", reliability=ReliabilityPolicy.BEST_EFFORT)
    unsure = publisher(recorder.node, "/unsure", reliability=ReliabilityPolicy.BEST_EFFORT, **latched)
    mixed = publisher(recorder.node, "/mixed", **latched)
    recorder.start()
    topics = ("/stored", "/hasty", "/unsure", "/mixed")
    until(lambda: all(recorder.hears(topic) == 1 for topic in topics))
    late = publisher(recorder.node, "/mixed", reliability=ReliabilityPolicy.BEST_EFFORT)
    until(lambda: late.get_subscription_count() == 1)  # it would not have heard this one
    until(lambda: all(p.get_subscription_count() == 1 for p in (stored, hasty, unsure, mixed)))
    for publish, text in ((hasty, "a"), (unsure, "b"), (mixed, "c"), (late, "d")):
        for _ in range(3):
            publish.publish(string(text))
            time.sleep(0.1)
    recorder.stop()
    found = texts(tmp_path / "results" / "session" / "session.mcap")
    assert found["/stored"] == ["said before"]
    assert Counter(found["/hasty"] + found["/unsure"] + found["/mixed"]) == dict.fromkeys("abcd", 3)


def test_a_full_disk_ends_the_recording_and_not_the_session(recorders: Callable[..., Recorder], tmp_path: Path) -> None:
    program = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    recorder = recorders(program=program)
    publish = publisher(recorder.node, "/noise")
    values: dict[str, str] = {}

    def note(message: Any) -> None:
        for status in message.status:
            if status.name == "/recorder":
                values.update({v.key: v.value for v in status.values})

    from diagnostic_msgs.msg import DiagnosticArray

    recorder.node.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
    recorder.start()
    until(lambda: recorder.hears("/noise") == 1, 60.0)

    def fill() -> bool:
        publish.publish(string(os.urandom(4000).hex()))
        return values.get("recording", "").startswith("ended: File too large")

    until(fill, 60.0)
    time.sleep(2.5)
    assert recorder.process.poll() is None and recorder.hears("/noise") == 0
    assert recorder.said("the session goes on without it") == 1, recorder.log.read_text()
    assert recorder.said("Traceback") == 0, recorder.log.read_text()
    recorder.stop()


def test_a_folder_that_cannot_be_written_is_one_line(recorders: Callable[..., Recorder], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    recorder = recorders("-p", f"results:={tmp_path / 'file' / 'results'}")
    with open(recorder.log, "w") as output:
        code = subprocess.run(
            recorder._command, env=recorder._environment, cwd=tmp_path, stdout=output, stderr=output, timeout=60
        ).returncode
    assert code == 1 and recorder.said("cannot record into .*Not a directory") and not recorder.said("Traceback")


def test_reconfigured_it_begins_another_file_and_leaves_nothing_behind(
    recorders: Callable[..., Recorder], tmp_path: Path
) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from rcl_interfaces.srv import SetParametersAtomically
    from rclpy.parameter import Parameter

    recorder = recorders()
    publish = publisher(recorder.node, "/words")
    recorder.start()
    call = recorder.clients[0].call
    until(lambda: recorder.hears("/words") == 1)

    def change(*labels: str) -> None:
        for label in labels:
            request = ChangeState.Request(transition=Transition(label=label))
            assert call("recorder", ChangeState, "change_state", request, 60.0).success, label

    def set_(name: str, value: Any) -> str:
        request = SetParametersAtomically.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = call("recorder", SetParametersAtomically, "set_parameters_atomically", request, 30.0).result
        return "" if result.successful else str(result.reason)

    def counted() -> tuple[int, int]:
        node = recorder.node
        topics = [name for name, _ in node.get_topic_names_and_types()]
        return sum(recorder.hears(t) for t in topics), len(node.get_publisher_names_and_types_by_node("recorder", "/"))

    publish.publish(string("first"))
    assert "takes effect after cleanup" in set_("exclude", "words")
    assert set_("results", "elsewhere")
    change("deactivate", "cleanup")
    until(lambda: counted()[0] == 0)
    before = counted()
    assert "'[' is no regular expression" in set_("exclude", "[")
    change("configure", "activate")
    until(lambda: recorder.hears("/words") == 1)
    publish.publish(string("second"))
    time.sleep(0.5)
    change("deactivate", "cleanup")
    until(lambda: counted() == before)
    assert not set_("exclude", "words")
    change("configure", "activate")
    until(lambda: recorder.hears("/diagnostics") == 1)
    time.sleep(1.0)
    assert recorder.hears("/words") == 0
    recorder.stop()
    folder = tmp_path / "results" / "session"
    assert texts(folder / "session.mcap")["/words"] == ["first"]
    assert texts(folder / "session_1.mcap")["/words"] == ["second"]
    assert "/words" not in texts(folder / "session_2.mcap")
