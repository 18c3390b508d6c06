"""What is kept of a session: recordings and counts survive whatever ends it, and a dry run keeps none."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from memristor_bdnn import accelerator, cli, learners
from memristor_bdnn.accelerator.escim import selftest
from memristor_bdnn.accelerator.escim.wire import recording
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.device.tables import read_table
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, Server
from memristor_bdnn.errors import AcceleratorError, ConfigError, StoreError
from memristor_bdnn.state import load_npz

ADDRESS = ("host", "port", "abort_port")


@pytest.fixture
def board():
    emulated = EmulatedBoard(EmulatorConfig(seed=5))
    seen = []
    plain = BoardResponder(emulated, FaultInjector(FaultConfig()))

    class Responder:
        def respond(self, frame, plan):
            seen.append(frame.command)
            return plain.respond(frame, plan)

    with Server(Responder()) as server:
        server.emulated, server.seen = emulated, seen
        yield server


def driver(server, **options):
    chips = accelerator.create(
        "escim", **{k: getattr(server, k) for k in ADDRESS}, **{"reset_by": "cfg_reg", **options}
    )
    chips.allocate(12288)
    return chips


def words(server):
    return ["--host", server.host, "--port", str(server.port), "--abort-port", str(server.abort_port)]


def some(count=20):
    direction = np.zeros(12288, np.int8)
    direction[:count] = 1
    return direction


# -- recordings


def test_the_same_command_again_keeps_the_recording_of_before(board, tmp_path, capsys):
    path = tmp_path / "crash.jsonl"
    command = ["board", "read", *words(board), "--samples", "1", "--record", str(path)]
    assert cli.main(command) == 0
    first = path.read_bytes()
    for number in (1, 2):
        assert cli.main(command) == 0
        assert f"crash.{number}.jsonl" in capsys.readouterr().out
    assert path.read_bytes() == first
    assert [len(recording.exchanges(p)) for p in sorted(tmp_path.iterdir())] == [2, 2, 2]


def test_a_driver_keeps_it_too_and_says_where_it_records(board, tmp_path, caplog):
    path = tmp_path / "lab"
    for _ in range(2):
        driver(board, record=str(path)).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lab", "lab.1"] and "lab.1" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_full_ends_the_work_by_name_and_nothing_is_pulsed_unrecorded(board, tmp_path):
    chips = driver(board, record=str(tmp_path / "r.jsonl"))
    recorder = chips.board.recorder
    recorder._file.close()
    recorder._file = open("/dev/full", "w", buffering=1)
    with pytest.raises(StoreError, match=r"recording .* cannot be written: No space left"):
        chips.pulse(some(2000))
    assert board.emulated.pulses_given.sum() <= 1, "the one whose packet could not be written was on its way"
    assert chips.board.guard.pulses.sum() >= board.emulated.pulses_given.sum()
    chips.close()


# -- counts


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(board, tmp_path):
    for bad in (tmp_path / "no" / "counts.npz", tmp_path):
        with pytest.raises((StoreError, ConfigError), match=str(bad)):
            driver(board, endurance_file=str(bad))
    assert not board.seen


def test_counts_are_on_disk_before_the_pulses(board, tmp_path):
    file = tmp_path / "counts.npz"
    chips = driver(board, endurance_file=str(file))
    at = []
    give = chips._recovery.give
    chips._recovery.give = lambda pulse: (at.append(int(load_npz(file)["pulses"].sum())), give(pulse))
    chips.pulse(some(20))
    chips.pulse(some(5))
    assert at == [20] * 20 + [25] * 5
    chips.close()
    assert load_npz(file)["pulses"].sum() == 25 == board.emulated.pulses_given.sum()


def test_a_killed_process_leaves_no_pulse_uncounted(board, tmp_path):
    file = tmp_path / "counts.npz"
    script = f"""
import os, numpy as np
from memristor_bdnn import accelerator
chips = accelerator.create("escim", host="127.0.0.1", port={board.port}, abort_port={board.abort_port},
                           reset_by="cfg_reg", endurance_file={str(file)!r})
chips.allocate(12288)
give, given = chips._recovery.give, []
def kill_after(pulse):
    give(pulse)
    given.append(1)
    if len(given) == 7:
        os._exit(9)
