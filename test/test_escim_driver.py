"""The driver above real sockets and an emulated board: parity, safety, interruptions, deployment, checkpoints."""

import json

import numpy as np
import pytest

from memristor_bdnn import accelerator
from memristor_bdnn.accelerator.escim import selftest
from memristor_bdnn.accelerator.escim.attempts import NotExecuted
from memristor_bdnn.accelerator.escim.blocks import rectangles
from memristor_bdnn.accelerator.escim.safety import Guard, SafetyError, SafetyLimits
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapParameters
from memristor_bdnn.accelerator.escim.wire.recording import load
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.device.tables import read_table
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector, Plan
from memristor_bdnn.emulator.server import BoardResponder, ReplayResponder, Server
from memristor_bdnn.errors import AcceleratorError, Cancelled, CapacityError, ConfigError, UnsupportedError

CELLS = 9756


class Setup:
    """Servers and drivers of one test."""

    def __init__(self):
        self.open = []

    def board(self, faults=None, responder=None, **options):
        injector = faults if isinstance(faults, FaultInjector) else FaultInjector(faults or FaultConfig(), 3)
        board = EmulatedBoard(EmulatorConfig(**{"seed": 5, **options}))
        server = Server(BoardResponder(board, injector) if responder is None else responder(board), faults=injector)
        server.emulated = board
        self.open.append(server.start().stop)
        return server

    def driver(self, server, cells=CELLS, **options):
        settings = {"backoff_s": 0.001, "backoff_max_s": 0.01, "resync_s": 0.2, "map_stall_s": 1.0, "retries": 30}
        made = accelerator.create(
            "escim", host=server.host, port=server.port, abort_port=server.abort_port, seed=5, **{**settings, **options}
        )
        self.open.insert(0, made.close)
        if cells:
            made.allocate(cells)
        return made


@pytest.fixture
def setup():
    made = Setup()
    yield made
    for close in made.open:
        close()


def directions(rng, share=0.03, cells=CELLS):
    return (rng.choice([-1, 1], cells) * (rng.random(cells) < share)).astype(np.int8)


@pytest.mark.parametrize("grouping", ["cell", "row"])
def test_the_same_seed_gives_the_same_currents_as_the_simulation(setup, grouping):
    board = setup.driver(setup.board(), reset_by="cfg_reg", pulses_per_request=grouping)
    chips = accelerator.create("simulated", seed=5, adc=True)
    chips.allocate(CELLS)
    rng = np.random.default_rng(0)
    for _ in range(2):
        target = rng.uniform(0.5, 3.9, CELLS)
        ours, theirs = board.write_verify(target), chips.write_verify(target)
        assert ours.mean_error_ua == theirs.mean_error_ua and ours.within_tolerance == theirs.within_tolerance
        np.testing.assert_array_equal(board.read(3), chips.read(3))
        direction = directions(rng)
        board.pulse(direction)
        chips.pulse(direction)
        np.testing.assert_array_equal(board.read(2), chips.read(2))


def test_reset_target_and_columns_give_statistically_the_same(setup):
    server = setup.board()
    board = setup.driver(server, pulses_per_request="column")
    chips = accelerator.create("simulated", seed=6)
    chips.allocate(CELLS)
    rng = np.random.default_rng(1)
    target = np.full(CELLS, 2.0)
    for each in (board, chips):
        each.write_verify(target)
    for _ in range(2):
        direction = directions(rng, 0.1)
        for each in (board, chips):
            before = each.read(20).mean(axis=0)
            each.pulse(direction)
            change = each.read(20).mean(axis=0) - before
            each.changes = {sign: change[direction == sign] for sign in (-1, 0, 1)}
        for sign in (-1, 1):
            ours, theirs = board.changes[sign], chips.changes[sign]
            spread = np.hypot(ours.std(), theirs.std()) / np.sqrt(ours.size)
            assert abs(ours.mean() - theirs.mean()) < 4 * spread
            assert 0.8 < ours.std() / theirs.std() < 1.25
        assert abs(board.changes[0].mean()) < 0.01
    assert server.emulated.pulses_given.max() <= 2


