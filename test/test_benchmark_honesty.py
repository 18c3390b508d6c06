"""What a benchmark says of a data set before it runs, of what code its figures are, and of the parts of the method."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import cli, skills
from memristor_bdnn.benchmark import runs
from memristor_bdnn.benchmark.dbal import figures as learning_figures
from memristor_bdnn.benchmark.dbal import jobs, passive, study
from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.diagnosis import diagnose
from memristor_bdnn.benchmark.dbal.jobs import Setting
from memristor_bdnn.skills.pouring import pool

POURING = skills.load("pouring")


def own(n=200, m=50):
    rows = pool.load()
    return Trials(rows.x[:n], rows.score[:n], rows.x[n : n + m], rows.score[n : n + m])


# -- diagnosis ---------------------------------------------------------------------------------------


def test_clean_trials_raise_no_doubt():
    found = diagnose(own(), POURING)
    assert found["rows"] == {"pool": 200, "test": 50} and found["warnings"] == []
    clean = {"rows": 250, "distinct": 250, "alone": 250, "largest_group": 1, "misrecorded_share": 0.0}
    assert found["repeated_contexts"] == {"bowl sizes": clean, "cup sizes": clean}


def test_repeats_duplicates_and_shares_are_named():
    t = own()
    x_pool, score_test = t.x_pool.copy(), np.where(np.arange(50) < 5, 0.5, -0.5)
    x_pool[:10, 5:8] = x_pool[0, 5:8]
    x_pool[10:12, 8:11] = x_pool[10, 8:11]
    x_pool[50:53] = x_pool[50]
    x_test = np.concatenate([x_pool[20:22], t.x_test[2:]])
    found = diagnose(Trials(x_pool, t.score_pool, x_test, score_test), POURING)
    bowls, cups = found["repeated_contexts"]["bowl sizes"], found["repeated_contexts"]["cup sizes"]
    # ten, three and twice two rows share a bowl; two, three and twice two a cup
    assert bowls["distinct"] == 250 - 9 - 2 - 2 and bowls["largest_group"] == 10 and bowls["alone"] == 250 - 10 - 3 - 4
    assert bowls["misrecorded_share"] == pytest.approx(13 / 250) and cups["distinct"] == 250 - 1 - 2 - 2
    assert found["duplicate_rows"] == {"pool": 2, "test": 0} and found["test_rows_in_pool"] == 2
    assert found["success_share"]["test"] == pytest.approx(0.1)
    said = " ".join(found["warnings"])
    for part in ("237 different bowl sizes", "245 different cup sizes", "no samples of the same trials", "2 test rows"):
        assert part in said


def test_a_diagnosis_alone_learns_nothing_and_is_in_every_record(tmp_path, capsys):
    out = tmp_path / "o.json"
    assert cli.main(["benchmark", "dbal", "--diagnose", "--out", str(out)]) == 0  # the shipped pool is the default
    record = json.loads(out.read_text())
    assert record["diagnosis"]["rows"] == {"pool": 15_000, "test": 5_000} and "results" not in record
    assert "bowl sizes" in capsys.readouterr().out and not (tmp_path / "o.json.runs").exists()
    words = ["--seeds", "1", "--learner", "deep_ensemble", "--queries", "1", "--workers", "1", "--out", str(out)]
    assert cli.main(["benchmark", "dbal", *words]) == 0
    record = json.loads(out.read_text())
    assert record["diagnosis"]["warnings"] == [] and "results" in record
    gain = record["active_minus_passive"]["deep_ensemble"]["straddle"]
    assert gain["accuracy_matched_standard_error"] is None  # one pair has none
    for words in (["--study"], ["--audit", "10"]):
        assert cli.main(["benchmark", "dbal", "--diagnose", *words]) == 1
        assert "only looks" in capsys.readouterr().err


def test_the_published_trials_are_found_out():
    data = Path(__file__).parents[2] / "shared" / "data" / "pouring_paper.npz"
    if not data.exists():
        pytest.skip(f"published trials not found: {data}")
    found = diagnose(jobs.load_trials(data), POURING)["repeated_contexts"]
    assert (found["bowl sizes"]["distinct"], found["cup sizes"]["distinct"]) == (1460, 1707)
    assert found["bowl sizes"]["largest_group"] == 15 and found["bowl sizes"]["misrecorded_share"] > 0.81


# -- keys of finished runs -----------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose code can be changed; keys are made of it."""
    copy = tmp_path / "memristor_bdnn"
    shutil.copytree(runs.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    monkeypatch.setattr(runs, "PACKAGE", copy)
    return copy


SETTING = Setting(str(pool.SHIPPED), "random", 64, 8, "none", None)


@pytest.mark.parametrize(
    "path", ["benchmark/dbal/run.py", "benchmark/dbal/published.py", "learners/msgld/learner.py", "device/noise.py"]
)
def test_runs_of_other_code_are_never_taken_for_new_ones(package, path):
    before = SETTING.key("msgld")
    assert SETTING.key("msgld") == before
    place = package / path
    place.write_text(place.read_text() + "\n# another version\n")
    assert SETTING.key("msgld") != before


def test_code_that_decides_no_run_keeps_them(package):
    before = SETTING.key("msgld")
    for path in ("benchmark/dbal/figures.py", "benchmark/dbal/main.py", "report/record.py"):
        (package / path).write_text((package / path).read_text() + "\n# another version\n")
    assert SETTING.key("msgld") == before


def test_a_room_that_does_not_exist_covers_nothing_and_is_refused():
    with pytest.raises(ValueError, match=r"no such code: .*nowhere"):
        runs.code_digest("device", "nowhere")


def test_code_of_another_package_counts(tmp_path, monkeypatch):
    source = tmp_path / "strange_plugin" / "__init__.py"
    source.parent.mkdir()
    source.write_text("class Learner:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin = importlib.import_module("strange_plugin").Learner
    alone, before = runs.code_digest("device"), runs.code_digest("device", plugins=[plugin])
    assert before != alone == runs.code_digest("device", plugins=[type(POURING)])
    (source.parent / "more.py").write_text("STEP = 2\n")
    assert runs.code_digest("device", plugins=[plugin]) != before
    sys.modules.pop("strange_plugin")


def test_other_versions_of_libraries_share_no_runs(monkeypatch):
    before = runs.code_digest("device")
    monkeypatch.setattr(runs.importlib.metadata, "version", lambda name: "0.0.1")
    assert runs.code_digest("device") != before


# -- the study of the parts ----------------------------------------------------------------------------


def test_the_study_is_a_curve_over_labels_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "LABELS", {"pouring": (16, 32), "digits": (20, 40)})
    monkeypatch.setattr(study, "QUICK_EPOCHS", 2)
    pytest.importorskip("sklearn")
    found = study.study(SETTING, [0], quick=True, work=tmp_path / "runs")
    for task, labels in study.LABELS.items():
        assert list(found["study"][task]) == list(study.VARIANTS)
        for of in found["study"][task].values():
            assert list(of["curve"]) == [str(n) for n in labels]
            assert of["accuracy_median"] == of["curve"][str(labels[-1])]["accuracy_median"]
            assert all(0 <= point["accuracy_median"] <= 1 for point in of["curve"].values())
    capsys.readouterr()
    assert study.study(SETTING, [0], quick=True, work=tmp_path / "runs") == found
    assert "found 24 of 24 runs" in capsys.readouterr().out
    assert learning_figures.study(found, tmp_path / "s.png").stat().st_size > 10_000


# -- pictures ------------------------------------------------------------------------------------------


def test_every_contender_is_in_the_picture_however_many(tmp_path, monkeypatch):
    point = {f"{name}_median": 0.80 for name in ("accuracy_matched", "auc", "ece")}
    point["calibration"] = {"count": [5, 5], "predicted": [0.2, 0.8], "observed": [0.1, 0.9]}
    results = {f"m{k}": {"random": {"64": point, "128": point}} for k in range(11)}
    shown = []
    monkeypatch.setattr(learning_figures.style, "save", lambda fig, path: shown.append(fig) or path)
    for draw in (learning_figures.active_against_passive, learning_figures.calibration):
        draw({"results": results, "final_labels": 128}, tmp_path / "f.png")
    curves, calibrated = (fig.axes[0] for fig in shown)
    drawn = [(line.get_color(), line.get_marker()) for line in curves.lines]
    assert len(drawn) == len(set(drawn)) == 11 and len(calibrated.lines) == 1 + 11
    low, high = curves.get_ylim()
    assert high - low >= learning_figures.SMALLEST_SPAN - 1e-9


def test_labels_are_never_counted_in_what_a_threshold_moves():
    found = {"final_labels": 80, "results": {"msgld": {}}}
    value = {
        "accuracy_median": 0.99,
        "balanced_accuracy_median": 0.99,
        "accuracy_matched_median": 0.5,
        "auc_median": 0.5,
    }
    found["results"]["msgld"] = {"random": {"80": value}, "straddle": {"80": value}}
    made = passive.passive_labels(found, [0], SETTING, None, largest=64)
    assert list(made["passive_curve"]) == ["64"]
    for of in made["passive_equivalent_labels"].values():
        assert of == {"accuracy_matched": 64.0, "auc": 64.0}
