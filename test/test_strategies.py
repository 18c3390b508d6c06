"""Strategies that succeed while they learn, what learning costs, the sturdy choice, and their benchmark."""

import dataclasses
import json

import numpy as np
import pytest
from test_learning_active import CONFIG, Counting, Toy, ToyTrials, prediction, trial

from memristor_bdnn import acquisitions, cli, skills
from memristor_bdnn.acquisitions import surroundings
from memristor_bdnn.active import choice
from memristor_bdnn.active.evaluate import learned_policy
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.losses import Losses
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.benchmark import runs
from memristor_bdnn.errors import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


# -- strategies ------------------------------------------------------------------------------------


def test_closed_forms():
    p = prediction([[0.5, 0.9, 0.1, 0.0], [0.5, 0.9, 0.9, 1.0]])
    ucb, straddle = acquisitions.load("ucb")(p), acquisitions.load("straddle")(p)
    np.testing.assert_allclose(ucb, [0.0, 0.8, 0.8, 1.0])
    # undecided are the last two; the first two have no doubt
    np.testing.assert_allclose(acquisitions.load("turning")(p), 0.5 * straddle + 0.5 * ucb)


def test_turning_learns_while_all_is_open_and_succeeds_when_all_is_decided():
    turning, straddle, ucb = (acquisitions.load(n) for n in ("turning", "straddle", "ucb"))
    open_, decided = prediction([[0.2, 0.4], [0.8, 0.7]]), prediction([[0.80, 0.10], [0.82, 0.12]])
    np.testing.assert_allclose(turning(open_), straddle(open_))
    np.testing.assert_allclose(turning(decided), ucb(decided))


def test_thompson_asks_as_often_as_a_candidate_is_best_under_the_posterior():
    p = prediction([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.7, 0.2, 0.0], [0.1, 0.9, 0.3]])
    draws = rng()
    asked = [int(acquisitions.propose(acquisitions.load("thompson"), p, 1, draws)[0][0]) for _ in range(2000)]
    assert np.mean(np.array(asked) == 0) == pytest.approx(0.75, abs=0.03)
    assert 2 not in asked
    scores = acquisitions.load("thompson")(p, rng(1))
    assert scores.tolist() in p.samples.tolist()
    with pytest.raises(ConfigError, match="generator"):
        acquisitions.load("thompson")(p)


def test_a_batch_of_thompson_is_of_distinct_samples_and_distinct_candidates():
    best_of = np.eye(6)[[0, 0, 0, 3, 4]] + np.linspace(0.0, 0.1, 6)  # three samples like 0 best, then the last ones
    chosen, scores = acquisitions.propose(acquisitions.load("thompson"), prediction(best_of), 5, rng())
    assert len(set(chosen.tolist())) == 5 and scores.shape == (5,)
    assert {0, 3, 4} <= set(chosen.tolist())  # the favourite of every sample is among them
    many, _ = acquisitions.propose(acquisitions.load("thompson"), prediction(best_of), 99, rng())
    assert sorted(many.tolist()) == list(range(6))  # more places than samples, and than candidates


def test_a_batch_of_the_others_is_their_highest_scores():
    p = prediction(rng().random((7, 30)))
    for name in ("straddle", "ucb", "bald"):
        scores = acquisitions.load(name)(p)
        chosen, given = acquisitions.propose(acquisitions.load(name), p, 4)
        assert chosen.tolist() == np.argsort(-scores, kind="stable")[:4].tolist()
        np.testing.assert_array_equal(given, scores[chosen])


# -- what learning costs ---------------------------------------------------------------------------


def test_losses_count_labels_and_not_what_was_shown_or_not_done():
    trials = [
        trial(score=1.0, fraction=1.0),
        trial(score=0.0, fraction=0.5),
        trial(phase="query", score=-0.5, fraction=0.25),
        trial(phase="query", feasible=False, score=0.0, fraction=0.0),
        trial(phase="evaluation", score=-1.0, fraction=0.0),
    ]
    assert Losses.of(trials) == Losses(3, 2, 1.25)
    assert Losses.of(trials, ("query",)) == Losses(1, 1, 0.75)
    assert Losses.of([]).undone_share == 0.0 and Losses.of(trials).undone_share == pytest.approx(1.25 / 3)


