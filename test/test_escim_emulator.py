"""The emulated board over raw sockets: every command, every error, both dialects, jobs, faults, replay."""

import socket
import threading
import time

import numpy as np
import pytest

from memristor_bdnn.accelerator.escim.client import Client, ClientConfig
from memristor_bdnn.accelerator.escim.wire import adc, commands, layouts, packet, registers, scaling
from memristor_bdnn.accelerator.escim.wire.commands import Command, ErrorCode
from memristor_bdnn.accelerator.escim.wire.layouts import Block, MapArray, MapFlow, MapParameters, TargetPulses
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.emulator import requests
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, ReplayResponder, Server
from memristor_bdnn.errors import AcceleratorError, ConfigError


@pytest.fixture
def serve():
    servers = []

    def start(board=None, faults=None, responder=None, **options):
        injector = FaultInjector(faults or FaultConfig(), 1)
        board = board or EmulatedBoard(EmulatorConfig(**options))
        server = Server(responder or BoardResponder(board, injector), faults=injector).start()
        server.board = board
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def talk(server, data, answer_bytes, port=None):
    """Send bytes over a new connection and return so many bytes of the answer."""
    with socket.create_connection((server.host, port or server.port), timeout=10) as connection:
        connection.sendall(data)
        return receive(connection, answer_bytes)


def receive(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        assert part, f"closed after {len(data)} of {count} bytes"
        data += part
    return data


def client_of(server, **options):
    return Client(ClientConfig(host=server.host, port=server.port, abort_port=server.abort_port, **options))


def test_worked_packets_of_the_description(serve):
    server = serve()
    head = talk(server, bytes.fromhex("3a0f0100000034"), 8192 + 9)
    assert head[:7] == bytes.fromhex("3b0f0000022016") and packet.parse(head).crc_ok
    pulse = requests.set_pulse(1, 5, 7, 2.0, 1.25).encode()
    assert pulse[-2:] == bytes.fromhex("6e1d")
    assert talk(server, pulse, 7) == bytes.fromhex("3b01000000003a")
    reset = TargetPulses.build(True, Block(1, 5, 1, 7, 1), [0.4], (3.2, 0.05, 5), (1.95, 0.05, 4)).request().encode()
    assert talk(server, reset, 16384 + 9)[:7] == bytes.fromhex("3b080000024071")
    assert talk(server, bytes.fromhex("3a030000000039"), 13)[:7] == bytes.fromhex("3b03000006003e")
    assert talk(server, bytes.fromhex("3a04000000003e"), 7) == bytes.fromhex("3b04000000003f")


def bad_crc(request):
    data = bytearray(request.encode())
    data[-1] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (packet.encode_request(0x55), "3bff8f02000049"),
        (packet.encode_request(0x55, payload=bytes(40)), "3bff8f02000049"),
        (packet.encode_request(1, payload=bytes(620)), "3b018f010000b4"),
        (packet.encode_request(1), "3b018f010000b4"),
        (bad_crc(requests.set_pulse(1, 5, 7, 2.0, 1.25)), "3b018f060000b3"),
        (bytes.fromhex("3a0f0100000035"), "3b0f8f050000be"),
        (packet.encode_request(0x81, 2), "3b818f03000036"),
        (packet.encode_request(0x0F, 4), "3b0f8f030000b8"),
        (packet.encode_request(0x0F, 0), "3b0f8f030000b8"),
        (packet.encode_request(0x0F, 1, payload=b"abc"), "3b0f8f010000ba"),
        (packet.encode_request(0x55)[:6] + b"\x00", "3b558f050000e4"),
        (bytes.fromhex("3a0301000200 3a 0000".replace(" ", "")), "3b038f010000b6"),
    ],
)
def test_errors_in_the_order_of_the_description(serve, data, answer):
    server = serve()
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"\x00noise" + data)
        assert receive(connection, 7).hex() == answer
        connection.sendall(commands.map_progress().encode())
        assert packet.parse(receive(connection, 13)).error_code == 0, "the connection stays usable"
    assert server.board.pulses_given.sum() == 0, "a request with an error has no effect"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (commands.Request(Command.MAP_READ, 0, 0, commands.words([4, 0, 0, 1, 2621, 65535, 3])), ErrorCode.PARAMETER_1),
        (commands.Request(Command.MAP_READ, 0, 0, commands.words([1, 128, 0, 1, 9, 9, 3])), ErrorCode.PARAMETER_1),
        (commands.Request(Command.MAP_READ, payload=bytes(24)), ErrorCode.LENGTH),
        (commands.Request(Command.SEQ_READ, 128, 0, bytes(4)), ErrorCode.PARAMETER_1),
        (commands.Request(Command.SEQ_READ, 0, 32, bytes(4)), ErrorCode.PARAMETER_2),
        (commands.Request(Command.SEQ_READ, 0, 0), ErrorCode.LENGTH),
        (commands.Request(Command.WRITE_REG, payload=bytes(12)), ErrorCode.LENGTH),
        (commands.Request(Command.READ_REG, payload=bytes(6)), ErrorCode.LENGTH),
        (commands.Request(Command.SEQ_WRITE_REG, payload=bytes(4)), ErrorCode.LENGTH),
        (commands.Request(Command.SEQ_READ_REG, 1, 0, bytes(8)), ErrorCode.LENGTH),
        (commands.Request(Command.OP_RESULT, payload=commands.words([0, 16384])), ErrorCode.PARAMETER_1),
        (commands.Request(Command.MAP_ARRAY, payload=bytes(96)), ErrorCode.LENGTH),
        (commands.Request(Command.APPLY_OP, payload=commands.words([5, 0, 1, 0, 1, 1])), ErrorCode.PARAMETER_1),
        (commands.Request(Command.APPLY_OP, payload=commands.words([2, 0, 1, 0, 1, 1])), ErrorCode.LENGTH),
        (commands.Request(Command.SET_TARGET, payload=commands.words([0] * 13)), ErrorCode.LENGTH),
        (commands.Request(Command.PULSE_GENERATOR, payload=bytes(60)), ErrorCode.LENGTH),
        (requests.set_pulse(1, 0, 0, 2.0, 1.25, width_ns=2**32, count=1), ErrorCode.CFG_REG_FAILED),
        (requests.set_pulse(4, 0, 0, 2.0, 1.25), ErrorCode.PARAMETER_1),
    ],
)
def test_impossible_parameters_are_refused(request_, code):
    board = EmulatedBoard(EmulatorConfig())
    answer = packet.parse(board.answer(packet.parse(request_.encode())))
    assert answer.error_code == code
    assert board.pulses_given.sum() == 0


