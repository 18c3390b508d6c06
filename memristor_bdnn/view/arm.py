"""An arm from the text of its description (URDF): where its links are, and what they look like.

The text comes from a topic or a file: nothing of it is believed. Meshes are read from this machine, from files that are
meshes by name and size.
"""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from memristor_bdnn.archives import read_file
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.markup import parse
from memristor_bdnn.motion.arms.packages import resolve
from memristor_bdnn.motion.arms.urdf import MESHES
from memristor_bdnn.motion.frames import WORLD, hanging, placed
from memristor_bdnn.motion.kinematics import joint_origin

FloatArray = npt.NDArray[np.floating[Any]]

LOOKS = ("collision", "visual")
"""Which meshes of a link are drawn: collision hulls are there in a quarter of a second, visual meshes in seconds."""
LONGEST_TEXT, MOST_LINKS = 2**22, 500
"""Largest description (characters), and most links and parts of one."""
LARGEST_MESH, LARGEST_MESHES = 2**26, 2**28
"""Largest file of one mesh, and of all of an arm, bytes."""
GREY = (0.86, 0.87, 0.9)


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh on a link: vertices (n, 3) m and faces (m, 3) in the link's frame, colour in [0, 1]."""

    link: str
    vertices: FloatArray
    faces: npt.NDArray[np.integer[Any]]
    colour: tuple[float, float, float]


