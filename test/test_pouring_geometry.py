"""Contexts, parameters, encoding, cup poses, validity and vessels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms3d.quaternions import quat2mat

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import context as C
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, cup_pose, is_valid, pour_path
from memristor_bdnn.skills.pouring.render import lathe
from memristor_bdnn.skills.pouring.setup import MIN_BEADS, draw, draw_context
from memristor_bdnn.skills.pouring.vessels import BOWLS, CUPS, Vessel, bowl_of, context_of, cup_of, slats

PAIR = context_of("blue", "red")
POUR = C.PourParameters(0.05, 0.05, -0.5, 0.5, -2.4)


def test_a_value_out_of_range_is_named_with_its_range() -> None:
    with pytest.raises(ConfigError, match=r"pitch = -1 rad: allowed \[-3.14159, -1.5708\]"):
        C.PourParameters(0.0, 0.05, 0.0, 0.0, -1.0)
    with pytest.raises(ConfigError, match=r"cup_height = 0.2 m: allowed \[0.044, 0.1188\] m"):
        C.PourContext(0.1, 0.2, 0.1, 0.05, 0.06, 0.2)
    with pytest.raises(ConfigError, match="axis_in_cup_x = nan"):
        C.PourParameters(0.0, 0.05, math.nan, 0.0, -2.0)
    with pytest.raises(ConfigError, match="expected 5 values"):
        C.PourParameters.from_array([0.0, 1.0])


@given(st.lists(st.floats(-1, 1), min_size=11, max_size=11))
def test_encode_inverts_decode(row: list[float]) -> None:
    contexts, parameters = C.decode(np.array(row))
    assert C.encode(contexts, parameters)[0] == pytest.approx(row, abs=1e-9)
    assert C.PourContext.from_array(contexts[0]).array() == pytest.approx(contexts[0])


def test_encode_repeats_one_context_and_refuses_what_it_cannot_express() -> None:
    rows = np.tile(POUR.array(), (3, 1))
    assert C.encode(PAIR, rows).shape == (3, 11)
    rows[2, 1] = 0.4
    with pytest.raises(ConfigError, match=r"row 2: axis_in_bowl_z = 0.4: allowed \[0, 0.15\]"):
        C.encode(PAIR, rows)
    with pytest.raises(ConfigError, match="2 contexts with 3 parameter sets"):
        C.encode(np.tile(PAIR.array(), (2, 1)), rows)


@given(st.floats(0, 1))
def test_score_is_positive_above_nine_tenths_only(fraction: float) -> None:
    score = C.score_of(fraction)
    assert -1 <= score <= 1 + 1e-12 and (score > 0) == (fraction > 0.9)
    assert float(C.fraction_of(score)) == pytest.approx(fraction)


def test_the_tilt_axis_stays_where_it_is() -> None:
    pivot_in_cup = np.array([POUR.axis_in_cup_x * PAIR.cup_diameter, 0, POUR.axis_in_cup_z * PAIR.cup_height, 1])
    rim = np.array(BOWL_POSITION) + [0, 0, PAIR.bowl_height]
    expected = rim + [POUR.axis_in_bowl_x * PAIR.bowl_diameter, 0, POUR.axis_in_bowl_z]
    for pose in pour_path(PAIR, POUR, n=7):
        assert (pose @ pivot_in_cup)[:3] == pytest.approx(expected)


def test_a_path_starts_upright_ends_at_the_pitch_and_turns_with_the_yaw() -> None:
    path = pour_path(PAIR, POUR, yaw=1.1, n=5)
    assert path[0, :3, 2] == pytest.approx([0, 0, 1])
    assert path[-1, 2, 2] == pytest.approx(math.cos(POUR.pitch))
    straight = cup_pose(PAIR, POUR, POUR.pitch)
    radius = np.hypot(*(straight[:2, 3] - BOWL_POSITION[:2]))
    assert np.hypot(*(path[-1, :2, 3] - BOWL_POSITION[:2])) == pytest.approx(radius)
    # A cup that pours (negative pitch) opens towards the bowl's other side.
    assert straight[:3, 2][0] < 0


def test_validity_of_clear_cases() -> None:
    assert is_valid(PAIR, POUR)
    through_the_wall = C.PourParameters(0.5, 0.0, 0.0, 0.3, -2.0)
    assert not is_valid(PAIR, through_the_wall)
    rows = np.stack([POUR.array(), through_the_wall.array()])
    assert is_valid(PAIR, rows).tolist() == [True, False]
    assert is_valid(np.tile(PAIR.array(), (2, 1)), rows).tolist() == [True, False]


def test_about_seven_tenths_of_uniform_parameters_are_valid() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(20):
        pair = draw_context(rng)[0]
        rows = C.decode(rng.uniform(-1, 1, (50, 11)))[1]
        rates.append(is_valid(pair, rows).mean())
    assert 0.6 < np.mean(rates) < 0.8


def test_published_trials_are_valid(data_folder: Path) -> None:
    with np.load(data_folder / "pouring_paper.npz", allow_pickle=False) as data:
        contexts, parameters = C.decode(data["x_pool"][:150])
        names = data["feature_names"].tolist()
    assert names == list(C.FEATURE_NAMES)
    assert is_valid(contexts, parameters).mean() > 0.88


@pytest.mark.parametrize("bowl", BOWLS)
def test_every_named_vessel_makes_a_context(bowl: str) -> None:
    cup = list(CUPS)[list(BOWLS).index(bowl)]
    pair = context_of(bowl, cup)
    bottom, top, _ = BOWLS[bowl]
    assert bowl_of(pair).base_diameter == pytest.approx(bottom / 100)
    assert bowl_of(pair).top_diameter == pytest.approx(top / 100)
    assert cup_of(pair).bottom == pytest.approx(-pair.cup_height / 2)


def test_unknown_or_impossible_vessels_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown bowl 'plaid': choose one of white"):
        context_of("plaid", "red")
    with pytest.raises(ConfigError, match="leaves no room inside"):
        Vessel(0.02, 0.02, 0.05, 0.01)
    with pytest.raises(ConfigError, match="positive length"):
        Vessel(0.1, -0.1, 0.05, 0.01)


@pytest.mark.parametrize("vessel", [bowl_of(PAIR), cup_of(PAIR), Vessel(0.06, 0.06, 0.05, 0.005, centred=True)])
def test_slats_close_the_wall_and_leave_the_inside_free(vessel: Vessel) -> None:
    boxes = slats(vessel)
    angles = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    level = vessel.height * 0.6
    middle = float(vessel.inner_radius(level)) + vessel.wall / 2 / math.cos(vessel.slope)
    ring = np.stack([middle * np.cos(angles), middle * np.sin(angles), np.full(90, vessel.bottom + level)], axis=1)
    assert _in_any(boxes, ring).all()
    free = 0.93 * float(vessel.inner_radius(level))
    inside = np.stack([free * np.cos(angles), free * np.sin(angles), ring[:, 2]], axis=1)
    assert not _in_any(boxes, inside).any()
    spots = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    spots = spots[np.hypot(*spots.T) < 1] * (vessel.base_diameter / 2 - vessel.wall)
    floor = np.column_stack([spots, np.full(len(spots), vessel.bottom + vessel.wall / 2)])
    assert _in_any(boxes, floor).all()


@pytest.mark.parametrize("bowl", BOWLS)
def test_slats_reach_from_the_underside_to_the_rim_and_no_farther(bowl: str) -> None:
    for vessel in (bowl_of(context_of(bowl, "red")), cup_of(context_of(bowl, "olive1"))):
        z = []
        for box in slats(vessel):
            x, y, z_, w = box.quaternion
            z += [box.position[2] + side * np.abs(quat2mat((w, x, y, z_))[2]) @ box.half_extents for side in (-1, 1)]
        assert min(z) == pytest.approx(vessel.bottom, abs=1e-9)
        assert max(z) == pytest.approx(vessel.bottom + vessel.height, abs=1e-9)


def test_lathe_meshes_are_closed_and_point_outwards() -> None:
    cup = cup_of(PAIR)
    mesh = lathe(cup, 24)
    vertices, normals, indices = (np.array(mesh[part]) for part in ("vertices", "normals", "indices"))
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(len(normals)))
    triangles = vertices[indices.reshape(-1, 3)]
    area = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
    volume = np.einsum("ij,ij->", triangles[:, 0], area) / 3
    solid = math.pi * (0.25 * cup.height * (cup.base_diameter**2 + cup.top_diameter**2) / 2)
    assert 0.1 * solid < volume < 0.6 * solid  # a hollow body: only wall and base
    facing = np.einsum("ij,ij->i", normals[indices.reshape(-1, 3)[:, 0]], area)
    assert (facing > -1e-12).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_a_drawn_scene_is_within_its_truncations(seed: int) -> None:
    setup = draw(seed)
    cup = cup_of(setup.context)
    n = len(setup.positions)
    assert MIN_BEADS <= n <= 100 and len(setup.radii) == len(setup.masses) == n
    assert setup.radii.min() >= 0.004 and setup.masses.min() >= 0.5e-3
    assert ((setup.bead_surfaces >= 0).all(axis=0)).all() and (setup.bead_surfaces[:, 3] <= 1).all()
    level = setup.positions[:, 2] - cup.bottom
    radius = np.hypot(setup.positions[:, 0], setup.positions[:, 1])
    assert (radius + setup.radii <= cup.inner_radius(level) + 1e-3).all() and (level >= setup.radii).all()
    gaps = np.linalg.norm(setup.positions[:, None] - setup.positions, axis=2) - setup.radii - setup.radii[:, None]
    assert gaps[~np.eye(n, dtype=bool)].min() > -1e-6
    again = draw(seed)
    assert np.array_equal(again.positions, setup.positions) and again.context == setup.context


def test_a_given_context_changes_only_the_sizes() -> None:
    free, given_pair = draw(5), draw(5, PAIR)
    assert given_pair.context == PAIR
    assert given_pair.fill == free.fill and given_pair.bowl_surface == free.bowl_surface


def _in_any(boxes: list, points: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(points), dtype=bool)
    for box in boxes:
        x, y, z, w = box.quaternion
        local = (points - box.position) @ quat2mat((w, x, y, z))
        inside |= (np.abs(local) <= np.array(box.half_extents) + 1e-9).all(axis=1)
    return inside
