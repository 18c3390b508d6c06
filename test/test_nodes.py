"""Real nodes in real processes over real DDS: interfaces, refusals, crashes, respawn."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COMMAND, RunningGraph, fresh_environment, run_command, until

pytest.importorskip("rclpy")

N = 12


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGraph]:
    """One graph for the tests that do not break it."""
    folder = tmp_path_factory.mktemp("graph")
    running = RunningGraph(
        [f"results:={folder / 'results'}", "initial_trials:=4", "candidates:=50", "seed:=3"],
        fresh_environment(),
        folder / "up.log",
    )
    running.wait_ready()
    assert teach(running).error_code == 0
    yield running
    running.close()


def teach(graph: RunningGraph, on_feedback: Any = None) -> Any:
    from memristor_bdnn.action import Learn

    x = features(24, seed=5)
    y = [float(v > 0) for v in np.array(x.values).reshape(24, 11)[:, 0]]
    return graph.client.act("accelerator", Learn, "learn", Learn.Goal(x=x, y=y, from_scratch=True), 120.0, on_feedback)


def features(rows: int = N, seed: int = 0) -> Any:
    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.skills.pouring.context import FEATURE_NAMES

    return table(FEATURE_NAMES, np.random.default_rng(seed).uniform(-1, 1, (rows, len(FEATURE_NAMES))))


def predict(graph: RunningGraph, message: Any, samples: int = 5) -> Any:
    from memristor_bdnn.srv import Predict

    request = Predict.Request(candidates=message, samples=samples, want_samples=True)
    return graph.client.call("accelerator", Predict, "predict", request, 30.0)


def test_predict_returns_mean_and_spread_of_the_samples(graph: RunningGraph) -> None:
    response = predict(graph, features())
    assert response.success, response.message
    samples = np.array(response.sample_data).reshape(-1, N)
    assert len(samples) == response.prediction.samples >= 5
    np.testing.assert_allclose(response.prediction.mean, samples.mean(0), atol=1e-6)
    np.testing.assert_allclose(response.prediction.std, samples.std(0), atol=1e-6)
    straddle = -np.abs(2 * samples.mean(0) - 1) + 1.96 * 2 * samples.std(0)
    np.testing.assert_allclose(response.prediction.straddle, straddle, atol=1e-5)
    assert samples.std(0).max() > 0, "every read is a sample: they must differ"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda m: m.values.__setitem__(3, math.nan), ["row 0", "axis_in_cup_z", "nan", "[-1, 1]"]),
        (lambda m: m.values.__setitem__(12, 7.5), ["row 1", "axis_in_bowl_z", "7.5", "[-1, 1]"]),
        (lambda m: m.values.append(0.0), ["133 values", "whole rows of 11"]),
        (lambda m: m.names.append("extra"), ["extra", "expected axis_in_bowl_x"]),
        (lambda m: m.names.pop(), ["columns", "expected", "cup_height"]),
        (lambda m: setattr(m, "names", []), ["columns none", "expected axis_in_bowl_x"]),
        (lambda m: setattr(m, "names", ["pitch", *m.names[1:]]), ["columns pitch", "expected axis_in_bowl_x"]),
        (lambda m: setattr(m, "values", []), ["0 rows"]),
    ],
)
def test_bad_features_are_refused_by_name_value_and_range(
    graph: RunningGraph, spoil: Callable[[Any], Any], words: list[str]
) -> None:
    message = features()
    spoil(message)
    response = predict(graph, message)
    assert not response.success
    for word in words:
        assert word in response.message


def test_select_queries_ranks_and_refuses_unknown_strategies(graph: RunningGraph) -> None:
    from memristor_bdnn.srv import SelectQueries

    def ask(**fields: Any) -> Any:
        request = SelectQueries.Request(candidates=features(), seed=1, **fields)
        return graph.client.call("accelerator", SelectQueries, "select_queries", request, 30.0)

    best = ask(k=3, strategy="straddle")
    assert best.success and len(set(best.indices)) == 3
    assert list(best.scores) == sorted(best.scores, reverse=True)
    drawn = ask(k=12, strategy="thompson")
    assert drawn.success and sorted(drawn.indices) == list(range(12)) and len(drawn.scores) == 12
    assert ask(k=3, strategy="sturdy").success  # looks at the labels that the node holds
    unknown = ask(k=3, strategy="guess")
    assert not unknown.success and "straddle" in unknown.message
    assert "[1, 12]" in ask(k=99, strategy="random").message


def test_learn_checkpoint_and_restore_are_exact(graph: RunningGraph) -> None:
    from memristor_bdnn.srv import LoadCheckpoint, SaveCheckpoint

    seen: list[int] = []
    result = teach(graph, lambda f: seen.append(f.epoch))
    assert result.error_code == 0, result.error_msg
    assert result.status.labels == 24 and result.status.reads > 0 and result.status.energy_j > 0
    assert seen and seen == sorted(seen)
    path = "learned.npz"
    saved = graph.client.call("accelerator", SaveCheckpoint, "save_checkpoint", SaveCheckpoint.Request(path=path), 30.0)
    assert saved.success, saved.message
    first = predict(graph, features(seed=9))
    loaded = graph.client.call(
        "accelerator", LoadCheckpoint, "load_checkpoint", LoadCheckpoint.Request(path=path), 30.0
    )
    assert loaded.success and loaded.sha256 == saved.sha256 and loaded.model_version > saved.model_version
    again = predict(graph, features(seed=9))
    assert list(first.prediction.mean) == list(again.prediction.mean), "restored generators draw the same reads"


def test_learn_refuses_labels_out_of_range_and_wrong_counts(graph: RunningGraph) -> None:
    from memristor_bdnn.action import Learn

    for y, word in (([0.5] * (N - 1), "11 values for 12 rows"), ([2.0] * N, "y[0] = 2.0"), ([math.nan] * N, "nan")):
        result = graph.client.act("accelerator", Learn, "learn", Learn.Goal(x=features(), y=y), 30.0)
        assert result.error_code == Learn.Result.BAD_INPUT and word in result.error_msg


def test_unreadable_checkpoint_is_refused_with_its_path(graph: RunningGraph) -> None:
    from memristor_bdnn.srv import LoadCheckpoint

    path = graph.log.parent / "results" / "broken.npz"
    path.write_bytes(b"PK not a checkpoint")
    for text in (path.name, str(path)):
        response = graph.client.call(
            "accelerator", LoadCheckpoint, "load_checkpoint", LoadCheckpoint.Request(path=text), 30.0
        )
        assert not response.success and str(path) in response.message


def test_world_draws_the_same_scene_for_the_same_seed(graph: RunningGraph) -> None:
    from memristor_bdnn.srv import ResetWorld

    def reset(seed: int) -> Any:
        return graph.client.call("pouring_world", ResetWorld, "reset", ResetWorld.Request(seed=seed), 30.0)

    assert reset(4).context == reset(4).context
    assert reset(4).context != reset(5).context
    bad = ResetWorld.Request(seed=1, given=True, context=reset(4).context)
    bad.context.values[5] = 3.0
    response = graph.client.call("pouring_world", ResetWorld, "reset", bad, 30.0)
    assert not response.success and "cup_height" in response.message and "0.1188" in response.message


def test_plan_refuses_parameters_out_of_range(graph: RunningGraph) -> None:
    from memristor_bdnn.action import PlanMotion
    from memristor_bdnn.srv import ResetWorld

    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.skills.pouring.context import PARAMETER_SPACE

    context = graph.client.call("pouring_world", ResetWorld, "reset", ResetWorld.Request(seed=1), 30.0).context
    goal = PlanMotion.Goal(context=context, parameters=table(PARAMETER_SPACE.names, [0.1, 0.05, 0, 0, 1.0]), seed=1)
    result = graph.client.act("pour_planner", PlanMotion, "plan_motion", goal, 60.0)
    assert result.error_code == PlanMotion.Result.BAD_INPUT
    assert "pitch" in result.error_msg and "-3.14159" in result.error_msg


def test_trial_of_another_context_or_without_a_plan_is_refused(graph: RunningGraph) -> None:
    from memristor_bdnn.action import ExecuteTrial, PlanMotion
    from memristor_bdnn.msg import MotionPlan
    from memristor_bdnn.srv import ResetWorld

    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.skills.pouring.skill import PouringSkill

    def reset(seed: int) -> Any:
        return graph.client.call("pouring_world", ResetWorld, "reset", ResetWorld.Request(seed=seed), 30.0).context

    skill, planned, seed = PouringSkill(), None, 0
    while planned is None or planned.error_code:
        seed += 1
        context = reset(seed)
        chosen = skill.sample_candidates(np.array(context.values), 1, np.random.default_rng(seed), "panda")[0]
        parameters = table(skill.parameter_space.names, chosen)
        request = PlanMotion.Goal(context=context, parameters=parameters, seed=seed)
        planned = graph.client.act("pour_planner", PlanMotion, "plan_motion", request, 60.0)
    goal = ExecuteTrial.Goal(context=context, parameters=parameters, plan=planned.plan, seed=seed)

    def execute(on_feedback: Any = None) -> Any:
        return graph.client.act("pouring_world", ExecuteTrial, "execute_trial", goal, 120.0, on_feedback)

    phases: set[str] = set()
    done = execute(lambda f: phases.add(f.phase))
    assert done.error_code == 0, done.error_msg
    assert done.outcome.skill == "pouring" and tuple(done.outcome.measures.names) == skill.measure_space.names
    assert math.isclose(sum(done.outcome.measures.values), 1.0, abs_tol=1e-6)
    assert done.outcome.score == skill.score(np.array(done.outcome.measures.values))
    assert {"approach", "pour"} <= phases
    reset(seed + 100)
    assert execute().error_code == ExecuteTrial.Result.CONTEXT_MISMATCH
    goal.plan = MotionPlan()
    refused = execute()
    assert refused.error_code == ExecuteTrial.Result.BAD_INPUT and "approach, pour, retreat" in refused.error_msg


def test_every_node_says_what_the_skill_consists_of(graph: RunningGraph) -> None:
    from memristor_bdnn.msg import SkillDescription
    from rclpy.qos import DurabilityPolicy, QoSProfile

    from memristor_bdnn.skills.pouring.skill import PouringSkill

    heard: dict[str, SkillDescription] = {}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    names = ("pouring_world", "pour_planner", "accelerator", "coordinator")
    for name in names:
        graph.client.node.create_subscription(
            SkillDescription, f"{name}/skill", lambda m, name=name: heard.__setitem__(name, m), latched
        )
    until(lambda: set(heard) == set(names))
    skill = PouringSkill()
    for description in heard.values():
        assert description.name == "pouring" and tuple(description.features) == skill.feature_names
        assert tuple(description.phases) == skill.phases
        for given, space in (
            (description.context, skill.context_space),
            (description.parameters, skill.parameter_space),
            (description.measures, skill.measure_space),
        ):
            assert [(d.name, d.unit, d.low, d.high) for d in given] == [
                (d.name, d.unit, d.low, d.high) for d in space.dimensions
            ]


def test_a_label_nobody_waits_for_is_refused(graph: RunningGraph) -> None:
    from memristor_bdnn.srv import LabelTrial

    response = graph.client.call("coordinator", LabelTrial, "label_trial", LabelTrial.Request(trial_id=1), 30.0)
    assert not response.success and "no trial is waiting" in response.message


def test_parameters_are_checked_when_they_are_set(graph: RunningGraph) -> None:
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import DescribeParameters, SetParameters

    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=0)
    request = SetParameters.Request(parameters=[Parameter(name="samples", value=value)])
    response = graph.client.call("accelerator", SetParameters, "set_parameters", request, 15.0)
    assert not response.results[0].successful and "samples" in response.results[0].reason
    about = graph.client.call(
        "accelerator",
        DescribeParameters,
        "describe_parameters",
        DescribeParameters.Request(names=["samples", "learner"]),
        15.0,
    )
    assert about.descriptors[0].integer_range[0].from_value == 1
    assert all(d.description for d in about.descriptors)


def test_learner_is_swapped_live_and_an_unknown_one_fails_with_the_choices(graph: RunningGraph) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(graph.client.call("accelerator", ChangeState, "change_state", request, 60.0).success)

    def use(learner: str) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=learner)
        request = SetParameters.Request(parameters=[Parameter(name="learner", value=value)])
        assert graph.client.call("accelerator", SetParameters, "set_parameters", request, 15.0).results[0].successful

    assert change(Transition.TRANSITION_DEACTIVATE) and change(Transition.TRANSITION_CLEANUP)
    refused = predict(graph, features())
    assert not refused.success and "not active" in refused.message
    use("nonsense")
    assert not change(Transition.TRANSITION_CONFIGURE)
    log = graph.log.read_text()
    assert "nonsense" in log and "msgld" in log
    use("eapu")
    assert change(Transition.TRANSITION_CONFIGURE) and change(Transition.TRANSITION_ACTIVATE)
    assert teach(graph).status.learner == "eapu"
    assert predict(graph, features()).prediction.learner == "eapu"


def test_a_killed_node_is_named_and_the_others_are_stopped(start_graph: Callable[..., RunningGraph]) -> None:
    graph = start_graph()
    graph.wait_ready()
    victim = graph.node_process("planner_node")
    others = [graph.node_process(n) for n in ("world_node", "accelerator_node", "coordinator_node")]
    os.kill(victim, signal.SIGKILL)
    assert graph.wait_exit() == 1
    log = graph.log.read_text()
    assert "pour_planner died (killed by SIGKILL)" in log
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)


def test_nodes_die_with_a_killed_supervisor(start_graph: Callable[..., RunningGraph]) -> None:
    graph = start_graph()
    graph.wait_ready()
    children = [graph.node_process(n) for n in ("world_node", "accelerator_node", "coordinator_node", "planner_node")]
    graph.process.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_info_names_versions_plugins_and_what_is_missing() -> None:
    done = run_command("info")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("numpy", "msgld", "simulated", "panda", "tsinghua_taox_hfox"):
        assert word in done.stdout


def test_show_args_lists_choices_and_unknown_words_exit_with_1() -> None:
    done = run_command("up", "--show-args")
    assert done.returncode == 0 and "'learner'" in done.stdout and "Choices: msgld, eapu, mcmc" in done.stdout
    wrong = run_command("up", "learner:=nonsense")
    assert wrong.returncode == 1 and "choose one of msgld, eapu, mcmc" in wrong.stderr


def test_a_node_that_comes_back_at_once_does_not_leave_its_callers_waiting(
    start_graph: Callable[..., RunningGraph],
) -> None:
    from memristor_bdnn.nodes.peers import PeerLost

    graph = start_graph("use_respawn:=true")
    graph.wait_ready()
    alive = [graph.node_process("accelerator_node")]

    def kill_once(_: Any) -> None:
        if alive:
            os.kill(alive.pop(), signal.SIGKILL)

    # the new node is up before the old one has been silent for long
    with pytest.raises(PeerLost, match=r"started anew during learn|fell silent during learn"):
        teach(graph, kill_once)
    graph.wait_ready()
    assert teach(graph).error_code == 0


def test_a_session_asks_on_policy_unless_told_otherwise_and_tells_its_failures(tmp_path: Path) -> None:
    from memristor_bdnn.action import ActiveLearn

    from memristor_bdnn.active.losses import Losses
    from memristor_bdnn.active.store import TrialStore

    words = [f"results:={tmp_path / 'results'}", "initial_trials:=4", "candidates:=50", "seed:=3"]
    running = RunningGraph(words, fresh_environment(), tmp_path / "up.log")
    heard: list[Any] = []
    try:
        running.wait_ready()
        for queries, strategy in ((2, ""), (3, "thompson")):
            goal = ActiveLearn.Goal(queries=queries, strategy=strategy, evaluation_trials=1)
            result = running.client.act("coordinator", ActiveLearn, "active_learn", goal, 300.0, heard.append)
            assert result.error_code == 0, result.error_msg
    finally:
        running.close()
    with TrialStore(tmp_path / "results" / "trials.jsonl", readonly=True) as store:
        trials = list(store.trials)
    assert [t.strategy for t in trials if t.feasible and t.phase == "query"] == ["sturdy", "sturdy", "thompson"]
    assert {t.strategy for t in trials if t.phase == "evaluation"} == {"sturdy"}
    lost = Losses.of(trials)
    assert heard[-1].failures == lost.failures and heard[-1].undone == pytest.approx(lost.undone)


def test_a_goal_is_sent_by_a_command_and_the_console_tells_what_came_of_it(
    start_graph: Callable[..., RunningGraph],
) -> None:
    graph = start_graph("initial_trials:=2", "candidates:=60", "log_level:=info")
    graph.wait_ready()

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**fresh_environment(), "ROS_DOMAIN_ID": os.environ["ROS_DOMAIN_ID"]}
        return subprocess.run([str(COMMAND), *words], env=environment, capture_output=True, text=True, timeout=120.0)

    done = command("active-learn", "1", "--evaluations", "1", "--strategy", "random")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "queries 1 of 1: last trial " in done.stdout and "3 labels, accuracy on them" in done.stdout
    console = graph.log.read_text()
    assert "goal accepted: 1 queries by random, 1 confident trials" in console
    for trial in ("trial 0 (initial 1 of 2): fraction poured ", "(query 1 of 1): fraction poured "):
        assert console.count(trial) == 1, console
    assert "goal reached: 3 labels" in console
    wrong = command("active-learn", "1", "--strategy", "strudy")
    assert wrong.returncode == 1 and "choose one of" in wrong.stderr
    assert command("active-learn", "-1").returncode == 1
