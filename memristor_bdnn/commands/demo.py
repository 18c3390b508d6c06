"""Run a short active-learning session through the four ROS 2 nodes and report on it.

A simulated arm carries out random trials, then the trials the network would learn most from; after every
trial the network learns in situ. The results folder holds the trials, summary.json, plots and a film of the
learned skill, where the skill makes one. --resume goes on from the trials already in the folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from memristor_bdnn.commands import shared
from memristor_bdnn.config import build
from memristor_bdnn.errors import Cancelled, ConfigError, MemristorError, StoreError
from memristor_bdnn.report.record import check_folder
from memristor_bdnn.view.beside import beside

STAGES = 3
"""Confident trials are made at so many label counts, so that skill against labels can be drawn."""
EARLIER = 4
"""Confident trials of each stage before the last, at most."""

BOARD = {"host": "127.0.0.1", "port": "7"}
"""Where the demo looks for an ESCIM board unless told otherwise: at the emulator on this machine."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the session, the parts to use, and where the results go."""
    shared.add_skill(parser)
    parser.add_argument(
        "--out", default="results/demo", metavar="FOLDER", help="results folder (default: results/demo)"
    )
    parser.add_argument("--initial", type=int, default=32, help="random trials before the first query")
    parser.add_argument("--queries", type=int, default=12, help="trials chosen by the strategy")
    parser.add_argument("--evaluations", type=int, default=12, help="confident trials in unseen contexts at the end")
    parser.add_argument("--candidates", type=int, default=2000, help="candidates scored per query")
    parser.add_argument(
        "--strategy", default="sturdy", help="acquisition function (default sturdy: asks near what went well)"
    )
    parser.add_argument("--learner", default="msgld", help="learner plugin")
    parser.add_argument("--recipe", default="", metavar="NAME", help="the skill's options for the learner, by name")
    shared.add_learner_options(parser)
    parser.add_argument(
        "--prior-pool", metavar="FILE", help="pool for a recipe with a prior (default: the skill's own)"
    )
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or a YAML file")
    parser.add_argument("--accelerator", default="simulated", help="accelerator")
    parser.add_argument("--host", help=f"address, for an accelerator that has one (default {BOARD['host']})")
    parser.add_argument("--port", type=int, help=f"port, for an accelerator that has one (default {BOARD['port']})")
    shared.add_accelerator_options(parser)
    parser.add_argument("--arm", default="panda", help="arm: a name or a YAML file")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--resume", action="store_true", help="go on from the trials in the results folder")
    parser.add_argument("--respawn", action="store_true", help="start a node again when it dies")
    parser.add_argument("--record", action="store_true", help="record the session as MCAP into the results folder")
    parser.add_argument("--view", action="store_true", help="show the session as a page in the browser while it runs")
    parser.add_argument("--no-animation", action="store_true", help="leave the animation out")
    parser.add_argument("--verbose", action="store_true", help="show the nodes' output")


def run(args: argparse.Namespace) -> int:
    """Prepare the folder, run the session, write the report; 1 when a node died or learning failed."""
    for name, low in (("initial", 0), ("queries", 0), ("evaluations", 0), ("candidates", 1), ("seed", 0)):
        if getattr(args, name) < low:
            raise ConfigError(f"--{name} {getattr(args, name)}: allowed {low} and above")
    from memristor_bdnn import acquisitions, skills
    from memristor_bdnn.nodes import environment

    environment.prepare_logs(os.environ)
    if not args.out:
        raise ConfigError("--out '': give the name of a folder")
    acquisitions.load(args.strategy)
    skill = skills.load(args.skill)
    commands = _commands(args, skill)
    folder = prepare_folder(Path(args.out), args.resume)
    clock = {"start": time.monotonic()}
    _choose_domain()
    with beside(args.view):
        _session(args, skill, commands, folder, clock)
    clock["learned"] = time.monotonic()
    from memristor_bdnn.report.session import write_report

    summary = write_report(
        folder,
        {
            **vars(args),
            "command_line": shlex.join(["memristor-bdnn", *sys.argv[1:]]),
            "accelerator_values": shared.accelerator_options(args),
        },
        {
            "startup": clock["ready"] - clock["start"],
            "session": clock["learned"] - clock["ready"],
        },
        animate=not args.no_animation,
    )
    _print_summary(skill, summary, folder)
    return 0


def _commands(args: argparse.Namespace, skill: Any) -> list[Any]:
    from memristor_bdnn.nodes import graph

    return graph.resolve(graph_values(args, skill))


