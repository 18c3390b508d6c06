"""Draws the pictures of docs/devices.md: `python docs/figures/devices.py [published data folder]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from memristor_bdnn.crossbar import validation
from memristor_bdnn.device.presets import load
from memristor_bdnn.report import device_figures
from memristor_bdnn.state import load_npz

ROOT = Path(__file__).parent.parent
OUT = ROOT / "images" / "devices"


def main() -> None:
    """Draw everything; the last two need the published measurements and are skipped without them."""
    OUT.mkdir(parents=True, exist_ok=True)
    preset, oxram, rng = load("tsinghua_taox_hfox"), load("leti_hfo2_oxram"), np.random.default_rng(0)
    for draw in (
        device_figures.read_noise,
        device_figures.pulse_trains,
        device_figures.transition_map,
        device_figures.transition_densities,
    ):
        draw(preset, OUT / f"{preset.name}_{draw.__name__}.png", rng)
    device_figures.blind_writes(oxram, OUT / f"{oxram.name}_blind_writes.png", rng)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MEMRISTOR_BDNN_DATA", "data"))
    measurement = folder / "escim_write_verify.npz"
    if not measurement.is_file():
        print(f"{measurement} not found: write_verify.png and chip_maps.png are left as they are")
        return
    target, read = validation.load_measurement(measurement)
    model = validation.simulate_reads(preset, target, seed=0)
    device_figures.write_verify_errors(target, read, model, OUT / "write_verify.png", preset.name)
    device_figures.chip_maps(load_npz(measurement)["read_ua"], OUT / "chip_maps.png")


if __name__ == "__main__":
    main()
