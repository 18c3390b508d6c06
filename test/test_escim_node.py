"""A board below the accelerator node: a goal that is cancelled, and a node that is stopped, leave nothing writing."""

import signal

import numpy as np
import pytest
from conftest import until
from one_node import features, nodes_in

pytest.importorskip("rclpy")
from memristor_bdnn.accelerator.escim.wire.commands import Command
from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
from memristor_bdnn.emulator.server import BoardResponder, Server


@pytest.fixture
def start(tmp_path):
    yield from nodes_in(tmp_path)


@pytest.fixture(params=[True, False], ids=["blocking", "background"])
def board(request):
    emulated = EmulatedBoard(EmulatorConfig(seed=5, timing=True, blocking_map=request.param))
    seen = []
    plain = BoardResponder(emulated, FaultInjector(FaultConfig()))

    class Responder:
        def respond(self, frame, plan):
            seen.append(frame.command)
            return plain.respond(frame, plan)

    with Server(Responder()) as server:
        server.emulated, server.seen = emulated, seen
        yield server


def deploying(start, board):
    """A node in the middle of a deployment, and the handle of its goal."""
    from memristor_bdnn.action import Learn
    from rclpy.action import ActionClient

    address = {"host": board.host, "port": board.port, "abort_port": board.abort_port}
    node = start("accelerator", accelerator="escim", map_relax_us=3000, **address).wait_ready()
    client = ActionClient(node.client.node, Learn, "/accelerator/learn")
    until(client.server_is_ready)
    y = np.random.default_rng(1).integers(0, 2, 40).astype(float).tolist()
    sent = client.send_goal_async(Learn.Goal(x=features(40, seed=8), y=y, from_scratch=True))
    until(sent.done)
    until(lambda: board.emulated.job_running and board.emulated.jobs.progress >= 1024, 120.0)
    return node, sent.result()


def aborted(board):
    until(lambda: not board.emulated.jobs.running, 10.0)
    assert Command.MAP_ABORT in board.seen and board.emulated.jobs.progress < 4096


def test_a_cancelled_goal_aborts_the_job(start, board):
    from memristor_bdnn.action import Learn

    node, goal = deploying(start, board)
    until(lambda: "write-verify: " in node.log.read_text(), 10.0)
    goal.cancel_goal_async()
    aborted(board)
    result = goal.get_result_async()
    until(result.done, 20.0)
    assert result.result().result.error_code == Learn.Result.CANCELED
    node.check_alive()


def test_a_node_that_is_stopped_aborts_the_job(start, board):
    node, _ = deploying(start, board)
    node.process.send_signal(signal.SIGTERM)
    aborted(board)
    assert node.process.wait(20.0) == 0
