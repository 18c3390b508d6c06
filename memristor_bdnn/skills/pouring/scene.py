"""The bodies of one trial in a physics client: table, bowl, held cup, beads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.bullet import pybullet
from memristor_bdnn.skills.pouring.setup import Surface, TrialSetup
from memristor_bdnn.skills.pouring.vessels import Vessel, bowl_of, cup_of, slats

FloatArray = npt.NDArray[np.floating[Any]]

GRAVITY = -9.81
GRIP_FORCE = 500.0
DRIVEN_MASS = 1.0
"""Mass of a driven cup, kg: beads must not push it off its path."""


class Scene:
    """Builds and owns the bodies of one trial.

    The cup is held in one of two ways. *Driven*: a rigid body whose velocity is set before every step
    so that it reaches its target at the end of the step; contacts see a moving wall, nothing leaks, and
    with every body a plain rigid body a step costs half. *In the hand*: see :meth:`give_to`.

    Args:
        client: physics client id, empty.
        setup: the randomised scene.
        bowl_position: centre of the bowl's base in the world, metres.
        cup_pose: the cup's pose (4, 4); its beads lie in it as drawn.
        time_step: of the simulation, seconds.
        driven: hold the cup by driving it; otherwise call :meth:`give_to` next.
        riding: the beads are no bodies yet: their mass is the cup's, and they move with it until :meth:`set_free`.

    Attributes:
        bowl, cup, beads: body ids; no beads while they ride.
    """

    def __init__(
        self,
        client: int,
        setup: TrialSetup,
        bowl_position: tuple[float, float, float],
        cup_pose: FloatArray,
        time_step: float,
        driven: bool = True,
        riding: bool = False,
    ) -> None:
        self._client, self._step, self._driven = client, time_step, driven
        self.setup = setup
        self.bowl_vessel, self.cup_vessel = bowl_of(setup.context), cup_of(setup.context)
        p, c = pybullet, client
        p.setGravity(0, 0, GRAVITY, physicsClientId=c)
        ground = p.createCollisionShape(p.GEOM_PLANE, physicsClientId=c)
        self.table = p.createMultiBody(0.0, ground, useMaximalCoordinates=1, physicsClientId=c)
        turn = (0.0, 0.0, math.sin(setup.bowl_yaw / 2), math.cos(setup.bowl_yaw / 2))
        position, quaternion = cup_pose[:3, 3].tolist(), quaternion_of(cup_pose[:3, :3])
        self.bowl = self._vessel(self.bowl_vessel, setup.bowl_mass, setup.bowl_surface, bowl_position, turn, True)
        mass = DRIVEN_MASS if driven else setup.cup_mass + (float(setup.masses.sum()) if riding else 0.0)
        self.cup = self._vessel(self.cup_vessel, mass, setup.cup_surface, position, quaternion, driven)
        if driven:
            p.changeDynamics(self.cup, -1, linearDamping=0.0, angularDamping=0.0, physicsClientId=c)
        self._target: tuple[Any, Any] = (position, quaternion)
        self._riding = riding
        self.beads = [] if riding else self._make_beads(setup.positions @ cup_pose[:3, :3].T + cup_pose[:3, 3])

    def move_cup(self, position: Any, quaternion: Any) -> None:
        """Where a driven cup's centre shall be after the next :meth:`step` (quaternion xyzw)."""
        self._target = (position, quaternion)

    def step(self) -> None:
        """Advance the simulation by one time step."""
        p, c = pybullet, self._client
        if self._driven:
            dt = self._step
            (x, y, z), quaternion = p.getBasePositionAndOrientation(self.cup, physicsClientId=c)
            (tx, ty, tz), goal = self._target
            axis, angle = p.getAxisAngleFromQuaternion(p.getDifferenceQuaternion(quaternion, goal))
            rate = (angle if angle <= math.pi else angle - 2 * math.pi) / dt
            p.resetBaseVelocity(
                self.cup,
                ((tx - x) / dt, (ty - y) / dt, (tz - z) / dt - GRAVITY * dt),
                (axis[0] * rate, axis[1] * rate, axis[2] * rate),
                physicsClientId=c,
            )
        p.stepSimulation(physicsClientId=c)

    def give_to(self, arm: int, link: int, cup_in_link: FloatArray) -> None:
        """Hand the cup over to an arm: fix its pose (4, 4) in the link's centre-of-mass frame."""
        p, c = pybullet, self._client
        for index in range(-1, p.getNumJoints(arm, physicsClientId=c)):
            p.setCollisionFilterPair(arm, self.cup, index, -1, 0, physicsClientId=c)
        grip = p.createConstraint(
            arm,
            link,
            self.cup,
            -1,
            p.JOINT_FIXED,
            (0, 0, 0),
            cup_in_link[:3, 3].tolist(),
            (0, 0, 0),
            quaternion_of(cup_in_link[:3, :3]),
            (0, 0, 0, 1),
            physicsClientId=c,
        )
        p.changeConstraint(grip, maxForce=GRIP_FORCE, physicsClientId=c)

    def set_free(self) -> None:
        """Make riding beads bodies of their own, at rest where they are in the cup; harmless when they do not ride."""
        if not self._riding:
            return
        self.beads, self._riding = self._make_beads(self.bead_positions()), False
        pybullet.changeDynamics(self.cup, -1, mass=self.setup.cup_mass, physicsClientId=self._client)

    def bead_positions(self) -> FloatArray:
        """World positions of the beads, (n, 3) m."""
        pose, c = pybullet.getBasePositionAndOrientation, self._client
        if self._riding:
            return self._in_cup_as_drawn(*pose(self.cup, physicsClientId=c))
        return np.array([pose(b, physicsClientId=c)[0] for b in self.beads])

    def bead_speeds(self) -> FloatArray:
        """Speeds of the beads against the world, or against the cup while they ride in it, (n,) m/s."""
        velocity, c = pybullet.getBaseVelocity, self._client
        if self._riding:
            return np.zeros(len(self.setup.radii))
        return np.linalg.norm([velocity(b, physicsClientId=c)[0] for b in self.beads], axis=1)

    def local(self, body: int, vessel: Vessel, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distance from a vessel's axis and height above its underside of points (n, 3), each (n,) m."""
        position, quaternion = pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)
        rotation = np.array(pybullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)
        local = (points - position) @ rotation
        return np.hypot(local[:, 0], local[:, 1]), local[:, 2] - vessel.bottom

    def inside(self, body: int, vessel: Vessel, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Which points (n, 3) lie inside a vessel, or are heaped on it no higher than a bead."""
        radius, level = self.local(body, vessel, points)
        heaped = vessel.height + self.setup.radii
        return (level > 0) & (level < heaped) & (radius < vessel.outer_radius(level) - vessel.wall / 2)

    def bowl_tilt(self) -> float:
        """Angle of the bowl's axis from the vertical, radians."""
        quaternion = pybullet.getBasePositionAndOrientation(self.bowl, physicsClientId=self._client)[1]
        return math.acos(max(-1.0, min(1.0, pybullet.getMatrixFromQuaternion(quaternion)[8])))

    def in_cup(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Which bead positions are in the cup."""
        return self.inside(self.cup, self.cup_vessel, points)

    def in_bowl(self, points: FloatArray) -> npt.NDArray[np.bool_]:
        """Which bead positions are in the bowl, wherever the bowl is now."""
        return self.inside(self.bowl, self.bowl_vessel, points)

    def _vessel(self, vessel: Vessel, mass: float, surface: Surface, position: Any, turn: Any, rigid: bool) -> int:
        p, c = pybullet, self._client
        boxes = slats(vessel, base=False)
        radius = float(vessel.outer_radius(0.0)) - vessel.wall / 2
        shape = p.createCollisionShapeArray(
            shapeTypes=[p.GEOM_BOX] * len(boxes) + [p.GEOM_CYLINDER],
            halfExtents=[b.half_extents for b in boxes] + [(0, 0, 0)],
            radii=[0.0] * len(boxes) + [radius],
            lengths=[0.0] * len(boxes) + [vessel.wall],
            collisionFramePositions=[b.position for b in boxes] + [(0, 0, vessel.bottom + vessel.wall / 2)],
            collisionFrameOrientations=[b.quaternion for b in boxes] + [(0, 0, 0, 1)],
            physicsClientId=c,
        )
        body = p.createMultiBody(
            mass,
            shape,
            basePosition=position,
            baseOrientation=turn,
            useMaximalCoordinates=int(rigid),
            physicsClientId=c,
        )
        s = surface
        p.changeDynamics(
            body,
            -1,
            lateralFriction=s.lateral_friction,
            spinningFriction=s.spinning_friction,
            rollingFriction=s.rolling_friction,
            restitution=s.restitution,
            linearDamping=s.linear_damping,
            angularDamping=s.angular_damping,
            activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
            physicsClientId=c,
        )
        return int(body)

    def _in_cup_as_drawn(self, position: Any, quaternion: Any) -> FloatArray:
        rotation = np.array(pybullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)
        return np.asarray(self.setup.positions @ rotation.T + position)

    def _make_beads(self, positions: FloatArray) -> list[int]:
        p, c, s = pybullet, self._client, self.setup
        beads = []
        columns = zip(s.radii.tolist(), s.masses.tolist(), positions.tolist(), s.bead_surfaces.tolist(), strict=True)
        for radius, mass, position, (lateral, spinning, rolling, restitution, linear, angular) in columns:
            shape = p.createCollisionShape(p.GEOM_SPHERE, radius=radius, physicsClientId=c)
            bead = p.createMultiBody(mass, shape, basePosition=position, useMaximalCoordinates=1, physicsClientId=c)
            p.changeDynamics(
                bead,
                -1,
                lateralFriction=lateral,
                spinningFriction=spinning,
                rollingFriction=rolling,
                restitution=restitution,
                linearDamping=linear,
                angularDamping=angular,
                physicsClientId=c,
            )
            beads.append(int(bead))
        return beads


def quaternion_of(rotation: FloatArray) -> tuple[float, float, float, float]:
    """Quaternion xyzw of a rotation matrix (3, 3)."""
    from transforms3d.quaternions import mat2quat

    w, x, y, z = mat2quat(rotation).tolist()
    return (x, y, z, w)