def test_it_is_an_accelerator(setup):
    board = setup.driver(setup.board(), cells=None)
    assert isinstance(board, Accelerator)
    assert board.name == "escim" and board.capacity == 12288
    with pytest.raises(ConfigError, match="allocate"):
        board.read()
    with pytest.raises(CapacityError, match="12 cells are missing"):
        board.allocate(12300)
    board.allocate(100)
    assert board.read(3, slice(10, 20)).shape == (3, 10)
    for direction, what in ((np.zeros(99, np.int8), "shape"), (np.full(100, 2, np.int8), "not one of")):
        with pytest.raises(ConfigError, match=what):
            board.pulse(direction)
    with pytest.raises(ConfigError, match="not negative"):
        board.write_verify(np.full(100, -1.0))
    with pytest.raises(UnsupportedError, match="write_verify"):
        board.program(np.full(100, 1.0))
    with pytest.raises(ConfigError, match="hots"):
        accelerator.create("escim", hots="x")


def test_ledger_counts_what_was_done(setup):
    board = setup.driver(setup.board(), cells=200)
    board.read(5)
    direction = np.zeros(200, np.int8)
    direction[:30], direction[30:40] = 1, -1
    board.pulse(direction)
    summary = board.ledger.summary()
    assert (summary["reads"], summary["set_pulses"], summary["reset_pulses"], summary["max_wear"]) == (1000, 30, 10, 1)
    assert summary["device_energy_j"] > 0 and summary["latency_s"] > 0


def test_a_masked_deployment_touches_only_its_cells(setup):
    server = setup.board()
    board = setup.driver(server)
    before = server.emulated.chips.cells.state_ua.copy()
    mask = np.zeros(CELLS, bool)
    mask[[3, 4, 36, 5000, 9755]] = True
    report = board.write_verify(np.full(CELLS, 2.5), mask)
    assert report.cells == 5
    changed = np.flatnonzero(server.emulated.chips.cells.state_ua != before)
    assert set(changed) <= {3, 4, 36, 5000, 9755}
    assert abs(board.read(10)[:, mask].mean() - 2.5) < 0.5


def test_rectangles_cover_exactly_the_selection():
    rng = np.random.default_rng(2)
    for share in (0.02, 0.5, 1.0):
        selected = rng.random((128, 32)) < share
        covered = np.zeros((128, 32), int)
        for block in rectangles(selected, 2):
            covered[block.bl : block.bl + block.n_bl, block.sl : block.sl + block.n_sl] += 1
        np.testing.assert_array_equal(covered, selected.astype(int))
    partial = np.zeros(4096, bool)
    partial[:1564] = True
    assert [b.cells for b in rectangles(partial.reshape(128, 32), 3)] == [1536, 28]


def counting(setup, faults, **options):
    """A board under faults, a driver, and its pulses over several steps."""
    server = setup.board(faults)
    board = setup.driver(server, answer_timeout_s=0.6, **options)
    rng = np.random.default_rng(7)
    asked = np.zeros(12288, int)
    for _ in range(3):
        direction = directions(rng, 0.02)
        board.pulse(direction)
        asked[:CELLS] += np.abs(direction)
        board.read(2)
    return server, board, asked


@pytest.mark.parametrize("reset_by", ["cfg_reg", "reset_target"])
def test_no_pulse_is_given_twice_under_faults(setup, reset_by):
    faults = FaultConfig(drop=0.05, corrupt=0.01, truncate=0.02, garbage=0.02, busy=0.01, reset=0.01)
    server, board, asked = counting(setup, faults, reset_by=reset_by)
    given = server.emulated.pulses_given
    assert (given <= asked).all(), "never twice"
    assert board.interruptions > 0 and board.lost_pulses
    missing = int((asked - given).sum())
    if reset_by == "cfg_reg":
        assert 0 < missing <= len(board.lost_pulses), "only pulses whose answer was lost may be missing"
    for lost in board.lost_pulses:
        assert len(lost.before_ua) == len(lost.after_ua) == len(lost.cells)


class OneFault(FaultInjector):
    """Loses the answer of the n-th pulse, before or after it is executed."""

    def __init__(self, nth, executed):
        super().__init__(FaultConfig())
        self.left, self.executed, self.after = nth, executed, []

    def respond(self, board):
        plain = BoardResponder(board, self)

        class Responder:
            def respond(_, frame, plan):
                self.after.append(frame.command)
                pulse = frame.command == Command.CFG_REG
                self.left -= pulse
                if pulse and self.left == 0:
                    self.after.clear()
                    return plain.respond(frame, Plan(drop_after=self.executed, drop_before=not self.executed))
                return plain.respond(frame, plan)

        return Responder()


