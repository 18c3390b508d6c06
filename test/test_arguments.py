"""Typed, file, default: which value a node gets, exactly as it was typed; and what a params file may say."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RunningGraph, fresh_environment, run_command

pytest.importorskip("rclpy")

from memristor_bdnn import skills
from memristor_bdnn.commands import demo
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import environment, graph, typed
from memristor_bdnn.nodes.arguments import NodeCommand
from memristor_bdnn.nodes.known import parameters_of
from memristor_bdnn.nodes.params_file import ParamsFile

# A node that has every parameter it is given, started as ours are.
READER = """
import json, sys, rclpy
from memristor_bdnn.nodes import typed
rclpy.init(args=typed.outrank_files(sys.argv))
node = rclpy.create_node("x", automatically_declare_parameters_from_overrides=True)
print(json.dumps({name: p.value for name, p in node._parameters.items()}))
"""
# fmt: off
TEXTS = (
    "plain", "/a/b.c", "lab #2", "x #", "#", "@host", "it's", 'say "hi"', "'", '"', "''", "a: b", "a:b", "x:=y",
    "trail  ", "  lead", " ", "", "-", "-x", "--", "--ros-args", "{", "[1", "{a: 1}", "[1, 2]", "~", "~/x", "yes", "no",
    "on", "True", "null", "1e3", "1.5", "0x10", "007", "12", "1_000", "12:30", "2024-01-01", "nan", "inf", ".inf",
    "Infinity", "back\\slash", "\\n", "\\", "new\nline", "a\n\nb\n", "\r\n", "tab\there", "ünïcode", "日本",
    "\U0001f600", "$HOME", "$(find x)", "%YAML", "&a", "*a", "!x", "|", ">", "`", ",", "?", "=", "<<", "\x01", "\x7f",
    "\x85", "\u2028", "\ufeff", "a" * 3000,
)
# fmt: on
WILD = "/**:\n  ros__parameters: {p0: wild, q: wild}\n"
EXACT = "/lab/reader:\n  ros__parameters: {p0: exact, p1: exact}\n"
AND_BACK = "/*/reader:\n  ros__parameters: {p0: star, p2: star}\n/**/reader:\n  ros__parameters: {p0: any, p3: any}\n"


def read_back(command: NodeCommand) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READER, *command.ros_arguments()],
        env=fresh_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("content", ["", WILD + EXACT + AND_BACK, AND_BACK + WILD + EXACT, EXACT + WILD])
def test_every_text_reaches_a_node_as_typed_whatever_the_file_says(tmp_path: Path, content: str) -> None:
    file = tmp_path / "lab #1.yaml"
    file.write_text(content)
    values: dict[str, Any] = {f"p{k}": text for k, text in enumerate(TEXTS)}
    values |= {"i": -5, "f": 1e-5, "g": 3.0, "b": False, "section.name": "x"}
    command = NodeCommand("reader", "reader_node", "lab", str(file) if content else "", values, "warn", False)
    found = read_back(command)
    wrong = {name: (value, found.get(name)) for name, value in values.items() if found.get(name) != value}
    assert not wrong and [type(found[k]) for k in "ifgb"] == [int, float, float, bool]
    if "/**:" in content:
        assert found["q"] == "wild"  # what was not typed is the file's


def test_a_file_alone_decides_as_for_ros(tmp_path: Path) -> None:
    """Our reading of a file is that of rcl, with every kind of key; the last of the fitting names wins."""
    one = "ros__parameters: {a: 1}"
    contents = [WILD + EXACT + AND_BACK, AND_BACK + EXACT + WILD, "", "# x\n", f"lab:\n  reader:\n    {one}\n"]
    contents.append("lab:\n  reader:\n    ros__parameters: {a: {b: 1, c: {d: x}}}\n")
    keys = ("reader", "lab/reader", "/*", "/*/*", "/lab/**", "/**/lab/**/reader", "/other/reader", "/**/**", "/*/**")
    contents += [f"{key}:\n  {one}\n" for key in keys] + [f"/**:\n  reader:\n    {one}\n"]
    for content in contents:
        file = tmp_path / "p.yaml"
        file.write_text(content)
        found = read_back(NodeCommand("reader", "reader_node", "lab", str(file), {}, "warn", False))
        ours = ParamsFile(str(file)).of("/lab/reader")
        assert {k: v for k, v in found.items() if k not in ("use_sim_time", "start_type_description_service")} == ours


def test_parameters_typed_for_ros2_run_win_too() -> None:
    words = ["node", "--ros-args", "--params-file", "a.yaml", "-p", 'a:="lab #2"', "-p", "other:b:=1"]
    *same, _, flag, path = typed.outrank_files(words)
    assert same == words and flag == "--params-file"
    assert Path(path).read_text().splitlines() == [
        "/**/**/**/**:",
        "  ros__parameters:",
        '    "a": "lab #2"',
        "/**/**/**/**/other:",
        "  ros__parameters:",
        '    "b": 1',
    ]
    for harmless in (["node"], ["node", "--ros-args", "-p", "a:=1"], ["node", "--ros-args", "--params-file", "a.yaml"]):
        assert typed.outrank_files(harmless) == harmless


# -- typed, file, default ---------------------------------------------------------------------------


def samples(argument: Any) -> list[str]:
    """Texts that an argument may be given."""
    allowed = argument.allowed()
    if allowed:
        return [text for text in allowed if text != "escim"]
    return {int: ["3"], float: ["0.5"]}.get(argument.kind, ["something"])


def test_every_argument_typed_is_passed_on_also_with_its_default() -> None:
    for argument in graph.all_arguments():
        if not argument.targets or argument.option_of:
            continue
        for text in {argument.default, *samples(argument)}:
            values = {argument.name: text}
            if argument.only == "physical" or argument.skill:
                values |= {"arm_output": "topic", "skill": argument.skill or "pouring"}
            if argument.only == "mock":
                values["use_mock_hardware"] = "true"
            if argument.only == "simulated":
                values["arm_output"] = "sim"
            commands = graph.resolve(values)
            roles = {n.name: n.role for n in graph.nodes_of(skills.load(values.get("skill", "pouring")))}
            told = {f"{roles[c.name]}.{p}": v for c in commands for p, v in c.parameters.items()}
            for target in argument.targets:
                if target.split(".")[0] not in {"recorder", "rviz", "mock"} - set(roles[c.name] for c in commands):
                    assert told[target] == argument.parse(text), (target, text)


def in_file(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "p.yaml").write_text(text)
    return {"params_file": str(tmp_path / "p.yaml")}


def told(values: dict[str, str], defaults: dict[str, str] | None = None) -> dict[str, Any]:
    return {c.name: dict(c.parameters) for c in graph.resolve(values, defaults)}


LAB = """
/**/pouring_world:
  ros__parameters: {arm_output: action, enable_hardware: true, port: {velocity_scaling: 0.2}}
