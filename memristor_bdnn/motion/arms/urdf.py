"""Robot descriptions as they come: checked part by part, with the part's name in every error, and made loadable.

PyBullet says no more than "Cannot load URDF file", prints warnings that nobody reads, and takes an arm without
collision geometry for one that touches nothing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memristor_bdnn.archives import kind_of, read_file
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.markup import parse
from memristor_bdnn.motion.arms.packages import in_package, resolve, where_looked

if TYPE_CHECKING:
    from memristor_bdnn.motion.arms.description import ArmDescription

MESHES = (".obj", ".stl", ".dae")
"""Forms of meshes that PyBullet reads."""
LIGHT = 1e-3
"""Mass (kg) of a link whose URDF gives none."""
_MOMENTS = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")
_LARGEST = 2**26
_MOVING = ("revolute", "continuous", "prismatic")
_SHAPES = ("box", "cylinder", "sphere", "capsule", "mesh")
_folder: Path | None = None
_ready: dict[tuple[Any, ...], str] = {}


def read(arm: ArmDescription) -> tuple[ET.Element, bool]:
    """The <robot> element of an arm's URDF, and whether its text had to be mended to be read.

    Raises:
        ConfigError: the file is missing, no regular file, empty, no XML, no URDF, or xacro that was not processed.
    """
    path = arm.urdf_path()
    try:
        content = read_file(path, _LARGEST)
        if not content.strip():
            raise ConfigError(f"{path} is empty")
        root, mended = parse(content)
    except ET.ParseError as error:
        raise ConfigError(f"arm {arm.name!r}: {path} is not valid XML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r}: {error}") from error
    for element in root.iter():
        namespace, _, tag = str(element.tag).rpartition("}")
        macros = [value for value in element.attrib.values() if "${" in value or "$(" in value]
        if "xacro" in namespace or macros:
            raise ConfigError(
                f"arm {arm.name!r}: {path} is a xacro file ({macros[0] if macros else tag}): process it first, "
                f"xacro {Path(path).name} > processed.urdf, and name that"
            )
    if root.tag != "robot":
        raise ConfigError(f"arm {arm.name!r}: {path} is no URDF: it begins with <{root.tag}>, expected <robot>")
    return root, mended


def loadable(arm: ArmDescription) -> str:
    """Path of a URDF that PyBullet can load: the arm's own, or a copy in which meshes are named by their paths.

    Warns of parts that the simulation will not have: visual meshes that are missing, links that nothing can touch,
    links without mass, fingers that do not follow.

    Raises:
        ConfigError: naming every link, joint or mesh that is wrong, and the file.
    """
    path = arm.urdf_path()
    names = (arm.joint_names, arm.gripper_joints, arm.gripper_links, arm.base_link, arm.tool_link, arm.may_touch)
    key = (path, os.stat(path).st_mtime_ns, arm.name, *names, os.environ.get("AMENT_PREFIX_PATH"))
    if key not in _ready or not Path(_ready[key]).is_file():
        root, changed = read(arm)
        wrong = [*_joints(root, arm), *_links(root)]
        wrong += [] if wrong else _standing(root, arm)
        found, notes, renamed = _meshes(root, Path(path))
        wrong, changed = wrong + found, changed or renamed
        if wrong:
            raise ConfigError(f"arm {arm.name!r}: {path}: {'; '.join(wrong)}")
        for note in (*notes, *_notes(root, arm)):
            warnings.warn(f"arm {arm.name!r}: {path}: {note}", stacklevel=2)
        changed = _weigh(root) or changed
        _ready[key] = _copy(root, path) if changed else path
    return _ready[key]


def _weigh(root: ET.Element) -> bool:
    """Give links without <inertial> (tool0, flange: frames without a body) the mass LIGHT; whether there are any.

    PyBullet would give each of them 1 kg, under which a hand sags.
    """
    frames = [link for link in root.findall("link") if link.find("inertial") is None]
    for link in frames:
        inertial = ET.SubElement(link, "inertial")
        ET.SubElement(inertial, "mass", value=f"{LIGHT:g}")
        moments = {name: f"{LIGHT * 1e-3:g}" if name[1] == name[2] else "0" for name in _MOMENTS}
        ET.SubElement(inertial, "inertia", moments)
    return bool(frames)


def load(bullet: Any, arm: ArmDescription, flags: int, seen: bool = True) -> int:
    """Load an arm into a PyBullet client, its base fixed where it is mounted; returns the body.

    Where nobody looks (``seen`` False) the visual meshes are left out, which takes a quarter of the time.

    Raises:
        ConfigError: as :func:`loadable`; or PyBullet cannot read a mesh all the same.
    """
    path = loadable(arm)
    flags |= 0 if seen else bullet.URDF_IGNORE_VISUAL_SHAPES
    try:
        place = {
            "basePosition": (*arm.mount_position, arm.mount_height),
            "baseOrientation": bullet.getQuaternionFromEuler(arm.mount_rotation),
        }
        body = int(bullet.loadURDF(path, useFixedBase=True, flags=flags, **place))
    except bullet.error as error:
        meshes = sorted({str(m.get("filename")) for m in ET.parse(path).getroot().iter("mesh")})
        raise ConfigError(
            f"arm {arm.name!r}: PyBullet cannot load {arm.urdf_path()} ({error}); its joints and links are well "
            f"formed, so look at its meshes: {', '.join(meshes) or 'it has none'}"
        ) from error
    index = {bullet.getBodyInfo(body)[0].decode(): -1}
    index.update({bullet.getJointInfo(body, i)[12].decode(): i for i in range(bullet.getNumJoints(body))})
    links = _named(ET.parse(path).getroot(), "link")
    hollow = list(_hollow(bullet, body, index, links))
    if hollow:
        bullet.removeBody(body)
        raise ConfigError(f"arm {arm.name!r}: {arm.urdf_path()}: {'; '.join(hollow)}")
    return body


def _hollow(bullet: Any, body: int, index: dict[str, int], links: dict[str, ET.Element]) -> Iterator[str]:
    """Links whose collision geometry PyBullet has not read: it says so on the screen and goes on without it."""
    for name, link in links.items():
        parts = link.findall("collision")
        if name in index and len(bullet.getCollisionShapeData(body, index[name])) < len(parts):
            meshes = [str(m.get("filename")) for part in parts for m in part.iter("mesh")]
            yield f"PyBullet cannot read the collision geometry of link {name} ({', '.join(meshes) or 'no mesh'})"


# -- parts that are wrong ---------------------------------------------------------------------------------------------


def _joints(root: ET.Element, arm: ArmDescription) -> Iterator[str]:
    links, joints = _named(root, "link"), _named(root, "joint")
    for kind, elements in (("link", root.findall("link")), ("joint", root.findall("joint"))):
        names = [e.get("name") for e in elements]
        if None in names:
            yield f"a {kind} has no name"
        for twice in sorted({n for n in names if n is not None and names.count(n) > 1}):
            yield f"{kind} {twice} is there twice"
    parents: dict[str, str] = {}
    for name, joint in joints.items():
        for end in ("parent", "child"):
            element = joint.find(end)
            link = None if element is None else element.get("link")
            if link is None or link not in links:
                yield f"joint {name} has no {end}" if link is None else f"joint {name}: there is no link {link}"
            elif end == "child":
                if link in parents:
                    yield f"link {link} is the child of joints {parents[link]} and {name}"
                parents[link] = name
        if joint.get("type") in ("revolute", "prismatic") and joint.find("limit") is None:
            yield f"joint {name} is {joint.get('type')} and has no <limit lower= upper= effort= velocity=>"
        yield from _numbers(joint, name)
    for what, wanted, there in (
        ("joint_names", arm.joint_names, joints),
        ("gripper_joints", arm.gripper_joints, joints),
        ("gripper_links", arm.gripper_links, links),
        ("base_link", (arm.base_link,), links),
        ("tool_link", (arm.tool_link,), links),
        ("may_touch", tuple(dict.fromkeys(name for pair in arm.may_touch for name in pair)), links),
    ):
        missing = [name for name in wanted if name not in there]
        if missing:
            start = f"no path from {arm.base_link} to {arm.tool_link}: " if what in ("base_link", "tool_link") else ""
            yield f"{start}it has no {', '.join(map(repr, missing))} ({what}); it has {', '.join(there) or 'none'}"
    for name in arm.joint_names:
        if name in joints and joints[name].get("type") not in ("revolute", "continuous"):
            yield f"joint {name} (joint_names) is {joints[name].get('type')}: an arm's joints must turn"
        if name in joints and joints[name].find("mimic") is not None:
            yield f"joint {name} (joint_names) mimics another one: it cannot be moved by itself"


def _standing(root: ET.Element, arm: ArmDescription) -> Iterator[str]:
    """What would let the arm stand, move or end elsewhere in the simulation than in its kinematics."""
    above = {str(j.find("child").get("link")): j for j in root.findall("joint")}  # type: ignore[union-attr]
    for joint in _path(above, arm.base_link):
        name, kind = joint.get("name"), joint.get("type")
        if kind != "fixed":
            yield (
                f"joint {name} ({kind}) moves the base link {arm.base_link}, and nothing plans for it: make it fixed, "
                "or take what is above it out of the URDF"
            )
            continue
        origin = joint.find("origin")
        for attribute, what in (("xyz", "raised or moved"), ("rpy", "turned")):
            text = "" if origin is None else origin.get(attribute, "")
            if any(abs(float(v)) > 1e-9 for v in text.split()):
                yield (
                    f"the base link {arm.base_link} is {what} by joint {name} ({attribute} = {text!r}): name the root "
                    f"{_root(above, arm.base_link)} as base_link, or leave this to mount_height, mount_position and "
                    "mount_rotation of the description and make the origin zero"
                )
    links, moving = _named(root, "link"), False
    carried = []
    for joint in _path(above, arm.tool_link, arm.base_link):
        if joint.get("type") in ("prismatic", "planar", "floating"):
            kind = joint.get("type")
            yield f"joint {joint.get('name')} of the arm is {kind}: an arm's joints must turn; make it fixed"
        moving = moving or joint.get("type") != "fixed"
        if moving:
            carried.append(str(joint.find("child").get("link")))  # type: ignore[union-attr]
    for name in dict.fromkeys([*carried, *arm.gripper_links]):
        if links[name].find("visual") is not None and links[name].find("collision") is None:
            yield f"link {name} can be seen but has no <collision>: give it a shape, or nothing is seen to touch it"


def _path(above: dict[str, ET.Element], link: str, top: str | None = None) -> list[ET.Element]:
    """Joints from a link's ancestor (the root by default) down to it; those reached if it is no ancestor."""
    found: list[ET.Element] = []
    while link in above and link != top and above[link] not in found:
        found.insert(0, above[link])
        link = str(found[0].find("parent").get("link"))  # type: ignore[union-attr]
    return found


