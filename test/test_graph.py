"""The graph as data: arguments, parameters, and the supervisor's view of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from memristor_bdnn import skills
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.nodes import graph

LAUNCH = Path(__file__).parent.parent / "launch"


def test_every_target_is_a_node_of_every_graph() -> None:
    for name in skills.names():
        skill = skills.load(name)
        roles = {node.role for node in graph.nodes_of(skill)}
        assert {node.name for node in graph.nodes_of(skill)} >= set(skill.node_names)
        for argument in graph.all_arguments():
            assert all(target.split(".")[0] in roles for target in argument.targets), argument.name


def test_defaults_are_not_passed_so_that_a_parameter_file_decides() -> None:
    assert all(not command.parameters for command in graph.resolve({}))


def test_values_reach_their_nodes_with_their_types() -> None:
    commands = {c.name: c for c in graph.resolve({"learner": "eapu", "seed": "7", "gui": "true", "namespace": "lab"})}
    assert commands["accelerator"].parameters == {"learner": "eapu", "seed": 7}
    assert commands["pouring_world"].parameters == {"gui": True, "seed": 7}
    assert {c.name: c.parameters for c in graph.resolve({"arm": "kuka_iiwa"})}["coordinator"] == {"arm": "kuka_iiwa"}
    planner = {c.name: c.parameters for c in graph.resolve({"planner": "moveit", "moveit_group": "panda_arm"})}
    assert planner["pour_planner"] == {"planner": "moveit", "moveit.group": "panda_arm"}
    words = commands["accelerator"].ros_arguments()
    assert "__ns:=/lab" in words and "learner:=eapu" in words and "seed:=7" in words


def test_moveits_robot_model_has_the_cells_prefix_unless_the_file_says_another(tmp_path: Path) -> None:
    def prefix(**words: str) -> object:
        found = {c.name: c.parameters for c in graph.resolve({"moveit_group": "left_arm", **words})}
        return found["pour_planner"].get("moveit.prefix")

    assert prefix(planner="moveit", joint_prefix="left_") == "left_"
    assert prefix(planner="moveit") is None and prefix(joint_prefix="left_") is None
    file = tmp_path / "cell.yaml"
    file.write_text("/**/pour_planner:\n  ros__parameters: {planner: moveit, moveit: {prefix: cell_}}\n")
    assert prefix(params_file=str(file), joint_prefix="left_") is None, "the file decides"
    file.write_text("/**/pour_planner:\n  ros__parameters: {planner: moveit}\n")
    assert prefix(params_file=str(file), joint_prefix="left_") == "left_"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("learner:=nonsense", ["learner:=nonsense", "msgld", "eapu", "mcmc"]),
        ("accelerator:=fpga", ["accelerator:=fpga", "simulated", "escim"]),
        ("arm:=hand", ["arm:=hand", "panda", "kuka_iiwa"]),
        ("gui:=maybe", ["gui:=maybe", "true", "false"]),
        ("seed:=x", ["seed:=x", "int"]),
        ("lerner:=msgld", ["lerner", "did you mean learner"]),
        ("learner", ["name:=value"]),
    ],
)
def test_bad_arguments_name_the_value_and_the_choices(word: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        graph.parse_arguments([word])
    for text in expected:
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"skill": "juggling"}, ["skill", "juggling", "pouring"]),
        ({"host": "10.0.0.1"}, ["host:=10.0.0.1", "simulated", "adc"]),
        ({"bowl": "green"}, ["bowl:=green", "physical arm", "arm_output:="]),
        ({"enable_hardware": "true"}, ["enable_hardware:=true", "physical arm", "arm_output:="]),
        ({"controller": "mine"}, ["controller:=mine", "physical arm"]),
        ({"gui": "true", "arm_output": "topic"}, ["gui:=true", "simulated arm", "arm_output:=topic"]),
        ({"camera": "true", "arm_output": "auto"}, ["camera:=true", "simulated arm"]),
    ],
)
def test_what_would_be_ignored_is_refused(values: dict[str, str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        graph.resolve(values)
    for text in expected:
        assert text in str(error.value)


def test_a_skills_own_arguments_reach_its_world() -> None:
    commands = {c.name: c for c in graph.resolve({"bowl": "green", "arm_output": "topic"})}
    assert commands["pouring_world"].parameters == {"bowl": "green", "arm_output": "topic"}
    assert commands["pouring_world"].executable == "physical_world_node"


def test_missing_params_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no such file"):
        graph.resolve({"params_file": "nowhere.yaml"})


@pytest.mark.parametrize("text", ["true", "12", "1e3", "null", "", "~"])
def test_text_that_yaml_would_convert_is_quoted(text: str) -> None:
    import yaml

    assert yaml.safe_load(graph.parameter_text(text)) == text


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.launch.py")), ids=lambda p: p.name)
def test_launch_files_define_generate_launch_description(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert "generate_launch_description" in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_launch_and_supervisor_start_the_same_nodes() -> None:
    launch = pytest.importorskip("launch", reason="launch is not on PyPI: parity is checked where ROS 2 is installed")
    pytest.importorskip("launch_ros")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH / "pouring.launch.py"))
    declared = {a.name: a for a in description.get_launch_arguments()}
    assert set(declared) == {a.name for a in graph.all_arguments()}
    context = launch.LaunchContext()
    for argument in graph.all_arguments():
        context.launch_configurations[argument.name] = argument.default
    nodes = description.entities[-1].execute(context)
    assert [n.node_executable for n in nodes] == [c.executable for c in graph.resolve({})]
