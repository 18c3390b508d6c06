"""Progress and abort of a write-verify job that blocks the command port, through the board's second port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from memristor_bdnn.accelerator.escim.client import Client
from memristor_bdnn.accelerator.escim.wire import commands
from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE
from memristor_bdnn.errors import AcceleratorError

if TYPE_CHECKING:
    from memristor_bdnn.accelerator.escim.board import Board

INTERVAL_S = 0.5


class MapWatcher:
    """Follows a blocking MAP_ARRAY through the second port: progress, and abort when asked."""

    def __init__(
        self,
        board: Board,
        cells: int,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        """Watch a job of ``cells`` cells; without callbacks nothing is done."""
        self.board, self.cells, self.progress, self.cancelled = board, cells, progress, cancelled
        self.aborted = False
        """Whether the job was aborted as asked."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MapWatcher:
        if (self.progress is not None or self.cancelled is not None) and not self.board.dry_run:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        client = Client(self.board.config, self.board.recorder, port=self.board.config.abort_port)
        client.checks = self.board.client.checks
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
            self.board.recorder.event(f"second port: {error}")
        finally:
            client.close()