def _root(above: dict[str, ET.Element], link: str) -> str:
    joints = _path(above, link)
    return str(joints[0].find("parent").get("link")) if joints else link  # type: ignore[union-attr]


def _numbers(joint: ET.Element, name: str) -> Iterator[str]:
    """Attributes of a joint that are no numbers, and an axis that points nowhere."""
    for tag, attributes, n in (
        ("origin", ("xyz", "rpy"), 3),
        ("axis", ("xyz",), 3),
        ("limit", ("lower", "upper", "effort", "velocity"), 1),
    ):
        element = joint.find(tag)
        for attribute in attributes if element is not None else ():
            text = element.get(attribute)  # type: ignore[union-attr]
            if text is None:
                continue
            try:
                values = [float(v) for v in text.split()]
                good = len(values) == n and all(abs(v) < float("inf") for v in values)
            except ValueError:
                good = False
            if not good:
                yield f"joint {name}: {attribute} of <{tag}> is {text!r}, expected {n} finite number{'s'[: n - 1]}"
            elif tag == "axis" and not any(values) and joint.get("type") in _MOVING:
                yield f"joint {name}: its axis {text!r} points nowhere"


def _links(root: ET.Element) -> Iterator[str]:
    links = _named(root, "link")
    if not any(link.find("collision") is not None for link in links.values()):
        yield "no link has a <collision>: nothing would be seen to touch the arm"
    for name, link in links.items():
        for what in ("collision", "visual"):
            for element in link.findall(what):
                shape = element.find("geometry")
                if shape is None or len(shape) != 1 or shape[0].tag not in _SHAPES:
                    tags = "nothing" if shape is None else ", ".join(f"<{e.tag}>" for e in shape) or "nothing"
                    yield f"the <{what}> of link {name} has {tags} for a geometry, expected one of {', '.join(_SHAPES)}"


