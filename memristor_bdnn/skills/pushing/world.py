"""The simulated pushing world: one seed makes a scene, one call pushes, one set of measures comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import Cancelled, ConfigError
from memristor_bdnn.motion.plan import MotionPlan
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.motion.trajectory import JointTrajectory
from memristor_bdnn.skills.protocol import CancelCallback, Measured, Progress
from memristor_bdnn.skills.pushing.geometry import ACCELERATION, ends, facing_of, goal_of, path_length, tip_height
from memristor_bdnn.skills.pushing.picture import Snapshot, Stage, scene_shapes
from memristor_bdnn.skills.pushing.scene import Scene
from memristor_bdnn.skills.pushing.settings import PushWorldConfig
from memristor_bdnn.skills.pushing.setup import TrialSetup, draw
from memristor_bdnn.skills.pushing.spaces import Parameters, parameters_of
from memristor_bdnn.skills.ticker import CHECK_EVERY, Ticker

FloatArray = npt.NDArray[np.floating[Any]]

PHASES = ("approach", "push", "retreat")
CONTACT_MARGIN = 0.002
"""Distance at which contacts are kept, m. PyBullet's 0.02 m lets the table hold an object that has begun to tip."""
LIFT = 0.05
"""How high fingers that move by themselves are lifted after the push, m."""
LIFT_SPEED = 0.2
_RESTING = 2e-3


