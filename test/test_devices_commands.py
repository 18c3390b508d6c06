"""`memristor-bdnn device`, `energy` and `benchmark device`: what is printed, written and refused."""

import argparse
import json

import numpy as np
import pytest

from memristor_bdnn import accelerator
from memristor_bdnn.cli import main
from memristor_bdnn.crossbar import validation
from memristor_bdnn.device.presets import NAMES, load
from memristor_bdnn.state import save_npz


@pytest.fixture
def pulses(tmp_path):
    """A small measurement file with SET, RESET and read rows."""
    rng, lines = np.random.default_rng(0), ["operation,state_ua,next_ua"]
    preset = load("tsinghua_taox_hfox")
    for state in rng.uniform(0.8, 3.6, 400):
        lines.append(f"set,{state:.4f},{rng.normal(preset.set_mean_ua(state), preset.set_sd_ua(state)):.4f}")
        lines.append(f"reset,{state:.4f},{rng.normal(preset.reset_mean_ua(state), preset.reset_sd_ua(state)):.4f}")
        lines.append(f"read,{state:.4f},{rng.laplace(state, preset.read_noise_scale_ua(state)):.4f}")
    path = tmp_path / "pulses.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def measurement(tmp_path):
    """Reads after write-verify of a hundred simulated cells."""
    target = np.random.default_rng(1).uniform(0.5, 3.9, (1, 10, 30))
    read = validation.simulate_reads(load("tsinghua_taox_hfox"), target.ravel(), 5).reshape(target.shape)
    save_npz(tmp_path / "chips.npz", {"target_ua": target, "read_ua": read})
    return tmp_path / "chips.npz"


def is_picture(path):
    return path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 5000


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_every_parameter_with_its_source_and_draws_figures(tmp_path, capsys, name):
    assert main(["device", "show", name, "--out", str(tmp_path / "figures")]) == 0
    printed = capsys.readouterr().out
    assert "write_verify.tolerance_ua" in printed and "assumption" in printed
    drawn = sorted(p.name.removeprefix(f"{name}_") for p in (tmp_path / "figures").iterdir())
    assert drawn == [
        "blind_writes.png",
        "pulse_trains.png",
        "read_noise.png",
        "transition_densities.png",
        "transition_map.png",
    ]
    assert all(is_picture(p) for p in (tmp_path / "figures").iterdir())


@pytest.mark.parametrize("options", [[], ["--table", "--window", "0.4", "4"]])
def test_fit_writes_a_preset_that_an_accelerator_takes(tmp_path, capsys, pulses, options):
    out = tmp_path / "mine.yaml"
    assert main(["device", "fit", str(pulses), "--out", str(out), *options]) == 0
    assert "KS distance" in capsys.readouterr().out
    preset = load(out)
    assert preset.name == "mine" and bool(preset.set_pulse.table) == ("--table" in options)
    assert preset.set_mean_ua(2.0) == pytest.approx(2.5, abs=0.06)
    hardware = accelerator.create("simulated", preset=str(out))
    hardware.allocate(10)
    hardware.pulse(np.ones(10, np.int8))


def test_fit_of_write_verify_measurements_keeps_only_what_changed(tmp_path, capsys, measurement):
    out = tmp_path / "mine.yaml"
    assert main(["device", "fit", str(measurement), "--out", str(out), "--evaluations", "3"]) == 0
    assert "other half" in capsys.readouterr().out
    assert load(out).read_noise == load("tsinghua_taox_hfox").read_noise


def test_fit_refuses_bad_rows_and_writes_nothing(tmp_path, capsys):
    table, out = tmp_path / "bad.csv", tmp_path / "mine.yaml"
    table.write_text("operation,state_ua,next_ua\nset,1,\nset,2,3000\n")
    assert main(["device", "fit", str(table), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "row 2: next_ua is empty" in error and "row 3: next_ua = 3000 uA is above 1 mA" in error
    assert not out.exists()


def test_validate_writes_chip_and_model_figures(tmp_path, measurement):
    out, figure = tmp_path / "v.json", tmp_path / "v.png"
    words = ["device", "validate", "--data", str(measurement), "--out", str(out), "--figure", str(figure)]
    assert main([*words, "--seeds", "2"]) == 0
    record = json.loads(out.read_text())
    for key in ("mean_error_ua", "sd_error_ua", "share_within_tolerance"):
        assert {"chip", "model"} <= record[key].keys() and len(record[key]["model_by_seed"]) == 2
    assert 0 < record["ks_distance"] < 0.2 and record["cells"] == 300
    assert record["versions"] and record["seeds"] == [0, 1]
    assert is_picture(figure)


def test_map_draws_measurements_and_saved_states(tmp_path, measurement):
    assert main(["device", "map", str(measurement), "--out", str(tmp_path / "a.png")]) == 0
    hardware = accelerator.create("simulated")
    hardware.allocate(9756)
    save_npz(tmp_path / "state.npz", {f"accelerator.{k}": v for k, v in hardware.state_dict().items()})
    assert main(["device", "map", str(tmp_path / "state.npz"), "--out", str(tmp_path / "b.png")]) == 0
    assert is_picture(tmp_path / "a.png") and is_picture(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["device", "show", "nothing"], "unknown device preset 'nothing'"),
        (["device", "validate", "--data", "absent.npz"], "absent.npz"),
        (["device", "validate", "--data", "absent.npz", "--seeds", "0"], "--seeds 0"),
        (["device", "fit", "absent.csv", "--out", "/nowhere/x.yaml"], "/nowhere"),
        (["device", "map", "absent.npz"], "absent.npz"),
        (["energy", "--queries", "0"], "--queries 0"),
        (["energy", "--queries", "9", "--candidates", "5"], "raise --candidates"),
        (["energy", "--queries", "1", "--candidates", "50", "--torch-device", "tpu"], "cannot measure on 'tpu'"),
        (["energy", "--quick", "--host-power-w", "-3"], "host_power_w"),
    ],
)
def test_wrong_usage_ends_with_a_plain_error(capsys, words, complaint):
    assert main(words) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--torch-device", "cpu"]], ids=["assumed", "measured"])