def _meshes(root: ET.Element, path: Path) -> tuple[list[str], list[str], bool]:
    """What is wrong with meshes, what to warn of, and whether the description was changed: named or left out meshes."""
    wrong, notes, changed = [], [], False
    for name, link in _named(root, "link").items():
        for what in ("collision", "visual"):
            for element in link.findall(what):
                mesh = element.find("geometry/mesh")
                if mesh is None:
                    continue
                given = mesh.get("filename", "")
                found, problem = _mesh(given, path)
                if problem and what == "collision":
                    wrong.append(f"the collision mesh of link {name}, {given!r}, {problem}")
                elif problem:
                    notes.append(f"the visual mesh of link {name}, {given!r}, {problem}: it is not shown")
                    link.remove(element)
                    changed = True
                elif found is not None:
                    own = "package://" in given and str(found).startswith(str(path.parent))
                    beside = "://" not in given and found == path.parent / given
                    changed = changed or not (own or beside)
                    mesh.set("filename", str(found))
    return wrong, notes, changed


def _mesh(given: str, path: Path) -> tuple[Path | None, str]:
    """Where a mesh is, and what is wrong with it."""
    if not given:
        return None, "has no filename"
    if Path(given).suffix.lower() not in MESHES:
        return None, f"is of a form that PyBullet cannot read: convert it to {', '.join(MESHES)}"
    found = resolve(given, path.parent) or resolve(given, path.resolve().parent)
    if found is None:
        where = "beside the URDF"
        if in_package(given):
            where = where_looked(given) + (", nor above the URDF" if "://" in given else "")
        return None, f"is not there: looked {where}"
    kind = kind_of(os.stat(found).st_mode)
    if kind or os.path.getsize(found) == 0:
        return None, f"is {kind or 'an empty file'}"
    return found, ""