class PushingWorld:
    """A table, an object, and an arm or fingers that move by themselves.

    Implements :class:`memristor_bdnn.skills.protocol.World`. The same seed, context and parameters (and plan) give
    the same measures, whatever ran before: every trial builds its scene anew.

    Args:
        arm: name or YAML file of the arm; empty for none.
        config: how to simulate.
        gui: open a window that follows the trial (needs a display).

    Raises:
        ConfigError: an arm without fingers that close.
    """

    def __init__(self, arm: str = "", config: PushWorldConfig | None = None, gui: bool = False) -> None:
        from memristor_bdnn.motion import bullet

        self.config = config or PushWorldConfig()
        self._description: Any = None
        if arm:
            from memristor_bdnn.skills.pushing.motion import pushing_arm

            self._description = pushing_arm(arm)
        self._bullet = bullet.client()
        self._client: int = self._bullet._client
        self._gui = gui
        self._stage: Stage | None = None
        self._setup: TrialSetup | None = None
        self._scene: Scene | None = None
        self.arm: Any = None
        self.time = 0.0
        """Seconds simulated since the scene was built."""
        self._tips: FloatArray | None = None

    # -- a trial ------------------------------------------------------------------------------

    def reset(self, seed: int, context: FloatArray | None = None) -> FloatArray:
        """Draw a new scene from one seed; a given context (8,) replaces only the drawn one. Returns the context.

        Raises:
            ConfigError: a value of the context outside its range.
        """
        self._setup = draw(seed, context)
        self._scene = self.arm = self._tips = None
        self._drop_stage()
        return self._setup.row()

    @property
    def setup(self) -> TrialSetup:
        """The scene drawn by the last reset. Raises ConfigError before the first."""
        if self._setup is None:
            raise ConfigError("the world has no scene yet: call reset(seed) first")
        return self._setup

    def execute(
        self,
        parameters: FloatArray,
        plan: MotionPlan | None = None,
        progress: Progress | None = None,
        cancelled: CancelCallback | None = None,
    ) -> Measured:
        """Push once in the scene of the last reset.

        Args:
            parameters: (5,), physical values.
            plan: the arm's motion; None lets the fingers move by themselves.
            progress: called 20 times a simulated second with (phase, share of it that is done).
            cancelled: asked as often; True stops arm and trial.

        Raises:
            ConfigError: before a reset, a value out of range, a plan without an arm or of other phases.
            ArmError: the arm is not where the plan starts.
            Cancelled: the caller stopped the trial; an arm holds its position.
        """
        wanted = parameters_of(parameters)
        setup = self.setup
        if plan is not None:
            self._check_plan(plan)
        scene = self._build(None if plan is None else plan.trajectories[0].start)
        tick = Ticker(self, self._ready().step, progress, cancelled)
        details: dict[str, Any] = {"seed": setup.seed, "mode": "fingers alone" if plan is None else "arm"}
        if plan is None:
            self._push_alone(wanted, tick)
        else:
            details["arm"] = self._description.name
            details["tracking_error_rad"] = round(self._push_with_arm(plan, tick), 5)
        return Measured(self._measures(scene), "simulation", {**details, "steps": tick.steps})

    def _push_alone(self, wanted: Parameters, tick: Ticker) -> None:
        """Move the fingers along the push, wait for the object to come to rest, and lift them."""
        config, context = self.config, self.setup.context
        scene = self._ready()
        begin, end = (point[0] for point in ends(context, wanted))
        tip = float(tip_height(context))
        scene.add_fingers(np.array([*begin, tip]), float(facing_of(context, wanted)))
        for _ in range(round(config.settle / config.time_step)):
            tick("approach", 0.0)
        length = float(path_length(wanted))
        along = (end - begin) / length
        ramp = wanted.speed / ACCELERATION
        duration = length / wanted.speed + ramp
        n = math.ceil(duration / config.time_step)
        for k in range(1, n + 1):
            s = _ramped(min(k * config.time_step, duration), duration, ramp, wanted.speed)
            scene.move_fingers((begin[0] + along[0] * s, begin[1] + along[1] * s, tip))
            tick("push", k / n)
        self._wait(tick)
        lift = math.ceil(LIFT / LIFT_SPEED / config.time_step)
        for k in range(1, lift + 1):
            scene.move_fingers((end[0], end[1], tip + LIFT * k / lift))
            tick("retreat", k / lift)

    def _push_with_arm(self, plan: MotionPlan, tick: Ticker) -> float:
        """Carry out the phases of a plan; returns the largest joint tracking error, rad."""
        worst = 0.0
        try:
            for _ in range(round(self.config.settle / self.config.time_step)):
                tick("approach", 0.0)
            for phase, trajectory in zip(plan.phases, plan.trajectories, strict=True):
                worst = max(worst, self._follow(trajectory, phase, tick))
            self._wait(tick)
        except Cancelled:
            self.arm.hold()
            raise
        return worst

    def _follow(self, trajectory: JointTrajectory, phase: str, tick: Ticker) -> float:
        """Execute one phase; returns the largest joint tracking error, rad."""
        begin, worst = self.time, 0.0
        self.arm.start(trajectory, self.time)
        length = max(trajectory.duration, 1e-9)
        while self.arm.update(self.time):
            tick(phase, min(1.0, (self.time - begin) / length))
            if tick.steps % CHECK_EVERY == 0:
                worst = max(worst, float(np.abs(self.arm.tracking_error(self.time)).max()))
        return worst

    def _wait(self, tick: Ticker) -> None:
        """Step until the object rests, at most ``config.wait``."""
        for k in range(round(self.config.wait / self.config.time_step)):
            if k % CHECK_EVERY == 0 and self._ready().speed() < _RESTING:
                break
            tick("push" if self.arm is None else "retreat", 1.0)

    def _measures(self, scene: Scene) -> FloatArray:
        """Measures (5,) of the object as it lies now."""
        position, rotation = scene.pose()
        if not np.isfinite(position).all():
            raise ConfigError(f"the simulation diverged (seed {self.setup.seed}): the object's position is not finite")
        moved = position[:2] - np.array(scene.start[:2])
        turned = math.remainder(math.atan2(rotation[1, 0], rotation[0, 0]) - scene.yaw, 2 * math.pi)
        toppled = float(rotation[2, 2] < math.cos(math.radians(30)))
        gap = float(np.linalg.norm(position[:2] - goal_of(self.setup.context)))
        return np.array([min(gap, 2.0), *np.clip(moved, -2.0, 2.0), turned, toppled])

    def progress_measures(self) -> FloatArray:
        """The measures (5,) as they are now."""
        return self._measures(self._ready())

    def _check_plan(self, plan: MotionPlan) -> None:
        if self._description is None:
            raise ConfigError("this world has no arm: make it with one, for example arm='panda', to execute a plan")
        if plan.phases != PHASES:
            raise ConfigError(f"plan: phases are {', '.join(plan.phases)}, a push has {', '.join(PHASES)}")
        if plan.trajectories[0].dof != self._description.dof:
            raise ConfigError(
                f"plan: {plan.trajectories[0].dof} joints, {self._description.name} has {self._description.dof}"
            )

    # -- building and looking -----------------------------------------------------------------

    def _build(self, joints: FloatArray | None) -> Scene:
        """Empty the simulation and put the drawn scene into it, an arm at joints (dof,) where one is configured."""
        bullet, config = self._bullet, self.config
        bullet.resetSimulation()
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=config.time_step,
            numSolverIterations=config.solver_iterations,
            deterministicOverlappingPairs=1,
            contactBreakingThreshold=CONTACT_MARGIN,
        )
        self.time, self.arm = 0.0, None
        if joints is not None:
            from memristor_bdnn.motion.ports.simulated import SimulatedArm
            from memristor_bdnn.skills.pushing.motion import TIP

            self.arm = SimulatedArm(bullet, self._description, time_step=config.time_step, seen=False)
            self.arm.set_grasp_width(0.0, at_once=True)
            self.arm.set_joints(joints)
        self._scene = Scene(self._client, self.setup, config.time_step)
        if self.arm is not None:
            links = [self.arm.links[name] for name in self._description.gripper_links]
            self._scene.give_fingers(self.arm.body, links, self.arm.tool_index, TIP)
        return self._scene

    def _ready(self) -> Scene:
        """The scene, built with the arm at home if nothing has been pushed yet."""
        if self._scene is None:
            return self._build(None if self._description is None else np.asarray(self._description.home))
        return self._scene

    def joint_state(self) -> dict[str, Any]:
        """Names, positions (dof,) rad, velocities (dof,) rad/s and efforts (dof,) N m of the arm's joints now.

        ``fingers`` are positions and velocities of the hand's joints, (2, gripper joints), m or rad, and per second.

        Raises:
            ConfigError: the world has no arm.
        """
        if self._description is None:
            raise ConfigError("this world has no arm: make it with one, for example arm='panda'")
        self._ready()
        if self.arm is None:  # the fingers have moved by themselves: the arm waits at home
            home, rest = np.asarray(self._description.home), np.zeros(self._description.dof)
            wide = self._description.finger_positions(self._description.max_grasp_width)
            fingers = np.array([wide, np.zeros(len(wide))])
            names = self._description.joint_names
            return {"names": names, "positions": home, "velocities": rest, "efforts": rest, "fingers": fingers}
        return {
            "names": self._description.joint_names,
            "positions": self.arm.joint_positions(),
            "velocities": self.arm.joint_velocities(),
            "efforts": self.arm.joint_efforts(),
            "fingers": self.arm.finger_states(),
        }

    def snapshot(self) -> Snapshot:
        """Poses of everything movable now."""
        scene = self._ready()
        pose = self._bullet.getBasePositionAndOrientation
        fingers = pose(scene.fingers) if scene.fingers >= 0 else None
        return Snapshot(pose(scene.item), fingers, None if self.arm is None else self.arm.joint_positions())

    def shapes(self) -> list[Shape]:
        """Object and goal as they are now, for whoever draws them."""
        position, rotation = self._ready().pose()
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, position
        return scene_shapes(self.setup.context, pose)

    def render(self, view: str = "side", width: int = 640, height: int = 480, supersample: int = 2) -> Any:
        """A picture of the scene now, uint8 (height, width, 3); no display needed.

        Raises:
            ConfigError: an unknown view or an absurd size.
        """
        return self.show().picture(view, width, height, supersample)

    def show(self) -> Stage:
        """Bring the stage (and the window of ``gui``) up to date."""
        snapshot = self.snapshot()
        if self._stage is None:
            self._stage = Stage(self.setup.context, self._description, self._gui)
        self._stage.show(snapshot)
        return self._stage

    def close(self) -> None:
        """Disconnect; the world cannot be used afterwards. Harmless to call twice."""
        self._drop_stage()
        if self._bullet is not None:
            self._bullet.disconnect()
            self._bullet = None

    def _drop_stage(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None

    def __enter__(self) -> PushingWorld:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _ramped(t: float, duration: float, ramp: float, speed: float) -> float:
    """Distance (m) after t seconds of a motion from rest to rest with ramps of constant acceleration."""
    if t < ramp:
        return 0.5 * speed * t * t / ramp
    if t > duration - ramp:
        rest = duration - t
        return speed * (duration - ramp) - 0.5 * speed * rest * rest / ramp
    return speed * (t - 0.5 * ramp)
