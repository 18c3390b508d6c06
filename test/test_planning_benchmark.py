"""What `benchmark planning` writes: the figures by name, merged over seeds, with and without published data."""

import importlib.resources
import json

import numpy as np
import pytest

from memristor_bdnn.benchmark.planning import merge, published_rows
from memristor_bdnn.cli import main
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring.geometry import is_valid


def test_worst_cases_merge_by_their_largest_and_rates_by_their_mean():
    runs = [
        {"lost": 1, "max_error": 0.1, "share": 0.5, "source": "x"},
        {"lost": 3, "max_error": 0.2, "share": 0.7, "source": "x"},
    ]
    assert merge(runs) == {"lost": 3, "max_error": 0.2, "share": pytest.approx(0.6), "source": "x"}


def test_rows_are_valid_and_come_from_the_pool_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMRISTOR_BDNN_DATA", str(tmp_path))
    contexts, parameters, source = published_rows(None, 5, np.random.default_rng(0))
    assert source == "random"
    assert is_valid(contexts, parameters).all()
    pool = np.random.default_rng(1).uniform(-1, 1, (40, 11))
    np.savez(tmp_path / "pouring_paper.npz", x_pool=pool)
    contexts, parameters, source = published_rows(None, 5, np.random.default_rng(0))
    assert source == "published pool"
    assert len(contexts) == len(parameters) == 5
    with pytest.raises(ConfigError, match="no such file"):
        published_rows(str(tmp_path / "other.npz"), 5, np.random.default_rng(0))


def test_the_command_writes_the_figures_it_promises(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEMRISTOR_BDNN_DATA", str(tmp_path))  # empty: random pours, and it says so
    out = tmp_path / "planning.json"
    assert main(["benchmark", "planning", "--quick", "--rows", "2", "--execute", "0", "--out", str(out)]) == 0
    assert "planning random valid pours instead" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["ik_max_position_error_m"] < 1e-9
    assert record["ik_known_configurations_missed"] == record["ik_numerical_solutions_lost"] == 0
    assert record["rrt_solved_share"] == record["rrt_recheck_share"] == 1.0
    for key in ("ik_us_per_pose", "rrt_median_ms_open", "rrt_median_ms_hard", "pour_planned_share", "pour_median_s"):
        assert record[key] >= 0.0


def test_any_arm_is_measured_by_name_or_by_file_execution_included(tmp_path, monkeypatch):
    """A file has no name that a world could load; an arm's base is no contact, whatever link it is."""
    monkeypatch.setenv("MEMRISTOR_BDNN_DATA", str(tmp_path))
    text = (importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / "ur5e.yaml").read_text()
    urdf = importlib.resources.files("memristor_bdnn.motion.arms") / "descriptions" / "ur5e.urdf"
    mine = tmp_path / "mine.yml"
    mine.write_text(text.replace("name: ur5e", "name: mine").replace("urdf: ur5e.urdf", f"urdf: {urdf}"))
    out = tmp_path / "planning.json"
    command = ["benchmark", "planning", "--quick", "--rows", "2", "--execute", "1", "--arm", str(mine)]
    assert main([*command, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["arm"] == "mine" and record["executed"] == 1
    assert record["executed_max_joint_error_rad"] < 0.005
    assert record["executed_with_arm_contact"] == record["executed_with_cup_contact"] == 0
    assert record["ik_known_configurations_missed"] == record["ik_numerical_solutions_lost"] == 0