def test_every_command_answers_with_the_length_the_driver_expects(serve):
    server = serve()
    client = client_of(server)
    block, three = Block(2, 3, 2, 4, 2), (1.0, 0.1, 3.0)
    ladders = dict.fromkeys(("form_wl", "form_bl", "set_wl", "set_bl", "reset_wl", "reset_sl"), three)
    every = [
        requests.form_pulse(1, 2, 3, 3.0, 1.5),
        requests.cfg_read(1, 2, 3),
        requests.parallel_read(0, 4, {1: 0.2}),
        commands.map_progress(),
        requests.map_result(),
        requests.seq_read(1, 2, [0.1, 0.2]),
        TargetPulses.build(False, block, [4.0] * 4, three, (3.0, 0.1, 5.0), max_pulses=3).request(),
        requests.apply_read(block, 3),
        requests.apply_pulses(layouts.Operation.SET, block, three, three, 2.0),
        requests.apply_map(block, [1.0] * 4, **ladders),
        requests.op_result(0, 100),
        commands.map_read(1, 2, 3),
        requests.pulse_generator([[1.0] * 32], width_us=40),
        MapArray.build(block, [1.0] * 4).request(),
        requests.cell_para(0, 5),
        commands.read_all(3),
        requests.debug(False),
        requests.write_reg([(0x43C00018, 7)]),
        requests.read_reg([0x43C00018]),
        requests.seq_write_reg(0x43C00018, [1, 2]),
        requests.seq_read_reg(0x43C00018, 300),
        commands.map_abort(),
        MapFlow.build(block, [1.0] * 4, **ladders).request(),
    ]
    for request in every:
        frame = client.request(request)
        expected = commands.response_bytes(request)
        assert expected is None or len(frame.payload) == expected
    assert {r.command for r in every} | {Command.RESET_TARGET} == set(Command)
    server.board.jobs.wait()


