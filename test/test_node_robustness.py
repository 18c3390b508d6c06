"""A node survives any message and answers it with a reason: nodes in processes of their own."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import fresh_environment, until
from one_node import OneNode, features, labels, learn, learned_accelerator, nodes_in, predict

pytest.importorskip("rclpy")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., OneNode]]:
    yield from nodes_in(tmp_path)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNode]:
    """For the tests that leave it as it was."""
    yield from learned_accelerator(tmp_path_factory.mktemp("accelerator"))


def test_sizes_are_refused_before_anything_is_made(node: OneNode) -> None:
    from memristor_bdnn.srv import SelectQueries

    began = time.monotonic()
    for fields, word in (
        ({"samples": 4294967295}, "4294967295"),
        ({"samples": 10_001}, "10000"),
        ({"candidates": features(5000), "samples": 10_000}, "50000000"),
        ({"candidates": features(5000), "samples": 1000, "want_samples": True}, "5000000"),
    ):
        response = predict(node, **fields)
        assert not response.success and word in response.message and response.prediction.model_version > 0
    for fields, word in (({"k": 4294967295}, "[1, 12]"), ({"k": 0}, "[1, 12]"), ({"k": 3, "seed": -5}, "seed = -5")):
        request = SelectQueries.Request(candidates=features(), strategy="straddle", **{"seed": 1, **fields})
        response = node.call(SelectQueries, "select_queries", request)
        assert not response.success and word in response.message
    assert time.monotonic() - began < 20.0
    assert int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1]) * 4096 < 2 << 30


def test_names_are_the_right_ones_in_the_right_order(node: OneNode) -> None:
    for spoil in (
        lambda n: n[:-1],
        lambda n: [*n, "extra"],
        lambda n: n[::-1],
        lambda n: [n[0]] * len(n),
        lambda n: [*n[:-1], n[-1] + "x"],
        lambda n: [*n[:-1], n[-1][:-1]],
        lambda n: [""] * len(n),
        lambda n: [f"name {i}" for i in range(100_000)],
        lambda n: ["x" * 1_000_000],
    ):
        message = features()
        message.names = spoil(list(message.names))
        response = predict(node, candidates=message)
        assert not response.success and "expected axis_in_bowl_x" in response.message
        assert len(response.message) < 3000


def test_labels_are_bounded_in_number_and_a_refused_set_changes_nothing(node: OneNode) -> None:
    from memristor_bdnn.srv import AddObservations

    def add(x: Any, y: list[float]) -> Any:
        return node.call(AddObservations, "add_observations", AddObservations.Request(x=x, y=y))

    held = add(features(0), []).labels
    many = features(60_000)
    assert add(many, labels(many)).labels == held + 60_000
    response = add(many, labels(many))
    assert not response.success and "100000" in response.message and response.labels == held + 60_000
    too_many = features(100_001)
    result = learn(node, x=too_many, y=labels(too_many))
    assert result.error_code == result.BAD_INPUT and "100000" in result.error_msg
    result = learn(node, x=features(0), y=[1.0])
    assert result.error_code == result.BAD_INPUT and "1 values for 0 rows" in result.error_msg
    assert result.status.model_version > 0, "also a failure says which model it was"
    assert learn(node).error_code == 0


def test_a_path_in_a_message_is_a_checkpoint_in_the_results_folder(node: OneNode) -> None:
    from memristor_bdnn.srv import LoadCheckpoint, SaveCheckpoint

    def ask(kind: Any, path: str) -> Any:
        name = "save_checkpoint" if kind is SaveCheckpoint else "load_checkpoint"
        return node.call(kind, name, kind.Request(path=path))

    results = node.folder / "results" / "session"
    results.mkdir(parents=True, exist_ok=True)
    outside = node.folder / "outside"
    outside.mkdir()
    (outside / "victim.npz").write_bytes(b"precious")
    for name in ("trials.jsonl", "rounds.jsonl"):
        (results / name).write_text("precious")
    (results / "sub").mkdir()
    (results / "folder.npz").mkdir()
    (results / "link.npz").symlink_to(outside / "victim.npz")
    (results / "dangling.npz").symlink_to(outside / "new.npz")
    (results / "link").symlink_to(outside)
    (results / "circle.npz").symlink_to("circle.npz")
    (results / "store.npz").symlink_to("trials.jsonl")
    os.mkfifo(results / "fifo.npz")
    before = sorted(map(str, node.folder.rglob("*")))
    for path in (
        ["", ".", "/", "..", "sub/", "sub", "./", "folder.npz", "fifo.npz", "/dev/null", "/dev/zero", "trials.jsonl"]
        + ["rounds.jsonl", "../x.npz", "sub/../../x.npz", "sub/../x.npz", "/etc/passwd", "/tmp/x.npz", "link.npz"]
        + ["dangling.npz", "link/x.npz", "link/victim.npz", "circle.npz", "store.npz", str(outside / "victim.npz")]
        + ["a\0b.npz", "a\nb.npz", "x" * 300 + ".npz", "y/" * 600 + "x.npz", ".hidden.npz", ".x.npz.1.tmp", "x.npz.tmp"]
        + ["missing/x.npz", "~/x.npz", "x.NPZ", "\ufffd.npz", "x.npz\n", ".npz"]
    ):
        for kind in (SaveCheckpoint, LoadCheckpoint):
            response = ask(kind, path)
            assert not response.success and response.message, (kind, path)
            assert "unexpected" not in response.message, (path, response.message)
    assert sorted(map(str, node.folder.rglob("*"))) == before
    assert (outside / "victim.npz").read_bytes() == b"precious" and (results / "trials.jsonl").read_text() == "precious"
    version = predict(node).prediction.model_version
    for path in ("good.npz", "sub/good.npz", str(results / "absolute.npz"), "naïve name.npz"):
        saved = ask(SaveCheckpoint, path)
        assert saved.success and saved.model_version == version, saved.message
        loaded = ask(LoadCheckpoint, path)
        assert loaded.success and loaded.sha256 == saved.sha256 and loaded.model_version == version + 1
        version += 1


def test_only_the_results_folder_is_made_and_another_place_must_be_allowed_at_start(
    start: Callable[..., OneNode], tmp_path: Path
) -> None:
    from memristor_bdnn.srv import SaveCheckpoint

    node = start("accelerator", results=tmp_path / "deep" / "folder", allow_outside_results=True).wait_ready()
    assert learn(node).error_code == 0
    assert not (tmp_path / "deep").exists(), "nothing is made before it is needed"
    for path, good in (("a.npz", True), (str(tmp_path / "b.npz"), True), (str(tmp_path / "c" / "d.npz"), False)):
        response = node.call(SaveCheckpoint, "save_checkpoint", SaveCheckpoint.Request(path=path))
        assert response.success == good, response.message
    response = node.call(SaveCheckpoint, "save_checkpoint", SaveCheckpoint.Request(path=str(tmp_path / "trials.jsonl")))
    assert not response.success and ".npz" in response.message
    assert (tmp_path / "deep" / "folder" / "a.npz").is_file() and (tmp_path / "b.npz").is_file()
    assert not (tmp_path / "c").exists()


def test_predictions_go_on_while_files_are_loaded(node: OneNode) -> None:
    from memristor_bdnn.srv import LoadCheckpoint

    results = node.folder / "results" / "session"
    results.mkdir(parents=True, exist_ok=True)
    with open(results / "large.npz", "wb") as handle:
        handle.truncate(200 << 20)
    with open(results / "huge.npz", "wb") as handle:
        handle.truncate(50 << 30)
    refused = node.call(LoadCheckpoint, "load_checkpoint", LoadCheckpoint.Request(path="huge.npz"))
    assert not refused.success and "bytes" in refused.message
    done: list[Any] = []

    def load() -> None:
        request = LoadCheckpoint.Request(path="large.npz")
        done.append(node.client.call("accelerator", LoadCheckpoint, "load_checkpoint", request, 60.0))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert predict(node).success
        assert time.monotonic() - began < 8.0
    assert len(done) == 3 and not any(r.success for r in done)
    assert predict(node).success


# -- anything at any time ------------------------------------------------------------------------


def test_calls_before_configure_when_inactive_and_after_shutdown_are_answered(start: Callable[..., OneNode]) -> None:
    from memristor_bdnn.srv import AddObservations, LoadCheckpoint, SaveCheckpoint, SelectQueries

    node = start("accelerator", autostart=False)
    services = (
        (AddObservations, "add_observations"),
        (LoadCheckpoint, "load_checkpoint"),
        (SaveCheckpoint, "save_checkpoint"),
        (SelectQueries, "select_queries"),
    )

    def check(word: str) -> None:
        for kind, name in services:
            response = node.call(kind, name)
            assert not response.success and "not active" in response.message and word in response.message
        response = predict(node)
        assert not response.success and word in response.message
        result = learn(node)
        assert result.error_code == result.BAD_INPUT and word in result.error_msg

    check("not configured")
    assert node.change("configure") == [True]
    check("not active")
    assert all(node.change("activate", "deactivate"))
    check("inactive")
    assert all(node.change("cleanup"))
    check("not configured")
    assert node.change("activate", "deactivate", "nonsense") == [False] * 3
    assert node.change("shutdown") == [True]
    check("shut down")
    assert node.set(samples=5).successful


def test_a_world_answers_bad_seeds_and_contexts_and_keeps_its_scene(start: Callable[..., OneNode]) -> None:
    from memristor_bdnn.action import ExecuteTrial
    from memristor_bdnn.srv import ResetWorld

    node = start("world").wait_ready()

    def reset(**fields: Any) -> Any:
        return node.call(ResetWorld, "reset", ResetWorld.Request(**fields))

    for seed in (0, 2**31, 2**32, 2**63 - 1):
        assert reset(seed=seed).success
    assert "seed = -2" in reset(seed=-2).message
    context = reset(seed=1).context
    for values in ([math.nan] * len(context.values), [1e308] * len(context.values), [], list(context.values) * 2):
        bad = type(context)(names=context.names, values=values)
        assert not reset(seed=1, given=True, context=bad).success
        result = node.client.act(
            "pouring_world", ExecuteTrial, "execute_trial", ExecuteTrial.Goal(context=bad, parameters=bad), 30.0
        )
        assert result.error_code == ExecuteTrial.Result.BAD_INPUT
    assert node.set(camera=True, camera_view="arm", seed=4).successful
    assert reset(seed=-1).context == reset(seed=4).context
    refused = node.set(arm="kuka_iiwa")
    assert not refused.successful and "takes effect after cleanup" in refused.reason


BROKEN = """
from dataclasses import dataclass
from std_msgs.msg import Float64
from memristor_bdnn.action import Learn
from memristor_bdnn.config import check, option
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.spinning import spin
from memristor_bdnn.srv import LoadCheckpoint, SaveCheckpoint


