"""Who watches long work on an accelerator: told how far it is, asked whether to stop.

Training hands its ``cancelled`` down to chips that take minutes to be written; a command or a node gives its
``progress``, without knowing what kind of chips they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from memristor_bdnn.errors import Cancelled

Progress = Callable[[int, int], None]
"""Called with (cells done, cells)."""


@dataclass(frozen=True)
class JobWatch:
    """Callbacks of long work; either may be None.

    Attributes:
        progress: called with (cells done, cells), possibly from another thread.
        cancelled: True asks to stop; called often, possibly from another thread.
    """

    progress: Progress | None = None
    cancelled: Callable[[], bool] | None = None

    @property
    def stop(self) -> bool:
        """Whether somebody asks to stop."""
        return self.cancelled is not None and self.cancelled()

    def tell(self, done: int, cells: int) -> None:
        """Say how far the work is."""
        if self.progress is not None:
            self.progress(done, cells)

    def check(self) -> None:
        """Stop here when asked to. Raises Cancelled."""
        if self.stop:
            raise Cancelled("stopped as asked; what was written before is kept")

    def part(self, before: int, cells: int) -> JobWatch:
        """The same for a part of the work, of which ``before`` cells of ``cells`` precede this part."""
        if self.progress is None:
            return self
        whole = self.progress
        return JobWatch(lambda done, _: whole(min(before + done, cells), cells), self.cancelled)


class Watched:
    """Mixin of accelerators whose work can be watched; :attr:`watch` is what holds now."""

    watch = JobWatch()

    @contextlib.contextmanager
    def watched(self, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
        """Inside, long work tells ``progress`` and asks ``cancelled``; None leaves what holds outside.

        Work that is stopped raises Cancelled.
        """
        outer = self.watch
        self.watch = JobWatch(progress or outer.progress, cancelled or outer.cancelled)
        try:
            yield
        finally:
            self.watch = outer


def sends_nothing(accelerator: Any) -> bool:
    """Whether an accelerator is in a dry run: what would change its devices is not sent."""
    return bool(getattr(getattr(accelerator, "config", None), "dry_run", False))


def watched(
    accelerator: Any, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None
) -> AbstractContextManager[None]:
    """:meth:`Watched.watched` of an accelerator that has it; nothing for one whose work takes no time."""
    if not hasattr(accelerator, "watched"):
        return contextlib.nullcontext()
    made: AbstractContextManager[None] = accelerator.watched(progress, cancelled)
    return made
