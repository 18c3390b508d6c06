"""The simulated accelerator: protocol, write-verify, exact save and resume, refusals, flat memory."""

import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.crossbar import validation
from memristor_bdnn.device import presets
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import CapacityError, ConfigError
from memristor_bdnn.state import load_npz, pack_json, save_npz


def chips(n=9756, preset="tsinghua_taox_hfox", seed=0, **options):
    made = accelerator.create("simulated", preset=preset, seed=seed, **options)
    made.allocate(n)
    return made


def mixed_work(hardware, rounds=6):
    """A sequence with every kind of operation; returns everything read."""
    rng = np.random.default_rng(99)
    n, seen = hardware.n_cells, []
    target = rng.uniform(*hardware.preset.window_ua, n)
    for turn in range(rounds):
        few = rng.random(n) < 0.05
        hardware.pulse(rng.integers(-1, 2, n).astype(np.int8))
        hardware.pulse((few * rng.choice([-1, 1], n)).astype(np.int8))
        hardware.program(target, few)
        hardware.write_verify(target, rng.random(n) < 0.1)
        hardware.wait(10.0 * turn)
        seen += [hardware.read(3), hardware.read(2, slice(10, 50))]
    return seen


# --- protocol


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_preset_makes_an_accelerator_of_the_protocol(name):
    hardware = chips(500, name)
    assert isinstance(hardware, Accelerator) and hardware.capacity == load(name).cells
    assert hardware.read(4).shape == (4, 500) and hardware.read(2, slice(10, 20)).shape == (2, 10)
    assert (hardware.read(4) >= load(name).read_noise.floor_ua * 0.999).all()
    hardware.close()
    hardware.close()


def test_same_seed_same_chips_same_results_and_another_seed_others():
    first, again, other = (mixed_work(chips(300, seed=s)) for s in (5, 5, 6))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))


def test_pulses_move_the_marked_cells_only_and_are_counted():
    hardware = chips(1000)
    hardware.write_verify(np.full(1000, 2.0))
    before, counted = hardware.cells.state_ua[:1000].copy(), hardware.ledger.snapshot()
    direction = np.zeros(1000, np.int8)
    direction[:30], direction[30:50] = 1, -1
    hardware.pulse(direction)
    moved = hardware.cells.state_ua[:1000] - before
    assert (moved[50:] == 0).all() and moved[:30].mean() > 0.2 and moved[30:50].mean() < -0.2
    spent = hardware.ledger.since(counted)
    assert (spent["set_pulses"], spent["reset_pulses"], spent["max_wear"]) == (30, 20, 1)
    assert hardware.ledger.wear[:50].min() >= 1
    energy = (before[:30].sum() * 2.0**2 * 100e-9 + before[30:50].sum() * 1.95**2 * 50e-9) * 1e-6 / 0.2
    assert spent["device_energy_j"] == pytest.approx(energy, rel=1e-4)


def test_dense_pulses_count_the_same_as_sparse_ones():
    hardware = chips(1000)
    before, state = hardware.ledger.snapshot(), hardware.cells.state_ua[:1000].copy()
    direction = np.where(np.arange(1000) % 3 == 0, 1, -1).astype(np.int8)
    direction[500:600] = 0
    hardware.pulse(direction)
    spent = hardware.ledger.since(before)
    assert (spent["set_pulses"], spent["reset_pulses"]) == ((direction > 0).sum(), (direction < 0).sum())
    energy = (state[direction > 0].sum() * 2.0**2 * 100e-9 + state[direction < 0].sum() * 1.95**2 * 50e-9) * 1e-6 / 0.2
    assert spent["device_energy_j"] == pytest.approx(energy, rel=1e-4)
    assert (hardware.cells.state_ua[500:600] == state[500:600]).all()


