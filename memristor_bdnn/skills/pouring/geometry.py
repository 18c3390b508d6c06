"""Where the cup is during a pour, and which control parameters keep it clear of the bowl."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.kinematics import rotation
from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, context_array, parameter_array
from memristor_bdnn.skills.pouring.vessels import N_SLATS, bowl_of, cup_of

FloatArray = npt.NDArray[np.floating[Any]]

BOWL_POSITION = (0.5, 0.0, 0.0)
"""Centre of the bowl's base in the world frame, metres."""

CLEARANCE = 0.0
"""Room kept between cup and bowl by :func:`is_valid`, metres."""


MARGIN = 0.0005
"""Least gap that is left between cup and bowl when an arm pours, metres."""


def arm_clearance(context: PourContext) -> float:
    """Clearance for :func:`is_valid` at which an arm's pour touches nothing, metres.

    Collision bodies are 12-gons whose corners stick out of the round walls, and nobody knows how they are turned;
    walls of real vessels are not quite round either.
    """
    cup = cup_of(context)
    widest = bowl_of(context).top_diameter + max(cup.top_diameter, cup.base_diameter)
    return (1.0 / math.cos(math.pi / N_SLATS) - 1.0) * widest / 2 + MARGIN


def cup_pose(
    context: PourContext,
    parameters: PourParameters,
    pitch: float,
    bowl_position: tuple[float, float, float] = BOWL_POSITION,
    yaw: float = 0.0,
) -> FloatArray:
    """Pose of the cup's centre when it is tilted to a pitch about the pour's axis.

    Args:
        pitch: radians, 0 upright to ``parameters.pitch``.
        bowl_position: centre of the bowl's base in the world, metres.
        yaw: angle of the vertical plane of the pour about the bowl's axis, radians.

    Returns:
        Homogeneous transform (4, 4) from the cup's frame to the world.
    """
    return _poses(context, parameters, np.array([pitch]), bowl_position, yaw)[0]


def pour_path(
    context: PourContext,
    parameters: PourParameters,
    yaw: float = 0.0,
    n: int = 50,
    bowl_position: tuple[float, float, float] = BOWL_POSITION,
) -> FloatArray:
    """The cup's poses from upright to the final pitch, equal steps of pitch; shape (n, 4, 4)."""
    return _poses(context, parameters, np.linspace(0.0, parameters.pitch, n), bowl_position, yaw)


def pour_paths(
    context: PourContext,
    parameters: PourParameters,
    yaws: FloatArray,
    n: int = 50,
    bowl_position: tuple[float, float, float] = BOWL_POSITION,
) -> FloatArray:
    """:func:`pour_path` in several planes at angles (k,) rad; shape (k, n, 4, 4)."""
    turns = np.tile(np.eye(4), (len(yaws), 1, 1, 1))
    turns[:, 0, :3, :3] = rotation((0, 0, 1), yaws)
    turns[:, 0, :3, 3] = bowl_position
    return turns @ pour_path(context, parameters, 0.0, n, (0.0, 0.0, 0.0))


def is_valid(
    context: PourContext | FloatArray,
    parameters: PourParameters | FloatArray,
    clearance: float = CLEARANCE,
    steps: int = 16,
) -> Any:
    """Whether the cup's path from upright to the final pitch stays clear of bowl and table.

    Rings of points on the cup are tested against the bowl's solid, and points on the bowl's rim
    against the cup's solid, at ``steps`` pitches.

    Args:
        context: one context, or rows of physical values (n, 6).
        parameters: one set, or rows of physical values (n, 5); a single row is repeated.
        clearance: metres added around the cup.

    Returns:
        bool for a :class:`PourParameters`, else an array of bool (n,).
    """
    rows = parameter_array(parameters)
    contexts = np.broadcast_to(context_array(context), (len(rows), 6)) if len(rows) > 1 else context_array(context)
    valid = np.ones(max(len(rows), len(contexts)), dtype=bool)
    rows = np.broadcast_to(rows, (len(valid), 5))
    for c in np.unique(contexts, axis=0):
        members = np.flatnonzero((contexts == c).all(axis=1))
        valid[members] = _clear(PourContext.from_array(c), rows[members], clearance, steps)
    return bool(valid[0]) if isinstance(parameters, PourParameters) else valid


