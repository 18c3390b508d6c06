"""The active-learning benchmark: no leakage, honest figures, clear errors, resuming."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import acquisitions, cli, learners
from memristor_bdnn.benchmark.dbal import methods as dbal_methods
from memristor_bdnn.benchmark.dbal import report as dbal_report
from memristor_bdnn.benchmark.dbal import sizes as dbal_sizes
from memristor_bdnn.benchmark.dbal.data import Trials, load_trials
from memristor_bdnn.benchmark.dbal.figures import sizes as sizes_figure
from memristor_bdnn.benchmark.dbal.jobs import Setting
from memristor_bdnn.benchmark.dbal.run import Protocol64, figures, run
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.context import decode, rescaled
from memristor_bdnn.skills.pouring.sizes import PUBLISHED_SHAPES, bowl_scales, corrected_sizes
from memristor_bdnn.skills.pouring.vessels import BOWLS

PROTOCOL = Protocol64(initial=16, queries=4, every=2)
DATA = Path(os.environ.get("MEMRISTOR_BDNN_DATA", Path(__file__).parents[2] / "shared" / "data"))


def trials(n=120, m=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.8, 0.8, (n + m, 11))
    score = np.tanh(2 * (x[:, 0] + x[:, 4]) + 0.1 * rng.standard_normal(n + m))
    return Trials(x[:n], score[:n], x[n:], score[n:])


def write(path, **changes):
    t = trials()
    arrays = {"x_pool": t.x_pool, "score_pool": t.score_pool, "x_test": t.x_test, "score_test": t.score_test}
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return str(path)


@pytest.mark.parametrize("name", ["msgld", "deep_ensemble", "gp"])
def test_labels_that_were_not_asked_and_test_rows_change_nothing(name):
    if name == "gp":
        pytest.importorskip("sklearn")
    data = trials()
    honest = run(dbal_methods.make(name, 0), data, "straddle", 0, PROTOCOL)
    asked = honest["asked"]
    rng = np.random.default_rng(5)
    spoiled = rng.uniform(-1, 1, data.score_pool.shape)
    spoiled[asked] = data.score_pool[asked]
    other = Trials(data.x_pool, spoiled, rng.uniform(-0.8, 0.8, data.x_test.shape), -data.score_test)
    cheat = run(dbal_methods.make(name, 0), other, "straddle", 0, PROTOCOL)
    assert cheat["asked"] == asked
    # the same learner in the end: the same answers to the same questions
    same_test = Trials(data.x_pool, spoiled, data.x_test, data.score_test)
    again = run(dbal_methods.make(name, 0), same_test, "straddle", 0, PROTOCOL)
    for labels, point in honest["points"].items():
        for key in ("accuracy", "nll", "calibration"):
            assert again["points"][labels][key] == point[key]


def test_asked_labels_do_matter():
    data = trials()
    first = run(dbal_methods.make("deep_ensemble", 0), data, "straddle", 0, PROTOCOL)
    turned = Trials(data.x_pool, -data.score_pool, data.x_test, data.score_test)
    second = run(dbal_methods.make("deep_ensemble", 0), turned, "straddle", 0, PROTOCOL)
    assert first["points"]["20"]["accuracy"] > 0.6 > 0.4 > second["points"]["20"]["accuracy"]


def test_active_and_passive_share_their_first_labels_and_never_ask_twice():
    data = trials()
    runs = {s: run(dbal_methods.make("deep_ensemble", 1), data, s, 1, PROTOCOL) for s in ("straddle", "random")}
    assert runs["straddle"]["asked"][:16] == runs["random"]["asked"][:16]
    assert runs["straddle"]["asked"][16:] != runs["random"]["asked"][16:]
    assert all(len(set(r["asked"])) == 20 for r in runs.values())
    first = run(dbal_methods.make("deep_ensemble", 1), data, "random", 1, Protocol64(16, 2, 2, first_rows=True))
    assert first["asked"][:16] == list(range(16))


def test_only_contenders_on_lip_features_see_corrected_sizes(tmp_path):
    t = trials()
    context, parameters = decode(t.x_pool)
    context[:, 0] = PUBLISHED_SHAPES["tan"] * context[:, 1]
    path = write(tmp_path / "d.npz", x_pool=rescaled(np.concatenate([parameters, context], axis=1)))
    recorded = load_trials(path)
    assert np.isfinite(bowl_scales(recorded.x_pool)).all()
    setting = Setting(path, "random", 64, 8, "none", None)
    for name in ("msgld", "gp_lip"):
        seen = setting.trials(name, 0)
        assert np.array_equal(seen.x_pool, corrected_sizes(recorded.x_pool)) and seen.x_test.shape == (40, 11)
        assert np.array_equal(seen.score_pool, recorded.score_pool)
        kept = dataclasses.replace(setting, sizes="recorded").trials(name, 0)
        assert np.array_equal(kept.x_pool, recorded.x_pool)
    for name in ("msgld_paper", "gp", "mcmc"):
        assert np.array_equal(setting.trials(name, 0).x_pool, recorded.x_pool)


def test_validation_reads_no_test_row(tmp_path):
    t = trials()
    path = write(tmp_path / "d.npz")
    setting = Setting(path, "random", 64, 8, "none", None, validate=True)
    a, b = setting.trials("gp", 0), setting.trials("gp", 1)
    assert len(a.x_test) == 40 and len(a.x_pool) == 80 and not np.array_equal(a.x_test, b.x_test)
    rows = {tuple(r) for r in a.x_pool} | {tuple(r) for r in a.x_test}
    assert rows == {tuple(r) for r in t.x_pool}
    assert np.isin(a.score_test, t.score_pool).all()


def test_a_guided_contender_learns_what_another_asks_for():
    pytest.importorskip("sklearn")
    data = trials()
    guided = run(dbal_methods.make("msgld_asked_by_gp", 0), data, "straddle", 0, PROTOCOL)
    asker = run(dbal_methods.make("gp_lip", 0), data, "straddle", 0, PROTOCOL)
    own = run(dbal_methods.make("msgld", 0), data, "straddle", 0, PROTOCOL)
    assert guided["asked"] == asker["asked"] != own["asked"]
    assert guided["points"]["16"]["nll"] == own["points"]["16"]["nll"]  # it answers for itself
    assert guided["points"]["20"]["pulses"] > 0


def test_study_of_sizes_needs_published_bowls_and_tells_them_apart(tmp_path, capsys):
    assert dbal_sizes.study(trials(), [0]) == {}
    assert "not the published bowls" in capsys.readouterr().out
    own = pool.load()
    context, parameters = decode(own.x[:800])
    context[:, 0] = PUBLISHED_SHAPES["tan"] * context[:, 1]
    width = context[:, 1] / (0.01 * BOWLS["tan"][1])
    keep = (width > 0.6) & (width < 1.4)
    x = rescaled(np.concatenate([parameters, context], axis=1))[keep]
    found = dbal_sizes.study(Trials(x, own.score[:800][keep], x[:0], own.score[:0]), [0])
    # trials of our own world bear out all of their scale
    by_trust = found["sizes"]
    assert by_trust["1.0"]["auc_median"] > by_trust["0.5"]["auc_median"] > by_trust["0.0"]["auc_median"]
    assert sizes_figure(found, tmp_path / "s.png").stat().st_size > 10_000


def test_figures_against_closed_forms():
    score = np.array([1, 1, -1, -1, -1, -1.0])
    f = figures(np.array([0.9, 0.2, 0.1, 0.1, 0.1, 0.6]), score)
    assert f["accuracy"] == pytest.approx(4 / 6) and f["balanced_accuracy"] == pytest.approx((0.5 + 0.75) / 2)
    assert f["auc"] == pytest.approx((4 + 3) / 8)
    assert figures(np.full(6, 0.5), score)["auc"] == 0.5
    assert f["nll"] == pytest.approx(-np.log([0.9, 0.2, 0.9, 0.9, 0.9, 0.4]).mean())
    assert f["ece"] == pytest.approx((0.1 + 0.8 + 3 * 0.1 + 0.6) / 6)
    assert figures(np.array([1.0, 1.0, 0, 0, 0, 0]), score)["ece"] == pytest.approx(0.0, abs=1e-5)


def test_equivalent_labels_interpolate():
    curve = [(64, 0.6), (128, 0.7), (256, 0.8)]
    assert dbal_report._labels_for(0.7, curve) == pytest.approx(128)
    assert dbal_report._labels_for(0.75, curve) == pytest.approx(128 * 2**0.5)
    assert dbal_report._labels_for(0.5, curve) == 64 and dbal_report._labels_for(0.9, curve) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"score_pool": None}, "missing score_pool"),
        ({"score_pool": np.full(120, 0.5)}, "one class only"),
        ({"score_pool": np.linspace(-1, 3, 120)}, r"allowed \[-1, 1\]"),
        ({"x_pool": np.zeros((120, 11)) * np.nan}, "not finite"),
        ({"x_pool": np.zeros((119, 11))}, "expected"),
        ({"x_test": np.zeros((40, 10))}, "10"),
        ({"x_pool": np.zeros((20, 11)), "score_pool": np.linspace(-1, 1, 20)}, "at least 64"),
    ],
)
def test_bad_datasets_are_named(tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        load_trials(write(tmp_path / "d.npz", **changes))


def test_command_line_writes_the_promised_keys_and_resumes(tmp_path, capsys):
    data, out = write(tmp_path / "d.npz"), tmp_path / "o.json"
    command = [
        "benchmark",
        "dbal",
        "--dataset",
        data,
        "--seeds",
        "2",
        "--learner",
        "deep_ensemble",
        "--workers",
        "1",
        "--initial",
        "64",
        "--queries",
        "8",
        "--out",
        str(out),
    ]
    assert cli.main(command) == 0
    first = json.loads(out.read_text())
    point = first["results"]["deep_ensemble"]["straddle"]["72"]
    promised = {"accuracy_median", "accuracy_q25", "accuracy_q75", "balanced_accuracy_median", "seconds_median"}
    assert promised <= set(point)
    measured = [int(k) for k in first["results"]["deep_ensemble"]["random"] if k.isdigit()]
    assert measured == [64, 66, 68, 70, 72]
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "found 4 of 4 runs" in capsys.readouterr().out
    assert json.loads(out.read_text())["results"] == first["results"]


def test_a_pool_of_our_own_is_a_dataset_too(tmp_path, capsys):
    own = pool.load()
    loaded = load_trials(pool.SHIPPED)
    assert len(loaded.x_pool) == 15_000 and np.array_equal(loaded.x_test, own.x[15_000:])
    assert loaded.with_corrected_sizes() is loaded
    command = [
        "benchmark",
        "dbal",
        "--dataset",
        "shipped",
        "--seeds",
        "1",
        "--learner",
        "deep_ensemble",
        "--workers",
        "1",
        "--queries",
        "1",
    ]
    assert cli.main(command) == 0
    assert "sizes as recorded" in capsys.readouterr().out
    assert cli.main(["benchmark", "dbal", "--dataset", "shipped", "--prior", "simulator"]) == 1
    assert "would learn the test rows" in capsys.readouterr().err


def test_unknown_contender_and_impossible_prior_are_refused(tmp_path, capsys):
    data = write(tmp_path / "d.npz")
    assert cli.main(["benchmark", "dbal", "--dataset", data, "--learner", "oracle"]) == 1
    assert "choose from msgld" in capsys.readouterr().err
    assert cli.main(["benchmark", "dbal", "--dataset", data, "--learner", "gp", "--prior", "simulator"]) == 1
    assert "cannot use --prior" in capsys.readouterr().err


def test_every_registered_learner_and_strategy_can_be_chosen(tmp_path, capsys):
    assert cli.main(["benchmark", "dbal", "--dataset", "shipped", "--learner", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*learners.names(), *dbal_methods.METHODS))
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "dbal", "--dataset", "shipped", "--strategy", "guess"])
    error = capsys.readouterr().err
    assert all(name in error for name in acquisitions.names())


def test_decode_of_the_published_chips(tmp_path):
    chips, dataset = DATA / "escim_write_verify.npz", DATA / "pouring_paper.npz"
    if not (chips.exists() and dataset.exists()):
        pytest.skip(f"published chip states and trials not found in {DATA}")
    out = tmp_path / "o.json"
    assert cli.main(["benchmark", "decode", "--data", str(chips), "--dataset", str(dataset), "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["read_accuracy"] >= 0.97 and result["target_accuracy"] == 1.0


def test_decode_refuses_too_few_cells(tmp_path, capsys):
    np.savez(tmp_path / "c.npz", target_ua=np.ones((1, 4, 4)), read_ua=np.ones((1, 4, 4)))
    code = cli.main(["benchmark", "decode", "--data", str(tmp_path / "c.npz"), "--dataset", write(tmp_path / "d.npz")])
    assert code == 1 and "9756" in capsys.readouterr().err
