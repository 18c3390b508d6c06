"""Messages, services and actions, as their files say them."""

from __future__ import annotations

from sitebuild.links import ROOT

KINDS = {"msg": "Messages", "srv": "Services", "action": "Actions"}
PARTS = {"msg": ("",), "srv": ("request", "response"), "action": ("goal", "result", "feedback")}


def pages() -> dict[str, str]:
    """One page of all interfaces."""
    text = [
        "# Interfaces\n",
        "The files of `msg/`, `srv/` and `action/`, used as `memristor_bdnn/msg/NAME` and so on. Who offers which is "
        "in [the architecture](../architecture.md#nodes).\n",
    ]
    for kind, title in KINDS.items():
        text.append(f"## {title}\n")
        for path in sorted((ROOT / kind).glob(f"*.{kind}")):
            text.append(f"### {path.stem}\n")
            for part, lines in zip(PARTS[kind], path.read_text().split("\n---\n"), strict=True):
                text += [f"{part.capitalize()}:\n"] if part else []
                text.append(f"```text\n{lines.strip() or '(empty)'}\n```\n")
    return {"interfaces.md": "\n".join(text)}
