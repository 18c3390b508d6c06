"""What a person types wrong is answered with what was meant, and --help says every default."""

from __future__ import annotations

import json

import pytest

from memristor_bdnn.cli import VERBS, main
from memristor_bdnn.commands import plugins


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
