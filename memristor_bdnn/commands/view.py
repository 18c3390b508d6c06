"""Show a session as a page in the browser: the arm, the plan, the learning curve, the chips, the ledger, the nodes.

Without WHAT it follows a running graph, and takes the outcome of a trial that waits for an operator's label. With a
results folder it shows the trials one by one, with a recording (.mcap) everything over time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.view.arm import LOOKS

LOWEST_HZ, HIGHEST_HZ = 1.0, 50.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is shown, and where it is served."""
    parser.add_argument("what", nargs="?", metavar="WHAT", help="results folder or recording; default: a running graph")
    parser.add_argument("--namespace", default="", help="namespace of the graph, running or recorded")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8080, help="port (default 8080); if it is taken, the next free one")
    parser.add_argument(
        "--meshes", choices=LOOKS, default="visual", help="what is drawn of the arm (collision: coarse and fast)"
    )
    parser.add_argument("--rate", type=float, default=20.0, metavar="HZ", help="updates a second (default 20)")
    parser.add_argument(
        "--arm", default="", help="arm of a results folder that does not say which: a name or a YAML file"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not LOWEST_HZ <= args.rate <= HIGHEST_HZ:
        raise ConfigError(f"--rate {args.rate}: allowed {LOWEST_HZ:g} to {HIGHEST_HZ:g}")
    if not 1 <= args.port <= 65535:
        raise ConfigError(f"--port {args.port}: allowed 1 to 65535")
    from memristor_bdnn.view import page

    page.require()
    stop = shared.stop_on_signals()
    source = _source(args)
    try:
        shown = page.Page(source, args.host, args.port, args.meshes, args.rate, _say)
        _say(f"{source.title}: {shown.url}")
        shown.run(stop)
        shown.close()
    finally:
        source.close()
    return 0


def _source(args: argparse.Namespace) -> Any:
    """What is shown, by what it is."""
    if args.what is None:
        from memristor_bdnn.view.live import Live

        return Live(args.namespace)
    path = Path(args.what)
    if path.is_dir():
        from memristor_bdnn.view.folder import Folder

        return Folder(path, args.arm)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; give a results folder, a recording (.mcap), or nothing")
    from memristor_bdnn.view.recording import Recording

    return Recording(path, args.namespace)


def _say(line: str) -> None:
    print(line, flush=True)
