"""Packages of other people in the four nodes: a skill, a chip and a strategy by name, over real DDS."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND, RunningGraph, fresh_environment

pytest.importorskip("rclpy")

ROOT = Path(__file__).parent.parent
PACKAGES = ("tossing_skill", "noisy_chip", "least_sure")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that finds the example packages, installed into a folder of their own."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / "examples" / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
    how = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *how, *(str(source / n) for n in PACKAGES)], check=True)
    return {**fresh_environment(), "PYTHONPATH": str(target)}


def trials(path):
    return [json.loads(line[9:]) for line in path.read_text().splitlines()]


def learn(graph, **goal):
    from memristor_bdnn.action import ActiveLearn

    return graph.client.act("coordinator", ActiveLearn, "active_learn", ActiveLearn.Goal(**goal), 120.0)


def test_a_skill_a_chip_and_a_strategy_from_other_packages_run_in_the_four_nodes(environment, tmp_path):
    words = ["skill:=tossing", "accelerator:=noisy", "accelerator_options:={noise_ua: 0.05}", "learner:=eapu"]
    words += ["initial_trials:=8", "candidates:=40", "seed:=2", f"results:={tmp_path / 'results'}"]
    graph = RunningGraph(words, environment, tmp_path / "up.log")
    try:
        graph.wait_ready(("tossing_world", "tossing_planner", "accelerator", "coordinator"))
        result = learn(graph, queries=2, strategy="least_sure", evaluation_trials=1)
        assert result.error_code == 0, result.error_msg
        assert result.labels == 10
    finally:
        graph.close()
    header, *rows = trials(tmp_path / "results" / "trials.jsonl")
    assert header["metadata"]["skill"] == "tossing"
    assert header["metadata"]["features"] == ["speed", "elevation", "distance", "height"]
    assert [row["phase"] for row in rows] == ["initial"] * 8 + ["query"] * 2 + ["evaluation"]
    assert {row["strategy"] for row in rows if row["phase"] == "query"} == {"least_sure"}
    for row in rows:
        assert len(row["context"]) == 2 and -1 <= row["score"] <= 1 and 0 <= row["fraction"] <= 1


def test_the_same_packages_in_one_process_and_in_dbal(environment, tmp_path):
    def run(*words):
        return subprocess.run(
            [str(COMMAND), *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
        )

    done = run(
        *("learn", "--skill", "tossing", "--accelerator", "noisy", "--strategy", "least_sure"),
        *("--initial", "8", "--queries", "2", "--candidates", "40"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials(tmp_path / "tossing_trials.jsonl")[0]["metadata"]["skill"] == "tossing"
    done = run("collect", "--skill", "tossing", "--trials", "400", "--out", "tosses.pool", "--export", "tosses.npz")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(
        *("benchmark", "dbal", "--skill", "tossing", "--dataset", "tosses.npz", "--quick", "--seeds", "1"),
        *("--queries", "16", "--strategy", "least_sure", "--accelerator", "noisy", "--out", "dbal.json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "least_sure" in (tmp_path / "dbal.json").read_text()


def test_nodes_of_different_skills_are_refused_before_a_trial_is_paid_for(tmp_path):
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text("/**/accelerator:\n  ros__parameters:\n    skill: pushing\n")
    graph = RunningGraph(
        [f"params_file:={mixed}", f"results:={tmp_path / 'results'}", "initial_trials:=4"],
        fresh_environment(),
        tmp_path / "up.log",
    )
    try:
        graph.wait_ready()
        result = learn(graph, queries=1, strategy="straddle", evaluation_trials=0)
    finally:
        graph.close()
    assert result.error_code == result.BAD_INPUT
    assert "node accelerator was started with skill pushing, the coordinator with pouring" in result.error_msg
    assert (tmp_path / "results" / "trials.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["skill:=juggling"], ["skill:=juggling", "pouring", "pushing"]),
        (["recipe:=nothing"], ["recipe = 'nothing'", "pouring", "paper"]),
        (["skill:=pushing", "bowl:=green", "arm_output:=topic"], ["bowl:=green", "skill pouring, not of pushing"]),
    ],
)
def test_what_cannot_be_is_said_by_name(words, expected, tmp_path):
    environment = {**fresh_environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(COMMAND), "up", f"results:={tmp_path}", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    for word in expected:
        assert word in done.stdout + done.stderr
