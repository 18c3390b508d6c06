"""The client against boards that misbehave, over real sockets: deadlines, reconnection, no blind repetition."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from memristor_bdnn.accelerator.escim.attempts import AnswerLost, BoardError, NotExecuted
from memristor_bdnn.accelerator.escim.board import Board, Pulse
from memristor_bdnn.accelerator.escim.client import Client, ClientConfig
from memristor_bdnn.accelerator.escim.safety import SafetyError
from memristor_bdnn.accelerator.escim.wire import commands, packet
from memristor_bdnn.accelerator.escim.wire.recording import Recorder, describe, exchanges, load
from memristor_bdnn.emulator import requests
from memristor_bdnn.errors import AcceleratorError, ConfigError

CHIP = packet.encode_response(commands.Command.READ_ALL, np.full(4096, 408, "<u2").tobytes())
PULSED = packet.encode_response(commands.Command.CFG_REG)
PROGRESS = packet.encode_response(commands.Command.MAP_PROGRESS, b"\x11\0\0\0")


class ScriptedBoard:
    """Answers the n-th request with the n-th script item: bytes, None (close), or a callable on the connection."""

    def __init__(self, *script):
        self.script, self.received = list(script), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection):
        decoder = packet.Decoder(packet.REQUEST_START)
        while data := connection.recv(65536):
            decoder.feed(data)
            while (frame := decoder.next()) is not None:
                self.received.append(frame)
                item = self.script.pop(0) if self.script else None
                if item is None:
                    return
                if callable(item):
                    item(connection)
                else:
                    connection.sendall(item)

    def close(self):
        self.listener.close()


@pytest.fixture
def board_of():
    boards = []

    def make(*script):
        boards.append(ScriptedBoard(*script))
        return boards[-1]

    yield make
    for board in boards:
        board.close()


def client_of(board, **options):
    settings = {"host": "127.0.0.1", "answer_timeout_s": 0.4, "backoff_s": 0.001, "resync_s": 0.2, "retries": 3}
    return Client(ClientConfig(port=board.port, **{**settings, **options}))


PULSE = requests.set_pulse(1, 5, 7, 2.0, 1.25)


def test_an_answer_in_single_bytes_is_put_together(board_of):
    def drip(connection):
        for value in PROGRESS:
            connection.sendall(bytes((value,)))
            time.sleep(0.002)

    client = client_of(board_of(drip))
    assert client.request(commands.map_progress()).payload == b"\x11\0\0\0"


def test_a_read_is_repeated_after_a_lost_answer(board_of):
    board = board_of(None, PROGRESS[:9], PROGRESS)
    client = client_of(board)
    assert client.request(commands.map_progress()).payload == b"\x11\0\0\0"
    assert len(board.received) == 3 and board.connections == 3
    assert client.statistics.lost_answers == 2 and client.generation == 2


@pytest.mark.parametrize(
    "answer",
    [None, PULSED[:3], b"\x3b\x01\x00\x00\x00\x00\x3b", b"\x3b\x02\0\0\0\0\x39", PROGRESS, b"\0" * 20],
    ids=["closed", "cut", "head check", "other command", "other answer", "garbage"],
)
def test_a_pulse_is_never_repeated_after_a_lost_answer(board_of, answer):
    board = board_of(answer, PULSED)
    with pytest.raises(AnswerLost):
        client_of(board).request(PULSE)
    time.sleep(0.05)
    assert len(board.received) == 1


def test_a_silent_board_times_out(board_of):
    board = board_of(lambda connection: None)
    start = time.monotonic()
    with pytest.raises(AnswerLost, match="timed out"):
        client_of(board).request(PULSE)
    assert time.monotonic() - start >= 0.4
    assert len(board.received) == 1


def test_a_refused_check_is_safe_to_repeat_even_for_a_pulse(board_of):
    board = board_of(packet.encode_response(1, error=6), packet.encode_response(0xFF, error=5), PULSED)
    client = client_of(board)
    assert client.request(PULSE).error_code == 0
    assert len(board.received) == 3 and client.statistics.rejected_checks == 2
    assert client.generation == 0, "the board answered: nothing is in doubt"


def test_busy_is_waited_for(board_of):
    board = board_of(packet.encode_response(1, error=8), packet.encode_response(1, error=8), PULSED)
    assert client_of(board).request(PULSE).error_code == 0
    assert board.connections == 1


def test_other_errors_are_reported_by_number(board_of):
    board = board_of(packet.encode_response(1, error=7), packet.encode_response(0x0F, error=0x42))
    client = client_of(board)
    with pytest.raises(BoardError, match=r"0x07.*completion") as caught:
        client.request(PULSE)
    assert caught.value.code == 7
    with pytest.raises(BoardError, match="0x42"):
        client.request(commands.read_all(1))


def test_the_connection_is_replaced_where_a_body_may_be_left_in_the_stream(board_of):
    board = board_of(packet.encode_response(1, error=1), PROGRESS, packet.encode_response(3, error=1), PROGRESS)
    client = client_of(board)
    with pytest.raises(BoardError, match="length"):
        client.request(PULSE)
    client.request(commands.map_progress())
    assert board.connections == 2
    with pytest.raises(BoardError):
        client.request(commands.map_progress())
    client.request(commands.map_progress())
    assert board.connections == 2, "without a body nothing can be left"


def test_an_answer_behind_garbage_is_found_and_the_stream_replaced(board_of):
    garbage = b"\x00\x3b\xff\x3b\x03"
    board = board_of(garbage + PROGRESS, PROGRESS)
    client = client_of(board)
    assert client.request(commands.map_progress()).payload == b"\x11\0\0\0"
    assert client.statistics.resynchronised == 1
    client.request(commands.map_progress())
    assert board.connections == 2


def test_unsolicited_bytes_replace_the_connection_before_the_next_request(board_of):
    board = board_of(PROGRESS + PROGRESS, PROGRESS)
    client = client_of(board)
    client.request(commands.map_progress())
    time.sleep(0.05)
    client.request(commands.map_progress())
    assert board.connections == 2


def test_a_pulse_is_not_sent_over_a_connection_that_broke_since_the_read(board_of):
    def answer_and_close(connection):
        connection.sendall(CHIP)
        connection.shutdown(socket.SHUT_RDWR)

    board = board_of(answer_and_close, PULSED)
    client = client_of(board)
    client.request(commands.read_all(1))
    time.sleep(0.05)
    with pytest.raises(NotExecuted, match="read before pulsing"):
        client.request(PULSE)
    assert len(board.received) == 1


def test_an_unreachable_board_says_so_after_backing_off():
    waits = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    client = Client(
        ClientConfig(host="127.0.0.1", port=port, retries=5, backoff_s=0.1, backoff_max_s=0.5), sleep=waits.append
    )
    with pytest.raises(NotExecuted, match="cannot connect"):
        client.request(commands.map_progress())
    assert waits == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_requests_from_several_threads_are_one_at_a_time(board_of):
    board = board_of(*[PROGRESS] * 40)
    client = client_of(board)
    answers = []

    def ask():
        answers.extend(client.request(commands.map_progress()).payload for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"\x11\0\0\0"] * 40 and board.connections == 1


def test_unchecked_firmware_is_refused_unless_configured(board_of):
    unchecked = packet.encode_response(0x0F, np.zeros(4096, "<u2").tobytes(), checks=False)
    published = packet.encode_response(0xFF, error=2, checks=False)
    for answer, dialect in ((unchecked, "C"), (published, "P")):
        strict = Board(ClientConfig(host="127.0.0.1", port=board_of(answer).port))
        with pytest.raises(AcceleratorError, match=rf"dialect {dialect}.*allow_unchecked"):
            strict.detect()
        config = ClientConfig(host="127.0.0.1", port=board_of(answer).port, allow_unchecked=True)
        tolerant = Board(config)
        assert tolerant.detect()[0].value == dialect
        assert not tolerant.client.checks


def test_neither_dialect_is_refused(board_of):
    board = Board(ClientConfig(host="127.0.0.1", port=board_of(packet.encode_response(0x0F, error=3)).port))
    with pytest.raises(AcceleratorError, match="neither dialect"):
        board.detect()


def test_no_pulse_before_a_read_and_none_after_an_interruption(board_of):
    server = board_of(CHIP, CHIP, PULSED, None, CHIP, PULSED)
    config = ClientConfig(host="127.0.0.1", port=server.port, answer_timeout_s=0.4, backoff_s=0.001)
    board = Board(config)
    pulse = Pulse(2, (5,), (7,), False, 2.0, 1.25, 100)
    board.detect()
    with pytest.raises(SafetyError, match="chip 2 was not read"):
        board.pulse(pulse)
    board.read_chip(2)
    board.pulse(pulse)
    with pytest.raises(AnswerLost):
        board.pulse(pulse)
    with pytest.raises(SafetyError, match="chip 2 was not read"):
        board.pulse(pulse)
    board.read_chip(2)
    board.pulse(pulse)
    assert [f.command for f in server.received] == [15, 15, 1, 1, 15, 1]
    assert board.guard.map(2)[5, 7] == 3, "a pulse whose answer was lost counts"


def test_recordings_hold_every_packet_and_a_torn_end(board_of, tmp_path):
    path = tmp_path / "session.jsonl"
    server = board_of(PROGRESS, None, PROGRESS)
    recorder = Recorder(path)
    client = Client(ClientConfig(host="127.0.0.1", port=server.port, backoff_s=0.001), recorder)
    client.request(commands.map_progress())
    client.request(commands.map_progress())
    recorder.close()
    assert [answer for _, answer in exchanges(path)] == [PROGRESS, None, PROGRESS]
    assert "MAP_PROGRESS" in describe(exchanges(path)[0][0])
    assert "SET chip 1 BL 5 WL 7 1 x 100 ns" in describe(PULSE.encode())
    path.write_text(path.read_text() + '{"t": 1, "ki')
    assert len(exchanges(path)) == 3
    path.write_text('{"t": 1}\n' + path.read_text())
    with pytest.raises(ConfigError, match="line 1"):
        list(load(path))
