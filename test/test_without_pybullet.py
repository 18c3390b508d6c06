"""Chips and learners need no simulated world: without PyBullet they work, and what needs it says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import fresh_environment

ROOT = Path(__file__).parents[1]


@pytest.fixture()
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which PyBullet cannot be imported."""
    for name in ("pybullet", "pybullet_data", "pybullet_utils"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError(\"No module named '{name}'\", name='{name}')\n")
    return {**fresh_environment(), "PYTHONPATH": str(tmp_path)}


def command(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memristor_bdnn.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(environment["PYTHONPATH"]),
    )


def test_learners_learn_from_recorded_trials_and_info_is_content(without: dict[str, str], tmp_path: Path) -> None:
    assert command(without, "info").returncode == 0
    run = command(without, "benchmark", "dbal", "--quick", "--seeds", "1", "--queries", "1")
    assert run.returncode == 0, run.stderr
    assert command(without, "info", "pouring").returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ("learn", "--initial", "2", "--queries", "1"),
        ("arm", "check", "panda"),
        ("collect", "--trials", "2", "--out", "x.jsonl", "--workers", "1"),
    ],
)
def test_what_simulates_says_what_to_install(without: dict[str, str], words: tuple[str, ...]) -> None:
    run = command(without, *words)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "PyBullet is not installed" in run.stdout + run.stderr and "Traceback" not in run.stderr
