"""An arm's hand reaches a ball: six actions, each a step of 3 cm along an axis, carried out by simulated motors."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from memristor_bdnn.motion import arms
from memristor_bdnn.motion.engine import Engine

STEP, NEAR = 0.03, 0.03  # m: length of a step; how near is reached
START = np.array([0.5, 0.0, 0.4])  # m, of the hand
BOX = np.array([[0.38, -0.25, 0.20], [0.62, 0.25, 0.55]])  # m, corners of where the ball may be
TICKS = 36  # of 1/240 s, in which the motors carry out a step


class Reach(gymnasium.Env):
    """Observations (3,): from the hand to the ball along x, y, z, in decimetres.

    Reward: how many step lengths the hand came nearer, less 0.1 a step, and 3 for the ball. An episode of 40 steps.

    Args:
        arm: name or YAML file of an arm that memristor_bdnn knows.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def __init__(self, arm: str = "panda") -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Discrete(6)
        self._arm = arms.load(arm)
        self._engine = Engine(self._arm, table=0.0)
        self._joints = [self._engine.joints[name] for name in self._arm.joint_names]
        self._hand = self._engine.links[self._arm.tool_link]
        self._down = self._engine.client.getQuaternionFromEuler((np.pi, 0.0, 0.0))
        self._home = self._angles(START, self._arm.home)
        self._target = self._ball = START

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The hand at its start, the ball somewhere in its box, farther than three steps away."""
        super().reset(seed=seed)
        self._engine.empty()  # the solver remembers what was before; a world made anew does not
        client, robot = self._engine.client, self._engine.robot
        for joint, angle in zip(self._joints, self._home, strict=True):
            client.resetJointState(robot, joint, angle, 0.0)
        self._target = START.copy()
        while True:
            self._ball = self.np_random.uniform(*BOX)
            if np.linalg.norm(self._ball - START) > 3 * STEP:
                break
        shape = client.createVisualShape(client.GEOM_SPHERE, radius=NEAR, rgbaColor=(0.83, 0.37, 0.0, 1.0))
        client.createMultiBody(0.0, -1, shape, self._ball.tolist())
        return self._seen(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """0 and 1: along x, back and forth; 2 and 3: y; 4 and 5: z."""
        before = self._distance()
        axis, forth = divmod(int(action), 2)
        self._target[axis] += STEP if forth else -STEP
        self._target = np.clip(self._target, BOX[0] - STEP, BOX[1] + STEP)
        client, robot = self._engine.client, self._engine.robot
        present = [state[0] for state in client.getJointStates(robot, self._joints)]
        angles = self._angles(self._target, present)
        client.setJointMotorControlArray(
            robot, self._joints, client.POSITION_CONTROL, targetPositions=angles, forces=list(self._arm.effort)
        )
        for _ in range(TICKS):
            client.stepSimulation()
        after = self._distance()
        reached = after < NEAR
        return self._seen(), (before - after) / STEP - 0.1 + 3.0 * reached, reached, False, {}

    def render(self) -> Any:
        """A picture from the side, (300, 400, 3)."""
        client = self._engine.client
        view = client.computeViewMatrixFromYawPitchRoll((0.35, 0.0, 0.35), 1.25, 55, -22, 0, 2)
        lens = client.computeProjectionMatrixFOV(50, 4 / 3, 0.1, 4)
        pixels = client.getCameraImage(400, 300, view, lens, renderer=client.ER_TINY_RENDERER)[2]
        return np.reshape(pixels, (300, 400, 4))[..., :3].astype(np.uint8)

    def close(self) -> None:
        """End the simulation."""
        if self._engine.client.isConnected():
            self._engine.client.disconnect()

    def _place(self) -> Any:
        return np.array(self._engine.client.getLinkState(self._engine.robot, self._hand, 0, 1)[4])

    def _distance(self) -> float:
        return float(np.linalg.norm(self._ball - self._place()))

    def _seen(self) -> Any:
        return (10.0 * (self._ball - self._place())).astype(np.float32)

    def _angles(self, place: Any, near: Any) -> Any:
        """Joint angles with the hand at a place, fingers down, near some others."""
        client, robot = self._engine.client, self._engine.robot
        state = [(s[0], s[1]) for s in client.getJointStates(robot, self._joints)]
        for joint, angle in zip(self._joints, near, strict=True):
            client.resetJointState(robot, joint, angle)
        for _ in range(3):  # each call begins where the joints are
            found = client.calculateInverseKinematics(
                robot, self._hand, place.tolist(), self._down, maxNumIterations=50
            )
            angles = found[: len(self._joints)]
            for joint, angle in zip(self._joints, angles, strict=True):
                client.resetJointState(robot, joint, angle)
        for joint, (angle, speed) in zip(self._joints, state, strict=True):
            client.resetJointState(robot, joint, angle, speed)
        return np.array(angles)
