"""A small campaign of faults, and proof that its judges see what they are there to see."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import run_command

from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.benchmark.faults import main, mutate, sessions, stores
from memristor_bdnn.benchmark.faults.findings import KINDS, Tally, summary

SIZES = {
    "learn": "--kills=3",
    "graph": "--kills=2",
    "parameters": "--sets=80",
    "services": "--calls=80",
    "files": "--files=150",
}


@pytest.mark.parametrize("part", main.PARTS)
def test_a_small_campaign_finds_nothing(part: str, tmp_path: Path) -> None:
    if part in ("graph", "parameters", "services"):
        pytest.importorskip("rclpy")
    out = tmp_path / "faults.json"
    done = run_command("benchmark", "faults", "--parts", part, SIZES[part], "--work", str(tmp_path), "--out", str(out))
    figures = json.loads(out.read_text())
    assert done.returncode == 0, json.dumps(figures["findings"], indent=1)
    assert figures["ok"] and all(figures[kind] == 0 for kind in KINDS)
    assert figures["parts"][part]["tried"], "it must have tried something"
    assert "wrongly accepted" in done.stdout
    assert not list(tmp_path.glob("memristor_bdnn_faults_*")), "nothing stays behind where nothing was found"


def test_an_unknown_part_and_a_size_of_nothing_are_refused() -> None:
    wrong = run_command("benchmark", "faults", "--parts", "learn,weather")
    assert wrong.returncode == 1 and "weather" in wrong.stderr and "parameters" in wrong.stderr
    nothing = run_command("benchmark", "faults", "--parts", "files", "--files", "0")
    assert nothing.returncode == 1 and "files: 0" in nothing.stderr


def trial(number: int) -> Trial:
    return Trial("initial", (0.1 * number,), (0.2,), (0.3, 0.4), True, 0.5, 0.75, seed=number)


def store(path: Path, count: int) -> list[Trial]:
    with TrialStore(path) as opened:
        opened.metadata.update(skill="none", features=["a", "b"], seed=1)
        for number in range(count):
            opened.commit(trial(number))
        return list(opened.trials)


def test_a_committed_line_that_is_gone_or_moved_is_lost_and_a_torn_one_is_not() -> None:
    assert sessions.lost(b"a\nb\nto", b"a\nb\nc\n") == []
    assert sessions.lost(b"a\nb\n", b"a\n")[0][0] == "lost"
    assert sessions.lost(b"a\nb\n", b"a\n\nb\n")[0][0] == "lost"


def test_a_trial_made_twice_and_another_choice_are_seen(tmp_path: Path) -> None:
    store(tmp_path / "trials.jsonl", 3)
    reference = sessions.trials(tmp_path / "trials.jsonl")
    assert sessions.compare(tmp_path / "trials.jsonl", reference) == []
    with TrialStore(tmp_path / "trials.jsonl") as opened:
        opened.commit(trial(1))
    found = dict(sessions.compare(tmp_path / "trials.jsonl", reference))
    assert set(found) == {"duplicated", "diverged"}
    reference[2] = {**reference[2], "predicted_mean": 0.6}
    found = dict(sessions.compare(tmp_path / "trials.jsonl", reference))
    assert "predicted_mean" in found["diverged"] and "trial 2" in found["diverged"]


def test_rounds_written_twice_or_missing_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    rows = [{"labels": n, "train_accuracy": 0.9, "epochs": 8} for n in (4, 5, 6)]

    def judged(now: list[dict[str, Any]]) -> set[str]:
        path.write_text("".join(json.dumps(row) + "\n" for row in now))
        return {kind for kind, _ in sessions.compare_rounds(path, rows)}

    assert judged(rows) == set()
    assert judged([*rows, rows[2]]) == {"duplicated"}
    assert judged([rows[0], rows[2]]) == {"lost"}
    assert judged([*rows[:2], {**rows[2], "train_accuracy": 0.5}]) == {"diverged"}


def test_a_store_that_erases_or_invents_is_seen(tmp_path: Path) -> None:
    trials = store(tmp_path / "trials.jsonl", 3)
    good = (tmp_path / "trials.jsonl").read_bytes()
    header = good.splitlines(keepends=True)[0]

    def kinds(content: bytes, after: bytes, loaded: list[Trial], aside: bytes = b"") -> set[str]:
        return {kind for kind, _ in stores.judge(content, after, aside, good, loaded, trials)}

    assert kinds(good, good, trials) == set()
    torn = good[:-20]
    assert kinds(torn, good[: good[:-1].rindex(b"\n") + 1], trials[:2]) == set()
    assert kinds(b"a letter", b"", []) == {"lost"}
    assert kinds(b"a letter", b"", [], aside=b"a letter") == set()
    assert kinds(good, header, []) == {"lost"}, "whole lines were removed"
    assert kinds(good, good, [trials[0], trials[0]]) == {"wrongly_accepted", "lost"}


def about(**fields: Any) -> Any:
    empty = {"name": "samples", "type": 2, "description": "", "floating_point_range": [], "integer_range": []}
    return SimpleNamespace(**{**empty, **fields})


@pytest.mark.parametrize(
    ("descriptor", "state", "old", "asked", "successful", "now", "kind"),
    [
        (about(), 1, 5, 6, True, 6, None),
        (about(), 3, 5, 6, True, 6, "wrongly_accepted"),  # configured, and not said to be live
        (about(description="Takes effect: at once."), 3, 5, 6, True, 6, None),
        (about(description="Takes effect: at once."), 3, 5, 6, True, 5, "wrongly_accepted"),  # without effect
        (about(), 1, 5, 6, False, 6, "diverged"),  # refused, and taken all the same
        (about(), 1, 5, 6, False, 5, None),
        (None, 1, None, 6, True, None, "wrongly_accepted"),
        (about(integer_range=[SimpleNamespace(from_value=1, to_value=5)]), 1, 5, 6, True, 6, "wrongly_accepted"),
        (about(name="enable_hardware", type=1), 1, False, True, True, True, "wrongly_accepted"),
        (about(name="port.path_tolerance", type=3), 1, 0.1, 9.0, True, 9.0, "wrongly_accepted"),
        (about(name="x", type=3), 1, 0.1, math.nan, True, math.nan, "wrongly_accepted"),
    ],
)
def test_a_parameter_that_is_taken_without_effect_or_never_should_be_is_seen(
    descriptor: Any, state: int, old: Any, asked: Any, successful: bool, now: Any, kind: str | None
) -> None:
    pytest.importorskip("rclpy")
    from memristor_bdnn.benchmark.faults import parameters

    code = {bool: 1, int: 2, float: 3}[type(asked)]
    result = SimpleNamespace(successful=successful, reason="" if successful else "because")
    verdict = parameters.judge(descriptor, state, old, parameters._message(code, asked), result, now)
    assert (verdict and verdict[0]) == kind


def test_the_same_seed_damages_the_same_bytes_and_damage_is_damage(tmp_path: Path) -> None:
    store(tmp_path / "trials.jsonl", 4)
    good = (tmp_path / "trials.jsonl").read_bytes()
    tally = Tally("files", 3)
    made = [mutate.lines(tally.rng(case), good) for case in range(60)]
    assert made == [mutate.lines(Tally("files", 3).rng(case), good) for case in range(60)]
    assert sum(content != good for content, _ in made) > 50
    assert len({what.split(":")[-1] for _, what in made}) > 8


def test_no_path_of_a_request_leaves_the_folder_of_the_campaign(tmp_path: Path) -> None:
    """Where a guard is missing, what is asked is done: it must not hit the machine."""
    pytest.importorskip("rclpy")
    from memristor_bdnn.benchmark.faults import requests

    folder = tmp_path / "services_0"
    known = requests.Known(None, folder / "work" / "results", folder / "outside", {}, {})
    seen = {requests._path(np.random.default_rng(k), known)[0] for k in range(2000)}
    assert len(seen) > 15
    for path in seen - {"/"}:  # no file can be written to the root's own name
        for base in (folder / "work", known.results):
            assert (base / path).resolve().is_relative_to(tmp_path), path


def test_one_finding_is_a_failure_and_names_its_seed_and_case() -> None:
    clean, dirty = Tally("learn", 0), Tally("graph", 7)
    clean.count("kills", 3)
    dirty.count("kills", 2)
    assert summary([clean])["ok"]
    dirty.found("lost", 12, "recorder killed", "0 bytes")
    figures = summary([clean, dirty])
    assert not figures["ok"] and figures["lost"] == 1 and figures["kills"] == 5
    assert figures["findings"] == [dataclasses.asdict(dirty.findings[0])]
    assert (figures["findings"][0]["seed"], figures["findings"][0]["case"]) == (7, 12)


def test_damaged_stores_are_judged_as_they_are_read(tmp_path: Path) -> None:
    """Every kind of damage through the real store, without a process between."""
    judge = stores.Stores(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in range(120):
            verdict = judge.judge(np.random.default_rng(case))
            assert not verdict.findings, (case, verdict.done, verdict.findings)
