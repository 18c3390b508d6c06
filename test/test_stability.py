"""`benchmark stability`: what hours do to a learned skill, what the remedies do, and that looking changes nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memristor_bdnn import skills
from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
from memristor_bdnn.benchmark.dbal.data import split
from memristor_bdnn.benchmark.stability import figures, report
from memristor_bdnn.benchmark.stability.conditions import Condition, conditions
from memristor_bdnn.benchmark.stability.run import REMEDIES, Setting, Subject, execute
from memristor_bdnn.benchmark.stability.scenes import Scenes
from memristor_bdnn.cli import main
from memristor_bdnn.device.presets import load, override

BASE = load("tsinghua_taox_hfox")
SMALL = Setting(
    skill="pouring", preset=BASE.name, labels=64, hours=(0.0, 60.0), reads_per_hour=1200, epochs=16, rows=400, pairs=3,
    candidates=30, executed=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> Any:
    return split(skills.load("pouring").pool())


def subject(rows: Any, name: str = "msgld_reads", condition: Condition | None = None) -> Subject:
    preset = (condition or Condition("shift", 3.0)).preset(BASE)
    return Subject(skills.load("pouring"), name, SimulatedAccelerator(preset, 0), rows, SMALL, 0)


# -- conditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("noise", (0, 0, 0, 0)),
        ("shift", (0.072, 0, 0, 0)),
        ("spread", (0, 0.072, 0, 0)),
        ("drift", (0.072, 0.072, 0, 0)),
        ("disturb", (0, 0, 0.072, 0.072)),
    ],
)
def test_a_strength_is_per_cent_of_the_window_per_decade(kind: str, rates: tuple[float, ...]) -> None:
    kept = Condition(kind, 2.0).preset(BASE).retention
    found = (kept.rate_ua_per_decade, kept.rate_sd_ua_per_decade, kept.disturb_ua_per_decade,
             kept.disturb_sd_ua_per_decade)  # fmt: skip
    assert found == pytest.approx(rates)


def test_what_a_preset_says_itself_is_a_condition_of_its_own() -> None:
    assert [c.name for c in conditions(BASE, ["spread"], [5.0, 0.5])] == ["noise", "spread 0.5 %", "spread 5 %"]
    own = override(BASE, {"retention": {"rate_ua_per_decade": -0.03, "onset_s": 60.0}})
    found = conditions(own, ["shift"], [1.0])
    assert [c.name for c in found] == ["noise", "preset", "shift 1 %"]
    assert found[0].preset(own).retention.rate_ua_per_decade == 0 and found[1].preset(own) == own
    assert found[2].preset(own).retention.onset_s == 60.0


# -- remedies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["msgld", "eapu"])
def test_looking_with_any_remedy_leaves_chips_and_learner_as_they_were(rows: Any, name: str) -> None:
    made = subject(rows, name, Condition("drift", 3.0))
    made.chips.wait(1e5)
    chips, offset = made.chips.state_dict(), made.learner.network.offset
    said = made.learner._state()
    for remedy in REMEDIES:
        made.looked_at(remedy, executed=False)
        assert made.learner.network.offset == offset
        for key, value in made.chips.state_dict().items():
            assert np.array_equal(value, chips[key], equal_nan=value.dtype.kind == "f"), (remedy, key)
        for key, value in made.learner._state().items():
            assert np.array_equal(value, said[key]), (remedy, key)


def test_a_common_shift_is_undone_by_the_offset_and_by_learning_again(rows: Any) -> None:
    made = subject(rows)
    assert made.looked_at("nothing", False)["answers_kept"] > 0.97
    made.chips.wait(3600.0 * 60)
    found = {remedy: made.looked_at(remedy, False) for remedy in REMEDIES}
    decades = np.log10(1 + 3600.0 * 60)
    assert found["nothing"]["shift_ua"] == pytest.approx(-0.03 * 3.6 * decades, abs=0.06)
    kept = {remedy: of["answers_kept"] for remedy, of in found.items()}
    assert kept["nothing"] < 0.85 < min(kept["offset"], kept["both"])
    assert found["relearning"]["nll"] < found["nothing"]["nll"] - 0.03
    assert found["offset"]["nll"] < found["nothing"]["nll"] - 0.1


def test_an_offset_does_not_undo_a_spread(rows: Any) -> None:
    made = subject(rows, condition=Condition("spread", 3.0))
    made.chips.wait(3600.0 * 60)
    nothing, offset = (made.looked_at(remedy, False) for remedy in ("nothing", "offset"))
    assert nothing["answers_kept"] < 0.96
    assert offset["answers_kept"] == pytest.approx(nothing["answers_kept"], abs=0.04)


def test_only_learning_again_gives_pulses_and_its_cost_is_the_ledgers(rows: Any) -> None:
    made = subject(rows)
    found = {remedy: made.looked_at(remedy, False) for remedy in REMEDIES}
    assert found["nothing"]["pulses"] == found["offset"]["pulses"] == found["nothing"]["device_energy_j"] == 0
    assert found["offset"]["device_energy_j"] > 0, "the reads that find the offset are paid for"
    assert found["relearning"]["pulses"] > 100 and found["relearning"]["epochs"] == 16
    assert found["relearning"]["system_energy_j"] > found["relearning"]["device_energy_j"]


def test_runs_of_a_seed_repeat_start_alike_and_are_summed_up(tmp_path: Path, capsys: Any) -> None:
    setting = dataclasses.replace(SMALL, pairs=1, candidates=5, executed=True)
    kinds = [Condition("noise"), *(Condition(kind, 5.0) for kind in ("shift", "drift"))]
    plain, shifted, drifted = (execute(setting, "msgld_reads", condition, 3) for condition in kinds)
    assert plain == execute(setting, "msgld_reads", kinds[0], 3)
    assert shifted["points"][0]["nothing"] == drifted["points"][0]["nothing"]
    nlls = [point["nothing"]["nll"] for point in plain["points"]]
    assert 0 < abs(nlls[0] - nlls[1]) < 0.02, "noise alone is drawn anew at every hour"
    assert drifted["points"][1]["nothing"]["answers_kept"] < plain["points"][1]["nothing"]["answers_kept"]
    found = report.summary([plain, shifted, drifted], setting)
    of = found["results"]["msgld_reads"]["drift 5 %"]
    assert of["nothing"]["accuracy"]["median"] == [p["nothing"]["accuracy"] for p in drifted["points"]]
    assert of["both"]["fraction"]["median"] == [None, drifted["points"][1]["both"]["fraction"]]
    report.print_tables(found)
    assert "the choices do" in capsys.readouterr().out
    (path,) = figures.draw_all(found, tmp_path / "picture.png")
    assert Image.open(path).size[0] > 1000


def test_finished_runs_are_those_of_the_same_setting_and_device() -> None:
    name = SMALL.name("eapu", Condition("shift", 2.0), 0)
    assert name == SMALL.name("eapu", Condition("shift", 2.0), 0)
    others = [
        SMALL.name("eapu", Condition("shift", 5.0), 0),
        SMALL.name("eapu", Condition("shift", 2.0), 1),
        dataclasses.replace(SMALL, epochs=17).name("eapu", Condition("shift", 2.0), 0),
    ]
    assert len({name, *others}) == 4


# -- choices ---------------------------------------------------------------------------------------


class Says:
    """A learner that is sure of what a weight on the inputs says."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def predict(self, x: Any, samples: int = 20) -> Any:
        from memristor_bdnn.learners.protocol import Prediction

        mean = 1 / (1 + np.exp(-x @ self.weight))
        return Prediction(mean, np.full(len(x), 0.1), np.stack([mean, mean]))


