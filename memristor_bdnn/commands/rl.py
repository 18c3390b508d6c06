"""Reinforcement learning with a network on devices: train an agent in an environment, and let it play.

A training is a folder: the checkpoint, pictures that are renewed while it runs, and its figures as JSON. Run the same
command again to go on after an interruption; what comes out is what would have come out without it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError

EXIT_INTERRUPTED = 130
CHECKPOINT = "agent.npz"
GIF_WIDTH = 800
"""Pixels of a training's film as a GIF."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two nouns: train and play."""
    sub = parser.add_subparsers(dest="noun", required=True, metavar="train|play")
    train = sub.add_parser("train", help="train an agent, or go on", description=__doc__)
    train.add_argument("--env", default="cartpole", help="cartpole, mountain-car, or an id of gymnasium")
    train.add_argument("--agent", default="dqn", help="dqn (deep Q-learning in situ) or mcmc (default dqn)")
    train.add_argument("--folder", metavar="DIR", help="of the training (resumed); default rl_ENV_AGENT")
    train.add_argument("--episodes", type=int, help="training episodes at most (default 120; mcmc: until its rows end)")
    train.add_argument("--accelerator", default="simulated", help="an accelerator with blind writes, or software")
    train.add_argument("--preset", default="", help="device preset or YAML file (default: the agent's own)")
    train.add_argument("--seed", type=int, default=0, help="of devices, weights, exploring and episodes (default 0)")
    train.add_argument(
        "--agent-option", action="append", default=[], metavar="NAME=VALUE", help="an option of the agent; repeatable"
    )
    train.add_argument(
        "--training-option", action="append", default=[], metavar="NAME=VALUE", help="such as keep_best=false"
    )
    train.add_argument("--tests", type=int, default=20, help="greedy test episodes at the end (default 20)")
    train.add_argument("--picture-every", type=int, default=5, metavar="N", help="episodes between pictures; 0: none")
    train.add_argument(
        "--film",
        metavar="FILE",
        help="the training as a film (.mp4 or .gif) of those pictures; they are kept from when it is given",
    )
    train.add_argument("--out", metavar="FILE", help="write the figures as JSON here too")
    play = sub.add_parser("play", help="let a trained agent play", description="Greedy episodes of a trained agent.")
    play.add_argument("--folder", required=True, metavar="DIR", help="of the training")
    play.add_argument("--env", default="", help="of the training; needed where it is in a package (package:id)")
    play.add_argument("--tests", type=int, default=20, help="episodes (default 20)")
    play.add_argument("--film", metavar="FILE", help="film of one episode, .mp4 or .gif")
    play.add_argument("--episode", type=int, default=0, help="number of the filmed episode (default 0)")
    play.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    for child in (train, play):
        child.add_argument("--host", help="board address, for an accelerator that is a board")
        child.add_argument("--port", type=int, help="board port, for an accelerator that is a board")
        shared.add_accelerator_options(child)


def run(args: argparse.Namespace) -> int:
    """Train or play."""
    from memristor_bdnn.report.films import check_film
    from memristor_bdnn.report.record import check_out

    check_out(args.out)
    check_film(args.film, "--film")
    if args.tests < 0:
        raise ConfigError(f"--tests {args.tests}: allowed 0 and above")
    return _train(args) if args.noun == "train" else _play(args)


def _train(args: argparse.Namespace) -> int:
    from memristor_bdnn import agents
    from memristor_bdnn.agents.environments import Environment, task
    from memristor_bdnn.agents.training import Training, TrainingConfig
    from memristor_bdnn.config import build
    from memristor_bdnn.report.record import make_folder

    if args.agent not in agents.CONFIGS:
        raise ConfigError(f"--agent {args.agent}: choose one of {', '.join(agents.CONFIGS)}")
    for name in ("seed", "picture_every"):
        if getattr(args, name) < 0:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)}: allowed 0 and above")
    if args.film and not args.picture_every:
        raise ConfigError("--film is made of pictures: give --picture-every 1 or above")
    episodes = args.episodes if args.episodes is not None else (120 if args.agent == "dqn" else 10_000_000)
    words = shared.option_words(TrainingConfig, args.training_option, "--training-option")
    config = build(TrainingConfig, {**words, "episodes": episodes})
    options = shared.option_words(agents.CONFIGS[args.agent], args.agent_option, "--agent-option")
    hardware = _hardware(args, args.accelerator)
    folder = Path(args.folder or f"rl_{re.sub(r'[^A-Za-z0-9_.-]', '_', args.env)}_{args.agent}")
    env = Environment(task(args.env))
    try:
        make_folder(str(folder), "--folder")
        agent = agents.make(args.agent, env, args.seed, args.accelerator, args.preset, options, hardware)
        training = Training(agent, env, config, args.seed, folder / CHECKPOINT, hardware)
        if training.progress.total:
            print(f"resuming {folder}: {len(training.progress.total)} episodes done")
        return _trained(args, training, folder)
    finally:
        env.close()