@dataclass(frozen=True)
class Config:
    factor: float = option(1.0, "a number", low=0.0, changes="live")

    def __post_init__(self):
        check(self)


class Broken(SkillNode):
    config_type = Config

    def __init__(self):
        super().__init__("broken")
        self.serve(SaveCheckpoint, "~/save_checkpoint", lambda request, response: 1 / 0)
        self.create_service(LoadCheckpoint, "~/load_checkpoint", lambda request, response: None)
        self.create_subscription(Float64, "~/number", self.heard, 10, callback_group=self.group)
        self.create_timer(0.1, self.tick, callback_group=self.group)
        self.server = self.offer(Learn, "~/learn", lambda goal: [][1], Learn.Result.LEARNER_FAILED)

    def setup(self):
        pass

    def review(self, changes):
        if changes.get("factor") == 13.0:
            raise RuntimeError("superstition")
        return "factor: 7 is not liked" if changes.get("factor") == 7.0 else ""

    def changed(self, names):
        raise RuntimeError(f"changed {sorted(names)} to {self.config.factor}")

    def heard(self, message):
        raise RuntimeError("cannot hear")

    def tick(self):
        raise RuntimeError("cannot tick")

    def diagnostic_values(self):
        raise RuntimeError("cannot tell")


raise SystemExit(spin(Broken))
"""


def test_what_is_destroyed_while_it_is_waited_for_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread may destroy a subscription after the executor listed it; its QoS events then fail in the wait set."""
    import rclpy
    from rclpy.node import Node
    from std_msgs.msg import String

    from memristor_bdnn.nodes.spinning import EnduringExecutor

    class Hasty(Node):
        doomed: Any = None

        @property
        def waitables(self) -> Any:
            listed = list(super().waitables)
            doomed, self.doomed = self.doomed, None
            if doomed is not None:
                self.destroy_subscription(doomed)
            yield from listed

    for name, value in fresh_environment().items():
        monkeypatch.setenv(name, value)
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Hasty("hasty", context=context)
    executor = EnduringExecutor(num_threads=2, context=context)
    executor.add_node(node)
    try:
        for _ in range(20):
            doomed = node.create_subscription(String, "/short_lived", lambda _: None, 10)
            executor.spin_once(timeout_sec=0.1)
            node.doomed = doomed
            executor.spin_once(timeout_sec=0.1)
            assert node.doomed is None, "the executor has not listed anything: this tests nothing"
        heard: list[str] = []
        node.create_subscription(String, "/kept", lambda m: heard.append(m.data), 10)
        said = node.create_publisher(String, "/kept", 10)
        until(lambda: said.get_subscription_count() == 1)
        said.publish(String(data="still here"))
        until(lambda: executor.spin_once(timeout_sec=0.1) or heard == ["still here"])
    finally:
        executor.shutdown(1.0)
        node.destroy_node()
        context.try_shutdown()


