"""Parameters of the command line: written so that ROS 2 reads them as they are, and stronger than a params file."""

from __future__ import annotations

import itertools
import json
import os
import re
import tempfile
from collections.abc import Sequence

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/.-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"}
STRONGEST = "/**/**/**/**"
"""Fits every node like ``/**``. Of two sections that fit, ROS 2 obeys the one whose name it read last for the first
time; this name no other file has."""


def parameter_text(value: bool | int | float | str) -> str:
    """A value for ``-p name:=value``; text that ROS 2, which reads it as YAML, could take for more is quoted."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return str(yaml.dump(value, default_style='"', allow_unicode=True, width=1 << 30)).removesuffix("\n")


def outrank_files(words: Sequence[str]) -> list[str]:
    """A command line whose parameters win over its params files, as the user expects.

    For ROS 2 alone ``-p`` counts for all nodes, and a section of a file that names the node in full wins over it. The
    parameters are therefore given a second time, in a file of our own that is read last.

    Args:
        words: as in ``sys.argv``.

    Returns:
        The words, with such a file appended where there are parameters and files.
    """
    given = [b for a, b in itertools.pairwise(words) if a in ("-p", "--param") and ":=" in b]
    if not given or "--params-file" not in words:
        return list(words)
    sections: dict[str, list[str]] = {}
    for word in given:
        name, _, value = word.partition(":=")
        node, _, parameter = name.rpartition(":")
        if "\n" not in value:  # a block of YAML cannot stand here; what `up` and our launch files give has no line end
            lines = sections.setdefault(f"{STRONGEST}/{node}".rstrip("/"), [])
            lines.append(f"    {json.dumps(parameter)}: {value}\n")
    text = "".join(f"{key}:\n  ros__parameters:\n{''.join(lines)}" for key, lines in sections.items())
    return [*words, "--ros-args", "--params-file", _kept(text)] if text else list(words)


def _kept(text: str) -> str:
    """A file with this text that is gone when the process ends, where the system can do that."""
    content = text.encode(errors="surrogateescape")
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("typed.yaml")
        path = f"/proc/self/fd/{handle}"
    else:
        handle, path = tempfile.mkstemp(suffix=".yaml")
    with open(handle, "wb", closefd=path.endswith(".yaml")) as file:
        file.write(content)
    return path
