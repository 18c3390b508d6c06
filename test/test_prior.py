"""A learner that begins with simulated trials: in one process, through the nodes, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import COMMAND, fresh_environment, run_command

from memristor_bdnn import cli, skills
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.active.test_data import load_test_data, without
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import graph

QUICK = ["--learner-option", "ex_situ.epochs=25", "--learner-option", "chains=1", "--learner-option", "max_epochs=6"]
SMALL = ["--recipe", "pouring_prior", *QUICK, "--candidates", "200", "--no-animation", "--seed", "3"]


def summary(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_a_session_through_the_nodes_begins_with_the_prior_and_needs_no_random_trial(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    folder = tmp_path / "session"
    words = ["demo", "--out", str(folder), *SMALL, "--initial", "0", "--queries", "2", "--evaluations", "1"]
    done = run_command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    found = summary(folder)
    assert found["labels"] == 2 and found["evaluation_trials"] == 1
    assert float(str(found["test_accuracy"])) > 0.8  # knows what nobody tried, on rows that it was not fitted to
    assert not list(folder.glob("learner.other*")), "its own first checkpoint belongs to the session"
    again = run_command(*words, "--resume")  # nothing is fitted or tried again
    assert again.returncode == 0, again.stdout + again.stderr
    assert summary(folder)["labels"] == 2


def test_killed_after_the_prior_it_goes_on_from_there_with_the_same_choices(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    words = [*SMALL, "--initial", "0", "--queries", "3", "--evaluations", "0"]
    done = run_command("demo", "--out", str(tmp_path / "whole"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [str(COMMAND), "demo", "--out", str(folder), *words],
        env=fresh_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "learner.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # the nodes end with their parent
    done = run_command("demo", "--out", str(folder), *words, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary(folder)["label_scores"] == summary(tmp_path / "whole")["label_scores"]


def test_one_process_needs_no_random_trial_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["learn", "--recipe", "pouring_prior", *QUICK, "--initial", "0", "--queries", "2", "--evaluations", "0"]
    assert cli.main([*words, "--candidates", "100", "--out", "out.json"]) == 0
    assert json.loads(Path("out.json").read_text())["labels"] == 2


def test_without_a_prior_there_is_no_beginning_without_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skill = skills.load("pouring")
    with TrialStore(tmp_path / "t.jsonl") as store, pytest.raises(ConfigError, match=r"initial_trials = 1: at least 2"):
        ActiveLoop(skill, object(), store, LoopConfig(initial_trials=1), np.random.default_rng(0))  # type: ignore[arg-type]
    store_file = str(tmp_path / "s.jsonl")
    assert cli.main(["learn", "--initial", "0", "--store", store_file]) == 1
    assert "initial_trials = 0" in capsys.readouterr().err
    assert cli.main(["demo", "--initial", "1", "--out", str(tmp_path / "demo")]) == 1
    assert "--initial 1: at least 2" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_the_prior_is_not_fitted_to_the_test_rows() -> None:
    skill = skills.load("pouring")
    pool, (test, _) = skill.pool(), load_test_data("shipped", skill)
    kept = without(pool.x, test)
    assert len(pool.x) - kept.sum() == len(test)
    assert not {row.tobytes() for row in pool.x[kept]} & {row.tobytes() for row in np.ascontiguousarray(test)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learner-option", "epochs=3"], "epochs"),
        (["--learner-option", "max_epochs=0"], "max_epochs"),
        (["--learner-option", "max_epochs"], "NAME=VALUE"),
        (["--learner-option", "ex_situ.rate=1"], "rate"),
        (["--prior-pool", "mine.npz"], "no prior"),
        (["--preset", "nobody"], "nobody"),
    ],
)
def test_what_the_demo_cannot_obey_is_refused_at_once(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), *words]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_arguments_of_the_graph_reach_the_nodes() -> None:
    typed = {"recipe": "pouring_prior", "learner_options": "{max_epochs: 7}", "preset": "leti_hfo2_oxram"}
    commands = {c.name: c for c in graph.resolve({**typed, "prior_pool": "/x/pool.npz"})}
    assert commands["accelerator"].parameters["preset"] == "leti_hfo2_oxram"
    assert commands["accelerator"].parameters["learner_options"] == "{max_epochs: 7}"
    assert commands["coordinator"].parameters["prior_pool"] == "/x/pool.npz"
    with pytest.raises(ConfigError, match="preset:=none: choose one of tsinghua_taox_hfox"):
        graph.resolve({"preset": "none"})