def test_reads_are_counted_with_their_energy_and_the_boards_access_time():
    hardware = chips(12_288)
    hardware.read(5)
    spent = hardware.ledger.summary()
    assert spent["reads"] == spent["adc_conversions"] == 5 * 12_288
    assert spent["latency_s"] == pytest.approx(5 * 192 * 200e-6)
    energy = 5 * float(hardware.cells.state_ua.sum(dtype=np.float64)) * 1e-6 * 0.2 * 200e-6
    assert spent["device_energy_j"] == pytest.approx(energy, rel=1e-6)


def test_the_read_energy_follows_the_states():
    hardware = chips(1000)
    energies = []
    for target in (0.5, 3.5):
        hardware.write_verify(np.full(1000, target))
        before = hardware.ledger.snapshot()
        hardware.read(10)
        energies.append(hardware.ledger.since(before)["device_energy_j"])
    assert 5 < energies[1] / energies[0] < 9


def test_adc_option_gives_only_codes_of_the_converter():
    codes = chips(500, adc=True).read(20) / (20.08032 / 4095)
    assert np.abs(codes - np.rint(codes)).max() < 1e-3
    assert np.abs(chips(500).read(20) / (20.08032 / 4095) - np.rint(codes)).max() > 0.4


def test_read_noise_factor_scales_the_noise_and_zero_switches_it_off():
    quiet = chips(2000, read_noise_factor=0.0)
    assert (quiet.read(2)[0] == quiet.cells.state_ua[:2000]).all()
    loud, usual = (chips(2000, read_noise_factor=factor) for factor in (3.0, 1.0))
    for hardware in (loud, usual):
        hardware.write_verify(np.full(2000, 2.0))
    ratio = (np.diff(loud.read(50), axis=0)).std() / np.diff(usual.read(50), axis=0).std()
    assert ratio == pytest.approx(3, rel=0.03)


OPERATIONS = st.sampled_from(["read", "pulse", "dense", "write_verify", "program", "wait"])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(presets.NAMES), st.lists(OPERATIONS, max_size=12), st.integers(0, 2**32 - 1))
def test_books_balance_and_states_stay_physical_whatever_is_done(name, operations, seed):
    changes = {"faults": {"stuck_low": 0.05, "stuck_high": 0.05}, "wear": {"endurance": 30, "failure_probability": 0.2}}
    changes["retention"] = {"rate_ua_per_decade": 0.05, "rate_sd_ua_per_decade": 0.05}
    hardware, rng = chips(60, override(load(name), changes), seed), np.random.default_rng(seed)
    low, high = hardware.preset.window_ua
    before = hardware.ledger.summary()
    for operation in operations:
        mask, target = rng.random(60) < 0.2, rng.uniform(low, high, 60)
        if operation == "read":
            assert np.isfinite(hardware.read(2)).all()
        elif operation in ("pulse", "dense"):
            chosen = mask if operation == "pulse" else ~mask
            hardware.pulse((chosen * rng.choice([-1, 1], 60)).astype(np.int8))
        elif operation == "wait":
            hardware.wait(float(rng.exponential(1e4)))
        else:
            getattr(hardware, operation)(target, mask)
        after = hardware.ledger.summary()
        assert all(after[key] >= before[key] for key in after), "nothing is ever given back"
        assert hardware.ledger.wear.sum() == after["set_pulses"] + after["reset_pulses"]
        assert after["adc_conversions"] == after["reads"] + after["verify_reads"]
        assert 0 <= after["device_energy_j"] <= after["system_energy_j"]
        state = hardware.cells.state_ua[:60]
        assert np.isfinite(state).all() and (state >= 0).all() and (state < 3 * high).all()
        before = after


# --- write-verify


def test_write_verify_reaches_its_targets_and_reports_them():
    hardware = chips()
    target = np.random.default_rng(0).uniform(0.5, 3.9, 9756)
    report = hardware.write_verify(target)
    error = hardware.cells.state_ua[:9756] - target
    assert report.cells == 9756 and report.pulses == hardware.ledger.set_pulses + hardware.ledger.reset_pulses
    assert report.within_tolerance / 9756 > 0.85
    assert report.mean_error_ua == pytest.approx(error.mean(), abs=0.01)
    assert report.sd_error_ua == pytest.approx(error.std(), rel=0.1)
    assert hardware.ledger.max_wear <= 300 and hardware.ledger.verify_reads > 20 * 9756


