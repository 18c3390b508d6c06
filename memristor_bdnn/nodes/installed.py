"""Where executables and shared files of ROS packages are installed. No rclpy here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from memristor_bdnn.errors import ConfigError

OURS = "memristor_bdnn"


def _prefixes() -> Iterator[Path]:
    yield Path(sys.prefix)
    yield from (Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p)


def executable_path(executable: str, package: str = OURS) -> Path:
    """The installed file of a node.

    Raises:
        ConfigError: the package is not installed; the text says how to install it.
    """
    for prefix in _prefixes():
        path = prefix / "lib" / package / executable
        if path.is_file():
            return path
    if package == OURS:
        path = Path(sys.prefix) / "lib" / package / executable
        raise ConfigError(f"{path} does not exist: install the package first (`make build` or `colcon build`)")
    raise ConfigError(
        f"{executable} is not installed: no lib/{package}/{executable} below AMENT_PREFIX_PATH or {sys.prefix}; "
        f"install it (apt install ros-$ROS_DISTRO-{package.replace('_', '-')}) and source the setup.bash of ROS 2"
    )


def shared_file(name: str) -> Path:
    """A file of our share folder, by its path there, as in ``config/memristor_bdnn.rviz``.

    Raises:
        ConfigError: it is not installed.
    """
    for prefix in _prefixes():
        path = prefix / "share" / OURS / name
        if path.is_file():
            return path
    raise ConfigError(f"{name} of {OURS} is not installed: `make build` or `colcon build`")
