"""Files that robot descriptions name by package, as ROS does, also where nothing of ROS is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def in_package(name: str) -> bool:
    """Whether a name means a file of a package (or has another scheme), and not a path."""
    return "://" in name or name.startswith("package:")


def where_looked(name: str) -> str:
    """Where :func:`resolve` has looked for a file of a package, for error messages."""
    if name.startswith("package:") and "://" not in name:
        package = name.removeprefix("package:").partition("/")[0]
        return f"in the Python package {package!r} (is it installed in this environment?)"
    return "in share/ of AMENT_PREFIX_PATH (is the workspace sourced?) or of this environment"


def resolve(name: str, beside: Path) -> Path | None:
    """The file that a URDF in folder ``beside`` means by ``package://``, ``file://`` or a path; None if there is none.

    ROS packages are looked for in share/ of AMENT_PREFIX_PATH and of this environment, then in the folders above;
    ``package:NAME/FILE`` is a file of an installed Python package, which is not imported for that.
    """
    if name.startswith("package:") and "://" not in name:
        package, _, inside = name.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        return next((file for folder in folders if (file := Path(folder, inside)).is_file()), None)
    kind, _, rest = name.rpartition("://")
    if kind == "package":
        package, _, inside = rest.partition("/")
        prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
        candidates = [Path(prefix, "share", package, inside) for prefix in (*prefixes, sys.prefix)]
        for folder in (beside, *beside.parents):
            candidates += [folder / package / inside, folder / rest]
            if folder.name == package:
                candidates.append(folder / inside)
    elif kind in ("", "file"):
        candidates = [beside / rest]
    else:
        return None
    return next((c for c in candidates if c.is_file()), None)
