"""What the learners' common base promises: checkpoints of before, refusals with names, plugins by name."""

import dataclasses
import importlib
import importlib.metadata

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.base import BaseLearner, LearnerConfig, Watch, softened
from memristor_bdnn.network.features import MOVED, current_name, feature_map
from memristor_bdnn.skills.pouring import recipes
from memristor_bdnn.state import pack_json, unpack_json

OLD_LIP = "memristor_bdnn.pouring.lip:lip_features"
SMALL = {
    "msgld": {"hidden": [8], "max_epochs": 3, "ex_situ": {"epochs": 5}},
    "eapu": {"hidden": [8], "networks": 1, "max_epochs": 3, "ex_situ": {"epochs": 5}},
    "mcmc": {"rows": 8, "burn_in": 2, "spare_rows": 2, "max_proposals": 60, "expansion": "linear"},
}
FORMATS = {"msgld": "memristor_bdnn.msgld/2", "eapu": "memristor_bdnn.eapu/1", "mcmc": "memristor_bdnn.mcmc/1"}


def make(name, seed=0, **changes):
    chips = accelerator.create("simulated", seed=seed)
    return learners.create(name, chips, {**SMALL[name], **changes}, seed)


def trained(name, seed=0, **changes):
    learner = make(name, seed, **changes)
    x = np.random.default_rng(seed).uniform(-1, 1, (30, learner.n_inputs))
    learner.fit(x, (x[:, 0] > 0).astype(float))
    return learner


def contents(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_module_that_moved_is_found_under_its_old_name():
    assert current_name(OLD_LIP) == recipes.LIP
    assert feature_map(OLD_LIP) is feature_map(recipes.LIP)
    for other in ("", "numpy:abs", "memristor_bdnn.pouring.lips:f"):
        assert current_name(other) == other
    for module in MOVED.values():
        assert importlib.import_module(module)


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_that_names_a_moved_module_loads_and_goes_on(name, tmp_path):
    first = trained(name, features=recipes.LIP)
    first.save(tmp_path / "now.npz")
    arrays = contents(tmp_path / "now.npz")
    assert unpack_json(arrays["format"]) == FORMATS[name]
    options = unpack_json(arrays["config"])
    np.savez(tmp_path / "old.npz", **{**arrays, "config": pack_json({**options, "features": OLD_LIP})})
    x = np.random.default_rng(4).uniform(-1, 1, (9, 11))
    expected = first.predict(x).samples
    for features in (recipes.LIP, OLD_LIP):
        for file in ("now.npz", "old.npz"):
            other = make(name, seed=3, features=features)
            other.load(tmp_path / file)
            np.testing.assert_array_equal(other.predict(x).samples, expected)


@pytest.mark.parametrize("name", SMALL)
def test_other_options_are_named_with_both_values(name, tmp_path):
    trained(name).save(tmp_path / "a.npz")
    other = trained(name, seed=1, input_bits=6)
    before = other.save(tmp_path / "before.npz")
    with pytest.raises(ConfigError, match="input_bits = 8 in the checkpoint, 6 here"):
        other.load(tmp_path / "a.npz")
    assert other.save(tmp_path / "after.npz") == before


def test_options_inside_options_and_options_of_another_version_are_named(tmp_path):
    trained("eapu").save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=r"ex_situ\.epochs = 5 in the checkpoint, 6 here"):
        make("eapu", ex_situ={"epochs": 6}).load(tmp_path / "a.npz")
    arrays = contents(tmp_path / "a.npz")
    options = unpack_json(arrays["config"])
    del options["softness"]
    np.savez(tmp_path / "b.npz", **{**arrays, "config": pack_json({**options, "hardness": 2})})
    with pytest.raises(ConfigError, match=r"hardness = 2 .*, absent here; softness = absent .*, 0\.0 here"):
        make("eapu").load(tmp_path / "b.npz")


