"""Boards that answer and cannot work: what the driver, the learner and the command line say of them."""

import warnings

import numpy as np
import pytest
from test_escim_driver import CELLS, Setup
from test_escim_recognise import Rack

from memristor_bdnn import cli, learners
from memristor_bdnn.accelerator.escim import plausible
from memristor_bdnn.accelerator.escim.plausible import Implausible
from memristor_bdnn.accelerator.escim.wire.commands import ErrorCode
from memristor_bdnn.device import presets
from memristor_bdnn.emulator.board import EmulatedBoard
from memristor_bdnn.emulator.maps import Refusal
from memristor_bdnn.errors import AcceleratorError, DeviceWarning

ADC = 4095


@pytest.fixture
def setup():
    made = Setup()
    yield made
    for close in made.open:
        close()


def spoil(board: EmulatedBoard, change, chips=(1, 2, 3)):
    """Let a board's whole-chip reads come out changed: ``change(codes)`` in READ_ALL order."""
    read = board.chips.read_chip

    def spoiled(chip):
        codes = read(chip)
        return change(codes).astype(np.uint16) if chip in chips else codes

    board.chips.read_chip = spoiled


def part(value, share):
    """The first share of the cells in READ_ALL order reads one code."""

    def change(codes):
        codes = codes.copy()
        codes[: int(share * codes.size)] = value
        return codes

    return change


class Frozen:
    def __init__(self):
        self.codes = {}

    def __call__(self, codes):
        return self.codes.setdefault(codes.size, codes)


HOPELESS = {
    "all 0xFFFF": (lambda: part(0xFFFF, 1), "all 4096 cells read code 65535: beyond the converter's 12 bits"),
    "all 4095": (lambda: part(ADC, 1), "all 4096 cells read code 4095: the converter's full scale, 20.1 uA"),
    "all 0": (lambda: part(0, 1), "all 4096 cells read code 0: no current"),
    "all alike": (lambda: part(408, 1), r"all 4096 cells read code 408 \(2 uA\)"),
    "half 0": (lambda: part(0, 0.5), "2048 of 4096 cells read at zero"),
    "most 4095": (lambda: part(ADC, 0.6), "2457 of 4096 cells read at full scale"),
    "most beyond": (lambda: lambda codes: codes + 5000, "4096 of 4096 cells read beyond 12 bits"),
    "no noise": (Frozen, "4096 of 4096 cells gave the same code in two reads"),
}


@pytest.mark.parametrize("kind", HOPELESS)
@pytest.mark.filterwarnings("ignore::memristor_bdnn.errors.DeviceWarning")
def test_a_board_that_cannot_work_is_refused_by_driver_and_command_line(setup, kind, capsys):
    change, text = HOPELESS[kind]
    server = setup.board()
    spoil(server.emulated, change())
    with pytest.raises(Implausible, match=text):
        setup.driver(server).read(2)
    for close in setup.open[:-1]:
        close()
    address = ["--host", server.host, "--port", str(server.port), "--abort-port", str(server.abort_port)]
    assert cli.main(["board", "info", *address]) == 1
    out = capsys.readouterr().out
    assert out.count("CANNOT WORK") == 3 and "answers, mean current" not in out
    assert cli.main(["board", "selftest", *address, "--pulses", "1", "--cycles", "1"]) == 1
    assert cli.main(["board", "read", *address, "--chip", "2"]) == 1
    assert server.emulated.pulses_given.sum() == 0


