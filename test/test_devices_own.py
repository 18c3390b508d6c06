"""A lab's own device: tables in its units, fits that say what was not measured, presets with sources, the check."""

import json
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import accelerator
from memristor_bdnn.cli import main
from memristor_bdnn.device import fitting, tables
from memristor_bdnn.device.concerns import concerns
from memristor_bdnn.device.presets import load
from memristor_bdnn.errors import ConfigError

BASE = load("tsinghua_taox_hfox")
PULSES = "operation,state_ua,next_ua\n"


def pairs(low, high, n=600, seed=0, up=True):
    """Pulses of a device with that window: a fifth of the way to its edge, SD a thirtieth of the window."""
    rng = np.random.default_rng([seed, up])
    state = rng.uniform(low, high, n)
    edge = high if up else low
    following = state + 0.2 * (edge - state) + rng.normal(0, (high - low) / 30, n)
    return np.stack([state, np.clip(following, low, high)], axis=1)


def measured(low, high, reads=False):
    state = np.random.default_rng(3).uniform(low, high, 600)
    noise = np.random.default_rng(4).laplace(0, 0.02 * (high - low), 600)
    read = np.stack([state, state + noise], axis=1) if reads else np.zeros((0, 2))
    return tables.Measurements(pairs(low, high), pairs(low, high, up=False), read)


def text_of(low, high, factor=1.0, unit="ua", swapped=False, negative=0.0):
    lines = [f"operation,state_{unit},next_{unit}"]
    for name, up in (("set", not swapped), ("reset", swapped)):
        lines += [f"{name},{s * factor:.6g},{(f + negative) * factor:.6g}" for s, f in pairs(low, high, up=up)]
    return "\n".join(lines) + "\n"