def test_write_verify_of_a_mask_leaves_the_other_cells_alone():
    hardware = chips(2000)
    before = hardware.cells.state_ua[:2000].copy()
    mask = np.arange(2000) % 4 == 0
    target = np.full(2000, np.nan)
    target[mask] = 3.0
    assert hardware.write_verify(target, mask).cells == 500
    assert (hardware.cells.state_ua[:2000][~mask] == before[~mask]).all()
    assert hardware.ledger.wear[~mask].sum() == 0
    none = hardware.write_verify(target, np.zeros(2000, bool))
    assert (none.cells, none.pulses, none.sd_error_ua) == (0, 0, 0.0)


def test_stuck_cells_use_up_their_pulses_and_are_given_up():
    preset = override(load("tsinghua_taox_hfox"), {"faults": {"stuck_low": 1.0, "stuck_high": 0.0}})
    hardware = chips(50, preset)
    report = hardware.write_verify(np.full(50, 2.0))
    assert report.within_tolerance == 0 and (hardware.ledger.wear == 300).all()


def test_tighter_tolerance_costs_more_pulses_and_gives_smaller_errors():
    results = []
    for tolerance in (0.1, 0.5):
        changes = {
            "write_verify": {"tolerance_ua": tolerance},
            "relaxation": {"mean_linear": 0.0, "tail_constant": 0.0},
        }
        changes["relaxation"] |= {"tail_linear_per_ua": 0.0, "tail_quadratic_per_ua2": 0.0, "mean_constant_ua": 0.0}
        results.append(chips(2000, override(load("tsinghua_taox_hfox"), changes)).write_verify(np.full(2000, 2.0)))
    assert results[0].pulses > 1.5 * results[1].pulses
    assert results[0].sd_error_ua < 0.6 * results[1].sd_error_ua


def test_memorial_programming_remembers_and_needs_fewer_pulses_than_the_first_time():
    hardware, rng = chips(2000, "eapu_180nm"), np.random.default_rng(1)
    target = rng.uniform(4, 12, 2000)
    first = hardware.write_verify(target)
    later = [hardware.write_verify(target + 0.3 * k).pulses for k in range(1, 4)]
    assert max(later) < 0.75 * first.pulses
    assert abs(first.mean_error_ua) < 0.05 and first.sd_error_ua == pytest.approx(0.42, abs=0.05)


def test_blind_writes_land_with_the_devices_spread():
    hardware = chips(8000, "eapu_180nm")
    target = np.random.default_rng(2).uniform(4, 12, 8000)
    hardware.program(target)
    error = hardware.cells.state_ua[:8000] - target
    assert hardware.ledger.verify_reads == 0
    assert error.std() == pytest.approx(0.4, rel=0.05) and abs(error.mean()) < 0.02


def test_a_blind_write_gives_set_alone_where_the_gate_voltage_rises():
    hardware = chips(1000, "eapu_180nm")
    counted = []

    def write(target, mask=None):
        before = hardware.ledger.set_pulses, hardware.ledger.reset_pulses, hardware.ledger.reset_current_ua
        hardware.program(np.full(1000, target), mask)
        ledger = hardware.ledger
        now = ledger.set_pulses, ledger.reset_pulses, ledger.reset_current_ua
        counted.append(tuple(b - a for a, b in zip(before, now, strict=True)))

    write(4.0)  # fresh devices stand near 0.5 uA
    write(4.1)  # by less than the scatter of a write: the gate voltage counts, not where the device happened to land
    assert counted == [(1000, 0, 0.0), (1000, 0, 0.0)]
    standing = float(hardware.cells.state_ua[:1000].sum(dtype=np.float64))
    write(4.1)  # the same again needs a new draw
    write(3.0, np.arange(1000) < 10)
    assert counted[2] == (1000, 1000, pytest.approx(standing)) and counted[3][:2] == (10, 10)
    assert hardware.ledger.max_wear == 6 and hardware.ledger.wear.sum() == 5020 - 1000
    hardware.write_verify(np.full(1000, 15.0))
    state = hardware.state_dict()
    hardware.pulse(np.ones(1000, np.int8))
    write(14.0)
    hardware.load_state_dict(state)
    write(14.0)
    assert counted[4][:2] == counted[5][:2] == (1000, 1000)


