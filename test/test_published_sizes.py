"""Sizes of published trials: vessels recognised by shape, sizes distrusted where they repeat, the cup's way kept."""

import numpy as np
import pytest

from memristor_bdnn.benchmark.dbal.published import (
    PUBLISHED_BOWLS,
    PUBLISHED_CUPS,
    are_published,
    bowl_scales,
    corrected_sizes,
    sharing,
)
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, decode, encode
from memristor_bdnn.skills.pouring.geometry import pour_path
from memristor_bdnn.skills.pouring.vessels import BOWLS, HEIGHT_LEVEL

PARAMETERS = PourParameters(0.1, 0.08, -0.3, 0.4, -2.3)


def context(bowl, width, height, ratio=None, cup=0.06):
    top = 0.01 * BOWLS[bowl][1] * width
    tall = 0.01 * HEIGHT_LEVEL * BOWLS[bowl][2] * height
    return PourContext((ratio or PUBLISHED_BOWLS[bowl]) * top, top, tall, PUBLISHED_CUPS[3] * cup, cup, 0.08)


def rows(*contexts):
    """One motion a context; the pitch tells rows of equal sizes apart."""
    moves = [PourParameters(0.1, 0.08, -0.3, 0.4, -2.3 + 0.01 * k) for k in range(len(contexts))]
    return np.concatenate([encode(c, p) for c, p in zip(contexts, moves, strict=True)])


@pytest.mark.parametrize("bowl", PUBLISHED_BOWLS)
def test_a_published_bowl_is_known_by_its_shape_whatever_its_scale(bowl):
    width, height = (0.9, 1.1) if bowl in ("white", "red", "small_green") else (0.75, 1.25)
    x = encode(context(bowl, width, height), PARAMETERS)
    assert bowl_scales(x) == pytest.approx(np.array([[width, height]]), rel=1e-9)


def test_worlds_of_our_own_are_not_taken_for_published_trials():
    own = pool.load().x
    assert not are_published(own) and np.array_equal(corrected_sizes(own), own)
    published = np.concatenate([encode(context(bowl, 0.9, 1.1), PARAMETERS) for bowl in PUBLISHED_BOWLS])
    assert are_published(published) and not are_published(np.zeros((4, 3)))


def test_sizes_are_counted_exactly_and_among_further_rows():
    values = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2 + 1e-15]])
    assert sharing(values).tolist() == [2, 2, 1]
    assert sharing(values[:1], values[1:]).tolist() == [2]


def test_a_size_that_comes_once_is_trusted_and_one_that_repeats_by_its_share():
    wide, narrow, alone = context("tan", 1.21, 1.0), context("tan", 0.8, 1.1), context("tan", 1.0, 0.9)
    cups = [0.055, 0.056, 0.057, 0.058, 0.059, 0.06]
    every = [wide] * 3 + [narrow] * 2 + [alone]
    x = rows(*(PourContext(*c.array()[:3], PUBLISHED_CUPS[3] * w, w, 0.08) for c, w in zip(every, cups, strict=True)))
    corrected = corrected_sizes(x)
    assert np.array_equal(corrected[5], x[5])
    scales = np.log(bowl_scales(corrected))
    middle = np.log([[1.21, 1.0], [0.8, 1.1], [1.0, 0.9]]).mean(axis=0)
    assert scales[:3] == pytest.approx(np.tile(middle + (np.log([1.21, 1.0]) - middle) / 3, (3, 1)))
    assert scales[3:5] == pytest.approx(np.tile(middle + (np.log([0.8, 1.1]) - middle) / 2, (2, 1)))
    assert decode(corrected)[0][:, 3:] == pytest.approx(decode(x)[0][:, 3:])  # no cup repeats


def test_a_repeated_cup_is_distrusted_too_and_further_rows_count():
    one, other = context("tan", 1.1, 1.0, cup=0.055), context("brown", 0.9, 1.0, cup=0.065)
    x = rows(one, other)
    assert np.array_equal(corrected_sizes(x), x)
    again = rows(context("lime", 0.8, 1.0, cup=0.055))
    found = decode(corrected_sizes(x, again))[0]
    assert found[0, 4] == pytest.approx(np.sqrt(0.055 * np.sqrt(0.055 * 0.065))) and found[1, 4] == pytest.approx(0.065)


def test_repeats_of_unknown_vessels_are_left_alone():
    x = rows(*[context("tan", 0.8, 1.2, ratio=0.62)] * 3)
    found = decode(corrected_sizes(x))[0]
    assert np.allclose(found[:, :3], decode(x)[0][:, :3], atol=1e-12)


def test_the_cup_moves_through_the_room_as_before():
    given = [context("tan", 0.8, 1.2), context("tan", 0.8, 1.2), context("tan", 1.3, 0.9, cup=0.07)]
    x = rows(*given)
    before, after = decode(x), decode(corrected_sizes(x))
    assert after[0][0, 1] > given[0].bowl_diameter and after[0][0, 2] < given[0].bowl_height
    assert after[0][0, 4] > given[0].cup_diameter

    def pivot(found):
        (_, top, tall, _, cup, high), p = found[0][0], found[1][0]
        return p[0] * top, p[1] + tall, p[2] * cup, p[3] * high, p[4]

    assert pivot(before) == pytest.approx(pivot(after), abs=1e-12)


def test_a_changed_bowl_alone_leaves_the_path_of_the_cup():
    given = [
        context("tan", 0.8, 1.2, cup=0.06),
        context("tan", 0.8, 1.2, cup=0.061),
        context("tan", 1.3, 0.9, cup=0.07),
    ]
    sizes, parameters = decode(corrected_sizes(rows(*given)))
    was = PourParameters.from_array(decode(rows(*given))[1][0])
    before = pour_path(given[0], was)
    after = pour_path(PourContext.from_array(sizes[0]), PourParameters.from_array(parameters[0]))
    assert np.allclose(before, after, atol=1e-9)


def test_inputs_of_another_width_are_refused():
    with pytest.raises(ConfigError, match=r"\(2, 10\): expected \(n, 11\)"):
        corrected_sizes(np.zeros((2, 10)))
