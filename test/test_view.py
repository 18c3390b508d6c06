"""The page in the browser: moments from a graph, a folder, a recording; labels; what is not there is said."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningGraph, fresh_environment, run_command, until

from memristor_bdnn import accelerator, learners, skills
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.frames import Frames
from memristor_bdnn.motion.kinematics import mounting
from memristor_bdnn.view.arm import ArmModel
from memristor_bdnn.view.folder import Folder
from memristor_bdnn.view.hearing import Heard, wanted
from memristor_bdnn.view.moment import Axis, Candidates, Chips, Condition, Measure, Moment, Result

CHROMIUM = Path("/usr/bin/chromium")

# ---- a results folder ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials of the shipped pool that the arm can reach, a round, and a learner on chips."""
    folder = tmp_path_factory.mktemp("view") / "results"
    folder.mkdir()
    skill = skills.load("pouring")
    rng = np.random.default_rng(4)
    with TrialStore(folder / "trials.jsonl", {"skill": "pouring", "features": list(skill.feature_names)}) as store:
        for number in range(4):
            context = skill.sample_context(rng)
            parameters = skill.sample_candidates(context, 1, rng, "panda")
            x = skill.encode(context, parameters)[0]
            phase, score = ("initial", "query")[number // 2], (0.5, -0.5)[number % 2]
            store.commit(
                Trial(phase, tuple(context), tuple(parameters[0]), tuple(x), True, score, 0.5 + score / 2, number)
            )
    row = {"labels": 3, "train_accuracy": 0.75, "test_accuracy": 0.6, "reads": 1000, "energy_j": 2.5e-6}
    (folder / "rounds.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "summary.json").write_text(json.dumps({"arm": "panda"}))
    learner = learners.create("msgld", accelerator.create("simulated", seed=3), {"n_inputs": 11}, seed=3)
    learner.save(folder / "learner.npz")
    return folder


def test_a_folder_shows_trial_after_trial_with_motions_planned_again(results: Path) -> None:
    folder = Folder(results)
    assert [a.end for a in folder.axes] == [3.0, 100.0] and folder.axes[0].start == 3.0
    before, after = folder.moment((1, 0.0)), folder.moment((2, 100.0))
    assert [r.score for r in before.results] == [0.5, -0.5] and len(after.results) == 3
    assert not before.rounds and "learning" in before.absent and before.ledger is None
    assert after.rounds[0]["test_accuracy"] == 0.6 and after.ledger == {
        "labels": 3.0,
        "reads": 1000.0,
        "energy_j": 2.5e-6,
    }
    home = arms.load("panda").home
    np.testing.assert_allclose([before.joints[f"panda_joint{k}"] for k in range(1, 8)], home, atol=1e-6)
    assert [s.name for s in before.shapes["pour_planner"]] == ["path", "cup", "cup", "cup"]
    assert before.shapes["pouring_world"][0].kind == "cylinder"
    middle = folder.moment((1, 50.0))
    tool = middle.arm.poses(middle.joints)["panda_hand"][:3, 3]
    assert np.linalg.norm(tool - before.arm.poses(before.joints)["panda_hand"][:3, 3]) > 0.05, "the arm moves"
    assert "candidates" in after.absent and "nodes" in after.absent
    with pytest.raises(MemristorError, match="takes no labels"):
        folder.label(0, ["0.5"])
    folder.close()


def test_the_chips_of_a_folder_are_those_of_its_checkpoint(results: Path) -> None:
    chips = accelerator.create("simulated", seed=3)
    learners.create("msgld", chips, {"n_inputs": 11}, seed=3)
    shown = Folder(results).moment((3, 0.0)).chips
    assert shown is not None and shown.current_ua.shape == (3, 128, 32)
    np.testing.assert_array_equal(shown.current_ua, chips.placement.maps(chips.known_currents_ua()).astype(np.float32))


def test_currents_are_told_without_a_read() -> None:
    chips = accelerator.create("simulated", seed=1)
    chips.allocate(50)
    known, reads = chips.known_currents_ua(), chips.read(400).mean(0)
    assert known.shape == (50,) and np.abs(known - reads).max() < 0.1
    before = chips.ledger.summary()
    chips.known_currents_ua()[:] = 0.0
    assert chips.ledger.summary() == before and chips.known_currents_ua()[0] == known[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "no such file or folder"),
        (lambda f: f.mkdir(), "no trials.jsonl"),
        (lambda f: f.write_bytes(b"\x89MCA"), "no recording"),
        (lambda f: f.write_bytes(b"\x89MCAP0\r\n" + bytes(50)), "no message of a session"),
    ],
)
def test_what_is_no_session_is_one_line(make: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    make(path)
    result = run_command("view", str(path), "--port", "8390")
    assert result.returncode == 1 and words in result.stderr and str(path) in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_damaged_checkpoint_is_absent_and_says_why(results: Path, tmp_path: Path) -> None:
    for name in ("trials.jsonl", "rounds.jsonl"):
        (tmp_path / name).write_bytes((results / name).read_bytes())
    (tmp_path / "learner.npz").write_bytes((results / "learner.npz").read_bytes()[:5000])
    moment = Folder(tmp_path).moment((3, 0.0))
    assert moment.chips is None and "learner.npz" in moment.absent["chips"]
    assert moment.arm is None and "--arm" in moment.absent["arm"], "no summary.json: which arm it was is not made up"


# ---- an arm from its description ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["panda", "ur5e_2f85"])
def test_links_stand_where_the_frames_have_them(name: str) -> None:
    arm = arms.load(name)
    frames, rng = Frames(arm), np.random.default_rng(1)
    model = ArmModel(frames.description(), mounting(arm))
    positions = dict(zip(arm.joint_names, rng.uniform(*arm.limits()), strict=True))
    positions |= dict.fromkeys(arm.gripper_joints, 0.01)
    expected, found = frames.poses(positions), model.poses(positions)
    for link, pose in found.items():
        np.testing.assert_allclose(pose, expected[link], atol=1e-9)
    parts = model.parts("collision")
    assert len(parts) >= 7 and not model.missing and {p.link for p in parts} <= set(found)
    assert max(float(np.abs(p.vertices).max()) for p in parts) < 2.0, "metres"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<robot", "not valid XML"),
        ("<sdf/>", "expected <robot>"),
        ("<robot><link name='a'/><link name='b'/></robot>", "2 links that hang on nothing"),
        (
            "<robot><link name='a'/><link name='b'/><joint name='j' type='revolute'><parent link='a'/><child link='b'/>"
            "<axis xyz='0 0 0'/></joint></robot>",
            "not finite",
        ),
        ('<!DOCTYPE x [<!ENTITY a "b">]><robot/>', "entities"),
        ("<robot>" + "<link name='a'/>" * 501 + "</robot>", "at most 500"),
    ],
)
def test_a_description_from_outside_is_judged(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ArmModel(text)


def test_only_meshes_are_read_for_a_description(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("v 0 0 0")
    mesh = "<visual><geometry><mesh filename='{}'/></geometry></visual>"
    model = ArmModel(f"<robot><link name='a'>{mesh.format(secret)}{mesh.format('/dev/zero.stl')}</link></robot>")
    assert model.parts() == [] and len(model.missing) == 2 and "no mesh" in model.missing[0]


# ---- what is heard ------------------------------------------------------------------------------


def test_topics_are_those_of_the_namespace() -> None:
    assert wanted("/lab/joint_states", "/lab/") == "joint_states" and wanted("/joint_states", "/lab/") == ""
    assert wanted("/diagnostics", "/lab/") == "/diagnostics" and wanted("/lab/a/b/markers", "/lab/") == ""
    assert wanted("/pouring_world/markers", "/") == "pouring_world/markers" and wanted("/camera/image", "/") == ""


def test_beads_and_cup_are_heard_where_the_world_has_them() -> None:
    messages = pytest.importorskip("memristor_bdnn.nodes.markers")
    from builtin_interfaces.msg import Time

    skill, rng = skills.load("pouring"), np.random.default_rng(0)
    world = skill.world("", None)
    try:
        context = world.reset(5, skill.sample_context(rng))
        assert [s.name for s in world.shapes()] == ["bowl"], "nothing is built for a picture"
        world.execute(skill.sample_candidates(context, 1, rng)[0])
        shapes = world.shapes()
        beads = world.inner.snapshot().beads
    finally:
        world.close()
    heard = Heard()
    heard.take("pouring_world/markers", messages.markers(shapes, Time(), alone=True), 0.0)
    bowl, cup, found = heard.moment("", 0.0).shapes["pouring_world"]
    assert (bowl.name, cup.name, found.kind) == ("bowl", "held_cup", "spheres") and not heard.refused
    np.testing.assert_allclose(found.points, beads, atol=1e-9)
    np.testing.assert_allclose(cup.pose, shapes[1].pose, atol=1e-6)


def message(**fields: Any) -> Any:
    """A message as one from a recording: an object with fields."""
    return dataclasses.make_dataclass("Message", fields)(**fields)


@pytest.mark.parametrize(
    ("topic", "content"),
    [
        ("joint_states", message(name=["a"], position=[float("nan")])),
        ("joint_states", message(name=["a"] * 300, position=[0.0] * 300)),
        ("coordinator/candidates", message(names=["confidence"], values=[0.5, 0.5])),
        ("coordinator/candidates", message(names=["a", "confidence", "confidence_sd"], values=[1.0] * 4)),
        ("coordinator/round", message(names=["x"], values=[1.0])),
        ("coordinator/trial", message(names=["number", "phase", "score"], values=[0.0, 7.0, 1.0])),
        ("accelerator/currents", message(layout=message(dim=[message(size=2)] * 3), data=[1.0] * 7)),
        ("accelerator/currents", message(layout=message(dim=[message(size=10**9)] * 3), data=[])),
        ("world/markers", message(markers=[None] * 3000)),
    ],
)
def test_a_message_that_is_wrong_is_left_out(topic: str, content: Any) -> None:
    heard = Heard()
    heard.take(topic, content, 0.0)
    moment = heard.moment("now", 0.0)
    assert topic in heard.refused
    assert not moment.joints and moment.candidates is None and moment.chips is None and not moment.shapes


def test_names_from_the_network_are_text_on_the_page() -> None:
    from memristor_bdnn.view import panels

    shown = panels._nodes({"/<script>alert(1)</script>": Condition(2, "<img src=x onerror=alert(1)>")})
    assert "<script" not in shown and "<img" not in shown


# ---- a running graph, and its recording ---------------------------------------------------------


def test_a_running_graph_is_followed_and_its_recording_replayed(
    start_graph: Callable[..., RunningGraph], tmp_path: Path
) -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("mcap_ros2")
    from memristor_bdnn.nodes.client import learn_actively
    from memristor_bdnn.view.live import Live

    quick = "learner_options:={max_epochs: 1, ex_situ: {epochs: 10}}"
    graph = start_graph("record:=true", "initial_trials:=2", "candidates:=50", "seed:=3", quick)
    live = Live()
    try:
        graph.wait_ready()
        done = threading.Event()
        seen: list[Moment] = []
        thread = threading.Thread(target=watch, args=(live, seen, done), daemon=True)
        thread.start()
        with pytest.raises(MemristorError, match="no trial is waiting"):
            live.label(0, ["0.9"])
        learn_actively(graph.client, 1, "straddle", 0)
        until(lambda: len(live.moment().results) == 3 and len(live.moment().rounds) == 2, 20.0)
        until(lambda: not live.moment().absent, 20.0)  # the arm is described once nobody else was seen to do so
        done.set()
        thread.join()
        now = live.moment()
    finally:
        live.close()
    check_what_was_seen(seen, now)
    graph.close()
    check_recording(tmp_path / "results" / "session.mcap", now)


def watch(live: Any, seen: list[Moment], done: threading.Event) -> None:
    while not done.wait(0.05):
        seen.append(live.moment())


def check_what_was_seen(seen: list[Moment], now: Moment) -> None:
    turned = [m.joints["panda_joint1"] for m in seen if m.joints]
    assert max(turned) - min(turned) > 0.1, "the arm was seen to move"
    assert any(s.name == "beads" for m in seen for s in m.shapes.get("pouring_world", ())), "and the beads in the cup"
    assert now.arm is not None and len(now.arm.poses(now.joints)) >= 10 and "pour_planner" in now.shapes
    assert [r.phase for r in now.results] == ["initial", "initial", "query"]
    assert [r["labels"] for r in now.rounds] == [2, 3] and "wall_s" in now.rounds[0]
    assert now.ledger is not None and now.ledger["set_pulses"] > 0
    assert now.candidates is not None and now.candidates.values.shape == (50, 5) and now.candidates.points is not None
    assert ((now.candidates.confidence >= 0) & (now.candidates.confidence <= 1)).all()
    assert now.chips is not None and now.chips.current_ua.shape == (3, 128, 32)
    assert now.nodes["/accelerator"] == Condition(0, "active") and not now.absent


def check_recording(file: Path, now: Moment) -> None:
    """The end of a recording is what was seen live; a file that was cut off is shown as far as it goes."""
    from memristor_bdnn.view.recording import Recording

    recording = Recording(file)
    (axis,) = recording.axes
    begin, end = recording.moment((0.0,)), recording.moment((axis.end,))
    assert not begin.results and "candidates" in begin.absent and begin.arm is not None
    assert end.results == now.results and end.rounds == now.rounds and end.arm is begin.arm
    assert end.chips is not None and end.candidates is not None and now.chips is not None
    np.testing.assert_array_equal(end.chips.current_ua, now.chips.current_ua)
    assert end.candidates.key == now.candidates.key  # type: ignore[union-attr]
    turned = [m.joints["panda_joint1"] for t in np.linspace(0, axis.end, 60) if (m := recording.moment((t,))).joints]
    assert max(turned) - min(turned) > 0.1
    whole, cut = file.read_bytes(), file.with_name("cut.mcap")
    cut.write_bytes(whole[: int(0.6 * len(whole))])
    shorter = Recording(cut)
    assert shorter.axes[0].end < axis.end and shorter.moment((shorter.axes[0].end,)).joints
    with pytest.raises(ConfigError, match=r"namespace '/lab/'"):
        Recording(file, "lab")


# ---- the page -----------------------------------------------------------------------------------


class Scripted:
    """A source whose moments a test writes."""

    title = "scripted"
    axes: tuple[Axis, ...] = ()

    def __init__(self) -> None:
        arm = arms.load("panda")
        home = dict(zip((*arm.joint_names, *arm.gripper_joints), (*arm.home, 0.04, 0.04), strict=True))
        rng = np.random.default_rng(0)
        self.given: list[tuple[int, list[str]]] = []
        self.now = Moment(
            "a moment",
            arm=ArmModel(Frames(arm).description(), mounting(arm)),
            joints=home,
            shapes=some_shapes(),
            candidates=Candidates(("a", "b"), rng.random((50, 2)), rng.random(50), rng.random(50), rng.random((50, 3))),
            rounds=({"labels": 2.0, "train_accuracy": 0.5}, {"labels": 3.0, "train_accuracy": 0.75}),
            results=(Result(0, 0.5, "initial"), Result(1, -1.0, "query", predicted=0.4)),
            ledger={"labels": 3.0, "reads": 123456.0, "energy_j": 2.5e-6},
            chips=Chips(rng.random((1, 16, 8)).astype(np.float32), "now"),
            nodes={"/accelerator": Condition(0, "active"), "/coordinator": Condition(3, "silent for 5 s")},
        )

    def moment(self, at: tuple[float, ...]) -> Moment:
        return self.now

    def label(self, trial: int, words: list[str]) -> None:
        if words == ["fraction_in_bowl=7"]:
            raise MemristorError("coordinator: fraction_in_bowl = 7: allowed [0, 1]")
        self.given.append((trial, words))

    def close(self) -> None:
        pass


def some_shapes() -> Any:
    from memristor_bdnn.motion.shapes import Shape

    points = np.random.default_rng(1).random((20, 3))
    return {
        "world": (
            Shape("bowl", "cylinder", np.eye(4), (0.2, 0.2, 0.1), (0.8, 0.5, 0.3, 0.6)),
            Shape("beads", "spheres", np.eye(4), (0.01,) * 3, (1.0, 0.8, 0.2, 1.0), points),
        ),
        "planner": (Shape("path", "line", np.eye(4), (0.004, 0.0, 0.0), (0.1, 0.5, 0.9, 1.0), points),),
    }


@pytest.fixture
def served() -> Iterator[tuple[Scripted, Any, list[str]]]:
    """A page over a scripted source."""
    pytest.importorskip("viser", reason="viser is not installed: the page is optional")
    from memristor_bdnn.view.page import Page

    said: list[str] = []
    source = Scripted()
    page = Page(source, "127.0.0.1", free_port(), "collision", 20.0, said.append)
    yield source, page, said
    page.close()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def test_a_taken_port_gives_way_and_an_address_that_is_none_is_said(served: tuple[Scripted, Any, list[str]]) -> None:
    from memristor_bdnn.view import page

    source, first, said = served
    port = first._server.get_port()
    second = page.Page(source, "127.0.0.1", port, "collision", 20.0, said.append)
    try:
        assert second._server.get_port() > port and said == [f"port {port} is taken: using {second._server.get_port()}"]
    finally:
        second.close()
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1.*--host"):
        page._free_port("192.0.2.1", 8080)
    assert first._server.request_share_url() is None, "no client can have the page tunnelled to the internet"
    assert page.is_local("127.0.0.1") and page.is_local("::1") and not page.is_local("0.0.0.0")


@pytest.mark.parametrize("package", ["viser", "trimesh"])
def test_what_is_not_installed_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from memristor_bdnn.view.page import require

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}: pip install"):
        require()


def test_an_update_that_changes_little_costs_little(served: tuple[Scripted, Any, list[str]]) -> None:
    source, page, _ = served
    page.update()
    costs = []
    for k in range(40):
        source.now = dataclasses.replace(source.now, joints={**source.now.joints, "panda_joint1": 0.01 * k})
        began = time.process_time()
        page.update()
        costs.append(time.process_time() - began)
    print(f"an update in which the arm moves: {1e3 * np.median(costs):.2f} ms of processor time")
    assert np.median(costs) < 0.02, f"{1e3 * np.median(costs):.1f} ms: 50 updates a second are asked for"
    assert [link.position[1] for link in page._scene._links.values()][-1] != 0.0


def test_a_page_beside_a_graph_ends_with_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser", reason="viser is not installed: the page is optional")
    from memristor_bdnn.view.beside import beside

    for name, value in fresh_environment().items():
        monkeypatch.setenv(name, value)
    said = ""

    def served() -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return "http://127.0.0.1:" in said and said.endswith("\n")

    with beside(False):
        pass
    with beside(True):
        until(served, 40.0)
        address = said.split("live: ")[1].split()[0]
        assert b"<html" in urllib.request.urlopen(address, timeout=10.0).read().lower()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=10.0)


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} is not installed")
def test_the_page_in_a_real_browser(served: tuple[Scripted, Any, list[str]]) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    source, page, _ = served
    page.update()
    stop = threading.Event()
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--use-angle=swiftshader", "--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1100, "height": 500})
        tab.on("request", lambda request: asked.append(request.url))
        wrong: list[str] = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(page.url)
        for text in ("a moment", "silent for 5 s", "123,456", "2.5 µJ", "Candidates of the last query, 50"):
            tab.wait_for_selector(f"text={text}", timeout=60_000)
        assert tab.locator("img").count() >= 3, "learning curve, chips, candidates"
        thread = threading.Thread(target=page.run, args=(stop.is_set,), daemon=True)
        thread.start()
        try:
            ask_for_label(tab, source)
            source.now = dataclasses.replace(source.now, chips=None, absent={"chips": "no chips <b>here</b>"})
            tab.wait_for_selector("text=no chips <b>here</b>", timeout=30_000)
            assert drawn(tab), "the arm is on the canvas"
        finally:
            stop.set()
            thread.join()
        browser.close()
    assert not wrong
    strangers = [u for u in asked if not u.startswith((page.url, page.url.replace("http", "ws"), "data:", "blob:"))]
    assert not strangers, "the page asks nobody but us"


