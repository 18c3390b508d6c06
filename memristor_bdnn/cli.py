"""The `memristor-bdnn` command: finds the module of a verb, parses, runs, returns an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from memristor_bdnn import __version__
from memristor_bdnn.errors import Cancelled, DeviceWarning, MemristorError
from memristor_bdnn.nodes.environment import prepare_matplotlib
from memristor_bdnn.parsing import Parser, RawHelp

# verb -> (module under memristor_bdnn.commands, help). Modules are imported only when their verb is
# used, so that `--help` and node start-up never pay for torch or pybullet.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "run a short active-learning session through the four ROS 2 nodes"),
    "up": ("up", "start the ROS 2 graph and supervise it"),
    "active-learn": ("active_learn", "send a goal of active learning to a running graph, and watch it"),
    "info": ("info", "versions, plugins, what is missing; with a plugin's name its options and defaults"),
    "learners": ("learners", "the learners, with their options and defaults"),
    "new": ("new", "begin a plugin: a skill, learner, accelerator or acquisition of your own"),
    "learn": ("learn", "run active learning in one process, without ROS"),
    "rl": ("rl", "reinforcement learning with a network on devices: train, play"),
    "collect": ("collect", "run many simulated trials in parallel and append them to a file"),
    "view": ("view", "a page in the browser over a running graph, a results folder or a recording"),
    "label": ("label", "give a trial's outcome by hand or from a scale"),
    "device": ("device", "show, fit and validate device models"),
    "arm": ("arm", "check the description of an arm, and say what to change"),
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
    parser = Parser(
        prog="memristor-bdnn",
        description="Bayesian active learning of robot skills on memristor hardware.",
        formatter_class=RawHelp,
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files need not be text
    try:
        prepare_matplotlib(os.environ)
        module = importlib.import_module(f"memristor_bdnn.commands.{VERBS[verb][0]}")
        sub = Parser(prog=f"memristor-bdnn {verb}", description=module.__doc__)
        module.add_arguments(sub)
        warnings.formatwarning = _one_line
        args = sub.parse_args(argv[1:])
        code = int(module.run(args))
        sys.stdout.flush()
        return code
    except MemristorError as error:
        return _fail(str(error), EXIT_INTERRUPTED if isinstance(error, Cancelled) else EXIT_FAILURE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EXIT_FAILURE
    except UnicodeError as error:
        return _fail(_of_text(error))
    except BrokenExecutor:
        return _fail("a worker process died (killed, or out of memory?): try again, or with fewer workers")
    except MemoryError:
        return _fail("not enough memory")
    except RecursionError:
        return _fail("a file is nested too deeply")
    except OSError as error:
        if (
            error.filename is None
        ):  # the output itself, as far as we know: what cannot be written must not be tried again
            _drop_output()
        return _fail(_of_system(error))


_USUAL_WARNING = warnings.formatwarning


def _one_line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
    """What a device does not do is for the user, who needs no line of our code beside it."""
    if issubclass(category, DeviceWarning):
        return f"warning: {message}\n"
    return _USUAL_WARNING(message, category, *place, **more)


# What a person can do about an error of the operating system.
REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another folder",
    errno.EFBIG: "the file may not become so large: choose another folder",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a file or folder that you may use",
    errno.EPERM: "choose a file or folder that you may use",
    errno.ENOENT: "check the path; its folder must exist",
    errno.ENOTDIR: "a part of the path is a file: check the path",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "something else is there: choose another name",
    errno.ENOTEMPTY: "something else is there: choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an error: check it",
}


def _of_system(error: OSError) -> str:
    """One line with file and remedy."""
    words = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{' -> '.join(words) + ': ' if words else ''}{error.strerror or error}{'; ' if remedy else ''}{remedy}"


def _of_text(error: UnicodeError) -> str:
    """One line about text that is none."""
    if isinstance(error, UnicodeDecodeError):
        return f"a file is not {error.encoding.upper()} text (byte {error.start}): {error.object[:40]!r}"
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object[:200]!r} is not text: {error.reason}; choose another name"
    return str(error)


def _fail(message: str, code: int = EXIT_FAILURE) -> int:
    """Say an error in one line."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def _drop_output() -> None:
    """What is still in the buffer goes nowhere, so that Python's own last flush finds no error."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