@pytest.mark.parametrize("strategy", ["thompson", "turning", "ucb"])
def test_the_loop_asks_with_them_and_tells_what_it_lost(tmp_path, strategy):
    heard = []
    config = LoopConfig(**{**vars(CONFIG), "strategy": strategy, "final": "sturdy"})
    with TrialStore(tmp_path / "t.jsonl") as store:
        report = ActiveLoop(Toy(), Counting(), store, config, rng(1), trials=ToyTrials()).run(heard.append)
        asked = [t for t in store.trials if t.phase == "query"]
        assert {t.strategy for t in asked} == {strategy} and len(asked) == 4
        assert {t.strategy for t in store.trials if t.phase == "evaluation"} == {"sturdy"}
        assert report.query_losses == Losses.of(store.trials, ("query",))
        assert report.losses.failures == report.labels - report.successes == heard[-1].failures
        assert heard[-1].undone == pytest.approx(sum(1 - t.fraction for t in store.trials if t.phase != "evaluation"))
        assert [p.failures for p in heard] == sorted(p.failures for p in heard)
        again = tmp_path / "again.jsonl"
    with TrialStore(again) as other:
        ActiveLoop(Toy(), Counting(), other, config, rng(1), trials=ToyTrials()).run()
    assert again.read_bytes() == (tmp_path / "t.jsonl").read_bytes()


def test_sturdy_asks_what_is_unknown_near_what_went_well():
    sturdy = acquisitions.load("sturdy")
    p = prediction([[0.6, 0.6, 0.6, 0.6], [0.8, 0.8, 0.8, 1.0]])
    known, scores = (
        np.array([[0.0, 0.0], [0.1, 0.1], [-0.1, 0.1], [2.0, 2.0], [2.1, 2.0]]),
        np.array([1, 1, 1, -1, -1.0]),
    )
    tried = surroundings.Tried(np.array([[0.0, 0.0], [2.0, 2.0], [9.0, 9.0], [0.0, 0.0]]), known, scores)
    good, bad, far, open_ = acquisitions.score(sturdy, p, rng(), lambda: tried)
    assert open_ > good > far and good > bad
    expected = p.mean + p.std + 0.5 * tried.nearby() - 0.3 * tried.novelty()
    np.testing.assert_allclose(acquisitions.score(sturdy, p, None, lambda: tried), expected)
    chosen, _ = acquisitions.propose(sturdy, p, 2, rng(), lambda: tried)
    assert chosen.tolist() == [3, 0]
    with pytest.raises(ConfigError, match="labelled trials"):
        acquisitions.propose(sturdy, p, 2, rng())
    never = acquisitions.score(acquisitions.load("ucb"), p, rng(), lambda: 1 / 0)  # others are spared the distances
    assert never.shape == (4,)


def test_the_loop_shows_sturdy_what_was_tried(tmp_path, monkeypatch):
    seen, around = [], choice.around

    def spying(skill, asked, known):
        seen.append((len(asked), len(known[0])))
        return around(skill, asked, known)

    monkeypatch.setattr(choice, "around", spying)
    config = dataclasses.replace(CONFIG, strategy="sturdy")
    with TrialStore(tmp_path / "t.jsonl") as store:
        ActiveLoop(Toy(), Counting(), store, config, rng(1), trials=ToyTrials()).run()
        asked = [t for t in store.trials if t.phase == "query"]
    assert [m for _, m in seen] == [config.initial_trials + k for k in range(len(asked))]
    assert {n for n, _ in seen} == {config.candidates} and {t.strategy for t in asked} == {"sturdy"}


