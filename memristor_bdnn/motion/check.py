"""Whether an arm's description holds together: kinematics, solver, limits, home, shapes, weights; and what to change.

Everything is measured on the arm as it is loaded for planning and for simulation. A part that an earlier fault keeps
from being measured stays unmeasured.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms import urdf
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik import check as ik_check
from memristor_bdnn.motion.ik import solvers as ik
from memristor_bdnn.motion.ik.turns import apart
from memristor_bdnn.motion.kinematics import chain
from memristor_bdnn.motion.ports.simulated import SimulatedArm
from memristor_bdnn.motion.upright import tilt_of

FloatArray = npt.NDArray[np.float64]

KINEMATICS = 1e-6
"""Largest distance (m) between the tool of the kinematics and of the simulated arm."""
UPRIGHT = 0.02
"""Largest tilt (rad) of what the hand holds at home."""
SAG = 0.005
"""Largest deviation (rad) of a joint that holds the arm's weight at home for a second."""
PADDING = 0.003
FAR, LARGE, SMALL = 1.0, 3.0, 1e-3
"""Longest tool offset, and largest and smallest link of an arm at a table, m."""
FAST, HASTY = 20.0, 400.0
"""Joint speed (rad/s) and acceleration (rad/s^2) beyond those of any arm."""
POSES, SEARCHED, SAMPLES = 500, 40, 300
OFTEN = 0.25
"""Share of random configurations above which two links that touch are worth a remark."""


@dataclass
class Report:
    """What was measured of an arm; None where it could not be.

    Attributes:
        kinematics_max_error_m: tool of the kinematics against the tool of the simulated arm.
        ik_max_error_m: FK(IK(x)) against x.
        ik_lost: known configurations and numerically found solutions that the solver does not return.
        home_tilt_rad: tilt of what the hand holds at home.
        home_sag_rad: how far the joints give way there.
        free_share: of random configurations that touch nothing.
        always_touch: pairs of links that are no neighbours and touch in every random configuration.
        never_touch: pairs that never do.
        problems: what is wrong and what to change, one sentence each.
        remarks: what may be meant so.
    """

    kinematics_max_error_m: float | None = None
    ik_max_error_m: float | None = None
    ik_lost: int | None = None
    home_tilt_rad: float | None = None
    home_sag_rad: float | None = None
    free_share: float | None = None
    always_touch: list[tuple[str, str]] | None = None
    never_touch: list[tuple[str, str]] | None = None
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check(arm: ArmDescription, seed: int = 0) -> Report:
    """Measure an arm; the report says what is wrong, no error is raised for it."""
    report = Report()
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            chain(arm)
            robot = urdf.read(arm)[0]
        except ConfigError as error:
            report.problems.append(str(error))
            return report
        for part in (_kinematics, _solver, _home, _shapes):
            try:
                part(arm, rng, report)
            except ConfigError as error:
                if str(error) not in report.problems:
                    report.problems.append(str(error))
        report.problems += [*_limits(arm, robot), *_fingers(arm, robot)]
    report.remarks += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return report


def _kinematics(arm: ArmDescription, rng: np.random.Generator, report: Report) -> None:
    own = chain(arm)
    with _simulated(arm) as simulated:
        differences = []
        for q in rng.uniform(*arm.limits(), (64, arm.dof)):
            simulated.set_joints(q)
            differences.append(np.abs(simulated.tool_pose() - own.fk(q)))
        sizes = _sizes(simulated)
    apart_m, turned = np.max(differences, axis=0)[:3, 3].max(), np.max(differences, axis=0)[:3, :3].max()
    report.kinematics_max_error_m = float(apart_m)
    if max(apart_m, turned) > KINEMATICS:
        report.problems.append(
            f"the tool of the kinematics is up to {apart_m:.2g} m and {turned:.2g} (rotation matrix) away from that of "
            "the simulated arm: look at base_link, tool_link, and the joints between them"
        )
    offset = float(np.linalg.norm(arm.tool_offset))
    if offset > FAR:
        report.problems.append(
            f"tool_offset = {arm.tool_offset} m is {offset:g} m long (millimetres?): metres are meant"
        )
    for name, size in sizes.items():
        if not SMALL < size < LARGE:
            report.problems.append(
                f"the shape of link {name} is {size:.3g} m large: if its mesh is in millimetres, give it "
                'scale="0.001 0.001 0.001"'
            )


def _sizes(simulated: Any) -> dict[str, float]:
    """Length (m) of the longest edge of the box around each link that has a shape."""
    bullet, body, sizes = simulated._bullet, simulated.body, {}
    for name, index in simulated.links.items():
        if bullet.getCollisionShapeData(body, index):
            low, high = bullet.getAABB(body, index)
            sizes[name] = float(np.max(np.subtract(high, low)))
    return sizes


