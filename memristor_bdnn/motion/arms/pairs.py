"""Pairs of links that may touch: from the description, and from a MoveIt SRDF file."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from memristor_bdnn.archives import read_file
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.motion.arms.description import ArmDescription
from memristor_bdnn.motion.arms.markup import parse

_LARGEST = 2**24


def may_touch(arm: ArmDescription) -> list[tuple[str, str]]:
    """All pairs that the description and its SRDF let touch; an SRDF may name links that this arm does not have.

    Raises:
        ConfigError: the SRDF is missing or none.
    """
    pairs = list(arm.may_touch)
    path = arm.srdf_path()
    if not path:
        return pairs
    try:
        root, _ = parse(read_file(path, _LARGEST))
    except ET.ParseError as error:
        raise ConfigError(f"arm {arm.name!r}: srdf {path} is not valid XML: {error}") from error
    if root.tag != "robot":
        raise ConfigError(f"arm {arm.name!r}: {path} is no SRDF: it begins with <{root.tag}>, expected <robot>")
    for element in root.iter("disable_collisions"):
        first, second = element.get("link1"), element.get("link2")
        if not first or not second:
            raise ConfigError(f"arm {arm.name!r}: {path}: a <disable_collisions> has no link1 or no link2")
        pairs.append((first, second))
    return pairs
