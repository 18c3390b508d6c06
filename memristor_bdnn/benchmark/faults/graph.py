"""Kills of nodes, with and without respawn, in and between calls: the session must end as if nobody was killed."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memristor_bdnn import skills
from memristor_bdnn.benchmark.faults import sessions
from memristor_bdnn.benchmark.faults.findings import Tally
from memristor_bdnn.benchmark.faults.processes import Graph, last_words, until

STAGES = ((0, 0), (1, 0), (4, 0), (6, 2))
"""Totals of queries and evaluations of the goals of a session: between them the graph idles."""
SHORT = ((0, 0), (3, 1))
"""The goals of a session where only a few nodes are killed."""
FEW = 10
SIZES = ("initial_trials:=4", "candidates:=50", "record:=true")
GOAL_S = 120.0
EXIT_S = 25.0
RECORDED_S = 12.0
"""A recorder that was killed after so long must have left messages."""


@dataclass(frozen=True)
class Reference:
    """The session that nobody disturbed: its goals, how long each took, and what it left."""

    stages: tuple[tuple[int, int], ...]
    trials: list[dict[str, Any]]
    rounds: list[dict[str, Any]]
    seconds: tuple[float, ...]


@dataclass
class Session:
    """A session under kills: its folder, what was killed and what its files held at each kill."""

    folder: Path
    case: int
    done: list[str] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    recorder_since: float = 0.0

    @property
    def results(self) -> Path:
        """Where the coordinator writes."""
        return self.folder / "results"

    def remember(self) -> None:
        """Keep what is on disk now."""
        self.states.append(sessions.read(self.results / "trials.jsonl"))
        self.labels.append(sessions.checkpoint_labels(self.results / "learner.npz"))


def run(tally: Tally, folder: Path, kills: int, skill: str, case: int | None, progress: Callable[[int], None]) -> None:
    """Sessions until there were ``kills``, two with respawn for each one without; each session is a case."""
    names = (*skills.load(skill).node_names, "accelerator", "coordinator", "recorder")
    words = [f"skill:={skill}", f"seed:={tally.seed}", "results:=results", *SIZES]
    reference = _reference(folder / "reference", words, names, SHORT if kills <= FEW else STAGES)
    tally.count("uninterrupted sessions")
    number = 0 if case is None else case
    while tally.tried["kills"] < kills and not tally.given_up:
        respawn = number % 3 != 2
        session = Session(folder / f"session_{number}", number)
        session.folder.mkdir(parents=True)
        found = len(tally.findings)
        arguments = [*words, f"use_respawn:={'true' if respawn else 'false'}"]
        left = kills - tally.tried["kills"]
        (_with_respawn if respawn else _without_respawn)(tally, session, arguments, names, reference, left)
        tally.count(f"sessions {'with' if respawn else 'without'} respawn")
        if len(tally.findings) == found:
            _judge(tally, session, reference)
        if len(tally.findings) == found:
            shutil.rmtree(session.folder)
        number += 1
        progress(min(tally.tried["kills"], kills))
        if case is not None:
            break


def _goal(queries: int, evaluations: int) -> Any:
    from memristor_bdnn.action import ActiveLearn

    return ActiveLearn.Goal(queries=queries, strategy="straddle", evaluation_trials=evaluations)


def _send(graph: Graph, stage: tuple[int, int]) -> Any:
    from memristor_bdnn.action import ActiveLearn

    return graph.client.act("coordinator", ActiveLearn, "active_learn", _goal(*stage), GOAL_S)


def _reference(
    folder: Path, words: list[str], names: tuple[str, ...], stages: tuple[tuple[int, int], ...]
) -> Reference:
    folder.mkdir(parents=True)
    seconds = []
    with Graph(folder, words, names) as graph:
        if not graph.wait_ready():
            raise RuntimeError(f"the graph did not start: {last_words(graph.log, 20)}")
        for stage in stages:
            began = time.monotonic()
            result = _send(graph, stage)
            if result.error_code:
                raise RuntimeError(f"the uninterrupted session failed: {result.error_msg}")
            seconds.append(time.monotonic() - began)
    results = folder / "results"
    return Reference(
        stages, sessions.trials(results / "trials.jsonl"), sessions.rounds(results / "rounds.jsonl"), tuple(seconds)
    )


# -- with respawn ----------------------------------------------------------------------------------


def _with_respawn(
    tally: Tally, session: Session, words: list[str], names: tuple[str, ...], reference: Reference, limit: int
) -> None:
    """Kill nodes during goals and between them; every goal must come to its end."""
    rng = tally.rng(session.case)
    with Graph(session.folder, words, names) as graph:
        if not graph.wait_ready():
            tally.found("crashed", session.case, "start the graph", last_words(graph.log))
            return
        session.recorder_since = time.monotonic()
        victims = list(rng.permutation([*names, "accelerator"])) + list(rng.permutation([*names, "accelerator"]))
        killed = 0
        for stage, seconds in zip(reference.stages, reference.seconds, strict=True):
            killer = None
            if killed < limit and rng.random() < 0.8:
                moment = _moment(session, rng, seconds)
                killer = threading.Thread(target=_kill_at, args=(tally, session, graph, victims.pop(), moment, stage))
                killer.start()
                killed += 1
            ended = _come_to_an_end(tally, session, graph, stage)
            if killer is not None:
                killer.join()
            if not ended:
                return
            if killed < limit and rng.random() < 0.8:
                _kill(tally, session, graph, victims.pop(), f"idle after goal {stage}")
                killed += 1
                # from "not yet noticed" over "not yet back" to "back, as if nothing had been"
                time.sleep(float(rng.choice([0.0, 0.5, 1.5, 3.0, 6.0]) * rng.random()))
        if session.done and not graph.wait_ready():
            tally.found("crashed", session.case, _text(session), f"not all nodes came back: {last_words(graph.log)}")


Moment = tuple[str, Callable[[], bool], float]
"""What is waited for, whether it has come, and the seconds after it."""


def _moment(session: Session, rng: Any, seconds: float) -> Moment:
    """A random moment of a goal: any, at a commit, or while a trial runs and nobody asks the learner."""
    kind, delay = rng.random(), float(rng.random() * 0.4)
    if kind < 0.34:
        return "sent", lambda: True, float(rng.random() * seconds)
    file = session.results / ("trials.jsonl" if kind < 0.55 else "learner.npz")
    seen = [_changed(file)]
    count = int(rng.integers(1, 4))

    def reached() -> bool:
        now = _changed(file)
        if now != seen[-1]:
            seen.append(now)
        return len(seen) > count

    return f"change {count} of {file.name}", reached, delay if kind >= 0.55 else delay / 4


def _changed(file: Path) -> Any:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _kill_at(tally: Tally, session: Session, graph: Graph, name: str, moment: Moment, stage: tuple[int, int]) -> None:
    text, reached, delay = moment
    until(lambda: reached() or graph.process.poll() is not None, 10.0)
    time.sleep(delay)
    _kill(tally, session, graph, name, f"{delay:.2f} s after {text}, goal {stage}")


def _kill(tally: Tally, session: Session, graph: Graph, name: str, moment: str) -> None:
    """Kill a node and note what it leaves."""
    if not graph.kill(name):
        return
    tally.count("kills")
    tally.count(f"of {name}")
    session.done.append(f"{name} killed {moment}")
    session.remember()
    if name == "recorder":
        _judge_recording(tally, session)
        session.recorder_since = time.monotonic() + 3.0


def _come_to_an_end(tally: Tally, session: Session, graph: Graph, stage: tuple[int, int]) -> bool:
    """Send a goal, again where its coordinator died; whether it ended well."""
    from memristor_bdnn.errors import MemristorError

    happened = ""
    for _ in range(6):
        if graph.process.poll() is not None:
            break
        try:
            graph.client.peers.wait_ready(("coordinator",), 60.0)
            result = _send(graph, stage)
        except MemristorError as error:
            happened = str(error)
            if not any("coordinator killed" in text for text in session.done):
                tally.found("crashed", session.case, _text(session), f"goal {stage}: {happened}")
                return False
            continue
        if not result.error_code:
            return True
        tally.found("crashed", session.case, _text(session), f"goal {stage} ended with {result.error_msg!r}")
        return False
    tally.found("crashed", session.case, _text(session), f"goal {stage}: {happened or last_words(graph.log)}")
    return False


# -- without respawn -------------------------------------------------------------------------------


def _without_respawn(
    tally: Tally, session: Session, words: list[str], names: tuple[str, ...], reference: Reference, limit: int
) -> None:
    """Kill a node of graph after graph on one folder; each must end with exit code 1 and name it."""
    rng = tally.rng(session.case)
    victims = list(rng.permutation(names))[: min(limit, int(rng.integers(2, 4)))]
    for name in [*victims, ""]:
        with Graph(session.folder, words, names) as graph:
            if not graph.wait_ready():
                tally.found(
                    "crashed", session.case, _text(session), f"the graph does not start: {last_words(graph.log)}"
                )
                return
            session.recorder_since = time.monotonic()
            if not name:
                for stage in reference.stages:
                    if not _come_to_an_end(tally, session, graph, stage):
                        return
                return
            stage_number = int(rng.integers(len(reference.stages)))
            for stage in reference.stages[:stage_number]:
                if not _come_to_an_end(tally, session, graph, stage):
                    return
            if not _one_death(
                tally, session, graph, name, reference.stages[stage_number], rng, reference.seconds[stage_number]
            ):
                return


def _one_death(
    tally: Tally, session: Session, graph: Graph, name: str, stage: tuple[int, int], rng: Any, seconds: float
) -> bool:
    """Kill a node during a goal or before it; whether the graph ended as it should."""
    children = list(graph.pids().values())
    sender = None
    if rng.random() < 0.6:
        sender = threading.Thread(target=_send_and_forget, args=(graph, stage), daemon=True)
        sender.start()
        _kill_at(tally, session, graph, name, _moment(session, rng, seconds), stage)
    else:
        _kill(tally, session, graph, name, f"idle before goal {stage}")
    try:
        code = graph.process.wait(EXIT_S)
    except subprocess.TimeoutExpired:
        tally.found("crashed", session.case, _text(session), f"the graph goes on {EXIT_S:.0f} s after the death")
        return False
    finally:
        if sender is not None:
            graph.client.close()  # its wait ends with the context
    words = graph.log.read_text(errors="replace")
    if code != 1 or f"{name} died" not in words:
        tally.found("crashed", session.case, _text(session), f"exit code {code}: {last_words(graph.log)}")
        return False
    if not until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 5.0):
        tally.found("crashed", session.case, _text(session), "the graph ended and left nodes behind")
        return False
    return True


def _send_and_forget(graph: Graph, stage: tuple[int, int]) -> None:
    try:
        _send(graph, stage)
    except Exception:  # the graph is gone, which is what this is about
        return


# -- judgement -------------------------------------------------------------------------------------


def _judge(tally: Tally, session: Session, reference: Reference) -> None:
    store = session.results / "trials.jsonl"
    final = sessions.read(store)
    found = [j for before in session.states for j in sessions.lost(before, final)][:1]
    labels = [*session.labels, sessions.checkpoint_labels(session.results / "learner.npz")]
    if labels != sorted(labels):
        found.append(("lost", f"the checkpoint knew {labels} labels from kill to kill: a newer one was overwritten"))
    found += sessions.compare(store, reference.trials)
    found += sessions.compare_rounds(session.results / "rounds.jsonl", reference.rounds)
    for kind, happened in found:
        tally.found(kind, session.case, _text(session), happened)


def _judge_recording(tally: Tally, session: Session) -> None:
    """A recorder that ran for a while must have left what it heard."""
    if time.monotonic() - session.recorder_since < RECORDED_S:
        return
    tally.count("recordings judged")
    files = sorted(session.results.glob("session*.mcap"), key=lambda p: p.stat().st_mtime_ns)
    size = files[-1].stat().st_size if files else 0
    if size < 1000:
        text = f"{files[-1].name if files else 'no recording'} holds {size} bytes after {RECORDED_S:.0f} s and more"
        tally.found("lost", session.case, _text(session), text)


def _text(session: Session) -> str:
    return "; ".join(session.done) or "nothing was killed"
