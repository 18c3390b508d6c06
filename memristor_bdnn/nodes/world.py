"""The world node: the simulated scene and the arm in it; executes pours and measures them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.action.server import ServerGoalHandle
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from memristor_bdnn.action import Pour
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError, MemristorError
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.srv import ResetWorld

JOINT_STATE_HZ, CAMERA_HZ = 25.0, 5.0


@dataclass(frozen=True)
class WorldNodeConfig:
    """Parameters of the world node; the simulator's own are declared as ``world.<field>``."""

    arm: str = option("panda", "arm description: a name or a YAML file")
    gui: bool = option(False, "open the simulator's window")
    camera: bool = option(False, "publish camera images while pouring (about 90 ms each)")
    camera_view: str = option("side", "where the camera stands", choices=("side", "arm"))
    seed: int = option(0, "seed of a scene when the request says -1", low=0)

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class WorldNode(SkillNode):
    """One PyBullet scene; a reset draws vessels and beads, a pour executes a plan in it."""

    config_type = WorldNodeConfig

    def __init__(self) -> None:
        super().__init__("pouring_world")
        self._lock = threading.Lock()
        self._world: Any = None
        self._arm: Any = None
        self._vessels: Any = None
        self._joints: tuple[Any, Any] | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._joint_states = self.create_publisher(JointState, "joint_states", 10)
        self._images = self.create_publisher(Image, "camera/image", 2)
        self._markers = self.create_publisher(MarkerArray, "~/markers", latched)
        self.create_service(ResetWorld, "~/reset", self._reset, callback_group=self.group)
        self._server = self.offer(Pour, "~/pour", self._pour, Pour.Result.FAILED)
        self.create_timer(1.0 / JOINT_STATE_HZ, self._publish_joints, callback_group=self.group)

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Start the simulator with the arm in it."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms
        from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig

        self._arm = arms.load(self.config.arm)
        self.declare_section(WorldConfig, "world")
        config = build(WorldConfig, {**self.read_section("world"), "arm": self.config.arm})
        with self._lock:
            self._world = PouringWorld(config, gui=self.config.gui)
            self._vessels = None
            self._joints = (np.array(self._arm.home), np.zeros(self._arm.dof))

    def teardown(self) -> None:
        """Disconnect from the simulator, after a pour has seen its cancellation."""
        with self._lock:
            if self._world is not None:
                self._world.close()
            self._world, self._joints = None, None

    def describe(self) -> str:
        """The arm by name."""
        return f"arm {self.config.arm}, simulated"

    # -- reset --------------------------------------------------------------------------------

    def _reset(self, request: Any, response: Any) -> Any:
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            if request.scene not in ("", "random", "given"):
                raise ConfigError(f"scene {request.scene!r}: choose one of random, given")
            given = convert.context_from_message(request.requested) if request.scene == "given" else None
            with self._lock:
                seed = self.config.seed if request.seed < 0 else request.seed
                self._vessels = self._world.reset(seed, given)
                self._joints = (np.array(self._arm.home), np.zeros(self._arm.dof))
            response.context = convert.context_to_message(self._vessels)
            response.success = True
            self._publish_scene()
        except MemristorError as error:
            response.message = str(error)
        return response

    # -- pour ---------------------------------------------------------------------------------

    def _pour(self, goal: ServerGoalHandle) -> Any:
        result, request = Pour.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            context, parameters, plan = self._read_goal(request)
        except MemristorError as error:
            return self._abort(goal, result, Pour.Result.BAD_INPUT, error)
        if self._vessels is None or not np.allclose(context.array(), self._vessels.array(), atol=1e-9):
            return self._abort(
                goal,
                result,
                Pour.Result.CONTEXT_MISMATCH,
                ConfigError(
                    f"the goal's vessels are not those of the scene: reset the world first (goal {context}, "
                    f"scene {self._vessels})"
                ),
            )
        try:
            with self._lock:
                outcome = self._execute(goal, plan)
        except Cancelled as error:
            result.error_code, result.error_msg = Pour.Result.CANCELED, str(error)
            goal.canceled() if goal.is_cancel_requested else goal.abort()
            return result
        except ArmError as error:
            return self._abort(goal, result, Pour.Result.ARM_FAILED, error)
        except MemristorError as error:
            return self._abort(goal, result, Pour.Result.FAILED, error)
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        result.outcome = convert.outcome_to_message(outcome, request.trial_id, context, parameters, header)
        self._publish_scene()
        goal.succeed()
        return result

    def _read_goal(self, request: Any) -> tuple[Any, Any, Any]:
        plan = convert.plan_from_message(request, self._arm.joint_names)
        return convert.context_from_message(request.context), convert.parameters_from_message(request.parameters), plan

    def _execute(self, goal: ServerGoalHandle, plan: Any) -> Any:
        sent = {"feedback": 0.0, "camera": 0.0}

        def progress(phase: str, fraction: float) -> None:
            now = time.monotonic()
            if now - sent["feedback"] > 1.0 / JOINT_STATE_HZ:
                sent["feedback"] = now
                self._remember_joints()
                in_bowl = float(self._world.fraction_in_bowl())
                goal.publish_feedback(Pour.Feedback(phase=phase, progress=float(fraction), fraction_in_bowl=in_bowl))
            if self.config.camera and now - sent["camera"] > 1.0 / CAMERA_HZ:
                sent["camera"] = now
                self._publish_image()

        return self._world.pour_with_arm(
            plan,
            progress=progress,
            cancelled=lambda: bool(goal.is_cancel_requested) or not self.active,
        )

    def _abort(self, goal: ServerGoalHandle, result: Any, code: int, error: Exception) -> Any:
        result.error_code, result.error_msg = code, str(error)
        goal.abort()
        return result

    # -- topics -------------------------------------------------------------------------------

    def _remember_joints(self) -> None:
        """Copy the joint state; only the thread that steps the simulator may ask it."""
        state = self._world.joint_state()
        self._joints = (state["positions"], state["velocities"])

    def _publish_joints(self) -> None:
        if self._joints is None:
            return
        q, v = self._joints
        message = JointState(name=list(self._arm.joint_names), position=convert.floats(q), velocity=convert.floats(v))
        message.header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        self._joint_states.publish(message)

    def _publish_image(self) -> None:
        pixels = self._world.render(view=self.config.camera_view, width=640, height=480)
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=pixels.shape[1] * 3)
        message.header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        message.data = pixels.tobytes()
        self._images.publish(message)

    def _publish_scene(self) -> None:
        from memristor_bdnn.nodes.markers import scene_markers

        self._markers.publish(scene_markers(self._vessels, self.get_clock().now().to_msg()))