chips._recovery.give = kill_after
chips.pulse(np.ones(12288, np.int8))
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    given = board.emulated.pulses_given
    assert given.sum() == 7
    assert (load_npz(file)["pulses"].reshape(-1)[:12288] >= given).all()


def test_a_full_disk_stops_before_the_pulses_and_keeps_the_counts_of_before(board, tmp_path, monkeypatch):
    file = tmp_path / "counts.npz"
    chips = driver(board, endurance_file=str(file))
    chips.pulse(some(20))
    chips.write_verify(np.full(12288, 2.0), some(10) > 0)
    kept = load_npz(file)["pulses"].sum()

    def full(path, arrays):
        raise StoreError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("memristor_bdnn.accelerator.escim.safety.save_npz", full)
    given, jobs = board.emulated.pulses_given.sum(), board.seen.count(Command.MAP_ARRAY)
    with pytest.raises(StoreError, match="No space left"):
        chips.pulse(some(30))
    with pytest.raises(StoreError, match="No space left"):
        chips.write_verify(np.full(12288, 2.0), some(10) > 0)
    assert board.emulated.pulses_given.sum() == given and board.seen.count(Command.MAP_ARRAY) == jobs
    assert load_npz(file)["pulses"].sum() == kept
    monkeypatch.undo()
    chips.close()
    assert load_npz(file)["pulses"].sum() == kept == chips.board.guard.pulses.sum()


def test_the_table_of_a_selftest_is_saved_after_every_pulse(board, tmp_path):
    chips, path, sizes = driver(board), tmp_path / "t.csv", []

    def keep(result):
        result.write_csv(path)
        sizes.append(len(read_table(path).set_ua))
        if len(sizes) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        selftest.run(chips, np.arange(8), pulses=5, cycles=1, reads=2, keep=keep)
    assert sizes == [8, 16, 24]
    chips.close()


# -- dry runs


def test_a_dry_run_of_the_selftest_writes_no_table(board, tmp_path, capsys):
    path = tmp_path / "t.csv"
    words_ = [*words(board), "--cells", "3:120-121:24-31", "--pulses", "2", "--cycles", "1", "--dry-run"]
    assert cli.main(["board", "selftest", *words_, "--out", str(path), "--record", str(tmp_path / "r.jsonl")]) == 0
    text = capsys.readouterr().out
    assert not path.exists() and "64 pulses in 64 requests" in text and "is not written" in text
    assert "respond" not in text and "passed" not in text
    withheld = [e for e in recording.load(tmp_path / "r.jsonl") if e.kind == "withheld"]
    assert len(withheld) == 64
    path.write_text("of before")
    assert cli.main(["board", "selftest", *words_, "--out", str(path)]) == 0
    assert path.read_text() == "of before" and board.emulated.pulses_given.sum() == 0


def test_a_dry_run_has_no_transitions_no_state_and_no_counts(board, tmp_path):
    chips = driver(board, dry_run=True, endurance_file=str(tmp_path / "counts.npz"))
    with pytest.raises(ConfigError, match="dry run"):
        selftest.run(chips, np.arange(8))
    assert selftest.rehearse(chips, np.arange(8), pulses=1, cycles=1) == 16
    with pytest.raises(AcceleratorError, match="dry run"):
        chips.state_dict()
    chips.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["learn", "demo", "evaluate-skill", "up"])
def test_verbs_that_keep_what_pulses_did_refuse_a_dry_run(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    which = ["accelerator:=escim"] if verb == "up" else ["--accelerator", "escim"]
    assert cli.main([verb, *which, "--accelerator-options", "{dry_run: true}"]) == 1
    assert "pulses that never happened" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_nothing_is_learned_in_a_dry_run(board):
    learner = learners.create("msgld", driver(board, dry_run=True), {}, 0)
    x, y = np.random.default_rng(0).uniform(-1, 1, (10, 11)), np.arange(10) % 2.0
    for work in (learner.fit, learner.learn):
        with pytest.raises(ConfigError, match="dry run"):
            work(x, y)


def test_a_recording_is_still_plain_lines(board, tmp_path):
    path = tmp_path / "r.jsonl"
    driver(board, record=str(path)).close()
    assert all(set(json.loads(line)) <= {"t", "kind", "hex", "text"} for line in path.read_text().splitlines())
