"""The `memristor-bdnn` command: finds the module of a verb, parses, runs, returns an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from memristor_bdnn import __version__
from memristor_bdnn.errors import Cancelled, MemristorError

# verb -> (module under memristor_bdnn.commands, help). Modules are imported only when their verb is
# used, so that `--help` and node start-up never pay for torch or pybullet.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "run a short active-learning session through the four ROS 2 nodes"),
    "up": ("up", "start the ROS 2 graph and supervise it"),
    "info": ("info", "versions, plugins, and what is missing for what"),
    "new": ("new", "begin a plugin: a skill, learner, accelerator or acquisition of your own"),
    "learn": ("learn", "run active learning in one process, without ROS"),
    "collect": ("collect", "run many simulated trials in parallel and append them to a file"),
    "label": ("label", "give a trial's outcome by hand or from a scale"),
    "device": ("device", "show, fit and validate device models"),
    "board": ("board", "talk to an ESCIM board: info, read, map, selftest"),
    "escim-emulator": ("escim_emulator", "serve the ESCIM protocol over simulated chips"),
    "energy": ("energy", "energy and latency of a learning task, against a CPU/GPU"),
    "validate-world": ("validate_world", "re-simulate labelled trials and compare the labels"),
    "evaluate-skill": ("evaluate_skill", "measure how well a learned skill does in unseen contexts"),
    "benchmark": ("benchmark", "reproduce a published or a speed figure"),
}

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="memristor-bdnn",
        description="Bayesian active learning of robot skills on memristor hardware.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<16}{text}" for verb, (_, text) in VERBS.items())
        + "\n\nmemristor-bdnn VERB --help describes each.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("verb", metavar="VERB", choices=list(VERBS), help="what to do")
    if not argv:
        parser.print_help()
        return EXIT_USAGE
    verb = parser.parse_args(argv[:1]).verb
    module = importlib.import_module(f"memristor_bdnn.commands.{VERBS[verb][0]}")
    sub = argparse.ArgumentParser(prog=f"memristor-bdnn {verb}", description=module.__doc__)
    module.add_arguments(sub)
    args = sub.parse_args(argv[1:])
    try:
        return int(module.run(args))
    except MemristorError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED if isinstance(error, Cancelled) else EXIT_FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


if __name__ == "__main__":
    raise SystemExit(main())
