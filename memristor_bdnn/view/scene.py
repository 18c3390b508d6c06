"""Draws a moment in three dimensions: arm, scene, plan, candidates; only what has changed is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.motion.kinematics import quaternions
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.view.arm import ArmModel
from memristor_bdnn.view.moment import Candidates, Moment

FloatArray = npt.NDArray[np.floating[Any]]

CANDIDATE_M = 0.006
COLOURS = "viridis"
"""Of the candidates: dark where a trial is expected to fail, bright where it should succeed."""
LAYERS = ("arm", "scene", "candidates")
"""Parts that a person can hide."""


class Scene:
    """The three-dimensional part of one page.

    Args:
        server: a viser server.
        look: which meshes of the arm are drawn, see :data:`memristor_bdnn.view.arm.LOOKS`.
    """

    def __init__(self, server: Any, look: str) -> None:
        self._server, self._scene, self._look = server, server.scene, look
        self._arm: ArmModel | None = None
        self._links: dict[str, Any] = {}
        self._joints: Mapping[str, float] = {}
        self._base: FloatArray | None = None
        self._drawn: dict[str, tuple[Any, Any, Shape]] = {}
        self._candidates: tuple[Any, ...] | None = None
        self._meshes = _unit_meshes()
        self._scene.set_up_direction("+z")
        self._scene.add_grid(
            "/table", width=3.0, height=3.0, cell_size=0.1, section_size=0.5, plane_opacity=0.0, shadow_opacity=0.2
        )
        self._folders = {name: self._scene.add_frame(f"/{name}", show_axes=False) for name in LAYERS}
        camera = server.initial_camera
        camera.position, camera.look_at = (1.48, -1.02, 0.83), (0.3, 0.0, 0.28)
        camera.fov = 0.75

    def visible(self, layer: str, yes: bool) -> None:
        """Show or hide one of :data:`LAYERS`."""
        self._folders[layer].visible = yes

    def show(self, moment: Moment) -> None:
        """Bring the page to a moment."""
        with self._server.atomic():
            self._show_arm(moment)
            self._show_shapes(moment)
            self._show_candidates(moment.candidates)

    # -- the arm ------------------------------------------------------------------------------

    def _show_arm(self, moment: Moment) -> None:
        arm = moment.arm
        if arm is not self._arm:
            for handle in self._links.values():
                handle.remove()
            self._links, self._joints, self._base, self._arm = {}, {}, None, arm
            if arm is not None:
                self._make(arm)
        if arm is None or (self._joints == moment.joints and self._base is arm.base):
            return
        self._joints, self._base = moment.joints, arm.base
        poses = arm.poses(moment.joints) if moment.joints else {}
        _place([(self._links[name], pose) for name, pose in poses.items() if name in self._links])
        for name, handle in self._links.items():
            if handle.visible != (name in poses):
                handle.visible = name in poses

    def _make(self, arm: ArmModel) -> None:
        for number, part in enumerate(arm.parts(self._look)):
            # Frames are numbered: names of links come from outside, and a slash in one would nest it.
            if part.link not in self._links:
                self._links[part.link] = self._scene.add_frame(
                    f"/arm/link_{len(self._links)}", show_axes=False, visible=False
                )
            self._scene.add_mesh_simple(
                f"{self._links[part.link].name}/part_{number}",
                vertices=part.vertices,
                faces=part.faces,
                color=_bytes(part.colour),
                flat_shading=self._look == "collision",
            )

    # -- shapes -------------------------------------------------------------------------------

    def _show_shapes(self, moment: Moment) -> None:
        wanted: dict[str, Shape] = {}
        for layer, shapes in enumerate(moment.shapes.values()):
            for number, shape in enumerate(shapes):
                wanted[f"/scene/{layer}_{number}"] = shape
        for name in [name for name in self._drawn if name not in wanted]:
            self._drawn.pop(name)[1].remove()
        for name, shape in wanted.items():
            key, before = _key(shape), self._drawn.get(name)
            if before is None or before[0] != key:
                self._drawn[name] = (key, self._add(name, shape), shape)
            elif before[2] is not shape:
                self._move(before[1], before[2], shape)
                self._drawn[name] = (key, before[1], shape)

    def _add(self, name: str, shape: Shape) -> Any:
        colour, opacity = _bytes(shape.colour[:3]), shape.colour[3]
        if shape.kind == "line":
            assert shape.points is not None
            points = np.stack([shape.points[:-1], shape.points[1:]], axis=1).astype(np.float32)
            width = max(shape.size[0], 0.001)
            return self._scene.add_line_segments(name, points=points, colors=colour, thickness=width)
        vertices, faces = self._meshes[shape.kind]
        if shape.kind == "spheres":
            assert shape.points is not None
            return self._scene.add_batched_meshes_simple(
                name,
                vertices=vertices * max(shape.size[0], 1e-4),
                faces=faces,
                batched_wxyzs=np.tile((1.0, 0.0, 0.0, 0.0), (len(shape.points), 1)).astype(np.float32),
                batched_positions=shape.points.astype(np.float32),
                batched_colors=colour,
                lod="off",
                cast_shadow=False,
            )
        position, wxyz = _position(shape.pose)
        return self._scene.add_mesh_simple(
            name,
            vertices=vertices * np.maximum(shape.size, 1e-4),
            faces=faces,
            color=colour,
            opacity=opacity if opacity < 1.0 else None,
            side="double" if opacity < 1.0 else "front",
            flat_shading=shape.kind == "box",
            cast_shadow=opacity >= 0.9,
            position=position,
            wxyz=wxyz,
        )

    def _move(self, handle: Any, before: Shape, shape: Shape) -> None:
        if shape.kind == "spheres":
            assert shape.points is not None
            if not np.array_equal(before.points, shape.points):  # type: ignore[arg-type]
                handle.batched_positions = shape.points.astype(np.float32)
        elif not np.array_equal(before.pose, shape.pose):
            handle.position, handle.wxyz = _position(shape.pose)

    # -- candidates ---------------------------------------------------------------------------

    def _show_candidates(self, found: Candidates | None) -> None:
        key = None if found is None or found.points is None else found.key
        if key == self._candidates:
            return
        self._candidates = key
        if found is None or found.points is None:
            self._scene.remove_by_name("/candidates/points")
            return
        self._scene.add_point_cloud(
            "/candidates/points",
            points=found.points.astype(np.float32),
            colors=colours(found.confidence),
            point_size=CANDIDATE_M,
            point_shape="circle",
            precision="float32",
        )


def colours(confidence: FloatArray) -> npt.NDArray[np.uint8]:
    """Colours (n, 3) of probabilities of success (n,)."""
    from matplotlib import colormaps

    shown: npt.NDArray[np.uint8] = (255 * colormaps[COLOURS](np.clip(confidence, 0.0, 1.0))[:, :3]).astype(np.uint8)
    return shown


def _key(shape: Shape) -> tuple[Any, ...]:
    """What makes a shape another one, and not the same elsewhere."""
    points = None
    if shape.points is not None:
        points = len(shape.points) if shape.kind == "spheres" else shape.points.tobytes()
    return shape.kind, shape.size, shape.colour, points


def _place(poses: Sequence[tuple[Any, FloatArray]]) -> None:
    """Move handles to poses (4, 4)."""
    if not poses:
        return
    stack = np.array([pose for _, pose in poses])
    turns = quaternions(stack[:, :3, :3])[:, (3, 0, 1, 2)]
    for (handle, _), pose, wxyz in zip(poses, stack, turns, strict=True):
        handle.position, handle.wxyz = pose[:3, 3], wxyz


def _position(pose: FloatArray) -> tuple[FloatArray, FloatArray]:
    return pose[:3, 3], quaternions(np.asarray(pose, dtype=np.float64)[None, :3, :3])[0, [3, 0, 1, 2]]


def _bytes(colour: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * min(max(c, 0.0), 1.0)) for c in colour[:3])
    return red, green, blue


def _unit_meshes() -> dict[str, tuple[FloatArray, npt.NDArray[Any]]]:
    """Vertices (n, 3) and faces (m, 3) of every kind of shape with extents of 1 m."""
    from trimesh import creation

    makers: dict[str, Callable[[], Any]] = {
        "box": lambda: creation.box(extents=(1.0, 1.0, 1.0)),
        "cylinder": lambda: creation.cylinder(radius=0.5, height=1.0, sections=48),
        "sphere": lambda: creation.icosphere(subdivisions=3, radius=0.5),
        "spheres": lambda: creation.icosphere(subdivisions=1, radius=0.5),
    }
    made = {name: maker() for name, maker in makers.items()}
    return {
        name: (np.array(m.vertices, dtype=np.float32), np.array(m.faces, dtype=np.uint32)) for name, m in made.items()
    }
