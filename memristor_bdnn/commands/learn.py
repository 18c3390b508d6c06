"""Run active learning in one process, without ROS: simulated trials, a learner, an accelerator.

Every trial is on disk before it is used; run the same command again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--store", default="pouring_trials.jsonl", metavar="FILE", help="trial store (resumed)")
    parser.add_argument("--checkpoint", metavar="FILE", help="learner state after every round; default STORE.npz")
    parser.add_argument("--learner", default="msgld", help="learner plugin (see `memristor-bdnn info`)")
    parser.add_argument(
        "--recipe",
        default="pouring",
        help="options of the msgld learner: pouring (recommended), paper (published), pouring_prior (fitted to "
        "simulated trials first, then learned in situ); --config's learner section changes single options",
    )
    parser.add_argument("--prior-pool", metavar="FILE", help="pool for pouring_prior (default: the shipped one)")
    parser.add_argument("--accelerator", default="simulated", help="accelerator: simulated, escim")
    parser.add_argument("--host", help="board address (escim)")
    parser.add_argument("--port", type=int, help="board port (escim)")
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or a YAML file")
    parser.add_argument("--config", metavar="YAML", help="file with sections loop, learner, skill, accelerator")
    parser.add_argument("--initial", type=int, help="random labelled trials before the first query")
    parser.add_argument("--queries", type=int, help="trials chosen by the strategy")
    parser.add_argument("--evaluations", type=int, help="confident trials at the end (not labels)")
    parser.add_argument("--candidates", type=int, help="candidates scored per query")
    parser.add_argument("--strategy", help="straddle, random, entropy, bald, variance, margin")
    parser.add_argument("--seed", type=int, default=0, help="seed of trials, devices and learner")
    parser.add_argument("--out", metavar="FILE", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run or resume the loop; prints progress and the result."""
    import numpy as np

    from memristor_bdnn import accelerator, learners
    from memristor_bdnn.active.loop import ActiveLoop
    from memristor_bdnn.active.store import TrialStore
    from memristor_bdnn.report.record import check_out, print_table, record, write_record
    from memristor_bdnn.skills.pouring.skill import PouringSkill

    check_out(args.out)
    loop_config, learner_options, skill_options, hardware = _configurations(args)
    prior = args.learner == "msgld" and args.recipe == "pouring_prior"
    hardware.update({k: v for k, v in (("host", args.host), ("port", args.port)) if v is not None})
    chips = accelerator.create(args.accelerator, preset=args.preset, seed=args.seed, **hardware)
    skill = PouringSkill(skill_options) if skill_options is not None else PouringSkill()
    try:
        learner = learners.create(args.learner, chips, learner_options, args.seed)
        checkpoint = args.checkpoint or f"{args.store}.npz"
        with TrialStore(args.store) as store:
            if prior and not Path(checkpoint).exists():
                _fit_prior(learner, args.prior_pool)
            if store.trials:
                print(f"resuming {args.store}: {len(store.trials)} trials on disk")
            loop = ActiveLoop(
                skill, learner, store, loop_config, np.random.default_rng(args.seed), checkpoint=checkpoint
            )
            try:
                report = _with_progress(loop)
            except KeyboardInterrupt:
                print(f"interrupted; {len(store.trials)} trials are in {args.store}: run it again to go on")
                return EXIT_INTERRUPTED
        ledger = chips.ledger.summary()
    finally:
        chips.close()
    figures = {
        "labels": report.labels,
        "successes": report.successes,
        "infeasible": report.infeasible,
        "training_accuracy": report.learned.accuracy if report.learned else None,
        "evaluation_trials": report.evaluation_trials,
        "evaluation_fraction": report.evaluation_fraction,
        "evaluation_success": report.evaluation_success,
        "ledger": ledger,
    }
    print_table("active learning", ["figure", "value"], [[k, v] for k, v in figures.items() if k != "ledger"])
    print(f"trials: {Path(args.store).resolve()}   learner: {Path(checkpoint).resolve()}")
    write_record(args.out, record(figures, [args.seed]))
    return 0


def _configurations(args: argparse.Namespace) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
    """LoopConfig, learner, skill and accelerator options from the YAML file and the command line (which wins)."""
    import yaml

    from memristor_bdnn.active.loop import LoopConfig
    from memristor_bdnn.config import build
    from memristor_bdnn.errors import ConfigError

    content: dict[str, Any] = {}
    if args.config:
        try:
            content = yaml.safe_load(Path(args.config).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read --config {args.config}: {error}") from error
        if not isinstance(content, dict) or set(content) - {"loop", "learner", "skill", "accelerator"}:
            raise ConfigError(f"--config {args.config}: expected the sections loop, learner, skill, accelerator")
    given = {
        "initial_trials": args.initial,
        "queries": args.queries,
        "evaluations": args.evaluations,
        "candidates": args.candidates,
        "strategy": args.strategy,
    }
    loop = build(LoopConfig, {**(content.get("loop") or {}), **{k: v for k, v in given.items() if v is not None}})
    skill = None
    if content.get("skill"):
        from memristor_bdnn.skills.pouring.skill import SkillConfig

        skill = build(SkillConfig, content["skill"])
    learner = dict(content.get("learner") or {})
    if args.learner == "msgld":
        from memristor_bdnn.skills.pouring.recipes import recipe

        learner = recipe(args.recipe, learner)
        if args.recipe == "pouring_prior":
            loop = dataclasses.replace(loop, prior_fitted=True)
    return loop, learner, skill, dict(content.get("accelerator") or {})


def _fit_prior(learner: Any, pool: str | None) -> None:
    """Train ex situ on simulated trials and deploy, before the first real one."""
    from memristor_bdnn.skills.pouring.pool import load

    rows = load(pool)
    print(f"prior: fitting to {len(rows.x)} simulated trials")
    learner.fit(rows.x, (rows.score + 1.0) / 2.0)


def _with_progress(loop: Any) -> Any:
    """Run the loop under a progress bar (plain lines when the output is no terminal)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[labels]} labels, {task.fields[good]} successes"),
    )
    with Progress(*columns) as bar:
        tasks: dict[str, Any] = {}

        def show(state: Any) -> None:
            if state.phase in ("fit", "learn"):
                return
            if state.phase not in tasks:
                tasks[state.phase] = bar.add_task(state.phase, total=state.total, labels=0, good=0)
            bar.update(tasks[state.phase], completed=state.done, labels=state.labels, good=state.successes)

        return loop.run(show)
