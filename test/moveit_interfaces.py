"""The part of moveit_msgs that planner:=moveit speaks, built for tests where it is not installed.

The definitions in interfaces/ have the fields of moveit_msgs 2.6 (Jazzy and later) and of what it depends on, in their
order and without their comments. A build takes minutes of processor time, so it is kept in the Python environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT

INTERFACES = Path(__file__).parent / "interfaces"
PACKAGES = {
    "shape_msgs": ("geometry_msgs",),
    "object_recognition_msgs": (),
    "octomap_msgs": ("std_msgs", "geometry_msgs"),
    "moveit_msgs": ("std_msgs", "geometry_msgs", "sensor_msgs", "trajectory_msgs", "builtin_interfaces")
    + ("shape_msgs", "object_recognition_msgs", "octomap_msgs"),
}
"""In the order of their building, each with what it depends on."""
# Only what rclpy with Fast DDS loads: without the C++ messages the build takes a third of the time.
GENERATORS = (
    "find_package(rosidl_cmake REQUIRED)\nfind_package(rosidl_adapter REQUIRED)\n"
    "foreach(generator rosidl_generator_type_description rosidl_generator_c rosidl_typesupport_fastrtps_c\n"
    "    rosidl_typesupport_c rosidl_generator_py)\n  find_package(${generator} REQUIRED)\nendforeach()\n"
)
PACKAGE = """<package format="3"><name>{name}</name><version>0.0.1</version><description>for tests</description>
<maintainer email="nobody@example.org">nobody</maintainer><license>Apache-2.0</license>
<buildtool_depend>ament_cmake</buildtool_depend>{depends}<member_of_group>rosidl_interface_packages</member_of_group>
<export><build_type>ament_cmake</build_type></export></package>
"""


def environment() -> dict[str, str]:
    """The environment in which moveit_msgs can be imported, as in its own workspace; {} where it can be as it is.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler, no cmake, or no interface generators.
    """
    try:
        import moveit_msgs.srv  # noqa: F401

        return {}
    except ImportError:
        pass
    install = _place()
    with _locked(install.with_suffix(".lock")):
        if not install.is_dir():
            _build(install)
    paths = {"PYTHONPATH": str(_site(install)), "LD_LIBRARY_PATH": str(install / "lib")}
    return {name: os.pathsep.join(filter(None, [os.environ.get(name), path])) for name, path in paths.items()}


def _place() -> Path:
    """Where what is built from these definitions in this environment stands, finished or not yet there."""
    digest = hashlib.sha256(f"{sys.version} {GENERATORS}".encode())
    for path in sorted(INTERFACES.rglob("*.*")):
        digest.update(f"{path.relative_to(INTERFACES)}\n{path.read_text()}".encode())
    kept = os.environ.get("MEMRISTOR_BDNN_TEST_CACHE", str(Path(sys.prefix) / "var" / "memristor_bdnn_tests"))
    folder = Path(kept)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"moveit_msgs-{digest.hexdigest()[:16]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One test process builds, the others wait."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _site(install: Path) -> Path:
    (found,) = install.glob("**/moveit_msgs/__init__.py")
    return found.parent.parent


def _build(install: Path) -> None:
    """Build all packages and put them in place at once: an interrupted build leaves nothing that looks finished."""
    unfinished = install.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        for name, needs in PACKAGES.items():
            _package(Path(work) / name, name, needs, unfinished)
    unfinished.rename(install)


def _package(folder: Path, name: str, needs: tuple[str, ...], install: Path) -> None:
    """Build one package in a folder and install it."""
    # Our own build's way around the message wheels' include folders serves here too.
    prologue = (ROOT / "CMakeLists.txt").read_text().split("file(GLOB interfaces")[0]
    prologue = prologue.replace("find_package(rosidl_default_generators REQUIRED)\n", GENERATORS)
    shutil.copytree(INTERFACES / name, folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    shutil.copytree(ROOT / "cmake", folder / "cmake")  # what the prologue includes
    depends = "".join(f"<depend>{need}</depend>" for need in needs)
    (folder / "package.xml").write_text(PACKAGE.format(name=name, depends=depends))
    own = "".join(f"find_package({need} REQUIRED)\n" for need in needs if need in PACKAGES)
    dependencies = f"\n  DEPENDENCIES {' '.join(needs)}" if needs else ""
    (folder / "CMakeLists.txt").write_text(
        prologue.replace("project(memristor_bdnn)", f"project({name})")
        + own
        + f"rosidl_generate_interfaces({name} {' '.join(files)}{dependencies})\nament_package()\n"
    )
    prefix = Path(sys.prefix)
    path = {**os.environ, "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    path["AMENT_PREFIX_PATH"] = os.pathsep.join(
        filter(None, [str(install), str(prefix), os.environ.get("AMENT_PREFIX_PATH")])
    )
    options = [f"-DCMAKE_PREFIX_PATH={install};{prefix}", f"-DCMAKE_INSTALL_PREFIX={install}", "-Wno-dev"]
    options += ["-DCMAKE_INSTALL_LIBDIR=lib", "-DCMAKE_BUILD_TYPE=None", "-DBUILD_TESTING=OFF"]
    options += [f"-DPython3_EXECUTABLE={sys.executable}", f"-DPYTHON_EXECUTABLE={sys.executable}"]
    for words in (
        ["cmake", "-S", str(folder), "-B", str(folder / "build"), "-G", "Ninja", *options],
        ["cmake", "--build", str(folder / "build"), "--target", "install"],
    ):
        subprocess.run(words, check=True, env=path, capture_output=True)


if __name__ == "__main__":
    environment()
