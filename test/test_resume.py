"""A run that was killed goes on as if it had not been: same trials, same scores, same learner, byte for byte."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningGraph, fresh_environment, until
from test_learning_active import Counting, Toy, ToyTrials, trial

from memristor_bdnn import accelerator, learners
from memristor_bdnn.active import checkpoints
from memristor_bdnn.active.checkpoints import Mark, keep, mark_of, previous
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.errors import ConfigError, StoreError

CONFIG = LoopConfig(initial_trials=5, queries=4, candidates=30, evaluations=3, evaluation_candidates=20)
OPTIONS: dict[str, dict[str, Any]] = {
    "msgld": {"n_inputs": 3, "hidden": [8], "max_epochs": 3, "stop_accuracy": 1.1, "ex_situ": {"epochs": 5}},
    "eapu": {"n_inputs": 3, "hidden": [8], "members": 2, "fit_epochs": 2, "learn_epochs": 2},
    "mcmc": {"n_inputs": 3},
}


def options_of(name: str) -> dict[str, Any]:
    """The wanted options that the learner has."""
    fields = learners.learner_class(name).config_type.__dataclass_fields__
    return {key: value for key, value in OPTIONS[name].items() if key in fields}


def session(folder: Path, name: str, config: LoopConfig = CONFIG, pause: Callable[[], None] | None = None) -> None:
    """One run of a session to its end, with trials some of which are infeasible."""
    learner = learners.create(name, accelerator.create("simulated", seed=1), options_of(name), 1)
    trials = ToyTrials(lambda p: p[0] > -0.3)
    with TrialStore(folder / "t.jsonl") as store:
        loop = ActiveLoop(
            Toy(),
            learner,
            store,
            config,
            np.random.default_rng(0),
            trials=trials,
            checkpoint=folder / "c.npz",
            on_trial=None if pause is None else lambda *_: pause(),
            on_round=None if pause is None else lambda _: pause(),
        )
        loop.run(None if pause is None else lambda _: pause())


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def killed_after(seconds: float, work: Callable[[], None]) -> bool:
    """Run in a child and kill it after a time; False when it had ended by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


