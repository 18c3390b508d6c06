"""Where a task's energy and time go: parts add up to what is priced, and `energy --figure` draws them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from PIL import Image

from memristor_bdnn.cli import main
from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.crossbar.pricing import SCENARIOS, PlatformAssumptions, Work, breakdowns, price_devices
from memristor_bdnn.device.presets import load

PRESET = load("tsinghua_taox_hfox")
CELLS = 9756


def ledger(times: int = 1) -> Ledger:
    made = Ledger(PRESET, CELLS)
    made.count_reads(CELLS, 20_000.0, Placement.of(PRESET).accesses(0, CELLS), 100 * times)
    made.count_verify_reads(500 * times, 900.0 * times)
    made.count_pulses(500 * times, 1000.0 * times, 300 * times, 700.0 * times)
    made.add_latency(0.25 * times)
    return made


WORK = Work(steps=100, predictions=10, multiply_adds=1e9, host_s=2.0, devices_s=1.0)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_parts_add_up_to_what_is_priced(scenario):
    found = {of.platform: of for of in breakdowns([(WORK, ledger())], PRESET, CELLS, PlatformAssumptions())}
    alone, priced = found[f"chips, {scenario.name}"], price_devices(ledger(), PRESET, CELLS, scenario)
    assert alone.total_j == pytest.approx(priced.system_energy_j, rel=1e-12)
    assert alone.total_s == pytest.approx(priced.latency_s, rel=1e-12)
    assert alone.energy_j["reads"] + alone.energy_j["pulses"] == pytest.approx(priced.device_energy_j, rel=1e-12)
    assert min(alone.energy_j.values()) > 0 and min(alone.time_s.values()) > 0, "nothing is left out"
    hosted = found[f"chips + host, {scenario.name}"]
    assert hosted.energy_j == {**alone.energy_j, "host arithmetic": 2.0 * 15.0}
    assert hosted.time_s == {**alone.time_s, "host arithmetic": 2.0}


def test_each_part_is_what_its_circuit_takes():
    (board,) = [of for of in breakdowns([(WORK, ledger())], PRESET, CELLS, PlatformAssumptions())
                if of.platform == "chips, board"]  # fmt: skip
    around, conversions = PRESET.periphery, 100 * CELLS + 500
    assert board.energy_j["converters"] == pytest.approx(conversions * around.adc_energy_j)
    assert board.energy_j["amplifiers"] == pytest.approx(conversions * around.amplifier_power_w * around.read_time_s)
    assert board.energy_j["line drivers"] == pytest.approx(800 * around.driver_energy_j)
    assert board.energy_j["controller"] == pytest.approx(board.total_s * around.controller_power_w)
    assert board.time_s["rests"] == 0.25 and board.time_s["pulse set-up"] == pytest.approx(800 * 10e-6)


def test_phases_of_a_task_are_summed_on_every_platform():
    once = breakdowns([(WORK, ledger())], PRESET, CELLS, PlatformAssumptions())
    twice = breakdowns([(WORK, ledger()), (WORK, ledger())], PRESET, CELLS, PlatformAssumptions())
    double = dataclasses.replace(WORK, steps=200, predictions=20, multiply_adds=2e9, host_s=4.0, devices_s=2.0)
    assert WORK + WORK == double
    for one, two in zip(once, twice, strict=True):
        assert two.total_j == pytest.approx(2 * one.total_j) and two.total_s == pytest.approx(2 * one.total_s)


def test_energy_draws_where_a_whole_task_goes(tmp_path, capsys):
    out, figure = tmp_path / "energy.json", tmp_path / "energy.png"
    words = ["energy", "--queries", "1", "--candidates", "50", "--data", "shipped"]
    assert main([*words, "--out", str(out), "--figure", str(figure)]) == 0
    printed, made = capsys.readouterr().out, json.loads(out.read_text())
    assert "of the whole task" in printed and made["labels"] == "shipped"
    assert Image.open(figure).size[0] > 1000
    whole, work, training = made["whole_task"], made["work"], made["work_of_training"]
    assert training["steps"] == 300 and training["host_s"] > 0
    cpu = whole["CPU"]["time_s"]
    assert sum(cpu.values()) == pytest.approx(work["host_s"] + work["devices_s"] + training["host_s"])
    spent = sum(made["ledger"][phase]["system_energy_j"] for phase in ("queries", "deployment"))
    assert sum(whole["chips, board"]["energy_j"].values()) == pytest.approx(spent)
    assert made["platforms"]["chips, board"]["energy_j"] < spent, "the comparison goes without the deployment"


def test_a_figure_that_cannot_be_drawn_is_refused_before_any_work(capsys):
    assert main(["energy", "--figure", "energy.docx"]) == 1
    assert "--figure energy.docx" in capsys.readouterr().err
