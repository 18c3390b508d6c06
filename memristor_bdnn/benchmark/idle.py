"""What the four nodes cost while nobody asks anything: CPU time of each over the clock, from /proc."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from memristor_bdnn.errors import ConfigError, MemristorError
from memristor_bdnn.report import record as common

if TYPE_CHECKING:
    from memristor_bdnn.nodes.supervisor import Supervisor

GOAL = 0.01
"""Of one core, each node."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--seconds is how long they are watched."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the nodes are watched, s")


def run(args: argparse.Namespace) -> int:
    """Start the graph, wait until it is ready, watch it; print and write shares of a core."""
    common.check_out(args.out)
    seconds = 10.0 if args.quick else args.seconds
    if not 1.0 <= seconds <= 3600.0:
        raise ConfigError(f"--seconds {seconds}: allowed 1 to 3600")
    shares: dict[str, list[float]] = {}
    for _ in range(args.seeds or 1):
        for name, share in watch(seconds).items():
            shares.setdefault(name, []).append(share)
    rows = [(name, *(f"{100 * s:.2f} %" for s in found), f"<= {100 * GOAL:.0f} %") for name, found in shares.items()]
    columns = ["node", *(f"run {k + 1}" for k in range(args.seeds or 1)), "goal"]
    common.print_table(f"idle nodes, share of one core over {seconds:.0f} s", columns, rows)
    common.write_record(args.out, common.record({"idle_share": shares, "seconds": seconds}, [0]))
    return 0


def watch(seconds: float) -> dict[str, float]:
    """Node -> share of one core that it used while the graph of the default skill stood ready, in a domain of its own.

    Raises:
        MemristorError: a node died.
    """
    from memristor_bdnn.nodes import graph
    from memristor_bdnn.nodes.client import GraphClient
    from memristor_bdnn.nodes.supervisor import NodeDied, Supervisor

    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    with tempfile.TemporaryDirectory() as folder:
        commands = graph.resolve({"results": folder})
        supervisor = Supervisor(commands, log=lambda _: None, log_folder=Path(folder))
        try:
            supervisor.start()
            with GraphClient("idle_client") as client:
                client.peers.wait_ready(tuple(c.name for c in commands), 60.0)
            time.sleep(3.0)  # discovery is over
            before, began = _cpu(supervisor), time.monotonic()
            while time.monotonic() - began < seconds:
                supervisor.poll()
                time.sleep(0.2)
            clock, after = time.monotonic() - began, _cpu(supervisor)
        except NodeDied as error:
            raise MemristorError(str(error)) from error
        finally:
            supervisor.stop()
    return {name: (after[name] - before[name]) / clock for name in before}


def _cpu(supervisor: Supervisor) -> dict[str, float]:
    """Seconds of CPU time that every node has used, user and system."""
    ticks, used = os.sysconf("SC_CLK_TCK"), {}
    for name, process in supervisor.processes.items():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / ticks
    return used
