"""Packages of other people: the examples installed without network, and packages that are refused with a reason."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ("bootstrap_learner", "tossing_skill", "noisy_chip", "least_sure", "long_tool_arm", "shortest_planner")
SUITES = """\
from memristor_bdnn.testing import (
    AcceleratorConformance, AcquisitionConformance, ArmConformance, PlannerConformance, SkillConformance
)


class TestTossing(SkillConformance):
    skill = "tossing"


class TestNoisy(AcceleratorConformance):
    accelerator = "noisy"


class TestLeastSure(AcquisitionConformance):
    acquisition = "least_sure"


class TestLongTool(ArmConformance):
    arm = "panda_long_tool"


class TestShortest(PlannerConformance):
    planner = "shortest"
"""


def run(site, *words, cwd=None):
    """A Python process that sees the packages in a folder, and this source tree."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], env=environment, cwd=cwd or site, capture_output=True, text=True, timeout=300
    )


def answer(site, code):
    """What code prints last; it must succeed."""
    done = run(site, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def refusal(site, code):
    """The ConfigError that code ends with."""
    done = run(site, "-c", code)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("memristor_bdnn.errors.ConfigError: "), done.stderr
    return last


def info(site):
    return json.loads(run(site, "-m", "memristor_bdnn.cli", "info", "--json").stdout)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All example packages installed into a folder of their own, without network."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    for name in EXAMPLES:
        shutil.copytree(ROOT / "examples" / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
    how = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = run(source, "-m", "pip", "install", *how, *(str(source / name) for name in EXAMPLES), cwd=source)
    assert done.returncode == 0, done.stderr
    return target


def test_info_lists_every_example_with_its_description(site):
    listed = info(site)
    for kind, name in (
        ("learners", "bootstrap"),
        ("skills", "tossing"),
        ("accelerators", "noisy"),
        ("acquisitions", "least_sure"),
        ("arms", "panda_long_tool"),
        ("planners", "shortest"),
    ):
        assert name in listed[kind]
        assert not listed[kind][name].startswith(("not ", "no description")), listed[kind][name]
    text = run(site, "-m", "memristor_bdnn.cli", "info").stdout
    assert all(name in text for name in ("bootstrap", "tossing", "noisy", "least_sure", "panda_long_tool"))


def test_the_examples_pass_their_suites(site, tmp_path):
    (tmp_path / "test_examples.py").write_text(SUITES)
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_work_together_by_name(site):
    code = """
import numpy as np
from memristor_bdnn import accelerator, acquisitions, learners, skills
from memristor_bdnn.motion import arms
skill = skills.load("tossing")
chips = accelerator.create("noisy", seed=1, noise_ua=0.05)
learner = learners.create("bootstrap", chips, {"n_inputs": len(skill.feature_names), "models": 8})
world, rows, scores = skill.world(), [], []
for seed in range(60):
    rng = np.random.default_rng(seed)
    context = world.reset(seed, skill.sample_context(rng))
    parameters = skill.sample_candidates(context, 1, rng)[0]
    rows.append(skill.encode(context, parameters[None])[0])
    scores.append(skill.score(world.execute(parameters).measures))
x, y = np.array(rows), (np.array(scores) > 0).astype(float)
learner.fit(x, y)
best = np.argmax(acquisitions.load("least_sure")(learner.predict(x)))
print(arms.load("panda_long_tool").name, 0 <= best < 60, chips.ledger.set_pulses > 0)
"""
    assert answer(site, code) == "panda_long_tool True True"


# ---- packages that are refused -------------------------------------------------------------------


def package(folder, name, kind, entries, module=""):
    """A package as pip leaves it: a module and its entry points."""
    meta = folder / f"{name}-1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (meta / "entry_points.txt").write_text(f"[memristor_bdnn.{kind}s]\n{points}\n")
    if module:
        (folder / f"{name}.py").write_text(module)


LOADS = {
    "skill": "from memristor_bdnn import skills; skills.load({!r})",
    "learner": "from memristor_bdnn import accelerator as a, learners; learners.create({!r}, a.create('simulated'))",
    "accelerator": "from memristor_bdnn import accelerator; accelerator.create({!r})",
    "acquisition": "from memristor_bdnn import acquisitions; acquisitions.load({!r})",
    "arm": "from memristor_bdnn.motion import arms; arms.load({!r})",
}
BUILT_IN = {"skill": "pouring", "learner": "msgld", "accelerator": "simulated", "acquisition": "bald", "arm": "panda"}


@pytest.mark.parametrize("kind", LOADS)
def test_bad_packages_of_every_kind_are_refused_with_names_and_harm_nobody_else(kind, tmp_path):
    package(tmp_path, "broken", kind, {"broken": "broken:Thing"}, "import no_such_module_anywhere\n")
    package(tmp_path, "hollow", kind, {"hollow": "hollow:Missing"}, "x = 1\n")
    package(tmp_path, "number", kind, {"number": "number:x"}, "x = 1\n")
    package(tmp_path, "first", kind, {"twice": "first:x"}, "x = 1\n")
    package(tmp_path, "second", kind, {"twice": "second:x"}, "x = 1\n")
    load = LOADS[kind]
    said = refusal(tmp_path, load.format("broken"))
    assert "'broken'" in said and "broken:Thing" in said and "no_such_module_anywhere" in said
    said = refusal(tmp_path, load.format("hollow"))
    assert "'hollow'" in said and "Missing" in said
    assert "'number'" in refusal(tmp_path, load.format("number"))
    said = refusal(tmp_path, load.format("twice"))
    assert "package first" in said and "package second" in said
    said = refusal(tmp_path, load.format("broke"))
    assert "broken" in said and BUILT_IN[kind] in said
    listed = info(tmp_path)[f"{kind}s"]
    assert "no_such_module_anywhere" in listed["broken"] and "first" in listed["twice"]
    assert not listed[BUILT_IN[kind]].startswith("not ")


@pytest.mark.parametrize("kind", LOADS)
def test_a_built_in_name_cannot_be_taken(kind, tmp_path):
    name = BUILT_IN[kind]
    package(tmp_path, "taker", kind, {name: "taker:x"}, "x = 1\n")
    said = refusal(tmp_path, LOADS[kind].format(name))
    assert "built in" in said and "package taker" in said


SKILL = """
from memristor_bdnn.skills.protocol import Skill
from memristor_bdnn.spaces import Dimension, Space


class Mine(Skill):
    name = "mine"
    context_space = Space((Dimension("size", "m", {low}, {high}, "of it"),))
    parameter_space = measure_space = Space((Dimension("push", "N", 0.0, 1.0, "of it"),))

    def score(self, measures):
        return 0.0
{world}
"""
WORLD = """
    def world(self, arm="", options=None, gui=False):
        return None
"""


@pytest.mark.parametrize(
    ("low", "high", "world", "reasons"),
    [
        ("1.0", "1.0", WORLD, ("size", "low = 1 must be below high = 1")),
        ("2.0", "1.0", WORLD, ("size", "low = 2 must be below high = 1")),
        ("0.0", "float('inf')", WORLD, ("size", "finite")),
        ("0.0", "1.0", "", ("'mine'", "world")),
    ],
)
def test_a_skill_that_could_not_run_a_trial_is_refused_before_any(tmp_path, low, high, world, reasons):
    source = SKILL.format(low=low, high=high, world=world)
    package(tmp_path, "mine", "skill", {"mine": "mine:Mine"}, source)
    said = refusal(tmp_path, LOADS["skill"].format("mine"))
    assert all(reason in said for reason in reasons), said


# ---- packages that `new` begins ------------------------------------------------------------------

BEGUN = {"skill": "stopping", "learner": "simple_one", "accelerator": "quiet2", "acquisition": "hopeful"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """One new package of every kind, installed into a folder of its own."""
    target, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    for kind, name in BEGUN.items():
        done = run(target, "-m", "memristor_bdnn.cli", "new", kind, name, "--folder", str(work / "deep" / name))
        assert done.returncode == 0, done.stderr
        assert "pytest" in done.stdout
    how = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = run(work, "-m", "pip", "install", *how, *(str(work / "deep" / name) for name in BEGUN.values()))
    assert done.returncode == 0, done.stderr
    return target, work / "deep"


def test_a_new_package_of_every_kind_passes_its_suite_as_it_is(begun, tmp_path):
    site, folder = begun
    tests = [str(folder / name / "tests" / f"test_{name}.py") for name in BEGUN.values()]
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = info(site)
    assert all(not listed[f"{kind}s"][name].startswith(("not ", "no desc")) for kind, name in BEGUN.items())


def test_new_packages_leave_no_place_to_fill_in_and_are_well_formed(begun):
    _, folder = begun
    for kind, name in BEGUN.items():
        names = {path.name for path in (folder / name).rglob("*") if path.is_file()}
        assert {"pyproject.toml", "README.md", "__init__.py", f"test_{name}.py"} <= names, kind
        for path in (folder / name).rglob("*"):
            assert not (path.is_file() and re.search("@[A-Z]+@", path.read_text())), path
    done = run(folder, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,W,B", str(folder))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("skill", "pouring", "built in"),
        ("accelerator", "escim", "built in"),
        ("acquisition", "bald", "built in"),
        ("learner", "mcmc", "built in"),
        ("learner", "my-learner", "small letters"),
        ("learner", "Mine", "small letters"),
        ("learner", "_mine", "small letters"),
        ("learner", "", "small letters"),
        ("learner", "class", "word of Python"),
        ("learner", "json", "Python module"),
    ],
)
def test_names_that_cannot_be_are_refused_and_nothing_is_written(kind, name, reason, tmp_path):
    from memristor_bdnn.commands import new
    from memristor_bdnn.errors import ConfigError

    with pytest.raises(ConfigError, match=reason):
        new.create(kind, name, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_folder_that_exists_is_left_as_it_is(tmp_path):
    from memristor_bdnn.commands import new
    from memristor_bdnn.errors import ConfigError

    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        new.create("skill", "stopping", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(ConfigError, match="choose one of skill"):
        new.create("robot", "stopping", tmp_path / "made")


@pytest.mark.parametrize("page", ["plugins", "writing_a_skill", "writing_an_accelerator", "writing_an_acquisition"])
def test_links_of_the_pages_lead_somewhere(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link