@pytest.mark.parametrize("name", SMALL)
def test_damaged_arrays_are_named(name, tmp_path):
    trained(name).save(tmp_path / "a.npz")
    arrays = contents(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="config is missing"):
        np.savez(tmp_path / "b.npz", **{k: v for k, v in arrays.items() if k != "config"})
        make(name).load(tmp_path / "b.npz")
    for bad, reason in (
        (np.zeros(3), r"has shape \(3,\), expected \(11,\)"),
        (np.array(["a"] * 11), "expected numbers"),
    ):
        np.savez(tmp_path / "b.npz", **{**arrays, "scaler_sd": bad})
        with pytest.raises(ConfigError, match=f"scaler_sd .*{reason}"):
            make(name).load(tmp_path / "b.npz")
    other = next(kind for kind in SMALL if kind != name)
    with pytest.raises(ConfigError, match=f"expected {FORMATS[other]}, found {FORMATS[name]}"):
        make(other).load(tmp_path / "a.npz")


def test_a_learner_without_data_is_saved_and_loaded_without_data(tmp_path):
    for name in SMALL:
        make(name).save(tmp_path / "a.npz")
        other = trained(name)
        other.load(tmp_path / "a.npz")
        with pytest.raises(ConfigError, match="no data yet"):
            other.predict(np.zeros((1, 11)))


def test_watch_counts_epochs_from_one_and_asks_once():
    seen, asked = [], []
    watch = Watch(seen.append, lambda: asked.append(1) or len(asked) == 2)
    told = watch.of(7)
    assert [told(0, 0.5, 0.25, 3), told(1, 0.4, 0.5, 4)] == [False, True]
    assert [(p.epoch, p.epochs, p.pulses) for p in seen] == [(1, 7, 3), (2, 7, 4)]
    assert Watch()(1, 1, 0.0, 1.0, 0) is False


def test_softened_labels_lie_between_bits_and_labels():
    y = np.array([0.1, 0.5, 0.8])
    np.testing.assert_array_equal(softened(y, 0.0), [0, 0, 1])
    np.testing.assert_allclose(softened(y, 1.0), y)
    np.testing.assert_allclose(softened(y, 0.5), [0.05, 0.25, 0.9])


class Point:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name, value, package):
        self.name, self.value = name, value
        self.dist = type("Distribution", (), {"name": package})()


@dataclasses.dataclass(frozen=True)
class NoWidth:
    """Options without n_inputs."""


class Bare:
    """A learner without a width."""

    config_type = NoWidth


class Unfinished(BaseLearner):
    """A learner that cannot be saved."""

    config_type = LearnerConfig
    _fit = _learn = _samples = None


@pytest.fixture
def packages(monkeypatch):
    """Entry points of the learners' group, to be filled by the test."""
    points = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: list(points))
    return points


def test_names_are_the_built_in_learners_then_those_of_packages(packages):
    packages += [Point("zeta", "z:Z", "zoo"), Point("alpha", "a:A", "ant")]
    assert learners.names() == ["msgld", "eapu", "mcmc", "alpha", "zeta"]


def test_a_package_cannot_take_a_built_in_name(packages):
    packages.append(Point("eapu", "theirs.module:Theirs", "theirs"))
    with pytest.raises(ConfigError, match=r"'eapu' is built in, but package theirs \(theirs\.module:Theirs\)"):
        learners.learner_class("eapu")
    assert learners.available()["eapu"].startswith("not available: ")
    assert learners.learner_class("mcmc").name == "mcmc"


def test_two_packages_with_one_name_are_both_named(packages):
    packages += [Point("mine", "one:Mine", "first"), Point("mine", "two:Mine", "second")]
    with pytest.raises(ConfigError, match=r"package first .* and package second"):
        learners.learner_class("mine")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (f"{__name__}:Bare", "NoWidth has no option n_inputs"),
        (f"{__name__}:Unfinished", "Unfinished lacks _restore, _state"),
        ("math:pi", "no config_type"),
        ("no.such:X", r"no\.such"),
    ],
)
def test_what_is_no_learner_is_refused_with_what_it_lacks(packages, target, reason):
    packages.append(Point("mine", target, "package"))
    with pytest.raises(ConfigError, match=reason):
        learners.learner_class("mine")
    assert learners.available()["mine"].startswith("not available: ")


def test_common_options_are_checked_in_every_configuration():
    with pytest.raises(ConfigError, match=r"LearnerConfig\.n_inputs = 0"):
        LearnerConfig(n_inputs=0)
    for name in learners.BUILT_IN:
        assert issubclass(learners.learner_class(name).config_type, LearnerConfig)
