"""One simulation step of a trial, with its clock, progress report and cancellation; for worlds in PyBullet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from memristor_bdnn.errors import Cancelled
from memristor_bdnn.skills.records import CancelCallback, Progress

CHECK_EVERY = 12
"""Steps between looks at the scene, reports of progress and questions whether to stop."""
_SHOW_EVERY = 8


class Clocked(Protocol):
    """A world with a clock in seconds, and perhaps a window that :meth:`show` brings up to date."""

    config: Any
    time: float
    _gui: bool

    def show(self) -> object:
        """Bring the window up to date."""


class Ticker:
    """Steps a world once a call.

    Args:
        world: its ``time`` is moved on by its ``config.time_step``.
        step: advances the simulation.
        progress: called with (phase, share of it that is done) every CHECK_EVERY steps.
        cancelled: asked as often.
        look: called after every step, such as an audit.

    Attributes:
        steps: taken so far.
    """

    def __init__(
        self,
        world: Clocked,
        step: Callable[[], None],
        progress: Progress | None = None,
        cancelled: CancelCallback | None = None,
        look: Callable[[], None] | None = None,
    ) -> None:
        self._world, self._step, self._look = world, step, look
        self._progress, self._cancelled = progress, cancelled
        self.steps = 0

    def __call__(self, phase: str, fraction: float) -> None:
        """Advance by one step.

        Raises:
            Cancelled: the caller stopped the trial.
        """
        self._step()
        self.steps += 1
        self._world.time += self._world.config.time_step
        if self._look is not None:
            self._look()
        if self._world._gui and self.steps % _SHOW_EVERY == 0:
            self._world.show()
        if self.steps % CHECK_EVERY == 0:
            if self._cancelled is not None and self._cancelled():
                raise Cancelled(f"trial stopped during {phase} by the caller")
            if self._progress is not None:
                self._progress(phase, fraction)