def test_simulated_write_verify_matches_the_real_chips(data_folder):
    target, read = validation.load_measurement(data_folder / "escim_write_verify.npz")
    for seed in (100, 101):
        found = validation.compare(load("tsinghua_taox_hfox"), target, read, seed)
        assert found.model.mean_error_ua == pytest.approx(found.chip.mean_error_ua, abs=0.02)
        assert found.model.sd_error_ua == pytest.approx(found.chip.sd_error_ua, abs=0.03)
        assert found.model.share_within_tolerance == pytest.approx(found.chip.share_within_tolerance, abs=0.03)
        assert found.ks_distance < 0.08
        assert max(b.ks_distance for b in found.bins) < 0.15


def test_fitting_write_verify_recovers_the_distribution_it_is_given():
    truth, start = load("tsinghua_taox_hfox"), {"write_verify": {"step_ua": 1.2}, "relaxation": {"mean_linear": 0.1}}
    target = np.random.default_rng(3).uniform(0.5, 3.9, 600)
    read = validation.simulate_reads(truth, target, seed=7)
    wrong = override(truth, start)
    fitted = validation.fit(wrong, target, read, evaluations=80)
    before, after = (validation.compare(p, target, read, seed=8).ks_distance for p in (wrong, fitted))
    assert after < 0.6 * before


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"target_ua": np.ones(3)}, "no array 'read_ua'; found target_ua"),
        ({"target_ua": np.ones(3), "read_ua": np.ones(4)}, "differ"),
        ({"target_ua": np.ones(3), "read_ua": np.array([1, np.nan, 1])}, r"read_ua\[1\] = .*nan"),
        ({"target_ua": np.array([[1, 2000.0]]), "read_ua": np.ones((1, 2))}, r"target_ua\[0, 1\] = .*microampere"),
    ],
)
def test_bad_measurements_are_refused(tmp_path, arrays, complaint):
    save_npz(tmp_path / "m.npz", arrays)
    with pytest.raises(ConfigError, match=complaint):
        validation.load_measurement(tmp_path / "m.npz")


# --- save and resume


@pytest.mark.parametrize("preset", presets.NAMES)
def test_resumed_work_is_bit_identical(tmp_path, preset):
    changes = {"retention": {"rate_ua_per_decade": 0.01, "rate_sd_ua_per_decade": 0.01}}
    changes["wear"] = {"endurance": 20, "failure_probability": 0.05}
    worn = override(load(preset), changes)
    straight = chips(400, worn, seed=3)
    mixed_work(straight)
    save_npz(tmp_path / "state.npz", straight.state_dict())
    resumed = chips(400, worn, seed=77)
    resumed.load_state_dict(load_npz(tmp_path / "state.npz"))
    for a, b in zip(mixed_work(straight), mixed_work(resumed), strict=True):
        assert (a == b).all()
    assert straight.ledger.summary() == resumed.ledger.summary()
    ours, theirs = straight.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert np.array_equal(value, theirs[key], equal_nan=value.dtype.kind == "f"), key


def test_a_saved_state_is_a_copy():
    hardware = chips(100)
    state = hardware.state_dict()
    before = state["cells.state_ua"].copy()
    hardware.pulse(np.ones(100, np.int8))
    assert (state["cells.state_ua"] == before).all()
    hardware.load_state_dict(state)
    hardware.pulse(np.ones(100, np.int8))
    assert (state["cells.state_ua"] == before).all()