def graph_values(args: argparse.Namespace, skill: Any) -> dict[str, str]:
    """Arguments of the graph as texts.

    Raises:
        ConfigError: a recipe that the skill does not have for the learner, or a board's address without a board.
    """
    from memristor_bdnn import accelerator, learners
    from memristor_bdnn.active import recipes
    from memristor_bdnn.device import presets

    learners.learner_class(args.learner)
    recipe = recipes.recipe(skill, args.learner, args.recipe)
    if args.initial < 2 and not recipe.prior:
        raise ConfigError(f"--initial {args.initial}: at least 2, since recipe {recipe_name(args, skill)} has no prior")
    if args.prior_pool and not recipe.prior:
        raise ConfigError(
            f"--prior-pool {args.prior_pool}: recipe {recipe_name(args, skill)} has no prior; leave it out"
        )
    more = shared.learner_options(args)
    build(
        learners.learner_class(args.learner).config_type,
        recipes.options(skill, args.learner, args.recipe, more),
    )
    presets.load(args.preset)
    known = {f.name for f in dataclasses.fields(accelerator.load(args.accelerator).config_type)}
    options = shared.accelerator_options(args)
    shared.refuse_dry_run(options, "demo")
    address = {name: str(options.pop(name, default)) for name, default in BOARD.items() if name in known}
    values = {
        "skill": skill.name,
        "learner": args.learner,
        "recipe": args.recipe,
        "learner_options": shared.option_yaml(more),
        "prior_pool": str(Path(args.prior_pool).resolve()) if args.prior_pool else "",
        "preset": str(Path(args.preset).resolve()) if Path(args.preset).is_file() else args.preset,
        "accelerator": args.accelerator,
        "arm": args.arm,
        "seed": str(args.seed),
        "results": str(Path(args.out).resolve()),
        "initial_trials": str(args.initial),
        "candidates": str(args.candidates),
        "use_respawn": str(args.respawn).lower(),
        "log_level": "info",
        "record": str(args.record).lower(),
        "accelerator_options": shared.option_yaml(options),
        "test_data": _test_data(skill),
    }
    return values | address


def recipe_name(args: argparse.Namespace, skill: Any) -> str:
    """What was given, or what the skill recommends."""
    return repr(args.recipe or skill.default_recipe or "none")


def _test_data(skill: Any) -> str:
    """What accuracy is reported on: the pool that ships with the skill, if one does."""
    try:
        skill.pool()
    except (ConfigError, StoreError):
        return ""
    return "shipped"


def prepare_folder(folder: Path, resume: bool) -> Path:
    """Make the results folder, or keep an earlier session aside.

    Raises:
        ConfigError: the folder cannot be made or written; said before any trial is run.
    """
    trials = folder / "trials.jsonl"
    try:
        if trials.exists() and not resume:
            number = 1
            while (kept := folder.with_name(f"{folder.name}.old{number}")).exists():
                number += 1
            folder.rename(kept)
            print(f"kept the earlier session as {kept}")
        (folder / "log").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"results folder {folder}: {error.strerror}; choose another with --out") from error
    check_folder(folder, "--out")
    return folder


def _session(args: argparse.Namespace, skill: Any, commands: list[Any], folder: Path, clock: dict[str, float]) -> None:
    """Start the graph, send the goals stage by stage, stop the graph whatever happens."""
    from memristor_bdnn.nodes.client import GraphClient, learn_actively
    from memristor_bdnn.nodes.supervisor import NodeDied, Supervisor
    from memristor_bdnn.report.console import SessionProgress

    interrupted = shared.stop_on_signals()
    plan = stages(args.queries, args.evaluations)
    totals = {"initial": args.initial, "query": args.queries, "evaluation": plan[-1][1]}
    with SessionProgress(skill, totals) as progress:
        log = progress.print if args.verbose else progress.only_problems
        supervisor = Supervisor(commands, log=log, log_folder=folder / "log")

        def cancelled() -> bool:
            supervisor.poll()
            return interrupted()

        try:
            supervisor.start()
            with GraphClient("demo_client", cancelled=cancelled) as client:
                client.peers.wait_ready(tuple(c.name for c in commands), 60.0)
                clock["ready"] = time.monotonic()
                for queries, evaluations in plan:
                    attempts = 5 if args.respawn else 1
                    learn_actively(client, queries, args.strategy, evaluations, progress.update, attempts)
        except NodeDied as error:
            raise MemristorError(
                f"{error}; every finished trial is in {folder / 'trials.jsonl'}: go on with --resume "
                f"(logs in {folder / 'log'})"
            ) from error
        except Cancelled:
            raise Cancelled(
                f"interrupted; every finished trial is in {folder / 'trials.jsonl'}: go on with --resume"
            ) from None
        finally:
            supervisor.stop()


def stages(queries: int, evaluations: int) -> list[tuple[int, int]]:
    """Totals of queries and confident trials after each stage; the last stage makes all ``evaluations``."""
    if evaluations < STAGES or queries < STAGES - 1:
        return [(queries, evaluations)]
    few = min(evaluations, EARLIER)
    return [
        (queries * k // (STAGES - 1), few * (k + 1) if k < STAGES - 1 else few * k + evaluations) for k in range(STAGES)
    ]


def _choose_domain() -> None:
    """A domain of our own unless the user chose one: two demos on one machine must not meet."""
    if "ROS_DOMAIN_ID" not in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)


def _print_summary(skill: Any, summary: dict[str, Any], folder: Path) -> None:
    from memristor_bdnn.report.record import print_table
    from memristor_bdnn.report.words import learned_in_words

    keys = (
        "labels",
        "train_accuracy",
        "test_accuracy",
        f"{skill.fraction_name}_random",
        skill.fraction_name,
        "success_rate",
        "pulses",
        "reads",
        "energy_j",
        "median_planning_s",
        "wall_s",
    )
    print_table("demo", ["figure", "value"], [(k, "none" if summary.get(k) is None else summary[k]) for k in keys])
    print(f"results in {folder}: " + ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())))
    print(learned_in_words(summary))
