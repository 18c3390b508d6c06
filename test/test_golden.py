"""The same seed gives the same session as it did in version 0.1: trial files kept in test/golden."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn.active.store import Trial, TrialStore

FOLDER = Path(__file__).with_name("golden")
EXACT = FOLDER / "exact"
LEARNERS = ("msgld", "eapu", "mcmc")
SIZES = ["--initial", "8", "--queries", "3", "--evaluations", "1", "--candidates", "200", "--seed", "4"]
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def kind_of_machine() -> dict[str, Any]:
    """What decides how sums are rounded: versions, processor, and the linear algebra that numpy calls."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = [said.get(name, "") for name in ("model name", "cpu family", "model", "stepping")]
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    return {
        **{name: importlib.metadata.version(name) for name in ("numpy", "torch", "pybullet")},
        "machine": platform.machine(),
        # A virtual machine may call processors of several generations by one name; libraries look at the flags.
        "processor": " ".join(model).strip() or platform.processor(),
        "flags": hashlib.sha256(" ".join(sorted(said.get("flags", "").split())).encode()).hexdigest()[:12],
        "simd": built["SIMD Extensions"].get("found", []),
        "blas": f"{blas['name']} {blas['version']}",
    }


def learned(learner: str, store: Path) -> None:
    command = [sys.executable, "-m", "memristor_bdnn.cli", "learn", "--learner", learner, "--store", str(store)]
    done = subprocess.run([*command, *SIZES], env={**os.environ, **THREADS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def trials(path: Path) -> list[Trial]:
    with TrialStore(path, readonly=True) as store:
        return list(store.trials)


def same_decisions(new: list[Trial], old: list[Trial]) -> None:
    """Phases, seeds, contexts, parameters and labels; the last digits of numbers may differ."""
    assert [(t.phase, t.seed, t.strategy, t.feasible) for t in new] == [
        (t.phase, t.seed, t.strategy, t.feasible) for t in old
    ]
    for part in ("context", "parameters", "features"):
        np.testing.assert_allclose([getattr(t, part) for t in new], [getattr(t, part) for t in old], rtol=1e-9)
    assert [t.score > 0 for t in new] == [t.score > 0 for t in old]


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_session_comes_out_as_it_did(learner: str, tmp_path: Path, record_property: Any, capsys: Any) -> None:
    new, old = tmp_path / f"{learner}.jsonl", FOLDER / f"{learner}.jsonl"
    learned(learner, new)
    alike = kind_of_machine() == json.loads((EXACT / "machine.json").read_text())
    compared = (
        "every number of every trial"
        if alike
        else "decisions and labels (another kind of machine wrote the exact file)"
    )
    record_property("compared", compared)
    with capsys.disabled():
        print(f"\n{learner}: compared {compared}")
    same_decisions(trials(new), trials(old))
    if alike:
        assert trials(new) == trials(EXACT / old.name)


@pytest.mark.parametrize("change", [{"seed": 1}, {"phase": "query"}, {"score": -0.5}, {"parameters": (0.0,) * 5}])
def test_the_looser_comparison_still_sees_other_decisions(change: dict[str, Any]) -> None:
    old = trials(FOLDER / "msgld.jsonl")
    index = next(i for i, t in enumerate(old) if t.score > 0 and t.phase == "initial")
    new = [*old]
    new[index] = Trial(**{**vars(old[index]), **change})
    same_decisions(list(old), old)
    with pytest.raises(AssertionError):
        same_decisions(new, old)


if __name__ == "__main__":
    for name in LEARNERS:
        path = EXACT / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        learned(name, path)
        for left in EXACT.glob(f"{path.name}.*"):
            left.unlink()
    (EXACT / "machine.json").write_text(json.dumps(kind_of_machine(), indent=2) + "\n")
