"""The skill suite against every built-in skill, and against a small one with faults put in."""

import dataclasses

import numpy as np
import pytest

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.protocol import Measured, NoOptions, Recipe, Skill
from memristor_bdnn.spaces import Dimension, Space
from memristor_bdnn.testing import SkillConformance


class TestBuiltIn(SkillConformance):
    @pytest.fixture(params=skills.BUILT_IN, autouse=True)
    def _name(self, request):
        self.skill = request.param


class Reaching(Skill):
    """Stop at a mark: as small as a skill can be."""

    name = "reaching"
    context_space = Space((Dimension("mark", "m", 0.5, 1.5, "where to stop"),), "context")
    parameter_space = Space((Dimension("way", "m", 0.0, 2.0, "how far to go"),), "parameters")
    measure_space = Space(
        (Dimension("gap", "m", 0.0, 2.0, "from the mark"), Dimension("time", "s", 0.0, 9.0, "taken")), "measures"
    )

    def score(self, measures):
        return float(np.clip(1.0 - measures[0] / 0.2, -1.0, 1.0))

    def world(self, arm="", options=None, gui=False):
        return Track()


class Track:
    rng = context = None

    def reset(self, seed, context=None):
        self.rng = np.random.default_rng(seed)
        drawn = Reaching.context_space.sample(1, self.rng)[0]
        self.context = Reaching.context_space.check(drawn if context is None else context)
        return self.context

    def execute(self, parameters, plan=None, progress=None, cancelled=None):
        if self.context is None:
            raise ConfigError("reaching: call reset() first")
        way = Reaching.parameter_space.check(parameters)[0] + 0.02 * self.rng.normal()
        return Measured(np.array([np.clip(abs(way - self.context[0]), 0.0, 2.0), np.nan]))

    def close(self):
        pass


class Of(SkillConformance):
    def __init__(self, cls):
        self.make = cls


REGISTERED = ("test_is_listed_and_has_its_name", "test_loading_it_needs_no_simulator")
TESTS = [name for name in vars(SkillConformance) if name.startswith("test_") and name not in REGISTERED]


def call(suite, test, tmp_path):
    function = getattr(suite, test)
    function(*([tmp_path] if "tmp_path" in function.__code__.co_varnames else []))


@pytest.mark.parametrize("test", TESTS)
def test_a_small_skill_passes(test, tmp_path):
    call(Of(Reaching), test, tmp_path)


def with_world(**methods):
    """Reaching with other methods of its world."""
    track = type("Other", (Track,), methods)
    return type("Faulty", (Reaching,), {"world": lambda self, arm="", options=None, gui=False: track()})


def ignores_context(self, seed, context=None):
    return Track.reset(self, seed)


def goes_on(self, seed, context=None):
    """One generator for all trials."""
    kept, found = self.rng, Track.reset(self, seed, context)
    self.rng = kept or self.rng
    return found


def takes_all(self, parameters, plan=None, progress=None, cancelled=None):
    return Measured(np.array([0.5, np.nan]))


def measures_outside(self, parameters, plan=None, progress=None, cancelled=None):
    return Measured(np.array([0.5, 100.0]))


def holds_objects(self, parameters, plan=None, progress=None, cancelled=None):
    return Measured(np.array([0.5, 1.0]), details={"thing": object()})


class Doubtful(Reaching):
    def valid(self, context, parameters, arm=""):
        return parameters[:, 0] > 1.0

    def sample_candidates(self, context, n, rng, arm=""):
        return self.parameter_space.sample(n, rng)


class Wide(Reaching):
    def encode(self, context, parameters):
        return np.concatenate([np.atleast_2d(parameters), np.full((len(parameters), 1), context[0])], axis=1)


class Wavy(Reaching):
    def score(self, measures):
        return float(np.sin(9.0 * measures[0]))


class NeedsAll(Reaching):
    def score(self, measures):
        return float(np.clip(1.0 - measures[0] - measures[1], -1.0, 1.0))


class Bold(Reaching):
    def fraction(self, measures):
        return 3.0


class Recommends(Reaching):
    recipes = {"best": {"msgld": Recipe({"no_such_option": 1})}}  # noqa: RUF012


class Phased(Reaching):
    def motion(self, arm, options=None):
        return object()


@dataclasses.dataclass(frozen=True)
class Demanding:
    needed: int


class Unmade(Reaching):
    world_options = Demanding


class Unnamed(Reaching):
    parameter_space = Space((Dimension("mark", "m", 0.0, 2.0, "how far to go"),), "parameters")


@pytest.mark.parametrize(
    ("cls", "test"),
    [
        (with_world(reset=ignores_context), "a_given_context_is_honoured"),
        (with_world(reset=goes_on), "same_seed_same_trial_whatever_ran_before"),
        (with_world(execute=takes_all), "a_world_refuses_wrong_values_by_name"),
        (with_world(execute=measures_outside), "trials_measure_what_the_spaces_say"),
        (with_world(execute=holds_objects), "trials_measure_what_the_spaces_say"),
        (Doubtful, "candidates_are_valid_and_in_their_space"),
        (Wide, "inputs_of_the_network_are_on_its_scale"),
        (Wide, "wrong_values_are_refused_by_name"),
        (Wavy, "the_first_measure_decides_the_score"),
        (NeedsAll, "the_first_measure_decides_the_score"),
        (Bold, "the_first_measure_decides_the_score"),
        (Recommends, "recipes_fit_the_learners_they_name"),
        (Phased, "motion_is_planned_in_the_phases_declared"),
        (Unmade, "options_are_dataclasses_with_defaults"),
        (Unnamed, "spaces_are_described"),
    ],
)
def test_a_skill_that_breaks_a_rule_fails(cls, test, tmp_path):
    with pytest.raises((AssertionError, TypeError, pytest.fail.Exception)):
        call(Of(cls), f"test_{test}", tmp_path)


def test_the_options_of_a_skill_without_any_are_empty():
    assert dataclasses.fields(NoOptions) == ()
