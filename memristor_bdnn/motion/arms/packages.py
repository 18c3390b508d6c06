"""Files that robot descriptions name by package, as ROS does, also where nothing of ROS is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def resolve(name: str, beside: Path) -> Path | None:
    """The file that a URDF in folder ``beside`` means by ``package://``, ``file://`` or a path; None if there is none.

    Packages are looked for in share/ of AMENT_PREFIX_PATH and of this environment, then in the folders above.
    """
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
