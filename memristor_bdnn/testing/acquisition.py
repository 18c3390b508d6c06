"""What every acquisition must do, as a pytest class to inherit from.

In a plugin's own test file::

    from memristor_bdnn.testing import AcquisitionConformance

    class TestMine(AcquisitionConformance):
        acquisition = "mine"
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn import acquisitions
from memristor_bdnn.acquisitions import Acquisition
from memristor_bdnn.acquisitions.surroundings import Tried
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction

Array = npt.NDArray[Any]


class Watched(Prediction):
    """A prediction that notices when its samples are read."""

    seen = False

    def __getattribute__(self, name: str) -> Any:
        if name == "samples":
            type(self).seen = True
        return super().__getattribute__(name)


class AcquisitionConformance:
    """Tests of an acquisition; a subclass names it.

    Attributes:
        acquisition: registry name of the plugin.
    """

    acquisition: ClassVar[str] = ""

    def make(self) -> Acquisition:
        """The function."""
        return acquisitions.load(self.acquisition)

    def prediction(self, n: int = 40, samples: int = 20, seed: int = 0) -> Prediction:
        """Predictions of n candidates, from sure failures over doubtful ones to sure successes."""
        rng = np.random.default_rng(seed)
        p = np.clip(rng.uniform(0, 1, n) + rng.normal(0, 0.2, (samples, n)), 0.0, 1.0)
        if n >= 2:
            p[:, 0], p[:, 1] = 0.0, 1.0
        return Prediction(p.mean(axis=0), p.std(axis=0), p)

    def tried(self, n: int) -> Tried:
        """Where the n candidates are among 12 labelled trials."""
        rng = np.random.default_rng(5)
        return Tried(rng.uniform(-1, 1, (n, 3)), rng.uniform(-1, 1, (12, 3)), rng.uniform(-1, 1, 12))

    def scores(self, prediction: Prediction, seed: int | None = 3) -> Array:
        """Scores with a fresh generator, or without any."""
        rng = None if seed is None else np.random.default_rng(seed)
        return acquisitions.score(self.make(), prediction, rng, lambda: self.tried(len(prediction.mean)))

    def test_is_listed_and_says_what_it_needs(self) -> None:
        """The registry finds it by name; ``needs_samples`` is True or False."""
        description = acquisitions.available().get(self.acquisition, "not listed")
        assert not description.startswith("not "), description
        assert isinstance(self.make().needs_samples, bool)

    def test_several_at_once_are_different_candidates(self) -> None:
        """Of k that are proposed none is twice, and of more than there are all are; each has a finite score."""
        for k, n in ((1, 40), (7, 40), (40, 40), (50, 40)):
            rng = np.random.default_rng(1)
            chosen, scores = acquisitions.propose(self.make(), self.prediction(n), k, rng, lambda: self.tried(40))
            assert len(set(np.asarray(chosen).tolist())) == len(chosen) == len(scores) == min(k, n)
            assert np.isfinite(scores).all() and set(np.asarray(chosen).tolist()) <= set(range(n))

    def test_scores_are_finite_one_for_each_candidate(self) -> None:
        """Candidates of which the network is sure, with no spread at all, included."""
        for n in (1, 2, 40):
            scores = self.scores(self.prediction(n))
            assert scores.shape == (n,), f"{n} candidates, scores of shape {scores.shape}"
            assert np.isfinite(scores).all(), f"scores that are not finite: {scores}"

    def test_a_single_posterior_sample_is_enough(self) -> None:
        """One sample has no spread; scores are still finite."""
        assert np.isfinite(self.scores(self.prediction(samples=1))).all()

    def test_no_candidates_give_no_scores(self) -> None:
        """Zero candidates in, shape (0,) out."""
        assert self.scores(self.prediction(0)).shape == (0,)

    def test_the_generator_given_decides(self) -> None:
        """The same generator state gives the same scores; no generator of its own, no global one."""
        prediction = self.prediction()
        one = self.scores(prediction)
        np.random.default_rng().random()
        np.testing.assert_array_equal(one, self.scores(prediction))

    def test_without_a_generator_it_works_or_says_so(self) -> None:
        """A function that draws refuses None with a ConfigError."""
        try:
            scores = self.scores(self.prediction(), None)
        except ConfigError:
            return
        np.testing.assert_array_equal(scores, self.scores(self.prediction()))

    def test_labels_are_needed_or_never_looked_at(self) -> None:
        """A function that scores by labels too refuses to score without any; few of them are enough."""
        if not getattr(self.make(), "needs_labels", False):
            return
        with pytest.raises(ConfigError):
            acquisitions.score(self.make(), self.prediction(), np.random.default_rng(0))
        for m in (0, 1, 2):
            few = functools.partial(Tried, np.zeros((40, 3)), np.ones((m, 3)), np.ones(m))
            scores = acquisitions.score(self.make(), self.prediction(), np.random.default_rng(0), few)
            assert scores.shape == (40,) and np.isfinite(scores).all()

    def test_a_score_by_the_row_alone_is_the_same_beside_others(self) -> None:
        """Who says ``rowwise`` gives a candidate the same score whichever others are there, and draws nothing."""
        if not getattr(self.make(), "rowwise", False):
            return
        whole, some = self.prediction(), slice(5, 12)
        part = Prediction(whole.mean[some], whole.std[some], whole.samples[:, some])
        np.testing.assert_allclose(self.scores(part, None), self.scores(whole, None)[some], rtol=1e-6, atol=1e-9)

    def test_the_prediction_stays_as_it_is(self) -> None:
        """No array of the prediction is written to."""
        prediction, kept = self.prediction(), self.prediction()
        self.scores(prediction)
        for name in ("mean", "std", "samples"):
            np.testing.assert_array_equal(getattr(prediction, name), getattr(kept, name))

    def test_says_truthfully_whether_it_reads_the_samples(self) -> None:
        """Whoever fetches a prediction from afar leaves the samples out if this says that nobody reads them."""
        given = self.prediction()
        watched = Watched(given.mean, given.std, given.samples)
        Watched.seen = False
        scores = self.scores(watched)
        declared = self.make().needs_samples
        assert Watched.seen == declared, f"needs_samples is {declared}, but prediction.samples " + (
            "was read" if Watched.seen else "was not read"
        )
        if not declared:
            bare = Prediction(given.mean, given.std, np.zeros((0, len(given.mean))))
            np.testing.assert_array_equal(scores, self.scores(bare))
