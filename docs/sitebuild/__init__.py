"""What the site adds to the pages: links out of docs/, and reference pages made of the sources at every build."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sitebuild import api, cli, examples, interfaces, links, parameters, project

DOCS = Path(__file__).parent.parent
GENERATED = DOCS / "generated"


def write(folder: Path = GENERATED) -> list[Path]:
    """Write the generated pages; returns them. A page that stays as it was keeps its time."""
    pages: dict[str, str] = {}
    for part in (api, cli, parameters, interfaces, examples, project):
        pages |= part.pages()
    for old in folder.rglob("*.md") if folder.is_dir() else ():
        if str(old.relative_to(folder)) not in pages:
            old.unlink()
    made = []
    for name, text in pages.items():
        path = folder / name
        made.append(path)
        if path.is_file() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def _write(app: Any) -> None:
    """Before anything is read; pages of the API that an interrupted build left behind are removed."""
    shutil.rmtree(GENERATED / "api", ignore_errors=True)
    write()


def _read(app: Any, name: str, source: list[str]) -> None:
    """Lead links that leave docs/ to the page of the site that stands for the file."""
    page = DOCS / f"{name}.md"
    if page.is_file():
        source[0] = links.of_site(source[0], page, page)
    if name.startswith("generated/api/"):
        source[0] = api.alone(source[0])


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    api.lighten()
    app.connect("builder-inited", _write, priority=100)
    app.connect("source-read", _read)
    app.connect("autoapi-skip-member", api.plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
