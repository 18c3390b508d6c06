"""docs/reproduction.md: every command that it gives exists and takes its options; what is missing is linked."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from memristor_bdnn.cli import VERBS
from memristor_bdnn.commands.benchmark import BENCHMARKS

PAGE = Path(__file__).parent.parent / "docs" / "reproduction.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
COMMANDS = [
    (command, row[3])
    for row in ROWS
    if len(row) == 5
    for command in re.findall(r"`([a-z][^`]*)`", row[1])
    if command.split()[0] in VERBS
]


def test_the_page_gives_commands_for_all_four_papers():
    assert len(COMMANDS) > 15 and {len(row) for row in ROWS} == {2, 5}
    assert {"dbal", "eapu", "mcmc", "stability"} <= {c.split()[1] for c, _ in COMMANDS if c.startswith("benchmark")}


@pytest.mark.parametrize(("command", "ours"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_of_the_page_is_understood(command: str, ours: str):
    verb, *words = shlex.split(command)
    if verb == "benchmark" and words[0] not in BENCHMARKS:
        assert ours.startswith("see ["), f"{command} does not exist, and the row does not say where it is to be found"
        pytest.skip(f"no benchmark {words[0]} here")
    module = importlib.import_module(f"memristor_bdnn.commands.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    parser.parse_args(words)  # ends the process where it does not understand