def ask_for_label(tab: Any, source: Scripted) -> None:
    """A trial waits: an outcome outside of the range is refused with the reason, the next one is handed on."""
    measures = (Measure("fraction_in_bowl", "", 0.0, 1.0), Measure("fraction_in_cup", "", 0.0, 1.0))
    source.now = dataclasses.replace(source.now, waiting=3, measures=measures)
    tab.wait_for_selector("text=Trial 3 waits for its outcome", timeout=30_000)
    field = tab.locator("xpath=//label[text()='fraction in bowl']/following::input[1]")
    button = tab.get_by_role("button", name="Give the outcome")
    for value, answer in (("7", "allowed [0, 1]"), ("0.9", "trial 3: fraction_in_bowl=0.9 recorded")):
        field.fill(value)
        field.blur()
        time.sleep(0.5)
        button.click()
        tab.wait_for_selector(f"text={answer}", timeout=30_000)
    assert source.given == [(3, ["fraction_in_bowl=0.9"])]
    tab.wait_for_selector("text=Give the outcome", state="detached", timeout=30_000)


def drawn(tab: Any) -> bool:
    """Whether the canvas holds more than its background."""
    import io

    from PIL import Image

    box = tab.locator("canvas").first.bounding_box()
    for _ in range(20):
        pixels = np.asarray(Image.open(io.BytesIO(tab.screenshot(clip=box, timeout=60_000))).convert("L"), dtype=float)
        if (pixels < 215).mean() > 0.02:
            return True
        time.sleep(0.5)
    return False
