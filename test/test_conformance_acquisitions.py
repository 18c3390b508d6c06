"""The acquisition suite against every built-in acquisition, and against ones that break a rule."""

import numpy as np
import pytest

from memristor_bdnn import acquisitions
from memristor_bdnn.acquisitions import acquisition
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.testing import AcquisitionConformance


class TestBuiltIn(AcquisitionConformance):
    @pytest.fixture(params=acquisitions.BUILT_IN, autouse=True)
    def _name(self, request):
        self.acquisition = request.param


class Of(AcquisitionConformance):
    def __init__(self, function):
        self.make = lambda: function


@acquisition(needs_samples=False)
def secretive(prediction, rng=None):
    return prediction.samples.std(axis=0)


@acquisition(needs_samples=True)
def idle(prediction, rng=None):
    return prediction.std


@acquisition(needs_samples=False)
def unsteady(prediction, rng=None):
    return np.random.default_rng().random(len(prediction.mean))


@acquisition(needs_samples=False)
def infinite(prediction, rng=None):
    with np.errstate(divide="ignore"):
        return 1.0 / prediction.std


@acquisition(needs_samples=False)
def careless(prediction, rng=None):
    prediction.mean[:] = 0.5
    return prediction.mean


@pytest.mark.parametrize(
    ("function", "test"),
    [
        (secretive, "says_truthfully_whether_it_reads_the_samples"),
        (idle, "says_truthfully_whether_it_reads_the_samples"),
        (unsteady, "the_generator_given_decides"),
        (infinite, "scores_are_finite_one_for_each_candidate"),
        (careless, "the_prediction_stays_as_it_is"),
    ],
)
def test_a_function_that_breaks_a_rule_fails(function, test):
    with pytest.raises(AssertionError):
        getattr(Of(function), f"test_{test}")()


def test_a_function_that_does_not_say_what_it_needs_is_refused():
    with pytest.raises(ConfigError, match="needs_samples"):
        acquisitions._check("plain", lambda prediction, rng: prediction.std)
    with pytest.raises(ConfigError, match="no function"):
        acquisitions._check("kind", int)
