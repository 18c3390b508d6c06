"""What a person types wrong is answered with what was meant, and --help says every default."""

from __future__ import annotations

import argparse
import importlib
import json

import pytest

from memristor_bdnn.cli import VERBS, main
from memristor_bdnn.commands import plugins
from memristor_bdnn.parsing import Parser


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["lern"], "learn"),
        (["demo", "--qeries", "3"], "--queries"),
        (["demo", "--qeries=3"], "--queries"),
        (["device", "fti"], "fit"),
        (["benchmark", "dbla"], "dbal"),
        (["benchmark", "dbal", "--sedes", "3"], "--seeds"),
        (["rl", "train", "--sede", "3"], "--seed"),
        (["demo", "--learner", "mslgd"], "msgld"),
        (["info", "msgdl"], "msgld"),
        (["learners", "eappu"], "eapu"),
    ],
)
def test_misspelt_words_are_answered_with_what_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code in (1, 2)
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_default_is_in_the_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    if verb == "demo":
        for default in ("(default: 32)", "(default: 2000)", "(default: results/demo)", "(default: 0)"):
            assert default in text
    parser = Parser(prog=verb)
    importlib.import_module(f"memristor_bdnn.commands.{VERBS[verb][0]}").add_arguments(parser)
    for below in parsers(parser):
        for action in below._actions:
            given = action.default
            if not action.option_strings or isinstance(given, bool) or given in (None, "", [], argparse.SUPPRESS):
                continue
            said = below._get_formatter()._get_help_string(action) or ""
            assert "default" in said, (below.prog, action.option_strings)


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and all below it."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser, *(p for action in below for child in action.choices.values() for p in parsers(child))]


def test_a_learner_is_described_with_options_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "msgld"]) == 0
    text = capsys.readouterr().out
    assert "learner msgld:" in text and "max_epochs = " in text and "ex_situ.epochs = " in text
    assert main(["learners", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found][:3] == ["msgld", "eapu", "mcmc"]
    hidden = next(o for o in found[0]["options"]["--learner-option"] if o["name"] == "hidden")
    assert hidden["default"] == [50, 50] and hidden["allowed"]


@pytest.mark.parametrize("kind", [*plugins.KINDS, "presets"])
def test_every_plugin_can_be_described(kind: str) -> None:
    for name in plugins.names(kind):
        described = plugins.described(kind, name)
        assert plugins.text_of(described).count(name) >= 1
        json.dumps(described)
