"""Packets, register tables and payload layouts: round trips, refusals, and random bytes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memristor_bdnn.accelerator.escim.wire import adc, commands, layouts, packet, registers, scaling
from memristor_bdnn.accelerator.escim.wire.commands import Command, Dialect
from memristor_bdnn.accelerator.escim.wire.layouts import Block, Ladder, MapArray, MapFlow, TargetPulses
from memristor_bdnn.emulator import fuzz, requests
from memristor_bdnn.errors import ConfigError

byte = st.integers(0, 255)
code = st.integers(0, 0xFFFF)
ladders = st.builds(Ladder, code, code, code)


def slow_crc(data: bytes) -> int:
    crc = 0xFFFF
    for value in data:
        crc ^= value
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


@given(st.binary(max_size=3000))
def test_crc_equals_the_bitwise_definition(data):
    assert packet.crc16(data) == slow_crc(data)


def test_crc_check_value_and_long_payloads():
    assert packet.crc16(b"123456789") == 0x4B37
    data = np.random.default_rng(1).bytes(65533)
    assert packet.crc16(data) == slow_crc(data)


@given(st.sampled_from([0x3A, 0x3B]), byte, byte, byte, st.binary(max_size=600))
def test_packets_round_trip(start, command, parameter1, parameter2, payload):
    data = packet.encode(start, command, parameter1, parameter2, payload)
    frame = packet.parse(data)
    assert (frame.start, frame.command, frame.parameter1, frame.parameter2) == (start, command, parameter1, parameter2)
    assert frame.payload == payload and frame.head_ok and frame.crc_ok
    assert frame.length == (len(payload) + 2 if payload else 0)


def test_a_payload_beyond_the_length_field_is_refused():
    assert len(packet.encode_request(1, payload=bytes(65533))) == 65533 + 9
    with pytest.raises(ConfigError, match="65533"):
        packet.encode_request(1, payload=bytes(65534))
    with pytest.raises(ConfigError, match="parameter 1"):
        packet.encode_request(1, 256)


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5), st.lists(st.integers(1, 40), max_size=20), st.data())
def test_decoder_finds_packets_behind_garbage_in_any_chunks(payloads, cuts, data):
    stream = b""
    for payload in payloads:
        garbage = data.draw(st.binary(max_size=10)).replace(b"\x3a", b"\x00")
        stream += garbage + packet.encode_request(Command.READ_REG, payload=payload)
    decoder = packet.Decoder(packet.REQUEST_START)
    frames, at = [], 0
    for cut in [*cuts, len(stream)]:
        decoder.feed(stream[at : at + cut])
        at += cut
        while (frame := decoder.next()) is not None:
            frames.append(frame)
    assert [f.payload for f in frames] == payloads
    assert all(f.head_ok and f.crc_ok for f in frames)
    assert decoder.pending == 0


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_changed_byte_is_never_accepted(payload, data):
    answer = bytearray(packet.encode_response(Command.READ_REG, payload))
    position = data.draw(st.integers(0, len(answer) - 1))
    answer[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(packet.FrameError):
        packet.accept_response(packet.parse(bytes(answer)), Command.READ_REG)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("3a0300000600 3f 11000000 0518", "starts with"),
        ("3b03000006003f110000000518", "head check"),
        ("3b03000006003e110000000519", "CRC"),
        ("3b04000000003f", "command 0x04"),
        ("3b03000001003911", "body bytes"),
        ("3b038f00000000b7", "announces"),
        ("3b038f000000b7", "malformed"),
        ("3b0300010000 39", "parameters"),
    ],
)
def test_bad_answers_are_refused_with_the_reason(answer, what):
    with pytest.raises(packet.FrameError, match=what):
        packet.accept_response(packet.parse(bytes.fromhex(answer)), Command.MAP_PROGRESS)


def test_worked_error_answers():
    assert packet.encode_response(0xFF, error=2) == bytes.fromhex("3bff8f02000049")
    assert packet.encode_response(0x01, error=6) == bytes.fromhex("3b018f060000b3")
    assert packet.encode_response(0x02, error=8) == bytes.fromhex("3b028f080000be")
    assert packet.encode_response(0xFF, error=2, checks=False) == bytes.fromhex("3bff8f02000000")
    frame = packet.accept_response(packet.parse(bytes.fromhex("3bff8f02000049")), Command.READ_ALL)
    assert frame.error_code == 2
    finished = bytes.fromhex("3b03000006003effff00000000")
    assert packet.encode_response(Command.MAP_PROGRESS, b"\xff\xff\0\0") == finished


@settings(max_examples=50)
@given(st.data())
def test_register_tables_round_trip(data):
    seed = data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    lines = registers.Lines(
        mode=int(rng.integers(16)),
        chip=int(rng.integers(1, 9)),
        width=int(rng.integers(2**32)),
        gap=int(rng.integers(2**32)),
        count=int(rng.integers(2**32)),
        bl_switch=rng.integers(0, 4, 128, dtype=np.uint8),
        bl_code=rng.integers(0, 65536, 128, dtype=np.uint16),
        sl_switch=rng.integers(0, 4, 32, dtype=np.uint8),
        sl_code=rng.integers(0, 65536, 32, dtype=np.uint16),
        wl_switch=rng.integers(0, 4, 32, dtype=np.uint8),
        wl_code=rng.integers(0, 65536, 32, dtype=np.uint16),
        tia_code=rng.integers(0, 65536, 64, dtype=np.uint16),
        feedback=rng.integers(0, 4, 64, dtype=np.uint8),
    )
    packed = lines.pack()
    assert len(packed) == 624
    again = registers.Lines.unpack(packed)
    for field in dataclasses.fields(lines):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(lines, field.name), err_msg=field.name)
    assert again.pack() == packed


def test_channel_tables_are_permutations():
    assert sorted(adc.TIA_OF_BL[:64]) == sorted(adc.TIA_OF_BL[64:]) == list(range(64))
    assert len(set(adc.TIA_OF_SL)) == 32
    channels = np.arange(64)
    assert adc.bl_currents(channels)[5] == 44 and adc.bl_currents(channels)[125] == 44


def test_a_pulse_on_one_row_or_column_is_the_block_of_the_host_software():
    one = registers.pulse_table(registers.Mode.SET, 1, (5,), (7,), 2.0, 1.25, 100)
    assert one == registers.program_table(registers.Mode.SET, 1, 5, 7, 2.0, 1.25, width_ns=100)
    column = registers.pulse_table(registers.Mode.RESET, 2, (3, 4, 5), (7,), 1.95, 2.55, 50)
    assert column == registers.program_table(registers.Mode.RESET, 2, 3, 7, 1.95, 2.55, n_bl=3, width_ns=50)
    row = registers.pulse_table(registers.Mode.RESET, 2, (3,), (7, 8), 1.95, 2.55, 50)
    assert row == registers.program_table(registers.Mode.RESET, 2, 3, 7, 1.95, 2.55, n_wl=2, width_ns=50)
    for rows, columns in (((1, 2), (3, 4)), ((), (1,)), ((1,), ())):
        with pytest.raises(ConfigError, match="single line"):
            registers.pulse_table(registers.Mode.SET, 1, rows, columns, 2.0, 1.25, 100)


blocks = st.builds(
    Block,
    st.one_of(st.none(), st.integers(1, 3)),
    st.integers(0, 100),
    st.integers(1, 5),
    st.integers(0, 20),
    st.integers(1, 4),
)


@given(st.lists(ladders, min_size=6, max_size=6), blocks, st.lists(code, min_size=20, max_size=30), st.data())
def test_write_verify_payloads_round_trip(six, block, targets, data):
    number = st.integers(0, 2**32 - 1)
    dialect = Dialect.P if block.chip is None else Dialect.C
    flow = MapFlow(*six, data.draw(code), data.draw(number), data.draw(st.integers(0, 1)), block, tuple(targets))
    assert MapFlow.parse(flow.request().payload, dialect) == flow
    for reset in (True, False):
        pulses = TargetPulses(reset, six[0], six[1], data.draw(number), 1, 0, block, tuple(targets))
        request = pulses.request()
        assert request.command == (Command.RESET_TARGET if reset else Command.SET_TARGET)
        assert TargetPulses.parse(reset, request.payload, dialect) == pulses
    if block.chip is not None:
        counts = [data.draw(number) for _ in range(8)]
        job = MapArray(*six[:4], *counts, block, tuple(targets))
        assert MapArray.parse(job.request().payload) == job
        with pytest.raises(layouts.LayoutError):
            MapArray.parse(job.request().payload[: 100 + 4 * (block.cells - 1)])


def test_every_command_round_trips_through_the_decoder():
    three, six = (1.0, 0.1, 3.0), {n: (1.0, 0.1, 3.0) for n in ("form_wl", "form_bl", "set_wl", "set_bl")}
    six |= {"reset_wl": (3.2, 0.1, 5.0), "reset_sl": (1.8, 0.1, 4.0)}
    block, old = Block(2, 3, 2, 4, 2), Block(None, 3, 2, 4, 2)
    targets = [1.0, 2.0, 3.0, 0.7]
    every = [
        requests.form_pulse(1, 2, 3, 3.0, 1.5),
        requests.set_pulse(1, 2, 3, 2.0, 1.25),
        requests.reset_pulse(1, 2, 3, 1.95, 2.55),
        requests.cfg_read(1, 2, 3),
        requests.cfg_read(1, 2, 3, negative=False),
        requests.parallel_read(0, 64, {1: 0.2, 5: 0.1}),
        MapFlow.build(block, targets, **six).request(),
        MapFlow.build(old, targets, **six).request(),
        commands.map_progress(),
        commands.map_abort(),
        requests.map_result(),
        requests.seq_read(1, 2, [0.1, 0.2]),
        TargetPulses.build(False, block, targets, three, three).request(),
        TargetPulses.build(True, old, targets, three, three).request(),
        requests.apply_read(block, 3),
        *[requests.apply_pulses(o, block, three, three, 2.0) for o in (1, 2, 3)],
        requests.apply_pulses(layouts.Operation.FORM, old, three, three, 2.0, dialect=Dialect.P),
        requests.apply_map(block, targets, **six),
        requests.apply_map(old, targets, **six, dialect=Dialect.P),
        requests.op_result(),
        commands.map_read(1, 2, 3),
        requests.pulse_generator([[1.0] * 32], width_us=40),
        MapArray.build(block, targets).request(),
        requests.cell_para(),
        commands.read_all(3),
        requests.debug(True),
        requests.write_reg([(0x43C00010, 7)]),
        requests.read_reg([0x43C00010]),
        requests.seq_write_reg(0x43C00010, [1, 2]),
        requests.seq_read_reg(0x43C00010, 3),
    ]
    assert {r.command for r in every} == set(Command)
    decoder = packet.Decoder(packet.REQUEST_START)
    for request in every:
        decoder.feed(request.encode())
        frame = decoder.next()
        assert frame is not None and frame.head_ok and frame.crc_ok
        assert commands.Request(frame.command, frame.parameter1, frame.parameter2, frame.payload) == request
    assert len(requests.apply_pulses(layouts.Operation.SET, block, three, three, 2.0).payload) == 4 * 20
    assert len(requests.apply_map(block, targets, **six).payload) == 4 * (34 + 4)
    assert len(requests.apply_map(old, targets, **six, dialect=Dialect.P).payload) == 4 * (27 + 4)


def test_what_changes_devices_is_marked():
    for request in (requests.cfg_read(1, 0, 0), commands.read_all(1), commands.map_progress(), requests.op_result()):
        assert request.repeatable and not request.pulses
    for request in (
        requests.set_pulse(1, 0, 0, 2, 1),
        requests.form_pulse(1, 0, 0, 2, 1),
        requests.write_reg([(0x43C00004, 1)]),
        MapArray.build(Block(1, 0, 1, 0, 1), [1.0]).request(),
        requests.apply_read(Block(1, 0, 1, 0, 1), 1),
        requests.pulse_generator([[1.0] * 32], width_us=20),
    ):
        assert request.pulses and not request.repeatable


@given(st.floats(0, 5))
def test_voltages_round_half_to_even_and_come_back(volts):
    value = scaling.volt_code(volts)
    assert value == round(65535 * volts / 5)
    assert abs(scaling.code_volt(value) - volts) <= 5 / 65535


@pytest.mark.parametrize("volts", [-0.1, 5.01, float("nan"), float("inf")])
def test_impossible_voltages_are_refused(volts):
    with pytest.raises(ConfigError, match="0 to 5 V"):
        scaling.volt_code(volts)


@given(st.lists(st.floats(0, 20.08), min_size=1, max_size=20))
def test_current_codes_agree_one_by_one(currents):
    codes = scaling.current_codes(np.array(currents))
    assert codes.tolist() == [scaling.current_code(c) for c in currents]


def test_impossible_currents_widths_and_blocks_are_refused():
    for current in (-0.1, 25.0, float("nan")):
        with pytest.raises(ConfigError, match="uA"):
            scaling.current_code(current)
        with pytest.raises(ConfigError, match="uA"):
            scaling.current_codes(np.array([1.0, current]))
    assert scaling.width_units(50) == 2 and scaling.effective_width_ns(50) == 40
    with pytest.raises(ConfigError, match="width"):
        scaling.width_units(-1)
    bad = ((0, 0, 1, 0, 1), (9, 0, 1, 0, 1), (1, 128, 1, 0, 1), (1, 120, 9, 0, 1), (1, 0, 1, 31, 2), (1, 0, 0, 0, 1))
    for block in bad:
        with pytest.raises(ConfigError):
            Block(*block)


def test_read_order_is_transposed():
    order = np.arange(4096)
    matrix = scaling.to_matrix(order)
    assert matrix.shape == (128, 32) and matrix[5, 7] == 7 * 128 + 5
    np.testing.assert_array_equal(scaling.from_matrix(matrix), order)


def test_operation_5_is_never_sent():
    with pytest.raises(ConfigError, match="operation"):
        requests.apply_op([5, 0, 1, 0, 1, 10])


def test_fuzz_accepts_nothing_bad():
    result = fuzz.run(3000, seed=2)
    assert result.inputs == 3000
    assert result.crashes == 0 and result.bad_accepted == 0
    assert result.good_accepted > 100 and result.refused > 1000
