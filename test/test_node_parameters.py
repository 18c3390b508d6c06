"""A parameter is obeyed, or refused with the time when it would be: nodes in processes of their own."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import fresh_environment, until
from one_node import EXECUTABLES, OneNode, learn, learned_accelerator, nodes_in, predict

pytest.importorskip("rclpy")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., OneNode]]:
    yield from nodes_in(tmp_path)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNode]:
    """For the tests that leave it as it was."""
    yield from learned_accelerator(tmp_path_factory.mktemp("accelerator"))


def test_a_live_parameter_counts_from_the_next_request_and_the_others_say_when(node: OneNode) -> None:
    from rcl_interfaces.srv import DescribeParameters

    for samples in (7, 20):
        assert node.set(samples=samples).successful
        # Samples kept from learning join the live ones.
        assert predict(node).prediction.samples == predict(node, samples=samples).prediction.samples
    assert predict(node).prediction.samples > predict(node, samples=7).prediction.samples
    for change in ({"learner": "eapu"}, {"seed": 9}, {"msgld__max_epochs": 3}, {"preset": "ideal"}):
        refused = node.set(**change)
        (name,) = change
        assert not refused.successful and "takes effect after cleanup" in refused.reason
        assert name.replace("__", ".") in refused.reason
    refused = node.set(results="/tmp/elsewhere")
    assert not refused.successful and "read-only" in refused.reason and "results" in refused.reason
    refused = node.set(learner_options="{features: 'os.path:join'}")  # may name code, as results names a place
    assert not refused.successful and "read-only" in refused.reason and "learner_options" in refused.reason
    names = ["samples", "learner", "msgld.max_epochs", "results", "allow_outside_results", "autostart"]
    request = DescribeParameters.Request(names=names)
    about = node.call(DescribeParameters, "describe_parameters", request).descriptors
    words = ["at once", "after cleanup", "after cleanup", "at start only", "at start only", "at start only"]
    assert [f"Takes effect: {w}." in d.description for w, d in zip(words, about, strict=True)] == [True] * 6
    assert [d.read_only for d in about] == [False, False, False, True, True, True]


def test_a_set_of_parameters_is_obeyed_as_a_whole_or_not_at_all(node: OneNode) -> None:
    before = node.get("samples")
    for bad, word in (({"seed": 4}, "seed"), ({"samplez": 3}, "did you mean 'samples'"), ({"results": "x"}, "results")):
        refused = node.set(samples=9, **bad)
        assert not refused.successful and word in refused.reason
    assert node.get("samples") == before
    assert node.set(samples=before, seed=3, results="results/session").successful, "what is set already is no change"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (0, "10000"),
        (10_001, "10000"),
        (2**63 - 1, "10000"),
        (-(2**63), "10000"),
        (2.5, "integer"),
        (math.nan, "integer"),
        ("20", "integer"),
        (True, "integer"),
        ([1, 2], "integer"),
        ([], "integer"),
        (None, "integer"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(node: OneNode, value: Any, word: str) -> None:
    refused = node.set(samples=value)
    assert not refused.successful and "samples" in refused.reason and word in refused.reason
    assert node.get("samples") == 20


def test_a_parameter_of_an_unknown_type_is_an_answer(node: OneNode) -> None:
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically

    good = Parameter(name="samples", value=ParameterValue(type=2, integer_value=20))
    for code in (10, 99, 200, 255):
        bad = Parameter(name="samples", value=ParameterValue(type=code))
        results = node.call(SetParameters, "set_parameters", SetParameters.Request(parameters=[bad, good])).results
        assert not results[0].successful and str(code) in results[0].reason and results[1].successful
        request = SetParametersAtomically.Request(parameters=[good, bad])
        assert not node.call(SetParametersAtomically, "set_parameters_atomically", request).result.successful


def test_a_file_is_taken_from_nobody_while_the_node_runs(start: Callable[..., OneNode]) -> None:
    node = start("accelerator", autostart=False)
    until(lambda: node.client.node.count_publishers("/diagnostics") > 0)
    for preset in ("/etc/passwd", "../preset.yaml", "~/preset.yaml", "preset.yaml"):
        refused = node.set(preset=preset)
        assert not refused.successful and "at start only" in refused.reason
    assert node.set(preset="ideal").successful
    assert node.set(accelerator="escim").successful
    for text in ("{record: /tmp/packets.bin}", "{endurance_file: x.npz}", "{limits: {max_bl_v: 5.0}}", "{dry_run: no}"):
        refused = node.set(options=text)
        assert not refused.successful and "at start only" in refused.reason, text
    assert node.set(options="{retries: 3}").successful
    assert node.set(accelerator="simulated").successful and node.set(options="{record: x.bin}").successful
    refused = node.set(accelerator="escim")
    assert not refused.successful and "record may be given at start only" in refused.reason


def test_another_learner_brings_its_own_parameters_and_the_old_ones_neither_count_nor_block(
    start: Callable[..., OneNode],
) -> None:
    node = start("accelerator").wait_ready()
    assert all(node.change("deactivate", "cleanup"))
    assert node.set(learner="eapu", msgld__max_epochs=7).successful, "for when msgld is chosen again"
    assert all(node.change("configure", "activate"))
    refused = node.set(msgld__max_epochs=8)
    assert not refused.successful and "not in use" in refused.reason and "after cleanup" in refused.reason
    assert learn(node).status.learner == "eapu"
    assert all(node.change("deactivate", "cleanup"))
    assert node.set(learner="msgld").successful
    assert all(node.change("configure", "activate"))
    assert node.get("msgld.max_epochs") == 7


def test_defaults_of_a_recipe_follow_the_recipe_and_what_was_set_stays(start: Callable[..., OneNode]) -> None:
    node = start("accelerator", recipe="paper").wait_ready()
    before = node.get("msgld.chains")
    assert all(node.change("deactivate", "cleanup"))
    assert node.set(recipe="pouring", msgld__max_epochs=7).successful
    assert node.change("configure") == [True]
    from memristor_bdnn import skills
    from memristor_bdnn.active import recipes

    wanted = recipes.options(skills.load("pouring"), "msgld", "pouring")
    assert node.get("msgld.chains") == wanted["chains"] != before
    assert node.get("msgld.max_epochs") == 7 != wanted["max_epochs"]


def test_a_wrong_value_at_start_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    for words in (["samples:=0"], ["samples:=many"], ["skill:=nonsense"], ["msgld.max_epochs:=-1"], ["results:=3"]):
        done = subprocess.run(
            [sys.executable, str(EXECUTABLES / "accelerator_node"), "--ros-args", "-p", *words],
            env=fresh_environment(),
            capture_output=True,
            text=True,
            timeout=60.0,
            cwd=tmp_path,
        )
        name = words[0].partition(":=")[0]
        assert done.returncode == 1 and name.partition(".")[2] in done.stderr and "Traceback" not in done.stderr
        assert name.rpartition(".")[2] in done.stderr, done.stderr


def test_what_a_node_does_not_know_is_said_at_start(start: Callable[..., OneNode]) -> None:
    node = start("accelerator", sampels=5, eapu__memory_samples=3).wait_ready()
    log = node.log.read_text()
    assert "sampels" in log and "did you mean 'samples'" in log and "eapu.memory_samples" in log
