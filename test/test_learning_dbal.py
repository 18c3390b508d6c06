"""The active-learning benchmark: no leakage, honest figures, clear errors, resuming."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import acquisitions, cli, learners
from memristor_bdnn.benchmark.dbal import methods as dbal_methods
from memristor_bdnn.benchmark.dbal import passive
from memristor_bdnn.benchmark.dbal import sizes as dbal_sizes
from memristor_bdnn.benchmark.dbal.data import Trials, load_trials
from memristor_bdnn.benchmark.dbal.figures import sizes as sizes_figure
from memristor_bdnn.benchmark.dbal.jobs import Setting
from memristor_bdnn.benchmark.dbal.published import PUBLISHED_BOWLS, bowl_scales, corrected_sizes
from memristor_bdnn.benchmark.dbal.run import Protocol64, figures, run
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.context import decode, rescaled
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


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("msgld", "straddle"), ("deep_ensemble", "straddle"), ("gp", "straddle"), ("deep_ensemble", "sturdy")],
)
def test_labels_that_were_not_asked_and_test_rows_change_nothing(name, strategy):
    if name == "gp":
        pytest.importorskip("sklearn")
    data = trials()
    honest = run(dbal_methods.make(name, 0), data, strategy, 0, PROTOCOL, np.tanh)
    asked = honest["asked"]
    rng = np.random.default_rng(5)
    spoiled = rng.uniform(-1, 1, data.score_pool.shape)
    spoiled[asked] = data.score_pool[asked]
    other = Trials(data.x_pool, spoiled, rng.uniform(-0.8, 0.8, data.x_test.shape), -data.score_test)
    cheat = run(dbal_methods.make(name, 0), other, strategy, 0, PROTOCOL, np.tanh)
    assert cheat["asked"] == asked
    # the same learner in the end: the same answers to the same questions
    same_test = Trials(data.x_pool, spoiled, data.x_test, data.score_test)
    again = run(dbal_methods.make(name, 0), same_test, strategy, 0, PROTOCOL, np.tanh)
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


def published_like(rows, repeats=3):
    """Inputs of rows of our own pool, made published: the bowl "tan", each size recorded by several rows."""
    context, parameters = decode(rows)
    context[:, 1] = 0.01 * BOWLS["tan"][1] * np.clip(context[:, 1] / (0.01 * BOWLS["tan"][1]), 0.6, 1.4)
    context[:, 0] = PUBLISHED_BOWLS["tan"] * context[:, 1]
    context[:, :3] = context[np.arange(len(rows)) // repeats * repeats, :3]
    return rescaled(np.concatenate([parameters, context], axis=1))


def test_only_contenders_on_lip_features_see_corrected_sizes(tmp_path):
    path = write(tmp_path / "d.npz", x_pool=published_like(trials().x_pool))
    recorded = load_trials(path)
    assert np.isfinite(bowl_scales(recorded.x_pool)).all()
    setting = Setting(path, "random", 64, 8, "none", None)
    for name in ("msgld", "gp_lip"):
        seen = setting.trials(name, 0)
        assert np.array_equal(seen.x_pool, corrected_sizes(recorded.x_pool)) and seen.x_test.shape == (40, 11)
        assert not np.array_equal(seen.x_pool, recorded.x_pool)
        assert np.array_equal(seen.score_pool, recorded.score_pool)
        kept = dataclasses.replace(setting, sizes="recorded").trials(name, 0)
        assert np.array_equal(kept.x_pool, recorded.x_pool)
    for name in ("msgld_paper", "gp", "mcmc"):
        assert np.array_equal(setting.trials(name, 0).x_pool, recorded.x_pool)


def test_sizes_are_corrected_without_labels_and_test_rows_change_nothing_in_the_pool():
    t = trials()
    data = Trials(published_like(t.x_pool), t.score_pool, published_like(t.x_pool[:40]), t.score_test)
    seen = data.with_corrected_sizes()
    other = dataclasses.replace(data, score_pool=-data.score_pool, score_test=-data.score_test)
    assert np.array_equal(other.with_corrected_sizes().x_pool, seen.x_pool)
    moved = dataclasses.replace(data, x_test=published_like(t.x_test)).with_corrected_sizes()
    assert np.array_equal(moved.x_pool, seen.x_pool) and not np.array_equal(moved.x_test, seen.x_test)


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


def test_study_of_sizes_needs_published_vessels_and_tells_swapped_sizes(tmp_path, capsys):
    assert dbal_sizes.study(trials(), [0]) == {}
    assert "not the published ones" in capsys.readouterr().out
    own = pool.load()
    x = published_like(own.x[:900], 9)
    found = dbal_sizes.study(Trials(x, own.score[:900], x[:0], own.score[:0]), [0])
    assert found["sizes_rows_by_group"] == {"alone": 0, "2 to 4": 0, "5 to 8": 0, "9 and more": 900}
    for of in found["sizes"].values():
        assert 0.6 < of["auc_median"] < 1 and len(of["gap_by_width"]) == 8
        assert of["auc_by_group"]["9 and more"] == pytest.approx(of["auc_median"])
    assert found["sizes"]["recorded"] != found["sizes"]["corrected"]
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
    assert f["yes_share"] == pytest.approx(2 / 6) and f["accuracy_matched"] == pytest.approx(4 / 6)


def test_matched_shares_know_no_threshold():
    rng = np.random.default_rng(0)
    score = np.where(rng.random(500) < 0.3, 0.5, -0.5)
    p = np.clip(0.4 + 0.25 * score + 0.15 * rng.standard_normal(500), 0.01, 0.99)
    shy, bold = figures(p**2, score), figures(p**0.5, score)
    assert abs(shy["accuracy"] - bold["accuracy"]) > 0.1 and shy["yes_share"] < bold["yes_share"]
    assert shy["accuracy_matched"] == bold["accuracy_matched"] > 0.7
    said = np.zeros(500, dtype=bool)
    said[np.argsort(-p)[: int((score > 0).sum())]] = True
    assert shy["accuracy_matched"] == pytest.approx((said == (score > 0)).mean())
    # ties are worth what a draw among them is worth in the mean
    assert figures(np.full(500, 0.5), score)["accuracy_matched"] == pytest.approx(
        (score > 0).mean() ** 2 + (score <= 0).mean() ** 2
    )


def test_an_audit_takes_part_in_nothing(tmp_path):
    path = write(tmp_path / "d.npz")
    setting = Setting(path, "random", 64, 8, "none", None, audit=30)
    seen, other = setting.trials("deep_ensemble", 0), setting.trials("deep_ensemble", 1)
    rows = {tuple(r) for r in seen.x_audit}
    assert len(rows) == 30 and len(seen.x_pool) == 90 and rows.isdisjoint(tuple(r) for r in seen.x_pool)
    assert rows != {tuple(r) for r in other.x_audit}
    made = run(dbal_methods.make("deep_ensemble", 0), seen, "straddle", 0, PROTOCOL)
    spoiled = dataclasses.replace(seen, x_audit=-seen.x_audit, score_audit=-seen.score_audit)
    again = run(dbal_methods.make("deep_ensemble", 0), spoiled, "straddle", 0, PROTOCOL)
    drop = {"audit", "seconds"}
    assert again["asked"] == made["asked"] and again["audit"] != made["audit"]
    for n, point in made["points"].items():
        assert {k: v for k, v in again["points"][n].items() if k not in drop} == {
            k: v for k, v in point.items() if k not in drop
        }
    assert sum(made["audit"]["calibration"]["count"]) == 30


def test_rare_successes_are_drawn_by_seed_and_only_in_the_pool(tmp_path, capsys):
    path = write(tmp_path / "d.npz")
    whole = Setting(path, "random", 8, 8, "none", None)
    rare = dataclasses.replace(whole, successes=0.2)
    seen, other, before = rare.trials("gp", 0), rare.trials("gp", 1), whole.trials("gp", 0)
    assert (seen.score_pool > 0).mean() == pytest.approx(0.2, abs=0.01)
    assert (seen.score_pool <= 0).sum() == (before.score_pool <= 0).sum()  # no failure is left out
    assert seen.score_pool.tolist() != other.score_pool.tolist() or seen.x_pool.tolist() != other.x_pool.tolist()
    np.testing.assert_array_equal(seen.x_test, before.x_test)
    assert rare.key("deep_ensemble") != whole.key("deep_ensemble")
    command = ["benchmark", "dbal", "--dataset", path, "--seeds", "2", "--workers", "1", "--initial", "8"]
    command += ["--queries", "2", "--learner", "deep_ensemble", "--out", str(tmp_path / "o.json")]
    assert cli.main([*command, "--successes", "0.2"]) == 0
    assert json.loads((tmp_path / "o.json").read_text())["pool_successes"] == 0.2
    for share, text in (
        ("0.9", "up to 0."),
        ("0.05", "rows of the pool, 64 are needed"),
        ("0.0001", "0 of the pool's"),
        ("1", "between 0 and 1"),
        ("nan", "nan"),
    ):
        assert cli.main([*command, "--successes", share]) == 1
        assert text in capsys.readouterr().err


def test_a_file_for_an_audit_holds_other_rows(tmp_path, capsys):
    t = trials(seed=3)
    path, fresh = write(tmp_path / "d.npz"), tmp_path / "fresh.npz"
    np.savez(fresh, x_pool=t.x_pool, score_pool=t.score_pool)
    command = ["benchmark", "dbal", "--dataset", path, "--seeds", "2", "--workers", "1", "--queries", "4"]
    command += ["--learner", "deep_ensemble", "--out", str(tmp_path / "o.json")]
    assert cli.main([*command, "--audit", str(fresh)]) == 0
    audit = json.loads((tmp_path / "o.json").read_text())["audit"]
    assert audit["rows"] == 120 and audit["from"] == "fresh.npz"
    assert set(audit["results"]["deep_ensemble"]) == {"random", "straddle"}
    gain = audit["active_minus_passive"]["deep_ensemble"]["straddle"]
    for name in ("accuracy", "balanced_accuracy", "accuracy_matched", "auc"):
        assert {f"{name}_mean_paired", f"{name}_standard_error"} <= set(gain)
    assert "audit: 120 rows of fresh.npz" in capsys.readouterr().out
    for asked, text in ((path, "120 of its 120 rows are in the dataset"), ("1", "2 rows and above"), ("x", "no such")):
        assert cli.main([*command, "--audit", asked]) == 1
        assert text in capsys.readouterr().err


def test_a_prior_speaks_before_the_first_label(tmp_path):
    own = pool.load()
    prior = (own.x[:200], own.score[:200])
    method = dbal_methods.MemristorMethod("pouring_prior", 0, prior)
    made = run(method, trials(), "random", 0, PROTOCOL)
    assert list(made["points"]) == ["0", "16", "18", "20"]
    assert "pool_share_of_successes" not in made["points"]["0"]
    first, later = made["points"]["0"], made["points"]["16"]
    assert first["pulses"] < later["pulses"] and first["nll"] != later["nll"]
    curve = [made["points"][n]["accuracy"] for n in ("16", "18", "20")]
    assert made["aulc"] == pytest.approx((np.array(curve[1:]) + curve[:-1]).mean() / 2)


def test_equivalent_labels_interpolate():
    curve = [(64, 0.6), (128, 0.7), (256, 0.8)]
    assert passive._labels_for(0.7, curve) == pytest.approx(128)
    assert passive._labels_for(0.75, curve) == pytest.approx(128 * 2**0.5)
    assert passive._labels_for(0.5, curve) == 64 and passive._labels_for(0.9, curve) is None


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
