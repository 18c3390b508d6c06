"""How the command line is parsed: every default is in --help, and what is misspelt is answered with what was meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn


class Help(argparse.HelpFormatter):
    """Help that says each default, unless the text does so already or there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text is argparse.SUPPRESS or "default" in (text or "") or not action.option_strings:
            return text
        if action.default is None or action.default is False or action.default in ("", [], argparse.SUPPRESS):
            return text
        return f"{text or ''} (default: %(default)s)".strip()


class RawHelp(Help, argparse.RawDescriptionHelpFormatter):
    """The same with a description that keeps its lines."""


class Parser(argparse.ArgumentParser):
    """A parser that suggests flags and choices; parsers below it (``add_subparsers``) are of this kind too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", Help)
        super().__init__(*args, **options)

    def _add_action(self, action: Any) -> Any:
        """A flag without a word of help has its default there all the same."""
        if action.help is None and action.option_strings:
            action.help = Help("")._get_help_string(action)
        return super()._add_action(action)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; what no flag takes is an error that names the nearest flag."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse(rest, parsed)
        return parsed

    def _refuse(self, rest: list[str], parsed: argparse.Namespace) -> NoReturn:
        parser = self._below(parsed)
        flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
        hints = [hint for word in rest if word.startswith("-") and (hint := meant(word.partition("=")[0], flags))]
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hints[0] if hints else ''}")

    def _below(self, parsed: argparse.Namespace) -> argparse.ArgumentParser:
        """The parser of the word that was chosen, whose flags were meant."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices.get(str(getattr(parsed, action.dest, "")))
                if chosen is not None:
                    return chosen._below(parsed) if isinstance(chosen, Parser) else chosen
        return self

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise


def meant(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" for a misspelt word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
