"""After every reconnect: the same chips go on, others stop everything, whatever was in flight."""

import numpy as np
import pytest
from test_escim_driver import CELLS, Setup

from memristor_bdnn.accelerator.escim.recognise import OtherChips
from memristor_bdnn.accelerator.escim.wire.commands import Command, ErrorCode
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, Server
from memristor_bdnn.errors import AcceleratorError, ConfigError


@pytest.fixture
def setup():
    made = Setup()
    yield made
    for close in made.open:
        close()


class Rack(BoardResponder):
    """A board behind a server whose chips can be changed while the connection is away.

    Attributes:
        at: what happens at the n-th request of a command from now on: (command, n, executed, what).
    """

    def __init__(self, board):
        super().__init__(board, FaultInjector(FaultConfig()))
        self.at, self.seen = None, []

    def respond(self, frame, plan):
        self.seen.append(frame.command)
        if self.at is not None and frame.command == self.at[0]:
            command, left, executed, what = self.at
            self.at = (command, left - 1, executed, what)
            if left == 1:
                self.at = None
                if executed:
                    super().respond(frame, plan)
                what()
                return None
        return super().respond(frame, plan)

    def insert(self, board):
        self.board = board


def rack(setup, **options):
    made = []
    server = setup.board(responder=lambda board: made.append(Rack(board)) or made[0], **options)
    return server, made[0]


def other(**options):
    return EmulatedBoard(EmulatorConfig(**{"seed": 77, **options}))


def cut(server):
    for connection in list(server._connections):
        connection.shutdown(2)


def some(n=60, start=100):
    direction = np.zeros(CELLS, np.int8)
    direction[start : start + n] = np.where(np.arange(n) % 2, 1, -1)
    return direction


OPERATIONS = {
    "read": lambda board: board.read(2),
    "pulse": lambda board: board.pulse(some()),
    "deploy": lambda board: board.write_verify(np.full(CELLS, 2.0), np.arange(CELLS) < 500),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("deployed", [True, False])
@pytest.mark.parametrize("reset_by", ["reset_target", "cfg_reg"])
def test_other_chips_stop_everything_until_the_own_ones_are_back(setup, operation, deployed, reset_by):
    server, place = rack(setup)
    board = setup.driver(server, reset_by=reset_by)
    if deployed:
        board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    own, strange = place.board, other()
    cut(server)
    place.insert(strange)
    counted = board.board.guard.pulses.sum()
    for _ in range(2):
        with pytest.raises(OtherChips, match=r"median difference .* uA \(allowed 0.3\).*% of \d+ cells off"):
            OPERATIONS[operation](board)
    assert strange.pulses_given.sum() == strange.chips.map_pulses.sum() == 0
    assert board.board.guard.pulses.sum() == counted
    cut(server)
    place.insert(own)
    OPERATIONS[operation](board)


def test_a_driver_over_a_restarted_process_of_other_chips_stops_too(setup):
    """The server itself dies and comes back on the same port."""
    server = setup.board()
    board = setup.driver(server)
    board.write_verify(np.full(CELLS, 3.0))
    server.stop()
    strange = other()
    faults = FaultInjector(FaultConfig())
    again = Server(BoardResponder(strange, faults), port=server.port, abort_port=server.abort_port, faults=faults)
    setup.open.append(again.start().stop)
    with pytest.raises(OtherChips):
        board.pulse(some())
    assert strange.pulses_given.sum() == 0


def test_one_exchanged_chip_of_three_is_named(setup):
    server, place = rack(setup)
    board = setup.driver(server)
    board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    state = place.board.chips.cells.state_ua
    cut(server)
    kept = state[8192:].copy()
    state[8192:] = other().chips.cells.state_ua[8192:]
    with pytest.raises(OtherChips, match=r"chip 3: .* of 1564 cells"):
        board.read()
    cut(server)
    state[8192:] = kept
    saved = board.state_dict()
    state[8192:] = other().chips.cells.state_ua[8192:]
    with pytest.raises(ConfigError, match=r"read differently from the checkpoint \(chip 3"):
        board.load_state_dict(saved)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("up", [True, False])
def test_cells_that_somebody_else_pulsed_in_the_gap_are_noticed(setup, share, up):
    server, place = rack(setup)
    board = setup.driver(server)
    board.write_verify(np.random.default_rng(0).uniform(1.5, 2.5, CELLS))
    cut(server)
    chosen = np.flatnonzero(np.random.default_rng(1).random(CELLS) < share)
    place.board.chips.cells.pulse(chosen, up, np.random.default_rng(2))
    with pytest.raises(OtherChips, match="pulsed by somebody else"):
        board.pulse(some())


def drift(state, rng):
    state *= 1 + rng.normal(0.03, 0.02, state.size)


def spikes(state, rng):
    state[rng.random(state.size) < 0.02] += 0.5


@pytest.mark.parametrize("target", ["fresh", "uniform", "lowest", "highest", "spread"])
@pytest.mark.parametrize("happens", [lambda state, rng: None, drift, spikes], ids=["nothing", "drift", "spikes"])
def test_the_same_chips_go_on_whatever_their_states(setup, target, happens):
    server, place = rack(setup)
    board = setup.driver(server)
    rng = np.random.default_rng(4)
    if target != "fresh":
        low, high = {"uniform": (2.0, 2.0), "lowest": (0.4, 0.4), "highest": (4.0, 4.0), "spread": (0.5, 3.9)}[target]
        board.write_verify(rng.uniform(low, high, CELLS))
    for step in range(8):
        if step == 0:
            happens(place.board.chips.cells.state_ua, rng)
        cut(server)
        place.board.power_up()
        board.pulse(some(300, 1000 * step))
        cut(server)
        board.read()
    assert board.interruptions >= 16
    assert server.emulated.pulses_given.max() == 1


def test_twice_the_read_noise_goes_on(setup):
    server, place = rack(setup)
    board = setup.driver(server)
    board.write_verify(np.full(CELLS, 3.5))
    place.board.chips.cells.read_noise_factor = 2.0
    for _ in range(10):
        cut(server)
        board.read()


def test_a_recognition_costs_one_read_of_the_chips_in_use(setup):
    server, place = rack(setup)
    for cells, chips in ((100, 1), (5000, 2), (CELLS, 3)):
        board = setup.driver(server, cells=cells)
        board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, cells))
        cut(server)
        place.seen.clear()
        board.pulse(some()[:cells] if cells > 200 else np.ones(cells, np.int8))
        assert place.seen.count(Command.READ_ALL) == chips
        assert place.seen.index(Command.READ_ALL) == 0
        board.close()


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("exchanged", [True, False])
def test_chips_exchanged_in_the_middle_of_pulses(setup, executed, exchanged):
    server, place = rack(setup)
    board = setup.driver(server, reset_by="cfg_reg")
    board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    own, strange = place.board, other()
    place.at = (Command.CFG_REG, 30, executed, lambda: place.insert(strange if exchanged else own))
    direction = some()
    if not exchanged:
        board.pulse(direction)
        assert own.pulses_given.sum() == 59 + executed and len(board.lost_pulses) == 1
        return
    with pytest.raises(OtherChips):
        board.pulse(direction)
    assert strange.pulses_given.sum() == 0 and own.pulses_given.sum() == 29 + executed
    (lost,) = board.lost_pulses
    assert np.isnan(lost.after_ua).all()
    assert board.ledger.wear.sum() == board.board.guard.pulses.sum() == 5 * CELLS + 30, "the one in flight counts"
    cut(server)
    place.insert(own)
    board.read()