def test_registers_are_kept_and_read_back(serve):
    client = client_of(serve())
    client.request(requests.seq_write_reg(registers.register_address(5), [3, 9]))
    client.request(requests.write_reg([(registers.register_address(11), 2)]))
    values = client.request(requests.read_reg([registers.register_address(r) for r in (5, 6, 11)])).payload
    assert commands.word_values(values).tolist() == [3, 9, 2]
    sequence = client.request(requests.seq_read_reg(registers.register_address(5), 2)).payload
    assert commands.word_values(sequence).tolist() == [3, 9]
    assert commands.word_values(client.request(requests.read_reg([0x1000])).payload).tolist() == [0]
    with pytest.raises(ConfigError, match="0 to 199"):
        registers.register_address(200)


def test_reads_agree_over_all_ways():
    board = EmulatedBoard(EmulatorConfig(seed=4))
    state = board.chips.cells.state_ua.reshape(3, 128, 32)

    def ask(request):
        frame = packet.accept_response(packet.parse(board.answer(packet.parse(request.encode()))), request.command)
        assert not frame.error_code
        return frame.payload

    whole = np.mean([scaling.to_matrix(commands.half_values(ask(commands.read_all(2)))) for _ in range(30)], axis=0)
    assert np.abs(scaling.code_currents(whole) - state[1]).max() < 0.25
    lower = commands.half_values(ask(requests.cfg_read(2, 0, 9, n_bl=64)))
    upper = commands.half_values(ask(requests.cfg_read(2, 64, 9, n_bl=64)))
    column = np.concatenate([adc.bl_currents(lower)[:64], adc.bl_currents(upper)[64:]])
    assert np.abs(scaling.code_currents(column) - state[1, :, 9]).mean() < 0.06
    positive = adc.sl_currents(commands.half_values(ask(requests.cfg_read(2, 7, 0, n_wl=32, negative=False))))
    assert np.abs(scaling.code_currents(positive) - state[1, 7]).mean() < 0.08
    one = np.mean([commands.word_values(ask(commands.map_read(2, 7, 9)))[0] for _ in range(30)])
    assert abs(scaling.code_current(one) - state[1, 7, 9]) < 0.1
    double = np.mean([commands.word_values(ask(commands.map_read(2, 7, 9, v_read=0.4)))[0] for _ in range(30)])
    assert abs(double / one - 2) < 0.1, "ohmic"
    sums = [commands.half_values(ask(requests.parallel_read(0, 64, {3: 0.2, 4: 0.1}, chip=2))) for _ in range(20)]
    product = scaling.code_currents(adc.bl_currents(np.mean(sums, axis=0))[:64])
    np.testing.assert_allclose(product, state[1, :64, 3] + 0.5 * state[1, :64, 4], atol=0.15)


def test_only_cells_between_driven_lines_are_pulsed():
    board = EmulatedBoard(EmulatorConfig())
    before = board.chips.cells.state_ua.copy()

    def ask(request):
        assert packet.parse(board.answer(packet.parse(request.encode()))).error_code == 0

    ask(requests.set_pulse(2, 5, 7, 2.0, 1.25, n_bl=3, n_wl=2, count=4))
    given = board.pulses_given.reshape(3, 128, 32)
    assert (given[1, 5:8, 7:9] == 4).all() and given.sum() == 4 * 6
    ask(requests.reset_pulse(1, 9, 3, 1.95, 2.55, n_bl=2))
    assert (given[0, 9:11, 3] == 1).all() and given.sum() == 26
    changed = board.chips.cells.state_ua != before
    assert not changed[board.pulses_given == 0].any()
    for dead in (
        requests.set_pulse(1, 0, 0, 2.0, 0.3),  # gate closed
        requests.set_pulse(1, 0, 0, 0.5, 1.25),  # too low a voltage
        requests.set_pulse(1, 0, 0, 2.0, 1.25, width_ns=10),  # no whole unit
        requests.cfg_read(1, 0, 0),
    ):
        ask(dead)
    assert given[0, 0, 0] == 0
    raised = board.chips.cells.state_ua.reshape(3, 128, 32)[1, 5:8, 7:9] - before.reshape(3, 128, 32)[1, 5:8, 7:9]
    assert raised.mean() > 0.5