/**/coordinator:
  ros__parameters: {arm_output: action, recover: true}
"""


def test_typed_false_wins_over_a_file_that_enables_hardware(tmp_path: Path) -> None:
    file = in_file(tmp_path, LAB)
    assert told({**file, "enable_hardware": "false"})["pouring_world"] == {"enable_hardware": False}
    assert told(file)["pouring_world"] == {}


def test_the_file_decides_which_nodes_run_and_typing_decides_more(tmp_path: Path) -> None:
    file = in_file(tmp_path, LAB)
    commands = {c.name: c for c in graph.resolve(file)}
    assert commands["pouring_world"].executable == "physical_world_node" and commands["accelerator"].respawn
    with pytest.raises(ConfigError, match=r"pouring_world has no parameter 'enable_hardware'"):
        graph.resolve({**file, "arm_output": "sim"})
    half = in_file(tmp_path, "/**/pouring_world:\n  ros__parameters: {arm_output: action}\n")
    with pytest.raises(ConfigError, match=r"disagree on arm_output: action for pouring_world, sim for coordinator"):
        graph.resolve(half)
    assert told({**half, "arm_output": "topic"})["coordinator"] == {"arm_output": "topic"}
    other = in_file(tmp_path, "/**:\n  ros__parameters: {skill: pushing}\n")
    assert {"pushing_world", "push_planner"} <= set(told(other))
    mixed = told(in_file(tmp_path, "/**/accelerator:\n  ros__parameters: {skill: pushing}\n"))
    assert "pouring_world" in mixed  # the coordinator refuses it by name, before a trial is paid for


def test_a_launch_files_default_is_weaker_than_the_file_and_stronger_than_the_nodes(tmp_path: Path) -> None:
    found = told({}, graph.PHYSICAL_DEFAULTS)
    assert found["coordinator"] == {"arm_output": "auto"} == found["pouring_world"]
    file = in_file(tmp_path, "/**:\n  ros__parameters: {arm_output: topic}\n")
    assert told(file, graph.PHYSICAL_DEFAULTS)["coordinator"] == {}
    assert told({**file, "arm_output": "action"}, graph.PHYSICAL_DEFAULTS)["coordinator"] == {"arm_output": "action"}
    half = in_file(tmp_path, "/**/coordinator:\n  ros__parameters: {arm_output: topic}\n")
    with pytest.raises(ConfigError, match=r"auto for pouring_world, topic for coordinator"):
        graph.resolve(half, graph.PHYSICAL_DEFAULTS)


def test_what_stands_in_the_launch_configurations_before_ours_was_typed() -> None:
    assert graph.typed_of({"enable_hardware": "false", "theirs": "1"}) == {"enable_hardware": "false"}


def test_a_running_graph_obeys_what_was_typed_and_the_file_for_the_rest(
    start_graph: Callable[..., RunningGraph], tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "/accelerator:\n  ros__parameters: {seed: 9, samples: 7, learner: msgld}\n"
        "/coordinator:\n  ros__parameters: {seed: 9, label_timeout_s: 5.0, results: wrong}\n"
    )
    running = start_graph(f"params_file:={file}", "seed:=0", "results:=lab #2", "test_data:=")
    running.wait_ready()
    values = {
        name: dict(zip(wanted, get_parameters(running, name, wanted), strict=True))
        for name, wanted in {
            "accelerator": ("seed", "samples"),
            "coordinator": ("seed", "label_timeout_s", "results"),
        }.items()
    }
    assert values["accelerator"] == {"seed": 0, "samples": 7}
    assert values["coordinator"] == {"seed": 0, "label_timeout_s": 5.0, "results": "lab #2"}
    assert (tmp_path / "lab #2").is_dir() and not (tmp_path / "lab").exists() and not (tmp_path / "wrong").exists()
    skill, chosen = skills.load("pouring"), {"learner": "msgld", "accelerator": "simulated", "recipe": ""}
    for command in graph.resolve({}):
        known = parameters_of(command.executable, skill, chosen, ("msgld",))
        assert set(list_parameters(running, command.name)) == set(known), command.name


def get_parameters(running: RunningGraph, node: str, names: tuple[str, ...]) -> list[Any]:
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    request = GetParameters.Request(names=list(names))
    answer = running.client.call(node, GetParameters, "get_parameters", request, 20.0)
    return [parameter_value_to_python(value) for value in answer.values]


def list_parameters(running: RunningGraph, node: str) -> list[str]:
    from rcl_interfaces.srv import ListParameters

    answer = running.client.call(node, ListParameters, "list_parameters", ListParameters.Request(), 20.0)
    return list(answer.result.names)


# -- what a params file may say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/**/acelerator:\n  ros__parameters: {seed: 1}", "no node is called so; did you mean /**/accelerator?"),
        ("/**/accelerator:\n  ros__parameters: {sead: 1}", "no parameter 'sead'; did you mean seed"),
        ("/**/accelerator:\n  ros__parameters: {msgld: {max_epoch: 1}}", "did you mean msgld.max_epochs"),
        ("/**:\n  ros__parameters: {initial_trials: 1}", "has no parameter 'initial_trials'"),
        ("/**/accelerator:\n  ros__parameters: {samples: 1.5}", "samples = 1.5 of /accelerator: expected int"),
        ("/**/coordinator:\n  ros__parameters: {peer_timeout_s: 5}", "expected float; write 5.0"),
        ("/**/accelerator:\n  ros__parameters: {options: 3}", "options = 3 of /accelerator: expected str"),
        ("/**/accelerator:\n  ros__parameters: {learner: nonsense}", "learner:=nonsense: choose one of"),
        ("/**/accelerator:\n  ros__parameters: {host: a}", "no parameter 'host'"),
        ("/**/accelerator:\n  ros__parameters: {seed: }", "seed has no value"),
        ("/**/accelerator:\n  ros__parameters: [1]", "expected a mapping below ros__parameters"),
        ("/**/accelerator: 5", "expected names of nodes and ros__parameters, got 5"),
        ("- a", "expected names of nodes"),
        ("ros__parameters: {a: 1}", "stands below the name of a node"),
        ("5:\n  ros__parameters: {a: 1}", "5 is no name of a node"),
        ("a: [", "is not valid YAML"),
        ("/**/accelerator:\n  ros__parameters: {seed: 1, seed: 2}", "'seed' is given twice"),
        ("a: &a [*a]", "an alias contains itself"),
        ("[" * 5000, "is nested too deeply"),
    ],
)
def test_a_params_file_that_would_be_ignored_or_refused_later_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        graph.resolve(in_file(tmp_path, text))
    assert message in str(error.value) and str(tmp_path / "p.yaml") in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 4000


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("/**/accelerator: ü".encode("latin1"))
    os.mkfifo(tmp_path / "pipe.yaml")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    (tmp_path / "bomb.yaml").write_text(bomb)
    (tmp_path / "long.yaml").write_bytes(b"#" * (5 << 20))
    for name, words in {
        "latin.yaml": "is not UTF-8 text",
        "pipe.yaml": "no regular file",
        "bomb.yaml": "more than 200000 values",
        "long.yaml": "bytes: at most",
        "nowhere.yaml": "no such file",
        ".": "a directory",
    }.items():
        with pytest.raises(ConfigError) as error:
            graph.resolve({"params_file": str(tmp_path / name)})
        assert words in str(error.value).lower() or words in str(error.value), str(error.value)


def test_sections_for_others_are_left_alone_and_ours_elsewhere_are_said(tmp_path: Path) -> None:
    said: list[str] = []
    text = (
        "/controller_manager:\n  ros__parameters: {update_rate: 100}\n/accelerator:\n  ros__parameters: {seed: 1}\n"
        "/**/recorder:\n  ros__parameters: {results: x}\n/**/pushing_world:\n  ros__parameters: {seed: 1}\n"
    )
    graph.resolve({**in_file(tmp_path, text), "namespace": "lab"}, warn=said.append)
    assert len(said) == 2 and "section /controller_manager is for no node" in said[0]
    assert "section /accelerator is for no node" in said[1] and "our accelerator is /lab/accelerator" in said[1]


# -- values that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("namespace:=la b", "namespace:=la b: letters"),
        ("namespace:=1lab", "letters"),
        ("namespace:=a//b", "letters"),
        ("namespace:=a__b", "letters"),
        ("namespace:=/", "letters"),
        ("namespace:=lab-1", "letters"),
        ("seed:=99999999999999999999", "64 bits"),
        ("seed:=1.0", "expected int"),
        ("seed:=", "expected int"),
        ("gui:=True", "choose one of true, false"),
        ("gui:=", "choose one of true, false"),
        ("results:=\udcff", "not UTF-8"),
        ("discovery:=lan", "choose one of localhost, subnet"),
        ("box_mass:=nan", "expected a finite number"),
        ("box_mass:=heavy", "expected float"),
    ],
)
def test_values_that_no_node_could_have_are_refused_by_name(word: str, message: str) -> None:
    floats = [a.name for a in graph.all_arguments() if a.kind is float]
    word = word.replace("box_mass", floats[0]) if floats else word
    if word.startswith("box_mass"):
        pytest.skip("no skill declares an argument that is a float")
    with pytest.raises(ConfigError) as error:
        graph.parse_arguments([word])
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["", "lab", "/lab", "lab/left", "_a", "a_1/b2"])
def test_namespaces_that_ros_takes(name: str) -> None:
    assert graph.parse_arguments([f"namespace:={name}"]) == {"namespace": name}


def test_two_demos_keep_to_their_folders(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    for name in ("lab #2", "lab #3", "ünï {x}", "a: b"):
        args = parser.parse_args(["--out", str(tmp_path / name)])
        words = {c.name: c.ros_arguments() for c in demo._commands(args, skills.load("pouring"))}["coordinator"]
        assert f'results:="{tmp_path / name}"' in words
    done = run_command("demo", "--out", f"{tmp_path / 'x'}\udcff", errors="surrogateescape")
    assert done.returncode == 1 and "not UTF-8" in done.stderr and "Traceback" not in done.stderr


# -- discovery and folders --------------------------------------------------------------------------


def test_discovery_is_local_unless_anything_was_said() -> None:
    nothing: dict[str, str] = {"ROS_DOMAIN_ID": "3", "ROS_STATIC_PEERS": ""}
    assert "nothing was said" in environment.choose_discovery(nothing) and nothing[environment.DISCOVERY] == "LOCALHOST"
    for name in environment.SAID_OTHERWISE:
        said = {name: "1"}
        assert name in environment.choose_discovery(said) and environment.DISCOVERY not in said
    said = {environment.DISCOVERY: "SUBNET"}
    assert "SUBNET" in environment.choose_discovery(said) and said == {environment.DISCOVERY: "SUBNET"}
    with pytest.raises(ConfigError, match="choose one of SUBNET, LOCALHOST"):
        environment.choose_discovery({environment.DISCOVERY: "subnet"})


def test_the_argument_goes_to_every_node_as_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_LOCALHOST_ONLY", raising=False)
    assert all(not c.environment for c in graph.resolve({}))
    for value in ("subnet", "localhost"):
        commands = graph.resolve({"discovery": value, "record": "true"})
        assert all(c.environment == {environment.DISCOVERY: value.upper()} for c in commands)
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    with pytest.raises(ConfigError, match="ROS_LOCALHOST_ONLY=1"):
        graph.resolve({"discovery": "subnet"})


@pytest.mark.parametrize("home", [None, "file", "missing"])
def test_a_node_starts_without_a_home_and_says_whom_it_finds(tmp_path: Path, home: str | None) -> None:
    from memristor_bdnn.nodes.supervisor import executable_path

    variables = {k: v for k, v in fresh_environment().items() if k not in ("HOME", environment.DISCOVERY)}
    (tmp_path / "file").write_text("")
    if home:
        variables["HOME"] = str(tmp_path / "file" / "below") if home == "file" else "/proc/missing"
    with subprocess.Popen(
        [sys.executable, str(executable_path("recorder_node")), "--ros-args", "-p", f"results:={tmp_path}"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "active (recording" in line or "Traceback" in line:
                break
        process.send_signal(signal.SIGINT)
    text = "".join(lines)
    assert process.returncode == 0, text
    assert "discovery range LOCALHOST, as nothing was said" in text and "active (recording" in text


def test_a_log_folder_of_the_users_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="ROS_LOG_DIR="):
        environment.prepare_logs({"ROS_LOG_DIR": str(tmp_path / "file")})
    variables = {"HOME": str(tmp_path)}
    environment.prepare_logs(variables)
    environment.prepare_matplotlib(variables)
    assert variables == {"HOME": str(tmp_path)}  # a home that serves is left to serve


# -- launch files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "launch").glob("*.py")), ids=lambda p: p.name)
def test_launch_files_and_what_they_import_compile(path: Path) -> None:
    for file in (path, Path(graph.__file__).with_name("launching.py")):
        assert isinstance(compile(file.read_text(), str(file), "exec"), types.CodeType)