@pytest.mark.parametrize("exchanged", [True, False])
def test_chips_on_which_every_cell_was_pulsed_since_the_read(setup, exchanged):
    server, place = rack(setup)
    board = setup.driver(server)
    board.write_verify(np.random.default_rng(0).uniform(1.5, 3.5, CELLS))
    board.read()
    board.pulse(np.where(np.random.default_rng(1).random(CELLS) < 0.4, 1, -1).astype(np.int8))
    cut(server)
    if not exchanged:
        board.read()
        return
    place.insert(other())
    with pytest.raises(OtherChips):
        board.read()


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("exchanged", [True, False])
@pytest.mark.parametrize("before", ["fresh", "deployed"])
def test_chips_exchanged_in_the_middle_of_a_deployment(setup, executed, exchanged, before):
    server, place = rack(setup)
    board = setup.driver(server, map_stall_s=0.3)
    if before == "deployed":
        board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    own, strange = place.board, other()
    place.at = (Command.MAP_ARRAY, 2, executed, lambda: place.insert(strange if exchanged else own))
    if not exchanged:
        report = board.write_verify(np.full(CELLS, 2.0))
        assert report.within_tolerance > 0.7 * CELLS
        return
    with pytest.raises(OtherChips):
        board.write_verify(np.full(CELLS, 2.0))
    assert strange.chips.map_pulses.sum() == 0


@pytest.mark.parametrize("executed", [True, False])
def test_after_a_hardware_failure_the_cell_is_read_again(setup, executed):
    """The connection is not in doubt, but the pulse may have been given."""
    server, place = rack(setup)
    board = setup.driver(server, reset_by="cfg_reg")
    plain, left = place.respond, [3]

    def respond(frame, plan):
        left[0] -= frame.command == Command.CFG_REG
        if frame.command != Command.CFG_REG or left[0]:
            return plain(frame, plan)
        if executed:
            plain(frame, plan)
        return place.board.refuse(frame.command, ErrorCode.CFG_REG_FAILED)

    place.respond = respond
    direction = np.zeros(CELLS, np.int8)
    direction[10:16] = 1
    board.pulse(direction)
    (lost,) = board.lost_pulses
    assert lost.cells == (12,) and (lost.after_ua[0] - lost.before_ua[0] > 0.4) == executed
    assert place.board.pulses_given[10:16].tolist() == [1, 1, int(executed), 1, 1, 1]


def test_what_can_go_wrong_is_named_without_a_pulse():
    from memristor_bdnn.benchmark.escim import failures

    for case in failures.run():
        assert case.error in ("OtherChips", "Implausible") and not case.pulses, case


def test_nothing_is_said_of_chips_and_cells_that_are_not_in_use(setup):
    server, place = rack(setup)
    board = setup.driver(server, cells=300)
    board.write_verify(np.full(300, 2.0))
    cut(server)
    place.board.chips.cells.state_ua[300:] = 3.9
    board.pulse(np.ones(300, np.int8))


def test_a_refused_checkpoint_leaves_the_recognition_as_it_was(setup):
    server, place = rack(setup)
    board = setup.driver(server)
    board.write_verify(np.random.default_rng(0).uniform(0.5, 3.5, CELLS))
    saved = board.state_dict()
    cut(server)
    place.insert(other())
    with pytest.raises(ConfigError, match="read differently from the checkpoint"):
        board.load_state_dict(saved)
    with pytest.raises(OtherChips):
        board.pulse(some())
    board.close()
    willing = setup.driver(server, restore="deploy")
    willing.load_state_dict(saved)
    willing.pulse(some())


def test_a_connection_that_cannot_be_made_again_is_an_interruption(setup):
    server = setup.board()
    board = setup.driver(server, retries=1)
    board.write_verify(np.full(CELLS, 3.0))
    before = board.board.client.generation
    server.stop()
    with pytest.raises(AcceleratorError, match="cannot connect"):
        board.pulse(some())
    assert board.board.client.generation > before
