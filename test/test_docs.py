"""The pages: links and anchors lead somewhere, commands are understood, blocks run, the site's pages are complete."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from docs_blocks import COMMAND, PAGES, ROOT, Block, blocks, commands, lines, words

from memristor_bdnn.cli import VERBS, main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

sys.path.insert(0, str(ROOT / "docs"))
from sitebuild import api, cli, interfaces, links, parameters

EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md", *EXAMPLES]
BLOCKS = [block for path in PAGES for block in blocks(path)]
NOT_COMMANDS = ("text", "{toctree}")
"""Languages of output and of the navigation."""
PLACEHOLDERS = {"TRIAL": "1", "VALUE": "0.9", "N": "3", "0..4": "0", "PART": "files"}
"""What a reader replaces, and what it is here."""
UNRUN = 45
"""Blocks whose mark says why they do not run. A new one is a decision: count it here."""


# -- links -------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that a repository host, and myst-parser, make of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ (.*)$", links.without_code(path.read_text()), re.MULTILINE)} | {
        slug(title) for title in re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md", *EXAMPLES],
    ids=lambda p: f"{p.parent.name}-{p.name}",
)
def test_every_relative_link_and_picture_leads_somewhere(page: Path) -> None:
    for target, anchor in links.of_file(page):
        found = (page.parent / target).resolve()
        assert found.exists(), target
        assert found.is_relative_to(ROOT), f"{target} is outside of the repository"
        if anchor and found.suffix == ".md":
            assert anchor[1:] in anchors(found), f"{target}{anchor}"
    own = re.findall(r"\]\(#([^)\s]+)\)", links.without_code(page.read_text()))
    assert set(own) <= anchors(page)


def test_every_page_stands_in_the_navigation() -> None:
    start = (ROOT / "docs" / "index.md").read_text()
    listed = {name for text in re.findall(r"```{toctree}\n(.*?)```", start, re.DOTALL) for name in text.split("\n")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def test_links_that_leave_the_folder_are_led_to_a_page_of_the_site() -> None:
    page = ROOT / "docs" / "plugins.md"
    text = "[a](../examples/noisy_chip) [b](../CONTRIBUTING.md#taste) [c](devices.md) `[d](../CONTRIBUTING.md)`"
    assert links.of_site(text, page, page) == (
        "[a](generated/examples/noisy_chip.md) [b](generated/project/contributing.md#taste) [c](devices.md) "
        "`[d](../CONTRIBUTING.md)`"
    )


# -- commands ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The packages of examples/ as if installed: on the path, their entry points known."""
    site, added = tmp_path_factory.mktemp("site"), []
    for project in sorted((ROOT / "examples").glob("*/pyproject.toml")):
        about = tomllib.loads(project.read_text())["project"]
        info = site / f"{about['name'].replace('-', '_')}-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: 0\n")
        groups = about.get("entry-points", {}).items()
        text = "".join(f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for g, points in groups)
        (info / "entry_points.txt").write_text(text)
        added.append(str(project.parent))
    sys.path[:0] = [str(site), *added]
    importlib.invalidate_caches()
    yield
    for path in (str(site), *added):
        sys.path.remove(path)


def understood(line: str) -> None:
    """A command's words are taken by its own parser; arguments of the graph by the graph."""
    verb, *rest = [PLACEHOLDERS.get(word, word) for word in words(line)]
    assert verb in VERBS, line
    command = importlib.import_module(f"memristor_bdnn.commands.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser(prog=verb)
    command.add_arguments(parser)
    parser.parse_args(rest)
    if verb == "up":
        launched([word for word in rest if ":=" in word])


def launched(arguments: list[str]) -> None:
    """Arguments of our launch files are those of the graph."""
    from memristor_bdnn.nodes import graph

    known = {argument.name for argument in graph.all_arguments()}
    names = {argument.split(":=")[0] for argument in arguments}
    assert names <= known, names - known


def told(line: str) -> None:
    """A goal on the command line is one of our action: known fields, values that YAML reads."""
    kind, goal = re.match(r'ros2 action send_goal \S+ (\S+) "(.*)"', line).groups()  # type: ignore[union-attr]
    fields = (ROOT / "action" / f"{kind.rsplit('/', 1)[1]}.action").read_text().split("---")[0]
    assert set(yaml.safe_load(goal)) <= set(re.findall(r"^\S+ (\w+)", fields, re.MULTILINE))


def is_complete(line: str) -> bool:
    """Whether a command says all: not `memristor-bdnn label`, nor `... VERB --help`, nor with dots for the rest."""
    rest = words(line)
    return len(rest) > 1 and not {"...", "VERB", "NOUN"} & set(rest) and not rest[-1].endswith(",")


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda p: f"{p.parent.name}-{p.name}")
def test_every_command_of_a_page_is_understood(page: Path, examples: None) -> None:
    for line in commands(page):
        if is_complete(line):
            try:
                understood(line)
            except SystemExit:
                pytest.fail(f"{page.name}: {line}")
    for block in blocks(page):
        for line in lines(block.text) if block.language in ("", "bash") else ():
            if line.startswith("ros2 launch memristor_bdnn "):
                launched([word for word in line.split() if ":=" in word])
            if line.startswith("ros2 action send_goal "):
                told(line)


