"""The command line of the board, against an emulator in a process of its own."""

import json
import signal

import numpy as np
import pytest

from memristor_bdnn import cli
from memristor_bdnn.accelerator.escim.wire import recording
from memristor_bdnn.benchmark.escim.process import EmulatorProcess
from memristor_bdnn.commands.board import _block
from memristor_bdnn.device.tables import read_table
from memristor_bdnn.errors import AcceleratorError, ConfigError
from memristor_bdnn.state import load_npz


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess("--seed", "3") as process:
        yield process


@pytest.fixture
def address(emulator):
    return ["--host", "127.0.0.1", "--port", str(emulator.port), "--abort-port", str(emulator.abort_port)]


def test_info(address, capsys):
    assert cli.main(["board", "info", *address]) == 0
    text = capsys.readouterr().out
    assert "C (with packet checks)" in text and "chip 3" in text


def test_read_a_cell_and_a_chip(address, capsys, tmp_path):
    assert cli.main(["board", "read", *address, "--chip", "2", "--bl", "3", "--sl", "4"]) == 0
    assert "chip 2 BL 3 SL 4: mean" in capsys.readouterr().out
    npz = tmp_path / "chip.npz"
    assert cli.main(["board", "read", *address, "--samples", "3", "--npz", str(npz)]) == 0
    assert load_npz(npz)["read_ua"].shape == (3, 128, 32)
    assert cli.main(["board", "read", *address, "--bl", "3"]) == 1
    assert "give both" in capsys.readouterr().err
    assert cli.main(["board", "read", *address, "--chip", "4"]) == 1
    assert "the board has 1 to 3" in capsys.readouterr().err


def test_map(address, tmp_path):
    picture, npz = tmp_path / "maps.png", tmp_path / "maps.npz"
    assert cli.main(["board", "map", *address, "--samples", "2", "--out", str(picture), "--npz", str(npz)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert load_npz(npz)["read_ua"].shape == (3, 128, 32)


def test_selftest_exports_for_device_fit_and_its_recording_reads(address, tmp_path, capsys):
    table, log = tmp_path / "transitions.csv", tmp_path / "session.jsonl"
    words = ["--cells", "3:120-121:24-31", "--pulses", "5", "--cycles", "1", "--out", str(table), "--record", str(log)]
    assert cli.main(["board", "selftest", *address, *words]) == 0
    assert "passed" in capsys.readouterr().out
    assert read_table(table).set_ua.shape == (80, 2)
    assert cli.main(["device", "fit", str(table), "--out", str(tmp_path / "mine.yaml")]) == 0
    capsys.readouterr()
    assert cli.main(["board", "log", str(log)]) == 0
    text = capsys.readouterr().out
    assert "-> CFG_REG SET chip 3 BL 120 WL 24 1 x 100 ns" in text and "<- READ_ALL 8192 bytes" in text


def test_a_dry_run_says_so(address, capsys):
    assert cli.main(["board", "selftest", *address, "--pulses", "1", "--cycles", "1", "--dry-run"]) == 0
    assert "no pulse was sent" in capsys.readouterr().out


def test_no_board_is_said_plainly(capsys):
    assert cli.main(["board", "info", "--host", "127.0.0.1", "--port", "1"]) == 1
    assert "cannot connect to 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3", "4:0:0", "1:128:0", "1:0-5:40", "x:1:1", "1:5-3-2:1"])
def test_impossible_cells_are_named(text):
    with pytest.raises(ConfigError):
        _block(text)


def test_cells_are_numbered_as_the_network_lays_them_out():
    assert _block("1:0:0-2").tolist() == [0, 1, 2]
    assert _block("3:127:31").tolist() == [12287]
    assert _block("2:1-2:5").tolist() == [4096 + 37, 4096 + 69]


def test_the_emulator_replays_a_recorded_session_and_counts_at_its_end(tmp_path, address, capsys):
    log = tmp_path / "session.jsonl"
    assert cli.main(["board", "read", *address, "--chip", "2", "--samples", "2", "--record", str(log)]) == 0
    first = capsys.readouterr().out
    assert len(recording.exchanges(log)) == 3
    with EmulatorProcess("--replay", str(log)) as replay:
        again = ["--host", "127.0.0.1", "--port", str(replay.port)]
        assert cli.main(["board", "read", *again, "--chip", "2", "--samples", "2"]) == 0
        assert capsys.readouterr().out == first
        assert cli.main(["board", "read", *again, "--chip", "1", "--samples", "1"]) == 1
    assert "after 3" in replay.output
    assert replay.statistics["requests"] == replay.statistics["recorded"] == 3
    assert "after 3" in replay.statistics["diverged"]


def test_statistics_are_written_when_it_stops():
    with EmulatorProcess("--faults", "stuck=0.2") as process:
        words = ["--host", "127.0.0.1", "--port", str(process.port), "--cells", "3:120-123:24-31"]
        cli.main(["board", "selftest", *words, "--pulses", "2", "--cycles", "1"])
    statistics = process.statistics
    assert statistics["pulses"] == 32 * 4 and statistics["max_pulses_per_cell"] == 4
    assert np.count_nonzero(statistics["pulses_per_cell"]) == 32
    assert json.dumps(statistics["faults"])


def test_wrong_faults_are_refused():
    with pytest.raises(AcceleratorError, match="did not start"):
        EmulatorProcess("--faults", "explode=1")


def test_a_terminated_emulator_ends_cleanly():
    process = EmulatorProcess()
    process._process.send_signal(signal.SIGTERM)
    assert process._process.wait(20) == 0
    with process:
        pass
