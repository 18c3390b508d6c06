"""Bowl sizes of published trials: recognised by shape, corrected without moving the cup."""

import numpy as np
import pytest

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, decode, encode
from memristor_bdnn.skills.pouring.geometry import pour_path
from memristor_bdnn.skills.pouring.sizes import PUBLISHED_SHAPES, are_published, bowl_scales, corrected_sizes
from memristor_bdnn.skills.pouring.vessels import BOWLS, HEIGHT_LEVEL

PARAMETERS = PourParameters(0.1, 0.08, -0.3, 0.4, -2.3)


def row(bowl, width, height, ratio=None):
    top = 0.01 * BOWLS[bowl][1] * width
    tall = 0.01 * HEIGHT_LEVEL * BOWLS[bowl][2] * height
    return PourContext((ratio or PUBLISHED_SHAPES[bowl]) * top, top, tall, 0.05, 0.06, 0.07)


@pytest.mark.parametrize("bowl", PUBLISHED_SHAPES)
def test_a_published_bowl_is_known_by_its_shape_whatever_its_scale(bowl):
    width, height = (0.9, 1.1) if bowl in ("white", "red", "small_green") else (0.75, 1.25)
    x = encode(row(bowl, width, height), PARAMETERS)
    assert bowl_scales(x) == pytest.approx(np.array([[width, height]]), rel=1e-9)


def test_bowls_of_other_shapes_are_left_alone():
    x = encode(row("tan", 0.8, 1.2, ratio=0.62), PARAMETERS)
    assert np.isnan(bowl_scales(x)).all()
    assert np.allclose(corrected_sizes(x, 0.0), x, atol=1e-12)


def test_worlds_of_our_own_are_not_taken_for_published_trials():
    assert not are_published(pool.load().x)
    published = np.concatenate([encode(row(bowl, 0.9, 1.1), PARAMETERS) for bowl in PUBLISHED_SHAPES])
    assert are_published(published) and not are_published(np.zeros((4, 3)))


def test_full_trust_changes_nothing_and_none_takes_the_scale_away():
    x = encode(row("tan", 0.64, 1.21), PARAMETERS)
    assert np.allclose(corrected_sizes(x, 1.0), x, atol=1e-12)
    assert bowl_scales(corrected_sizes(x, 0.0)) == pytest.approx(np.ones((1, 2)))
    assert bowl_scales(corrected_sizes(x)) == pytest.approx(np.array([[0.8, 1.1]]))


def test_the_cup_moves_through_the_room_as_before():
    given = row("tan", 0.8, 1.2)
    context, parameters = decode(corrected_sizes(encode(given, PARAMETERS)))
    assert context[0, 1] > given.bowl_diameter and context[0, 2] < given.bowl_height
    assert np.array_equal(context[0, 3:].round(12), given.array()[3:])
    before = pour_path(given, PARAMETERS)
    after = pour_path(PourContext.from_array(context[0]), PourParameters.from_array(parameters[0]))
    assert np.allclose(before, after, atol=1e-9)


@pytest.mark.parametrize("trust", [-0.1, 1.1, float("nan")])
def test_impossible_trust_is_refused(trust):
    with pytest.raises(ConfigError, match=r"trust = .*allowed \[0, 1\]"):
        corrected_sizes(np.zeros((1, 11)), trust)
