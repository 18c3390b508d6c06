"""The command line, from the parsers that the commands themselves use."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import os
from collections.abc import Iterator

from memristor_bdnn.cli import VERBS

WIDTH = 84


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb, and every noun of a verb, with its parser."""
    for verb, (module, _) in VERBS.items():
        command = importlib.import_module(f"memristor_bdnn.commands.{module}")
        parser = argparse.ArgumentParser(
            prog=f"memristor-bdnn {verb}", description=command.__doc__, formatter_class=_Formatter
        )
        command.add_arguments(parser)
        yield from _with_nouns(f"{verb}", parser)


class _Formatter(argparse.HelpFormatter):
    """As in a terminal of a fixed width, so that a page is the same on every machine."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=WIDTH, max_help_position=28)


def _with_nouns(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for noun, child in action.choices.items():
                child.formatter_class = _Formatter
                yield from _with_nouns(f"{name} {noun}", child)


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """No colours in help texts, whatever the terminal."""
    before = os.environ.get("NO_COLOR")
    os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("NO_COLOR") if before is None else os.environ.update(NO_COLOR=before)


def pages() -> dict[str, str]:
    """Pages by name below docs/generated: one of all verbs, and one for each."""
    verbs: dict[str, list[str]] = {}
    with _plain():
        for name, parser in parsers():
            verb, _, noun = name.partition(" ")
            text = verbs.setdefault(
                verb, [f"# memristor-bdnn {verb}\n\n{VERBS[verb][1][:1].upper()}{VERBS[verb][1][1:]}.\n"]
            )
            if noun:
                text.append(f"## {noun}\n")
            text.append(f"```text\n{parser.format_help().rstrip()}\n```\n")
    made = {f"cli/{verb}.md": "\n".join(text) for verb, text in verbs.items()}
    rows = "\n".join(f"| [`{verb}`](cli/{verb}.md) | {text} |" for verb, (_, text) in VERBS.items())
    names = "\n".join(f"cli/{verb}" for verb in VERBS)
    made["cli.md"] = inspect.cleandoc(
        """
        # Command line

        What `memristor-bdnn VERB --help` prints, made from the same parsers. Exit codes: 0 done, 1 failed, 2 wrong
        usage, 130 interrupted.

        | verb | what it does |
        |---|---|
        {rows}

        ```{{toctree}}
        :hidden:

        {names}
        ```
        """
    ).format(rows=rows, names=names)
    return made
