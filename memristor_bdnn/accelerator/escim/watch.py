"""Progress and abort of a write-verify job that blocks the command port, through the board's second port."""

from __future__ import annotations

import threading
from collections.abc import Callable

from memristor_bdnn.accelerator.escim.client import Client, ClientConfig
from memristor_bdnn.accelerator.escim.wire import commands
from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.errors import AcceleratorError

INTERVAL_S = 0.5


class MapWatcher:
    """Follows a blocking MAP_ARRAY through the second port: progress, and abort when asked."""

    def __init__(
        self,
        config: ClientConfig,
        recorder: Recorder,
        checks: bool,
        cells: int,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        """Watch a job; without callbacks nothing is done.

        Args:
            config: where the second port is, and how patient to be.
            recorder: gets every packet of that port too.
            checks: whether the board's packets carry checks.
            cells: cells of the job.
            progress: called with (cells done, cells).
            cancelled: True aborts the job.
        """
        self.cells, self.progress, self.cancelled = cells, progress, cancelled
        self._config, self._recorder, self._checks = config, recorder, checks
        self.aborted = False
        """Whether the job was aborted as asked."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MapWatcher:
        if self.progress is not None or self.cancelled is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        client = Client(self._config, self._recorder, port=self._config.abort_port)
        client.checks = self._checks
        try:
            while not self._stop.wait(INTERVAL_S):
                if self.cancelled is not None and self.cancelled():
                    self.aborted = True
                    client.request(commands.map_abort())
                    return
                done = int(commands.word_values(client.request(commands.map_progress()).payload)[0])
                if self.progress is not None and done != PROGRESS_DONE:
                    self.progress(done, self.cells)
        except AcceleratorError as error:
            self._recorder.event(f"second port: {error}")
        finally:
            client.close()
