"""The mSGLD learner: marks, pulses, learning on a simple task, checkpoints, errors."""

import dataclasses

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.acquisitions.scores import straddle
from memristor_bdnn.active import recipes
from memristor_bdnn.errors import CapacityError, ConfigError
from memristor_bdnn.learners.msgld.update import GradientScale, choose_pulses, mark
from memristor_bdnn.learners.protocol import Learner, Prediction
from memristor_bdnn.skills.pouring.skill import PouringSkill

SMALL = {
    "n_inputs": 3,
    "hidden": [12],
    "scale_ua": 2.0,
    "kl_layers": "none",
    "ex_situ": {"epochs": 60, "learning_rate": 0.05},
}


def task(n=80, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 3))
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).astype(float)


def make(seed=0, **changes):
    return learners.create("msgld", accelerator.create("simulated", seed=seed), {**SMALL, **changes}, seed)


def test_marks_need_the_asked_share_of_votes():
    scaled = np.array([[5.0, 4, 1, 0], [5, 1, 4, 0], [5, 4, 1, 0], [5, 4, 1, 0], [5, 1, 4, 0]])
    assert mark(scaled, 0.5, 0.5).tolist() == [True, True, False, False]
    assert mark(scaled, 0.5, 1.0).tolist() == [True, False, False, False]
    assert not mark(scaled, 0.0, 0.5).any()


def test_a_marked_weight_gets_one_pulse_on_one_of_its_devices_against_the_gradient():
    direction = np.array([1.0, -1, 1, -1])
    marked = np.array([True, True, False, True])
    rng = np.random.default_rng(0)
    hit = np.zeros(12)
    for _ in range(300):
        (pulse,) = choose_pulses(direction, marked, np.ones(4), 3, 5, rng)
        by_weight = pulse.reshape(4, 3)
        assert np.abs(by_weight).sum(axis=1).tolist() == [1, 1, 0, 1]
        assert by_weight.sum(axis=1).tolist() == [1, -1, 0, -1]
        hit += np.abs(pulse)
    assert hit[:6].min() > 60 and hit[6:9].max() == 0  # every device of a marked weight has its turn


def test_fractions_of_pulses_are_right_on_average():
    rng = np.random.default_rng(0)
    given = [
        sum(np.abs(p).sum() for p in choose_pulses(np.ones(50), np.ones(50, bool), np.full(50, 1.3), 1, 5, rng))
        for _ in range(40)
    ]
    assert np.mean(given) / 50 == pytest.approx(1.3, abs=0.05)


def test_gradient_scale_divides_by_the_spread_about_the_mean():
    scale = GradientScale(1, 0.9)
    rng = np.random.default_rng(0)
    for _ in range(400):
        out = scale.apply((3.0 + 2.0 * rng.standard_normal((50, 1))).astype(np.float32))
    assert out.std() == pytest.approx(1.0, rel=0.25)


def test_it_satisfies_the_protocol_and_learns():
    learner = make(max_epochs=20)
    assert isinstance(learner, Learner)
    x, y = task()
    fitted = learner.fit(x, y)
    assert fitted.pulses > 0 and len(fitted.history) == 60
    report = learner.learn(x, y)
    test_x, test_y = task(400, 9)
    prediction = learner.predict(test_x, 10)
    assert isinstance(prediction, Prediction) and prediction.samples.shape == (10, 400)
    assert np.allclose(prediction.samples.mean(axis=0), prediction.mean, atol=1e-6)
    assert ((prediction.mean > 0.5) == test_y).mean() > 0.85
    assert report.pulses > 0 and len(report.history) == report.epochs


def test_in_situ_learning_alone_improves_random_devices():
    x, y = task(120)
    learner = make(max_epochs=60, stop_accuracy=1.1)
    learner.fit(x[:2], y[:2])
    before = ((learner.predict(x).mean > 0.5) == y).mean()
    learner.learn(x, y)
    after = ((learner.predict(x).mean > 0.5) == y).mean()
    assert after >= 0.85 and after > before


def test_learning_stops_when_accurate_enough_and_when_cancelled():
    x, y = task()
    learner = make(stop_accuracy=0.5, stop_patience=2)
    learner.fit(x, y)
    assert learner.learn(x, y).epochs == 2
    learner = make(stop_accuracy=1.1)
    seen = []
    assert learner.learn(x, y, seen.append, lambda: len(seen) >= 3).epochs == 3