def test_a_batch_is_not_shown_labels_and_may_not_ask_for_them():
    with pytest.raises(ConfigError, match="needs_labels or batch"):
        acquisitions.acquisition(needs_samples=False, needs_labels=True, batch=lambda p, k, r: None)
    three = prediction(rng().dirichlet(np.ones(3), (5, 4)))
    with pytest.raises(ConfigError, match="two classes"):
        tried = surroundings.Tried(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(4))
        acquisitions.score(acquisitions.load("sturdy"), three, rng(), lambda: tried)


# -- the sturdy choice -----------------------------------------------------------------------------


def test_novelty_is_the_distance_to_the_nearest_trials_in_their_own_units():
    tried = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 20.0], [2.0, 20.0]])  # SD 1 and 10
    found = surroundings.novelty(np.array([[0.0, 0.0], [50.0, 0.0]]), tried)
    near = np.sort([0.0, np.sqrt(2.0), np.sqrt(2.0), 2.0])[:3].mean()
    assert found[0] == pytest.approx(near) and found[1] > 30
    assert surroundings.novelty(np.zeros((3, 2)), np.zeros((0, 2))).tolist() == [0.0, 0.0, 0.0]
    assert surroundings.novelty(np.zeros((0, 2)), tried).shape == (0,)
    one = surroundings.novelty(np.array([[1.0, 1.0]]), np.array([[1.0, 1.0]]))
    assert one[0] == pytest.approx(0.0, abs=1e-3)
    rows = rng().random((surroundings._BLOCK + 5, 2))
    single = np.array([surroundings.novelty(row[None], tried)[0] for row in rows[-7:]])
    np.testing.assert_allclose(surroundings.novelty(rows, tried)[-7:], single)


def test_what_was_tried_nearby_is_the_mean_score_of_alike_trials():
    tried, outcomes = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 20.0], [2.0, 20.0]]), np.array([1.0, -1.0, 0.5, -0.5])
    found = surroundings.nearby(np.array([[0.0, 0.0], [0.0, 20.0], [1.0, 10.0], [99.0, 0.0]]), tried, outcomes)
    weight = np.exp(-np.array([0.0, 2.0, 2.0, 4.0]) / (2 * surroundings.WIDTH**2))
    assert found[0] == pytest.approx(weight @ outcomes / (weight.sum() + surroundings.FAR))
    assert found[0] > found[1] > found[2] == pytest.approx(0.0, abs=1e-9) and found[3] == pytest.approx(0.0, abs=1e-9)
    assert surroundings.nearby(np.zeros((2, 2)), np.zeros((0, 2)), np.zeros(0)).tolist() == [0.0, 0.0]


class Sure:
    """Surest of what is farthest from everything."""

    def predict(self, x, samples=20):
        p = 0.85 + 0.14 * np.abs(x).max(axis=1)
        return prediction(np.stack([p, p]))


def test_the_sturdy_choice_stays_where_something_was_tried():
    skill = Toy()
    candidates = np.concatenate([np.full((1, 2), 1.0), rng().uniform(-0.2, 0.2, (30, 2))])
    tried = rng(1).uniform(-0.25, 0.25, (40, 3))
    context = np.zeros(1)
    pick = {
        name: learned_policy(skill, Sure(), final=name, tried=(tried, np.ones(40)))(context, candidates, rng())
        for name in choice.CHOICES
    }
    assert pick["confident"].tolist() == [1.0, 1.0]
    assert np.abs(pick["sturdy"]).max() < 0.3
    with pytest.raises(ConfigError, match="inputs and scores"):
        learned_policy(skill, Sure(), final="sturdy")
    with pytest.raises(ConfigError, match="confident, sturdy"):
        choice.scores("bold", skill, Sure().predict(tried), tried, (tried, np.ones(40)))


