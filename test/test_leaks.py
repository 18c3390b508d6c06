"""A process that plans and simulates for days does not grow: PyBullet frees the shapes of a world, never of a body."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import run_command

from memristor_bdnn import skills
from memristor_bdnn.benchmark.memory import growth_kib, plans, scenes
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.engine import Engine
from memristor_bdnn.skills.pouring.vessels import bowl_of, context_of, cup_of, slats

PANDA = arms.load("panda")
CONTEXT = context_of("green", "green")
BOWL, CUP = slats(bowl_of(CONTEXT)), slats(cup_of(CONTEXT))


def in_hand(depth: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[2, 3] = depth
    return pose


def test_obstacles_and_held_bodies_that_come_and_go_cost_nothing() -> None:
    model = CollisionModel(PANDA, padding=0.003)

    def change(i: int) -> None:
        model.clear_obstacles()
        model.add_obstacle("bowl", BOWL, (0.5 + 1e-4 * (i % 7), 0, 0.05))
        model.release()
        model.hold(CUP, in_hand())

    assert growth_kib(change, 500, 100) < 4.0  # 52 without emptying the world
    model.close()


def test_a_world_that_was_emptied_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Obstacles, rooms, held body and fingers are put back; pairs that may touch stay those."""
    emptied: list[int] = []
    whole = Engine.empty
    monkeypatch.setattr(Engine, "empty", lambda self: (emptied.append(1), whole(self)))
    rng = np.random.default_rng(4)
    low, high = PANDA.limits()
    questions = rng.uniform(low, high, (40, PANDA.dof))

    def answers(model: CollisionModel) -> list[object]:
        return [sorted(model.contacts(q)) + sorted(model.near(q, 0.05)) for q in questions]

    fresh, old = CollisionModel(PANDA, padding=0.003), CollisionModel(PANDA, padding=0.003)
    for _ in range(80):
        old.clear_obstacles()
        old.release()
        old.add_obstacle("wall", BOWL, (0.3, 0.3, 0.2))
        old.hold(CUP, in_hand(0.1))
    assert emptied
    for model in (fresh, old):
        model.clear_obstacles()
        model.open_fingers(0.03)
        model.add_obstacle("bowl", BOWL, (0.5, 0, 0.05))
        model.set_room("bowl", -0.01)
        model.hold(CUP, in_hand())
    before, count = answers(old), len(emptied)
    assert before == answers(fresh)
    while len(emptied) == count:  # emptied with a bowl, its room and a cup in the hand
        old.add_obstacle("post", BOWL, (0.0, -0.6, 0.1))
        fresh.add_obstacle("post", BOWL, (0.0, -0.6, 0.1))
    assert answers(old) == answers(fresh)
    for model in (fresh, old):
        model.close()


def test_a_new_obstacle_does_not_inherit_what_may_touch_a_held_body() -> None:
    """The engine gives numbers of removed bodies to new ones."""
    held, never = CollisionModel(PANDA), CollisionModel(PANDA)
    held.add_obstacle("bowl", BOWL, (0.5, 0, 0.05))
    held.hold(CUP, in_hand())
    held.clear_obstacles()
    held.release()
    home = np.asarray(PANDA.home)
    hand = held.chain.fk(home)[:3, 3]
    for model in (held, never):
        model.add_obstacle("bowl", BOWL, hand)
    found = [
        {c.first for c in model.contacts(home)} | {c.second for c in model.contacts(home)} for model in (held, never)
    ]
    assert found[0] == found[1] and "bowl" in found[1]
    for model in (held, never):
        model.close()


@pytest.mark.parametrize(
    ("name", "make", "n"), [("pushing", plans, 120), ("pushing", scenes, 150), ("pouring", scenes, 100)]
)
def test_plans_and_scenes_cost_nothing(name: str, make: Callable[..., object], n: int) -> None:
    step, close = make(skills.load(name), "panda")
    assert growth_kib(step, n) < 16.0
    close()


def test_what_something_else_takes_once_is_no_growth_and_a_leak_is() -> None:
    """Another thread of a busy process may take megabytes in the middle of a measurement."""
    kept: list[np.ndarray] = []

    def once(i: int) -> None:
        if i == 30:
            kept.append(np.ones((16 << 20) // 8))

    assert growth_kib(once, 50, 5) < 16.0
    assert growth_kib(lambda i: kept.append(np.ones((256 << 10) // 8)), 50, 5) > 200.0


def test_the_figure_of_many_plans_has_a_command() -> None:
    run = run_command("benchmark", "planning", "--memory", "10")
    assert run.returncode == 0, run.stderr
    assert "pouring_kib_per_plan" in run.stdout and "pushing_kib_per_scene" in run.stdout
    assert run_command("benchmark", "planning", "--memory", "0").returncode == 1
