"""Placement, reference columns, ledger, converter: the book-keeping around the cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memristor_bdnn.crossbar.adc import quantise
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.mapping import ReferenceColumnMapping
from memristor_bdnn.crossbar.placement import Placement, Site
from memristor_bdnn.crossbar.pricing import (
    SCENARIOS,
    PlatformAssumptions,
    Work,
    against,
    break_even_read_time_s,
    digital_costs,
    memristor_costs,
    price_devices,
)
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import CapacityError, ConfigError

PRESET = load("tsinghua_taox_hfox")
BOARD = Placement.of(PRESET)


# --- placement


def test_layers_sit_where_the_board_has_them():
    # ESCIM experiment: layer 2 (51, 50, 3) is orders 1800..9449, chip 1 BL 56 SL 8 to chip 3 BL 39 SL 9.
    layer = BOARD.layer(1800, (51, 50, 3))
    assert layer.shape == (51, 50, 3) and layer[0, 0, 0] == 1800 and layer[-1, -1, -1] == 9449
    first, last = BOARD.locate(1800), BOARD.locate(9449)
    assert (first.chip, first.row, first.column) == (0, 56, 8)
    assert (last.chip, last.row, last.column) == (2, 39, 9)


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 20))
def test_cell_and_site_are_inverse(chips, rows, columns):
    placement = Placement(chips, rows, columns, channels=8)
    cells = np.arange(placement.capacity)
    site = placement.locate(cells)
    assert (placement.cell(site) == cells).all()
    assert site.chip.max() == chips - 1 and site.row.max() == rows - 1 and site.column.max() == columns - 1


def test_overflow_says_how_many_cells_are_missing():
    BOARD.require(12_288)
    with pytest.raises(CapacityError, match=r"needs 12300 cells.*12288: 12 cells are missing\. Use 4 chips"):
        BOARD.require(12_300)
    with pytest.raises(ConfigError, match=r"allowed 0\.\.12287"):
        BOARD.locate(12_288)


def test_maps_put_every_cell_in_its_place_and_leave_the_rest_empty():
    maps = BOARD.maps(np.arange(9756.0))
    assert maps.shape == (3, 128, 32) and np.isnan(maps).sum() == 12_288 - 9756
    assert maps[1, 2, 3] == BOARD.cell(Site(np.array(1), np.array(2), np.array(3)))


def test_accesses_count_channel_switches():
    assert BOARD.accesses(0, 12_288) == 3 * 32 * 2, "a chip is 32 columns in two banks of 64 rows"
    assert BOARD.accesses(0, 1) == 1 and BOARD.accesses(0, 33) == 32 and BOARD.accesses(5, 5) == 0
    assert Placement(3, 128, 32, 64, chips_in_parallel=True).accesses(0, 12_288) == 64
    assert Placement(3, 128, 32, 64, chips_in_parallel=True).accesses(4090, 4100) == 6


# --- reference columns


def test_reference_columns_of_the_published_autoencoder():
    mapping = ReferenceColumnMapping(Placement(1, 128, 64, 64), [(9, 3), (27, 3), (27, 1)], 1.0, 16.0)
    assert mapping.weight_cells.size == 135 and mapping.cells_used == 162


def test_reference_mapping_keeps_weights_apart_and_its_round_trip_is_exact():
    rng = np.random.default_rng(0)
    mapping = ReferenceColumnMapping(BOARD, [(12, 50), (51, 50), (51, 2)], 1.0, 4.0)
    cells = mapping.weight_cells
    assert cells.size == 3252 and np.unique(cells).size == 3252
    assert not np.intersect1d(cells, mapping.reference_cells).size
    site, reference = BOARD.locate(cells), BOARD.locate(mapping.reference_cells)
    assert (site.chip == reference.chip).all() and (site.row == reference.row).all() and (reference.column == 0).all()
    weights = rng.uniform(-0.4, 0.4, 3252)
    currents = mapping.targets(weights, 2.0, 0.0, 4.0)
    assert mapping.weights(currents) == pytest.approx(weights, abs=1e-12)
    drifted = np.stack([currents - 0.1, currents - 0.3])
    assert mapping.weights(drifted) == pytest.approx(np.stack([weights] * 2), abs=1e-12), "common drift cancels"
    assert mapping.weights(mapping.targets(np.full(3252, 9.0), 2.0, 0.0, 4.0)) == pytest.approx(np.full(3252, 0.5))
    assert mapping.mask().sum() == mapping.cells_used
    assert mapping.mask(references=False).sum() == 3252


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=5))
def test_reference_tiles_never_overlap(layers):
    placement = Placement(20, 32, 16, 8)
    try:
        mapping = ReferenceColumnMapping(placement, layers, 1.0, 1.0)
    except CapacityError:
        return
    assert np.unique(mapping.weight_cells).size == sum(i * o for i, o in layers)
    assert (placement.locate(mapping.weight_cells).column > 0).all()


def test_reference_mapping_refuses_what_does_not_fit():
    with pytest.raises(CapacityError, match=r"tiles do not fit on 1 chips.*cells are missing"):
        ReferenceColumnMapping(Placement(1, 128, 32, 64), [(500, 300)], 1.0, 1.0)
    with pytest.raises(ConfigError, match="at least one input"):
        ReferenceColumnMapping(BOARD, [(0, 3)], 1.0, 1.0)
    with pytest.raises(ConfigError, match="at least 2 columns"):
        ReferenceColumnMapping(Placement(1, 8, 1, 8), [(2, 3)], 1.0, 1.0)


# --- converter


def test_converter_rounds_to_the_boards_codes():
    currents = np.array([-1.0, 0.0, 0.3, 0.4, 2.000677, 3.2, 25.0])
    quantise(currents, 12, 20.08032)
    assert np.rint(currents / 20.08032 * 4095).tolist() == [0, 0, 61, 82, 408, 653, 4095]
    assert currents[4] == pytest.approx(2.000677, abs=1e-6)


# --- ledger


def test_energy_and_latency_are_the_formulas():
    ledger = Ledger(PRESET, 4)
    ledger.count_reads(cells=4, current_sum_ua=8.0, accesses=2, samples=10)
    ledger.count_pulses(3, 6.0, 2, 5.0)
    ledger.count_verify_reads(7, 14.0)
    ledger.add_latency(0.25)
    p, s = PRESET.periphery, ledger.summary()
    reads_j = (8 * 10 + 14) * 1e-6 * 0.2 * p.read_time_s
    set_j, reset_j = 6e-6 * 2.0 / 0.2 * 2.0 * 100e-9, 5e-6 * 1.95 / 0.2 * 1.95 * 50e-9
    assert s["device_energy_j"] == pytest.approx(reads_j + set_j + reset_j)
    latency = (2 * 10 + 7) * p.read_time_s + 3 * 100e-9 + 2 * 50e-9 + 5 * p.pulse_overhead_s + 0.25
    assert s["latency_s"] == pytest.approx(latency)
    around = 47 * (p.adc_energy_j + p.amplifier_power_w * p.read_time_s) + 5 * p.driver_energy_j
    assert s["system_energy_j"] == pytest.approx(s["device_energy_j"] + around + latency * p.controller_power_w)
    assert (s["reads"], s["verify_reads"], s["adc_conversions"]) == (40, 7, 47)
    assert (s["set_pulses"], s["reset_pulses"]) == (3, 2)
    assert s["device_energy_j"] == ledger.device_energy_j and s["latency_s"] == ledger.latency_s


def test_ledger_of_one_trial_is_the_difference_to_a_snapshot():
    ledger = Ledger(PRESET, 3)
    ledger.count_reads(3, 6.0, 1, 5)
    ledger.add_wear(np.array([0, 1]), 5)
    before = ledger.snapshot()
    ledger.count_pulses(2, 4.0, 0, 0.0)
    ledger.add_wear(np.array([1, 2]), np.array([1, 3]))
    trial = ledger.since(before)
    assert trial["reads"] == 0 and trial["set_pulses"] == 2 and trial["max_wear"] == 3
    assert trial["mean_wear"] == pytest.approx(4 / 3)
    assert ledger.max_wear == 6 and ledger.mean_wear == pytest.approx(14 / 3)


def test_ledger_state_is_exact_and_damage_is_refused():
    ledger, other = Ledger(PRESET, 3), Ledger(PRESET, 3)
    ledger.count_reads(3, 0.1 + 0.2, 1, 7)
    ledger.add_wear(slice(0, 3), 2)
    other.load_state_dict(ledger.state_dict())
    assert other.summary() == ledger.summary()
    damaged = ledger.state_dict()
    damaged["counts"] = damaged["counts"][:2]
    with pytest.raises(ConfigError, match="counts"):
        other.load_state_dict(damaged)


# --- pricing


@pytest.fixture
def busy() -> Ledger:
    ledger = Ledger(PRESET, 9756)
    ledger.count_reads(9756, 20_000.0, BOARD.accesses(0, 9756), 1000)
    ledger.count_pulses(500, 1000.0, 500, 1000.0)
    return ledger


def test_the_same_ledger_priced_with_another_periphery(busy):
    board, parallel, integrated = (price_devices(busy, PRESET, 9756, s) for s in SCENARIOS)
    assert board.latency_s == pytest.approx(busy.latency_s)
    serial, together = BOARD.accesses(0, 9756), 64
    reads_s = 1000 * serial * 200e-6
    assert board.latency_s == pytest.approx(reads_s + 1000 * 10e-6 + 500 * 150e-9)
    assert parallel.latency_s == pytest.approx(1000 * together * 10e-6 + 1000 * 1e-6 + 500 * 150e-9)
    assert integrated.latency_s < parallel.latency_s < board.latency_s
    assert integrated.system_energy_j < parallel.system_energy_j < board.system_energy_j
    assert board.reads == parallel.reads


def test_break_even_read_time_gives_the_time_asked_for(busy):
    wanted = 0.05
    time_s = break_even_read_time_s(busy, PRESET, 9756, wanted)
    changes = {"read_time_s": time_s, "chips_in_parallel": True, "pulse_overhead_s": 100e-9}
    other = override(PRESET, {"periphery": changes})
    factor = Placement.of(other).accesses(0, 9756) / BOARD.accesses(0, 9756)
    assert busy.priced(other, factor).latency_s == pytest.approx(wanted)
    assert break_even_read_time_s(busy, PRESET, 9756, 1e-6) is None


def test_platform_costs_follow_from_work_and_watts(busy):
    work = Work(steps=100, predictions=10, multiply_adds=1e9, host_s=2.0, devices_s=1.0)
    a = PlatformAssumptions(host_power_w=10.0, gpu_power_w=200.0)
    cpu, gpu = digital_costs(work, a)
    assert (cpu.time_s, cpu.energy_j) == (3.0, 30.0)
    assert gpu.time_s == pytest.approx((100 * 120 + 10 * 30) * 5e-6 + 2e9 / 5e12)
    assert gpu.energy_j == pytest.approx(200 * gpu.time_s)
    costs = {c.platform: c for c in memristor_costs(work, busy, PRESET, 9756, a)}
    alone, hosted = costs["chips, board"], costs["chips + host, board"]
    assert hosted.time_s == pytest.approx(alone.time_s + 2.0)
    assert hosted.energy_j == pytest.approx(alone.energy_j + 20.0)
    assert against(gpu, gpu).speed_gain_percent == 0 and against(gpu, gpu).energy_ratio == 1
    assert against(gpu, alone).energy_ratio == pytest.approx(gpu.energy_j / alone.energy_j)
