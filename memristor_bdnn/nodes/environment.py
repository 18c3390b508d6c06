"""What a process of ours takes from its environment: who may find it on the network, and where logs may go."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from memristor_bdnn.errors import ConfigError

DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
SAID_OTHERWISE = (
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",
    "ROS_DISCOVERY_SERVER",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI",
)
"""Variables by which a user has decided who is found; any of them keeps our default away."""


def choose_discovery(environment: MutableMapping[str, str]) -> str:
    """Keep discovery on this machine unless the user has said anything about it; call it before ``rclpy.init``.

    Args:
        environment: changed in place.

    Returns:
        One phrase for the log: what range is used, and why.

    Raises:
        ConfigError: a range that ROS 2 does not know, which it would read as something else.
    """
    given = environment.get(DISCOVERY, "")
    if given:
        if given not in RANGES:
            raise ConfigError(f"{DISCOVERY}={given}: choose one of {', '.join(RANGES)}")
        return f"discovery range {given}, from {DISCOVERY}"
    for name in SAID_OTHERWISE:
        if environment.get(name):
            return f"discovery as {name}={environment[name]} says"
    environment[DISCOVERY] = "LOCALHOST"
    return f"discovery range LOCALHOST, as nothing was said: {DISCOVERY}=SUBNET or discovery:=subnet opens it"


def discovery_of(argument: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for the nodes of a graph whose argument ``discovery`` was typed; none when it was not.

    Raises:
        ConfigError: a variable of the environment says the opposite, and would win.
    """
    if not argument:
        return {}
    if argument == "subnet" and environment.get("ROS_LOCALHOST_ONLY") == "1":
        raise ConfigError("discovery:=subnet, but ROS_LOCALHOST_ONLY=1: unset it, or leave the argument out")
    return {DISCOVERY: argument.upper()}


def without_ours(environment: Mapping[str, str], path: str) -> dict[str, str]:
    """The environment for a program of another installation: the message wheels' libraries are not its own.

    Args:
        environment: ours.
        path: of the program; one of our own prefix gets ours as it is.
    """
    result, prefix = dict(environment), f"{sys.prefix}{os.sep}"
    if not path.startswith(prefix):
        result.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
        libraries = result.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [folder for folder in libraries if folder and not folder.startswith(prefix)]
        if kept:
            result["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    return result


def prepare_logs(environment: MutableMapping[str, str]) -> None:
    """Give ROS 2 a log folder where the home folder is missing or cannot be written; call it before ``rclpy.init``.

    Args:
        environment: changed in place; what the user has set stays.

    Raises:
        ConfigError: the user's own ROS_LOG_DIR cannot be written.
    """
    given = environment.get("ROS_LOG_DIR", "")
    if given:
        if not _usable(Path(given).expanduser()):
            raise ConfigError(f"ROS_LOG_DIR={given}: no log can be written there; choose another folder, or unset it")
    elif not _usable(_logs_of_ros(environment)):
        environment["ROS_LOG_DIR"] = str(_temporary("ros-log"))


def prepare_matplotlib(environment: MutableMapping[str, str]) -> None:
    """The same for matplotlib's folder, which otherwise warns on every start."""
    if not environment.get("MPLCONFIGDIR"):
        config, home = environment.get("XDG_CONFIG_HOME", ""), environment.get("HOME", "")
        if not _usable(Path(config) if config else Path(home) / ".config" if home else None):
            environment["MPLCONFIGDIR"] = str(_temporary("matplotlib"))


def _logs_of_ros(environment: Mapping[str, str]) -> Path | None:
    """Where rclpy logs when nobody has said."""
    if environment.get("ROS_HOME"):
        return Path(environment["ROS_HOME"]).expanduser() / "log"
    return Path(environment["HOME"]) / ".ros" / "log" if environment.get("HOME") else None


def _usable(folder: Path | None) -> bool:
    """Whether a file can be made in a folder, which may have to be made first."""
    if folder is None:
        return False
    try:
        while not os.path.lexists(folder):
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):  # permissions alone do not tell, for root and on a read-only disk
            return True
    except OSError:
        return False


def _temporary(name: str) -> Path:
    """A folder of this user below the system's temporary folder, the same for every process."""
    folder = Path(tempfile.gettempdir()) / f"memristor_bdnn-{os.getuid()}-{name}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and _usable(folder):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"memristor_bdnn-{name}-"))
