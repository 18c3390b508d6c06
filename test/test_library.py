"""The package as a library: names at the root."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import memristor_bdnn
from memristor_bdnn import accelerator, learners
from memristor_bdnn.device import fitting, presets, tables

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
