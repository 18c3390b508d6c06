"""Begin a plugin: write a small package that works, is tested, and is yours to change."""

from __future__ import annotations

import argparse
import contextlib
import importlib.resources
import importlib.util
import keyword
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.registry import Registry

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

KINDS = ("skill", "learner", "accelerator", "acquisition")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Kind, name, folder."""
    parser.add_argument("kind", choices=KINDS, help="what it is")
    parser.add_argument("name", help="its name, for --KIND NAME and for the package: small letters, digits and _")
    parser.add_argument("--folder", metavar="DIR", help="folder to make (default: NAME, here)")


def run(args: argparse.Namespace) -> int:
    """Write the package and say what to do with it."""
    folder = Path(args.folder or args.name)
    for path in create(args.kind, args.name, folder):
        print(f"  {path}")
    print(f"Next: pip install --no-build-isolation -e {folder}; pytest {folder}; then read {folder / 'README.md'}")
    return 0


def create(kind: str, name: str, folder: str | Path) -> list[Path]:
    """Write a package that passes its conformance suite as it is.

    Args:
        kind: one of :data:`KINDS`.
        name: registry name, and name of the Python package.
        folder: made; its parents too.

    Returns:
        The files written.

    Raises:
        ConfigError: a kind or name that cannot be, a name that is taken, or a folder that exists; nothing was written.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise ConfigError(f"kind = {kind!r}: choose one of {', '.join(KINDS)}")
    _check_name(kind, name)
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists, nothing was written: give another --folder")
    words = {
        "NAME": name,
        "CLASS": "".join(part.capitalize() for part in name.split("_")),
        "DISTRIBUTION": name.replace("_", "-"),
    }
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    written = []
    try:
        for parts, template in _files(importlib.resources.files("memristor_bdnn") / "templates" / kind):
            path = folder.joinpath(*(part.replace("package", name).removesuffix(".in") for part in parts))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template.read_text(encoding="utf-8"), words), encoding="utf-8")
            written.append(path)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made[1:]:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise ConfigError(f"{folder}: {error.strerror}, nothing was written: give another --folder") from error
    return sorted(written)


def _check_name(kind: str, name: str) -> None:
    """Refuse a name that is none, is taken, or would hide another module."""
    if not (name.isidentifier() and name.isascii() and name == name.lower() and name[0].isalpha()):
        raise ConfigError(f"name = {name!r}: small letters, digits and _, a letter first")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ConfigError(f"name = {name!r} is a word of Python: choose another")
    registry = _registry(kind)
    if name in registry.names():
        plugin = registry.plugin(name)
        source = f"package {plugin.distribution}" if plugin.distribution else "built in"
        raise ConfigError(f"name = {name!r}: there is {_a(kind)} of that name already ({source}); choose another")
    if importlib.util.find_spec(name) is not None:
        raise ConfigError(f"name = {name!r}: a Python module is called so, which yours would hide; choose another")


def _registry(kind: str) -> Registry:
    from memristor_bdnn import accelerator, acquisitions, learners, skills

    rooms = {"skill": skills, "learner": learners, "accelerator": accelerator, "acquisition": acquisitions}
    registry: Registry = rooms[kind].REGISTRY
    return registry


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _files(folder: Traversable, parts: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Traversable]]:
    """Every template below a folder, with the parts of its path."""
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files(entry, (*parts, entry.name))
        elif entry.name.endswith(".in"):
            found.append(((*parts, entry.name), entry))
    return found


def _filled(text: str, words: dict[str, str]) -> str:
    """A template with @NAME@ and the like replaced."""
    for key, value in words.items():
        text = text.replace(f"@{key}@", value)
    return text