@pytest.mark.parametrize("executed", [True, False])
def test_after_a_lost_answer_the_cell_is_read_before_anything_else(setup, executed):
    fault = OneFault(3, executed)
    server = setup.board(fault, fault.respond)
    board = setup.driver(server, reset_by="cfg_reg")
    direction = np.zeros(CELLS, np.int8)
    direction[10:16] = 1
    board.pulse(direction)
    assert server.emulated.pulses_given[10:16].tolist() == [1, 1, int(executed), 1, 1, 1]
    assert fault.after == [Command.READ_ALL] * 3 + [Command.CFG_REG] * 3, "all chips are read, then the next cell"
    (lost,) = board.lost_pulses
    assert lost.cells == (12,) and not lost.reset
    assert (lost.after_ua[0] - lost.before_ua[0] > 0.4) == executed


def test_a_deployment_survives_faults(setup):
    server = setup.board(FaultConfig(drop=0.1, corrupt=0.05))
    board = setup.driver(server, answer_timeout_s=2.0)
    report = board.write_verify(np.full(CELLS, 2.0))
    assert report.within_tolerance > 0.7 * CELLS
    assert abs(board.read(5).mean() - 2.0) < 0.2


def test_a_board_that_never_answers_pulses_stops_the_work(setup):
    class Deaf:
        def __init__(self, board):
            self.plain = BoardResponder(board, FaultInjector(FaultConfig()))

        def respond(self, frame, plan):
            return None if frame.command == Command.CFG_REG else self.plain.respond(frame, plan)

    board = setup.driver(setup.board(responder=Deaf))
    with pytest.raises(AcceleratorError, match="in a row were lost"):
        board.pulse(np.ones(CELLS, np.int8))


def test_limits_refuse_before_anything_is_sent(setup):
    server = setup.board()
    one = np.zeros(CELLS, np.int8)
    one[77] = 1
    cases = [
        ({"limits": {"endurance": 1}}, "endurance"),
        ({"limits": {"max_cell_pulses_per_minute": 1}}, "chip 1 BL 2 SL 13 would have 2 pulses within a minute"),
        ({"limits": {"max_pulses_per_minute": 1}}, "in a minute"),
    ]
    for options, what in cases:
        board = setup.driver(server, **options)
        before = server.emulated.pulses_given.sum()
        with pytest.raises(SafetyError, match=what):
            board.pulse(one)
            assert server.emulated.pulses_given.sum() == before + 1
            board.pulse(one)
        assert server.emulated.pulses_given.sum() <= before + 1
        board.close()
    board = setup.driver(server, limits={"max_sl_v": 3.0})
    with pytest.raises(SafetyError, match="SL 4 V"):
        board.write_verify(np.full(CELLS, 1.0))


def test_the_minute_passes_and_the_budget_stays(tmp_path):
    now = [0.0]
    file = tmp_path / "endurance.npz"
    guard = Guard(SafetyLimits(max_cell_pulses_per_minute=2, endurance=5), file, clock=lambda: now[0])
    guard.charge(1, [7], 1)
    guard.charge(1, [7], 1)
    with pytest.raises(SafetyError, match="minute"):
        guard.charge(1, [6, 7], 1)
    assert guard.pulses[0, 6] == 0, "all or nothing"
    now[0] = 61.0
    guard.charge(1, [7], 1)
    guard.refund(1, [7], 1)
    guard.charge(1, [7], 1)
    guard.save()
    again = Guard(SafetyLimits(endurance=5), file)
    assert again.map(1)[0, 7] == 3
    again.charge(1, [7], 2)
    with pytest.raises(SafetyError, match="endurance"):
        again.charge(1, [7], 1)
    file.write_bytes(b"junk")
    with pytest.raises(ConfigError):
        Guard(SafetyLimits(), file)


def test_a_dry_run_sends_no_pulse_and_records_it(setup, tmp_path):
    server = setup.board()
    path = tmp_path / "dry.jsonl"
    board = setup.driver(server, dry_run=True, record=str(path))
    before = server.emulated.chips.cells.state_ua.copy()
    direction = np.zeros(CELLS, np.int8)
    direction[5], direction[6] = 1, -1
    board.pulse(direction)
    board.write_verify(np.full(CELLS, 2.0))
    board.close()
    np.testing.assert_array_equal(server.emulated.chips.cells.state_ua, before)
    withheld = [entry.data[1] for entry in load(path) if entry.kind == "withheld"]
    assert withheld == [Command.CFG_REG, Command.RESET_TARGET] + [Command.MAP_ARRAY] * 4
    assert board.ledger.summary()["set_pulses"] == 0 and board.board.guard.pulses.sum() == 0


