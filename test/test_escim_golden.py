"""The codec against packets of the board's own host software, byte for byte."""

import escim_golden
import numpy as np
import pytest

from memristor_bdnn.accelerator.escim.wire import packet, scaling


def test_every_golden_request_byte_for_byte():
    cases = escim_golden.load()["requests"]
    assert len(cases) >= 25
    for case in cases:
        built = escim_golden.build(case)
        assert built.hex() == case["request_hex"], case["name"]
        assert len(built) == case["total_bytes"]
        frame = packet.parse(built)
        assert (frame.command, frame.parameter1, frame.parameter2) == (case["cmd"], case["para1"], case["para2"])
        assert frame.length == case["length_field"]


def test_every_golden_response_decodes_to_the_published_value():
    cases = escim_golden.load()["responses"]
    assert len(cases) >= 12
    for case in cases:
        frame = packet.parse(bytes.fromhex(case["response_hex"]))
        command = escim_golden.COMMAND_OF[case["op"]]
        if not case["sdk_ok"] and not case["error_code"]:
            with pytest.raises(packet.FrameError):
                packet.accept_response(frame, command)
            continue
        assert packet.accept_response(frame, command).error_code == case["error_code"], case["name"]
        if not case["sdk_ok"]:
            continue
        expected = case["sdk_value"]
        value = escim_golden.decode(case["op"], frame.payload, expected)
        if expected is None:
            assert value is None, case["name"]
        elif isinstance(expected, dict):
            assert len(value) == expected["length"]
            for index, item in expected["samples"].items():
                assert value[int(index)] == item, (case["name"], index)
        else:
            wanted = np.asarray(expected)
            np.testing.assert_array_equal(np.asarray(value).reshape(wanted.shape), wanted, err_msg=case["name"])


def test_golden_conversions():
    tables = escim_golden.load()["scaling"]
    for volts, code in tables["volt_to_code"]:
        assert scaling.volt_code(volts) == code
    for feedback, rows in tables["uA_to_code"].items():
        for current, code in rows:
            assert scaling.current_code(current, int(feedback)) == code
    for feedback, rows in tables["code_to_uA"].items():
        for code, current in rows:
            assert scaling.code_current(code, int(feedback)) == current
            assert scaling.code_currents(np.array([code]), int(feedback))[0] == current
    for data, crc in tables["crc16_modbus"]:
        assert packet.crc16(bytes.fromhex(data)) == crc
