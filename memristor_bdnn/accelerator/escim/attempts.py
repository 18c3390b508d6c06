"""What may become of a request, and whether, how often and when it is tried again; the only place that decides it.

Below stands the rule that everything above relies on: what may have changed a device is never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from memristor_bdnn.accelerator.escim.wire.commands import ERROR_TEXT, ErrorCode, Request
from memristor_bdnn.errors import AcceleratorError, MemristorError

T = TypeVar("T")
REJECTED_CHECKS = (ErrorCode.HEAD_CHECK, ErrorCode.PAYLOAD_CRC)
PASSING = (*REJECTED_CHECKS, ErrorCode.MAP_BUSY)
"""Error answers that another attempt may not get: nothing was executed."""


class BoardError(AcceleratorError):
    """The board answered with an error code; ``code`` is its number."""

    def __init__(self, request: Request, code: int) -> None:
        text = ERROR_TEXT[ErrorCode(code)] if code in set(ErrorCode) else "a code that no source explains"
        super().__init__(f"the board refused {request.title}: error 0x{code:02X}, {text}")
        self.code = code


class NotExecuted(AcceleratorError):
    """The request did not reach the board whole, or its checks failed there: nothing happened."""


class AnswerLost(AcceleratorError):
    """The request was sent but no valid answer came: it may have been executed."""


class Silence(AnswerLost):
    """Not one byte came in time."""


class Foreign(AnswerLost):
    """What came is no answer of a board."""


class JobLost(AnswerLost):
    """A write-verify job that was begun stands still, or the board has forgotten it."""


def certainly_not_given(error: MemristorError) -> bool:
    """Whether the pulses of a failed request certainly were not given: never sent whole, or refused before any."""
    return isinstance(error, NotExecuted) or (isinstance(error, BoardError) and error.code < ErrorCode.CFG_REG_FAILED)


def may_repeat(request: Request, error: AcceleratorError, interrupted: bool) -> bool:
    """Whether the same request may be sent again by itself.

    Reads may, after anything. What changes devices may only if it was not executed and the connection was never in
    doubt (``interrupted``): otherwise the caller has to read before it goes on.
    """
    if isinstance(error, AnswerLost) and not request.repeatable:
        return False
    return not (request.pulses and interrupted)


def attempt(
    action: Callable[[], T],
    retries: int,
    again: Callable[[AcceleratorError], bool] = lambda error: True,
    passing: Callable[[T], bool] = lambda result: False,
) -> T:
    """The result of an exchange that may fail, after up to ``retries`` further attempts.

    Args:
        action: one attempt.
        retries: further ones at most.
        again: asked after NotExecuted or AnswerLost whether another is allowed.
        passing: whether a result is to be asked for again; the last one is returned in any case.

    Raises:
        NotExecuted, AnswerLost: of the last attempt.
    """
    for left in range(retries, -1, -1):
        try:
            result = action()
        except (NotExecuted, AnswerLost) as error:
            if not left or not again(error):
                raise
        else:
            if not left or not passing(result):
                return result
    raise AssertionError("unreachable")


def until_done(action: Callable[[], bool], times: int) -> bool:
    """Act until it says that it is done, ``times`` at most; whether it was."""
    return any(action() for _ in range(times))


def wait_s(failures: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many failures before this one: the first wait, doubled each time, up to the longest."""
    return min(first_s * 2.0 ** min(failures, 30), longest_s)
