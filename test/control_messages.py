"""FollowJointTrajectory for tests of the action route where control_msgs is not installed: built once per test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

# The part of control_msgs/action/FollowJointTrajectory that is used.
ACTION = """
trajectory_msgs/JointTrajectory trajectory
builtin_interfaces/Duration goal_time_tolerance
---
int32 error_code
int32 SUCCESSFUL = 0
int32 INVALID_GOAL = -1
int32 INVALID_JOINTS = -2
int32 OLD_HEADER_TIMESTAMP = -3
int32 PATH_TOLERANCE_VIOLATED = -4
int32 GOAL_TOLERANCE_VIOLATED = -5
string error_string
---
string[] joint_names
"""
PACKAGE = """<package format="3"><name>control_msgs</name><version>0.0.1</version><description>for tests</description>
<maintainer email="nobody@example.org">nobody</maintainer><license>Apache-2.0</license>
<buildtool_depend>ament_cmake</buildtool_depend><member_of_group>rosidl_interface_packages</member_of_group>
<export><build_type>ament_cmake</build_type></export></package>
"""


def build(folder: Path) -> dict[str, str]:
    """Build the package in a folder; returns the environment in which it can be imported.

    Raises:
        OSError, subprocess.CalledProcessError: no compiler, no cmake, or no interface generators.
    """
    # Our own build's way around the message wheels' include folders serves here too.
    prologue = (ROOT / "CMakeLists.txt").read_text().split("file(GLOB interfaces")[0]
    (folder / "action").mkdir(parents=True)
    (folder / "action" / "FollowJointTrajectory.action").write_text(ACTION)
    (folder / "package.xml").write_text(PACKAGE)
    (folder / "CMakeLists.txt").write_text(
        prologue.replace("project(memristor_bdnn)", "project(control_msgs)").replace(
            "${CMAKE_CURRENT_LIST_DIR}/cmake", str(ROOT / "cmake")
        )
        + "rosidl_generate_interfaces(${PROJECT_NAME} action/FollowJointTrajectory.action\n"
        + "  DEPENDENCIES builtin_interfaces trajectory_msgs)\nament_package()\n"
    )
    prefix, install = Path(sys.prefix), folder / "install"
    environment = {**os.environ, "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment["AMENT_PREFIX_PATH"] = os.pathsep.join(filter(None, [str(prefix), os.environ.get("AMENT_PREFIX_PATH")]))
    options = [f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_INSTALL_PREFIX={install}", "-DCMAKE_INSTALL_LIBDIR=lib"]
    options += [f"-DPython3_EXECUTABLE={sys.executable}", f"-DPYTHON_EXECUTABLE={sys.executable}", "-Wno-dev"]
    for words in (
        ["cmake", "-S", str(folder), "-B", str(folder / "build"), "-G", "Ninja", "-DBUILD_TESTING=OFF", *options],
        ["cmake", "--build", str(folder / "build"), "--target", "install"],
    ):
        subprocess.run(words, check=True, env=environment, capture_output=True)
    (site,) = install.glob("**/control_msgs/__init__.py")
    paths = {"PYTHONPATH": str(site.parent.parent), "LD_LIBRARY_PATH": str(install / "lib")}
    return {name: os.pathsep.join(filter(None, [os.environ.get(name), path])) for name, path in paths.items()}