def _poses(
    context: PourContext,
    parameters: PourParameters,
    pitches: FloatArray,
    bowl_position: tuple[float, float, float],
    yaw: float,
) -> FloatArray:
    c, s, zero = np.cos(pitches), np.sin(pitches), np.zeros_like(pitches)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1.0]])
    tilt = np.moveaxis(np.array([[c, zero, s], [zero, zero + 1, zero], [-s, zero, c]]), -1, 0)
    pivot = np.array(
        [parameters.axis_in_bowl_x * context.bowl_diameter, 0.0, context.bowl_height + parameters.axis_in_bowl_z]
    )
    centre = np.array(
        [-parameters.axis_in_cup_x * context.cup_diameter, 0.0, -parameters.axis_in_cup_z * context.cup_height]
    )
    poses = np.tile(np.eye(4), (len(pitches), 1, 1))
    poses[:, :3, :3] = turn @ tilt
    poses[:, :3, 3] = np.asarray(bowl_position) + (pivot + tilt @ centre) @ turn.T
    return poses


def _clear(context: PourContext, p: FloatArray, clearance: float, steps: int) -> npt.NDArray[np.bool_]:
    """Validity of parameter rows (n, 5) for one context, in the plane frame centred on the bowl's base."""
    bowl, cup = bowl_of(context), cup_of(context)
    angles = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    levels = np.linspace(0.0, cup.height, 5)
    radii = np.concatenate([cup.outer_radius(levels) + clearance, [cup.outer_radius(0) / 2]])
    heights = np.concatenate([levels, [0.0]]) + cup.bottom
    points = np.stack(
        [np.outer(radii, np.cos(angles)), np.outer(radii, np.sin(angles)), np.outer(heights, np.ones_like(angles))],
        axis=-1,
    ).reshape(-1, 3)
    # The rim is sampled finely, because a cup may straddle it.
    fine = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    rim = float(bowl.outer_radius(bowl.height)) - bowl.wall / 2
    rim_points = np.stack([rim * np.cos(fine), rim * np.sin(fine), np.full_like(fine, bowl.height)], axis=-1)

    def hits(q: FloatArray) -> npt.NDArray[np.bool_]:
        """Where a cup at its last pitch would hit, for parameter rows (k, 5)."""
        c, s = np.cos(q[:, 4]), np.sin(q[:, 4])
        off_x, off_z = -q[:, 2] * context.cup_diameter, -q[:, 3] * context.cup_height
        centre_x = q[:, 0] * context.bowl_diameter + c * off_x + s * off_z
        centre_z = context.bowl_height + q[:, 1] - s * off_x + c * off_z
        x = centre_x[:, None] + np.outer(c, points[:, 0]) + np.outer(s, points[:, 2])
        z = centre_z[:, None] - np.outer(s, points[:, 0]) + np.outer(c, points[:, 2])
        radius = np.hypot(x, points[:, 1])
        solid = (radius > bowl.inner_radius(z)) & (radius < bowl.outer_radius(z)) | (z < bowl.wall)
        hit = ((z < bowl.height) & solid & ((radius < bowl.outer_radius(z)) | (z < 0))).any(axis=1)
        # The bowl's rim in the cup's frame.
        dx, dz = rim_points[:, 0] - centre_x[:, None], rim_points[:, 2] - centre_z[:, None]
        in_x, in_z = c[:, None] * dx - s[:, None] * dz, s[:, None] * dx + c[:, None] * dz - cup.bottom
        in_r = np.hypot(in_x, rim_points[:, 1])
        hit |= (
            (in_z > -clearance) & (in_z < cup.height + clearance) & (in_r < cup.outer_radius(in_z) + clearance)
        ).any(axis=1)
        return np.asarray(hit)

    ok = np.ones(len(p), dtype=bool)
    shares = np.linspace(0.0, 1.0, steps)
    for some in shares[:, None] if len(p) > 1 else shares[None]:  # pitch by pitch, or all pitches of one row at once
        rows = np.flatnonzero(ok)
        if not len(rows):
            break
        q = np.repeat(p[rows], len(some), axis=0)
        q[:, 4] *= np.tile(some, len(rows))
        ok[rows[hits(q).reshape(len(rows), -1).any(axis=1)]] = False
    return ok
