"""Start the ROS 2 graph and supervise it, for machines without `ros2 launch`.

Arguments are those of `ros2 launch memristor_bdnn skill.launch.py`, as name:=value. Nodes die with
this process; when a node dies, the others are stopped and the exit code is 1 (use_respawn:=true
starts it again instead). This is no launch system: no includes, events or conditions.
"""

from __future__ import annotations

import argparse
import signal
import time

from memristor_bdnn.nodes import graph
from memristor_bdnn.nodes.supervisor import NodeDied, Supervisor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Launch arguments as words, and --show-args."""
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="arguments of the graph")
    parser.add_argument("--show-args", action="store_true", help="list the arguments with their choices and defaults")


def run(args: argparse.Namespace) -> int:
    """Run until interrupted (exit code 0) or until a node dies (exit code 1)."""
    if args.show_args:
        print(graph.show_arguments())
        return 0
    supervisor = Supervisor(graph.resolve(graph.parse_arguments(args.arguments)), log=_say)
    stop = False

    def on_signal(*_: object) -> None:
        nonlocal stop
        stop = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        supervisor.start()
        while not stop:
            supervisor.poll()
            time.sleep(0.1)
    except NodeDied as error:
        _say(f"[supervisor] {error}; stopping the others")
        return 1
    finally:
        supervisor.stop()
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
