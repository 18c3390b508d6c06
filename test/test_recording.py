"""record:=true: an MCAP file whose messages decode, our own types included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RunningGraph, until

pytest.importorskip("rclpy")
reader = pytest.importorskip("mcap.reader", reason="mcap is not installed: recording is optional")
pytest.importorskip("mcap_ros2")


def test_a_session_is_recorded_and_decodes(start_graph: Callable[..., RunningGraph], tmp_path: Path) -> None:
    from mcap_ros2.decoder import DecoderFactory

    graph = start_graph("record:=true")
    graph.wait_ready(("pouring_world", "accelerator", "recorder"))
    seen: set[str] = set()
    graph.client.node.get_logger().set_level(40)
    until(lambda: "recording to" in graph.log.read_text())
    import time

    time.sleep(4.0)
    graph.close()
    with open(tmp_path / "results" / "session.mcap", "rb") as stream:
        for _, channel, _, message in reader.make_reader(
            stream, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages():
            if channel.topic == "/joint_states":
                assert len(message.position) == 7 and message.name[0] == "panda_joint1"
            if channel.topic == "/accelerator/status":
                assert message.learner == "msgld"
            seen.add(channel.topic)
    assert {"/joint_states", "/accelerator/status", "/diagnostics"} <= seen


def test_definitions_contain_every_nested_type() -> None:
    from memristor_bdnn.nodes.recorder import message_definition

    text = message_definition("memristor_bdnn/msg/TrialOutcome")
    for name in ("MSG: memristor_bdnn/ValueTable", "MSG: std_msgs/Header", "MSG: builtin_interfaces/Time"):
        assert name in text
