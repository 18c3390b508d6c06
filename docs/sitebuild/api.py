"""What sphinx-autoapi is told about the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from sitebuild.links import ROOT

PACKAGE = ROOT / "memristor_bdnn"
PUBLIC = {
    "device": "parameters presets tables fitting transitions noise",
    "crossbar": "cells ledger pricing mapping placement validation",
    "accelerator": "protocol base simulated watching escim escim.settings escim.safety",
    "network": "bayesian chains exsitu features scaling",
    "learners": "protocol base looking device_check msgld.config msgld.learner msgld.update eapu.optimizer eapu.device "
    "eapu.rule eapu.learner mcmc.learner mcmc.rows mcmc.models mcmc.diagnostics",
    "agents": "dqn mcmc training environments",
    "acquisitions": "protocol scores policies",
    "active": "records loop store trials recipes evaluate choice",
    "motion": "plan trajectory timing free_space rrt arms arms.description ik ports.base",
    "skills": "protocol records pool candidates recipes pouring.skill pouring.context pouring.vessels pouring.records "
    "pouring.world pouring.motion pushing.skill pushing.spaces pushing.settings pushing.world pushing.motion",
    "report": "record device_figures session",
    "testing": "skill learner accelerator acquisition arm planner",
    "": "registry spaces config state archives errors",
}
"""Modules that programs and plugins use, by room; the rest may change without a word."""
MARKUP = re.compile(r"``[^`]+``|`[^`]+`|(?<!\\)\||(?<=\w)_(?=[\s.,;:)]|$)")

TREE = re.compile(r"^(Sub\w+)\n-+\n+\.\. toctree::\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)


def lighten() -> None:
    """Constants as they are written, and classes as they stand.

    Left alone, every value would be inferred, for which all of numpy and of what else is imported is read: five times
    the work, to print the same.
    """
    from astroid.manager import AstroidManager
    from autoapi import _astroid_utils

    _astroid_utils.get_assign_value = _assigned
    AstroidManager()._transform.transforms.clear()


def _assigned(node: Any) -> tuple[str, Any] | None:
    """Name and value of an assignment; None for several names."""
    targets = getattr(node, "targets", None) or [node.target]
    name = getattr(targets[0], "name", getattr(targets[0], "attrname", None))
    return (name, node.value) if len(targets) == 1 and name else None


def plain(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> None:
    """Our docstrings are text: |x| is a magnitude and x_ a name, no markup."""
    obj.docstring = MARKUP.sub(lambda m: m[0] if m[0].startswith("`") else "\\" + m[0], obj.docstring)


def modules() -> dict[str, list[str]]:
    """Names of the public modules below the package, by room; a room itself stands first."""
    return {
        room: [room] * bool(room) + [f"{room}.{name}".strip(".") for name in names.split()]
        for room, names in PUBLIC.items()
    }


def file_of(module: str) -> Path:
    """The source of a module or package."""
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def ignored() -> list[str]:
    """Sources that get no page."""
    public = {file_of(module) for names in modules().values() for module in names}
    return [str(path) for path in PACKAGE.rglob("*.py") if path not in public]


def alone(text: str) -> str:
    """A module's page outside of the navigation, which would name every module on every page."""
    return ":orphan:\n\n" + TREE.sub("", text)


def pages() -> dict[str, str]:
    """The page that lists them with the first line of each docstring."""
    text = [
        "# Python API\n",
        "What programs and plugins use, by room ([how the rooms fit](../architecture.md#rooms)); a module that is not "
        "here may change. What a notebook needs is at the root: [use it as a library](../library.md#the-names).\n",
    ]
    for room, names in modules().items():
        text += [f"## {room or 'The ground'}\n", "| module | what |\n|---|---|"]
        for name in names:
            said = (ast.get_docstring(ast.parse(file_of(name).read_text())) or "").split("\n\n")[0]
            there = f"api/memristor_bdnn/{name.replace('.', '/')}/index"
            text.append(f"| [`{name}`]({there}.rst) | {' '.join(said.split()).replace('|', chr(92) + '|')} |")
        text.append("")
    return {"api.md": "\n".join(text)}