def test_an_error_in_any_callback_is_an_answer_or_a_line_in_the_log(tmp_path: Path) -> None:
    from memristor_bdnn.action import Learn
    from memristor_bdnn.srv import LoadCheckpoint, SaveCheckpoint
    from std_msgs.msg import Float64

    (tmp_path / "broken.py").write_text(BROKEN)
    node = OneNode(tmp_path, [str(tmp_path / "broken.py")], "broken", {})
    try:
        node.wait_ready()  # although it cannot tell its figures
        response = node.call(SaveCheckpoint, "save_checkpoint")
        assert not response.success and "ZeroDivisionError" in response.message
        response = node.call(LoadCheckpoint, "load_checkpoint")
        assert not response.success and response.message
        result = node.client.act("broken", Learn, "learn", Learn.Goal(), 20.0)
        assert result.error_code == Learn.Result.LEARNER_FAILED and "IndexError" in result.error_msg
        publisher = node.client.node.create_publisher(Float64, "/broken/number", 10)
        until(lambda: publisher.get_subscription_count() == 1)
        for _ in range(50):
            publisher.publish(Float64(data=1.0))
        assert node.set(factor=2.0).successful and node.get("factor") == 2.0
        assert "7 is not liked" in node.set(factor=7.0).reason
        assert "superstition" in node.set(factor=13.0).reason
        until(lambda: "cannot hear" in node.log.read_text())
        log = node.log.read_text()
        for words in ("ZeroDivisionError", "cannot tick", "cannot tell", "changed ['factor'] to 2.0", "Traceback"):
            assert words in log
        assert node.client.peers.is_ready("broken")
    finally:
        node.close()
    assert node.process.returncode == 0


def test_a_strategy_that_scores_by_labels_is_refused_where_the_node_holds_none(node: OneNode) -> None:
    """A checkpoint brings back the learner, not the labels: nothing is asked for as if there had been none."""
    from memristor_bdnn.srv import AddObservations, LoadCheckpoint, SaveCheckpoint, SelectQueries

    def ask(strategy: str) -> Any:
        request = SelectQueries.Request(candidates=features(), strategy=strategy, k=2, seed=1)
        return node.call(SelectQueries, "select_queries", request)

    assert node.call(SaveCheckpoint, "save_checkpoint", SaveCheckpoint.Request(path="kept.npz")).success
    assert node.change("deactivate", "cleanup", "configure", "activate") == [True] * 4
    assert node.call(LoadCheckpoint, "load_checkpoint", LoadCheckpoint.Request(path="kept.npz", strict=True)).success
    refused = ask("sturdy")
    assert not refused.success and "holds none" in refused.message and ask("straddle").success
    x = features(24, seed=5)
    assert node.call(AddObservations, "add_observations", AddObservations.Request(x=x, y=labels(x))).success
    assert ask("sturdy").success
