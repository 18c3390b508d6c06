"""The arm suite against every built-in arm, a described one, and descriptions that do not fit."""

from dataclasses import replace

import pytest

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms
from memristor_bdnn.testing import ArmConformance


class TestBuiltIn(ArmConformance):
    @pytest.fixture(params=arms.BUILT_IN, autouse=True)
    def _name(self, request):
        self.arm = request.param


class Of(ArmConformance):
    def __init__(self, **changes):
        self.make = lambda: replace(arms.load("panda"), **changes)


@pytest.mark.parametrize(
    ("changes", "test", "error"),
    [
        ({"urdf": "nowhere.urdf"}, "the_urdf_has_the_joints_between_base_and_tool", ConfigError),
        ({"tool_link": "panda_link5"}, "the_urdf_has_the_joints_between_base_and_tool", ConfigError),
        ({"home": (0.0, 0.0, 0.0, -1.5, 0.0, 1.5, 0.0)}, "home_is_within_the_limits_and_upright", AssertionError),
        ({"ik": "srs"}, "inverse_kinematics_finds_what_it_should", ConfigError),
    ],
)
def test_a_description_that_does_not_fit_fails(changes, test, error):
    with pytest.raises(error):
        getattr(Of(**changes), f"test_{test}")()


def test_a_description_of_another_name_or_none_is_refused():
    with pytest.raises(ConfigError, match="both must be the same"):
        arms._check("mine", arms.load("panda"))
    with pytest.raises(ConfigError, match="no ArmDescription"):
        arms._check("mine", dict)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        arms._check("mine", lambda: 1 / 0)
