"""The page: a server on this machine, a source of moments, and the loop that brings one to the other."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.view.moment import Source
from memristor_bdnn.view.panels import Panels
from memristor_bdnn.view.scene import Scene

PORTS = 20
"""Ports that are tried, from the one asked for upward."""
RATE_HZ = (1.0, 50.0)


class Page:
    """One page over one source.

    Args:
        source: of the moments; the page does not close it.
        host, port: where it is served; where the port is taken, the next free one.
        look: which meshes of the arm are drawn.
        rate_hz: updates a second.
        say: told what a person should know.

    Raises:
        ConfigError: viser is not installed, or nothing can be served there.
    """

    def __init__(
        self, source: Source, host: str, port: int, look: str, rate_hz: float, say: Callable[[str], None]
    ) -> None:
        require()
        free = _free_port(host, port)
        if free != port:
            say(f"port {port} is taken: using {free}")
        if not is_local(host):
            say(
                f"warning: everyone who reaches {host}:{free} sees this session and may give labels; "
                "the page has no password"
            )
        self._source, self._step_s = source, 1.0 / rate_hz
        self._say, self._told = say, set[str]()
        self._server = _serve(host, free, f"memristor_bdnn: {source.title}")
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.get_port()}"
        self._scene = Scene(self._server, look)
        self._panels = Panels(self._server, source, self._scene)
        self._shown: Any = None

    def update(self, passed_s: float = 0.0) -> None:
        """Bring the page to what its sliders ask for, or to now."""
        at = self._panels.position(passed_s)
        if at and at == self._shown:
            return
        self._shown = at
        moment = self._source.moment(at)
        self._scene.show(moment)
        self._panels.show(moment)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Update until ``stopped`` answers True."""
        before = time.monotonic()
        while not stopped():
            now = time.monotonic()
            try:
                self.update(now - before)
            except Exception as error:  # whatever was sent to us: the page goes on with the next moment
                self._say_once(f"a moment is not shown: {type(error).__name__}: {error}")
            before = now
            time.sleep(max(0.0, self._step_s - (time.monotonic() - now)))

    def _say_once(self, text: str) -> None:
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            self._say(text)

    def close(self) -> None:
        """Serve nothing any more."""
        with contextlib.redirect_stdout(None):  # the server says so itself
            self._server.stop()
            time.sleep(0.05)


def require() -> None:
    """Raises ConfigError with what to install when viser is not there."""
    try:
        import trimesh  # noqa: F401
        import viser  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the page needs the package {error.name}: pip install 'memristor-bdnn[view]', or pip install viser"
        ) from None


def is_local(host: str) -> bool:
    """Whether nobody else reaches a server that is bound there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _free_port(host: str, port: int) -> int:
    """The first port from ``port`` on that can be served."""
    for number in range(port, min(port + PORTS, 65536)):
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
                return number
        except (OSError, UnicodeError) as error:
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"cannot serve at {host}:{number}: {reason}; choose --host and --port") from error
    raise ConfigError(f"ports {port} to {min(port + PORTS, 65536) - 1} are taken: choose another with --port")


def _serve(host: str, port: int, label: str) -> Any:
    import viser

    class Server(viser.ViserServer):
        """Whoever sees the page cannot have it tunnelled to the internet, as a viser client may ask for."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            """Refused."""
            return None

    with contextlib.redirect_stdout(None):  # it draws a box around the address, which is said in one line
        return Server(host=host, port=port, label=label, verbose=False)
