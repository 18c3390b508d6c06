"""The demo as a user runs it: results, determinism, kill -9 and resume, refusals before any trial."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import COMMAND, fresh_environment, run_command

pytest.importorskip("rclpy")

SMALL = [
    "--initial",
    "4",
    "--queries",
    "1",
    "--evaluations",
    "1",
    "--candidates",
    "60",
    "--no-animation",
    "--seed",
    "5",
]
COMPARED = ("label_scores", "train_accuracy_by_labels", "fraction_poured_by_labels", "pulses", "reads")


def summary(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "summary.json").read_text()))


def test_same_seed_same_labels_and_accuracies_and_a_full_summary(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run_command("demo", "--out", str(tmp_path / name), *SMALL)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = summary(tmp_path / "one"), summary(tmp_path / "two")
    for key in COMPARED:
        assert one[key] == two[key], key
    assert one["labels"] == 5 and one["evaluation_trials"] == 1
    assert "4 random trials poured " in done.stdout and "after 5 trials it pours " in done.stdout
    for key in ("train_accuracy", "fraction_poured", "energy_j", "wall_s", "wall_session_s", "seed", "versions"):
        assert one[key] is not None, key
    for name in ("learning.png", "belief.png", "chips.png", "index.html", "learner.first.npz", "trials.jsonl"):
        assert (tmp_path / "one" / name).stat().st_size > 0


def test_the_demo_of_another_skill_goes_the_same_way(tmp_path: Path) -> None:
    done = run_command("demo", "--skill", "pushing", "--out", str(tmp_path / "push"), *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    found = summary(tmp_path / "push")
    assert found["skill"] == "pushing" and found["labels"] == 5 and found["evaluation_trials"] == 1
    for key in ("fraction_done", "fraction_done_random", "test_accuracy", "median_planning_s", "energy_j"):
        assert found[key] is not None, key
    words = re.sub('base64,[^"]*', "", (tmp_path / "push" / "index.html").read_text())
    assert "push" in words and "pour" not in words


def start_demo(folder: Path, *extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(COMMAND), "demo", "--out", str(folder), *SMALL, *extra],
        env=fresh_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> list[bytes]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "trials.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        if len(lines) > count:
            return lines
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(0.05)
    raise AssertionError("no trials in time")


def child(pid: int, executable: str) -> int:
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if executable in Path(f"/proc/{number}/cmdline").read_text():
            return int(number)
    raise AssertionError(f"no child {executable}")


def test_a_killed_node_ends_the_demo_by_name_and_resume_goes_on(tmp_path: Path) -> None:
    process = start_demo(tmp_path)
    committed = wait_for_trials(tmp_path, 2, process)
    os.kill(child(process.pid, "world_node"), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "node pouring_world died (killed by SIGKILL)" in output
    assert (tmp_path / "trials.jsonl").read_bytes().splitlines()[: len(committed)] == committed
    done = run_command("demo", "--out", str(tmp_path), *SMALL, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "trials.jsonl").read_bytes().splitlines()[: len(committed)] == committed
    assert summary(tmp_path)["labels"] == 5


def test_a_killed_node_is_respawned_when_asked_and_nothing_is_lost(tmp_path: Path) -> None:
    process = start_demo(tmp_path, "--respawn")
    committed = wait_for_trials(tmp_path, 5, process)
    os.kill(child(process.pid, "accelerator_node"), signal.SIGKILL)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert "node accelerator died (killed by SIGKILL); starting it again" in output
    assert (tmp_path / "trials.jsonl").read_bytes().splitlines()[: len(committed)] == committed
    assert summary(tmp_path)["labels"] == 5


def test_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    process = start_demo(tmp_path)
    wait_for_trials(tmp_path, 1, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--learner", "nonsense"], ["nonsense", "msgld", "eapu", "mcmc"]),
        (["--accelerator", "fpga"], ["fpga", "simulated", "escim"]),
        (["--arm", "hand"], ["hand", "panda", "kuka_iiwa"]),
        (["--strategy", "guess"], ["guess", "straddle"]),
        (["--initial", "1"], ["--initial 1", "2"]),
    ],
)
def test_unknown_parts_are_refused_with_the_choices(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    done = run_command("demo", "--out", str(tmp_path / "out"), *words)
    assert done.returncode == 1
    for word in expected:
        assert word in done.stderr


def test_a_folder_that_cannot_be_written_is_said_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_command("demo", "--out", str(tmp_path / "file" / "results"), *SMALL)
    assert done.returncode == 1 and "results folder" in done.stderr and "choose another with --out" in done.stderr