def test_scenes_choose_the_surest_candidate_and_execute_a_choice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from memristor_bdnn.active.trials import LocalTrials

    scenes = Scenes(skills.load("pouring"), pairs=3, candidates=40, seed=123)
    weight = np.linspace(-1, 1, 11)
    chosen = scenes.choose(Says(weight))
    values = (scenes._x @ weight).reshape(3, 40)
    assert (chosen == values.argmax(axis=1)).all() and (scenes.choose(Says(-weight)) == values.argmin(axis=1)).all()
    ran, real = [], LocalTrials.run
    monkeypatch.setattr(LocalTrials, "run", lambda self, *given: ran.append(given) or real(self, *given))
    first = scenes.done(chosen)
    assert 0 <= first <= 1 and len(ran) == 3
    again = Scenes(skills.load("pouring"), pairs=3, candidates=40, seed=123)
    assert again.done(chosen) == first and len(ran) == 3


# -- the command -----------------------------------------------------------------------------------


def test_the_command_records_draws_and_goes_on_from_finished_runs(tmp_path: Path, capsys: Any) -> None:
    out, figure = tmp_path / "stability.json", tmp_path / "stability.png"
    words = ["benchmark", "stability", "--quick", "--seeds", "1", "--kind", "shift", "--workers", "1", "--epochs", "8",
             "--rows", "100", "--pairs", "2"]  # fmt: skip
    assert main([*words, "--out", str(out), "--figure", str(figure)]) == 0
    made = json.loads(out.read_text())
    shifted = made["results"]["msgld_reads"]["shift 2 %"]
    assert made["hours"] == [0.0, 60.0] and set(shifted) == set(REMEDIES)
    assert len(shifted["nothing"]["accuracy"]["median"]) == 2
    assert shifted["nothing"]["shift_ua"]["median"][1] < -0.2
    assert Image.open(figure).size[0] > 1000
    assert "re-learning costs" in capsys.readouterr().out
    assert main([*words, "--out", str(out)]) == 0
    assert "found 2 of 2 runs" in capsys.readouterr().out
    assert json.loads(out.read_text())["results"] == made["results"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--percent", "0"], "--percent 0"),
        (["--hours", "-1"], "--hours -1"),
        (["--seeds", "0"], "--seeds 0"),
        (["--reads-per-hour", "-5"], "--reads-per-hour -5"),
        (["--preset", "nothing"], "unknown device preset"),
        (["--figure", "stability.docx"], "--figure stability.docx"),
    ],
)
def test_wrong_usage_ends_with_a_plain_error(capsys: Any, words: list[str], complaint: str) -> None:
    assert main(["benchmark", "stability", *words]) == 1
    assert complaint in capsys.readouterr().err