def write(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


# --- units, columns, delimiters, encodings


@pytest.mark.parametrize(
    ("unit", "options", "factor"),
    [("ua", {}, 1.0), ("na", {"unit": "nA"}, 1e3), ("us", {"unit": "uS", "read_voltage_v": 0.2}, 5.0)],
)
def test_currents_and_conductances_come_out_in_microampere(tmp_path, unit, options, factor):
    data = tables.read_table(write(tmp_path, text_of(0.5, 4, factor, unit)), **options)
    assert data.set_ua == pytest.approx(pairs(0.5, 4), rel=1e-5) and data.source == "t.csv"


def test_names_with_brackets_and_without_a_unit_are_taken_when_the_unit_is_given(tmp_path):
    for header in ("operation,state (nA),next [nA]", "operation,State,Next", "operation,state_nA,next_nA"):
        path = write(tmp_path, header + "\nset,1000,1500\nset,2000,2500\n")
        assert tables.read_table(path, unit="nA").set_ua.tolist() == [[1.0, 1.5], [2.0, 2.5]], header


@pytest.mark.parametrize(
    ("header", "options", "complaint"),
    [
        ("operation,state_us,next_us", {}, r"'state_us' is in uS, expected uA: give --unit uS and --read-voltage"),
        ("operation,state_na,next_na", {}, r"'state_na' is in nA, expected uA: give --unit nA"),
        ("operation,state_ua,next_ua", {"unit": "nA"}, r"'state_ua' is in uA, --unit says nA: give --unit uA"),
        ("operation,state_ma,next_ma", {}, r"'state_ma' is in mA, convert it to uA, nA, uS first"),
        ("operation,state,next", {}, r"'state', 'next' say no unit: add _ua, or give --unit uA\|nA\|uS"),
        ("kind,I0 (uA),G_after_us", {}, r"'i0 \(ua\)' \(in uA\), 'g_after_us' \(in uS\): call them state_UNIT"),
        ("operation,state_us,next_us", {"unit": "uS"}, r"unit uS needs the read voltage.*got None"),
        ("operation,state_us,next_us", {"unit": "uS", "read_voltage_v": 0.0}, r"above 0"),
        ("operation,state_ua,next_ua", {"unit": "mA"}, r"unit 'mA': choose one of uA, nA, uS"),
    ],
)
def test_other_columns_are_explained(tmp_path, header, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        tables.read_table(write(tmp_path, header + "\nset,1,2\n"), **options)


@pytest.mark.parametrize(
    ("text", "encoding", "complaint"),
    [
        ("operation;state_ua;next_ua\nset;1,5;1,6\n", "utf-8", "separated by semicolons, expected commas"),
        ("operation\tstate_ua\tnext_ua\nset\t1\t2\n", "utf-8", "separated by tabs"),
        (PULSES + 'set,"1,5",1.6\n', "utf-8", r"row 2: state_ua = '1,5' is not a number: a decimal comma\? Write 1.5"),
        (PULSES + "set,1,5,1,6\n", "utf-8", "row 2: not as many fields.*decimal commas"),
        (PULSES + "set,1,2\n", "utf-16", "in UTF-16: save it as UTF-8"),
        ("# gemessen in \xb5A\n" + PULSES + "set,1,2\n", "latin-1", r"byte 0xb5 in row 1 \(Latin-1"),
        (PULSES + "set,1,2\n", "utf-16-le", "zero bytes"),
    ],
)
def test_delimiter_decimal_comma_and_encoding_are_named(tmp_path, text, encoding, complaint):
    with pytest.raises(ConfigError, match=complaint):
        tables.read_table(write(tmp_path, text, encoding=encoding))


def test_small_negative_reads_are_kept_and_large_ones_refused(tmp_path):
    rows = "".join(f"read,{s},{s}\n" for s in np.linspace(0.1, 4, 60).round(3))
    data = tables.read_table(write(tmp_path, PULSES + rows + "read,0,-0.02\nread,-0.01,0.01\n"))
    assert data.read_ua.min() == -0.02 and len(data.read_ua) == 62
    with pytest.raises(ConfigError, match=r"row 62: next_ua = -0\.5 is negative"):
        tables.read_table(write(tmp_path, PULSES + rows + "read,0,-0.5\n"))
    statistics = "operation,state_ua,mean_ua,sd_ua\nreset,-0.001,-0.002,0.1\nreset,2,1.5,0.1\n"
    assert tables.read_table(write(tmp_path, statistics)).reset_rows[0] == (0.0, 0.0, 0.1)


# --- fits


@pytest.mark.parametrize("window", [(0.1, 1.0), (0.7, 25.0), (5.0, 50.0), (0.02, 0.2), (60.0, 300.0)])
def test_a_fit_carries_what_was_not_measured_to_the_new_window(window):
    result = fitting.fit_measurements(measured(*window), BASE, "mine", window_ua=window)
    preset = result.preset
    assert not concerns(preset), "read noise, reach, steps and tolerance go with the window"
    assert preset.write_verify.reach_ua[0] <= window[0] and preset.write_verify.reach_ua[1] >= window[1]
    states = np.linspace(*window, 50)
    share = (window[1] - window[0]) / 3.6
    expected = share * BASE.read_noise_scale_ua(np.linspace(0.4, 4.0, 50))
    if preset.read_noise.constant_ua > 0:
        assert preset.read_noise_scale_ua(states) == pytest.approx(expected, rel=1e-3)
    chips = accelerator.create("simulated", preset=preset)
    chips.allocate(500)
    target = np.linspace(*window, 500)
    assert chips.write_verify(target).within_tolerance > 350
    assert np.corrcoef(chips.read(1)[0], target)[0, 1] > 0.9
    topics = {one.topic: one.action for one in result.inherited}
    assert "set_pulse" not in topics and "rescaled to the window: tolerance_ua" in topics["write_verify"]
    assert topics["wear"] == "as in the base (tsinghua_taox_hfox)"


def test_a_window_like_the_base_keeps_what_was_not_measured():
    result = fitting.fit_measurements(measured(0.5, 3.8), BASE, "mine", window_ua=(0.5, 3.8))
    assert result.preset.write_verify == BASE.write_verify and result.preset.relaxation == BASE.relaxation
    assert all(one.action == "as in the base (tsinghua_taox_hfox)" for one in result.inherited)


def test_read_noise_is_never_negative_at_the_states():
    rng = np.random.default_rng(0)
    state = np.concatenate([rng.uniform(1, 2, 300), rng.uniform(9, 10, 10)])
    size = np.where(state < 3, 0.5, 0.001)
    reads = np.stack([state, state + size * rng.choice([-1, 1], state.size)], axis=1)
    data = tables.Measurements(pairs(1, 25), pairs(1, 25, up=False), reads)
    preset = fitting.fit_measurements(data, BASE, "mine", window_ua=(1, 25)).preset
    assert preset.read_noise_scale_ua(np.linspace(1, 25, 100)).min() > 0


@pytest.mark.parametrize("kind", ["pulses", "statistics", "only set"])
def test_swapped_set_and_reset_are_said(tmp_path, kind):
    if kind == "pulses":
        data = tables.read_table(write(tmp_path, text_of(0.4, 4, swapped=True)))
    elif kind == "statistics":
        rows = ((0.5, 0.3, 0.1), (2.0, 1.5, 0.1), (3.5, 3.0, 0.1))
        data = tables.Statistics(rows, tuple((s, s + 0.2, 0.1) for s, _, _ in rows))
    else:
        data = tables.Measurements(pairs(0.4, 4, up=False), np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ConfigError, match=r"set pulses lower low states by .*are SET and RESET swapped\?"):
        fitting.fit_measurements(data, BASE, "mine")


def test_statistics_honour_the_window_and_set_it():
    rows = tuple((s, s + 0.2 * (25 - s), 0.5) for s in np.linspace(1, 24, 20))
    down = tuple((s, s - 0.2 * (s - 0.7), 0.5) for s in np.linspace(1, 24, 20))
    own = fitting.fit_measurements(tables.Statistics(rows, down), BASE, "mine").preset
    assert own.window_ua == pytest.approx((0.94, 24.2), abs=0.1) and own.write_verify.reach_ua[1] > 24
    given = fitting.fit_measurements(tables.Statistics(rows, down), BASE, "mine", window_ua=(0.7, 25.0)).preset
    assert given.window_ua == (0.7, 25.0)
    with pytest.raises(ConfigError, match=r"window 0\.4 to 4 uA: \d+% of the measured states lie outside"):
        fitting.fit_measurements(tables.Statistics(rows, down), BASE, "mine", window_ua=(0.4, 4.0))


def test_fit_prints_what_was_not_measured_and_show_says_where_figures_come_from(tmp_path, capsys):
    table, out = write(tmp_path, text_of(0.7, 25, 5.0, "us"), "lab.csv"), tmp_path / "mine.yaml"
    words = ["--unit", "uS", "--read-voltage", "0.2", "--window", "0.7", "25"]
    assert main(["device", "fit", str(table), "--out", str(out), *words]) == 0
    printed = capsys.readouterr().out
    assert "not measured" in printed and "rescaled to the window: tolerance_ua" in printed
    assert main(["device", "show", str(out), "--out", str(tmp_path / "figures")]) == 0
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert "fitted to lab.csv" in rows["set_pulse.fraction"] and "rescaled" in rows["write_verify.step_ua"]
    assert "given to the fit" in rows["window_ua"] and "not given; of the base" in rows["wear.endurance"]


def test_show_says_what_a_hand_written_file_gives(tmp_path, capsys):
    path = write(tmp_path, "faults: {stuck_low: 0.01}\nset_pulse: {width_s: 50e-9}\n", "mine.yaml")
    assert load(path).set_pulse.width_s == 5e-8
    assert main(["device", "show", str(path), "--out", str(tmp_path / "figures")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("given in mine.yaml") == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fit", "{table}", "--out", "{folder}/x.json"], "a preset is a .yaml file"),
        (["fit", "{table}", "--out", "{folder}/my device.yaml"], "letters, digits"),
        (["fit", "{table}", "--out", "{folder}/x.yaml", "--window", "4", "0.4"], "below the upper"),
        (["fit", "{table}", "--out", "{folder}/x.yaml", "--read-voltage", "-1"], "read_voltage_v = -1.0"),
        (["show", "tsinghua_taox_hfox", "--out", "{folder}/x.json"], "written into a folder"),
        (["check"], "give a preset, or --all"),
        (["check", "eapu_180nm", "--seeds", "0"], "--seeds 0"),
        (["check", "eapu_180nm", "--learner", "nobody"], "nobody"),
        (["check", "eapu_180nm", "--out", "/nowhere/x.json"], "/nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, capsys, monkeypatch, words, complaint):
    table = write(tmp_path, text_of(0.4, 4))
    monkeypatch.setattr(fitting, "fit_measurements", None)
    assert main(["device", *(word.format(table=table, folder=tmp_path) for word in words)]) == 1
    assert complaint in capsys.readouterr().err and list(tmp_path.iterdir()) == [table]


def test_presets_take_paths_and_bases_beside_them(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    write(folder, "name: first\nwindow_ua: [0.5, 3.5]\n", "first.yaml")
    path = write(folder, "base: first.yaml\nname: second\n", "second.yaml")
    assert load(Path(path)).window_ua == (0.5, 3.5)
    assert accelerator.create("simulated", preset=Path(path)).preset.name == "second"


# --- the check


def test_check_says_that_a_device_works_or_why_not(tmp_path, capsys):
    out = tmp_path / "c.json"
    assert main(["device", "check", "tsinghua_taox_hfox", "--seeds", "1", "--out", str(out)]) == 0
    assert "nothing to warn of" in capsys.readouterr().out
    (entry,) = json.loads(out.read_text())["presets"]["tsinghua_taox_hfox"]
    assert [one["verdict"] for one in entry["learners"]] == ["learns"] * 3 and entry["within"] > 0.8
    stuck = write(tmp_path, "name: stuck\nfaults: {stuck_low: 1.0, stuck_high: 0.0}\n", "stuck.yaml")
    assert main(["device", "check", str(stuck), "--seeds", "1", "--learner", "eapu", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "eapu: refused with 1 of 1 seeds: nothing could be written" in " ".join(printed.split())
    assert json.loads(out.read_text())["presets"]["stuck"][0]["learners"][0]["test_accuracy"] is None
    far = write(tmp_path, "name: far\nwindow_ua: [20, 200]\nwrite_verify: {reach_ua: [0.1, 6]}\n", "far.yaml")
    assert main(["device", "check", str(far), "--seeds", "1"]) == 1
    assert "write_verify.reach_ua = [0.1, 6.0] uA has nothing in common" in " ".join(capsys.readouterr().out.split())
