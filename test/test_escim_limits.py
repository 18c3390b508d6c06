"""Limits before anything is sent: options at construction, whole patterns, targets; one counter of pulses."""

import numpy as np
import pytest
from test_escim_driver import CELLS, Setup

from memristor_bdnn.accelerator.escim.board import Board
from memristor_bdnn.accelerator.escim.client import ClientConfig
from memristor_bdnn.accelerator.escim.safety import SafetyError, SafetyLimits
from memristor_bdnn.accelerator.escim.wire import registers
from memristor_bdnn.accelerator.escim.wire.commands import Command, Dialect
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapParameters
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder
from memristor_bdnn.errors import AcceleratorError, ConfigError


@pytest.fixture
def setup():
    made = Setup()
    yield made
    for close in made.open:
        close()


def pattern(n, cells=CELLS, value=1):
    direction = np.zeros(cells, np.int8)
    direction[:n] = value
    return direction


def same_counts(board):
    """The ledger and the guard tell of the same pulses, cell by cell and in all."""
    guard = board.board.guard.pulses.reshape(-1)
    np.testing.assert_array_equal(guard[: board.n_cells], board.ledger.wear)
    assert guard.sum() == board.ledger.set_pulses + board.ledger.reset_pulses
    return int(guard.sum())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"set_voltage_v": 3.5}, "BL 3.5 V: the safety limit is 3.3 V"),
        ({"set_voltage_v": 0.0}, "BL 0 V.*more than 0"),
        ({"set_gate_v": 0.0}, "WL 0 V.*more than 0"),
        ({"limits": {"max_wl_v": 1.0}}, "WL 1.25 V: the safety limit is 1 V"),
        ({"reset_voltage_v": 4.5}, "SL 4.5 V"),
        ({"reset_gate_v": 2.0, "limits": {"max_wl_v": 1.5}}, "WL 2 V"),
        ({"set_width_ns": 2000.0}, "pulse width 2000 ns"),
        ({"set_width_ns": 0.0}, "pulse width 0 ns"),
        ({"reset_width_ns": 19.0}, "pulse width 19 ns.*whole units of 20 ns"),
        ({"map_relax_us": -1}, "map_relax_us"),
        ({"map_relax_us": 200_000}, "map_relax_us"),
    ],
)
def test_options_that_no_pulse_could_have_are_refused_before_a_connection_is_made(setup, tmp_path, options, what):
    server = setup.board()
    record = tmp_path / "r.jsonl"
    with pytest.raises((SafetyError, ConfigError), match=what):
        setup.driver(server, record=str(record), **options)
    assert server.emulated.requests == 0 and not record.exists()


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({"endurance": 1}, "chip 1 BL 1 SL 8 would have 2 pulses in all"),
        ({"max_cell_pulses_per_minute": 1}, "chip 1 BL 1 SL 8 would have 2 pulses within a minute"),
        ({"max_pulses_per_minute": 60}, "50 pulses after 20 would be more than 60 pulses in a minute"),
    ],
)
@pytest.mark.parametrize("value", [1, -1])
def test_a_pattern_beyond_a_limit_is_refused_whole(setup, limits, what, value):
    server = setup.board()
    board = setup.driver(server, reset_by="cfg_reg", limits=limits)
    board.pulse(np.roll(pattern(20, value=value), 40))
    requests = server.emulated.requests
    with pytest.raises(SafetyError, match=what):
        board.pulse(pattern(50, value=value))
    assert server.emulated.requests == requests, "not even a read"
    assert same_counts(board) == server.emulated.pulses_given.sum() == 20
    later = np.roll(pattern(20, value=value), 100)
    board.pulse(later)
    assert same_counts(board) == 40, "what fits is still given"


@pytest.mark.parametrize(
    ("limits", "what"),
    [({"endurance": 299}, "300 pulses in all"), ({"max_pulses_per_minute": 5 * CELLS - 1}, "in a minute")],
)
def test_a_deployment_beyond_a_limit_is_refused_whole(setup, limits, what):
    server = setup.board()
    board = setup.driver(server, limits=limits)
    requests = server.emulated.requests
    with pytest.raises(SafetyError, match=what):
        board.write_verify(np.full(CELLS, 2.0))
    assert server.emulated.requests == requests and same_counts(board) == 0
    assert server.emulated.chips.map_pulses.sum() == 0


def test_there_is_one_counter_whatever_happens(setup):
    faults = FaultConfig(drop=0.03, corrupt=0.02, busy=0.02)
    board = setup.driver(setup.board(faults), answer_timeout_s=2.0, cells=300)
    board.write_verify(np.linspace(0.5, 3.9, 300))
    rng = np.random.default_rng(3)
    for _ in range(4):
        board.pulse(rng.integers(-1, 2, 300).astype(np.int8))
        assert same_counts(board) > 0


class Refusing:
    """Answers ten pulses, then refuses every further one."""

    def __init__(self, board):
        self.plain, self.left, self.board = BoardResponder(board, FaultInjector(FaultConfig())), 10, board

    def respond(self, frame, plan):
        if frame.command == Command.CFG_REG:
            self.left -= 1
            if self.left < 0:
                return self.board.refuse(frame.command, 3)
        return self.plain.respond(frame, plan)


