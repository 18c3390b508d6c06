"""A page for every folder of examples/: its README and its modules."""

from __future__ import annotations

from pathlib import Path

from sitebuild.links import DOCS, ROOT, of_site

LANGUAGES = {".py": "python", ".toml": "toml"}


def pages() -> dict[str, str]:
    """One page an example, and their list."""
    folders = sorted(p for p in (ROOT / "examples").iterdir() if p.is_dir() and any(p.rglob("*.py")))
    made = {f"examples/{folder.name}.md": _page(folder) for folder in folders}
    names = "\n".join(f"examples/{folder.name}" for folder in folders)
    made["examples.md"] = (
        "# Examples\n\nThe folders of `examples/`, each a package of its own that is found by name "
        f"([plugins](../plugins.md)), or a script.\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return made


def _page(folder: Path) -> str:
    """README and sources of one example."""
    page, readme = DOCS / "generated" / "examples" / f"{folder.name}.md", folder / "README.md"
    text = [of_site(readme.read_text(), readme, page) if readme.is_file() else f"# {folder.name}\n"]
    for path in sorted(p for p in folder.rglob("*") if p.suffix in LANGUAGES and p.read_text().count("\n") > 1):
        name = path.relative_to(ROOT).as_posix()
        text.append(f"## `{path.relative_to(folder).as_posix()}`\n")
        text.append(f"```{{literalinclude}} ../../../{name}\n:language: {LANGUAGES[path.suffix]}\n```\n")
    return "\n".join(text)
