"""The skill metric and the figures, with learners and skills whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn import cli
from memristor_bdnn.active import evaluate as ev
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.report.skill_figures import skill_bars
from memristor_bdnn.skills.pouring import figures
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, score_of
from memristor_bdnn.skills.pouring.pool import ROW, Pool
from memristor_bdnn.skills.pouring.render import Stage
from memristor_bdnn.skills.pouring.setup import draw
from memristor_bdnn.skills.pouring.skill import DESIGNED, PouringSkill
from memristor_bdnn.skills.pouring.vessels import context_of
from memristor_bdnn.skills.protocol import TrialOutcome


class KnowingLearner:
    """Believes in steep pours and remembers what it was taught."""

    def __init__(self) -> None:
        self.fitted, self.taught = 0, []

    def fit(self, x: Any, y: Any) -> None:
        self.fitted = len(x)

    def learn(self, x: Any, y: Any) -> None:
        self.taught.append(np.array(x))

    def predict(self, x: Any, samples: int = 20) -> Prediction:
        mean = (1 - x[:, 4]) / 2
        return Prediction(mean, np.full(len(x), 0.1), np.tile(mean, (2, 1)))


SKILL = PouringSkill()


class SteepTrials:
    """Pours the better, the further the cup is tilted; every fifth seed cannot be planned."""

    arm = ""

    def sample_context(self, rng: np.random.Generator) -> Any:
        return SKILL.sample_context(rng)

    def run(self, context: Any, parameters: Any, seed: int) -> TrialOutcome:
        fraction = float((-np.pi / 2 - parameters[4]) / (np.pi / 2))
        return TrialOutcome(seed % 5 > 0, score_of(fraction), fraction, {})


def test_the_learned_policy_executes_the_surest_candidate() -> None:
    policies = {"learned": ev.learned_policy(SKILL, KnowingLearner()), "random": ev.random_policy}
    scores = ev.evaluate(SKILL, SteepTrials(), policies, pairs=8, candidates=60, seed=1)
    assert scores["learned"].fraction > 0.95 > scores["random"].fraction
    assert scores["learned"].success > scores["random"].success
    assert scores["learned"].infeasible == scores["random"].infeasible
    assert len(scores["learned"].fractions) + scores["learned"].infeasible == 8
    again = ev.evaluate(SKILL, SteepTrials(), policies, pairs=8, candidates=60, seed=1)
    assert np.array_equal(again["random"].fractions, scores["random"].fractions)


def test_active_learning_from_a_pool_asks_near_the_boundary() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 11))
    pool = Pool(x, np.where(x[:, 4] < 0, 1.0, -1.0), np.zeros(0, ROW))
    learner = KnowingLearner()
    asked = ev.learn_from_pool(SKILL, learner, pool, labels=30, initial=10, rng=rng, per_round=4)
    assert len(asked) == len(set(asked)) == 30 and learner.fitted == 10
    assert [len(t) for t in learner.taught] == [10, 14, 18, 22, 26, 30]
    assert np.abs(x[asked[10:], 4]).max() < 0.15
    with pytest.raises(ConfigError, match="a pool of 400 rows allows"):
        ev.learn_from_pool(SKILL, learner, pool, labels=500)


def test_the_designed_pour_keeps_its_shape_and_rises_where_needed() -> None:
    rng = np.random.default_rng(0)
    chosen = ev.designed_policy(SKILL)(SKILL.sample_context(rng), np.empty((0, 5)), rng)
    assert chosen[[0, 2, 3, 4]] == pytest.approx(np.array(DESIGNED)[[0, 2, 3, 4]])
    assert DESIGNED[1] <= chosen[1] <= 0.15


def test_figures_and_films_are_written(tmp_path: Path) -> None:
    from PIL import Image

    pair = context_of("blue", "red")
    rows = PouringSkill().sample_candidates(pair.array(), 20, np.random.default_rng(0))
    SKILL.confident_picture(pair.array(), rows, np.linspace(1, 3, 20), tmp_path / "poses.png")
    scores = {
        "learned": ev.SkillScore(np.array([0.9, 1.0]), np.array([0.0, 1.0])),
        "random": ev.SkillScore(np.array([0.2, 0.8]), np.array([-0.8, -0.1]), 1),
    }
    assert scores["learned"].success == 0.5 and scores["random"].success == 0.0
    skill_bars(scores, 128, tmp_path / "skill.png", SKILL.fraction_label)
    for name in ("poses.png", "skill.png"):
        picture = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert min(picture.shape[:2]) > 300 and picture.std() > 15
    frames = [np.full((48, 64, 3), 40 * k, np.uint8) for k in range(6)]
    strip = figures.filmstrip(frames[:4], tmp_path / "strip.png", gap=2)
    assert strip.shape == (48, 4 * 64 + 3 * 2, 3)
    figures.animation(frames, tmp_path / "film.gif")
    figures.animation(frames, tmp_path / "film.mp4")
    assert Image.open(tmp_path / "film.gif").n_frames == 6
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    with pytest.raises(ConfigError, match=r"must end in \.gif or \.mp4"):
        figures.animation(frames, tmp_path / "film.avi")
    with pytest.raises(ConfigError, match=r"the folder .* does not exist"):
        figures.save_image(frames[0], tmp_path / "nowhere" / "x.png")
    with pytest.raises(ConfigError, match="at least one picture"):
        figures.animation([], tmp_path / "film.gif")


def test_a_window_without_a_display_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="gui needs a display"):
        Stage(draw(0), gui=True)


def test_evaluate_skill_from_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from memristor_bdnn.active.store import Trial, TrialStore

    skill, rng = PouringSkill(), np.random.default_rng(3)
    path, out = tmp_path / "trials.jsonl", tmp_path / "skill.json"
    with TrialStore(path) as store:
        for seed in range(16):
            context = skill.sample_context(rng)
            parameters = skill.sample_candidates(context, 1, rng)[0]
            PourContext.from_array(context), PourParameters.from_array(parameters)
            score = float(np.sign(-parameters[4] - 2.2) * 0.9)
            store.commit(
                Trial(
                    "initial",
                    tuple(context),
                    tuple(parameters),
                    tuple(skill.encode(context, parameters)[0]),
                    True,
                    score,
                    0.5,
                    seed,
                )
            )
    code = cli.main(["evaluate-skill", "--store", str(path), "--pairs", "2", "--candidates", "20", "--out", str(out)])
    written = json.loads(out.read_text())
    assert code == 0 and written["labels"] == 16 and written["pairs"] == 2
    for name in ("learned", "designed", "random"):
        assert 0 <= written[f"{name}_fraction"] <= 1
    assert cli.main(["evaluate-skill", "--store", str(tmp_path / "absent")]) == 1
    assert "no such file; make one with memristor-bdnn learn" in capsys.readouterr().err
