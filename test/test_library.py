"""The package as a library: names at the root; the loop on somebody's own, finite data."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memristor_bdnn
from memristor_bdnn import (
    ActiveLoop,
    ConfigError,
    Dimension,
    LearnReport,
    LoopConfig,
    LoopReport,
    Prediction,
    Skill,
    Space,
    TrialOutcome,
    TrialStore,
    accelerator,
    learners,
)
from memristor_bdnn.active.evaluate import evaluate, random_policy
from memristor_bdnn.device import fitting, presets, tables
from memristor_bdnn.skills.pool import trial_of

ROOT = Path(__file__).parent.parent


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_is_what_its_module_has() -> None:
    assert set(memristor_bdnn.__all__) <= set(dir(memristor_bdnn))
    for name in memristor_bdnn.__all__:
        module, _, attribute = memristor_bdnn._HOMES[name].partition(":")
        home = importlib.import_module(f"memristor_bdnn.{module}")
        assert getattr(memristor_bdnn, name) is (getattr(home, attribute) if attribute else home)
    assert sorted(memristor_bdnn.__all__) == sorted(memristor_bdnn._HOMES)
    assert memristor_bdnn.accelerator is accelerator and memristor_bdnn.presets is presets


def test_a_type_checker_sees_the_same_names() -> None:
    tree = ast.parse((ROOT / "memristor_bdnn" / "__init__.py").read_text())
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [alias.name for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == sorted(memristor_bdnn.__all__)


def test_the_root_alone_is_light_and_names_load_what_they_need() -> None:
    heavy = "('torch', 'pybullet', 'rclpy', 'matplotlib', 'numpy', 'sklearn')"
    loaded = f"print([m for m in {heavy} if m in sys.modules])"
    assert python(f"import sys, memristor_bdnn; dir(memristor_bdnn)\n{loaded}") == "[]"
    light = "m.presets.load('leti_hfo2_oxram'); m.ActiveLoop, m.LoopConfig, m.Skill, m.TrialStore, m.read_table"
    assert python(f"import sys, memristor_bdnn as m; {light}\n{loaded}") == "['numpy']"
    everything = "import sys\nfrom memristor_bdnn import *\nprint('rclpy' in sys.modules, EaPU.__name__)"
    assert python(everything) == "False EaPU"


@pytest.mark.parametrize("first", ["memristor_bdnn.learners", "memristor_bdnn.device.presets", "memristor_bdnn.active"])
def test_submodules_import_as_before_and_are_not_hidden(first: str) -> None:
    assert python(f"import memristor_bdnn, sys, {first}\nprint({first} is sys.modules['{first}'])") == "True"


def test_no_exported_name_hides_a_module_of_another_meaning() -> None:
    rooms = {module.name for module in pkgutil.iter_modules(memristor_bdnn.__path__)}
    for name in set(memristor_bdnn.__all__) & rooms:
        assert memristor_bdnn._HOMES[name] == name


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("Eapu", "EaPU"), ("active_loop", "ActiveLoop"), ("accelerators", "accelerator"), ("preset", "presets")],
)
def test_an_unknown_name_is_refused_with_near_ones(wrong: str, near: str) -> None:
    with pytest.raises(AttributeError, match=rf"no attribute '{wrong}'; did you mean .*\b{near}\b.*\?"):
        getattr(memristor_bdnn, wrong)
    with pytest.raises(ImportError, match=wrong):
        exec(f"from memristor_bdnn import {wrong}")


def test_a_name_that_is_near_none_gets_the_list() -> None:
    with pytest.raises(AttributeError, match=r"it has ActiveLoop, .* tables"):
        memristor_bdnn.zzz  # noqa: B018
    assert not hasattr(memristor_bdnn, "__wrapped__")


def test_signatures_stay() -> None:
    def shape(function: object) -> str:
        found = inspect.signature(function)  # type: ignore[arg-type]
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
        return str(inspect.Signature(plain))[1:-1]

    assert shape(learners.create) == "name, accelerator, config=None, seed=0"
    assert shape(accelerator.create) == "name, *, preset='tsinghua_taox_hfox', seed=0, **options"
    assert shape(presets.load).split(", ")[0] == "name_or_path"
    assert shape(presets.override) == "preset, changes"
    assert shape(tables.read_table).split(", ")[0] == "path"
    assert shape(fitting.fit_measurements).startswith("data, base, name, *, window_ua=None, tables=False")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert memristor_bdnn.presets.override(memristor_bdnn.presets.load("eapu_180nm"), {}).name == "eapu_180nm"


def numbers(text: str) -> tuple[str, list[float]]:
    """A text without its numbers, and the numbers."""
    pattern = r"\d+\.?\d*"
    return re.sub(r"\s+", " ", re.sub(pattern, "#", text)).strip(), [float(n) for n in re.findall(pattern, text)]


def test_the_page_runs_as_it_stands_and_prints_what_it_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    blocks = re.findall(r"<!-- run by .*? -->\n```python\n(.*?)```\n\nIt prints:\n\n```text\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == page.count("<!-- run by") == 2
    for code, output in blocks:
        words, shown = numbers(output)
        now, printed = numbers(python("import warnings\nwarnings.simplefilter('error')\n" + code))
        assert now == words
        assert printed == pytest.approx(shown, abs=0.1, rel=0.2)  # other processors round otherwise


@pytest.mark.parametrize("name", ["own_device", "own_data"])
def test_a_notebook_runs_and_prints_what_it_shows(tmp_path: Path, name: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install scikit-learn")
    folder, out = ROOT / "docs" / "notebooks", tmp_path / "out.ipynb"
    command = [sys.executable, "execute.py", f"{name}.ipynb", "--out", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for shown, now in zip(cells_of(folder / f"{name}.ipynb"), cells_of(out), strict=True):
        (words, figures), (printed, values) = numbers(shown[0]), numbers(now[0])
        assert printed == words and now[1] == shown[1]
        assert values == pytest.approx(figures, abs=0.1, rel=0.5)  # pulses differ most between processors


def cells_of(notebook: Path) -> list[tuple[str, int]]:
    """Printed text and number of pictures of every code cell."""
    cells = [cell["outputs"] for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    return [
        ("".join("".join(o.get("text", [])) for o in c), sum("image/png" in o.get("data", {}) for o in c))
        for c in cells
    ]


def test_the_page_names_every_export_and_its_links_lead_somewhere() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    table = page[page.index("| name | what |") :]
    first = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    assert first == set(memristor_bdnn.__all__)
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (ROOT / "docs" / link).exists(), link


def test_the_table_of_the_page_is_what_its_script_writes(tmp_path: Path) -> None:
    script = (ROOT / "examples" / "own_device" / "measure.py").read_text()
    (tmp_path / "measure.py").write_text(script)
    python(f"import runpy; runpy.run_path({str(tmp_path / 'measure.py')!r}, run_name='__main__')")
    made, kept = (tables.read_table(f / "pulses.csv") for f in (tmp_path, ROOT / "examples" / "own_device"))
    assert isinstance(made, tables.Measurements) and isinstance(kept, tables.Measurements)
    assert np.allclose(made.set_ua, kept.set_ua) and np.allclose(made.read_ua, kept.read_ua)


class Finite(Skill):
    """A data set as a skill: a hundred settings on a grid, each tried once."""

    name = "finite"
    context_space = Space([Dimension("day", "", 0, 1)], "context")
    parameter_space = Space([Dimension("a", "", -1, 1), Dimension("b", "", -1, 1)], "parameters")
    measure_space = Space([Dimension("score", "", -1, 1)], "measures")
    arm = ""

    def __init__(self, rows: int, one_class: bool = False) -> None:
        self.rows = np.random.default_rng(5).uniform(-1, 1, (rows, 2))
        self.tried: list[tuple[float, ...]] = []
        self.one_class = one_class

    def sample_candidates(self, context: Any, n: int, rng: np.random.Generator, arm: str = "") -> Any:
        return [row for row in self.rows if tuple(row) not in self.tried][:n]

    def score(self, measures: Any) -> float:
        return float(measures[0])

    def world(self, arm: str = "", options: Any = None, gui: bool = False) -> Any:
        raise AssertionError("its outcomes are known")

    def run(self, context: Any, parameters: Any, seed: int) -> TrialOutcome:
        self.tried.append(tuple(parameters))
        score = 0.5 if self.one_class or parameters[0] > 0 else -0.5
        return TrialOutcome(True, score, (score + 1) / 2, {})


class Quick:
    """A learner that answers at once."""

    def fit(self, x: Any, y: Any, progress: Any = None, cancelled: Any = None) -> LearnReport:
        return LearnReport(1, 0.0, 1.0, 0)

    learn = fit

    def predict(self, x: Any, samples: int = 20) -> Prediction:
        p = np.full((2, len(x)), 0.5)
        return Prediction(p[0], 0 * p[0], p)

    def save(self, path: Any) -> str:
        return ""


def run_loop(folder: Path, skill: Finite, said: list[str] | None = None, **options: Any) -> tuple[LoopReport, int]:
    config = LoopConfig(**{"initial_trials": 5, "queries": 4, "candidates": 6, "evaluation_candidates": 3, **options})
    with TrialStore(folder / "t.jsonl") as store:
        loop = ActiveLoop(skill, Quick(), store, config, np.random.default_rng(0), trials=skill)
        report = loop.run(lambda p: said.append(p.message) if said is not None and p.message else None)
        return report, len(store.trials)


def test_a_pool_that_runs_out_ends_the_loop_with_a_report(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.warns(UserWarning, match=r"finite: 5 candidates are left, candidates = 6 were asked for"):
        report, trials = run_loop(tmp_path, Finite(20), said, queries=100, evaluations=2)
    assert (report.labels, trials, report.cancelled) == (20, 20, False)
    assert re.search(r"skill finite has no more candidates .*15 of 100 trials of phase query", report.ended)
    assert "0 of 2 trials of phase evaluation" in report.ended and len(said) == 2
    skill = Finite(20)
    skill.tried = [tuple(row) for row in skill.rows]
    again, trials = run_loop(tmp_path, skill, queries=100)  # the same session once more: the same end, at once
    assert (again.labels, trials) == (20, 20) and again.ended


def test_a_pool_just_large_enough_ends_as_any_run(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report, trials = run_loop(tmp_path, Finite(20))
    assert (report.labels, trials, report.ended) == (9, 9, "")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (10, {}, r"skill finite: sample_candidates gave 5 of candidates = 6; give candidates of at most 5"),
        (3, {}, r"skill finite has no more candidates after 3 of 5 initial_trials"),
        (0, {}, r"skill finite has no more candidates after 0 of 5 initial_trials"),
        (12, {"evaluations": 2, "evaluation_candidates": 9}, r"gave 3 of evaluation_candidates = 9"),
    ],
)
def test_fewer_candidates_than_needed_are_refused(
    tmp_path: Path, rows: int, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_loop(tmp_path, Finite(rows), **options)
    with TrialStore(tmp_path / "t.jsonl", readonly=True) as store:
        assert len(store.trials) == min(rows, 9 if options else 5)  # what was paid for is kept


def test_candidates_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    class Flat(Finite):
        def sample_candidates(self, *args: Any, **options: Any) -> Any:
            return self.rows[0]

    with pytest.raises(ConfigError, match=r"skill finite: sample_candidates gave an array of shape \(2,\), expected"):
        run_loop(tmp_path, Flat(20))


def test_a_resumed_run_whose_candidates_are_gone_takes_its_trials_from_the_store(tmp_path: Path) -> None:
    skill = Finite(12)
    with pytest.warns(UserWarning, match="are left"):
        run_loop(tmp_path, skill, queries=7)
    report, trials = run_loop(tmp_path, skill, queries=8)  # no checkpoint: asks all of it again, and nothing is left
    assert (report.labels, trials) == (12, 12) and "7 of 8" in report.ended


def test_labels_of_one_class_are_warned_of_once(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.warns(UserWarning, match="all 5 labels so far are successes") as seen:
        run_loop(tmp_path, Finite(20, one_class=True), said)
    assert len(seen) == len(said) == 1 and said == [str(seen[0].message)]


def test_policies_are_compared_on_as_many_candidates_as_were_asked_for() -> None:
    skill = Finite(7)
    with pytest.raises(ConfigError, match="gave 7 of candidates = 8"):
        evaluate(skill, skill, {"random": random_policy}, pairs=1, candidates=8)
    with pytest.raises(ConfigError, match="gave 0 of candidates = 1"):
        trial_of(Finite(0), 1)