@pytest.mark.parametrize(("name", "wanted"), [("msgld", 30), ("eapu", 10), ("mcmc", 10)])
def test_kills_at_random_moments_change_nothing(name: str, wanted: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    session(tmp_path / "whole", name)
    whole, length = files(tmp_path / "whole"), time.monotonic() - began
    rng, kills, chain = random.Random(5), 0, 0
    while kills < wanted or chain == 0:
        folder = tmp_path / f"chain{chain}"
        folder.mkdir()
        while killed_after(rng.uniform(0.0, length), lambda folder=folder: session(folder, name)):  # type: ignore[misc]
            kills += 1
        assert files(folder) == whole, f"chain {chain} after {kills} kills"
        chain += 1


@pytest.mark.parametrize("step", range(0, 40, 3))
def test_a_stop_after_any_step_changes_nothing(step: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    session(tmp_path / "whole", "msgld")

    class Stop(Exception):
        pass

    left = step

    def pause() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    with pytest.raises(Stop):
        session(tmp_path / "parts", "msgld", pause=pause)
    session(tmp_path / "parts", "msgld")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_goal_that_grows_asks_what_the_longer_one_would_have_asked(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    longer = LoopConfig(initial_trials=5, queries=7, candidates=30, evaluations=0)
    session(tmp_path / "whole", "msgld", longer)
    session(tmp_path / "parts", "msgld", LoopConfig(initial_trials=5, queries=3, candidates=30, evaluations=0))
    session(tmp_path / "parts", "msgld", longer)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_goal_that_was_met_is_said_with_its_accuracy_and_executes_nothing(tmp_path: Path) -> None:
    session(tmp_path, "msgld")
    before = files(tmp_path)
    learner = learners.create("msgld", accelerator.create("simulated", seed=1), options_of("msgld"), 1)
    with TrialStore(tmp_path / "t.jsonl") as store:
        loop = ActiveLoop(
            Toy(), learner, store, CONFIG, np.random.default_rng(0), trials=ToyTrials(), checkpoint=tmp_path / "c.npz"
        )
        report = loop.run()
    mark = mark_of(tmp_path / "c.npz")
    assert mark is not None and report.learned is None and report.accuracy == mark.accuracy != 0.0
    assert files(tmp_path) == before


def test_a_checkpoint_that_cannot_be_is_refused_before_a_trial_is_paid_for(tmp_path: Path) -> None:
    def run(checkpoint: Path) -> None:
        learner = learners.create("msgld", accelerator.create("simulated", seed=1), options_of("msgld"), 1)
        with TrialStore(tmp_path / "t.jsonl") as store:
            rng = np.random.default_rng(0)
            ActiveLoop(Toy(), learner, store, CONFIG, rng, trials=ToyTrials(), checkpoint=checkpoint).run()

    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "thesis.npz").write_text("not yours")
    for name in ("pipe.npz", "folder.npz", "thesis.npz", "nowhere/c.npz"):
        with pytest.raises(StoreError, match=name.split("/")[-1]):
            run(tmp_path / name)
        assert (tmp_path / "t.jsonl").read_bytes() == b"", name
    assert (tmp_path / "thesis.npz").read_text() == "not yours"


def test_a_first_training_that_cannot_begin_as_it_did_begins_anew_and_says_so(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_: Any) -> None:
        raise Stop

    def loop(store: TrialStore, preset: str, on_round: Any = None) -> ActiveLoop:
        chips = accelerator.create("simulated", preset=preset, seed=1)
        learner = learners.create("msgld", chips, options_of("msgld"), 1)
        rng = np.random.default_rng(0)
        options = {"trials": ToyTrials(), "checkpoint": tmp_path / "c.npz", "on_round": on_round}
        return ActiveLoop(Toy(), learner, store, CONFIG, rng, **options)  # type: ignore[arg-type]

    with TrialStore(tmp_path / "t.jsonl") as store:
        with pytest.raises(Stop):
            loop(store, "tsinghua_taox_hfox", stop).run()
        mark = mark_of(tmp_path / "c.npz")
        assert mark is not None and mark.labels == 0
        # Chips that are not as they were, as a board's that was pulsed in the meantime.
        with pytest.warns(UserWarning, match="the first training begins anew, but not as it did before"):
            report = loop(store, "leti_hfo2_oxram").run()
        assert report.labels == 9
        with pytest.raises(ConfigError):  # what was learned is never given up silently
            loop(store, "tsinghua_taox_hfox").run()


def test_a_damaged_checkpoint_is_kept_and_the_one_before_serves(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    session(tmp_path / "whole", "msgld")
    folder = tmp_path / "parts"
    folder.mkdir()
    session(folder, "msgld", LoopConfig(initial_trials=5, queries=3, candidates=30, evaluations=0))
    spoilt = (folder / "c.npz").read_bytes()[:1000]
    (folder / "c.npz").write_bytes(spoilt)
    with pytest.warns(UserWarning, match=r"c\.npz is not a readable checkpoint|going on from .*previous"):
        session(folder, "msgld")
    assert (folder / "c.other1.npz").read_bytes() == spoilt
    assert (folder / "t.jsonl").read_bytes() == (tmp_path / "whole" / "t.jsonl").read_bytes()
    assert (folder / "c.npz").read_bytes() == (tmp_path / "whole" / "c.npz").read_bytes()


def test_two_damaged_checkpoints_are_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    session(tmp_path, "msgld")
    for path in (tmp_path / "c.npz", previous(tmp_path / "c.npz")):
        path.write_bytes(b"rubbish")
    before = files(tmp_path)
    with pytest.raises(StoreError, match="no checkpoint before it can be used: restore it from a copy"):
        session(tmp_path, "msgld", LoopConfig(initial_trials=5, queries=9, candidates=30))
    assert files(tmp_path) == before


def test_trials_missing_at_the_end_of_the_store_are_noticed(tmp_path: Path) -> None:
    session(tmp_path, "msgld")
    lines = (tmp_path / "t.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "t.jsonl").write_bytes(b"".join(lines[:8]))
    with pytest.raises(
        StoreError, match=r"c\.npz knows \d+ trials of its session, .*t\.jsonl holds 7: lines are missing"
    ):
        session(tmp_path, "msgld")


def test_a_checkpoint_of_another_session_is_moved_out_of_the_way(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    session(tmp_path / "whole", "msgld")
    folder = tmp_path / "again"
    folder.mkdir()
    with TrialStore(folder / "t.jsonl", {"seed": 12345}) as store:
        loop = ActiveLoop(
            Toy(), Counting(), store, CONFIG, np.random.default_rng(0), trials=ToyTrials(lambda p: p[0] > -0.3)
        )
        loop.run()
    (folder / "c.npz").write_bytes((tmp_path / "whole" / "c.npz").read_bytes())
    with pytest.warns(UserWarning, match=r"c\.npz is of another session: moved to .*c\.other1\.npz"):
        session(folder, "msgld")
    assert (folder / "c.other1.npz").read_bytes() == (tmp_path / "whole" / "c.npz").read_bytes()


def test_a_checkpoint_that_knows_more_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"

    def save(to: Path) -> str:
        np.savez(to, x=np.arange(3))
        return ""

    keep(path, save, Mark(5, 5, "aa", 0.5))
    keep(path, save, Mark(6, 7, "bb", 1.0))
    assert mark_of(path) == Mark(6, 7, "bb", 1.0) and mark_of(previous(path)) == Mark(5, 5, "aa", 0.5)
    before = files(tmp_path)
    with pytest.raises(StoreError, match=r"c\.npz knows 6 labels, this learner 2: it is not overwritten"):
        keep(path, save, Mark(2))
    path.write_text("a thesis")
    with pytest.raises(StoreError, match="move it away, or choose another name"):
        keep(path, save, Mark(9))
    path.write_bytes(before["c.npz"])
    assert files(tmp_path) == before and not list(tmp_path.glob(".*"))


def test_what_a_killed_save_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = 2**22 + 1  # beyond the largest process number
    left = [
        f".c.{dead}.tmp.npz",
        f".c.previous.{dead}.tmp.npz",
        f"..c.{dead}.tmp.npz.{dead}-7.tmp",
        f".c.npz.{dead}-7.tmp",
    ]
    kept = [f".d.{dead}.tmp.npz", "c.other1.npz", f".c.{os.getpid()}.tmp.npz.bak"]
    for name in (*left, *kept):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1, 1))
    keep(tmp_path / "c.npz", lambda to: str(np.savez(to, x=np.arange(3))), Mark(5))
    assert {path.name for path in tmp_path.iterdir()} == {"c.npz", *kept}


@pytest.mark.parametrize(
    "value", [b"{}", b'{"labels": -1}', b'{"labels": "5"}', b"[1]", b"null", b'{"labels": 1, "x": 2}']
)
def test_a_damaged_mark_is_refused(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "c.npz"
    np.savez(path, session=np.frombuffer(value, dtype=np.uint8))
    with pytest.raises(ConfigError, match=r"c\.npz"):
        mark_of(path)


def test_the_mark_of_version_0_1_is_understood(tmp_path: Path) -> None:
    learner = learners.create("msgld", accelerator.create("simulated", seed=1), options_of("msgld"), 1)
    with TrialStore(tmp_path / "t.jsonl", {"seed": 7}) as store:
        for seed in range(5):
            store.commit(trial(seed=seed, features=(0.1, 0.2, 0.3)))
        x, y, _ = store.labels()
        learner.fit(x[:4], y[:4])
        learner.save(tmp_path / "c.npz")
        (tmp_path / "c.npz.labels.json").write_text('{"labels": 4, "seed": 7}')
        from memristor_bdnn.active.resume import find

        found = find(tmp_path / "c.npz", store)
        assert found.path == tmp_path / "c.npz" and found.mark == Mark(4, 4)
        (tmp_path / "c.npz.labels.json").write_text('{"labels": 4, "seed": 8}')
        assert find(tmp_path / "c.npz", store).path is None
        assert checkpoints.mark_of(tmp_path / "c.other1.npz") is None


# -- over ROS -------------------------------------------------------------------------------------

SIZES = ("initial_trials:=4", "candidates:=50", "seed:=3", "use_respawn:=true")


def ask(graph: RunningGraph, queries: int, evaluations: int = 0, feedback: Any = None) -> Any:
    from memristor_bdnn.action import ActiveLearn

    goal = ActiveLearn.Goal(queries=queries, strategy="straddle", evaluation_trials=evaluations)
    return graph.client.act("coordinator", ActiveLearn, "active_learn", goal, 240.0, feedback)


def choices(results: Path) -> list[Trial]:
    """The trials without what differs by the clock."""
    import dataclasses

    with TrialStore(results / "trials.jsonl", readonly=True) as store:
        return [dataclasses.replace(t, details={}) for t in store.trials]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """The trials of a session that nobody killed."""
    pytest.importorskip("rclpy")
    folder = tmp_path_factory.mktemp("whole")
    graph = RunningGraph([*SIZES, f"results:={folder / 'results'}"], fresh_environment(), folder / "up.log")
    try:
        graph.wait_ready()
        assert ask(graph, 3, 2).error_code == 0
        return choices(folder / "results")
    finally:
        graph.close()


def test_an_accelerator_that_dies_between_calls_is_restored_before_its_next_use(
    start_graph: Callable[..., RunningGraph], tmp_path: Path, undisturbed: list[Trial]
) -> None:
    graph = start_graph(*SIZES)
    graph.wait_ready()
    assert ask(graph, 2).error_code == 0
    instance = graph.client.peers.instance("accelerator")
    os.kill(graph.node_process("accelerator_node"), signal.SIGKILL)  # nobody is calling it
    until(lambda: graph.client.peers.instance("accelerator") != instance, 60.0)
    result = ask(graph, 3, 2)
    assert result.error_code == 0 and result.labels == 7, result.error_msg
    assert choices(tmp_path / "results") == undisturbed
    mark = mark_of(tmp_path / "results" / "learner.npz")
    assert mark is not None and mark.labels == 7
    again = ask(graph, 3, 2)
    assert again.labels == 7 and again.accuracy == pytest.approx(result.accuracy) and again.accuracy > 0
    canceled = cancel_soon(graph, 30)
    with TrialStore(tmp_path / "results" / "trials.jsonl", readonly=True) as store:
        assert canceled.labels == len(store.labels()[1]) >= 7 and canceled.accuracy > 0


def cancel_soon(graph: RunningGraph, queries: int) -> Any:
    """The result of a goal that is cancelled while it runs."""
    from memristor_bdnn.action import ActiveLearn

    from memristor_bdnn.nodes.peers import SpinSafeActionClient

    client = SpinSafeActionClient(graph.client.node, ActiveLearn, "coordinator/active_learn")
    assert client.wait_for_server(10.0)
    heard: list[Any] = []
    sent = client.send_goal_async(ActiveLearn.Goal(queries=queries, strategy="straddle"), heard.append)
    until(sent.done, 20.0)
    until(lambda: bool(heard), 60.0)
    sent.result().cancel_goal_async()
    answer = sent.result().get_result_async()
    until(answer.done, 60.0)
    result = answer.result().result
    assert result.error_code == ActiveLearn.Result.CANCELED, result.error_msg
    return result


def test_kills_during_a_goal_change_no_choice(
    start_graph: Callable[..., RunningGraph], tmp_path: Path, undisturbed: list[Trial]
) -> None:
    graph = start_graph(*SIZES)
    graph.wait_ready()
    victims = ["accelerator_node", "planner_node", "world_node", "accelerator_node"]
    killed: list[str] = []

    def kill_now_and_then(message: Any) -> None:
        """When a query or an evaluation further than the last kill is told of; feedback may get lost."""
        steps = [(False, 1), (False, 2), (False, 3), (True, 1)]
        if message.phase not in ("query", "evaluation") or len(killed) == len(victims):
            return
        if (message.phase == "evaluation", message.round) >= steps[len(killed)]:
            os.kill(graph.node_process(victims[len(killed)]), signal.SIGKILL)
            killed.append(victims[len(killed)])

    result = ask(graph, 3, 2, kill_now_and_then)
    assert result.error_code == 0, result.error_msg
    assert len(killed) >= 3
    assert choices(tmp_path / "results") == undisturbed
