"""What is tried again, what is never sent twice, and what the documentation says of it."""

import ast
from pathlib import Path

import pytest

from memristor_bdnn.accelerator.escim import recovery
from memristor_bdnn.accelerator.escim.attempts import (
    AnswerLost,
    BoardError,
    NotExecuted,
    attempt,
    certainly_not_given,
    may_repeat,
    until_done,
    wait_s,
)
from memristor_bdnn.accelerator.escim.recovery import Then
from memristor_bdnn.accelerator.escim.safety import SafetyError
from memristor_bdnn.accelerator.escim.wire import commands
from memristor_bdnn.accelerator.escim.wire.commands import ErrorCode
from memristor_bdnn.accelerator.escim.wire.registers import Mode
from memristor_bdnn.errors import AcceleratorError, Cancelled

ROOT = Path(__file__).parent.parent
READ = commands.read_all(1)
PULSE = commands.single_pulse(Mode.SET, 1, (2,), (3,), 2.0, 1.2, 100.0)


class Script:
    """An action that raises or returns what stands in a list, and counts its calls."""

    def __init__(self, *steps):
        self.steps, self.calls = list(steps), 0

    def __call__(self):
        self.calls += 1
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def test_an_attempt_is_repeated_until_it_gets_through():
    script = Script(NotExecuted("a"), AnswerLost("b"), 7, 8)
    assert attempt(script, 5) == 7
    assert script.calls == 3


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_the_last_error_is_raised_after_so_many_retries(retries):
    script = Script(*(NotExecuted(str(i)) for i in range(9)))
    with pytest.raises(NotExecuted, match=str(retries)):
        attempt(script, retries)
    assert script.calls == retries + 1


def test_other_errors_and_forbidden_repetitions_end_it_at_once():
    refused = Script(BoardError(READ, 0x03), 1)
    with pytest.raises(BoardError):
        attempt(refused, 5)
    forbidden = Script(AnswerLost("x"), 1)
    with pytest.raises(AnswerLost):
        attempt(forbidden, 5, again=lambda error: False)
    assert refused.calls == forbidden.calls == 1


def test_a_passing_result_is_asked_for_again_and_the_last_one_returned():
    assert attempt(Script(1, 2, 9, 3), 5, passing=lambda v: v < 5) == 9
    assert attempt(Script(1, 2, 3, 4), 2, passing=lambda v: v < 5) == 3


def test_until_done_stops_when_done_or_after_so_many_times():
    assert until_done(Script(False, True, False), 3)
    never = Script(*[False] * 9)
    assert not until_done(never, 4) and never.calls == 4


def test_waits_double_up_to_the_longest_and_never_overflow():
    assert [wait_s(n, 0.05, 2.0) for n in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert wait_s(100_000, 0.05, 2.0) == 2.0


@pytest.mark.parametrize(
    ("request_", "error", "interrupted", "allowed"),
    [
        (READ, AnswerLost(""), True, True),
        (READ, NotExecuted(""), True, True),
        (PULSE, NotExecuted(""), False, True),
        (PULSE, NotExecuted(""), True, False),
        (PULSE, AnswerLost(""), False, False),
        (PULSE, AnswerLost(""), True, False),
        (commands.map_abort(), AnswerLost(""), True, False),
        (commands.map_abort(), NotExecuted(""), True, True),
    ],
)
def test_what_may_have_changed_a_device_is_not_repeated_by_itself(request_, error, interrupted, allowed):
    assert may_repeat(request_, error, interrupted) is allowed


def test_every_failure_of_the_wire_has_one_row_that_agrees_with_the_accounts():
    errors = [NotExecuted(""), AnswerLost(""), SafetyError(""), *(BoardError(PULSE, code) for code in range(1, 256))]
    for error in errors:
        rows = {(row.pulse, row.job) for row in recovery.TABLE if row.fits(error)}
        assert len(rows) == 1, error
        ((pulse, job),) = rows
        if not isinstance(error, SafetyError):
            assert (pulse is Then.COUNT) == (not certainly_not_given(error)), "a pulse counts unless it was refunded"
        assert job is not Then.COUNT and pulse is not Then.REDO
    assert recovery.failure(BoardError(PULSE, ErrorCode.CFG_REG_FAILED)).pulse is Then.COUNT
    assert recovery.failure(BoardError(PULSE, ErrorCode.PAYLOAD_CRC)).pulse is Then.STOP
    assert recovery.failure(AcceleratorError("")) is recovery.failure(Cancelled("")) is None


def test_the_documentation_shows_the_table():
    assert recovery.markdown() in (ROOT / "docs" / "escim.md").read_text()


def test_the_emulator_shares_the_wire_with_the_driver_and_nothing_else():
    escim = "memristor_bdnn.accelerator.escim"
    for path in (ROOT / "memristor_bdnn" / "emulator").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(escim) or name.startswith(f"{escim}.wire"), f"{path.name} imports {name}"
