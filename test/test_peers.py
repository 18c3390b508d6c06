"""Calls and goals to other nodes: nothing is left behind, and nobody is blamed for what another one did."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest
from conftest import run_command, until

pytest.importorskip("rclpy")

from hardware_bench import Bench

from memristor_bdnn.errors import Cancelled, MemristorError


def test_a_goal_that_a_peer_accepts_after_the_caller_gave_up_is_cancelled(bench: Bench) -> None:
    from memristor_bdnn.action import ExecuteTrial

    bench.script("scripted_peer", "peer", 3.0, 20.0)
    give_up = threading.Event()
    client = bench.client(cancelled=give_up.is_set)
    until(lambda: client.peers.is_ready("peer"), 30.0)
    threading.Timer(1.5, give_up.set).start()
    with pytest.raises(Cancelled):
        client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 60.0)
    assert not bench.says("scripted_peer", "accepted"), "too slow to be a test of a late acceptance"
    client.close()  # leaving is no way out either
    until(lambda: bench.says("scripted_peer", "cancelled"), 10.0)
    assert not bench.says("scripted_peer", "done")


@pytest.mark.parametrize("how", ["timeout", "feedback"])
def test_a_goal_whose_result_nobody_awaits_any_more_is_cancelled(bench: Bench, how: str) -> None:
    from memristor_bdnn.action import ExecuteTrial

    bench.script("scripted_peer", "peer", 0.0, 20.0)
    client = bench.client()
    until(lambda: client.peers.is_ready("peer"), 30.0)

    def broken(_: Any) -> None:
        raise ZeroDivisionError("a display's fault")

    with pytest.raises(MemristorError if how == "timeout" else ZeroDivisionError):
        client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 1.0, broken if how == "feedback" else None)
    until(lambda: bench.says("scripted_peer", "cancelled"), 10.0)


def test_a_caller_that_was_stopped_for_a_while_blames_nobody(bench: Bench) -> None:
    """Asleep for longer than a call may take, a peer be silent, and DDS wait: the answer sent meanwhile is lost."""
    bench.script("scripted_peer", "peer", 0.0, 20.0)
    caller = bench.script("patient_caller", "peer", 12.0)
    until(lambda: bench.says("scripted_peer", "started"), 30.0)
    time.sleep(1.0)
    caller.send_signal(signal.SIGSTOP)
    time.sleep(28.0)
    caller.send_signal(signal.SIGCONT)
    assert caller.wait(30.0) == 0
    assert bench.says("patient_caller", "ok"), bench.log("patient_caller").read_text()


def test_two_nodes_of_one_name_are_told_from_one_that_was_started_anew(bench: Bench) -> None:
    from memristor_bdnn.action import ExecuteTrial

    from memristor_bdnn.nodes.peers import PeerLost

    first = bench.script("scripted_peer", "peer", 0.0, 60.0)
    client = bench.client()
    until(lambda: client.peers.is_ready("peer"), 30.0)
    before = client.peers.instance("peer")
    caught: list[PeerLost] = []

    def ask() -> None:
        try:
            client.act("peer", ExecuteTrial, "run", ExecuteTrial.Goal(), 60.0)
        except PeerLost as error:
            caught.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1.0)
    bench.script("scripted_peer", "peer", 0.0, 60.0)
    asking.join(40.0)
    assert "two nodes named /peer (two graphs in the domain?)" in str(caught[0])
    with pytest.raises(PeerLost, match="two nodes named"):
        client.peers.wait_ready(("peer",), 5.0)
    second = client.peers.instance("peer")
    assert second not in (None, before)
    first.kill()
    time.sleep(4.0)
    client.peers.wait_ready(("peer",), 5.0)
    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1.0)
    bench.processes[-1].kill()
    bench.script("scripted_peer", "peer", 0.0, 60.0)
    asking.join(40.0)
    assert "was started anew" in str(caught[1])
    assert client.peers.instance("peer") not in (None, before, second)


def test_label_says_what_is_wrong_in_one_line() -> None:
    for words, text in (
        (("99999999999999999999999", "0.5"), "allowed 0 to"),
        (("1", "0.5", "--namespace", "lab 2"), "namespace 'lab 2'"),
        (("1", "0.5", "--namespace", "nobody"), "is the graph running"),
    ):
        done = run_command("label", *words)
        assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr, done.stderr