@pytest.mark.parametrize("name", skills.BUILT_IN)
def test_built_in_skills_say_what_goes_alike(name):
    skill = skills.load(name)
    x = rng().uniform(-1, 1, (5, len(skill.feature_names)))
    found = skill.likeness(x)
    assert found.ndim == 2 and len(found) == 5 and np.isfinite(found).all()


# -- the benchmark ---------------------------------------------------------------------------------


def test_the_benchmark_counts_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    out, picture = tmp_path / "s.json", tmp_path / "s.png"
    words = ["benchmark", "strategies", "--seeds", "2", "--strategy", "ucb", "--initial", "4", "--queries", "3"]
    words += ["--pairs", "2", "--candidates", "40", "--workers", "1", "--out", str(out), "--figure", str(picture)]
    assert cli.main(words) == 0
    first = json.loads(out.read_text())
    rows = first["results"]
    assert list(rows) == ["random", "ucb"] and picture.stat().st_size > 10_000
    for of in rows.values():
        assert 0 <= of["failures_median"] <= 3
        for key in ("poured_while_learning_median", "skill_fraction_median", "skill_fraction_min", "accuracy_median"):
            assert 0 <= of[key] <= 1, key
        assert {"skill_fraction_se", "auc_median", "confident_fraction_median"} <= set(of)
        assert len(of["failures_by_label_median"]) == 7 and len(of["runs"]) == 2
    assert "failures_against_random_se" in rows["ucb"] and "failures_against_random" not in rows["random"]
    files = sorted((tmp_path / "s.json.runs").iterdir())
    assert len(files) == 4
    before = {f: f.stat().st_mtime_ns for f in files[1:]}
    files[0].unlink()
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "found 3 of 4 runs" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in files[1:]} == before
    assert json.loads(out.read_text())["results"] == rows


@pytest.mark.parametrize(("skill", "shown", "hidden"), [("pushing", "0.125", "0.875"), ("pouring", "0.875", "0.125")])
def test_the_benchmark_shows_the_share_that_the_skill_counts_by(skill, shown, hidden, capsys):
    from memristor_bdnn.benchmark.strategies import report
    from memristor_bdnn.benchmark.strategies.run import Setting

    run = {"strategy": "random", "seed": 0, "scores": [1.0], "failures": 0, "done_share": 1.0}
    run |= {"skill_fraction": 0.875, "skill_success": 0.125, "confident_fraction": 0.875, "confident_success": 0.125}
    report.print_tables(report.summary([run], Setting(skill)))
    said = capsys.readouterr().out
    assert shown in said and hidden not in said


def test_runs_of_other_code_are_not_taken_for_these(tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(runs, "PACKAGE", tmp_path)
    before = runs.code_digest("room")
    (room / "a.py").write_text("x = 2\n")
    assert runs.code_digest("room") != before
    (room / "a.py").write_text("x = 1\n")
    assert runs.code_digest("room") == before == runs.code_digest("room/a.py")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--queries", "0"], "--queries 0"),
        (["--seeds", "0"], "--seeds 0"),
        (["--recipe", "pouring_prior"], "simulated trials first"),
    ],
)
def test_the_benchmark_refuses_by_name(words, text, capsys):
    assert cli.main(["benchmark", "strategies", *words]) == 1
    assert text in capsys.readouterr().err


def test_a_contender_without_samples_is_not_asked_for_one(tmp_path, capsys):
    words = ["--dataset", "shipped", "--learner", "gp", "--strategy", "thompson", "--seeds", "1"]
    assert cli.main(["benchmark", "dbal", *words]) == 1
    assert "posterior samples" in capsys.readouterr().err


def test_one_run_has_no_standard_error():
    from memristor_bdnn.benchmark.strategies.report import _gain, _standard_error

    assert _standard_error(np.array([0.5])) is None
    assert _standard_error(np.array([0.4, 0.6])) == pytest.approx(0.1)
    assert (_gain(0.5, None), _gain(0.5, 0.1), _gain(None, None)) == ("+0.5", "+0.5 +- 0.1", "")
