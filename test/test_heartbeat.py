"""Heartbeats: the database and its features, who is held out, and the benchmark on a small database made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn import cli
from memristor_bdnn.benchmark.heartbeat import contest, data
from memristor_bdnn.benchmark.heartbeat.data import Beats
from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "mitbih_beats.npz"
RATE = 360


def signal(symbols: str, rng: Any) -> tuple[Any, Any]:
    """Two leads (samples, 2) with a beat a second, wide where it is arrhythmic, and the places of the peaks."""
    t = np.arange((len(symbols) + 1) * RATE) / RATE
    peaks = np.arange(1, len(symbols) + 1) * RATE - RATE // 4
    leads = 0.01 * rng.standard_normal((len(t), 2))
    for peak, symbol in zip(peaks, symbols, strict=True):
        width = 0.03 if symbol == "N" else 0.12
        bump = np.exp(-((t - peak / RATE) ** 2) / (2 * width**2))
        leads += np.outer(bump, (1.0, 0.5))
    return leads, peaks


def database(folder: Path, people: dict[str, str]) -> Path:
    """Write records as the database has them; a note that is no beat is among the annotations."""
    wfdb = pytest.importorskip("wfdb")
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, symbols in people.items():
        leads, peaks = signal(symbols, rng)
        wfdb.wrsamp(name, RATE, ["mV", "mV"], ["MLII", "V1"], leads, fmt=["212", "212"], write_dir=str(folder))
        places, notes = np.concatenate([[5], peaks]), np.array(["+", *symbols])
        wfdb.wrann(name, "atr", places, notes, write_dir=str(folder))
    return folder


PEOPLE = {"100": "NNVNNVNNNVNN" * 3, "201": "NVNNNVNNVVNN" * 3, "202": "NNNNNVNNNNNN", "119": "VVNVNNVNNVNN" * 3}


def test_features_are_the_lowest_components_of_each_lead() -> None:
    n = round(data.WINDOW_S * RATE)
    t = np.arange(n) / n
    first, second = 3.0 + np.cos(2 * np.pi * 2 * t), 0.5 * np.cos(2 * np.pi * 4 * t)
    found = data.features(np.stack([first, second], axis=1)[None])[0]
    assert n == 252 and found.shape == (10,)
    np.testing.assert_allclose(found, [3 * n, 0, n / 2, 0, 0, 0, 0, 0, 0, n / 4], atol=1e-6)


def test_the_database_is_read_as_it_is_downloaded(tmp_path: Path) -> None:
    folder = database(tmp_path / "mitdb", PEOPLE)
    beats = data.load(folder)
    assert beats.people == [100, 119, 201]  # 201 and 202 are one person
    assert (beats.person == 201).sum() == len(PEOPLE["201"]) + len(PEOPLE["202"])  # and a rhythm note is no beat
    own = beats.arrhythmic[beats.person == 100]
    assert own.tolist() == [float(s != "N") for s in PEOPLE["100"]]
    leads, peaks = signal(PEOPLE["100"], np.random.default_rng(0))
    expected = np.abs(np.fft.rfft(leads[peaks[0] - 126 : peaks[0] + 126], axis=0))[:5].T.ravel()
    np.testing.assert_allclose(beats.x[beats.person == 100][0], expected, atol=0.3)  # the format has 12 bits


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no record in it.*100\.hea"):
        data.load(tmp_path)
    folder = database(tmp_path / "mitdb", {"100": "NVNVNVNVNVNV", "101": "NVNVNVNVNVNV"})
    (folder / "101.dat").write_bytes(b"\0" * 10)
    with pytest.raises(ConfigError, match="record 101"):
        data.load(folder)
    (folder / "101.atr").unlink()
    with pytest.raises(ConfigError, match="beats of 1 person"):
        data.load(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"x": np.ones((40, 9))}, "10"),
        ({"x": np.full((40, 10), np.nan)}, "x"),
        ({"x": -np.ones((40, 10))}, "x"),
        ({"symbol": np.array(["N"] * 39 + ["+"])}, "'\\+'"),
        ({"symbol": np.zeros(40)}, "text"),
        ({"record": np.zeros(40)}, "record"),
        ({"record": np.full(40, 100)}, "1 person"),
        ({"record": np.array([100] * 39 + [101])}, "at least 10"),
        ({"symbol": None}, "missing symbol"),
    ],
)
def test_a_file_of_features_is_checked(tmp_path: Path, spoil: dict[str, Any], words: str) -> None:
    good = {"x": np.ones((40, 10)), "symbol": np.array(["N", "V"] * 20), "record": np.repeat([100, 101], 20)}
    path = tmp_path / "beats.npz"
    np.savez(path, **good)
    assert data.load(path).people == [100, 101]
    np.savez(path, **{k: v for k, v in {**good, **spoil}.items() if v is not None})
    with pytest.raises(ConfigError, match=words):
        data.load(path)


def some_beats(n: int = 200) -> Beats:
    """Beats of four people that a plane tells apart."""
    rng = np.random.default_rng(3)
    y = (rng.random(4 * n) < 0.4).astype(float)
    x = np.exp(rng.normal(1.0, 0.3, (4 * n, 10)) + np.outer(2.0 * y, np.linspace(1, 0, 10)))
    return Beats(x, y, np.repeat([100, 101, 102, 103], n))


def test_who_is_held_out_takes_no_part() -> None:
    beats = some_beats()
    one = contest.task(beats, 101, 250, 0)
    assert one.x.shape == (250, 10) and len(one.x_test) == 200
    own = beats.person == 101
    spoiled = Beats(
        np.where(own[:, None], 1e3, beats.x), np.where(own, 1 - beats.arrhythmic, beats.arrhythmic), beats.person
    )
    other = contest.task(spoiled, 101, 250, 0)
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.y, other.y)
    assert not np.array_equal(one.x, contest.task(beats, 101, 250, 1).x)


def test_rows_tell_apart_what_can_be_told_apart() -> None:
    tasks = [contest.task(some_beats(), who, 250, 0) for who in (100, 101, 102, 103)]
    chains = contest.on_rows(tasks, presets.load("leti_hfo2_oxram"), 0)
    assert np.median(chains.accuracy) > 0.85 > contest.in_software("constant", tasks[0], 0)
    assert (chains.filled == 82).all() and (chains.operations >= 82 * 198).all()
    assert contest.in_software("perceptron", tasks[0], 0) > 0.85


def test_the_command_holds_out_everybody_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out, picture = database(tmp_path / "mitdb", PEOPLE), tmp_path / "o.json", tmp_path / "p.png"
    words = ["benchmark", "heartbeat", "--data", str(folder), "--seeds", "2", "--training", "60"]
    assert cli.main([*words, "--out", str(out), "--figure", str(picture)]) == 0
    found = json.loads(out.read_text())
    assert set(found["by_person"]) == {"100", "119", "201"} and picture.stat().st_size > 5000
    results = found["results"]
    for name in ("mcmc", "perceptron", "mlp", "constant"):
        assert 0.0 <= results[f"{name}_median_accuracy"] <= 1.0 and f"{name}_mean_accuracy" in results
    assert results["mcmc_mean_accuracy"] > results["constant_mean_accuracy"]
    said = capsys.readouterr().out
    assert 'always "normal"' in said and "0.91 on one held-out person" in said
    assert cli.main([*words[:-1], "61000"]) == 1
    assert "allowed 2 to" in capsys.readouterr().err


def test_published_beats_are_those_of_47_people() -> None:
    if not PUBLISHED.exists():
        pytest.skip("the file of published beats is not beside this project")
    beats = data.load(PUBLISHED)
    assert len(beats.people) == 47 and len(beats.x) == 109_923
    shares = [float((beats.arrhythmic[beats.person == who] == 0).mean()) for who in beats.people]
    assert np.mean(shares) == pytest.approx(0.671, abs=0.001)  # what always saying "normal" gets
