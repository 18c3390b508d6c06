"""planner:=moveit against a stand-in move_group that speaks MoveIt's real interfaces (built for the test)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import until

pytest.importorskip("rclpy")

from moveit_bench import MoveItBench
from one_node import EXECUTABLES, OneNode

from memristor_bdnn.motion import arms
from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.motion import PHASES
from memristor_bdnn.skills.pouring.vessels import context_of

CONTEXT = context_of("green", "green")
POUR = PourParameters(axis_in_bowl_x=0.15, axis_in_bowl_z=0.09, axis_in_cup_x=-0.2, axis_in_cup_z=0.3, pitch=-2.2)
ASKED = CONTEXT.array(), POUR.array()
BOWL, CUP, TABLE = (f"memristor_bdnn_{name}" for name in ("bowl", "cup", "table"))


# ---- without MoveIt; first, as what follows finds its messages --------------------------------------


def refused(folder: Path, **parameters: Any) -> str:
    """The log of a planner node that does not configure."""
    words = {name.replace("__", "."): value for name, value in parameters.items()}
    node = OneNode(folder, [str(EXECUTABLES / "planner_node")], "pour_planner", {"planner": "moveit", **words})
    try:
        until(lambda: "cannot configure" in node.log.read_text() or node.process.poll() is not None, 60.0)
        return node.log.read_text()
    finally:
        node.close()


def test_without_moveit_msgs_it_is_said_what_to_install(tmp_path: Path) -> None:
    try:
        import moveit_msgs  # noqa: F401

        pytest.skip("moveit_msgs is installed")
    except ImportError:
        pass
    log = refused(tmp_path, moveit__group="panda_arm")
    assert "planner:=moveit needs the ROS package moveit_msgs" in log and "ros-$ROS_DISTRO-moveit" in log


def test_without_a_group_it_is_said_what_to_give(tmp_path: Path) -> None:
    assert "planner:=moveit needs moveit.group" in refused(tmp_path)


# ---- with a move_group --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interfaces() -> Iterator[None]:
    """moveit_msgs can be imported by whatever is started from here."""
    import moveit_interfaces

    try:
        paths = moveit_interfaces.environment()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"moveit_msgs is neither installed nor can it be built here: {error}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in paths.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def panda(interfaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MoveItBench]:
    """A Panda: faulty answers end the search after some attempts, silence after a second."""
    bench = MoveItBench(
        tmp_path_factory.mktemp("panda"),
        "panda",
        **{
            "planner.attempts": 8,
            "planner.approach_budget": 8.0,
            "moveit.planning_time": 3.0,
            "moveit.answer_time": 2.0,
        },
    )
    yield bench
    bench.close()


def carried_out(arm: str, result: Any) -> dict[str, Any]:
    """A plan as it arrived, carried out in the simulated world."""
    from memristor_bdnn.benchmark.planning import executed
    from memristor_bdnn.nodes.convert import plan_from_message

    description = arms.load(arm)
    plan = plan_from_message(result.plan, description.joint_names, PHASES)
    found = executed(description, [(0, CONTEXT, plan)])
    assert found["executed"] == 1
    return found


def assert_a_good_pour(arm: str, result: Any) -> None:
    assert result.error_code == result.NONE, result.error_msg
    found = carried_out(arm, result)
    assert found["executed_with_arm_contact"] == found["executed_with_cup_contact"] == 0
    assert found["executed_max_joint_error_rad"] < 0.005


def test_a_whole_pour_is_planned_by_way_of_move_group_and_touches_nothing(panda: MoveItBench) -> None:
    result = panda.plan(*ASKED)
    said = panda.said()
    assert any("asked" in line for line in said), "move_group was not asked"
    scene = [line for line in said if "objects" in line][-1]
    assert scene["wrong"] == "" and scene["objects"] == [BOWL, TABLE]
    arm = arms.load("panda")
    assert set(scene["held"]) == {CUP} and set(scene["held"][CUP]) == {*arm.gripper_links, arm.tool_link}
    assert scene["table"] == ["panda_link0", "panda_link1"]
    assert_a_good_pour("panda", result)


def test_a_pour_of_an_arm_without_a_hand_and_with_prefixed_names(interfaces: None, tmp_path: Path) -> None:
    bench = MoveItBench(tmp_path, "ur5e", **{"moveit.prefix": "left_"})
    try:
        result = bench.plan(*ASKED)
    finally:
        bench.close()
    assert_a_good_pour("ur5e", result)


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        ("other_joints", "FAILED", "moves the joints other_panda_joint7"),
        ("joint_missing", "FAILED", "expected panda_joint1, panda_joint2"),
        ("nan", "FAILED", "panda_joint6 = nan at point"),
        ("ragged", "FAILED", "6 positions at point"),
        ("empty", "FAILED", "has 0 points"),
        ("elsewhere", "FAILED", "starts at"),
        ("short", "FAILED", "ends at"),
        ("limits", "JOINT_LIMITS", "panda_joint7 = 7.5000 rad at point 1 is outside"),
        ("through", "COLLISION", "the path of move_group collides"),
        ("code -1", "TIMEOUT", "PLANNING_FAILED (-1), as told"),
        ("code -12", "COLLISION", "GOAL_IN_COLLISION (-12)"),
        ("code -15", "FAILED", "INVALID_GROUP_NAME (-15)"),
        ("code -10", "START_MISMATCH", "START_STATE_IN_COLLISION (-10)"),
        ("code -29", "FAILED", "CRASH (-29)"),
        ("code 12345", "FAILED", "error code 12345"),
        ("scene", "FAILED", "refused our planning scene"),
    ],
)
def test_what_move_group_does_wrong_is_refused_with_the_reason(
    panda: MoveItBench, fault: str, code: str, text: str
) -> None:
    result = panda.plan(*ASKED, fault=fault)
    assert result.error_code == getattr(result, code) and text in result.error_msg, result.error_msg
    assert not result.plan.trajectories


def test_silence_and_death_are_noticed_and_a_new_move_group_is_told_everything(panda: MoveItBench) -> None:
    begun = time.monotonic()
    result = panda.plan(*ASKED, fault="silence")
    assert result.error_code == result.TIMEOUT and "has not answered in" in result.error_msg
    assert time.monotonic() - begun < 20.0
    result = panda.plan(*ASKED, fault="dies")
    assert result.error_code in (result.TIMEOUT, result.FAILED), result.error_msg
    assert "went away" in result.error_msg or "has not answered" in result.error_msg
    panda.group.wait(10.0)
    panda.start_group()
    answers = [panda.plan(*ASKED)]
    while answers[-1].error_code and len(answers) < 10:  # DDS takes the dead one for alive for some time
        answers.append(panda.plan(*ASKED))
    assert answers[-1].error_code == 0, [answer.error_msg for answer in answers]
    assert [line for line in panda.said() if "objects" in line][-1]["objects"] == [BOWL, TABLE]
    assert panda.node.change("deactivate", "cleanup") == [True, True]
    left = [line for line in panda.said() if "objects" in line][-1]
    assert left["objects"] == [] and left["held"] == {}, "our objects must not stay behind"


def test_a_push_is_planned_by_way_of_move_group(interfaces: None, tmp_path: Path) -> None:
    from memristor_bdnn.action import PlanMotion

    from memristor_bdnn.nodes.convert import table
    from memristor_bdnn.skills import load

    skill = load("pushing")
    rng = np.random.default_rng(0)
    context = skill.sample_context(rng)
    candidates = skill.sample_candidates(context, 5, rng, "panda")
    bench = MoveItBench(tmp_path, "panda", skill="pushing")
    try:
        codes = []
        for row in candidates:
            goal = PlanMotion.Goal(
                context=table(skill.context_space.names, context), parameters=table(skill.parameter_space.names, row)
            )
            result = bench.node.client.act("pour_planner", PlanMotion, "plan_motion", goal, 120.0)
            codes.append((result.error_code, result.error_msg))
            if not result.error_code:
                break
        assert codes[-1][0] == 0, codes
        assert any("asked" in line for line in bench.said())
    finally:
        bench.close()


@pytest.mark.parametrize("arm", ["panda", "ur5e"])
def test_the_world_that_move_group_is_told_of_is_ours(interfaces: None, arm: str) -> None:
    """Contacts at 400 random configurations, in our world and in the one that the messages describe."""
    words = [sys.executable, str(Path(__file__).parent / "moveit_parity.py"), arm]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") : done.stdout.index("}") + 1])
    assert found["touching"] > 10 and found["differ"] == 0, found


def test_a_move_group_that_is_not_there_is_named(interfaces: None, tmp_path: Path) -> None:
    bench = MoveItBench(tmp_path, "panda", **{"moveit.appear": 0.5, "moveit.namespace": "/elsewhere"})
    try:
        result = bench.plan(*ASKED)
    finally:
        bench.close()
    assert result.error_code == result.FAILED
    assert "no move_group: the services /elsewhere/get_planning_scene" in result.error_msg
