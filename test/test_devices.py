"""Presets, read noise, single pulses: every distribution against its formula, with fixed seeds."""

import dataclasses
import math

import numpy as np
import pytest

from memristor_bdnn.crossbar import cells as cells_module
from memristor_bdnn.crossbar.cells import HEALTHY, STUCK_HIGH, STUCK_LOW, CellArray
from memristor_bdnn.device import noise as noise_module
from memristor_bdnn.device import presets
from memristor_bdnn.device.noise import laplace_reads, standard_normals
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import ConfigError

NO_FAULTS = {"faults": {"stuck_low": 0.0, "stuck_high": 0.0}}
SAME_WINDOWS = {"window_sd_ua": [0.0, 0.0]}


def ks(values, distribution):
    """One-sample Kolmogorov-Smirnov distance times sqrt(n); above 1.95 once in a thousand."""
    n, model = values.size, distribution(np.sort(values))
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * max((steps[1:] - model).max(), (model - steps[:-1]).max())


def laplace(z):
    return np.where(z < 0, 0.5 * np.exp(np.minimum(z, 0)), 1 - 0.5 * np.exp(-np.maximum(z, 0)))


def normal(z):
    return 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


def array_at(preset, state, n, rng):
    cells = CellArray(override(preset, NO_FAULTS), n, rng)
    cells.move(np.arange(n), np.full(n, state))
    return cells


def kurtosis(values):
    z = (values - values.mean()) / values.std()
    return float((z**4).mean() - 3)


# --- presets


@pytest.mark.parametrize("name", presets.NAMES)
def test_presets_load_survive_their_own_text_and_cite_a_source(name):
    preset = load(name)
    assert preset.name == name and preset.source
    assert override(load("tsinghua_taox_hfox"), preset.to_dict()) == preset
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.chips = 4


def test_published_constants_of_the_default():
    preset = load("tsinghua_taox_hfox")
    assert preset.cells == 12_288 and preset.window_ua == (0.4, 4.0) and preset.window_sd_ua == (0.02, 0.2)
    assert preset.read_noise_scale_ua(2.0) == pytest.approx(-0.0058 * 4 + 0.0324 * 2 + 0.0141)
    assert (preset.set_pulse.voltage_v, preset.set_pulse.gate_v, preset.set_pulse.width_s) == (2.0, 1.25, 100e-9)
    assert (preset.reset_pulse.voltage_v, preset.reset_pulse.gate_v, preset.reset_pulse.width_s) == (1.95, 2.55, 50e-9)
    assert (preset.write_verify.tolerance_ua, preset.write_verify.max_pulses) == (0.3, 300)


