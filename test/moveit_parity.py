"""Is MoveIt told of the world that we plan in? A scene goes through its messages, and both worlds are asked.

Prints one line of JSON: configurations tested, how many touch something in ours, and in how many the two differ.
"""

import json
import sys
from dataclasses import replace

import numpy as np
from move_group import World

from memristor_bdnn.motion import arms
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.nodes import moveit_convert
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION
from memristor_bdnn.skills.pouring.grasp import grasp
from memristor_bdnn.skills.pouring.vessels import bowl_of, context_of, cup_of, slats


def main(name: str) -> None:
    arm = replace(arms.load(name), mount_height=0.1, mount_rotation=(0.0, 0.0, 0.4), mount_position=(0.05, 0.0))
    context, kinds = context_of("green", "teal"), moveit_convert.types()
    held = grasp(arm, cup_of(context), 0.0)
    # Without padding: with it our model keeps room around the arm too, where MoveIt is sent larger boxes.
    ours = CollisionModel(arm, padding=0.0)
    ours.add_obstacle("wall", slats(bowl_of(context))[:3], (0.2, 0.3, 0.2), (0.0, 0.6, 0.0, 0.8))
    ours.add_obstacle("bowl", slats(bowl_of(context)), BOWL_POSITION)
    ours.hold(slats(cup_of(context)), held.at(0.3))
    world = World(arm)
    message, ids = moveit_convert.scene_diff(kinds, ours.scene(), "", ["memristor_bdnn_gone"])
    matrix = kinds.msg.AllowedCollisionMatrix(entry_names=world.names)
    matrix.entry_values = [kinds.msg.AllowedCollisionEntry(enabled=row) for row in world.matrix]
    allowed = moveit_convert.allowing_table(kinds, matrix, ours.scene(), "")
    assert moveit_convert.allowing_table(kinds, allowed, ours.scene(), "") is None, "asked for once is enough"
    before = [list(row.enabled) for row in matrix.entry_values]
    assert [list(row.enabled)[: len(before)] for row in allowed.entry_values[: len(before)]] == before
    message.allowed_collision_matrix = allowed
    assert world.apply(message) == ""
    assert ids == {*world.objects, *world.attached} == {f"memristor_bdnn_{n}" for n in ("wall", "bowl", "cup", "table")}
    theirs = world.model()
    low, high = arm.limits()
    path = np.random.default_rng(1).uniform(low, high, (400, arm.dof)) * 0.5 + 0.5 * np.array(arm.home)
    a, b = ({i for i, _ in model.all_contacts(path)} for model in (ours, theirs))
    with_cup = {c.second for q in path for c in ours.contacts(q) if c.first == "cup"} | {"cup"}
    print(json.dumps({"tested": len(path), "touching": len(a), "differ": len(a ^ b), "named": sorted(with_cup)}))


if __name__ == "__main__":
    main(sys.argv[1])
