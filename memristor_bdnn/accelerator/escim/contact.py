"""First contact with a board: who is there, said within seconds.

A board serves one client on each port and leaves a second one waiting without a word, so that silence alone does not
tell a busy board from a dead one: its second port is asked too.
"""

from __future__ import annotations

import time
from dataclasses import replace

from memristor_bdnn.accelerator.escim.attempts import PASSING, AnswerLost, Foreign, NotExecuted, Silence, attempt
from memristor_bdnn.accelerator.escim.client import Client
from memristor_bdnn.accelerator.escim.wire import commands, packet
from memristor_bdnn.accelerator.escim.wire.commands import PROGRESS_DONE, Command, ErrorCode, Request
from memristor_bdnn.accelerator.escim.wire.recording import Recorder
from memristor_bdnn.errors import AcceleratorError

FIRST_CONTACT_S, SECOND_PORT_S = 3.0, 0.7
FOREIGN_ANSWERS = 3
"""So many answers that are none of the board's are no disturbance of the line."""


class BoardBusy(AcceleratorError):
    """The board lives, but serves somebody else, or works on a job."""


class BoardSilent(AcceleratorError):
    """Something accepts the connection and says nothing."""


class NotEscim(AcceleratorError):
    """Something answers that is no ESCIM board."""


def first_contact(client: Client, probe: Request, recorder: Recorder) -> packet.Frame:
    """The answer to a first request, or the reason why there is none, within about five seconds.

    Args:
        client: of the command port; its ``answer_timeout_s`` makes this more or less patient.
        probe: what is asked; a read.
        recorder: gets the packets of the second port too.

    Raises:
        NotExecuted: no connection.
        BoardBusy, BoardSilent, NotEscim: there is one, but nothing to work with.
    """
    config = client.config
    patience = config.answer_timeout_s or FIRST_CONTACT_S
    limit = time.monotonic() + max(patience, FIRST_CONTACT_S)
    foreign = 0

    def ask() -> packet.Frame:
        left = max(0.1, limit - time.monotonic())
        return client.exchange_raw(probe, min(patience, left), connect_s=min(config.connect_timeout_s, left))

    def again(error: AcceleratorError) -> bool:
        nonlocal foreign
        foreign += isinstance(error, Foreign)
        return foreign < FOREIGN_ANSWERS and time.monotonic() < limit

    try:
        frame = attempt(ask, config.retries, again, passing=lambda f: f.error_code in PASSING)
    except (NotExecuted, AnswerLost) as error:
        raise _named(client, error, recorder) from error
    if frame.error_code == ErrorCode.MAP_BUSY:
        raise BoardBusy(f"{client.where} is busy: a write-verify job is running there (0x08); wait, or abort it")
    return frame


def _named(client: Client, error: AcceleratorError, recorder: Recorder) -> AcceleratorError:
    """What a failed first contact means."""
    if isinstance(error, Foreign):
        return NotEscim(
            f"{client.where} does not speak ESCIM: {error}. Another device, or another service of this one? The"
            " board's command port is 7 unless it was changed"
        )
    if isinstance(error, AnswerLost) and not isinstance(error, Silence):
        return NotEscim(f"{client.where} does not speak ESCIM, or its answers do not get through: {error}")
    done, reason = _second_port(client, recorder)
    second = f"its second port ({client.config.abort_port})"
    if done is not None:
        cells = "" if done in (0, PROGRESS_DONE) else f", {done} cells done"
        return BoardBusy(
            f"{client.where} is busy, for the board answers on {second}: another program holds the command port, which"
            f" serves one client at a time, or a write-verify job runs{cells}. End the other program, or wait ({error})"
        )
    if isinstance(error, Silence):
        return BoardSilent(
            f"{client.where} accepts the connection but does not answer ({error}), nor does {second}: {reason}. The"
            " board hangs, is busy with another client on both ports (it serves one at a time), or this is no ESCIM"
            " board"
        )
    return error


def _second_port(client: Client, recorder: Recorder) -> tuple[int | None, str]:
    """Progress of the last job as the second port tells it; None and the reason when it does not."""
    quick = replace(client.config, connect_timeout_s=SECOND_PORT_S, retries=0)
    other = Client(quick, recorder, port=quick.abort_port)
    try:
        frame = other.exchange_raw(commands.map_progress(), SECOND_PORT_S)
        if frame.command != Command.MAP_PROGRESS or frame.error_code:
            return None, f"command 0x{frame.command:02X}, error 0x{frame.error_code:02X}"
        return int(commands.word_values(frame.payload)[0]), ""
    except (NotExecuted, AnswerLost) as error:
        return None, str(error)
    finally:
        other.close()
