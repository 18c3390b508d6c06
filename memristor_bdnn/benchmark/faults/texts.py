"""Configurations, presets, arms, parameter files and options as people and editors damage them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.resources
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from memristor_bdnn import cli, config, learners
from memristor_bdnn.active.loop import LoopConfig
from memristor_bdnn.benchmark.faults import mutate
from memristor_bdnn.benchmark.faults.verdict import Verdict
from memristor_bdnn.config import yaml_mapping
from memristor_bdnn.device import presets
from memristor_bdnn.errors import MemristorError
from memristor_bdnn.learners.base import LearnerConfig
from memristor_bdnn.motion import arms

HOSTILE = (
    b"[" * 5000,
    b"{a: " * 3000,
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
    b"loop: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nqueries: *g\nsamples: *g\n",
    b"&a [*a]\n",
    b"queries: &a {b: *a}\n",
    b"\xff\xfe\x00q\x00",
    b"\x80\x81\x82",
    b"queries: \x00\n",
    b"\tqueries: 1\n",
    b"!!python/object/apply:os.system ['true']\n",
    b"queries: !!binary |\n  x\n",
    b"? [1, 2]\n: 3\n",
    b"{[1]: 2}\n",
    b"1: 2\nnull: 3\n2020-01-01: 4\n",
    b"--- 1\n--- 2\n",
    b"queries: " + b"9" * 6000 + b"\n",
    b"samples: .nan\nevaluations: .inf\n",
    b"<<: [1]\n",
    b"<<: {queries: 1}\n",
    b"null\n",
    b"just words\n",
    b"[]\n",
    b"12\n",
    b"loop: 3\nlearner: [x]\n",
    b"%YAML 9.9\n---\na: 1\n",
    b"a: 'unfinished\n",
    b"queries: 0x7fffffffffffffffffffffff\n",
    b"queries: 1:30:00\n",
    b"@x: 1\n",
)
VALUES: tuple[Any, ...] = (
    None, [], {}, "", "x", " 3 ", "näh", -1, 0, 1e400, -math.inf, math.nan, 10**40, True, [None], [[1]], {"a": 1},
    {1: 2}, ["x"] * 1000, 1.5, "2020-01-01", b"\0", "x" * 100_000,
)  # fmt: skip


class Texts:
    """Good texts of every kind, and what reads them."""

    def __init__(self, folder: Path, skill: str) -> None:
        self._folder, self._skill = folder, skill
        learner = learners.learner_class("msgld").config_type
        panda = importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / "panda.yaml"
        self._kinds: dict[str, tuple[Any, Callable[[Path], Any]]] = {
            "loop": (dataclasses.asdict(LoopConfig()), lambda p: config.from_yaml(LoopConfig, p)),
            "section": ({"loop": {"queries": 3}}, lambda p: config.from_yaml(LoopConfig, p, "loop")),
            "learner": (dataclasses.asdict(learner()), lambda p: config.from_yaml(learner, p)),
            "preset": (_tree(presets.load("leti_hfo2_oxram").to_dict()), presets.load),
            "arm": (yaml.safe_load(panda.read_text()), arms.load),
            "params_file": ({"/**/accelerator": {"ros__parameters": {"samples": 5}}}, self._params_file),
            "options": ({"adc": True}, _options),
            "learn --config": ({"loop": {"attempts": 5}}, self._learn),
        }

    def judge(self, rng: np.random.Generator) -> Verdict:
        """Damage one text, have it read, judge."""
        kind = str(rng.choice(list(self._kinds)))
        good, read = self._kinds[kind]
        path = self._folder / "text.yaml"
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        verdict = Verdict(f"{kind}, {self._lay_out(rng, good, path, kind)}")
        try:
            result = read(path)
        except MemristorError:
            return verdict
        except SystemExit as error:
            verdict.found("crashed", f"it ended the process with {error.code}")
        except Exception as error:
            verdict.crashed(error)
        else:
            verdict.taken = True
            if dataclasses.is_dataclass(result) and not isinstance(result, type):
                _judge_config(result, verdict)
        return verdict

    def _lay_out(self, rng: np.random.Generator, good: Any, path: Path, kind: str) -> str:
        draw = rng.random()
        if draw < 0.03 and kind != "options":
            if rng.random() < 0.5:
                path.mkdir()
                return "a folder"
            os.mkfifo(path)
            return "a FIFO"
        if draw < 0.3:
            number = int(rng.integers(len(HOSTILE)))
            path.write_bytes(HOSTILE[number])
            return f"hostile text {number}: {HOSTILE[number][:40]!r}"
        text = yaml.safe_dump(good, allow_unicode=True).encode()
        if draw < 0.5 or kind == "learn --config":  # what a changed number makes of a session may be long
            content, what = mutate.raw(rng, text) if kind != "learn --config" else (b"loop: 3\n", "a section 3")
            path.write_bytes(content)
            return what
        tree = copy.deepcopy(good)
        what = _spoil(rng, tree)
        path.write_bytes(yaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
        return what

    def _params_file(self, path: Path) -> Any:
        from memristor_bdnn.nodes import graph

        return graph.resolve({"params_file": str(path), "skill": self._skill})

    def _learn(self, path: Path) -> int:
        """The whole command in this process: exit code 0 or 1, one line."""
        errors = io.StringIO()
        words = ["learn", "--skill", self._skill, "--config", str(path), "--initial", "2", "--queries", "0"]
        store = self._folder / "learned.jsonl"
        for old in self._folder.glob("learned*"):
            old.unlink()
        with contextlib.redirect_stderr(errors):
            code = cli.main([*words, "--evaluations", "0", "--candidates", "5", "--store", str(store)])
        lines = [line for line in errors.getvalue().splitlines() if line.startswith("error: ")]
        if code not in (0, 1) or (code == 1 and len(lines) != 1):
            raise AssertionError(f"exit code {code}, {errors.getvalue()[-200:]!r}")
        return code


def _options(path: Path) -> Any:
    return yaml_mapping(path.read_text(errors="surrogateescape"), "options")


def _tree(value: Any) -> Any:
    """Tuples as lists, so that YAML writes them plainly."""
    if isinstance(value, dict):
        return {k: _tree(v) for k, v in value.items()}
    return [_tree(v) for v in value] if isinstance(value, list | tuple) else value


def _spoil(rng: np.random.Generator, tree: Any) -> str:
    """Put something wrong somewhere into a tree, in place; says what and where."""
    node = tree
    where: list[str] = []
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            node["x"] = 1
            return f"a key x in {where}"
        key = keys[int(rng.integers(len(keys)))]
        where.append(str(key))
        inner = node[key]
        if isinstance(inner, dict | list) and len(inner) and rng.random() < 0.7:
            node = inner
            continue
        break
    kind = int(rng.integers(8))
    if kind == 0:
        del node[key]
        return f"without {'.'.join(where)}"
    if kind == 1 and isinstance(node, dict):
        node[f"{key}x"] = node.pop(key)
        return f"{'.'.join(where)} misspelt"
    value = VALUES[int(rng.integers(len(VALUES)))]
    node[key] = value
    return f"{'.'.join(where)} = {str(value)[:40]!r}"


def _judge_config(made: Any, verdict: Verdict) -> None:
    """A configuration that was taken must be one: finite numbers, and valid by its own check."""
    for name, value in _leaves(made):
        if isinstance(value, float) and not math.isfinite(value):
            verdict.found("wrongly_accepted", f"{name} = {value}")
    if isinstance(made, LoopConfig | LearnerConfig):
        try:
            config.check(made)
        except MemristorError as error:
            verdict.found("wrongly_accepted", f"taken, although: {error}")


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        return [x for f in dataclasses.fields(value) for x in _leaves(getattr(value, f.name), f"{name}.{f.name}")]
    if isinstance(value, tuple | list):
        return [x for v in value for x in _leaves(v, name)]
    return [(name, value)]
