"""The bodies of one push in a physics client: table, object and, without an arm, fingers that move by themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.bullet import pybullet
from memristor_bdnn.skills.pushing.geometry import FINGERS, OBJECT, yaw_of
from memristor_bdnn.skills.pushing.setup import TrialSetup

FloatArray = npt.NDArray[np.floating[Any]]

GRAVITY = -9.81
PADS = 0.8
"""Friction of the fingers' pads; the engine multiplies it by the object's, so objects slip along them: they are pushed
along the contact's normal more than along the hand's motion (assumption)."""
STIFFNESS, DAMPING = 30_000.0, 1000.0
"""Contact stiffness N/m and damping N s/m of the Panda's fingers in its URDF."""
DRIVEN_MASS = 50.0
"""Mass of fingers that move by themselves, kg: the object must not push them off their path."""
HELD_MASS, GRIP_FORCE = 1.0, 2000.0
"""Mass of the fingers in an arm's hand, kg, and the force that holds them there, N. Lighter ones give way when they
hit the object, because the engine solves that contact and the hold one after the other."""
LONG = 0.0537
"""Length of the fingers, m. Their walls are upright, as the pads are: the collision mesh leans by 1.7 mm, which would
let every touch begin at the object's upper edge and rock it."""

FOOT = 0.004
"""Radius of the balls that an object stands on, m; they stick out of its base by half a radius."""
OUTER_FEET, INNER_FEET = 1.0, 0.4
"""Where they stand, from the middle to the rim. Eight balls that carry alike resist turning about as a base
with even pressure does (mean distance from the middle: 0.77 half edges of a square, 2/3 of a circle's radius)."""
_CORNERS = ((1, 1), (-1, 1), (-1, -1), (1, -1))
_EDGES = ((1, 0), (0, 1), (-1, 0), (0, -1))
_DIAGONAL = tuple((x / math.sqrt(2.0), y / math.sqrt(2.0)) for x, y in _CORNERS)


