"""XML as robot descriptions have it: prefixes that nothing declares, and namespaces that mean nothing to a robot.

Gazebo, controllers and drawing programs leave such marks; parsers of robots look past them, an XML parser stops.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_PREFIX = re.compile(rb"(?:<\s*/?|\s)([A-Za-z_][\w.-]*):[A-Za-z_][\w.-]*[\s=/>]")
_DECLARED = re.compile(rb"xmlns:([A-Za-z_][\w.-]*)\s*=")
_ROOT = re.compile(rb"<[A-Za-z_][\w.:-]*")


def parse(content: bytes) -> tuple[ET.Element, bool]:
    """The root of an XML text, and whether it had to be mended to be read.

    Unknown prefixes are declared; elements in the namespace of the root stand without one, as a URDF's do.

    Raises:
        ET.ParseError: it is no XML.
    """
    mended = False
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        if "unbound prefix" not in str(error):
            raise
        unknown = sorted(set(_PREFIX.findall(content)) - set(_DECLARED.findall(content)) - {b"xml", b"xmlns"})
        more = b"".join(b' xmlns:%s="urn:unknown:%s"' % (prefix, prefix) for prefix in unknown)
        root = ET.fromstring(_ROOT.sub(lambda found: found.group() + more, content, count=1))
        mended = True
    space, _, _ = root.tag.rpartition("}")
    if space and "xacro" not in space:
        mended = True
        for element in root.iter():
            element.tag = element.tag.removeprefix(f"{space}}}")
    return root, mended
