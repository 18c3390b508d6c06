"""Start the ROS 2 graph and supervise it, for machines without `ros2 launch`.

Arguments are those of `ros2 launch memristor_bdnn skill.launch.py`, as name:=value. Nodes die with
this process; when a node dies, the others are stopped and the exit code is 1 (use_respawn:=true
starts it again instead). This is no launch system: no includes, events or conditions.
"""

from __future__ import annotations

import argparse
import time

from memristor_bdnn.commands import shared
from memristor_bdnn.config import yaml_mapping
from memristor_bdnn.nodes import graph, rehearsal
from memristor_bdnn.nodes.supervisor import NodeDied, Supervisor
from memristor_bdnn.view.beside import beside


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Launch arguments as words, and --show-args."""
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="arguments of the graph")
    shared.add_accelerator_options(parser)
    parser.add_argument("--view", action="store_true", help="show the graph as a page in the browser while it runs")
    parser.add_argument("--show-args", action="store_true", help="list the arguments with their choices and defaults")


def run(args: argparse.Namespace) -> int:
    """Run until interrupted (exit code 0) or until a node dies (exit code 1)."""
    if args.show_args:
        print(graph.show_arguments())
        return 0
    values = graph_values(args)
    commands = graph.resolve(values)
    if any(command.name == rehearsal.CONTROLLER for command in commands):
        _say(f"[supervisor] {rehearsal.NOTE}")
    supervisor = Supervisor(commands, log=_say)
    stop = shared.stop_on_signals()
    try:
        with beside(args.view, values.get("namespace", "")):
            supervisor.start()
            while not stop():
                supervisor.poll()
                time.sleep(0.1)
    except NodeDied as error:
        _say(f"[supervisor] {error}; stopping the others")
        return 1
    finally:
        supervisor.stop()
    return 0


def graph_values(args: argparse.Namespace) -> dict[str, str]:
    """Arguments of the graph as texts; those of the accelerator's options by flag are put into ``accelerator_options``.

    Raises:
        ConfigError: see :func:`graph.parse_arguments` and :func:`shared.accelerator_options`.
    """
    values = graph.parse_arguments(args.arguments)
    if not (args.accelerator_option or args.accelerator_options):
        return values
    args.accelerator = values.get("accelerator", "simulated")
    options = shared.accelerator_options(
        args, yaml_mapping(values.get("accelerator_options", ""), "accelerator_options")
    )
    shared.refuse_dry_run(options, "up")
    values.update({name: str(options.pop(name)) for name in ("host", "port") if name in options})
    return {**values, "accelerator_options": shared.option_yaml(options)}


def _say(line: str) -> None:
    print(line, flush=True)