def test_memory_widens_the_samples_and_is_bounded():
    x, y = task()
    learner = make(stop_accuracy=1.1, max_epochs=15, memory_samples=12)
    learner.fit(x, y)
    assert learner.predict(x, 5).samples.shape[0] == 5
    learner.learn(x, y)
    prediction = learner.predict(x, 5)
    assert prediction.samples.shape[0] == 17
    assert prediction.std.mean() > prediction.samples[:5].std(axis=0).mean()


def test_repeated_questions_about_the_same_candidates_are_answered_as_fresh_ones(tmp_path):
    x, y = task()
    learner = make(stop_accuracy=1.1, max_epochs=5, memory_samples=12)
    learner.fit(x, y)
    learner.learn(x, y)
    learner.predict(x, 3)
    learner.learn(x, y)
    learner.save(tmp_path / "a.npz")
    other = make(stop_accuracy=1.1, max_epochs=5, memory_samples=12)
    other.load(tmp_path / "a.npz")
    assert np.allclose(learner.predict(x, 3).samples, other.predict(x, 3).samples, atol=1e-6)


def test_remembered_samples_of_several_chains_are_all_answered_with():
    """Every kept sample speaks once for each chain, whether its predictions are kept from last time or made anew."""
    x, y = task()
    learner = make(stop_accuracy=1.1, max_epochs=3, memory_samples=8, chains=2)
    learner.fit(x, y)
    for _ in range(4):
        learner.learn(x, y)
        p = learner.predict(x, 2)
        assert len(p.samples) == 2 * (2 + len(learner.memory))
        learner._forget()
        fresh = learner.predict(x, 2)
        np.testing.assert_allclose(p.samples[4:], fresh.samples[4:], rtol=1e-5, atol=1e-6)


def test_a_shortlist_has_the_best_candidates_of_the_whole_prediction():
    x, y = task()
    learner = make(stop_accuracy=1.1, max_epochs=6, memory_samples=8, chains=4)
    learner.fit(x, y)
    learner.learn(x, y)
    many = np.random.default_rng(8).uniform(-1, 1, (70_000, 3))  # more than are looked at at a time
    asked: list[int] = []

    def value(prediction, rows):
        asked.append(len(rows))
        assert len(prediction.mean) == len(rows)
        return np.where(rows % 7 == 0, -np.inf, straddle(prediction))

    chips = learner.accelerator._rng.bit_generator
    before = chips.state
    rows, prediction = learner.shortlist(many, 10, value)
    after, chips.state = chips.state, before
    whole = learner.predict(many, 10)
    assert chips.state == after, "the same samples are drawn as for the whole prediction"
    assert asked == [32768, 32768, 4464, 512] and len(rows) == 32 and (np.diff(rows) > 0).all()
    np.testing.assert_allclose(prediction.samples, whole.samples[:, rows], rtol=1e-4, atol=1e-6)
    scores = np.where(np.arange(len(many)) % 7 == 0, -np.inf, straddle(whole))
    assert rows[np.argmax(value(prediction, rows))] == np.argmax(scores)
    few, of_all = learner.shortlist(many[:40], 10, value)
    assert few.tolist() == list(range(40)) and of_all.samples.shape[1] == 40
    with pytest.raises(ConfigError, match="samples = 0"):
        learner.shortlist(many, 0, value)


def test_mean_and_spread_are_those_of_all_samples():
    samples = np.random.default_rng(2).random((30, 9000)).astype(np.float32)
    p = Prediction.of(samples)
    assert np.array_equal(p.mean, samples.mean(axis=0)) and np.array_equal(p.std, samples.std(axis=0))
    classes = Prediction.of(samples.reshape(30, 3000, 3))
    assert classes.mean.shape == (3000, 3) and np.array_equal(classes.std.ravel(), samples.std(axis=0))


def test_save_and_load_go_on_bit_exactly(tmp_path):
    x, y = task()
    options = {
        "max_epochs": 6,
        "stop_accuracy": 1.1,
        "memory_samples": 4,
        "replay_rows": 5,
        "kl_layers": "all",
        "prior_mean": "deployed",
        "beta": 0.1,
        "label_noise": 0.3,
    }
    first = make(**options)
    first.fit(x, y)
    first.learn(x[:40], 0.2 + 0.5 * y[:40])
    digest = first.save(tmp_path / "a.npz")
    second = make(seed=5, **options)
    assert second.load(tmp_path / "a.npz") == digest
    for learner in (first, second):
        learner.learn(x, y)
    assert np.array_equal(first.predict(x, 4).samples, second.predict(x, 4).samples)