def test_yaml_overrides_field_by_field(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: leti_hfo2_oxram\nname: mine\nblind_write: {device_spread: 0.2}\n")
    mine, leti = load(path), load("leti_hfo2_oxram")
    assert mine == dataclasses.replace(
        leti, name="mine", blind_write=dataclasses.replace(leti.blind_write, device_spread=0.2)
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("set_pulse: {fracton: 0.2}", "fraction"),
        ("set_pulse: {fraction: 1.5}", r"1\.5.*allowed \[0, 1\]"),
        ("window_ua: [4.0, 0.4]", "below the upper"),
        ("window_ua: 4", "expected a list"),
        ("name: a/b", "letters, digits"),
        ("base: unknown", "tsinghua_taox_hfox, leti_hfo2_oxram, eapu_180nm"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("faults: {stuck_low: 0.6, stuck_high: 0.6}", "at most 1"),
        ("write_verify: {checks: 5, check_threshold: 6}", "at most checks"),
        ("set_pulse: {table: [[1, 1.2, 0.1], [0.5, 1.0, 0.1]]}", "row 2.*does not increase"),
        ("set_pulse: {table: [[1, 1.2, -0.1], [2, 2.0, 0.1]]}", "row 1.*SD not negative"),
    ],
)
def test_bad_preset_files_are_refused_naming_the_place(tmp_path, text, complaint):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as error:
        load(path)
    assert "bad.yaml" in str(error.value)


def test_unknown_preset_lists_the_choices():
    with pytest.raises(ConfigError, match="'tsinghua'; choose tsinghua_taox_hfox, leti_hfo2_oxram, eapu_180nm"):
        load("tsinghua")


def test_preset_methods_keep_shapes_and_never_pull_against_the_pulse():
    preset = load("tsinghua_taox_hfox")
    states = np.linspace(0.1, 5.0, 24).reshape(2, 3, 4)
    for method in (preset.read_noise_scale_ua, preset.set_mean_ua, preset.reset_mean_ua, preset.set_sd_ua):
        assert method(states).shape == states.shape
    assert (preset.set_mean_ua(states) >= states).all() and (preset.reset_mean_ua(states) <= states).all()


# --- read noise


@pytest.mark.parametrize("state", [0.5, 2.0, 3.8])
def test_reads_are_laplace_with_the_published_scale(state):
    preset, rng, n = load("tsinghua_taox_hfox"), np.random.default_rng(1), 200_000
    noise = array_at(preset, state, 1, rng).read(0, 1, n, rng)[:, 0].astype(float) - state
    scale = float(preset.read_noise_scale_ua(state))
    assert noise.mean() == pytest.approx(0, abs=5 * math.sqrt(2) * scale / math.sqrt(n))
    assert noise.std() == pytest.approx(math.sqrt(2) * scale, rel=0.01)
    assert np.abs(noise).mean() == pytest.approx(scale, rel=0.01)
    assert ks(noise / scale, laplace) < 1.95
    assert ks(noise / noise.std(), normal) > 10


def test_reads_are_independent_between_devices_and_between_reads():
    rng = np.random.default_rng(2)
    reads = laplace_reads(np.full(200, 2, np.float32), np.full(200, 0.05, np.float32), 2000, 1e-4, rng)
    columns = np.corrcoef(reads.T) - np.eye(200)
    assert np.abs(columns).max() < 6 / math.sqrt(2000)
    between_reads = np.corrcoef(reads[:-1].ravel(), reads[1:].ravel())[0, 1]
    assert abs(between_reads) < 5 / math.sqrt(reads.size)
    within = np.corrcoef(np.abs(reads[:, :-1] - 2).ravel(), np.abs(reads[:, 1:] - 2).ravel())[0, 1]
    assert abs(within) < 5 / math.sqrt(reads.size)


@pytest.mark.parametrize(("cells", "samples"), [(17, 100), (40_001, 5), (40_000, 5), (140_001, 2), (300_001, 2)])
def test_reads_do_not_depend_on_how_many_are_worked_on_at_a_time(cells, samples, monkeypatch):
    state = np.linspace(0, 4, cells, dtype=np.float32)
    reads, after = [], []
    for piece in (1 << 30, 1 << 16, 1 << 10):
        monkeypatch.setattr(noise_module, "_PIECE", piece)
        rng = np.random.default_rng(9)
        reads.append(laplace_reads(state, state / 40, samples, 1e-4, rng))
        after.append(rng.bit_generator.state["state"]["state"])
    assert np.array_equal(reads[0], reads[1]) and np.array_equal(reads[0], reads[2]) and len(set(after)) == 1


def test_no_read_is_below_the_floor():
    rng = np.random.default_rng(3)
    reads = laplace_reads(np.full(1000, 0.01, np.float32), np.full(1000, 0.05, np.float32), 50, 1e-4, rng)
    assert reads.min() == np.float32(1e-4) and (reads == np.float32(1e-4)).mean() > 0.3


def test_the_sum_of_three_reads_is_closer_to_gaussian_than_one():
    preset, rng = load("tsinghua_taox_hfox"), np.random.default_rng(4)
    reads = array_at(preset, 2.2, 3, rng).read(0, 3, 200_000, rng).astype(float)
    one, three = reads[:, 0] - 2.2, reads.sum(axis=1) - 6.6
    assert kurtosis(one) == pytest.approx(3, abs=0.3)
    assert kurtosis(three) == pytest.approx(1, abs=0.15)
    assert ks(three / three.std(), normal) < 0.5 * ks(one / one.std(), normal)


def test_fast_normals_are_standard_normal():
    values = standard_normals(np.random.default_rng(5), 300_001).astype(float)
    assert values.size == 300_001
    assert ks(values, normal) < 1.95
    half = values.size // 2
    assert abs(np.corrcoef(values[:half], values[half : 2 * half])[0, 1]) < 5 / math.sqrt(half)


# --- single pulses


@pytest.mark.parametrize("up", [True, False], ids=["set", "reset"])
@pytest.mark.parametrize("state", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_one_pulse_gives_the_normal_distribution_of_the_preset(state, up, dense):
    preset = override(load("tsinghua_taox_hfox"), SAME_WINDOWS)
    rng, n = np.random.default_rng(6), 50_000
    cells = array_at(preset, state, n, rng)
    if dense:
        cells.pulse_masked(np.full(n, 1 if up else -1, np.int8), rng)
    else:
        cells.pulse(np.arange(n), up, rng)
    mean = float(preset.set_mean_ua(state) if up else preset.reset_mean_ua(state))
    sd = float(preset.set_sd_ua(state) if up else preset.reset_sd_ua(state))
    moved = cells.state_ua.astype(float)
    inside = (moved > 0.4) & (moved < 4.0)
    assert 1 - inside.mean() < 0.01
    assert moved.mean() == pytest.approx(mean, abs=5 * sd / math.sqrt(n) + 0.002)
    assert moved[inside].std() == pytest.approx(sd, rel=0.02)
    z = (moved[inside] - mean) / sd
    assert ks(z, normal) < 1.95 + math.sqrt(n) * (1 - inside.mean())


def test_set_raises_more_at_low_states_and_reset_lowers_more_at_high_ones():
    preset = load("tsinghua_taox_hfox")
    states = np.linspace(0.7, 3.7, 20)
    rise, fall = preset.set_mean_ua(states) - states, preset.reset_mean_ua(states) - states
    assert (rise > 0).all() and (np.diff(rise) < 0).all()
    assert (fall < 0).all() and (np.diff(fall) < 0).all()


def test_single_pulses_sometimes_go_the_other_way():
    rng = np.random.default_rng(7)
    cells = array_at(load("tsinghua_taox_hfox"), 3.3, 20_000, rng)
    cells.pulse(np.arange(20_000), True, rng)
    assert 0.05 < (cells.state_ua < 3.3).mean() < 0.5


def test_devices_have_windows_of_their_own_and_stay_within():
    rng, n = np.random.default_rng(8), 20_000
    cells = array_at(load("tsinghua_taox_hfox"), 2.0, n, rng)
    assert cells.high_ua.std() == pytest.approx(0.2, rel=0.03) and cells.high_ua.mean() == pytest.approx(4, abs=0.01)
    assert cells.low_ua.std() == pytest.approx(0.02, rel=0.03) and cells.low_ua.mean() == pytest.approx(0.4, abs=1e-3)
    for _ in range(40):
        cells.pulse(np.arange(n), True, rng)
    assert (cells.state_ua <= cells.high_ua).all() and (cells.state_ua == cells.high_ua).mean() > 0.05
    for _ in range(40):
        cells.pulse(np.arange(n), False, rng)
    assert (cells.state_ua >= cells.low_ua).all() and cells.state_ua.mean() < 0.8


def test_a_cell_outside_its_window_is_not_thrown_back_into_it():
    rng = np.random.default_rng(9)
    cells = array_at(load("tsinghua_taox_hfox"), 0.15, 2000, rng)
    cells.pulse(np.arange(2000), False, rng)
    assert (cells.state_ua >= np.float32(0.15)).all() and cells.state_ua.mean() < 0.3


def test_one_call_for_many_cells_equals_one_call_for_each():
    states = []
    for together in (True, False):
        rng = np.random.default_rng(10)
        cells = CellArray(load("tsinghua_taox_hfox"), 50, rng)
        for group in [np.arange(50)] if together else np.arange(50)[:, None]:
            cells.pulse(group, True, rng)
        states.append(cells.state_ua)
    assert (states[0] == states[1]).all()


def test_a_table_replaces_the_formula_and_is_interpolated():
    table = [[0.5, 1.5, 0.05], [1.5, 2.0, 0.1], [3.5, 3.6, 0.3]]
    preset = override(load("tsinghua_taox_hfox"), {"set_pulse": {"table": table}, **SAME_WINDOWS})
    assert preset.set_mean_ua([0.5, 1.0, 1.5, 2.5]) == pytest.approx([1.5, 1.75, 2.0, 2.8])
    assert preset.set_sd_ua([0.5, 1.0, 2.5, 3.9]) == pytest.approx([0.05, 0.075, 0.2, 0.3])
    fine = np.linspace(0.5, 3.5, 300)
    assert (np.diff(preset.set_mean_ua(fine)) > 0).all()
    rng, n = np.random.default_rng(11), 40_000
    cells = array_at(preset, 1.0, n, rng)
    cells.pulse_masked(np.ones(n, np.int8), rng)
    assert ks((cells.state_ua.astype(float) - 1.75) / 0.075, normal) < 1.95


# --- write-verify's own distributions


def test_small_pulses_have_gamma_steps_of_the_given_mean_and_spread():
    preset = override(
        load("tsinghua_taox_hfox"), {"write_verify": {"step_ua": 0.3, "step_cv": 0.5, "step_linear": 0.1}}
    )
    rng, n = np.random.default_rng(20), 100_000
    cells = array_at(preset, 3.0, n, rng)
    up = np.arange(n) % 2 == 0
    cells.small_pulse(np.arange(n), up, rng)
    step = np.where(up, 1, -1) * (cells.state_ua.astype(float) - 3.0)
    assert step.min() > 0 and step.mean() == pytest.approx(0.6, rel=0.01)
    assert step.std() == pytest.approx(0.3, rel=0.02)
    # A gamma distribution of shape 4 is the sum of four exponentials.
    x = np.clip(step / 0.15, 0, None)
    assert ks(x, lambda z: 1 - np.exp(-z) * (1 + z + z**2 / 2 + z**3 / 6)) < 1.95


def test_relaxation_has_a_core_and_a_tail_of_the_given_shares():
    changes = {"mean_constant_ua": 0.1, "mean_linear": 0.05, "sd_constant_ua": 0.04, "sd_linear": 0.01}
    changes |= {"tail_constant": 0.02, "tail_linear_per_ua": 0.04, "tail_quadratic_per_ua2": 0.0}
    changes |= {"tail_scale_ua": 0.5, "tail_down": 0.75}
    preset = override(load("tsinghua_taox_hfox"), {"relaxation": changes, "write_verify": {"reach_ua": [0.0, 99.0]}})
    rng, n = np.random.default_rng(21), 200_000
    cells = array_at(preset, 2.0, n, rng)
    cells.relax(np.arange(n), rng)
    change = cells.state_ua.astype(float) - 2.0 + 0.2
    sd = 0.06

    def expected(z):
        # Numerical convolution of the core with the jumps.
        core = normal(z)
        jumps = np.linspace(0.0025, 8, 3200)
        weight = np.exp(-jumps / 0.5)
        weight /= weight.sum()
        down = np.array([np.sum(weight * normal(v + jumps / sd)) for v in np.atleast_1d(z)])
        up = np.array([np.sum(weight * normal(v - jumps / sd)) for v in np.atleast_1d(z)])
        tail = 0.75 * down + 0.25 * up
        return 0.9 * core + 0.1 * tail

    # 0.02 + 0.04 x 2 = 10 % of the cells jump; states are kept above 0, which few jumps reach.
    grid = np.array([-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3.0])
    found = np.array([(change / sd < z).mean() for z in grid])
    assert found == pytest.approx(expected(grid), abs=0.004)
    assert (change < -0.5).mean() == pytest.approx(0.1 * 0.75 * math.exp(-1), rel=0.06)
    assert (change > 0.5).mean() == pytest.approx(0.1 * 0.25 * math.exp(-1), rel=0.1)


def test_fresh_cells_are_normal_above_the_lowest_state():
    cells = CellArray(override(load("tsinghua_taox_hfox"), NO_FAULTS), 50_000, np.random.default_rng(22))
    state = cells.state_ua.astype(float)
    assert state.min() == pytest.approx(0.1) and np.median(state) == pytest.approx(0.381, abs=0.005)
    above = state[state > 0.1001]
    cut = float(normal(np.array([(0.1001 - 0.381) / 0.159]))[0])
    assert ks(above, lambda z: (normal((z - 0.381) / 0.159) - cut) / (1 - cut)) < 1.95


# --- faults, wear, drift, blind writes


def test_faults_have_the_configured_shares_and_do_not_move():
    preset = override(load("tsinghua_taox_hfox"), {"faults": {"stuck_low": 0.1, "stuck_high": 0.02}})
    rng, n = np.random.default_rng(12), 50_000
    cells = CellArray(preset, n, rng)
    low, high = cells.stuck == STUCK_LOW, cells.stuck == STUCK_HIGH
    assert low.mean() == pytest.approx(0.1, abs=0.006) and high.mean() == pytest.approx(0.02, abs=0.003)
    assert (cells.state_ua[low] <= np.float32(0.25)).all() and (cells.state_ua[high] >= 1.5).all()
    before = cells.state_ua.copy()
    direction = np.where(rng.random(n) < 0.5, 1, -1).astype(np.int8)
    cells.pulse_masked(direction, rng)
    cells.pulse(np.arange(n), True, rng)
    cells.blind_write(np.arange(n), np.full(n, 2.0), rng)
    cells.wait(slice(None), 1e5)
    assert (cells.state_ua[low | high] == before[low | high]).all()
    assert (cells.state_ua[cells.stuck == HEALTHY] != before[cells.stuck == HEALTHY]).mean() > 0.99


def test_a_pass_over_many_cells_pulses_every_stretch_of_them_and_no_stuck_cell(monkeypatch):
    preset = override(load("tsinghua_taox_hfox"), {"faults": {"stuck_low": 0.1, "stuck_high": 0.02}})
    n, direction = 5000, np.where(np.arange(5000) % 3 == 0, -1, 1).astype(np.int8)
    moved, sums = [], []
    for stretch in (1 << 17, 1024):
        monkeypatch.setattr(cells_module, "_PULSED_AT_ONCE", stretch)
        cells, rng = CellArray(preset, n, np.random.default_rng(12)), np.random.default_rng(1)
        before, broken = cells.state_ua.copy(), cells.stuck != HEALTHY
        sums.append(cells.pulse_masked(direction, rng))
        moved.append(cells.state_ua - before)
        assert (moved[-1][broken] == 0).all()
        assert min((part != 0).mean() for part in np.split(moved[-1], 50)) > 0.7
    assert sums[0] == pytest.approx(sums[1], rel=1e-5), "the ledger is told the same"
    assert not np.array_equal(moved[0], moved[1]), "other draws"
    for up in (True, False):
        first, second = (m[(direction > 0) == up] for m in moved)
        assert abs(first.mean() - second.mean()) < 5 * first.std() * math.sqrt(2 / first.size), "the same distribution"


@pytest.mark.parametrize("name", presets.NAMES)
@pytest.mark.parametrize("share", [0.2, 0.01, 0.0])
def test_few_pulses_at_once_are_the_set_pulses_and_then_the_reset_pulses(name, share):
    preset = override(load(name), {"faults": {"stuck_low": 0.1}})
    first, second = (CellArray(preset, 3000, np.random.default_rng(12)) for _ in range(2))
    rngs = [np.random.default_rng(4) for _ in range(2)]
    direction = np.random.default_rng(5).choice(np.array([-1, 1], np.int8), 3000)
    direction[np.random.default_rng(6).random(3000) > share] = 0
    up, down = np.flatnonzero(direction > 0), np.flatnonzero(direction < 0)
    for _ in range(3):
        currents = [float(first.state_ua[cells].sum(dtype=np.float64)) for cells in (up, down)]
        told = second.pulse_masked(direction, rngs[1])
        first.pulse(up, True, rngs[0])
        first.pulse(down, False, rngs[0])
        assert told == (up.size, currents[0], down.size, currents[1])
        assert np.array_equal(first.state_ua, second.state_ua), "the same draws, bit by bit"
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state


def test_drift_follows_the_logarithm_of_the_age_with_common_mean_and_spread():
    changes = {"retention": {"rate_ua_per_decade": 0.05, "rate_sd_ua_per_decade": 0.02, "onset_s": 10.0}}
    rng, n = np.random.default_rng(13), 50_000
    cells = array_at(override(load("tsinghua_taox_hfox"), changes), 2.0, n, rng)
    for seconds in (90.0, 900.0, 9000.0):
        cells.wait(slice(None), seconds)
    decades = math.log10(1 + 9990 / 10)
    moved = 2.0 - cells.state_ua.astype(float)
    assert moved.mean() == pytest.approx(0.05 * decades, rel=0.01)
    assert moved.std() == pytest.approx(0.02 * decades, rel=0.02)
    assert ks((moved / decades - 0.05) / 0.02, normal) < 1.95
    cells.pulse_masked(np.ones(n, np.int8), rng)
    before = cells.state_ua.astype(float)
    cells.wait(slice(None), 90.0)
    assert (before - cells.state_ua).mean() == pytest.approx(0.05, rel=0.02), "a pulse starts the age again"


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_impossible_waiting_times_are_refused(seconds):
    cells = CellArray(load("tsinghua_taox_hfox"), 10, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="finite time"):
        cells.wait(slice(None), seconds)


def test_wear_breaks_cells_only_beyond_their_endurance():
    changes = {"wear": {"endurance": 100, "failure_probability": 0.3, "stuck_low_share": 0.25}, **NO_FAULTS}
    rng, n = np.random.default_rng(14), 20_000
    cells = CellArray(override(load("tsinghua_taox_hfox"), changes), n, rng)
    everyone = np.arange(n)
    cells.wear_out(everyone, np.full(n, 100), rng)
    assert (cells.stuck == HEALTHY).all()
    cells.wear_out(everyone, np.full(n, 101), rng)
    assert (cells.stuck != HEALTHY).mean() == pytest.approx(0.3, abs=0.015)
    assert (cells.stuck[cells.stuck != HEALTHY] == STUCK_LOW).mean() == pytest.approx(0.25, abs=0.03)


def test_blind_writes_of_the_oxram_follow_the_power_laws():
    preset = override(load("leti_hfo2_oxram"), {"blind_write": {"device_spread": 0.0}})
    conductance = 0.19 * (60e-6) ** 0.78
    median = conductance * 1e6 * preset.read_voltage_v
    relative = float(preset.blind_sd_ua(median)) / median
    assert relative == pytest.approx(0.099, abs=0.002), "about 10 % at 60 uA"
    assert preset.blind_sd_ua(2 * median) / (2 * median) < relative, "falls with the current"
    rng, n = np.random.default_rng(15), 100_000
    cells = CellArray(preset, n, rng)
    cells.blind_write(np.arange(n), np.full(n, 12.0), rng)
    assert ks((cells.state_ua.astype(float) - 12) / float(preset.blind_sd_ua(12.0)), normal) < 1.95


def test_blind_write_spread_has_a_part_of_the_device_and_a_part_of_the_cycle():
    preset, rng, n = load("leti_hfo2_oxram"), np.random.default_rng(16), 2000
    cells, writes = CellArray(preset, n, rng), []
    for _ in range(60):
        cells.blind_write(np.arange(n), np.full(n, 12.0), rng)
        writes.append(cells.state_ua.astype(float))
    assert np.std(np.mean(writes, axis=0)) == pytest.approx(0.1 * 12, rel=0.1)
    assert np.mean(np.std(writes, axis=0)) == pytest.approx(float(preset.blind_sd_ua(12.0)), rel=0.05)


def test_gate_levels_quantise_targets_and_keep_them_in_reach():
    preset = load("leti_hfo2_oxram")
    aimed = preset.blind_target_ua(np.array([0.0, 8.1, 8.3, 11.0, 99.0]))
    assert aimed == pytest.approx([8.0, 8.0, 8.4, 11.2, 16.0])


def test_writing_error_of_the_eapu_array():
    rng, n = np.random.default_rng(17), 100_000
    cells = CellArray(load("eapu_180nm"), n, rng)
    cells.blind_write(np.arange(n), np.full(n, 8.0), rng)
    error = cells.state_ua.astype(float) - 8
    assert error.std() / 0.2 == pytest.approx(2.0, rel=0.02), "2 uS at 0.2 V"
    assert ks(error / 0.4, normal) < 1.95