def test_states_that_do_not_fit_are_refused_and_change_nothing():
    hardware, other = chips(100), chips(100, seed=1)
    good = other.state_dict()
    reads = chips(100).read(2)
    for damage, complaint in (
        ({"identity": None}, "identity missing"),
        ({"cells.stuck": good["cells.stuck"][:5]}, "'stuck'"),
        ({"cells.gate_ua": None}, "'gate_ua'.*nothing"),
        ({"ledger.wear": None}, "wear"),
        ({"rng": np.zeros(3, np.uint8)}, "damaged checkpoint"),
        ({"identity": pack_json(["other"])}, "no preset"),
        ({"ledger.wear": np.zeros(5, np.int64)}, "wear of 5 cells"),
        ({"cells.state_ua": np.full(12_288, np.nan, np.float32)}, "finite"),
    ):
        bad = {k: v for k, v in {**good, **damage}.items() if v is not None}
        with pytest.raises(ConfigError, match=complaint):
            hardware.load_state_dict(bad)
    with pytest.raises(ConfigError, match=r"'tsinghua_taox_hfox'.*'eapu_180nm'"):
        chips(100, "eapu_180nm").load_state_dict(good)
    assert (hardware.read(2) == reads).all()


# --- refusals


def test_unknown_accelerators_and_options_list_the_choices():
    with pytest.raises(ConfigError, match="'fpga': choose one of simulated, escim"):
        accelerator.create("fpga")
    with pytest.raises(ConfigError, match="did you mean adc"):
        accelerator.create("simulated", adcc=True)


def test_allocation_beyond_the_chips_names_the_missing_cells():
    hardware = accelerator.create("simulated")
    with pytest.raises(CapacityError, match="712 cells are missing"):
        hardware.allocate(13_000)
    with pytest.raises(ConfigError, match="at least one"):
        hardware.allocate(0)
    for call in (hardware.read, lambda: hardware.pulse(np.zeros(0, np.int8)), lambda: hardware.program(np.zeros(0))):
        with pytest.raises(ConfigError, match="allocate"):
            call()
    with pytest.raises(ConfigError, match="seed -1"):
        accelerator.create("simulated", seed=-1)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda h: h.pulse(np.ones(9, np.int8)), r"expected shape \(10,\), got \(9,\)"),
        (lambda h: h.pulse(np.full(10, 2, np.int8)), r"2.*is not one of"),
        (lambda h: h.pulse(np.full(10, 0.5)), "float64"),
        (lambda h: h.read(0), "at least one"),
        (lambda h: h.read(1, slice(0, 10, 2)), "contiguous"),
        (lambda h: h.write_verify(np.ones(11)), r"got \(11,\)"),
        (lambda h: h.write_verify(np.array([1.0] * 9 + [np.nan])), r"target_ua\[9\] = .*nan"),
        (lambda h: h.program(np.array([1.0] * 9 + [-1.0])), r"target_ua\[9\] = .*-1"),
        (lambda h: h.program(np.ones(10), np.ones(9, bool)), "mask"),
    ],
)
def test_wrong_arguments_are_refused_without_touching_the_cells(call, complaint):
    hardware = chips(10)
    before = hardware.state_dict()
    with pytest.raises(ConfigError, match=complaint):
        call(hardware)
    after = hardware.state_dict()
    assert all(np.array_equal(before[k], after[k], equal_nan=k == "cells.gate_ua") for k in before)


# --- memory


def resident_kib():
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_memory_stays_flat_over_100_000_operations():
    hardware, rng = chips(20), np.random.default_rng(0)
    direction, target = rng.integers(-1, 2, 20).astype(np.int8), np.full(20, 2.0)
    one = np.arange(20) == 7

    def work(operations):
        for i in range(operations):
            if i % 1000 == 0:
                hardware.write_verify(target, one)
            elif i % 2:
                hardware.pulse(direction)
            else:
                hardware.read(1, slice(i % 7, 20))

    work(2000)
    before = resident_kib()
    work(98_000)
    assert resident_kib() - before < 2048
