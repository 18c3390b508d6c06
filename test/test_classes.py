"""Networks of any width, depth and number of classes; what data is taken, what is refused, and that it is said."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas
import pytest

from memristor_bdnn import accelerator, acquisitions, learners, presets
from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import TrialStore
from memristor_bdnn.errors import ConfigError, DeviceWarning
from memristor_bdnn.learners.checks import check_inputs, check_labels
from memristor_bdnn.learners.mcmc.diagnostics import effective_samples
from memristor_bdnn.learners.mcmc.models import Logistic, Network, log_likelihood
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.network.bayesian import BayesianNetwork, layer_shapes
from memristor_bdnn.network.scaling import InputScaler
from memristor_bdnn.skills import load as load_skill

BUILT_IN = ("msgld", "eapu", "mcmc")
SMALL = {
    "msgld": {"hidden": (12, 8, 6), "beta": 0.1, "prior_sd": 1.0},
    "eapu": {"hidden": (12,), "networks": 2},
    "mcmc": {"expansion": "linear", "rows": 48, "spare_rows": 4, "burn_in": 60},
}
LARGE = presets.override(presets.load("tsinghua_taox_hfox"), {"chips": 12})


def made(name, seed=0, **options):
    chips = accelerator.create("simulated", preset=LARGE, seed=seed)
    return learners.create(name, chips, {**SMALL[name], **options}, seed)


def corners(n=240, classes=5, inputs=5, seed=0, spread=0.25):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    return np.eye(classes, inputs)[label] + spread * rng.standard_normal((n, inputs)), label


@pytest.mark.parametrize("name", BUILT_IN)
def test_five_classes_are_told_apart_by_networks_of_any_depth(name):
    learner = made(name, n_inputs=5, n_classes=5)
    x, label = corners()
    unseen, truth = corners(500, seed=1)
    learner.fit(x, label)
    report = learner.learn(x, label)
    assert report.accuracy > 0.85
    assert (learner.predict(unseen).label == truth).mean() > 0.85


@pytest.mark.parametrize("hidden", [(4,), (7, 5), (6, 5, 4)])
def test_rows_hold_networks_of_any_depth(hidden):
    for classes in (2, 3):
        model, rng = Network(hidden, 0.1, classes), np.random.default_rng(0)
        assert model.parameters(6) == sum(
            a * b for a, b in zip((6, *hidden), (*hidden, 1 if classes == 2 else classes), strict=True)
        )
        g, x = rng.normal(0, 30, (4, model.parameters(6))), rng.normal(size=(9, 6))
        values, start = x, 0
        for layer, units in enumerate((*hidden, 1 if classes == 2 else classes)):
            size = values.shape[1] * units
            values = values @ (0.1 * g[2, start : start + size]).reshape(-1, units)
            values = values if layer == len(hidden) else 1 / (1 + np.exp(-values))
            start += size
        expected = values[:, 0] if classes == 2 else values
        np.testing.assert_allclose(model.logits(x, g)[2], expected, rtol=1e-4, atol=1e-5)


def test_the_softmax_of_a_row_is_the_logistic_function_for_two_classes():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(20, 3)), rng.normal(size=3)
    bits = (rng.random(20) > 0.5).astype(float)
    two = np.stack([np.zeros(3), w], axis=1).reshape(1, -1)
    z, both = Logistic(1.0).logits(x, w[None])[0], Logistic(1.0, 3).logits(x, np.zeros((1, 9)))[0]
    assert both.shape == (20, 3)
    each = np.matmul(x, two.reshape(3, 2))
    assert log_likelihood(each, np.stack([1 - bits, bits], axis=1)) == pytest.approx(log_likelihood(z, bits))


def test_a_networks_class_probabilities_and_gradient_agree_with_finite_differences():
    network = BayesianNetwork(layer_shapes(3, (6, 5), 4, 1), 0.0, 1.0)
    rng = np.random.default_rng(0)
    flat = rng.normal(0, 1, (2, network.n_weights)).astype(np.float32)
    x, target = rng.normal(size=(7, 3)), rng.dirichlet(np.ones(4), 7)
    p = network.forward_flat(x, flat)
    assert p.shape == (2, 7, 4)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, atol=1e-5)
    gradient = network.gradient(x, target, flat, groups=2).gradient
    for weight in rng.choice(network.n_weights, 12, replace=False):
        cost = []
        for step in (1e-2, -1e-2):
            moved = flat[:1].astype(np.float64)
            moved[0, weight] += step
            cost.append(-(target * np.log(network.forward_flat(x, moved.astype(np.float32))[0])).sum())
        assert gradient[0, weight] == pytest.approx((cost[0] - cost[1]) / 2e-2, abs=2e-2)


@pytest.mark.parametrize("name", BUILT_IN)
def test_soft_class_probabilities_are_learned_as_given(name):
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    found = []
    for seed in range(3):
        learner = made(name, seed, n_inputs=2, n_classes=3, **({"beta": 0.0} if name == "msgld" else {}))
        learner.fit(x, np.tile([0.6, 0.3, 0.1], (300, 1)))
        found.append(learner.predict(x, 40).classes.mean(axis=0))
    assert np.abs(np.mean(found, axis=0) - [0.6, 0.3, 0.1]).max() < 0.15, found


def test_options_of_two_classes_are_refused_with_more():
    for name, option in (("msgld", "label_noise"), ("msgld", "deployment_share"), ("eapu", "softness")):
        with pytest.raises(ConfigError, match=rf"{option} = 0\.5.*n_classes = 3"):
            made(name, n_classes=3, **{option: 0.5})
    assert made("mcmc", n_classes=2, softness=0.5).config.softness == 0.5


def test_a_hidden_layer_of_rows_may_be_a_number_as_it_was():
    assert made("mcmc", model="network", hidden=7).config.hidden == (7,)
    with pytest.raises(ConfigError, match="hidden"):
        made("mcmc", hidden=())


# -- predictions and acquisitions


def prediction(samples):
    return Prediction(samples.mean(axis=0), samples.std(axis=0), samples)


def test_acquisitions_of_class_probabilities_are_those_of_two_classes():
    p = np.random.default_rng(0).random((12, 40)) * 0.98 + 0.01
    one, both = prediction(p), prediction(np.stack([1 - p, p], axis=-1))
    np.testing.assert_allclose(one.classes, both.mean)
    np.testing.assert_allclose(one.class_std, both.class_std)
    np.testing.assert_array_equal(one.label, both.label)
    padded = np.concatenate([both.samples, np.zeros((12, 40, 1))], axis=-1)
    three = prediction(padded)  # a third class that never comes
    for name in ("entropy", "bald", "variance", "margin"):
        score = acquisitions.load(name)
        np.testing.assert_allclose(score(three), score(one), atol=1e-6)
    assert acquisitions.load("random")(three, np.random.default_rng(0)).shape == (40,)


def test_acquisitions_ask_where_classes_are_undecided():
    sure, torn = np.array([0.98, 0.01, 0.01]), np.array([0.34, 0.33, 0.33])
    split = np.stack([np.eye(3)[i % 3] * 0.97 + 0.01 for i in range(12)])
    samples = np.stack([np.tile(sure, (12, 1)), np.tile(torn, (12, 1)), split], axis=1)
    scores = {name: acquisitions.load(name)(prediction(samples)) for name in ("entropy", "bald", "variance", "margin")}
    assert all(scores[name].argmin() == 0 for name in ("entropy", "margin"))
    assert scores["bald"].argmax() == scores["variance"].argmax() == 2  # disagreement, not noise
    assert scores["bald"][1] == pytest.approx(0.0, abs=1e-6)


def test_straddle_and_confident_are_for_two_classes():
    three = prediction(np.random.default_rng(0).dirichlet(np.ones(3), (5, 4)))
    for score in (acquisitions.load("straddle"), confident):
        with pytest.raises(ConfigError, match="two classes, the prediction has 3"):
            score(three)


# -- data


@pytest.mark.parametrize("name", BUILT_IN)
def test_features_of_any_size_are_learned(name):
    x, label = corners(160, 2, 3)
    accuracies = []
    for size in (1.0, 1e-10, 1e12):
        learner = made(name, n_inputs=3)
        learner.fit(x * size, label)
        accuracies.append((learner.predict(x * size).label == label).mean())
    assert min(accuracies) > 0.85, accuracies


def test_a_constant_feature_is_constant_at_any_size():
    for value in (0.1, 1e-12, 12345.678, 0.0, 1e9):
        scaler = InputScaler.fit(np.column_stack([np.full(1000, value), np.linspace(-1e-10, 1e-10, 1000)]))
        assert scaler.sd[0] == 1.0
        assert scaler.sd[1] < 1e-9


def test_checkpoints_of_tiny_and_huge_features_load(tmp_path):
    x, label = corners(80, 2, 3)
    for size in (1e-20, 1e20):
        learner = made("eapu", n_inputs=3)
        learner.fit(x * size, label)
        saved = learner.save(tmp_path / "one.npz")
        assert made("eapu", seed=1, n_inputs=3).load(tmp_path / "one.npz") == saved


def test_kinds_of_arrays_that_are_taken():
    x, _ = corners(20, 3, 3)
    plain = check_inputs(x.astype(np.float32), 3)
    for given in (x.astype(np.float32).tolist(), x.astype(np.float32), np.ma.masked_array(x.astype(np.float32))):
        np.testing.assert_array_equal(check_inputs(given, 3), plain)
    assert check_inputs(x.astype(np.float16), 3).dtype == np.float64
    assert check_inputs([[1, True, 3]], 3).tolist() == [[1.0, 1.0, 3.0]]
    assert check_labels([True, False], 2).tolist() == [1.0, 0.0]
    assert check_labels(np.array([2, 0], np.uint8), 2, 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert check_labels(np.float16([[0.7, 0.3]]), 1).shape == (1,)


def test_a_data_frame_is_taken():
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 0.25]})
    assert check_inputs(frame, 2).tolist() == [[1.0, 0.5], [2.0, 0.25]]
    assert check_labels(pandas.Series([1, 0]), 2).tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="text"):
        check_inputs(pandas.DataFrame({"a": [1, 2], "b": ["0.5", "x"]}), 2)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ma.masked_array([[1.0, 2.0]], mask=[[False, True]]), "1 masked values"),
        (np.array([[1 + 2j, 1]]), "complex128"),
        ([["1.0", "2.0"]], "<U3"),
        ([[1.0, "2.0", 3]], "holds <U"),
        (np.array([[1.0, "2.0"]], dtype=object), "text"),
        ([[1.0, 2.0], [1.0]], "no array of numbers"),
        ([[1.0, np.nan]], r"x\[0, 1\] = nan"),
        ([[1.0, 1e200]], r"x\[0, 1\] = 1e\+200"),
        (SimpleNamespace(toarray=None), "sparse"),
        (np.array([["2024-01-01", "2024-01-02"]], dtype="datetime64[D]"), "datetime64"),
    ],
)
def test_kinds_of_arrays_that_are_refused(x, said):
    with pytest.raises(ConfigError, match=said):
        check_inputs(x, 2)


def test_labels_of_more_classes_than_said_name_the_option():
    with pytest.raises(ConfigError, match=r"y\[1\] = 2\.0.*n_classes"):
        check_labels([0, 2], 2)
    with pytest.raises(ConfigError, match=r"y\[1, 0\] = 1\.5"):
        check_labels([[0.5, 0.5], [1.5, -0.5]], 2)


# -- refused before anything is paid for


@pytest.mark.parametrize(("options", "said"), [({"n_inputs": 4}, "takes 4 inputs"), ({"n_classes": 3}, "3 classes")])
def test_a_learner_that_does_not_suit_the_skill_is_refused_before_the_first_trial(tmp_path, options, said):
    skill = load_skill("pushing")
    learner = made("eapu", **{"n_inputs": len(skill.feature_names), **options})
    store = TrialStore(tmp_path / "trials.jsonl")
    with pytest.raises(ConfigError, match=said):
        ActiveLoop(skill, learner, store, LoopConfig(initial_trials=2, queries=0), np.random.default_rng(0))
    assert not store.trials


# -- the chain says how it went


def test_effective_samples_of_known_chains():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(4000)
    assert effective_samples(white) == pytest.approx(4000, rel=0.15)
    slow = np.zeros(20_000)
    for step in range(1, len(slow)):
        slow[step] = 0.9 * slow[step - 1] + rng.standard_normal()
    assert effective_samples(slow) == pytest.approx(20_000 / 19, rel=0.3)  # (1 - a) / (1 + a)
    assert effective_samples(np.ones(50)) == 1.0


def test_a_chain_reports_how_it_walked_and_warns_when_it_stuck():
    x, label = corners(200, 2, 3)
    good = made("mcmc", n_inputs=3).fit(x, label)
    assert good.diagnostics["rows_after_burn_in"] == 48
    assert 0 < good.diagnostics["acceptance"] < 1
    assert 1 <= good.diagnostics["effective_samples"] <= 49
    assert not good.warnings
    stiff = made("mcmc", n_inputs=3, weight_span=60.0, max_proposals=400)
    with pytest.warns(DeviceWarning, match=r"the chain did not get far: \d+ of 40\d proposals accepted, 108 wanted"):
        report = stiff.fit(x, label)
    assert "burn-in of 60 rows is not finished" in report.warnings[0]
    assert report.diagnostics["rows_after_burn_in"] == 0


def test_the_burn_in_goes_on_after_a_checkpoint(tmp_path):
    x, label = corners(200, 2, 3)
    options = {"n_inputs": 3, "max_proposals": 150, "rows_per_round": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner, other = made("mcmc", **options), made("mcmc", seed=4, **options)
        learner.fit(x, label)
        learner.save(tmp_path / "one.npz")
        other.load(tmp_path / "one.npz")
        assert learner.learn(x, label).diagnostics == other.learn(x, label).diagnostics