# -- blocks ------------------------------------------------------------------------------------

SMALL = "--skill pushing --initial 8 --queries 1 --evaluations 0 --candidates 50 --out small"
SHORT = {
    "memristor-bdnn device check mine.yaml": "memristor-bdnn device check tsinghua_taox_hfox",
    "memristor-bdnn learn --learner eapu": f"memristor-bdnn learn --learner eapu {SMALL}",
    "memristor-bdnn learn --learner mcmc": f"memristor-bdnn learn --learner mcmc {SMALL}",
    "memristor-bdnn learn --learner bootstrap": f"memristor-bdnn learn --learner bootstrap {SMALL}",
    "memristor-bdnn learn --accelerator noisy": f"memristor-bdnn learn --accelerator noisy {SMALL}",
    "memristor-bdnn learn --strategy least_sure": f"memristor-bdnn learn --strategy least_sure {SMALL}",
    "memristor-bdnn learn --skill tossing": f"memristor-bdnn learn --skill tossing {SMALL[16:]} --initial 24",
}
"""What runs in place of a long command: the same, made small. Every other command runs as it stands."""
FIRST = {
    "writing_a_learner.md": """
from dataclasses import dataclass
from memristor_bdnn import accelerator as chips, presets
accelerator = chips.create("simulated", seed=0)
n, samples, direction, target_ua = 4, 2, np.array([1, -1, 0, 0], dtype=np.int8), np.full(4, 2.0)
""",
    "writing_a_skill.md": "from memristor_bdnn import Dimension, Skill, Space\nHIT = 0.5\n",
    "writing_an_accelerator.md": """
from dataclasses import dataclass
from memristor_bdnn.accelerator.base import BaseAccelerator
from memristor_bdnn.config import check, option
""",
    "devices.md": "from pathlib import Path\nPath('mine.yaml').write_text('base: tsinghua_taox_hfox\\nname: mine\\n')",
    "eapu.md": "import torch\nmodel = torch.nn.Linear(4, 2)\n",
    "pouring.md": "from memristor_bdnn import cli\ncli.main('collect --trials 20 --out pool.part'.split())",
}
"""What a page has said in words before its first block."""


def runs(block: Block) -> bool:
    return not block.mark.startswith(("not run: ", "run by "))


def of(page: Path, *languages: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in languages and runs(block)]


def test_every_block_is_run_or_says_why_not() -> None:
    for block in BLOCKS:
        assert block.language in ("", "bash", "python", "yaml", "toml", *NOT_COMMANDS), block.name
        assert re.match(r"(not run: .{5,}|run by test/\w+\.py|)$", block.mark), f"{block.name}: {block.mark}"
        named = re.findall(r"test/\w+\.py", block.mark)
        assert all((ROOT / name).is_file() for name in named), block.mark
    assert sum(block.mark.startswith("not run: ") for block in BLOCKS) == UNRUN
    given = {line for block in BLOCKS for line in lines(block.text) if block.language in ("", "bash") and runs(block)}
    assert set(SHORT) <= given, "no page gives this command any more"


@pytest.mark.parametrize("page", [p for p in PAGES if of(p, "", "bash")], ids=lambda p: p.name)
def test_commands_run(page: Path, examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "own_device" / "pulses.csv", tmp_path)
    for line in [line for block in of(page, "", "bash") for line in lines(block.text)]:
        if "checkpoint.npz" in line:
            assert main(words(f"learn {SMALL}".replace("learn", "x learn", 1))) == 0
            shutil.copy(next(tmp_path.glob("pushing_trials*.npz")), "checkpoint.npz")
        if line.startswith(COMMAND):
            assert main(words(SHORT.get(line, line))) == 0, line
        else:  # checked above as far as it can be without the tools of ROS 2
            assert line.startswith(("ros2 launch memristor_bdnn ", "ros2 action send_goal ")), line


