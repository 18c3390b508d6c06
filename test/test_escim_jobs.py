"""Write-verify jobs end when nobody waits for them any more, and begin again when the board forgot them."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.accelerator.escim.attempts import AnswerLost
from memristor_bdnn.accelerator.escim.board import Board
from memristor_bdnn.accelerator.escim.client import ClientConfig
from memristor_bdnn.accelerator.escim.wire import recording
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapParameters
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, ReplayResponder, Server, wait_until
from memristor_bdnn.errors import Cancelled

CELLS = 4096
DEPLOY = """
import sys, numpy as np
from memristor_bdnn import accelerator
chips = accelerator.create("escim", host="127.0.0.1", port={port}, abort_port={abort_port}, map_relax_us=20000)
chips.allocate(4096)
print("ready", flush=True)
chips.write_verify(np.full(4096, 2.0))
print("done", flush=True)
"""


class Slow:
    """A board that takes the time of a real one, and its server."""

    def __init__(self, **options):
        self.board = EmulatedBoard(EmulatorConfig(**{"seed": 5, "timing": True, **options}))
        self.seen = []
        plain = BoardResponder(self.board, FaultInjector(FaultConfig()))

        class Responder:
            def respond(_, frame, plan):
                self.seen.append(frame.command)
                return plain.respond(frame, plan)

        self.server = Server(Responder()).start()

    @property
    def address(self):
        return {"host": "127.0.0.1", "port": self.server.port, "abort_port": self.server.abort_port}

    def driver(self, **options):
        settings = {"backoff_s": 0.01, "backoff_max_s": 0.1, "map_relax_us": 2000, "map_stall_s": 4.0}
        chips = accelerator.create("escim", **self.address, **{**settings, **options})
        chips.allocate(CELLS)
        return chips

    def runs(self, cells=1024):
        """Wait until a job has done some cells."""
        assert wait_until(lambda: self.board.job_running and self.board.jobs.progress >= cells, 30.0)

    def ended(self):
        """Whether the job ends soon, and before its time."""
        return wait_until(lambda: not self.board.jobs.running, 20.0) and self.board.jobs.progress < CELLS


def deploying(slow):
    """A process that writes all cells."""
    program = DEPLOY.format(**slow.address)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def again(slow, chips, jobs):
    """Deploy until so many jobs were begun: the first one, and others for the cells that it left."""
    with pytest.raises(Cancelled), chips.watched(cancelled=lambda: slow.seen.count(Command.MAP_ARRAY) >= jobs):
        chips.write_verify(np.full(CELLS, 2.0))
    assert slow.seen.count(Command.MAP_ARRAY) >= jobs


@pytest.fixture(params=[True, False], ids=["blocking", "background"])
def slow(request):
    made = Slow(blocking_map=request.param)
    yield made
    made.server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_process_ends_the_writing(slow, number):
    process = deploying(slow)
    assert process.stdout.readline() == "ready\n"
    slow.runs(50)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert "done" not in output and process.returncode != 0
    assert slow.ended() and Command.MAP_ABORT in slow.seen
    if number != signal.SIGINT:
        assert process.returncode == 128 + number


def test_impatient_presses_of_ctrl_c_do_not_keep_the_abort_from_the_board(slow):
    process = deploying(slow)
    process.stdout.readline()
    slow.runs(50)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    process.communicate(timeout=60)
    assert slow.ended() and process.returncode != 0


def test_a_handler_of_the_program_is_left_alone(slow):
    chips, heard = slow.driver(), []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        killer = threading.Thread(target=lambda: (slow.runs(), os.kill(os.getpid(), signal.SIGTERM)))
        killer.start()
        chips.write_verify(np.full(CELLS, 2.0))
        killer.join()
    finally:
        signal.signal(signal.SIGTERM, before)
        chips.close()
    assert heard and Command.MAP_ABORT not in slow.seen


@pytest.mark.parametrize("where", ["progress", "cancelled"])
def test_an_exception_of_a_callback_ends_the_writing_too(slow, where):
    def fails(*_):
        if slow.board.jobs.progress >= 1024:
            raise ZeroDivisionError(where)

    chips = slow.driver()
    with pytest.raises(ZeroDivisionError), chips.watched(**{where: fails}):
        chips.write_verify(np.full(CELLS, 2.0))
    assert slow.ended()
    chips.close()


def test_a_learner_that_is_cancelled_stops_its_deployment(slow):
    chips = accelerator.create("escim", **slow.address, map_relax_us=2000)
    learner = learners.create("msgld", chips, {"ex_situ": {"epochs": 2}}, 0)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (40, 11)), (rng.random(40) > 0.5).astype(float)
    seen = []
    with pytest.raises(Cancelled, match="aborted on the board"), chips.watched(lambda *done: seen.append(done)):
        learner.fit(x, y, cancelled=lambda: slow.board.jobs.progress in range(2048, 4096))
    assert slow.ended() and Command.MAP_ABORT in slow.seen
    assert seen and all(cells == chips.n_cells for _, cells in seen), "progress is that of the whole deployment"
    chips.close()


def test_progress_counts_through_all_blocks():
    fast = Slow(timing=False)
    chips, seen = fast.driver(), []
    chips.allocate(9756)
    with chips.watched(lambda *done: seen.append(done)):
        chips.write_verify(np.full(9756, 2.0))
    assert seen[-1] == (9756, 9756) and seen == sorted(seen)
    chips.close()
    fast.server.stop()


def test_closing_aborts_a_job_that_nobody_waits_for():
    slow = Slow()
    board = Board(ClientConfig(**slow.address))
    board.read_chip(1)
    cutter = threading.Thread(target=lambda: (slow.runs(), board.client._socket.shutdown(2)))
    cutter.start()
    with pytest.raises(AnswerLost):
        board.map_block(Block(1, 0, 128, 0, 32), np.full(4096, 2.0), MapParameters(relax_us=2000))
    cutter.join()
    assert slow.board.jobs.running
    board.close()
    assert slow.ended()
    slow.server.stop()


def test_a_job_that_the_board_forgot_is_done_again(slow):
    chips = slow.driver()

    def power_cycle():
        slow.runs()
        slow.board.power_up()
        for connection in list(slow.server._connections):
            connection.shutdown(2)

    killer = threading.Thread(target=power_cycle)
    killer.start()
    again(slow, chips, 5)
    killer.join()
    chips.close()


def test_a_job_that_stands_still_is_done_again():
    slow = Slow(blocking_map=False)
    chips = slow.driver(map_stall_s=1.0, map_relax_us=300)
    killer = threading.Thread(target=lambda: (slow.runs(), slow.board.jobs._abort.set()))
    killer.start()
    report = chips.write_verify(np.full(CELLS, 2.0))
    killer.join()
    assert slow.seen.count(Command.MAP_ARRAY) > 1 and report.within_tolerance > 0.7 * CELLS
    chips.close()
    slow.server.stop()


def test_a_blocking_job_whose_connection_is_lost_is_followed_through_the_second_port():
    slow = Slow()
    chips = slow.driver(map_stall_s=10.0)

    def cut():
        slow.runs()
        chips.board.client._socket.shutdown(2)

    killer = threading.Thread(target=cut)
    killer.start()
    again(slow, chips, 2)
    killer.join()
    assert slow.seen.count(Command.MAP_PROGRESS) > 1
    chips.close()
    slow.server.stop()


def test_what_passed_through_the_second_port_does_not_disturb_a_replay(tmp_path):
    slow, path = Slow(), tmp_path / "watched.jsonl"

    def work(**options):
        chips = accelerator.create("escim", **{**slow.address, **options}, map_relax_us=500)
        chips.allocate(CELLS)
        with chips.watched(lambda *done: None):
            chips.write_verify(np.full(CELLS, 2.0))
        reads = chips.read(2)
        chips.close()
        return reads

    reads = work(record=str(path))
    slow.server.stop()
    assert recording.exchanges(path, port=2), "progress was asked for beside the job"
    assert all(answer is not None for _, answer in recording.exchanges(path))
    replay = ReplayResponder(path)
    with Server(replay) as server:
        np.testing.assert_array_equal(work(port=server.port, abort_port=server.abort_port), reads)
    assert replay.mismatch is None and replay.position == len(replay.pairs)