class Scene:
    """Builds and owns the bodies of one trial.

    Args:
        client: physics client id; empty, or with an arm.
        setup: the randomised scene.
        time_step: of the simulation, s.

    Attributes:
        item: body id of the object.
        fingers: body id of the fingers, -1 before :meth:`add_fingers` or :meth:`give_fingers`.
    """

    def __init__(self, client: int, setup: TrialSetup, time_step: float) -> None:
        self._client, self._step, self.setup = client, time_step, setup
        p, c, context = pybullet, client, setup.context
        p.setGravity(0, 0, GRAVITY, physicsClientId=c)
        ground = p.createCollisionShape(p.GEOM_PLANE, physicsClientId=c)
        self.table = p.createMultiBody(0.0, ground, physicsClientId=c)
        p.changeDynamics(self.table, -1, lateralFriction=1.0, restitution=0.0, physicsClientId=c)
        shape = self._object_shape()
        self.yaw = yaw_of(context) + setup.turn
        self.start = (OBJECT[0] + setup.shift[0], OBJECT[1] + setup.shift[1], context.height / 2)
        self.item = int(
            p.createMultiBody(
                setup.mass,
                shape,
                basePosition=self.start,
                baseOrientation=(0.0, 0.0, math.sin(self.yaw / 2), math.cos(self.yaw / 2)),
                physicsClientId=c,
            )
        )
        p.changeDynamics(
            self.item,
            -1,
            lateralFriction=setup.friction,
            spinningFriction=0.0,
            rollingFriction=0.0,
            restitution=0.0,
            linearDamping=0.0,
            angularDamping=0.0,
            activationState=p.ACTIVATION_STATE_DISABLE_SLEEPING,
            physicsClientId=c,
        )
        self.fingers = -1
        self._driven = False
        self._target: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._turn = (0.0, 0.0, 0.0, 1.0)

    def _object_shape(self) -> int:
        """The object's collision shape, standing on small balls.

        A ball on the table is one contact in every step, however fast it slides. The engine's contacts of boxes and
        cylinders with a plane are lost by sliding: the object sinks and turns without a reason.
        """
        p, context = pybullet, self.setup.context
        length, width, height = context.length / 2, context.width / 2, context.height / 2 - FOOT / 4
        corners = INNER_FEET, OUTER_FEET
        feet = [
            ((length - FOOT) * k * x, (width - FOOT) * k * y, FOOT - context.height / 2)
            for k, ring in zip(corners, (_EDGES, _CORNERS) if context.box else (_EDGES, _DIAGONAL), strict=True)
            for x, y in ring
        ]
        body = p.GEOM_BOX if context.box else p.GEOM_CYLINDER
        return int(
            p.createCollisionShapeArray(
                shapeTypes=[body] + [p.GEOM_SPHERE] * len(feet),
                halfExtents=[(length, width, height)] + [(0.0, 0.0, 0.0)] * len(feet),
                radii=[length] + [FOOT] * len(feet),
                lengths=[2 * height] + [0.0] * len(feet),
                collisionFramePositions=[(0.0, 0.0, FOOT / 4), *feet],
                physicsClientId=self._client,
            )
        )

    def add_fingers(self, position: FloatArray, facing: float) -> None:
        """Fingers that move by themselves, tips at a position (3,) m, face looking at an angle (rad)."""
        self._turn = (0.0, 0.0, math.sin(facing / 2), math.cos(facing / 2))
        self._target = (float(position[0]), float(position[1]), float(position[2]))
        self.fingers = self._fingers(DRIVEN_MASS, self._target, self._turn)
        self._driven = True

    def give_fingers(self, arm: int, links: list[int], tool: int, tip: float) -> None:
        """Fix the fingers to an arm's tool link, whose own fingers let the object through from now on.

        The collision mesh of the Panda's right finger in pybullet_data is not mirrored as its visual mesh is: closed,
        both fingers would push with one and the same half.

        Args:
            arm: body id.
            links: of its hand and fingers; only those that come last in the chain touch the object.
            tool: link that carries the tool frame, z along the fingers.
            tip: how far the fingertips reach beyond the tool frame, m.
        """
        p, c = pybullet, self._client
        for link in links:
            p.setCollisionFilterPair(arm, self.item, link, -1, 0, physicsClientId=c)
        state = p.getLinkState(arm, tool, computeForwardKinematics=True, physicsClientId=c)
        # the hull's z goes from the tips up, the tool's down to them
        place = p.multiplyTransforms(state[4], state[5], (0.0, 0.0, tip), (1.0, 0.0, 0.0, 0.0))
        self.fingers = self._fingers(HELD_MASS, *place)
        for link in range(-1, p.getNumJoints(arm, physicsClientId=c)):
            p.setCollisionFilterPair(arm, self.fingers, link, -1, 0, physicsClientId=c)
        p.setCollisionFilterPair(self.table, self.fingers, -1, -1, 0, physicsClientId=c)
        inverse = p.invertTransform(state[0], state[1])
        centre = p.getBasePositionAndOrientation(self.fingers, physicsClientId=c)
        offset, turn = p.multiplyTransforms(*inverse, *centre)
        grip = p.createConstraint(
            arm,
            tool,
            self.fingers,
            -1,
            p.JOINT_FIXED,
            (0, 0, 0),
            offset,
            (0, 0, 0),
            turn,
            (0, 0, 0, 1),
            physicsClientId=c,
        )
        p.changeConstraint(grip, maxForce=GRIP_FORCE, physicsClientId=c)

    def _fingers(self, mass: float, position: Any, turn: Any) -> int:
        """A body like closed fingers, its origin between the tips."""
        p, c = pybullet, self._client
        corners = finger_corners()
        shape = p.createCollisionShape(p.GEOM_MESH, vertices=corners, physicsClientId=c)
        body = int(p.createMultiBody(mass, shape, basePosition=position, baseOrientation=turn, physicsClientId=c))
        p.changeDynamics(
            body,
            -1,
            linearDamping=0.0,
            angularDamping=0.0,
            lateralFriction=PADS,
            spinningFriction=0.0,
            rollingFriction=0.0,
            restitution=0.0,
            contactStiffness=STIFFNESS,
            contactDamping=DAMPING,
            frictionAnchor=0,
            physicsClientId=c,
        )
        return body

    def move_fingers(self, position: tuple[float, float, float]) -> None:
        """Where the tips of self-moving fingers shall be after the next :meth:`step`, m."""
        self._target = position

    def step(self) -> None:
        """Advance the simulation by one time step."""
        p, c, dt = pybullet, self._client, self._step
        if self._driven:
            (x, y, z), quaternion = p.getBasePositionAndOrientation(self.fingers, physicsClientId=c)
            tx, ty, tz = self._target
            # twice the vector part: the small angle by which an impact has turned them
            _, _, turned, w = p.getDifferenceQuaternion(quaternion, self._turn)
            rate = 2.0 * math.atan2(turned, w) / dt
            p.resetBaseVelocity(
                self.fingers,
                ((tx - x) / dt, (ty - y) / dt, (tz - z) / dt - GRAVITY * dt),
                (0.0, 0.0, math.remainder(rate * dt, 2 * math.pi) / dt),
                physicsClientId=c,
            )
        p.stepSimulation(physicsClientId=c)

    def pose(self) -> tuple[FloatArray, FloatArray]:
        """Position (3,) m and rotation matrix (3, 3) of the object now."""
        position, quaternion = pybullet.getBasePositionAndOrientation(self.item, physicsClientId=self._client)
        return np.array(position), np.array(pybullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)

    def speed(self) -> float:
        """How fast the object moves now, m/s; its turning counts at 5 cm."""
        linear, angular = pybullet.getBaseVelocity(self.item, physicsClientId=self._client)
        return math.hypot(*linear) + 0.05 * math.hypot(*angular)


def finger_corners() -> list[list[float]]:
    """Corners of the closed fingers in their frame, whose origin lies between the tips and whose x is the face, m."""
    return [[x * FINGERS[0], y * FINGERS[1], z] for z in (0.0, LONG) for x in (-1, 1) for y in (-1, 1)]
