"""Run active learning in one process, without ROS: simulated trials, a learner, an accelerator.

Every trial is on disk before it is used; run the same command again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memristor_bdnn.accelerator.watching import watched
from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    shared.add_skill(parser)
    parser.add_argument("--store", metavar="FILE", help="trial store (resumed); default SKILL_trials.jsonl")
    parser.add_argument("--checkpoint", metavar="FILE", help="learner state after every round; default STORE.npz")
    parser.add_argument("--learner", default="msgld", help="learner plugin (see `memristor-bdnn info`)")
    shared.add_recipe(parser)
    parser.add_argument(
        "--prior-pool",
        metavar="FILE",
        help="pool that a recipe with a prior is fitted to first (default: the one that ships with the skill)",
    )
    parser.add_argument("--arm", help="arm that carries the trials out (default: the object moves alone)")
    parser.add_argument("--accelerator", default="simulated", help="accelerator (see `memristor-bdnn info`)")
    parser.add_argument("--host", help="board address, for an accelerator that is a board")
    parser.add_argument("--port", type=int, help="board port, for an accelerator that is a board")
    shared.add_learner_options(parser)
    shared.add_accelerator_options(parser)
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or a YAML file")
    parser.add_argument("--config", metavar="YAML", help="file with sections loop, learner, skill, accelerator")
    parser.add_argument("--initial", type=int, help="random labelled trials before the first query")
    parser.add_argument("--queries", type=int, help="trials chosen by the strategy")
    parser.add_argument("--evaluations", type=int, help="confident trials at the end (not labels)")
    parser.add_argument("--candidates", type=int, help="candidates scored per query")
    parser.add_argument("--strategy", help="acquisition function (see `memristor-bdnn info`)")
    parser.add_argument("--seed", type=int, default=0, help="seed of trials, devices and learner")
    parser.add_argument("--out", metavar="FILE", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run or resume the loop; prints progress and the result."""
    from memristor_bdnn import accelerator, skills
    from memristor_bdnn.active import recipes
    from memristor_bdnn.report.record import check_out

    check_out(args.out)
    skill = skills.load(args.skill)
    sections = shared.sections(args.config)
    recipe = recipes.recipe(skill, args.learner, args.recipe)
    if args.prior_pool and not recipe.prior:
        raise ConfigError(
            f"--prior-pool {args.prior_pool}: recipe {args.recipe or skill.default_recipe or 'of no name'} of skill "
            f"{skill.name} has no prior for {args.learner}; leave it out"
        )
    config = _loop_config(args, sections.get("loop", {}), recipe.prior)
    hardware = shared.accelerator_options(args, sections.get("accelerator"))
    shared.refuse_dry_run(hardware, "learn")
    trials = shared.trials_of(skill, sections.get("skill"), args.arm)
    chips = accelerator.create(args.accelerator, preset=args.preset, seed=args.seed, **hardware)
    try:
        options = shared.learner_options(args, sections.get("learner"))
        learner = recipes.make(skill, args.learner, chips, args.recipe, options, args.seed)
        prior = _prior(skill, learner, args.prior_pool) if recipe.prior else None
        return _learn(args, skill, trials, learner, config, prior)
    finally:
        trials.close()
        chips.close()


def _learn(args: argparse.Namespace, skill: Any, trials: Any, learner: Any, config: Any, prior: Any) -> int:
    """The loop on an open store, and its figures."""
    import numpy as np

    from memristor_bdnn.active.loop import ActiveLoop
    from memristor_bdnn.active.store import TrialStore

    path = args.store or f"{skill.name}_trials.jsonl"
    checkpoint = args.checkpoint or f"{path}.npz"
    with TrialStore(path) as store:
        if store.trials:
            print(f"resuming {path}: {len(store.trials)} trials on disk")
        rng = np.random.default_rng(args.seed)
        loop = ActiveLoop(skill, learner, store, config, rng, trials=trials, checkpoint=checkpoint, prior=prior)
        try:
            report = _with_progress(loop)
        except KeyboardInterrupt:
            print(f"interrupted; {len(store.trials)} trials are in {path}: run it again to go on")
            return EXIT_INTERRUPTED
    _show(args, report, learner.accelerator.ledger.summary())
    print(f"trials: {Path(path).resolve()}   learner: {Path(checkpoint).resolve()}")
    return 0


def _show(args: argparse.Namespace, report: Any, ledger: dict[str, Any]) -> None:
    """Print the result and write it."""
    from memristor_bdnn.report.record import print_table, record, write_record

    figures = {
        "labels": report.labels,
        "successes": report.successes,
        "failures": report.losses.failures,
        "query_failures": report.query_losses.failures,
        "undone_share": report.losses.undone_share,
        "query_undone_share": report.query_losses.undone_share,
        "infeasible": report.infeasible,
        "training_accuracy": report.accuracy,
        "evaluation_trials": report.evaluation_trials,
        "evaluation_fraction": report.evaluation_fraction,
        "evaluation_success": report.evaluation_success,
        "ledger": ledger,
        "warnings": list(report.learned.warnings) if report.learned else [],
    }
    if report.ended:
        figures["ended"] = report.ended
    print_table("active learning", ["figure", "value"], [[k, v] for k, v in figures.items() if k != "ledger"])
    write_record(args.out, record(figures, [args.seed]))


def _loop_config(args: argparse.Namespace, section: dict[str, Any], prior: bool) -> Any:
    """LoopConfig from the YAML file and the command line (which wins)."""
    from memristor_bdnn.active.choice import for_strategy
    from memristor_bdnn.active.loop import LoopConfig
    from memristor_bdnn.config import build

    given = {
        "initial_trials": args.initial,
        "queries": args.queries,
        "evaluations": args.evaluations,
        "candidates": args.candidates,
        "strategy": args.strategy,
    }
    chosen = {**section, **{k: v for k, v in given.items() if v is not None}}
    if chosen.get("strategy"):
        chosen.setdefault("final", for_strategy(str(chosen["strategy"])))
    loop = build(LoopConfig, chosen)
    return dataclasses.replace(loop, prior_fitted=True) if prior else loop


def _prior(skill: Any, learner: Any, pool: str | None) -> Callable[[], None]:
    """What fits a learner to simulated trials and deploys it; a bad pool is refused here, before any trial."""
    rows = skill.pool(pool)

    def fit() -> None:
        print(f"prior: fitting to {len(rows.x)} simulated trials")
        learner.fit(rows.x, (rows.score + 1.0) / 2.0)

    return fit


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

        with watched(loop.learner.accelerator, shared.WritingLine(bar)):
            return loop.run(show)