def _notes(root: ET.Element, arm: ArmDescription) -> Iterator[str]:
    """What the simulation does otherwise than the description may mean."""
    links = _named(root, "link")
    bare = [n for n, link in links.items() if link.find("visual") is not None and link.find("collision") is None]
    if bare:
        yield f"{_several('link', bare)} can be seen but have no <collision>: nothing is seen to touch them"
    light = [n for n, link in links.items() if link.find("collision") is not None and link.find("inertial") is None]
    if light:
        yield f"{_several('link', light)} have no <inertial>: they count {1e3 * LIGHT:g} g"
    for name, joint in _named(root, "joint").items():
        mimic = joint.find("mimic")
        if mimic is not None and name not in arm.gripper_joints:
            yield f"joint {name} mimics {mimic.get('joint')}, which PyBullet does not: name it in gripper_joints"


def _several(kind: str, names: list[str]) -> str:
    return f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _named(root: ET.Element, kind: str) -> dict[str, ET.Element]:
    return {str(e.get("name")): e for e in root.findall(kind) if e.get("name") is not None}


def _copy(root: ET.Element, path: str) -> str:
    """A description with meshes named by their whole paths, in a folder of this process."""
    global _folder
    if _folder is None or not _folder.is_dir():
        _folder = Path(tempfile.mkdtemp(prefix="memristor_bdnn_urdf_"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    copy = _folder / f"{len(_ready)}_{Path(path).name}"
    ET.ElementTree(root).write(copy, encoding="unicode", xml_declaration=True)
    return str(copy)
