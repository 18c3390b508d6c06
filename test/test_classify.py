"""`benchmark classify`: its measures on known answers, its divisions, and the command."""

import json

import numpy as np
import pytest

from memristor_bdnn.benchmark.classify.tasks import TASKS, calibration_error, on_devices, scores, split
from memristor_bdnn.cli import main


def test_calibration_of_known_answers():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 20_000)
    drawn = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert calibration_error(p, drawn) < 0.02  # labels drawn from the probabilities themselves
    sure = np.tile([0.9, 0.1], (100, 1))
    assert calibration_error(sure, np.repeat([0, 1], 50)) == pytest.approx(0.4)
    assert scores(np.array([[0.5, 0.25, 0.25]]), np.array([1])) == pytest.approx(
        {"accuracy": 0.0, "nll": np.log(4), "ece": 0.5}
    )


def test_divisions_share_no_row_and_keep_the_classes():
    for task in TASKS:
        one, other = split(task, 0), split(task, 1)
        assert (
            one.classes == len(set(one.y_test)) == {"iris": 3, "wine": 3, "breast cancer": 2, "digits": 10}[task.name]
        )
        assert not np.array_equal(one.x_test, other.x_test)
        assert abs(len(one.x_test) / (len(one.x) + len(one.x_test)) - 0.25) < 0.01


def test_energy_and_pulses_are_those_of_the_ledger():
    iris = TASKS[0]
    found = on_devices("eapu", iris, split(iris, 0), 0, "tsinghua_taox_hfox")
    assert found.accuracy > 0.85
    assert found.pulses > 0 and found.cells == (5 * 10 + 11 * 3) * 3 * 3
    assert 0 < found.prediction_j < found.learning_energy_j < found.learning_system_j


def test_the_command_compares_all_and_writes_every_figure(tmp_path, capsys):
    out = tmp_path / "classify.json"
    assert main(["benchmark", "classify", "--quick", "--data", "iris", "--out", str(out)]) == 0
    results = json.loads(out.read_text())["results"]["iris"]
    assert set(results) == {"msgld", "eapu", "mcmc", "MLP", "5 MLPs"}
    for name, found in results.items():
        assert 0.8 < found["accuracy_median"] <= 1 and found["nll_median"] > 0 and found["ece_median"] >= 0
        assert ("pulses_median" in found) == (name in ("msgld", "eapu", "mcmc"))
        assert len(found["seeds"]) == 1
    assert "iris: medians of 1 seed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "digit"], "did you mean digits"),
        (["--seeds", "0"], "at least 1"),
        (["--learner", "nobody"], "nobody"),
        (["--preset", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(words, said, capsys):
    assert main(["benchmark", "classify", "--quick", *words]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
