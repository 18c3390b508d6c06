"""The simulated pouring world: one seed makes a scene, one call pours, one outcome comes back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import Cancelled, ConfigError
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, score_of
from memristor_bdnn.skills.pouring.geometry import BOWL_POSITION, pour_path
from memristor_bdnn.skills.pouring.hand import default_grasp, grasp_height, link_pose, tilts
from memristor_bdnn.skills.pouring.records import PourOutcome, Snapshot, WorldConfig
from memristor_bdnn.skills.pouring.scene import Scene
from memristor_bdnn.skills.pouring.setup import TrialSetup, draw
from memristor_bdnn.skills.ticker import CHECK_EVERY, Ticker

__all__ = ["PourOutcome", "PouringWorld", "Snapshot", "WorldConfig"]

FloatArray = npt.NDArray[np.floating[Any]]
Progress = Callable[[str, float], None]

PARKED_CUP = (0.5, 0.3)
"""Where the cup stands on the table when nothing holds it, metres."""
CONTACT_MARGIN = 0.002
"""Distance at which contacts are kept, metres. PyBullet's 0.02 m is three beads' radii: it makes the solver
carry contacts between beads that do not touch, which costs a third of the time and changes nothing."""


class PouringWorld:
    """A table, a bowl, a cup of beads and, if configured, an arm.

    One trial: :meth:`reset` draws a scene from a seed, then :meth:`pour_cup_alone` or
    :meth:`pour_with_arm` executes it. The same seed, context and parameters give the same outcome,
    whatever ran before.

    Args:
        config: how to simulate.
        gui: open a window that follows the trial (needs a display).
    """

    def __init__(self, config: WorldConfig | None = None, gui: bool = False) -> None:
        from memristor_bdnn.motion import bullet

        self.config = WorldConfig() if config is None else config
        self._bullet = bullet.client()
        self._client: int = self._bullet._client
        self._gui = gui
        self._stage: Any = None
        self._width = 0.0
        self._setup: TrialSetup | None = None
        self._scene: Scene | None = None
        self._audit: Any = None
        self.arm: Any = None
        self.time = 0.0
        """Seconds simulated since the trial's start."""
        self._description: Any = None
        if self.config.arm:
            from memristor_bdnn.motion import arms

            self._description = arms.load(self.config.arm)

    # -- a trial ------------------------------------------------------------------------------

    def reset(self, seed: int, context: PourContext | None = None) -> PourContext:
        """Draw a new scene from one seed; a given context replaces only the drawn sizes.

        ``world.arm`` is a new object after every reset.
        """
        self._setup = draw(seed, context)
        self._scene = None
        self.arm = None
        if self._stage is not None:
            self._stage.close()
            self._stage = None
        return self._setup.context

    @property
    def setup(self) -> TrialSetup:
        """The scene drawn by the last reset."""
        if self._setup is None:
            raise ConfigError("the world has no scene yet: call reset(seed) first")
        return self._setup

    def pour_cup_alone(
        self,
        parameters: PourParameters,
        yaw: float = 0.0,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> PourOutcome:
        """Pour with the cup held by an invisible hand; for mass production.

        Args:
            parameters: the control parameters.
            yaw: angle of the pour's plane about the bowl's axis, radians.
            progress: called about 20 times a simulated second with (phase, fraction done).
            cancelled: asked as often; True stops the trial.

        Raises:
            ConfigError: before the first reset.
            Cancelled: the caller stopped the trial.
        """
        cfg, setup = self.config, self.setup
        n = max(1, round(abs(parameters.pitch) / cfg.tilt_speed / cfg.time_step))
        poses = pour_path(setup.context, parameters, yaw, n + 1)
        scene = self._build(poses[0])
        tick = self._ticker(progress, cancelled)
        offered = self._settle(scene, tick)
        quaternions = tilts(yaw, np.linspace(0.0, parameters.pitch, n + 1))
        positions = poses[:, :3, 3].tolist()
        for k in range(1, n + 1):
            scene.move_cup(positions[k], quaternions[k])
            tick("tilt", k / n)
            # Nothing more can leave an empty cup.
            if k % CHECK_EVERY == 0 and k * 3 > n and not scene.in_cup(scene.bead_positions()).any():
                break
        self._wait(tick)
        return self._outcome(offered, tick, {"mode": "cup_alone"})

    def pour_with_arm(
        self,
        plan: Any,
        arm: Any = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> PourOutcome:
        """Pour with the arm along a planned joint path, starting with the filled cup in the hand.

        Unless ``config.beads_on_the_way``, the beads ride in the cup until the approach has ended, and settle there.

        Args:
            plan: a plan of :class:`memristor_bdnn.skills.pouring.motion.PourPlanner` for this scene's context.
            arm: must be this world's arm; may be left out.
            progress: called about 20 times a simulated second with (phase, fraction done).
            cancelled: asked as often; True stops arm and trial.

        Raises:
            ConfigError: the world has no arm, the arm is not this world's, or the cup is too wide for
                the hand and ``weld_wide_cups`` is off.
            ArmError: the arm is not where the plan starts, or deviated from it.
            Cancelled: the caller stopped the trial; the arm holds its position.
        """
        kind = self.check_grasp()
        if arm is not None and arm is not self.arm:
            raise ConfigError("pour_with_arm: the arm given is not world.arm; reset() makes a new one")
        start = np.asarray(plan.part("approach").positions[0])
        scene = self._build_held(start, np.asarray(plan.object_in_tool))
        tick = self._ticker(progress, cancelled)
        try:
            if self.config.beads_on_the_way:
                offered = self._settle(scene, tick)
                worst = self._follow(plan.part("approach"), "approach", tick)
            else:
                worst = self._follow(plan.part("approach"), "approach", tick)
                scene.set_free()
                self.arm.hold()
                offered = self._settle(scene, tick)
            worst = max(worst, self._follow(plan.part("pour"), "pour", tick, plan.details["tilt_time"] / 3))
            if self.config.whole_motion:
                worst = max(worst, self._follow(plan.part("retreat"), "retreat", tick))
        except Cancelled:
            self.arm.hold()
            raise
        self._wait(tick)
        return self._outcome(
            offered,
            tick,
            {"mode": "arm", "arm": self._description.name, "grasp": kind, "tracking_error_rad": round(worst, 5)},
        )

    def check_grasp(self) -> str:
        """How the configured arm would hold this scene's cup: ``hand`` or ``weld``.

        Raises:
            ConfigError: there is no arm, or the cup does not fit the hand and may not be welded.
        """
        if self._description is None:
            raise ConfigError("this world has no arm: set WorldConfig.arm, for example arm='panda'")
        width, widest = self.setup.context.cup_diameter, self._description.max_grasp_width
        if widest <= 0 or width <= widest:
            return "hand" if widest > 0 else "weld"
        if not self.config.weld_wide_cups:
            raise ConfigError(
                f"cup_diameter = {1000 * width:.1f} mm: the hand of {self._description.name} opens "
                f"{1000 * widest:.1f} mm; choose a narrower cup or set weld_wide_cups"
            )
        return "weld"

    def _ticker(self, progress: Progress | None, cancelled: Callable[[], bool] | None) -> Ticker:
        """Steps the scene, with a leak audit if one was asked for."""
        scene = self._ready()
        self._audit = None
        if self.config.audit:
            from memristor_bdnn.skills.pouring.audit import LeakAudit

            self._audit = LeakAudit(scene)
        look = None if self._audit is None else self._audit.look
        return Ticker(self, scene.step, progress, cancelled, look)

    def _follow(self, trajectory: Any, phase: str, tick: Ticker, empty_after: float = math.inf) -> float:
        """Execute one part of a plan; returns the largest joint tracking error, radians.

        From ``empty_after`` seconds on it ends as soon as the cup is empty and every bead rests or has left: nothing
        can change any more. ``config.whole_motion`` asks for the rest all the same.
        """
        begin, worst = self.time, 0.0
        self.arm.start(trajectory, self.time)
        length = max(trajectory.duration, 1e-9)
        while self.arm.update(self.time):
            tick(phase, min(1.0, (self.time - begin) / length))
            if tick.steps % CHECK_EVERY == 0:
                worst = max(worst, float(np.abs(self.arm.tracking_error(self.time)).max()))
                late = self.time - begin > empty_after and not self.config.whole_motion
                if late and self._settled(cup_must_be_empty=True):
                    break
        return worst

    def _settle(self, scene: Scene, tick: Ticker) -> npt.NDArray[np.bool_]:
        """Let the beads settle in the cup; returns which of them are in it, (n,)."""
        for _ in range(round(self.config.settle / self.config.time_step)):
            tick("settle", 0.0)
        return scene.in_cup(scene.bead_positions())

    def _wait(self, tick: Ticker) -> None:
        """Step until every bead rests or has left, at most ``config.wait``."""
        steps = round(self.config.wait / self.config.time_step)
        for k in range(steps):
            tick("wait", k / steps)
            if k % CHECK_EVERY == 0 and k >= 4 * CHECK_EVERY and self._settled():
                break

    def _settled(self, cup_must_be_empty: bool = False) -> bool:
        """Whether every bead rests or has left the vessels for good."""
        scene = self._ready()
        points = scene.bead_positions()
        in_cup = scene.in_cup(points)
        if cup_must_be_empty and in_cup.any():
            return False
        gone = ~in_cup & ~scene.in_bowl(points) & (points[:, 2] < 0.8 * self.setup.context.bowl_height)
        return bool((gone | (scene.bead_speeds() < 0.05)).all())

    def _outcome(self, offered: npt.NDArray[np.bool_], tick: Ticker, details: dict[str, Any]) -> PourOutcome:
        scene = self._ready()
        points = scene.bead_positions()
        if not np.isfinite(points).all():
            raise ConfigError(f"the simulation diverged (seed {self.setup.seed}): a bead's position is not finite")
        cup = scene.in_cup(points)
        bowl = scene.in_bowl(points) & ~cup
        n = max(int(offered.sum()), 1)
        in_bowl, in_cup = float((bowl & offered).sum() / n), float((cup & offered).sum() / n)
        score = score_of(in_bowl)
        details = {
            "seed": self.setup.seed,
            "beads": n,
            "steps": tick.steps,
            "bowl_tipped": scene.bowl_tilt() > math.radians(30),
            **details,
        }
        if self._audit is not None:
            details["leaks"] = self._audit.leaks
        return PourOutcome(
            in_bowl, in_cup, max(0.0, 1.0 - in_bowl - in_cup), score, in_bowl >= 0.9, "simulation", details
        )

    # -- building -----------------------------------------------------------------------------

    def _build(self, cup_pose: FloatArray) -> Scene:
        """Empty the simulation and put the drawn scene into it, the cup held at a pose (4, 4)."""
        self._clear()
        self._scene = Scene(self._client, self.setup, BOWL_POSITION, cup_pose, self.config.time_step)
        return self._scene

    def _build_held(self, joints: FloatArray, grasp: FloatArray) -> Scene:
        """Build the scene with the arm at joints (dof,) holding the cup at a pose (4, 4) in its tool frame."""
        from memristor_bdnn.motion.ports.simulated import SimulatedArm

        # The arm comes first: it says where the cup is.
        self._clear()
        self.arm = SimulatedArm(self._bullet, self._description, time_step=self.config.time_step, seen=False)
        self.arm.set_joints(joints)
        tool = self.arm.tool_pose()
        self._scene = Scene(
            self._client,
            self.setup,
            BOWL_POSITION,
            tool @ grasp,
            self.config.time_step,
            driven=False,
            riding=not self.config.beads_on_the_way,
        )
        cup = self._scene.cup_vessel
        link = np.linalg.inv(link_pose(self._bullet, self.arm)) @ tool @ grasp
        self._scene.give_to(self.arm.body, self.arm.tool_index, link)
        self._width = 2 * float(cup.outer_radius(cup.height / 2 + grasp_height(grasp)))
        self.arm.set_grasp_width(self._width, at_once=True)
        return self._scene

    def _clear(self) -> None:
        bullet, cfg = self._bullet, self.config
        bullet.resetSimulation()
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=cfg.time_step,
            numSolverIterations=cfg.solver_iterations,
            deterministicOverlappingPairs=1,
            contactBreakingThreshold=CONTACT_MARGIN,
        )
        self.time = 0.0

    def _ready(self) -> Scene:
        """The scene, built with the cup in the hand or on the table if nothing has been poured yet."""
        if self._scene is None:
            if self._description is not None:
                return self._build_held(np.asarray(self._description.home), default_grasp(self._description))
            pose = np.eye(4)
            pose[:3, 3] = (*PARKED_CUP, self.setup.context.cup_height / 2)
            return self._build(pose)
        return self._scene

    def joint_state(self) -> dict[str, FloatArray | tuple[str, ...]]:
        """Joint names, positions (dof,) rad, velocities (dof,) rad/s and efforts (dof,) N m of the arm now.

        ``fingers`` are positions and velocities of the hand's joints, (2, gripper joints), m or rad, and per second.

        Raises:
            ConfigError: the world has no arm.
        """
        if self._description is None:
            raise ConfigError("this world has no arm: set WorldConfig.arm, for example arm='panda'")
        self._ready()
        return {
            "names": self._description.joint_names,
            "positions": self.arm.joint_positions(),
            "velocities": self.arm.joint_velocities(),
            "efforts": self.arm.joint_efforts(),
            "fingers": self.arm.finger_states(),
        }

    def fraction_in_bowl(self) -> float:
        """Share of the beads that lie in the bowl now; 0 before a pour."""
        if self._scene is None:
            return 0.0
        return float(self._scene.in_bowl(self._scene.bead_positions()).mean())

    @property
    def built(self) -> bool:
        """Whether the scene of the last reset stands, that is, a trial has begun."""
        return self._scene is not None

    def snapshot(self) -> Snapshot:
        """Poses of everything movable now."""
        scene = self._ready()
        joints = None if self.arm is None else self.arm.joint_positions()
        pose = self._bullet.getBasePositionAndOrientation
        return Snapshot(pose(scene.bowl), pose(scene.cup), scene.bead_positions(), joints, self._width)

    def render(self, view: str = "side", width: int = 640, height: int = 480, supersample: int = 2) -> Any:
        """A picture of the scene now, uint8 (height, width, 3); no display needed.

        Args:
            view: ``side``, ``front``, or ``arm`` (from the arm's left).
            width, height: pixels.
            supersample: 1 is fast (about 0.1 s), 2 has smooth edges.

        Raises:
            ConfigError: an unknown view or an absurd size.
        """
        from memristor_bdnn.skills.pouring.render import camera_for

        camera = camera_for(view, self.setup, self._description is not None)
        self.show()
        return self._stage.picture(camera, width, height, supersample)

    def show(self) -> None:
        """Bring the window (``gui``) up to date; :meth:`render` does it by itself."""
        from memristor_bdnn.skills.pouring.render import Stage

        snapshot = self.snapshot()
        if self._stage is None:
            self._stage = Stage(self.setup, self._description, self._gui)
        self._stage.show(snapshot)

    def close(self) -> None:
        """Disconnect; the world cannot be used afterwards. Harmless to call twice."""
        if self._stage is not None:
            self._stage.close()
            self._stage = None
        if self._bullet is not None:
            self._bullet.disconnect()
            self._bullet = None

    def __enter__(self) -> PouringWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