class ArmModel:
    """The links of one description below the world."""

    def __init__(self, text: str, base: FloatArray | None = None) -> None:
        """
        Args:
            text: URDF.
            base: pose (4, 4) of the topmost link in the world; the identity when left out.

        Raises:
            ConfigError: too long, no XML, no URDF, with numbers that are none, or a loop of joints.
        """
        self.text, self._root = text, _robot(text)
        joints = self._root.findall("joint")
        names = [str(link.get("name")) for link in self._root.findall("link")]
        if max(len(joints), len(names)) > MOST_LINKS:
            raise ConfigError(f"the description has {len(names)} links, {len(joints)} joints: at most {MOST_LINKS}")
        try:
            with np.errstate(all="ignore"):  # what is not finite is named below
                self.links = hanging(self._root)
        except (ValueError, TypeError, AttributeError, ConfigError) as error:
            raise ConfigError(f"the description has a joint that cannot be read: {error}") from error
        for link in self.links:
            if not np.isfinite(link.origin).all() or (link.axis is not None and not np.isfinite(link.axis).all()):
                raise ConfigError(f"the description has numbers that are not finite at link {link.name[:100]!r}")
        hung = {link.name for link in self.links}
        top = [name for name in names if name not in hung]
        if len(top) != 1:
            raise ConfigError(f"the description has {len(top)} links that hang on nothing, expected one")
        self.top = top[0]
        self.base: npt.NDArray[np.float64] = np.eye(4) if base is None else np.asarray(base, dtype=np.float64)
        self.missing: tuple[str, ...] = ()

    def poses(self, positions: Mapping[str, float]) -> dict[str, FloatArray]:
        """Poses (4, 4) in the world of every link that can be placed with these joint positions, rad or m by name."""
        found = placed(self.links, positions, {self.top: self.base})
        return {name: pose for name, pose in found.items() if name != WORLD or self.top == WORLD}

    def parts(self, look: str = "collision") -> list[Part]:
        """What is drawn of every link; what cannot be read is left out and named in ``missing``.

        Args:
            look: one of :data:`LOOKS`; a link that has only the other gets that.
        """
        colours = {str(m.get("name")): c for m in self._root.findall("material") if (c := _rgb(m)) is not None}
        found, problems, left = [], [], [LARGEST_MESHES]
        for link in self._root.findall("link"):
            name = str(link.get("name"))
            elements = link.findall(look) or link.findall(LOOKS[1 - LOOKS.index(look)])
            for element in elements[:MOST_LINKS]:
                try:
                    vertices, faces = _mesh(element, left)
                    pose = joint_origin(element)
                    if not np.isfinite(pose).all():
                        raise ConfigError("an origin that is not finite")
                except Exception as error:  # readers of meshes raise whatever a damaged file leads them to
                    problems.append(f"{name}: {error}")
                    continue
                turned = (vertices @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
                found.append(Part(name, turned, faces, _colour(link, element, colours)))
        self.missing = tuple(problems)
        return found


def _robot(text: str) -> ET.Element:
    if len(text) > LONGEST_TEXT:
        raise ConfigError(f"the description has {len(text)} characters: at most {LONGEST_TEXT} are read")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities unfold to more than was sent
        raise ConfigError("the description declares entities or a document type: a URDF needs none")
    try:
        root, _ = parse(text.encode(errors="replace"))
    except ET.ParseError as error:
        raise ConfigError(f"the description is not valid XML: {error}") from error
    if root.tag != "robot":
        raise ConfigError(f"the description is no URDF: it begins with <{str(root.tag)[:40]}>, expected <robot>")
    return root


def _mesh(element: ET.Element, left: list[int]) -> tuple[FloatArray, npt.NDArray[np.integer[Any]]]:
    """Vertices (n, 3) m and faces (m, 3) of a <visual> or <collision>, before its origin. ``left``: bytes to read."""
    import trimesh

    shape = next(iter(element.find("geometry") or ()), None)
    if shape is None:
        raise ConfigError("no geometry")
    if shape.tag == "box":
        mesh: Any = trimesh.creation.box(extents=_numbers(shape.get("size"), 3))
    elif shape.tag in ("cylinder", "capsule"):
        radius, length = _numbers(shape.get("radius"), 1)[0], _numbers(shape.get("length"), 1)[0]
        mesh = trimesh.creation.cylinder(radius=radius, height=length, sections=24)
    elif shape.tag == "sphere":
        mesh = trimesh.creation.icosphere(subdivisions=2, radius=_numbers(shape.get("radius"), 1)[0])
    elif shape.tag == "mesh":
        path = _file(shape.get("filename", ""))
        content = read_file(path, min(LARGEST_MESH, left[0]))
        left[0] -= len(content)
        mesh = trimesh.load(io.BytesIO(content), file_type=path.suffix[1:].lower(), force="mesh")
    else:
        raise ConfigError(f"a geometry <{str(shape.tag)[:40]}>")
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    if vertices.ndim != 2 or not len(vertices) or not np.isfinite(vertices).all():
        raise ConfigError("a mesh without vertices, or with some that are not finite")
    if shape.tag == "mesh":
        vertices = vertices * _numbers(shape.get("scale", "1 1 1"), 3)
    return vertices, np.asarray(mesh.faces, dtype=np.uint32)


def _file(name: str) -> Path:
    """The file of a mesh on this machine."""
    if Path(name).suffix.lower() not in MESHES:
        raise ConfigError(f"{name[:200]!r} is no mesh that is read ({', '.join(MESHES)})")
    path = resolve(unquote(name) if name.startswith("file:") else name, Path("/"))
    if path is None:
        raise ConfigError(f"{name[:200]!r} is not on this machine")
    return path


def _numbers(text: str | None, count: int) -> FloatArray:
    values = np.array([float(word) for word in (text or "").split()])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ConfigError(f"{(text or '')[:60]!r}: expected {count} finite numbers")
    return values


def _rgb(material: ET.Element | None) -> tuple[float, float, float] | None:
    colour = None if material is None else material.find("color")
    try:
        values = [float(word) for word in (colour.get("rgba", "") if colour is not None else "").split()]
    except ValueError:
        return None
    if len(values) < 3 or not all(map(math.isfinite, values)):
        return None
    red, green, blue = (min(max(v, 0.0), 1.0) for v in values[:3])
    return red, green, blue


def _colour(
    link: ET.Element, element: ET.Element, named: Mapping[str, tuple[float, float, float]]
) -> tuple[float, float, float]:
    """Of the part itself, of the first visual part of its link, or grey."""
    for material in _materials(link, element):
        found = _rgb(material) or named.get(str(material.get("name")))
        if found is not None:
            return found if min(found) < 0.999 else GREY
    return GREY


def _materials(link: ET.Element, element: ET.Element) -> Iterator[ET.Element]:
    for part in (element, *link.findall("visual")):
        if (material := part.find("material")) is not None:
            yield material
