"""Every option of an accelerator by flag, for every verb that has one, and arguments that are none in one line."""

import argparse
import subprocess
import sys

import pytest

from memristor_bdnn import cli, skills
from memristor_bdnn.commands import demo, shared, up
from memristor_bdnn.config import yaml_mapping
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import graph


def parsed(module, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)


class Verb:
    """A verb that takes an accelerator."""

    @staticmethod
    def add_arguments(parser):
        parser.add_argument("--accelerator", default="escim")
        parser.add_argument("--host")
        parser.add_argument("--port", type=int)
        shared.add_accelerator_options(parser)


def options(*words, section=None):
    return shared.accelerator_options(parsed(Verb, *words), section)


def flags(*words):
    return [text for word in words for text in ("--accelerator-option", word)]


def test_options_by_flag_have_the_type_of_the_option():
    words = ("reset_by=cfg_reg", "abort_port=6000", "map_stall_s=2", "limits.max_wl_v=3.5", "allow_unchecked=true")
    assert options(*flags(*words, "record=7", "set_width_ns=1e2")) == {
        "reset_by": "cfg_reg",
        "abort_port": 6000,
        "map_stall_s": 2,
        "limits": {"max_wl_v": 3.5},
        "allow_unchecked": True,
        "record": "7",
        "set_width_ns": 100.0,
    }


def test_flags_win_over_the_mapping_and_that_over_the_file():
    section = {"port": 1, "retries": 1, "backoff_s": 0.5, "limits": {"max_wl_v": 3.0, "max_sl_v": 3.0}}
    words = ["--accelerator-options", "{port: 2, retries: 2, limits: {max_wl_v: 3.5}}", *flags("port=3"), "--port", "4"]
    assert options(*words, section=section) == {
        "port": 4,
        "retries": 2,
        "backoff_s": 0.5,
        "limits": {"max_wl_v": 3.5, "max_sl_v": 3.0},
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (flags("reset"), "expected NAME=VALUE"),
        (flags("=3"), "expected NAME=VALUE"),
        (flags("resetby=cfg_reg"), "did you mean reset_by"),
        (flags("reset_by=both"), "choose one of auto, reset_target, cfg_reg"),
        (flags("abort_port=99999"), "allowed [1, 65535]"),
        (flags("abort_port=many"), "expected int"),
        (flags("limits.max_wl=3"), "did you mean max_wl_v"),
        (flags("limit.max_wl_v=3"), "no group of options 'limit'"),
        (flags("retries=1", "retries=2"), "given twice"),
        (flags("retries=[1"), "not valid YAML"),
        (["--accelerator-options", "retries"], "expected a mapping"),
        (["--accelerator-options", "{a: {"], "not valid YAML"),
        (["--accelerator", "simulated", "--host", "x"], "accelerator simulated has no such option"),
    ],
)
def test_what_is_no_option_is_named(words, said):
    with pytest.raises(ConfigError) as error:
        options(*words)
    assert said in str(error.value)


def test_demo_and_up_hand_them_to_the_accelerator_node():
    words = flags("reset_by=cfg_reg", "limits.max_wl_v=3.5", "host=10.0.0.9")
    values = demo.graph_values(parsed(demo, "--accelerator", "escim", *words, "--port", "7007"), skills.load("pouring"))
    same = up.graph_values(parsed(up, "accelerator:=escim", "accelerator_options:={retries: 3}", "port:=7007", *words))
    for given, more in ((values, {}), (same, {"retries": 3})):
        assert (given["host"], given["port"]) == ("10.0.0.9", "7007")
        assert yaml_mapping(given["accelerator_options"], "accelerator_options") == {
            "reset_by": "cfg_reg",
            "limits": {"max_wl_v": 3.5},
            **more,
        }
        (node,) = [c for c in graph.resolve(given) if c.name == "accelerator"]
        assert any("cfg_reg" in word for word in node.words())


def test_up_without_them_is_as_it_was():
    assert up.graph_values(parsed(up, "learner:=eapu")) == {"learner": "eapu"}


@pytest.mark.parametrize("verb", ["learn", "demo", "evaluate-skill"])
def test_every_verb_refuses_before_anything_is_done(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([verb, "--accelerator", "escim", *flags("nonsense=1")]) == 1
    assert "has no option 'nonsense'" in capsys.readouterr().err and not list(tmp_path.iterdir())


EMULATOR = [
    (["--port", "99999"], "--port 99999: allowed 0 to 65535"),
    (["--port", "-1"], "--port -1"),
    (["--abort-port", "70000"], "--abort-port 70000"),
    (["--port", "7311", "--abort-port", "7311"], "is --port too"),
    (["--port", "0", "--host", "a..b"], "cannot listen on a..b:0"),
    (["--port", "0", "--host", "x" * 300], "cannot listen on xxx"),
    (["--seed", "-1"], "--seed -1"),
    (["--network-cells", "-1"], "network_cells = -1"),
    (["--network-cells", "99999"], "network_cells 99999"),
    (["--preset", "nope"], "unknown device preset 'nope'"),
    (["--faults", "drop=2"], "drop = 2.0"),
    (["--faults", "drop=nan"], "drop = nan"),
    (["--faults", "drop=0.1,drop=0.2"], "given twice"),
    (["--replay", "nofile"], "cannot read the recording nofile: No such file"),
    (["--stats", "/no/such/file"], "--stats /no/such/file"),
]
BOARD = [
    (["info", "--port", "0"], "--port 0: allowed 1 to 65535"),
    (["info", "--abort-port", "65536"], "--abort-port 65536"),
    (["info", "--timeout", "nan"], "--timeout nan"),
    (["info", "--timeout", "-3"], "--timeout -3"),
    (["read", "--chip", "0"], "--chip 0"),
    (["read", "--bl", "128", "--sl", "0"], "--bl 128: allowed 0 to 127"),
    (["read", "--bl", "1", "--sl", "32"], "--sl 32: allowed 0 to 31"),
    (["read", "--bl", "1", "--sl", "1", "--samples", "0"], "--samples 0"),
    (["read", "--bl", "1", "--sl", "1", "--npz", "a.npz"], "for a whole chip"),
    (["map", "--samples", "-1"], "--samples -1"),
    (["selftest", "--cells", "1:5-3:1"], "5-3 runs backwards"),
    (["selftest", "--pulses", "0"], "--pulses 0"),
    (["selftest", "--cycles", "99999"], "--cycles 99999"),
    (["log", "/"], "cannot read the recording /: Is a directory"),
]


@pytest.mark.parametrize(
    ("verb", "words", "said"), [("escim-emulator", *e) for e in EMULATOR] + [("board", *b) for b in BOARD]
)
def test_a_bad_argument_is_one_clear_line(verb, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([verb, *words]) == 1
    text = capsys.readouterr().err
    assert said in text and text.startswith("error: ") and text.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [["device", "show", "tsinghua_taox_hfox", "--out"], *[["benchmark", b, "--figures"] for b in ("mcmc", "eapu")]],
)
def test_a_folder_that_cannot_be_made_is_told_before_the_work(words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main([*words, str(tmp_path / "file" / "folder")]) == 1
    assert f"{words[-1]} {tmp_path / 'file' / 'folder'}: cannot make the folder" in capsys.readouterr().err


def test_no_traceback_as_a_process():
    command = [sys.executable, "-m", "memristor_bdnn.cli", "escim-emulator", "--port", "99999"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