def test_crosstalk_of_table_driven_resets_can_be_switched_on():
    quiet, loud = EmulatedBoard(EmulatorConfig()), EmulatedBoard(EmulatorConfig(reset_disturb_ua=0.2))
    for board, moved in ((quiet, 1), (loud, 100)):
        before = board.chips.cells.state_ua.copy()
        board.answer(packet.parse(requests.reset_pulse(1, 9, 3, 1.95, 2.55).encode()))
        changed = np.flatnonzero(board.chips.cells.state_ua != before)
        assert len(changed) >= moved if moved > 1 else len(changed) == 1
        assert (changed % 32 == 3).all() and (changed < 4096).all()


def test_conditional_resets_spare_cells_below_the_target():
    board = EmulatedBoard(EmulatorConfig())
    board.chips.cells.move(np.arange(2), np.array([0.2, 3.0], dtype=np.float32))
    for column in (0, 1):
        request = TargetPulses.build(True, Block(1, 0, 1, column, 1), [0.4], (2.55, 0.05, 5), (1.95, 0.05, 4)).request()
        board.answer(packet.parse(request.encode()))
    assert board.pulses_given[:2].tolist() == [0, 1]
    log = packet.parse(board.answer(packet.parse(requests.op_result(0, 2).encode()))).payload
    pulses, reading = commands.word_values(log)
    assert pulses == 1 and abs(scaling.code_current(int(reading)) - 3.0) < 1.0


def test_map_array_programs_tolerates_surplus_targets_and_ends_at_ffff(serve):
    server = serve()
    client = client_of(server)
    client.request(MapArray.build(Block(3, 10, 40, 4, 20), np.full(4096, 2.0)).request())
    assert commands.word_values(client.request(commands.map_progress()).payload)[0] == 0xFFFF
    read = scaling.code_currents(scaling.to_matrix(commands.half_values(client.request(commands.read_all(3)).payload)))
    inside = read[10:50, 4:24]
    assert abs(inside.mean() - 2.0) < 0.15 and inside.std() < 0.4
    result = commands.word_values(client.request(requests.map_result()).payload)
    assert (scaling.to_matrix(result)[10:50, 4:24] > 0).all() and (result > 0).sum() == 800
    record = commands.word_values(client.request(requests.cell_para(0, 1)).payload)
    assert record[:3].tolist() == [10, 4, 408]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_job_shows_progress_and_is_aborted_through_the_second_port(serve, blocking):
    server = serve(timing=True, blocking_map=blocking)
    parameters = MapParameters(relax_us=500)
    request = MapArray.build(Block(1, 0, 128, 0, 32), np.full(4096, 2.0), parameters).request()
    client = client_of(server)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.request(request, 60)))
    thread.start()
    other = Client(ClientConfig(host=server.host, port=server.abort_port))
    while commands.word_values(other.request(commands.map_progress()).payload)[0] == 0:
        time.sleep(0.01)
    assert server.board.job_running
    for busy in (MapArray.build(Block(2, 0, 1, 0, 1), [1.0]).request(),):
        frame = packet.parse(server.board.answer(packet.parse(busy.encode())))
        assert frame.error_code == ErrorCode.MAP_BUSY
    other.request(commands.map_abort(), 10)
    thread.join(10)
    assert len(answers) == 1
    done = commands.word_values(other.request(commands.map_progress()).payload)[0]
    assert 0 < done < 4096, "the count stays, it does not become 0xFFFF"
    assert not server.board.job_running


def test_one_client_at_a_time(serve):
    server = serve()
    first = socket.create_connection((server.host, server.port), timeout=5)
    first.sendall(commands.map_progress().encode())
    receive(first, 13)
    second = socket.create_connection((server.host, server.port), timeout=5)
    second.sendall(commands.map_progress().encode())
    second.settimeout(0.3)
    with pytest.raises(TimeoutError):
        second.recv(1)
    first.close()
    second.settimeout(5)
    assert len(receive(second, 13)) == 13
    second.close()


