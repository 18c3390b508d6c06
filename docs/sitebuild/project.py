"""Pages of files that a repository keeps at its root."""

from __future__ import annotations

from sitebuild.links import DOCS, PAGES, ROOT, of_site


def pages() -> dict[str, str]:
    """CONTRIBUTING, CHANGELOG and their like, with links that lead on from the site."""
    made = {}
    for name, page in PAGES.items():
        if page.startswith("generated/"):
            text = of_site((ROOT / name).read_text(), ROOT / name, DOCS / page)
            made[page.removeprefix("generated/")] = text
    return made
