"""The comparison of arm trials whose beads ride to the bowl with those simulated all the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn.benchmark.arm_world import agreements
from memristor_bdnn.cli import main


def test_agreements_are_of_labels_within_and_between() -> None:
    riding = np.array([[1.0, 0.95, 0.2, 0.0], [1.0, 0.5, 0.2, 0.0]])
    simulated = np.array([[1.0, 0.95, 0.2, 0.95], [1.0, 0.95, 0.2, 0.0]])
    found = agreements({"riding": riding, "simulated": simulated})
    assert found["agreement_same_seed"] == 0.75 and found["self_agreement_riding"] == 0.75
    assert found["agreement_other_seed"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["fraction_mean_difference"] == pytest.approx((-0.95 - 0.45) / 8)
    assert found["success_riding"] == 3 / 8 and found["success_simulated"] == 5 / 8


def test_the_command_writes_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMRISTOR_BDNN_DATA", raising=False)
    out = tmp_path / "arm.json"
    assert main(["benchmark", "world", "--arm", "panda", "--rows", "2", "--out", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["arm_planned"] == 2 and 0.0 <= figures["agreement_same_seed"] <= 1.0
    # beads that are carried and not simulated are what makes it faster
    assert figures["arm_trials_per_cpu_s_riding"] > figures["arm_trials_per_cpu_s_simulated"]
    assert main(["benchmark", "world", "--arm", "panda", "--rows", "2", "--seeds", "1"]) == 1
