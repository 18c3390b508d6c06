"""What every learner must do, as a pytest class to inherit from.

In a plugin's own test file::

    from memristor_bdnn.testing import LearnerConformance

    class TestMine(LearnerConformance):
        learner = "mine"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.learners.protocol import Learner, LearnProgress, LearnReport, Prediction

Array = npt.NDArray[Any]


class LearnerConformance:
    """Tests of the learner protocol; a subclass names the learner.

    Attributes:
        learner: registry name of the plugin.
        options: option values that keep it small and quick; the defaults must work too.
        preset: device preset of the simulated chips.
        accuracy: share of unseen rows of a simple linear task that it must get right after ``fit``.
        in_situ_accuracy: the same after ``learn`` on top.
    """

    learner: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    preset: ClassVar[str] = "tsinghua_taox_hfox"
    accuracy: ClassVar[float] = 0.75
    in_situ_accuracy: ClassVar[float] = 0.75

    def make(self, seed: int = 0, **changes: Any) -> Learner:
        """A fresh learner on fresh simulated chips."""
        chips = accelerator.create("simulated", preset=self.preset, seed=seed)
        return learners.create(self.learner, chips, {**self.options, **changes}, seed)

    def wide(self, n_inputs: int, seed: int = 0) -> Learner:
        """A fresh learner of another width; a feature map, which is made for one width, is left out."""
        fields = {field.name for field in dataclasses.fields(learners.learner_class(self.learner).config_type)}
        assert "n_inputs" in fields, "the configuration needs the option n_inputs, the width of x"
        return self.make(seed, n_inputs=n_inputs, **({"features": ""} if "features" in fields else {}))

    def task(self, learner: Learner, n: int = 120, seed: int = 1) -> tuple[Array, Array]:
        """Rows (n, n_inputs) in [-1, 1] and labels (n,) of a linear rule."""
        x = np.random.default_rng(seed).uniform(-1, 1, (n, learner.n_inputs))
        rule = x[:, 0] if learner.n_inputs == 1 else x[:, 0] + 0.5 * x[:, 1]
        return x, (rule > 0).astype(float)

    def trained(self, seed: int = 0) -> Learner:
        """A learner fitted to the task."""
        learner = self.make(seed)
        learner.fit(*self.task(learner))
        return learner

    def score(self, learner: Learner) -> float:
        """Accuracy on unseen rows."""
        x, y = self.task(learner, 300, seed=2)
        return float(((learner.predict(x).mean > 0.5) == (y > 0.5)).mean())

    def test_is_listed_and_follows_the_protocol(self) -> None:
        """The registry finds it by name, and it has every attribute and method."""
        description = learners.available().get(self.learner, "not listed")
        assert not description.startswith("not ")
        learner = self.make()
        assert isinstance(learner, Learner)
        assert learner.name == self.learner
        assert learner.n_inputs >= 1
        assert learner.accelerator.n_cells <= learner.accelerator.capacity

    def test_configuration_is_a_validated_frozen_dataclass(self) -> None:
        """Options are data, unknown ones are refused by name, and none can be changed later."""
        learner = self.make()
        assert dataclasses.is_dataclass(learner.config)
        first = dataclasses.fields(learner.config)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(learner.config, first, None)
        with pytest.raises(ConfigError, match="no_such_option"):
            self.make(no_such_option=1)

    def test_default_options_are_complete(self) -> None:
        """The learner can be made with no options at all."""
        chips = accelerator.create("simulated", preset=self.preset, seed=0)
        assert learners.create(self.learner, chips).n_inputs >= 1

    def test_fit_learns_and_reports(self) -> None:
        """A linear rule is learned from 120 rows; the report is consistent."""
        learner = self.make()
        report = learner.fit(*self.task(learner))
        self._check_report(report)
        assert self.score(learner) >= self.accuracy

    @pytest.mark.parametrize("n_inputs", [1, 3, 6])
    def test_the_width_of_x_is_an_option(self, n_inputs: int) -> None:
        """A learner made for another skill's inputs learns a rule of all of them."""
        learner = self.wide(n_inputs)
        assert learner.n_inputs == learner.config.n_inputs == n_inputs
        learner.fit(*self.task(learner))
        assert self.score(learner) >= self.accuracy

    def several(self, classes: int = 3, seed: int = 0) -> Learner:
        """A fresh learner of four inputs that tells several classes apart; one that cannot says so, and is skipped."""
        cls = learners.learner_class(self.learner)
        fields = {field.name for field in dataclasses.fields(cls.config_type)}
        plain = {"features": ""} if "features" in fields else {}
        if not getattr(cls, "many_classes", False):
            with pytest.raises(ConfigError, match="n_classes"):
                self.make(seed, n_inputs=4, n_classes=3, **plain)
            pytest.skip(f"{self.learner} tells success from failure only (many_classes is not set)")
        return self.make(seed, n_inputs=4, n_classes=classes, **plain)

    def sorted_rows(self, n: int = 150, classes: int = 3, seed: int = 1) -> tuple[Array, Array]:
        """Rows (n, 4) around one corner for each class, and the class of each, (n,)."""
        rng = np.random.default_rng(seed)
        label = np.arange(n) % classes
        return np.eye(4)[label] + 0.25 * rng.standard_normal((n, 4)), label

    def test_several_classes_are_told_apart(self, tmp_path: Path) -> None:
        """Numbers of classes are learned, in place too; predictions are distributions; a checkpoint is bit-exact."""
        learner = self.several()
        x, label = self.sorted_rows()
        unseen, truth = self.sorted_rows(300, seed=2)
        self._check_report(learner.fit(x, label))
        self._check_report(learner.learn(x, label))
        prediction = learner.predict(unseen, 10)
        assert (prediction.label == truth).mean() >= self.accuracy
        assert prediction.classes.shape == prediction.class_std.shape == (300, 3)
        assert prediction.class_samples.shape[1:] == (300, 3)
        np.testing.assert_allclose(prediction.class_samples.sum(axis=-1), 1.0, atol=1e-4)
        np.testing.assert_allclose(prediction.classes, prediction.class_samples.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(prediction.class_std, prediction.class_samples.std(axis=0), atol=1e-5)
        saved = learner.save(tmp_path / "three.npz")
        other = self.several(seed=9)
        assert other.load(tmp_path / "three.npz") == saved
        np.testing.assert_array_equal(learner.predict(x).samples, other.predict(x).samples)
        assert learner.learn(x, label) == other.learn(x, label)
        with pytest.raises(ConfigError, match=r"n_classes = 3.*4"):
            self.several(4).load(tmp_path / "three.npz")

    def test_class_probabilities_are_learned_as_numbers_of_classes_are(self) -> None:
        """Certain probabilities teach what the labels do; two classes take both columns or one."""
        x, label = self.sorted_rows()
        one, other = self.several(), self.several()
        assert one.fit(x, label) == other.fit(x, np.eye(3)[label])
        np.testing.assert_array_equal(one.predict(x).samples, other.predict(x).samples)
        one, other = self.several(2), self.several(2)
        assert one.fit(x, (label > 0).astype(float)) == other.fit(x, np.stack([label == 0, label > 0], axis=1))
        assert one.predict(x).mean.shape == (len(x),)

    @pytest.mark.parametrize("label", [3, -1, 0.5, np.nan])
    def test_labels_that_are_no_class_are_refused(self, label: float) -> None:
        """The error names value, place and the option."""
        learner = self.several()
        x, y = self.sorted_rows(30)
        y = y.astype(float)
        y[7] = label
        with pytest.raises(ConfigError, match=r"y\[7\].*n_classes = 3"):
            learner.fit(x, y)
        wrong = np.full((30, 3), 0.5)
        with pytest.raises(ConfigError, match=r"y\[0\] adds up to 1\.5"):
            learner.fit(x, wrong)

    def test_rows_of_another_width_are_refused(self) -> None:
        """The error names the width given and the option, in every method that takes rows."""
        learner = self.wide(3)
        x, y = self.task(learner)
        learner.fit(x, y)
        for width in (2, 4, 11):
            rows = np.zeros((len(x), width))
            for call in (lambda r: learner.fit(r, y), lambda r: learner.learn(r, y), learner.predict):
                with pytest.raises(ConfigError) as refused:
                    call(rows)
                assert f"{width}" in str(refused.value) and "n_inputs" in str(refused.value), refused.value
                assert "3" in str(refused.value), refused.value
        assert self.score(learner) >= self.accuracy

    def test_a_checkpoint_of_another_width_is_refused_before_anything_changes(self, tmp_path: Path) -> None:
        """The error names the option and both values; learner and chips stay as they were, bit for bit."""
        narrow, wide = self.wide(3), self.wide(4, seed=1)
        for learner in (narrow, wide):
            learner.fit(*self.task(learner))
        narrow.save(tmp_path / "narrow.npz")
        before = wide.save(tmp_path / "before.npz")
        with pytest.raises(ConfigError, match=r"n_inputs.*3.*4"):
            wide.load(tmp_path / "narrow.npz")
        assert wide.save(tmp_path / "after.npz") == before

    def test_learn_goes_on_from_the_present_states(self) -> None:
        """In situ learning on more labels keeps or improves what was learned."""
        learner = self.trained()
        self._check_report(learner.learn(*self.task(learner, 160)))
        assert self.score(learner) >= self.in_situ_accuracy

    def test_learn_works_without_fit(self) -> None:
        """A learner that has never been fitted may be asked to learn."""
        learner = self.make()
        x, y = self.task(learner)
        self._check_report(learner.learn(x, y))
        assert learner.predict(x[:4]).mean.shape == (4,)

    def test_prediction_is_a_distribution(self) -> None:
        """Shapes, ranges, and moments that are those of the samples."""
        learner = self.trained()
        x, _ = self.task(learner, 40, seed=3)
        for samples in (1, 20):
            prediction = learner.predict(x, samples)
            assert isinstance(prediction, Prediction)
            assert prediction.samples.ndim == 2
            assert prediction.samples.shape[0] >= samples
            assert prediction.samples.shape[1] == 40
            assert np.isfinite(prediction.samples).all()
            assert ((prediction.samples >= 0) & (prediction.samples <= 1)).all()
            np.testing.assert_allclose(prediction.mean, prediction.samples.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(prediction.std, prediction.samples.std(axis=0), atol=1e-5)

    def test_samples_differ(self) -> None:
        """Posterior samples are not copies of one another: there is a spread to ask questions by."""
        learner = self.trained()
        x, _ = self.task(learner, 40, seed=3)
        assert learner.predict(x, 20).std.mean() > 1e-4

    def test_no_candidates_give_an_empty_prediction(self) -> None:
        """Zero rows in, zero columns out."""
        learner = self.trained()
        assert learner.predict(np.zeros((0, learner.n_inputs))).mean.shape == (0,)

    def test_progress_and_cancellation(self) -> None:
        """Progress comes at least once; cancelling ends the work early and keeps what was learned."""
        learner = self.trained()
        x, y = self.task(learner)
        seen: list[LearnProgress] = []
        learner.learn(x, y, progress=seen.append)
        assert seen
        assert all(isinstance(p, LearnProgress) and p.epochs >= 1 for p in seen)
        few: list[LearnProgress] = []
        report = learner.learn(x, y, progress=few.append, cancelled=lambda: True)
        assert len(few) <= 1
        assert report.epochs <= 1
        assert learner.predict(x[:2]).mean.shape == (2,)

    def test_wrong_data_is_refused_with_the_place(self) -> None:
        """Shapes, NaN and labels out of range raise ConfigError and change nothing."""
        learner = self.trained()
        x, y = self.task(learner)
        bad_x, bad_y = x.copy(), y.copy()
        bad_x[3, 0], bad_y[5] = np.nan, 1.5
        for work in (learner.fit, learner.learn):
            for inputs, labels in ((bad_x, y), (x, bad_y), (x[:, :0], y), (x, y[:-1])):
                with pytest.raises(ConfigError):
                    work(inputs, labels)
        with pytest.raises(ConfigError):
            learner.predict(bad_x)
        with pytest.raises(ConfigError):
            learner.predict(x, 0)

    def test_predicting_without_data_is_an_error(self) -> None:
        """A learner that knows nothing says so."""
        learner = self.make()
        with pytest.raises(ConfigError):
            learner.predict(np.zeros((1, learner.n_inputs)))

    def test_callers_arrays_stay_as_they_are(self) -> None:
        """No method writes into the arrays it is given; soft labels are accepted."""
        learner = self.make()
        x, y = self.task(learner)
        y = 0.2 + 0.6 * y
        kept_x, kept_y = x.copy(), y.copy()
        learner.fit(x, y)
        learner.learn(x, y)
        learner.predict(x)
        np.testing.assert_array_equal(x, kept_x)
        np.testing.assert_array_equal(y, kept_y)

    def test_same_seed_same_result(self) -> None:
        """Two learners of the same seeds agree bit for bit; no global generator is used."""
        one = self.trained(seed=5)
        np.random.default_rng().random()
        two = self.trained(seed=5)
        x, y = self.task(one, 30)
        np.testing.assert_array_equal(one.predict(x).samples, two.predict(x).samples)
        one.learn(x, y)
        two.learn(x, y)
        np.testing.assert_array_equal(one.predict(x).samples, two.predict(x).samples)

    def test_checkpoint_restores_bit_exactly(self, tmp_path: Path) -> None:
        """A fresh learner on other chips, loaded, predicts and goes on exactly as the saved one."""
        learner = self.trained()
        x, y = self.task(learner)
        learner.learn(x, y)
        saved = learner.save(tmp_path / "learner.npz")
        other = self.make(seed=9)
        assert other.load(tmp_path / "learner.npz") == saved
        assert len(saved) == 64
        np.testing.assert_array_equal(learner.predict(x).samples, other.predict(x).samples)
        assert learner.learn(x, y) == other.learn(x, y)
        np.testing.assert_array_equal(learner.predict(x).samples, other.predict(x).samples)

    def test_checkpoint_before_the_first_training_restores_bit_exactly(self, tmp_path: Path) -> None:
        """A learner that was trained, loaded with the state of before, learns as the fresh one does."""
        fresh, other = self.make(seed=3), self.trained(seed=3)
        saved = fresh.save(tmp_path / "empty.npz")
        assert other.load(tmp_path / "empty.npz") == saved
        x, y = self.task(fresh)
        assert fresh.fit(x, y) == other.fit(x, y)
        np.testing.assert_array_equal(fresh.predict(x).samples, other.predict(x).samples)

    def test_checkpoint_is_plain_arrays(self, tmp_path: Path) -> None:
        """The file opens without pickle."""
        self.trained().save(tmp_path / "learner.npz")
        with np.load(tmp_path / "learner.npz", allow_pickle=False) as archive:
            assert all(archive[name].dtype != object for name in archive.files)

    def test_damaged_checkpoint_is_refused(self, tmp_path: Path) -> None:
        """Half a file, or another file, raises ConfigError."""
        learner = self.trained()
        path = tmp_path / "learner.npz"
        learner.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ConfigError):
            self.make().load(path)
        np.savez(tmp_path / "other.npz", a=np.zeros(3))
        with pytest.raises(ConfigError):
            self.make().load(tmp_path / "other.npz")

    def test_incomplete_checkpoint_is_refused_by_name_before_anything_changes(self, tmp_path: Path) -> None:
        """Every array of the learner is needed: the error names the one missing, not finite, or of another type."""
        learner = self.trained()
        learner.save(tmp_path / "whole.npz")
        with np.load(tmp_path / "whole.npz", allow_pickle=False) as archive:
            whole = {name: archive[name] for name in archive.files}
        other = self.trained(seed=1)
        before = other.save(tmp_path / "before.npz")
        apart = ("format", "config", "contents", *getattr(learner, "optional", ()))
        own = [key for key in whole if not key.startswith("accelerator.") and key not in apart]
        damaged = [(key, {k: v for k, v in whole.items() if k != key}) for key in own]
        for key in own:
            if whole[key].dtype.kind == "f" and whole[key].size:
                bad = whole[key].copy()
                bad.reshape(-1)[0] = np.nan
                damaged.append((key, {**whole, key: bad}))
            damaged += [(key, {**whole, key: whole[key].astype(kind)}) for kind in ("U8", complex)]
        damaged.append(("no_such_array", {**whole, "no_such_array": np.zeros(3)}))
        for key, content in damaged:
            np.savez(tmp_path / "damaged.npz", **content)  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=key):
                other.load(tmp_path / "damaged.npz")
            assert other.save(tmp_path / "after.npz") == before

    def test_a_file_that_cannot_be_written_costs_nothing(self, tmp_path: Path) -> None:
        """No folder, or a folder of that name: an error that names it, and the learner as it was."""
        learner = self.trained()
        before = learner.save(tmp_path / "before.npz")
        for path in (tmp_path / "absent" / "learner.npz", tmp_path):
            with pytest.raises(MemristorError, match=path.name):
                learner.save(path)
        assert learner.save(tmp_path / "after.npz") == before

    @staticmethod
    def _check_report(report: LearnReport) -> None:
        assert isinstance(report, LearnReport)
        assert report.epochs >= 0
        assert np.isfinite(report.loss)
        assert 0.0 <= report.accuracy <= 1.0
        assert report.pulses >= 0