def test_energy_lists_costs_assumptions_and_the_published_claim(tmp_path, capsys, options):
    out = tmp_path / "energy.json"
    words = ["energy", "--queries", "1", "--candidates", "50", "--out", str(out), *options]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "published" in printed and "assumption" in printed
    record = json.loads(out.read_text())
    assert record["published_speed_gain_percent"] == 44 and record["published_energy_ratio"] == 153
    assert {"CPU", "GPU", "chips, board", "chips + host, integrated"} <= record["platforms"].keys()
    gpu, chips = record["platforms"]["GPU"], record["platforms"]["chips, parallel read"]
    assert chips["energy_ratio"] == pytest.approx(gpu["energy_j"] / chips["energy_j"])
    assert chips["speed_gain_percent"] == pytest.approx(100 * (gpu["time_s"] / chips["time_s"] - 1))
    assert record["ledger"]["queries"]["verify_reads"] == 0 < record["ledger"]["deployment"]["verify_reads"]
    assert ("measured with torch" in record["platforms"]["GPU"]["basis"]) == bool(options)
    assert len(record["ledger_by_query"]) == 1
    assert record["ledger_by_query"][0]["reads"] == record["ledger"]["queries"]["reads"] > 0
    assert any(row["source"] == "assumption" for row in record["assumptions"])


def test_benchmark_records_rates_memory_and_methods(tmp_path, capsys):
    from memristor_bdnn.benchmark import device

    parser = argparse.ArgumentParser()
    device.add_arguments(parser)
    args = parser.parse_args([])
    args.out, args.seeds, args.quick = str(tmp_path / "b.json"), 1, True
    assert device.run(args) == 0
    assert "over loop" in capsys.readouterr().out
    record = json.loads((tmp_path / "b.json").read_text())
    for kind in ("read", "pulse"):
        assert min(record[f"{kind}s_per_s"], record[f"loop_{kind}s_per_s"], record[f"naive_{kind}s_per_s"]) > 0
        assert record[f"{kind}_speedup_over_loop"] > 0 and record[f"{kind}_speedup_over_naive"] > 0
    assert record["memory_operations"] == 10_000 and record["memory_growth_kib"] < 64
    methods = record["programming"]
    assert 1.3 < methods["two-pulse"]["pulses_small"] < 1.7  # every other update is a SET alone
    assert methods["sign-based"]["pulses_small"] == 1
    assert methods["memorial"]["pulses_any"] < 0.2 * methods["write-verify"]["pulses_any"]
    assert methods["write-verify"]["pulses_any"] == pytest.approx(66, rel=0.1), "published: 66 on average"


def test_the_comparisons_of_the_benchmark_do_the_same_physics():
    from memristor_bdnn.benchmark.device import LoopChips, NaiveChips
    from memristor_bdnn.crossbar.cells import CellArray

    preset, n, rng = load("tsinghua_taox_hfox"), 4000, np.random.default_rng(3)
    ours, loop, naive = CellArray(preset, n, rng), LoopChips(preset, n, 1), NaiveChips(preset, n, 2)
    direction = np.where(np.arange(n) % 2 == 0, 1, -1).astype(np.int8)
    for _ in range(3):
        ours.pulse_masked(direction, rng)
        loop.pulse(direction)
        naive.pulse(direction)
    for sign in (1, -1):
        states = [s[direction == sign] for s in (ours.state_ua, loop.cells.state_ua, naive.state)]
        assert np.ptp([s.mean() for s in states]) < 0.03 and np.ptp([s.std() for s in states]) < 0.03
    noise = [
        ours.read(0, n, 1, rng)[0] - ours.state_ua,
        loop.read() - loop.cells.state_ua,
        naive.read(1)[0] - naive.state,
    ]
    assert np.std(noise, axis=1) == pytest.approx(np.full(3, np.std(noise[0])), rel=0.15)