def test_old_firmware_is_driven_when_allowed(setup):
    server = setup.board(dialect="P")
    with pytest.raises(AcceleratorError, match="allow_unchecked"):
        setup.driver(server)
    board = setup.driver(server, cells=200, allow_unchecked=True)
    state = server.emulated.chips.cells.state_ua
    assert np.abs(board.read(1)[0] - state[:200]).max() < 0.5
    direction = np.zeros(200, np.int8)
    direction[50], direction[60] = 1, -1
    server.emulated.chips.cells.move(np.array([60]), np.array([3.0], np.float32))
    board.pulse(direction)
    assert np.flatnonzero(server.emulated.pulses_given).tolist() == [50, 60]
    report = board.write_verify(np.full(200, 2.0))
    assert report.within_tolerance > 120 and abs(state[:200].mean() - 2.0) < 0.2


def test_a_job_in_the_background_is_waited_for(setup):
    board = setup.driver(setup.board(blocking_map=False), cells=4096)
    report = board.write_verify(np.full(4096, 3.0))
    assert report.within_tolerance > 0.7 * 4096


def test_checkpoints_recognise_the_chips(setup):
    board = setup.driver(setup.board())
    board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    state = board.state_dict()
    board.load_state_dict(state)
    assert all(value.dtype != object for value in state.values())
    other = setup.driver(setup.board(seed=8))
    with pytest.raises(ConfigError, match="read differently"):
        other.load_state_dict(state)
    willing = setup.driver(setup.board(seed=8), restore="deploy")
    willing.load_state_dict(state)
    assert np.median(np.abs(willing.read(3).mean(axis=0) - state["currents_ua"])) < 0.3
    with pytest.raises(ConfigError, match="currents_ua"):
        board.load_state_dict({k: v for k, v in state.items() if k != "currents_ua"})


def test_selftest_measures_the_transitions_and_exports_them(setup, tmp_path):
    board = setup.driver(setup.board(stuck=0.1), cells=12288, reset_by="cfg_reg", pulses_per_request="row")
    cells = np.arange(2 * 4096 + 3840, 2 * 4096 + 4096)
    result = selftest.run(board, cells, pulses=4, cycles=2, reads=5)
    assert result.passed and result.mean_set_ua > 0.2 and result.mean_reset_ua < -0.1
    assert 10 < result.silent < 50, "a tenth is stuck"
    result.write_csv(tmp_path / "t.csv")
    table = read_table(tmp_path / "t.csv")
    assert table.set_ua.shape == table.reset_ua.shape == (256 * 8, 2)
    assert sum(row[1] for row in result.table()) == 2 * 256 * 8
    with pytest.raises(ConfigError):
        selftest.run(board, np.array([99999]))


def test_no_board_is_a_clear_error():
    with pytest.raises(NotExecuted, match="Is the board on"):
        accelerator.create("escim", host="127.0.0.1", port=1, retries=0)


def test_recording_of_a_driver_is_plain_json(setup, tmp_path):
    path = tmp_path / "r.jsonl"
    board = setup.driver(setup.board(), record=str(path))
    board.read(1)
    board.close()
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds.count("tx") == kinds.count("rx") == 6 and kinds[0] == "event"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_deployment_reports_progress_and_can_be_cancelled(setup, blocking):
    server = setup.board(timing=True, blocking_map=blocking)
    board = setup.driver(server, map_stall_s=20.0).board
    block, targets, quick = Block(1, 0, 128, 0, 32), np.full(4096, 2.0), MapParameters(relax_us=500)
    seen = []
    board.map_block(block, targets, quick, progress=lambda done, total: seen.append((done, total)))
    assert seen and all(0 <= done <= 4096 and total == 4096 for done, total in seen)
    assert sorted(seen) == seen and not server.emulated.job_running
    with pytest.raises(Cancelled, match="aborted on the board"):
        board.map_block(block, targets, quick, cancelled=lambda: True)
    assert not server.emulated.job_running and board.progress() < 4096
    with pytest.raises(SafetyError, match="400 write-verify pulses"):
        board.map_block(block, targets, MapParameters(max_pulses=400))


def test_a_whole_session_is_replayed_without_its_board(setup, tmp_path):
    path = tmp_path / "lab.jsonl"

    def work(server, **options):
        board = setup.driver(server, cells=300, **options)
        report = board.write_verify(np.linspace(0.5, 3.5, 300))
        board.pulse(directions(np.random.default_rng(4), 0.2, 300))
        reads = board.read(3)
        board.close()
        return report, reads

    report, reads = work(setup.board(), record=str(path))
    replay = ReplayResponder(path)
    again, replayed = work(setup.board(responder=lambda board: replay))
    assert again == report and replay.mismatch is None and replay.position == len(replay.pairs)
    np.testing.assert_array_equal(replayed, reads)