@pytest.mark.parametrize("kind", HOPELESS)
@pytest.mark.filterwarnings("ignore::memristor_bdnn.errors.DeviceWarning")
def test_a_board_that_fails_in_a_session_ends_it(setup, kind):
    change, text = HOPELESS[kind]
    server = setup.board()
    board = setup.driver(server)
    board.write_verify(np.full(CELLS, 2.0))
    spoil(server.emulated, change())
    with pytest.raises(Implausible, match=rf"chip 1: {text}"):
        for _ in range(2):
            board.read()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (part(0xFFFF, 0.001), "4 of 4096 cells read beyond 12 bits"),
        (part(ADC, 0.05), "204 of 4096 cells read at full scale"),
        (part(0, 0.1), r"4\d\d of 4096 cells read at zero"),
        (part(77, 1 / 32), "1 of 32 SLs read one code on all their cells: SL 0"),
        (lambda codes: np.where(np.arange(4096) % 128 == 70, 0, codes), "1 of 128 BLs .* BL 70"),
        (lambda codes: np.minimum(codes * 40, 4000), r"cells read above 9 uA, median .*ends at 4 uA"),
    ],
)
def test_what_is_odd_is_said_with_figures_and_work_goes_on(setup, change, text, capsys):
    server = setup.board()
    spoil(server.emulated, change, chips=(2,))
    with pytest.warns(DeviceWarning, match=rf"chip 2: .*{text}"):
        board = setup.driver(server)
    assert len(board.warnings) >= 1 and all("chip 2" in one for one in board.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board.read(3)
    board.close()
    if "above" in text:
        return
    address = ["--host", server.host, "--port", str(server.port)]
    assert cli.main(["board", "info", *address]) == 0
    assert "look: " in capsys.readouterr().out


def test_a_chip_that_is_not_used_may_be_missing_from_its_socket(setup):
    server = setup.board()
    spoil(server.emulated, part(0, 1), chips=(3,))
    with pytest.warns(DeviceWarning, match="chip 3: all 4096 cells read code 0"):
        board = setup.driver(server, cells=5000)
    board.write_verify(np.full(5000, 2.0))
    board.allocate(CELLS)
    with pytest.raises(Implausible, match="chip 3: all 4096"):
        board.read()


def test_a_chip_that_does_not_answer_is_named(setup, capsys):
    server = setup.board()
    read = server.emulated._read_all

    def two_chips(frame):
        if frame.parameter1 == 3:
            raise Refusal(ErrorCode.PARAMETER_1)
        return read(frame)

    server.emulated._handlers[0x0F] = two_chips
    with pytest.raises(AcceleratorError, match="chip 3 of 3 of preset 'tsinghua_taox_hfox' does not answer"):
        setup.driver(server)
    assert cli.main(["board", "info", "--host", server.host, "--port", str(server.port)]) == 1
    assert "does not answer" in capsys.readouterr().out


def test_devices_without_noise_may_read_the_same(setup, tmp_path):
    path = tmp_path / "quiet.yaml"
    text = "name: quiet\nread_noise: {constant_ua: 0.0, linear: 0.0, quadratic_per_ua: 0.0}\n"
    path.write_text(text)
    board = setup.driver(setup.board(preset=str(path)), preset=str(path))
    reads = board.read(3)
    np.testing.assert_array_equal(reads[0], reads[2])


def test_a_deployment_that_moves_nothing_is_an_error_and_one_that_leaves_some_is_said(setup):
    board = setup.driver(setup.board(stuck=1.0))
    with pytest.raises(Implausible, match=r"write-verify left \d+ of \d+ cells where they were \((9\d|100)%\)"):
        board.write_verify(np.full(CELLS, 2.0))
    assert board.ledger.wear.sum() == board.board.guard.pulses.sum() > 0, "what was tried is counted"
    some = setup.driver(setup.board(stuck=0.2))
    with pytest.warns(DeviceWarning, match=r"write-verify left \d+ of \d+ cells"):
        some.write_verify(np.full(CELLS, 3.0))
    fine = setup.driver(setup.board())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine.write_verify(np.full(CELLS, 3.0))
        fine.pulse(np.where(np.arange(CELLS) % 2, 1, -1).astype(np.int8))
        fine.read()
    assert fine.warnings == ()


def test_a_dry_run_says_nothing_of_cells_that_it_did_not_write(setup):
    board = setup.driver(setup.board(), dry_run=True)
    board.write_verify(np.full(CELLS, 3.0))
    board.pulse(np.ones(CELLS, np.int8))
    board.read()
    assert board.warnings == ()


@pytest.mark.parametrize("direction", [1, -1])
def test_pulses_that_do_nothing_are_said(setup, direction):
    options = {"set_voltage_v": 0.5} if direction > 0 else {"reset_voltage_v": 0.5}
    board = setup.driver(setup.board(), reset_by="cfg_reg", cells=1000, **options)
    board.write_verify(np.full(1000, 1.0 if direction > 0 else 3.5))
    board.pulse(np.full(1000, direction, np.int8))
    with pytest.warns(DeviceWarning, match=r"\d+ (RE)?SET pulses changed the current by [+-]0.0\d\d uA on average"):
        board.read()


def test_a_learner_reports_what_the_board_gave_reason_to_say(setup):
    server = setup.board(stuck=0.2)
    board = setup.driver(server, cells=None)
    learner = learners.create("msgld", board, {"n_inputs": 2, "hidden": [4]})
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = learner.fit(x, (x[:, 0] > 0).astype(float))
    assert any("write-verify left" in text for text in report.warnings)


def test_a_learner_on_stuck_chips_learns_nothing_and_says_so(setup):
    board = setup.driver(setup.board(stuck=1.0), cells=None)
    learner = learners.create("msgld", board, {"n_inputs": 2, "hidden": [8]})
    x = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(AcceleratorError, match=r"write-verify left|nothing could be written"):
        learner.fit(x, (x[:, 0] > 0).astype(float))


def test_healthy_chips_of_every_state_are_plausible():
    preset = presets.load("tsinghua_taox_hfox")
    from memristor_bdnn.emulator.chips import EmulatedChips

    chips = EmulatedChips(preset, 3)
    rng = np.random.default_rng(0)
    for state in (None, 0.4, 2.0, 4.0):
        if state is not None:
            chips.cells.state_ua[:] = rng.normal(state, 0.05, chips.capacity).clip(0.1)
        for chip in (1, 2, 3):
            first, second = (chips.read_chip(chip).reshape(32, 128).T for _ in range(2))
            assert plausible.chip(second, first, preset) == []


@pytest.mark.parametrize(("change", "text"), [(part(0xFFFF, 1), "full scale"), (part(0, 1), "no current")])
def test_one_cell_that_reads_nonsense_fails_the_command(setup, change, text, capsys):
    server = setup.board()
    value = int(change(np.arange(10))[0])
    server.emulated.chips.read_code = lambda cell, volts, feedback=3: value
    address = ["--host", server.host, "--port", str(server.port)]
    assert cli.main(["board", "read", *address, "--bl", "3", "--sl", "4"]) == 1
    assert text in capsys.readouterr().err


def test_a_board_without_power_after_a_reconnect_is_no_other_chip(setup):
    made = []
    server = setup.board(responder=lambda board: made.append(Rack(board)) or made[0])
    board = setup.driver(server)
    board.write_verify(np.full(CELLS, 2.0))
    for connection in list(server._connections):
        connection.shutdown(2)
    spoil(made[0].board, part(0, 1))
    with pytest.raises(Implausible, match="no current at all"):
        board.read()