def test_what_was_given_before_an_error_is_in_the_ledger(setup):
    server = setup.board(responder=Refusing)
    board = setup.driver(server, reset_by="cfg_reg")
    with pytest.raises(AcceleratorError, match="0x03"):
        board.pulse(pattern(50))
    assert same_counts(board) == server.emulated.pulses_given.sum() == 10


@pytest.mark.parametrize("target", [0.0, 0.2, 4.2, 15.0, 25.0])
def test_a_target_outside_of_the_window_is_refused_before_anything_is_sent(setup, target):
    server = setup.board()
    board = setup.driver(server)
    targets = np.full(CELLS, 2.0)
    targets[9000] = target
    requests = server.emulated.requests
    with pytest.raises(SafetyError, match=rf"target_ua\[9000\] = {target:g} uA.*0.4 to 4 uA"):
        board.write_verify(targets)
    assert server.emulated.requests == requests and same_counts(board) == 0
    board.write_verify(targets, np.arange(CELLS) < 100)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"set_width_ns": 0.0}, "pulse width 0 ns"),
        ({"reset_width_ns": 2000.0}, "pulse width 2000 ns"),
        ({"max_pulses": 0}, "0 write-verify pulses"),
        ({"relax_us": 10**7}, "us of rest"),
        ({"relax_us": -1}, "us of rest"),
        ({"check_threshold": 30}, "must pass"),
        ({"tolerance_low_ua": 0.0}, "accepts no cell"),
        ({"set_bl": (3.0, 0.1, 1.5)}, "not falling"),
        ({"reset_sl": (0.0, 0.1, 3.0)}, "SL 0 V"),
    ],
)
def test_a_job_that_cannot_work_is_refused_before_anything_is_sent(setup, change, what):
    server = setup.board()
    board = setup.driver(server).board
    requests = server.emulated.requests
    with pytest.raises(SafetyError, match=what):
        board.map_block(Block(1, 0, 2, 0, 2), np.full(4, 2.0), MapParameters(**change))
    with pytest.raises(SafetyError, match=r"0.1 uA below the tolerance of 0.3 uA"):
        board.map_block(Block(1, 0, 2, 0, 2), np.array([2.0, 2.0, 0.1, 2.0]))
    assert server.emulated.requests == requests


def test_a_read_is_no_way_around_the_limits(setup):
    server = setup.board()
    board = Board(ClientConfig(host=server.host, port=server.port), SafetyLimits())
    board.detect()
    requests = server.emulated.requests
    with pytest.raises(SafetyError, match="read voltage 3 V"):
        board.read_table(registers.read_table(1, 5, 7, v_read=3.0))
    with pytest.raises(SafetyError, match="read voltage 0 V"):
        board.read_cell(1, 5, 7, 0.0)
    assert server.emulated.requests == requests
    board.close()


def test_the_published_firmware_gets_no_reset_target_that_it_cannot_keep(setup):
    server = setup.board(dialect="P")
    board = setup.driver(server, cells=1200, allow_unchecked=True)
    board.pulse(pattern(1200, 1200, -1)[::-1].copy())
    assert server.emulated.jobs.overruns == 0 and server.emulated.pulses_given[:1200].sum() == 1200, "all by CFG_REG"
    board.close()
    asked = setup.driver(server, cells=1200, allow_unchecked=True, reset_by="reset_target")
    given = server.emulated.pulses_given.sum()
    with pytest.raises(SafetyError, match=r"BL 37.*reset_by=cfg_reg"):
        asked.pulse(pattern(1200, 1200, -1))
    assert server.emulated.pulses_given.sum() == given and same_counts(asked) == 0
    asked.pulse(pattern(1024, 1200, -1))
    assert server.emulated.jobs.overruns == 0
    patient = Board(ClientConfig(host=server.host, port=server.port), SafetyLimits(max_map_pulses=2000)).guard
    patient.check_map(MapParameters(max_pulses=999), np.full(4, 2.0), Dialect.C)
    with pytest.raises(SafetyError, match="the safety limit is 998"):
        patient.check_map(MapParameters(max_pulses=999), np.full(4, 2.0), Dialect.P)


def test_the_emulator_counts_what_the_published_firmware_would_overwrite(setup):
    from memristor_bdnn.accelerator.escim.wire.layouts import TargetPulses

    server = setup.board(dialect="P")
    board = setup.driver(server, cells=100, allow_unchecked=True).board
    for bl, overruns in ((31, 0), (32, 1)):
        request = TargetPulses.build(True, Block(None, bl, 1, 0, 1), [9.0], (3.2, 0.05, 5.0), (1.95, 0.05, 4.0))
        board.client.request(request.request())
        assert server.emulated.jobs.overruns == overruns


def test_current_boards_still_get_reset_target(setup):
    server = setup.board()
    board = setup.driver(server)
    board.write_verify(np.full(CELLS, 3.0))
    seen = []
    answer = server.emulated.answer
    server.emulated.answer = lambda frame: seen.append(frame.command) or answer(frame)
    board.pulse(pattern(3, value=-1))
    assert seen == [Command.RESET_TARGET] * 3
