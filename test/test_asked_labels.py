"""mSGLD on labels that were asked for: trained anew as they grow, and a boundary that candidates decide."""

import numpy as np
import pytest
from conftest import run_command
from test_learning_active import Toy, ToyTrials

from memristor_bdnn import accelerator, learners, skills
from memristor_bdnn.active import recipes
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.archives import read_file, unpack
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.msgld.boundary import boundary, nearest_share
from memristor_bdnn.skills.recipes import GENERAL

SMALL = {**GENERAL["general"]["msgld"].options, "n_inputs": 2, "chains": 2, "hidden": [8], "max_epochs": 4}


def rng(seed=0):
    return np.random.default_rng(seed)


def make(seed=1, **changes):
    return learners.create("msgld", accelerator.create("simulated", seed=seed), {**SMALL, **changes}, seed)


def above(x):
    """Soft labels of a world in which 30 % of all inputs succeed."""
    return 1 / (1 + np.exp(-8 * (x[:, 0] - 0.4)))


def test_the_nearest_label_votes_for_every_candidate():
    labelled, success = np.array([[0.0], [1.0], [1.1], [1.2]]), np.array([False, True, True, True])
    candidates = np.linspace(-1.0, 1.0, 5001)[:, None]
    assert nearest_share(candidates, labelled, success) == pytest.approx(0.25, abs=0.01)  # three labels of four succeed
    assert boundary(np.linspace(0.0, 1.0, 101), 0.25) == pytest.approx(0.75)
    assert 0.0 < boundary(np.ones(9), 0.5) < 1.0


def test_asked_labels_do_not_move_the_share_of_yes():
    x = rng().uniform(-1, 1, (400, 2))
    fair = x[:30]
    asked = x[30:][np.argsort(-above(x[30:]))[:30]]  # successes only
    labels = np.concatenate([fair, asked])
    said = {}
    for rows in (None, 300):
        learner = make(reference_rows=rows)
        learner.consider(x)
        learner.fit(fair, above(fair))
        learner.learn(labels, above(labels))
        said[rows] = float((learner.predict(x, 40).mean > 0.5).mean())
    truth = float((above(x) > 0.5).mean())
    assert abs(said[300] - truth) < 0.05, (said, truth)
    assert abs(said[None] - truth) > abs(said[300] - truth), (said, truth)


def test_candidates_are_kept_up_to_the_option_and_only_with_it():
    learner = make(reference_rows=10)
    for k in range(4):
        learner.consider(np.full((4, 2), k / 10))
    assert learner._reference[:, 0].tolist() == [0.1] * 2 + [0.2] * 4 + [0.3] * 4
    learner.consider(np.linspace(-1, 1, 2001)[:, None].repeat(2, axis=1))
    assert learner._reference[[0, -1], 0].tolist() == [-1.0, 1.0] and len(learner._reference) == 10
    with pytest.raises(ConfigError):
        learner.consider(np.zeros((3, 5)))
    plain = make()
    plain.consider(np.zeros((3, 2)))
    assert len(plain._reference) == 0


def test_it_is_deployed_anew_when_the_labels_have_grown():
    x = rng().uniform(-1, 1, (40, 2))
    learner, times = make(refit_growth=1.5), []
    write = learner.accelerator.write_verify

    def counted(states):
        times.append(labels)
        return write(states)

    learner.accelerator.write_verify = counted
    labels = 16
    learner.fit(x[:16], above(x[:16]))
    for labels in range(16, 41):
        learner.learn(x[:labels], above(x[:labels]))
    assert times == [16, 24, 36]
    never = make()
    never.fit(x[:4], above(x[:4]))
    never.accelerator.write_verify = None  # would raise if it were called
    never.learn(x, above(x))


def test_a_checkpoint_holds_both_and_goes_on_alike(tmp_path):
    x = rng().uniform(-1, 1, (40, 2))
    first = make(refit_growth=1.5, reference_rows=50)
    first.consider(rng(3).uniform(-1, 1, (200, 2)))
    first.fit(x[:16], above(x[:16]))
    first.learn(x[:20], above(x[:20]))
    path = tmp_path / "a.npz"
    first.save(path)
    second = make(seed=1, refit_growth=1.5, reference_rows=50)
    second.load(path)
    for learner in (first, second):
        learner.consider(x[:3])
        learner.learn(x[:24], above(x[:24]))  # deployed anew
    np.testing.assert_array_equal(first.predict(x).mean, second.predict(x).mean)
    plain = make()
    plain.fit(x[:16], above(x[:16]))
    plain.save(tmp_path / "b.npz")
    names = unpack(tmp_path / "b.npz", read_file(tmp_path / "b.npz"))
    assert not {"reference", "fitted"} & set(names)  # files of before and of now are alike
    with pytest.raises(ConfigError):
        make(refit_growth=1.5, reference_rows=20).load(path)


def test_the_loop_shows_some_candidates_of_every_query(tmp_path):
    class Noticing(ToyLearner):
        def consider(self, x):
            seen.append(len(x))

    seen = []
    config = LoopConfig(initial_trials=4, queries=3, candidates=100)
    with TrialStore(tmp_path / "t.jsonl") as store:
        ActiveLoop(Toy(), Noticing(), store, config, rng(1), trials=ToyTrials()).run()
    assert seen == [64, 64, 64]


class ToyLearner:
    """Just enough of a learner."""

    def __init__(self):
        from test_learning_active import Counting

        self._inner = Counting()

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_the_recipe_for_asked_labels_learns_more_of_rare_successes():
    """One run on the shipped pool with 5 % successes: the share of "yes" among test rows is of the right size."""
    skill = skills.load("pouring")
    pool = skill.pool()
    good, bad = np.flatnonzero(pool.score[:15_000] > 0), np.flatnonzero(pool.score[:15_000] <= 0)
    rows = rng(0).permutation(np.concatenate([bad, rng(1).choice(good, len(bad) // 19, replace=False)]))
    learner = recipes.make(skill, "msgld", accelerator.create("simulated", seed=0), "pouring_asked")
    learner.consider(pool.x[rows])
    learner.fit(pool.x[rows[:40]], (pool.score[rows[:40]] + 1) / 2)
    known = np.concatenate([rows[:40], rng(2).choice(np.intersect1d(rows[40:], good), 12, replace=False)])
    learner.learn(pool.x[known], (pool.score[known] + 1) / 2)
    share = float((learner.predict(pool.x[rows[200:3000]]).mean > 0.5).mean())
    assert share < 0.25  # 14 of the 52 labels are successes


def test_the_learner_behind_the_node_takes_notice_too(tmp_path):
    pytest.importorskip("rclpy")
    words = ["demo", "--out", str(tmp_path / "s"), "--recipe", "pouring_asked", "--initial", "4", "--queries", "2"]
    words += ["--evaluations", "0", "--candidates", "100", "--no-animation", "--learner-option", "ex_situ.epochs=20"]
    done = run_command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = unpack(tmp_path / "s" / "learner.npz", read_file(tmp_path / "s" / "learner.npz"))["reference"]
    assert kept.shape == (2 * 64, 11) and len(np.unique(kept, axis=0)) == 2 * 64  # 64 candidates of either query