@pytest.mark.parametrize("page", [p for p in PAGES if of(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page: Path, examples: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__["np"] = np
    for name, text in [("first", FIRST.get(page.name, "")), *((b.name, b.text) for b in of(page, "python"))]:
        exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "toml")], ids=lambda b: b.name)
def test_data_blocks_are_read(block: Block, tmp_path: Path, examples: None) -> None:
    if block.language == "toml":
        for group, points in tomllib.loads(block.text)["project"]["entry-points"].items():
            room, found = group.partition(".")[2], importlib.metadata.entry_points(group=group)
            assert set(points.items()) <= {(point.name, point.value) for point in found}, room
        return
    given = yaml.safe_load(block.text)
    if "base" in given:
        from memristor_bdnn import presets

        (tmp_path / "set.csv").write_text("state_ua,mean_ua,sd_ua\n0.5,0.9,0.1\n2.0,2.3,0.1\n3.5,3.5,0.1\n")
        (tmp_path / "mine.yaml").write_text(block.text)
        assert presets.load(str(tmp_path / "mine.yaml")).name == given["name"]
        return
    from memristor_bdnn.motion.arms.description import ArmDescription

    assert set(given) <= {field.name for field in dataclasses.fields(ArmDescription)}


# -- pages made of the sources -----------------------------------------------------------------


def test_reference_pages_hold_every_verb_option_interface_and_module() -> None:
    made = cli.pages()
    assert {f"cli/{verb}.md" for verb in VERBS} | {"cli.md"} == set(made)
    assert "--candidates" in made["cli/learn.md"] and "## heartbeat" not in made["cli/learn.md"]
    assert "## heartbeat" in made["cli/benchmark.md"]
    text = interfaces.pages()["interfaces.md"]
    files = [path for kind in interfaces.KINDS for path in (ROOT / kind).iterdir()]
    assert len(files) > 15 and all(f"### {path.stem}\n" in text for path in files)
    for names in api.modules().values():
        for name in names:
            importlib.import_module(f"memristor_bdnn.{name}")
    import memristor_bdnn

    homes = {home.partition(":")[0] for home in memristor_bdnn._HOMES.values()}
    assert homes <= {name for names in api.modules().values() for name in names}


def test_options_are_told_as_they_are_declared() -> None:
    from memristor_bdnn.active.records import LoopConfig
    from memristor_bdnn.nodes.accelerator import AcceleratorNodeConfig

    told = {section.name: section for section in parameters.sections()}
    for kind in (LoopConfig, AcceleratorNodeConfig):
        fields = {field.name: field for field in dataclasses.fields(kind)}
        shown = {option.name: option for option in told[kind.__name__].options}
        assert set(shown) == {name for name, field in fields.items() if "doc" in field.metadata}
        for name, option in shown.items():
            assert option.text.startswith(fields[name].metadata["doc"]), name
            if re.fullmatch(r"-?[\d.]+", option.default):
                assert float(option.default) == fields[name].default, name
    rooms = {section.module.split(".")[0] for section in told.values()}
    assert rooms - {room for room, _, _ in parameters.TITLES} <= {"benchmark", "testing"}


def test_the_pages_need_neither_ros_nor_torch() -> None:
    code = (
        "import sys; sys.path.insert(0, 'docs'); import sitebuild\n"
        "for part in (sitebuild.api, sitebuild.cli, sitebuild.parameters, sitebuild.interfaces, sitebuild.project):\n"
        "    part.pages()\n"
        "print([m for m in ('torch', 'rclpy', 'pybullet', 'matplotlib') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_what_the_explanation_says_of_widths_is_what_its_figures_measure() -> None:
    figures = runpy.run_path(str(ROOT / "docs" / "figures" / "posterior.py"))
    page = (ROOT / "docs" / "how_it_learns.md").read_text()
    assert "0.84 with 8 labels to 0.14 with 480" in page and "spread by\n0.20 to 0.22 whatever" in page
    for labels, width in ((8, 0.84), (480, 0.14)):
        x, y = figures["problem"](labels)
        exact, (weights, pulses, _) = figures["metropolis"](x, y, 40_000), figures["in_situ"](x, y)
        late = weights[figures["SETTLED"] :]
        assert np.median(exact.std(axis=0)) == pytest.approx(width, rel=0.15)
        assert np.median(late.std(axis=0)) == pytest.approx(0.21, abs=0.03)
        assert np.corrcoef(late.mean(axis=0), exact.mean(axis=0))[0, 1] > 0.95
        assert set(np.unique(pulses)) == {-1.0, 0.0, 1.0}
