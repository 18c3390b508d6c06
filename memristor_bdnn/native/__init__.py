"""Compiled kernels where a library of them is found: kinematics, the step of EaPU, passes and first looks of mSGLD.

Every kernel has a reference in NumPy, in the module that calls it, which runs where there is no library: in a source
tree that was never built, say. Both give the same numbers; tests compare them.

``kernels`` is the library, or None; ``status()`` says which, and why.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

ABI = 2
"""Of the library that this code can use (KERNELS_ABI in kernels.h); one with another number is not used."""

OFF = "MEMRISTOR_BDNN_NO_KERNELS"
"""Environment variable: anything but empty runs the NumPy references."""


def find(folders: Iterable[str | Path]) -> tuple[Any, str]:
    """The first usable library in package folders, and what to say of it; None with the reasons if there is none.

    Args:
        folders: of the package `memristor_bdnn`: the source tree's first, then the installed one's.
    """
    reasons = []
    for folder in folders:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder, "native", f"_kernels{suffix}")
            if not path.is_file():
                continue
            try:
                module = _load(path)
            except ImportError as error:
                reasons.append(f"{path}: {error}")
                continue
            if (number := getattr(module, "ABI", None)) == ABI:
                return module, str(path)
            reasons.append(f"{path} has ABI {number}, {ABI} is needed: build the package again")
    return None, "; ".join(reasons) or "not built (make build compiles it)"


def _load(path: Path) -> ModuleType:
    loader = importlib.machinery.ExtensionFileLoader("memristor_bdnn.native._kernels", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    if spec is None:
        raise ImportError("no module of this Python")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def packed(*numbers: npt.ArrayLike) -> bytes:
    """Constants of a kernel: the given numbers and arrays one after the other, in float64."""
    return np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in numbers]).tobytes()


def status() -> str:
    """One line: where the library in use lies, or that NumPy is used and why."""
    return _where if kernels is not None else f"NumPy ({_where})"


kernels: Any
"""The library, or None."""
if os.environ.get(OFF):
    kernels, _where = None, f"{OFF} is set"
else:
    # Both halves of the package: see the head of memristor_bdnn/__init__.py.
    kernels, _where = find(sys.modules[__name__.rpartition(".")[0]].__path__)
