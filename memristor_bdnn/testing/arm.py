"""What every arm description must satisfy, as a pytest class to inherit from; needs PyBullet.

In a plugin's own test file::

    from memristor_bdnn.testing import ArmConformance

    class TestMine(ArmConformance):
        arm = "mine"
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.arms import ArmDescription
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.kinematics import chain

Array = npt.NDArray[Any]


class ArmConformance:
    """Tests of an arm; a subclass names it.

    Attributes:
        arm: registry name, or the path of a YAML file.
        upright: largest tilt (rad) of what the hand holds at home.
    """

    arm: ClassVar[str] = ""
    upright: ClassVar[float] = 0.02

    def make(self) -> ArmDescription:
        """The description."""
        return arms.load(self.arm)

    def configurations(self, n: int, seed: int = 0) -> Array:
        """Random configurations (n, dof) within the limits, rad."""
        low, high = self.make().limits()
        return np.random.default_rng(seed).uniform(low, high, (n, len(low)))

    @pytest.fixture
    def loaded(self) -> Iterator[Any]:
        """The arm in a PyBullet client of its own."""
        from memristor_bdnn.motion import bullet
        from memristor_bdnn.motion.ports.simulated import SimulatedArm

        client = bullet.client()
        yield SimulatedArm(client, self.make())
        client.disconnect()

    def test_is_listed_or_a_file(self) -> None:
        """The registry finds it by name, or it is a YAML file."""
        if Path(self.arm).suffix not in (".yaml", ".yml"):
            description = arms.available().get(self.arm, "not listed")
            assert not description.startswith("not "), description
            assert self.make().name == self.arm

    def test_the_urdf_has_the_joints_between_base_and_tool(self) -> None:
        """Names and order of the moving joints are those of the description."""
        arm = self.make()
        assert Path(arm.urdf_path()).is_file()
        assert len(chain(arm).axes) == arm.dof

    def test_limits_are_ranges(self) -> None:
        """Every joint can move, and none further than its range."""
        low, high = self.make().limits()
        assert (low < high).all(), "a joint's lower limit is not below its upper limit"

    def test_home_is_within_the_limits_and_upright(self) -> None:
        """Every trial starts there, holding something upright."""
        from memristor_bdnn.motion.upright import tilt_of

        arm = self.make()
        assert arm.within_limits(arm.home)
        tilt = float(tilt_of(chain(arm), arm.cup_axis, np.array(arm.home)))
        assert tilt < self.upright, f"what the hand holds is tilted by {tilt:.3f} rad at home"

    def test_inverse_kinematics_finds_what_it_should(self) -> None:
        """The solver passes its self-test against the URDF; every solution reaches the pose within the limits."""
        arm = self.make()
        solver = ik.create(arm)
        known = self.configurations(50, 1)
        poses = solver.chain.fk(known)
        q, valid = solver.solve(poses, solver.free_of(known))
        assert arm.within_limits(q[valid]).all()
        np.testing.assert_allclose(solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0), atol=1e-6)

    def test_forward_kinematics_is_the_simulators(self, loaded: Any) -> None:
        """Our chain and PyBullet put the tool at the same place, within a micrometre."""
        kinematics = chain(self.make())
        for q in self.configurations(10):
            loaded.set_joints(q)
            np.testing.assert_allclose(kinematics.fk(q), loaded.tool_pose(), atol=1e-6)

    def test_the_hand_is_described_whole(self, loaded: Any) -> None:
        """A hand that closes has joints, links and a width; one without fingers has no width."""
        arm = self.make()
        assert (arm.max_grasp_width > 0) == bool(arm.gripper_joints), "max_grasp_width without fingers, or the reverse"
        assert len(loaded.fingers) == len(arm.gripper_joints)
        for width in (0.0, arm.max_grasp_width / 2, arm.max_grasp_width):
            assert arm.finger_open or sum(arm.finger_positions(width)) <= width + 1e-9
            loaded.set_grasp_width(width, at_once=True)

    def test_an_unknown_arm_is_refused_with_the_choices(self) -> None:
        """A wrong name lists the right ones."""
        if self.arm in arms.names():
            with pytest.raises(ConfigError, match=self.arm):
                arms.load(f"{self.arm}_x")