def test_a_prior_about_the_deployed_weights_keeps_them_from_straying():
    x, y = task()
    distances = []
    for beta in (0.0, 10.0):
        learner = make(max_epochs=40, stop_accuracy=1.1, kl_layers="all", prior_mean="deployed", beta=0.0)
        learner.fit(x, y)
        learner.trainer.config = dataclasses.replace(learner.config, beta=beta)
        deployed = learner.trainer.anchor
        learner.learn(x, 1.0 - y)  # everything it knew is wrong now
        reads = learner.network.flat_weights(learner.accelerator.read(16))
        distances.append(float(np.abs(reads.mean(axis=0) - deployed).mean()))
    assert distances[1] < 0.7 * distances[0]


def test_a_checkpoint_of_other_options_is_refused(tmp_path):
    learner = make()
    x, y = task()
    learner.fit(x, y)
    learner.save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="reads"):
        make(reads=20).load(tmp_path / "a.npz")


def test_deployment_share_moves_predictions_but_not_their_order():
    x, y = task()
    plain, shifted = make(), make(deployment_share=0.2)
    for learner in (plain, shifted):
        learner.fit(x, y)
    a, b = plain.predict(x, 4).samples, shifted.predict(x, 4).samples
    assert (b < a).all() and np.array_equal(np.argsort(a, axis=1), np.argsort(b, axis=1))


def test_targets_are_the_chance_that_a_repeat_succeeds():
    y = np.array([0.0, 0.4, 0.5, 0.6, 1.0])
    assert make()._targets(y).tolist() == [0, 0, 0, 1, 1]
    soft = make(label_noise=0.35)._targets(y)
    assert soft[2] == 0.5 and np.allclose(soft + soft[::-1], 1.0) and (np.diff(soft) > 0).all()
    assert soft[3] == pytest.approx(1 / (1 + np.exp(-0.2 / 0.35)))


def test_predictions_from_noisy_labels_keep_the_share_of_successes():
    x, y = task(200)
    near = np.where(y > 0.5, 1.0, 0.45)  # failures are near misses, so soft targets say yes too often
    learner = make(label_noise=0.35, max_epochs=20, stop_accuracy=1.1)
    learner.fit(x, near)
    learner.learn(x, near)
    assert learner._targets(near).mean() > y.mean() + 0.1
    assert learner.predict(x, 10).mean.mean() == pytest.approx(y.mean(), abs=0.07)
    assert ((learner.predict(x, 10).mean > 0.5) == y).mean() > 0.85


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (np.zeros((4, 2)), np.zeros(4), r"expected \(n, 3\)"),
        (np.full((4, 3), np.nan), np.zeros(4), r"x\[0, 0\]"),
        (np.zeros((4, 3)), np.array([0, 1, 1.5, 0]), r"y\[2\] = 1.5"),
        (np.zeros((4, 3)), np.zeros(3), "one label per row"),
        (np.zeros((0, 3)), np.zeros(0), "at least 1"),
    ],
)
def test_bad_data_is_named(x, y, text):
    with pytest.raises(ConfigError, match=text):
        make().learn(x, y)


def test_predicting_without_data_says_what_to_do():
    with pytest.raises(ConfigError, match="call fit or learn"):
        make().predict(np.zeros((1, 3)))


def test_a_network_that_does_not_fit_says_how_many_cells_are_missing():
    with pytest.raises(CapacityError):
        make(hidden=[500, 500])


def test_registry_lists_and_refuses():
    assert "msgld" in learners.available()
    with pytest.raises(ConfigError, match="choose one of"):
        learners.create("nothing", accelerator.create("simulated"))
    with pytest.raises(ConfigError, match="reads"):
        learners.create("msgld", accelerator.create("simulated"), {"raeds": 3})
    with pytest.raises(ConfigError, match="multiple"):
        make(reads=7)


@pytest.mark.parametrize("name", PouringSkill.recipes)
def test_recipes_are_valid(name):
    learner = recipes.make(PouringSkill(), "msgld", accelerator.create("simulated"), name)
    assert dataclasses.is_dataclass(learner.config) and learner.n_inputs == 11