def _solver(arm: ArmDescription, rng: np.random.Generator, report: Report) -> None:
    solver = ik.create(arm)
    low, high = arm.limits()
    known = rng.uniform(low, high, (POSES, arm.dof))
    poses, free = solver.chain.fk(known), solver.free_of(known)
    q, valid = solver.solve(poses, free)
    reached, wanted = solver.chain.fk(q[valid]), np.repeat(poses, valid.sum(axis=1), axis=0)
    report.ik_max_error_m = float(np.abs(reached[:, :3, 3] - wanted[:, :3, 3]).max())
    missed = int((~(valid & (apart(q, known[:, None]) < 1e-4)).any(axis=1)).sum())
    lost, _ = ik_check.lost_solutions(solver, poses[:SEARCHED], free[:SEARCHED], low, high, rng)
    report.ik_lost = missed + lost
    if report.ik_lost or report.ik_max_error_m > KINEMATICS:
        report.problems.append(
            f"the solver {arm.ik!r} misses {missed} of {POSES} known configurations, loses {lost} solutions that a "
            f"numerical search finds, and is {report.ik_max_error_m:.2g} m off at worst: it does not fit this arm"
        )


def _home(arm: ArmDescription, rng: np.random.Generator, report: Report) -> None:
    home = np.array(arm.home)
    pose = chain(arm).fk(home)
    report.home_tilt_rad = float(tilt_of(chain(arm), arm.cup_axis, home))
    if report.home_tilt_rad > np.pi - UPRIGHT:
        report.problems.append(f"what the hand holds is upside down at home: cup_axis should be {-arm.cup_axis}")
    elif report.home_tilt_rad > UPRIGHT:
        report.problems.append(
            f"what the hand holds is tilted by {report.home_tilt_rad:.3f} rad at home (allowed {UPRIGHT}): choose a "
            f"home whose tool x axis points {'up' if arm.cup_axis > 0 else 'down'}; it points along "
            f"{np.round(pose[:3, 0], 2).tolist()}"
        )
    report.problems += _contacts_at_home(arm)
    with _simulated(arm) as simulated:
        bullet = simulated._bullet
        bullet.setGravity(0.0, 0.0, -9.81)
        simulated.set_joints(home)
        for _ in range(240):
            bullet.stepSimulation()
        sag = np.abs(simulated.joint_positions() - home)
    report.home_sag_rad = float(sag.max())
    if not report.home_sag_rad < SAG:
        report.problems.append(
            f"{arm.joint_names[int(sag.argmax())]} gives way by {report.home_sag_rad:.3f} rad at home (allowed {SAG}): "
            f"its effort, {arm.effort[int(sag.argmax())]:g} N m, is too small for the masses of the URDF, or one of "
            "them is wrong"
        )


def _contacts_at_home(arm: ArmDescription) -> list[str]:
    """What touches at home, at whatever width of the hand."""
    texts: dict[tuple[str, str], str] = {}
    model = CollisionModel(arm, padding=PADDING)
    try:
        for width in (arm.max_grasp_width, arm.max_grasp_width / 2, 0.0):
            model.open_fingers(width)
            for contact in model.contacts(np.array(arm.home)):
                pair = tuple(sorted((contact.first, contact.second)))
                hand = f", the hand {1000 * width:.0f} mm open," if arm.gripper_joints else ""
                text = (
                    f"at home{hand} {contact.first} and {contact.second} are {1000 * contact.distance:.1f} mm apart "
                    f"(needed {1000 * PADDING:g} mm): choose another home, or, if they may touch, add "
                    f"[{contact.first}, {contact.second}] to may_touch"
                )
                texts.setdefault((pair[0], pair[1]), text)
    finally:
        model.close()
    return list(texts.values())


