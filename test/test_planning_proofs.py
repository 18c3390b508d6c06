"""What bounds call free is free, measured pair by pair; and they call most of a plan free."""

from __future__ import annotations

import numpy as np
import pytest

from memristor_bdnn.motion import arms, collision, cover
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.kinematics import rotation, transform
from memristor_bdnn.motion.relatives import Relative
from memristor_bdnn.skills.pouring.context import PourParameters
from memristor_bdnn.skills.pouring.motion import PourPlanner
from memristor_bdnn.skills.pouring.vessels import bowl_of, context_of, cup_of, slats
from memristor_bdnn.testing import scenes

PADDING = 0.003
PAIR = context_of("green", "teal")
POUR = PourParameters(0.1, 0.08, -0.2, 0.3, -2.2)
UPRIGHT = transform(rotation((0, 1, 0), -np.pi / 2))


def sure(model: CollisionModel, path: np.ndarray) -> np.ndarray:
    return model._begin(path)[1]


def near_home(model: CollisionModel, rng: np.random.Generator, n: int) -> np.ndarray:
    """Configurations (n, dof) like those of plans, and some anywhere."""
    low, high = model.arm.limits()
    around = np.clip(np.array(model.arm.home) + rng.normal(0, 0.7, (n, model.arm.dof)), low, high)
    return np.concatenate([around, rng.uniform(low, high, (n // 3, model.arm.dof))])


@pytest.mark.parametrize("name", ["panda", "kuka_iiwa", "ur5e_2f85"])
def test_what_bounds_call_free_is_free_measured_pair_by_pair(name: str) -> None:
    model, rng = CollisionModel(arms.load(name), padding=PADDING), np.random.default_rng(0)
    shares = []
    for round_ in range(3):
        scenes.random_scene(model, rng, boxes=3)
        model.add_obstacle("bowl", slats(bowl_of(PAIR)), (0.5, 0.0, 0.0))
        model.open_fingers(model.arm.max_grasp_width * round_ / 2)
        model.hold(slats(cup_of(PAIR)), UPRIGHT @ transform(position=(0.0, 0.0, 0.01 * round_)))
        path = near_home(model, rng, 90)
        found = sure(model, path)
        shares.append(found.mean())
        wrong = [model.near(q, PADDING) for q in path[found]]
        assert not any(wrong), next(contacts for contacts in wrong if contacts)
    assert np.mean(shares) > 0.2  # and they do say something
    model.close()


def test_answers_are_those_of_the_engine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    found: dict[int, list[object]] = {}
    kept = collision.FEW
    for few in (kept, 10_000):
        monkeypatch.setattr(collision, "FEW", few)
        model = CollisionModel(arms.load("panda"), padding=PADDING)
        if few == kept:
            paths = [near_home(model, rng, 30) for _ in range(3)]
        model.add_obstacle("bowl", slats(bowl_of(PAIR)), (0.5, 0.0, 0.0))
        model.hold(slats(cup_of(PAIR)), UPRIGHT)
        found[few] = [[i for i, _ in model.all_contacts(path)] for path in paths]
        found[few] += [model.first_contact(path, np.arange(len(path))[::-1])[0] for path in paths]
        model.close()
    assert found[kept] == found[10_000]


def test_most_of_a_plan_needs_no_engine() -> None:
    planner = PourPlanner(arms.load("panda"))
    plan = planner.plan(PAIR, POUR, seed=0)
    assert sure(planner.model, plan.part("approach").fine(0.01)).mean() > 0.7
    planner.close()


def test_a_new_body_in_the_hand_or_on_the_table_counts_at_once() -> None:
    model = CollisionModel(arms.load("panda"), padding=PADDING)
    home = np.tile(np.array(model.arm.home), (8, 1))
    tool = model.chain.fk(home[0])[:3, 3]
    assert sure(model, home).all()
    model.add_obstacle("block", [scenes.Box((0.03, 0.03, 0.03), tuple(tool.tolist()))])
    assert not sure(model, home).any() and model.first_contact(home) is not None
    model.clear_obstacles()
    assert sure(model, home).all()
    model.hold([scenes.Box((0.02, 0.02, tool[2] + 0.01), (0.0, 0.0, 0.0))], UPRIGHT)  # reaches the table
    assert not sure(model, home).any() and model.first_contact(home) is not None
    model.release()
    assert sure(model, home).all()
    model.close()


def test_contacts_of_hand_and_cup_with_what_stands_there_are_the_same_for_all_postures() -> None:
    model = CollisionModel(arms.load("panda"), padding=PADDING)
    model.add_obstacle("bowl", slats(bowl_of(PAIR)), (0.5, 0.0, 0.0))
    model.hold(slats(cup_of(PAIR)), UPRIGHT)
    for first, second, wanted in (
        ("panda_hand", "bowl", True),
        ("bowl", "cup", True),
        ("panda_link7", "table", True),
        ("panda_link6", "bowl", False),
        ("panda_link5", "panda_hand", False),
        ("panda_link5", "cup", False),
    ):
        assert model.inevitable(collision.Contact(first, second, 0.0)) == wanted, (first, second)
    model.close()


@pytest.mark.parametrize("stretch", [(1.0, 1.0, 1.0), (0.3, 1.0, 4.0), (3.0, 0.1, 1.0)])
def test_spheres_enclose_the_hull(stretch: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3)) * 0.05 * np.array(stretch)
    inside = rng.dirichlet(np.full(40, 0.1), 4000) @ points  # anywhere in the hull, its rim included
    for spheres in (cover.cover(points), cover.around(points, 3)):
        gaps = np.linalg.norm(inside[:, None] - spheres.centres, axis=2) - spheres.radii
        assert gaps[:, 0].max() < 0 and gaps[:, 1:].min(axis=1).max() < 0


def test_a_relative_moves_no_farther_than_it_says() -> None:
    model, rng = CollisionModel(arms.load("panda")), np.random.default_rng(0)
    points = rng.normal(size=(30, 3)) * 0.1
    low, high = model.arm.limits()
    for joint, between in ((6, 1), (6, 2), (3, 2)):
        relative = Relative(0, 0, joint, between, points)
        for q in rng.uniform(low, high, (50, 7)):
            other = q.copy()
            turns = rng.uniform(-0.3, 0.3, between)
            other[joint - between + 1 : joint + 1] += turns
            seen = []
            for configuration in (q, other):
                frames = model.chain.frames(configuration)
                into = np.linalg.inv(frames[joint - between]) @ frames[joint]
                seen.append(points @ into[:3, :3].T + into[:3, 3])
            farthest = float(relative.rates(model.chain) @ np.abs(turns))
            assert np.linalg.norm(seen[1] - seen[0], axis=1).max() <= farthest + 1e-12
    model.close()
