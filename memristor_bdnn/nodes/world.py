"""The world node: a skill's simulated scene and the arm in it; executes trials and measures them."""

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

from memristor_bdnn import skills
from memristor_bdnn.action import ExecuteTrial
from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ArmError, Cancelled, ConfigError, MemristorError
from memristor_bdnn.nodes import convert
from memristor_bdnn.nodes.base import SkillNode
from memristor_bdnn.nodes.markers import markers
from memristor_bdnn.nodes.robot_description import WHO, Known, RobotDescription
from memristor_bdnn.srv import ResetWorld

JOINT_STATE_HZ, SCENE_HZ, CAMERA_HZ = 25.0, 10.0, 5.0
REST_HZ = 1.0
"""How often joint states and frames are repeated while nothing moves."""


@dataclass(frozen=True)
class WorldNodeConfig:
    """Parameters of the world node; those of the skill's world are declared as ``world.<field>``."""

    skill: str = option(skills.DEFAULT, "skill by name", choices=skills.names)
    arm: str = option("panda", "arm description: a name or a YAML file", files=True)
    gui: bool = option(False, "open the simulator's window")
    camera: bool = option(False, "publish camera images during a trial (about 90 ms each)", changes="live")
    camera_view: str = option("side", "where the camera stands", choices=("side", "arm"), changes="live")
    frames: str = option(
        "auto",
        "publish robot_description, /tf and /tf_static; auto: unless another node publishes robot_description",
        choices=WHO,
    )
    seed: int = option(0, "seed of a scene when the request says -1", low=0, changes="live")

    def __post_init__(self) -> None:
        """Validate every field."""
        check(self)


class SceneMismatch(ConfigError):
    """A goal is for another scene than the one that stands there."""