def _shapes(arm: ArmDescription, rng: np.random.Generator, report: Report) -> None:
    """Which links touch how often, and whether that leaves anything to plan with."""
    configurations = rng.uniform(*arm.limits(), (SAMPLES, arm.dof))
    with _simulated(arm) as simulated:
        bullet, body = simulated._bullet, simulated.body
        parents = {i: bullet.getJointInfo(body, i)[16] for i in range(bullet.getNumJoints(body))}
        shaped = [(name, i) for name, i in simulated.links.items() if bullet.getCollisionShapeData(body, i)]
        pairs = [
            (a, b)
            for k, a in enumerate(shaped)
            for b in shaped[k + 1 :]
            if parents.get(b[1]) != a[1] and parents.get(a[1]) != b[1]
        ]
        counts: Counter[tuple[str, str]] = Counter({(a[0], b[0]): 0 for a, b in pairs})
        for q in configurations:
            simulated.set_joints(q)
            for a, b in pairs:
                counts[a[0], b[0]] += bool(bullet.getClosestPoints(body, body, 0.0, a[1], b[1]))
        shapeless = [name for name, _ in simulated.links.items() if name not in dict(shaped)]
    report.always_touch = [pair for pair, n in counts.items() if n == SAMPLES]
    report.never_touch = [pair for pair, n in counts.items() if n == 0]
    bodies = [name for name in shapeless if _mass_of(arm, name)]  # frames such as tool0 have neither shape nor mass
    if bodies:
        report.problems.append(
            f"{', '.join(bodies)}: has a mass and no <collision>: give it a shape, or nothing is seen to touch it"
        )
    model = CollisionModel(arm, padding=PADDING)
    try:
        found = [{(c.first, c.second) for c in model.contacts(q)} for q in configurations]
    finally:
        model.close()
    report.free_share = float(np.mean([not pairs for pairs in found]))
    seen = Counter(tuple(sorted(pair)) for pairs in found for pair in pairs)
    for (first, second), n in seen.most_common():
        if n == SAMPLES:
            report.problems.append(
                f"{first} and {second} touch in every configuration, so nothing can be planned: add "
                f"[{first}, {second}] to may_touch if they may, or mend their shapes"
            )
        elif n > OFTEN * SAMPLES and "table" not in (first, second):
            report.remarks.append(
                f"{first} and {second} touch in {n / SAMPLES:.0%} of random configurations: if the real ones do not "
                "(PyBullet takes the convex hull of a mesh), add them to may_touch"
            )


def _mass_of(arm: ArmDescription, link: str) -> bool:
    """Whether a link has so large a mass that there must be a body."""
    element = next((e for e in urdf.read(arm)[0].findall("link") if e.get("name") == link), None)
    mass = None if element is None else element.find("inertial/mass")
    return mass is not None and float(mass.get("value", "0")) > 0.05


def _limits(arm: ArmDescription, robot: Any) -> Iterator[str]:
    joints = {j.get("name"): j for j in robot.findall("joint")}
    for k, name in enumerate(arm.joint_names):
        if arm.lower[k] >= arm.upper[k]:
            yield f"{name} cannot move: lower = {arm.lower[k]} is not below upper = {arm.upper[k]}"
        limit = joints[name].find("limit")
        if limit is None or joints[name].get("type") == "continuous":
            continue
        low, high = float(limit.get("lower", 0.0)), float(limit.get("upper", 0.0))
        if arm.lower[k] < low - 1e-3 or arm.upper[k] > high + 1e-3:
            degrees = " (degrees? radians are meant)" if max(-arm.lower[k], arm.upper[k]) > 7 else ""
            yield (
                f"{name} may turn from {arm.lower[k]:g} to {arm.upper[k]:g} rad, in the URDF from {low:g} to {high:g}: "
                f"lower and upper must lie within{degrees}"
            )
        for what, value, most in (("velocity", arm.velocity[k], FAST), ("acceleration", arm.acceleration[k], HASTY)):
            if value > most:
                yield f"{what} of {name} = {value:g} is more than any arm has (degrees?): radians are meant"
        fastest = float(limit.get("velocity", 0.0))
        if fastest and arm.velocity[k] > 1.001 * fastest:
            yield f"velocity of {name} = {arm.velocity[k]:g} rad/s is above the URDF's, {fastest:g}: lower it"


def _fingers(arm: ArmDescription, robot: Any) -> Iterator[str]:
    joints = {j.get("name"): j for j in robot.findall("joint")}
    if bool(arm.gripper_joints) != (arm.max_grasp_width > 0):
        yield (
            f"gripper_joints has {len(arm.gripper_joints)} joints and max_grasp_width is {arm.max_grasp_width} m: "
            "a hand that closes has both, an arm without fingers neither"
        )
    for k, name in enumerate(arm.gripper_joints):
        limit = joints[name].find("limit")
        if limit is None:
            continue
        low, high = float(limit.get("lower", 0.0)), float(limit.get("upper", 0.0))
        for width in (0.0, arm.max_grasp_width):
            value = arm.finger_positions(width)[k]
            if not low - 1e-3 <= value <= high + 1e-3:
                yield (
                    f"{name} is at {value:.4g} for a width of {width} m, the URDF allows {low:g} to {high:g}: set "
                    "max_grasp_width, or finger_open and finger_closed"
                )
    known = {*arm.joint_names, *arm.gripper_joints}
    for name, joint in joints.items():
        if name not in known and joint.get("type") in ("revolute", "continuous", "prismatic"):
            yield (
                f"joint {name} moves and is in neither joint_names nor gripper_joints: nothing holds it; name it, or "
                "make it fixed"
            )


@contextmanager
def _simulated(arm: ArmDescription) -> Iterator[Any]:
    """The arm as the simulated worlds have it, alone."""
    from memristor_bdnn.motion import bullet

    client = bullet.client()
    try:
        yield SimulatedArm(client, arm)
    finally:
        client.disconnect()