def _trained(args: argparse.Namespace, training: Any, folder: Path) -> int:
    """Run, draw, test."""
    from memristor_bdnn.report.agent_figures import save_training_figure

    try:
        with _bar(training) as advance:

            def watch(now: Any) -> None:
                advance(now)
                done = len(now.progress.total)
                if args.picture_every and done % args.picture_every == 0:
                    _picture(now, folder, done if args.film else None)

            training.run(watch)
            _picture(training, folder, len(training.progress.total) if args.film else None)
        # drawn before the test, whose reads are not the training's
        print(f"wrote {save_training_figure(training, folder / 'training.png')}")
        _tell(args, training, folder)
        if args.film:
            print(f"wrote {_training_film(folder, Path(args.film))}")
        return 0
    except KeyboardInterrupt:
        print(f"interrupted; run the same command again to go on from the last checkpoint in {folder}")
        return EXIT_INTERRUPTED
    finally:
        if training.accelerator is not None:
            training.accelerator.close()


def _play(args: argparse.Namespace) -> int:
    from memristor_bdnn import agents
    from memristor_bdnn.agents.checkpoint import read_what
    from memristor_bdnn.report.films import episode_film

    folder = Path(args.folder)
    said = read_what(folder / CHECKPOINT)
    training = agents.reopen(folder / CHECKPOINT, _hardware(args, said["accelerator"]), args.env)
    try:
        if not training.progress.total:
            raise ConfigError(f"--folder {folder}: nothing was trained yet")
        if not training.progress.done:
            print("the training is not over: this is its present policy, not its best")
        if args.film:
            total = episode_film(training, Path(args.film), args.episode)
            print(f"wrote {args.film}: episode {args.episode}, return {total:.4g}")
        _tell(args, training, None)
        return 0
    finally:
        training.env.close()
        if training.accelerator is not None:
            training.accelerator.close()


def _hardware(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Options of the accelerator from the flags. Raises ConfigError, for the software twin where there are any."""
    from memristor_bdnn.agents import SOFTWARE

    if name != SOFTWARE:
        args.accelerator = name
        options = shared.accelerator_options(args)
        shared.refuse_dry_run(options, "rl")
        return options
    if args.host or args.port or args.accelerator_option or args.accelerator_options:
        raise ConfigError("the software twin has no accelerator: leave its options, --host and --port out")
    return {}


def _tell(args: argparse.Namespace, training: Any, folder: Path | None) -> None:
    """Test episodes, the table, and the JSON."""
    import json

    import numpy as np

    from memristor_bdnn.report.record import print_table, record, write_record
    from memristor_bdnn.state import write_atomic

    p, chips = training.progress, training.accelerator
    ledger = {} if chips is None else chips.ledger.summary()
    figures: dict[str, Any] = {
        "environment": training.env.task.name,
        "agent": training.agent.name,
        "accelerator": "software twin" if chips is None else chips.name,
        "preset": training.agent.preset.name,
        "episodes": len(p.total),
        "steps": int(sum(p.steps)),
        "comparing_episodes": p.validation_episodes,
        "comparing_steps": p.validation_steps,
        "best_comparison": p.best_value if p.validated else None,
    }
    if ledger:
        figures |= {key: ledger[key] for key in ("set_pulses", "reset_pulses", "reads", "max_wear")}
        figures |= {"device_energy_j": ledger["device_energy_j"], "system_energy_j": ledger["system_energy_j"]}
    if args.tests:
        returns, steps = training.test(args.tests)
        figures |= {
            "test_episodes": args.tests,
            "test_return_mean": float(returns.mean()),
            "test_return_median": float(np.median(returns)),
            "test_return_lowest": float(returns.min()),
            "test_steps_median": float(np.median(steps)),
        }
    print_table("reinforcement learning", ["figure", "value"], [[k, v] for k, v in figures.items()])
    content = record({**figures, "training_returns": p.total, "ledger": ledger}, [training.seed])
    if folder is not None:
        write_atomic(folder / "summary.json", (json.dumps(content, indent=2) + "\n").encode())
    write_record(args.out, content)


def _picture(training: Any, folder: Path, number: int | None) -> None:
    """Renew the live picture; where a film is wanted keep it as one of the film's."""
    from memristor_bdnn.report.agent_figures import save_training_figure

    save_training_figure(training, folder / "live.png")
    if number is not None:
        (folder / "frames").mkdir(exist_ok=True)
        (folder / "frames" / f"{number:08d}.png").write_bytes((folder / "live.png").read_bytes())


def _training_film(folder: Path, path: Path) -> Path:
    """The kept pictures one after the other; the last one stays for two seconds."""
    import numpy as np
    from PIL import Image

    from memristor_bdnn.report.films import write_film

    names = sorted((folder / "frames").glob("*.png"))
    with Image.open(names[0]) as first:
        width, height = first.size
    if path.suffix.lower() == ".gif":  # for pages: an MP4 keeps every dot
        width, height = GIF_WIDTH, round(GIF_WIDTH * height / width)
    size = (width - width % 2, height - height % 2)

    def frames() -> Any:
        for name in [*names, *names[-1:] * 16]:
            with Image.open(name) as image:
                yield np.asarray(image.convert("RGB").resize(size))

    return write_film(frames(), path, rate=8.0)


def _bar(training: Any) -> Any:
    """A progress bar over the episodes; gives the function that moves it on."""
    import contextlib

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )

    @contextlib.contextmanager
    def shown() -> Any:
        with Progress(*columns) as bar:
            chain = training.agent.name == "mcmc"
            total = training.agent.config.rows if chain else training.config.episodes
            task = bar.add_task("training", total=total, said="")

            def advance(now: Any) -> None:
                p = now.progress
                said = f"return {p.total[-1]:g}" + (f", best {p.best_value:g}" if p.validated else "")
                bar.update(task, completed=now.agent.trial if chain else len(p.total), said=said)

            yield advance

    return shown()
