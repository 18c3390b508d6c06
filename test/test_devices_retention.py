"""What becomes of states that nobody programs: disturb by reads (drift is in test_devices)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import load_npz, pack_json, save_npz, unpack_json

N = 9000
QUIET = {"faults": {"stuck_low": 0.0, "stuck_high": 0.0}, "window_sd_ua": [0.0, 0.0]}
DISTURB = {"disturb_ua_per_decade": 0.04, "disturb_sd_ua_per_decade": 0.02, "onset_reads": 10.0}


def chips(retention: dict[str, float] | None = None, n: int = N, seed: int = 0, **changes: Any) -> SimulatedAccelerator:
    preset = override(load("tsinghua_taox_hfox"), {**QUIET, "retention": retention or {}, **changes})
    made = SimulatedAccelerator(preset, seed)
    made.allocate(n)
    made.cells.move(slice(0, n), np.full(n, 2.0, np.float32))
    return made


def moved(made: SimulatedAccelerator) -> np.ndarray:
    return made.cells.state_ua[: made.n_cells].astype(float) - 2.0


def test_reads_move_cells_by_the_logarithm_of_their_number():
    made = chips(DISTURB)
    made.read(40)
    made.read(50)
    decades = math.log10(1 + 90 / 10)
    assert moved(made).mean() == pytest.approx(0.04 * decades, rel=0.02)
    assert moved(made).std() == pytest.approx(0.02 * decades, rel=0.03)


def test_only_what_is_read_is_disturbed_and_a_pulse_starts_the_count_again():
    made = chips({**DISTURB, "disturb_sd_ua_per_decade": 0.0}, n=100)
    made.read(90, slice(0, 50))
    assert np.allclose(moved(made)[:50], 0.04, atol=1e-6) and (moved(made)[50:] == 0).all()
    made.pulse(np.where(np.arange(100) < 25, 1, 0).astype(np.int8))
    assert made.cells.read_count[:100].tolist() == [0] * 25 + [90] * 25 + [0] * 50
    made.pulse(np.ones(100, np.int8))
    assert not made.cells.read_count[:100].any(), "many pulses at once do so too"


def test_reads_while_time_passes_are_counted_and_disturb_like_reads_that_are_looked_at():
    waited, looked = (chips(DISTURB, n=500) for _ in range(2))
    waited.wait(3600.0, reads=90)
    looked.read(90)
    assert np.allclose(moved(waited), moved(looked), atol=1e-6)
    assert waited.ledger.reads == looked.ledger.reads == 90 * 500
    assert waited.ledger.latency_s == pytest.approx(looked.ledger.latency_s)
    assert waited.ledger.device_energy_j == pytest.approx(looked.ledger.device_energy_j, rel=0.02)


def test_disturb_stays_in_the_window_and_leaves_stuck_cells_alone():
    made = chips({"disturb_ua_per_decade": 5.0, "onset_reads": 1.0}, faults={"stuck_low": 0.1, "stuck_high": 0.1})
    stuck = made.cells.stuck[:N] != 0
    before = made.cells.state_ua[:N].copy()
    made.wait(0.0, reads=10**6)
    assert (made.cells.state_ua[:N][stuck] == before[stuck]).all()
    assert np.allclose(made.cells.state_ua[:N][~stuck], made.preset.window_ua[1])
    down = chips({"disturb_ua_per_decade": -5.0, "onset_reads": 1.0})
    down.wait(0.0, reads=10**6)
    assert (down.cells.state_ua[:N] >= 0).all() and down.cells.state_ua[:N].max() < 1e-3


def test_without_disturb_cells_come_out_as_they_always_did():
    plain, disturbed = chips(), chips(DISTURB)
    for name in plain.cells.SAVED:
        assert np.array_equal(getattr(plain.cells, name), getattr(disturbed.cells, name), equal_nan=True), name
    plain.read(90)
    assert not moved(plain).any() and "cells.read_count" not in plain.state_dict()


def test_disturbed_cells_are_saved_and_go_on_bit_for_bit(tmp_path: Path):
    made, again = chips(DISTURB, n=300), chips(DISTURB, n=300, seed=5)
    made.read(30)
    save_npz(tmp_path / "state.npz", made.state_dict())
    again.load_state_dict(load_npz(tmp_path / "state.npz"))
    assert np.array_equal(made.read(7), again.read(7)) and np.array_equal(made.read(7), again.read(7))


def test_a_state_of_before_there_was_disturb_loads_and_one_of_other_disturb_does_not():
    made = chips(n=50)
    state = made.state_dict()
    identity = unpack_json(state["identity"], "identity")
    for name in ("disturb_ua_per_decade", "disturb_sd_ua_per_decade", "onset_reads"):
        del identity["preset"]["retention"][name]
    state["identity"] = pack_json(json.loads(json.dumps(identity)))
    made.load_state_dict(state)
    with pytest.raises(ConfigError, match="saved with preset"):
        chips(DISTURB, n=50).load_state_dict(state)


@pytest.mark.parametrize("reads", [-1, 0.5])
def test_impossible_numbers_of_reads_are_refused(reads: float):
    with pytest.raises(ConfigError, match=f"reads={reads}"):
        chips(n=10).wait(1.0, reads=reads)  # type: ignore[arg-type]