class WorldNode(SkillNode):
    """One scene of a skill; a reset draws it, a trial is executed in it."""

    config_type = WorldNodeConfig

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skill: Any = None
        self._world: Any = None
        self._arm: Any = None
        self._found: Any = None
        self._joints: tuple[Any, Any] | None = None
        self._display: RobotDescription | None = None
        super().__init__(skills.load(skills.DEFAULT).node_names[0])
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._joint_states = self.create_publisher(JointState, "joint_states", 10)
        self._images = self.create_publisher(Image, "camera/image", 2)
        self._markers = self.create_publisher(MarkerArray, "~/markers", latched)
        self.serve(ResetWorld, "~/reset", self._reset)
        self._server = self.offer(
            ExecuteTrial, "~/execute_trial", self._trial, ExecuteTrial.Result.FAILED, exclusive=True
        )
        self.create_timer(1.0 / REST_HZ, self._publish_joints, callback_group=self.group)

    # -- lifecycle ----------------------------------------------------------------------------

    def setup(self) -> None:
        """Start the simulator with the arm in it."""
        from memristor_bdnn.config import build
        from memristor_bdnn.motion import arms

        self._skill = skills.load(self.config.skill)
        self._arm = arms.load(self.config.arm)
        # Where nothing is planned, no arm takes part.
        arm = self.config.arm if self._skill.phases else ""
        options = self._skill.world_options
        self.declare_section(options, "world")
        with self._lock:
            made = build(options, self.read_section("world"))
            self._world = self._skill.world(arm, made, gui=self.config.gui)
            if self.config.camera and (reason := self._cannot_draw()):
                raise ConfigError(reason)
            self._found = None
            self._stand_at_home()
        if self._joints is not None:
            self._display = RobotDescription(self, self._arm, "", self.config.frames, self._known, rate_hz=0.0)
        self.announce(self._skill)

    def teardown(self) -> None:
        """Disconnect from the simulator, after a trial has seen its cancellation."""
        if self._display is not None:
            self._display.close()
            self._display = None
        with self._lock:
            if self._world is not None:
                self._world.close()
            self._world, self._joints = None, None

    def describe(self) -> str:
        """The arm by name."""
        arm = f"arm {self.config.arm}" if self._skill.phases else "no arm"
        return f"skill {self.config.skill}, {arm}, simulated"

    def review(self, changes: dict[str, Any]) -> str:
        """Pictures are asked only of a world that draws them."""
        return self._cannot_draw() if changes.get("camera") and self.phase == "configured" else ""

    def _cannot_draw(self) -> str:
        if hasattr(self._world, "render"):
            return ""
        return f"camera: the world of skill {self._skill.name} draws no pictures; leave it off"

    # -- reset --------------------------------------------------------------------------------

    def _reset(self, request: Any, response: Any) -> Any:
        space = self._skill.context_space
        given = convert.row_from_message(request.context, space) if request.given else None
        seed = convert.seed_from_message(request.seed, self.config.seed)
        with self.holding(self._lock, "a trial is running"):
            self._found = None  # a reset that fails leaves no scene
            found = self._found = self._world.reset(seed, given)
            self._stand_at_home()
            self._publish_joints()
            self._publish_scene(alone=True)
        response.context = convert.table(space.names, found)
        return response

    def _stand_at_home(self) -> None:
        """Where the arm is until a trial moves it; without an arm there are no joints."""
        if self._skill.phases and hasattr(self._world, "joint_state"):
            wide = self._arm.finger_positions(self._arm.max_grasp_width)
            self._joints = ((*self._arm.home, *wide), (0.0,) * (self._arm.dof + len(wide)))

    # -- trials -------------------------------------------------------------------------------

    def _trial(self, goal: ServerGoalHandle) -> Any:
        result, request = ExecuteTrial.Result(), goal.request
        try:
            if reason := self.refuse():
                raise ConfigError(reason)
            context, parameters, plan = self._read_goal(request)
        except MemristorError as error:
            return self._abort(goal, result, ExecuteTrial.Result.BAD_INPUT, error)
        try:
            with self.holding(self._lock, "the goal before is still ending", lambda: self._stopped(goal)):
                self._check_scene(context)
                measured = self._execute(goal, parameters, plan)
                self._publish_scene()
        except SceneMismatch as error:
            return self._abort(goal, result, ExecuteTrial.Result.CONTEXT_MISMATCH, error)
        except Cancelled as error:
            result.error_code, result.error_msg = ExecuteTrial.Result.CANCELED, str(error)
            goal.canceled() if goal.is_cancel_requested else goal.abort()
            return result
        except ArmError as error:
            return self._abort(goal, result, ExecuteTrial.Result.ARM_FAILED, error)
        except MemristorError as error:
            return self._abort(goal, result, ExecuteTrial.Result.FAILED, error)
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        result.outcome = convert.outcome_to_message(
            self._skill, measured, request.trial_id, context, parameters, header
        )
        goal.succeed()
        return result

    def _read_goal(self, request: Any) -> tuple[Any, Any, Any]:
        """Context (c,), parameters (p,) and plan of a goal; the plan is there exactly if the skill plans."""
        context = convert.row_from_message(request.context, self._skill.context_space)
        parameters = convert.row_from_message(request.parameters, self._skill.parameter_space)
        plan = convert.plan_from_message(request.plan, self._arm.joint_names, self._skill.phases)
        if plan is None and self._skill.phases:
            raise ConfigError(f"plan: no phases, expected {', '.join(self._skill.phases)}")
        return context, parameters, plan

    def _check_scene(self, context: Any) -> None:
        """Raise SceneMismatch when the scene is not the one that the goal was planned for."""
        if self._found is None or not np.allclose(context, self._found, rtol=0.0, atol=1e-9):
            raise SceneMismatch(
                f"the goal's context is not that of the scene: reset the world first (goal {context.tolist()}, "
                f"scene {None if self._found is None else self._found.tolist()})"
            )

    def _stopped(self, goal: ServerGoalHandle) -> bool:
        return bool(goal.is_cancel_requested) or not self.active

    def _execute(self, goal: ServerGoalHandle, parameters: Any, plan: Any) -> Any:
        sent = {"feedback": 0.0, "scene": 0.0, "camera": 0.0}
        names, measures = self._skill.measure_space.names, getattr(self._world, "progress_measures", None)

        def progress(phase: str, fraction: float) -> None:
            now = time.monotonic()
            if now - sent["feedback"] > 1.0 / JOINT_STATE_HZ:
                sent["feedback"] = now
                self._remember_joints()
                self._publish_joints()
                feedback = ExecuteTrial.Feedback(phase=phase, progress=float(fraction))
                if measures is not None:
                    feedback.measures = convert.table(names, measures())
                goal.publish_feedback(feedback)
            if now - sent["scene"] > 1.0 / SCENE_HZ and self._markers.get_subscription_count():
                sent["scene"] = now
                self._publish_scene()
            if self.config.camera and now - sent["camera"] > 1.0 / CAMERA_HZ:
                sent["camera"] = now
                self._publish_image()

        return self._world.execute(
            parameters,
            plan,
            progress=progress,
            cancelled=lambda: self._stopped(goal),
        )

    def _abort(self, goal: ServerGoalHandle, result: Any, code: int, error: Exception) -> Any:
        result.error_code, result.error_msg = code, str(error)
        goal.abort()
        return result

    # -- topics -------------------------------------------------------------------------------

    def _remember_joints(self) -> None:
        """Copy the joint state; only the thread that steps the simulator may ask it."""
        if self._joints is None:
            return
        state = self._world.joint_state()
        fingers = state.get("fingers", np.zeros((2, 0)))
        self._joints = ((*state["positions"], *fingers[0]), (*state["velocities"], *fingers[1]))

    def _publish_joints(self) -> None:
        if (joints := self._joints) is None:  # a cleanup may come at any time
            return
        q, v = joints
        message = JointState(name=self._names(len(q)), position=convert.floats(q), velocity=convert.floats(v))
        message.header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        self._joint_states.publish(message)
        if (display := self._display) is not None:
            display.look()

    def _known(self) -> Known | None:
        """Where the joints are, for the frames."""
        if (joints := self._joints) is None:
            return None
        positions = [float(q) for q in joints[0]]
        named = dict(zip(self._names(len(positions)), positions, strict=True))
        return Known(named, self.get_clock().now().to_msg())

    def _names(self, number: int) -> list[str]:
        """The arm's joints and, where a world tells of them, the hand's."""
        return [*self._arm.joint_names, *self._arm.gripper_joints][:number]

    def _publish_image(self) -> None:
        pixels = self._world.render(view=self.config.camera_view, width=640, height=480)
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=pixels.shape[1] * 3)
        message.header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        message.data = pixels.tobytes()
        self._images.publish(message)

    def _publish_scene(self, alone: bool = False) -> None:
        """What stands there now; ``alone``: what stood there before is gone."""
        shapes = getattr(self._world, "shapes", None)
        if shapes is not None:
            self._markers.publish(markers(shapes(), self.get_clock().now().to_msg(), alone))
