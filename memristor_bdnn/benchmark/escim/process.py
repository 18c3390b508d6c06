"""An emulated board, and the bare TCP limit, in processes of their own, for the benchmark of the board."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from memristor_bdnn.errors import AcceleratorError
from memristor_bdnn.processes import child_of_this


class EmulatorProcess:
    """`memristor-bdnn escim-emulator` as a child; ``statistics`` after the end of the with block."""

    def __init__(self, *arguments: str) -> None:
        """Start it on free ports.

        Raises:
            AcceleratorError: it did not come up.
        """
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "statistics.json"
        command = [sys.executable, "-m", "memristor_bdnn.cli", "escim-emulator", "--port", "0"]
        command += ["--stats", str(self._file), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=child_of_this())
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = re.search(r"port (\d+), abort port (\d+)", line)
        if match is None:
            self._process.kill()
            raise AcceleratorError(f"the emulator did not start: {line.strip() or 'no output'}")
        self.port, self.abort_port = int(match[1]), int(match[2])
        self.statistics: dict[str, Any] = {}
        self.output = ""
        """What it printed after its first line, known at the end."""

    @property
    def address(self) -> dict[str, Any]:
        """Options of the driver that reach it."""
        return {"host": "127.0.0.1", "port": self.port, "abort_port": self.abort_port}

    def __enter__(self) -> EmulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self.output = self._process.stdout.read()
            self._process.stdout.close()
        if self._file.exists():
            self.statistics = json.loads(self._file.read_text())
        self._folder.cleanup()


class EchoProcess:
    """A process that answers n bytes with m bytes and does nothing else: what TCP itself allows."""

    def __init__(self) -> None:
        """Start it on a free port."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "memristor_bdnn.benchmark.escim.process"],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=child_of_this(),
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def connect(self, request_bytes: int, answer_bytes: int) -> socket.socket:
        """A connection on which every request of that size is answered with that many bytes."""
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request_bytes.to_bytes(4, "little") + answer_bytes.to_bytes(4, "little"))
        return connection

    def __enter__(self) -> EchoProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def receive(connection: socket.socket, count: int) -> bytes:
    """Exactly ``count`` bytes, or fewer when the peer has closed."""
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return data
        data += part
    return data


def _echo() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sizes = receive(connection, 8)
            request, answer = int.from_bytes(sizes[:4], "little"), bytes(int.from_bytes(sizes[4:], "little"))
            while len(receive(connection, request)) == request:
                connection.sendall(answer)


if __name__ == "__main__":
    _echo()
