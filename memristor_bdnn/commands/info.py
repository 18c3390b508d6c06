"""Print versions, the plugins of all six kinds and presets, and name what is missing and for what.

With the name of a plugin, or of a kind (learners, skills ...): what it is, and its options with their defaults.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys

from memristor_bdnn import __version__
from memristor_bdnn.errors import ConfigError

# distribution, importable module, what it is for; the first group is required.
REQUIRED = (
    ("numpy", "numpy", "devices, crossbars, kinematics"),
    ("torch", "torch", "ex situ training, EaPU"),
    ("transforms3d", "transforms3d", "rotations"),
    ("PyYAML", "yaml", "configuration files"),
    ("matplotlib", "matplotlib", "figures"),
    ("rich", "rich", "progress and tables"),
    ("pillow", "PIL", "pictures"),
    ("imageio-ffmpeg", "imageio_ffmpeg", "MP4 animations"),
    ("ros-rclpy", "rclpy", "the ROS 2 nodes: demo, up"),
)
OPTIONAL = (
    ("pybullet", "pybullet", "simulated worlds, planning: demo, up, learn, collect, arm check"),
    ("scikit-learn", "sklearn", "benchmark dbal baselines, benchmark eapu and mcmc"),
    ("scikit-image", "skimage", "more photographs in benchmark eapu"),
    ("wfdb", "wfdb", "reading the database in benchmark heartbeat"),
    ("gymnasium", "gymnasium", "rl, benchmark rl, benchmark mcmc cart-pole"),
    ("ompl", "ompl", "comparison in benchmark planning"),
    ("toppra", "toppra", "alternative time parameterisation"),
    ("distributed", "distributed", "collect --dask"),
    ("mcap", "mcap", "record:=true"),
    ("control_msgs", "control_msgs", "FollowJointTrajectory action of a physical arm"),
    ("launch_ros", "launch_ros", "ros2 launch (memristor-bdnn up works without)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A plugin or a kind of them; --json prints the same as JSON."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a plugin such as msgld, or a kind such as learners")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 1 if something required is missing."""
    if args.name is not None:
        return describe(args.name, args.json)
    report = collect()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _print(report)
    return 1 if report["missing"] else 0


def describe(name: str, as_json: bool) -> int:
    """Print the plugins of a name or a kind; returns 1 if one of them cannot be loaded.

    Raises:
        ConfigError: neither a plugin nor a kind of them.
    """
    from memristor_bdnn.commands import plugins

    described, problems = [], []
    for kind, plugin in plugins.found(name):
        try:
            described.append(plugins.described(kind, plugin))
        except ConfigError as error:
            problems.append(str(error))
    print(json.dumps(described, indent=2) if as_json else "\n\n".join(map(plugins.text_of, described)))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def collect() -> dict[str, object]:
    """Versions, plugins and missing packages as JSON-able values."""
    from memristor_bdnn import accelerator, acquisitions, learners, native, skills
    from memristor_bdnn.device import presets
    from memristor_bdnn.motion import arms, free_space

    required = {name: _version(name, module) for name, module, _ in REQUIRED}
    optional = {name: _version(name, module) for name, module, _ in OPTIONAL}
    interfaces = importlib.util.find_spec("memristor_bdnn.msg") is not None
    missing = {name: use for name, module, use in REQUIRED if required[name] is None}
    if not interfaces:
        missing["memristor_bdnn.msg"] = "ROS 2 interfaces: build the package (make build or colcon build)"
    return {
        "memristor_bdnn": __version__,
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "kernels": native.status(),
        "required": required,
        "optional": optional,
        "missing": missing,
        "missing_optional": {name: use for name, _, use in OPTIONAL if optional[name] is None},
        "skills": skills.available(),
        "learners": learners.available(),
        "accelerators": accelerator.available(),
        "acquisitions": acquisitions.available(),
        "arms": arms.available(),
        "planners": free_space.available(),
        "presets": list(presets.NAMES),
    }


def _version(distribution: str, module: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "installed"


def _print(report: dict[str, object]) -> None:
    print(f"memristor_bdnn {report['memristor_bdnn']}, Python {report['python']}, prefix {report['prefix']}")
    print(f"compiled kernels: {report['kernels']}")
    for kind in ("required", "optional"):
        found = report[kind]
        assert isinstance(found, dict)
        print(f"\n{kind}:")
        for name, version in found.items():
            print(f"  {name:<16}{version or 'missing'}")
    for kind in ("skills", "learners", "accelerators", "acquisitions", "arms", "planners", "presets"):
        values = report[kind]
        print(f"\n{kind}:")
        rows = values.items() if isinstance(values, dict) else [(v, "") for v in values]  # type: ignore[attr-defined]
        for name, text in rows:
            print(f"  {name:<24}{text}".rstrip())
    for kind in ("missing", "missing_optional"):
        absent = report[kind]
        if isinstance(absent, dict) and absent:
            print(f"\n{'missing' if kind == 'missing' else 'not installed (optional)'}:")
            for name, use in absent.items():
                print(f"  {name:<24}needed for {use}")