def test_dialect_p_speaks_without_checks_and_without_new_commands(serve):
    server = serve(dialect="P")
    assert talk(server, bytes.fromhex("3a0f0100000034"), 7) == bytes.fromhex("3bff8f02000000")
    broken = bytearray(requests.set_pulse(1, 5, 7, 2.0, 1.25).encode())
    broken[6] ^= 0xFF
    broken[-1] ^= 0xFF
    assert talk(server, bytes(broken), 7) == bytes.fromhex("3b010000000000"), "checks are ignored"
    assert server.board.pulses_given[5 * 32 + 7] == 1
    talk(server, requests.cfg_read(3, 0, 0).encode(), 128 + 9)
    old = TargetPulses.build(False, Block(None, 4, 1, 6, 1), [4.0], (1.25, 0.1, 3), (2.0, 0.1, 3)).request()
    answer = talk(server, old.encode(False), 16384 + 9)
    assert answer[-2:] == b"\0\0"
    assert server.board.pulses_given[2 * 4096 + 4 * 32 + 6] == 1, "the chip selected last"
    answer = talk(server, requests.seq_read_reg(registers.register_address(11), 1).encode(False), 13)
    assert answer[7:11] == b"\0\0\0\x03", "big-endian, unlike READ_REG"


def test_ladders_step_as_in_the_firmware():
    from memristor_bdnn.accelerator.escim.wire.layouts import Ladder
    from memristor_bdnn.emulator.maps import LadderState

    ladder = LadderState(Ladder(10, 5, 15), Ladder(100, 10, 120), wl_first=False)
    seen = []
    for _ in range(7):
        seen.append((ladder.wl, ladder.line))
        ladder.step()
    assert seen == [(10, 100), (10, 110), (15, 100), (15, 110), (15, 120), (15, 120), (15, 120)]


def test_faults_happen_and_are_counted(serve):
    server = serve(faults=FaultConfig(drop=0.1, corrupt=0.05, truncate=0.05, garbage=0.05, busy=0.05, reset=0.02))
    client = client_of(server, answer_timeout_s=0.3, backoff_s=0.001, retries=50, resync_s=0.2)
    for _ in range(120):
        assert len(client.request(commands.read_all(1)).payload) == 8192
    counts = server._faults.counts
    assert all(counts[name] for name in ("drop", "corrupt", "truncate", "garbage", "busy", "reset"))
    assert client.statistics.retried >= counts["drop"] + counts["truncate"]


def test_fault_texts_are_checked():
    assert FaultConfig.parse("drop=0.05, corrupt=0.01").corrupt == 0.01
    assert FaultConfig.parse("") == FaultConfig()
    for text in ("drop", "drop=x", "drop=2", "explode=1"):
        with pytest.raises(ConfigError):
            FaultConfig.parse(text)


def test_a_recorded_session_is_replayed_byte_for_byte(serve, tmp_path):
    path = tmp_path / "session.jsonl"

    def session(server, recorder=None):
        client = Client(ClientConfig(host=server.host, port=server.port, retries=1, backoff_s=0.001), recorder)
        chip = client.request(commands.read_all(2)).payload
        client.request(requests.set_pulse(2, 1, 1, 2.0, 1.25))
        return chip, client.request(commands.read_all(2)).payload, client

    recorder = Recorder(path)
    first, second, _ = session(serve(seed=9), recorder)
    recorder.close()
    replay = ReplayResponder(path)
    again = session(serve(responder=replay))
    assert again[:2] == (first, second)
    assert replay.mismatch is None and replay.position == 3
    with pytest.raises(AcceleratorError):
        again[2].request(commands.read_all(2))
    assert "ends after 3" in replay.mismatch
    other = ReplayResponder(path)
    server = serve(responder=other)
    with pytest.raises(AcceleratorError):
        client_of(server, retries=0).request(commands.read_all(1))
    assert "request 1 differs" in other.mismatch


def test_an_address_in_use_is_named(serve):
    server = serve()
    with pytest.raises(AcceleratorError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        Server(server._responder, port=server.port)


def test_chips_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match="128 x 32"):
        EmulatedBoard(EmulatorConfig(preset="eapu_180nm"))
