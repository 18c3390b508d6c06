"""Measure how well the learned policy does in contexts it has not seen.

The policy: among 1,000 valid candidates execute the one with the highest mu/sigma, or (--final sturdy) one that is
promising and near to what was tried. It is compared with random valid parameters, with the skill's designed parameters
where it has any, and with passive learning on as many labels. How many of the labels asked for were failures is told.
From a pool a strategy chooses the context with the trial; what it does where contexts are given, as in a session, is
measured by `benchmark strategies`.
The learner comes from a trial store (--store, as written by `learn`), or learns here from a pool (--pool, default the
one that ships with the skill).
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from memristor_bdnn.active.choice import CHOICES, for_strategy
from memristor_bdnn.commands import shared
from memristor_bdnn.errors import ConfigError


@dataclasses.dataclass
class Learned:
    """A learner, inputs (n, d) and scores (n,) of its labels, and how many of those that it asked for were failures.

    ``final`` is the choice that belongs to how they were asked for.
    """

    learner: Any
    tried: Any = None
    failures: int | None = None
    final: str = "confident"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``memristor-bdnn evaluate-skill``."""
    shared.add_skill(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", metavar="FILE", help="trial store: learn from its labels")
    source.add_argument("--pool", metavar="FILE", help="pool to learn from, actively and passively (default: shipped)")
    parser.add_argument("--checkpoint", metavar="FILE", help="learner state to load (default STORE.npz if there)")
    parser.add_argument("--learner", default="msgld", help="learner plugin (default msgld)")
    shared.add_recipe(parser)
    parser.add_argument("--arm", help="arm that carries the trials out (default: the object moves alone)")
    parser.add_argument("--accelerator", default="simulated", help="accelerator (default simulated)")
    shared.add_accelerator_options(parser)
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or YAML file")
    parser.add_argument("--config", metavar="YAML", help="sections learner, skill, accelerator, as for `learn`")
    parser.add_argument("--labels", type=int, default=128, help="labels from a pool (default 128)")
    parser.add_argument("--initial", type=int, default=64, help="of them at random, before the first query")
    parser.add_argument("--per-round", type=int, default=1, help="queries between in situ learnings (default 1)")
    parser.add_argument("--strategy", default="straddle", help="acquisition that asks a pool (default straddle)")
    parser.add_argument(
        "--final", choices=CHOICES, help="how the skill is used (default confident; sturdy where sturdy has asked)"
    )
    parser.add_argument("--pairs", type=int, default=50, help="unseen contexts (default 50)")
    parser.add_argument("--candidates", type=int, default=1000, help="valid candidates per context (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of learner, devices and contexts")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with N seeds: medians and spread")
    parser.add_argument("--figure", metavar="PNG", help="bars of how much of the task was done")
    parser.add_argument("--poses", metavar="PNG", help="picture of 500 confident candidates for one context")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Learn or load, execute, compare; once, or with several seeds."""
    from memristor_bdnn import skills
    from memristor_bdnn.report import record as common

    common.check_out(args.out)
    for flag in ("figure", "poses"):
        common.check_picture(getattr(args, flag), f"--{flag}")
    if args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: allowed 1 and above")
    if args.seeds > 1 and (args.store or args.figure or args.poses):
        raise ConfigError(f"--seeds {args.seeds} learns anew each time: it goes without --store, --figure and --poses")
    for_strategy(args.strategy)  # an unknown one is refused before anything is learned
    skill = skills.load(args.skill)
    if args.poses and type(skill).confident_picture is skills.Skill.confident_picture:
        raise ConfigError(f"--poses {args.poses}: skill {skill.name} draws no such picture; leave it out")
    sections = shared.sections(args.config)
    if "loop" in sections:
        print(f"section loop of {args.config} is left out: it is for `learn`")
    shared.refuse_dry_run(shared.accelerator_options(args, sections.get("accelerator")), "evaluate-skill")
    seeds = list(range(args.seed, args.seed + args.seeds))
    trials = shared.trials_of(skill, sections.get("skill"), args.arm)
    runs: list[dict[str, Any]] = []
    try:
        for args.seed in seeds:
            runs.append(_once(args, skill, trials, sections))
    finally:
        trials.close()
    figures = runs[0] if len(runs) == 1 else _over_seeds(runs)
    common.write_record(args.out, common.record(figures, seeds))
    return 0


def _once(args: argparse.Namespace, skill: Any, trials: Any, sections: dict[str, Any]) -> dict[str, Any]:
    """Figures of one seed."""
    learners: dict[str, Learned] = {}
    try:
        labels, scores = _evaluated(args, skill, trials, sections, learners)
        _show(args, skill, labels, scores)
        if args.poses:
            _draw(args, skill, learners["learned"].learner, trials.arm)
    finally:
        for item in learners.values():
            item.learner.accelerator.close()
    failures = {f"{name}_failures": of.failures for name, of in learners.items() if of.failures is not None}
    for name, count in failures.items():
        print(f"{name.replace('_', ' ')} among {args.labels - args.initial} questions: {count}")
    return _figures(args, labels, scores) | failures


def _over_seeds(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over seeds of every figure, with the runs beside them; prints success rates with their spread."""
    import numpy as np

    from memristor_bdnn.report.record import print_table

    figures: dict[str, Any] = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
    rows = []
    for key in runs[0]:
        if key.endswith("_success"):
            values = [run[key] for run in runs]
            rows.append((key.removesuffix("_success"), figures[key], min(values), max(values)))
    print_table(f"success rate over {len(runs)} seeds", ("policy", "median", "lowest", "highest"), rows)
    return {**figures, "runs": runs}


def _evaluated(
    args: argparse.Namespace, skill: Any, trials: Any, sections: dict[str, Any], learners: dict[str, Learned]
) -> tuple[int, dict[str, Any]]:
    """Number of labels, and scores by policy; the learners are put into the given mapping as they are made."""
    from rich.progress import Progress

    from memristor_bdnn.active import evaluate as ev

    with Progress(transient=True) as progress:
        labels = _learn(args, skill, sections, learners, progress)
        progress.console.print(f"learned skill: the {args.final or learners['learned'].final} choice", highlight=False)
        policies: dict[str, ev.Policy] = {
            name: ev.learned_policy(skill, of.learner, final=args.final or of.final, tried=of.tried)
            for name, of in learners.items()
        }
        if _has_baseline(skill, trials.arm):
            policies["designed"] = ev.designed_policy(skill)
        else:
            print(f"no row `designed`: skill {skill.name} has no baseline that a person designed")
        policies["random"] = ev.random_policy
        task = progress.add_task("trials", total=args.pairs * len(policies))

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done)

        return labels, ev.evaluate(skill, trials, policies, args.pairs, args.candidates, args.seed, show)


def _has_baseline(skill: Any, arm: str) -> bool:
    """Whether the skill gives designed parameters for a context of its own."""
    import numpy as np

    rng = np.random.default_rng(0)
    context = skill.sample_context(rng)
    return skill.baseline(context, skill.sample_candidates(context, 1, rng, arm)) is not None


def _figures(args: argparse.Namespace, labels: int, scores: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {"labels": labels, "pairs": args.pairs, "candidates": args.candidates}
    for name, score in scores.items():
        figures |= {
            f"{name}_fraction": score.fraction,
            f"{name}_fraction_se": score.standard_error,
            f"{name}_success": score.success,
            f"{name}_infeasible": score.infeasible,
        }
    figures["gain_over_random"] = scores["learned"].fraction - scores["random"].fraction
    return figures


def _show(args: argparse.Namespace, skill: Any, labels: int, scores: dict[str, Any]) -> None:
    """The table, and the bars if asked for."""
    from memristor_bdnn.report.record import print_table
    from memristor_bdnn.report.skill_figures import skill_bars

    print_table(
        f"{skill.name}: {args.pairs} unseen contexts, {labels} labels, seed {args.seed}",
        ("policy", skill.fraction_label, "standard error", "success rate"),
        [(n, s.fraction, s.standard_error, s.success) for n, s in scores.items()],
    )
    if args.figure:
        skill_bars(scores, labels, args.figure, skill.fraction_label)
        print(f"wrote {args.figure}")


def _learn(
    args: argparse.Namespace, skill: Any, sections: dict[str, Any], learners: dict[str, Learned], progress: Any
) -> int:
    """Make learners by policy name and let them learn; returns the number of labels they have seen."""
    import numpy as np

    from memristor_bdnn import accelerator
    from memristor_bdnn.active import evaluate as ev
    from memristor_bdnn.active import recipes

    hardware = shared.accelerator_options(args, sections.get("accelerator"))
    checkpoint = Path(args.checkpoint or f"{args.store}.npz")
    if recipes.recipe(skill, args.learner, args.recipe).prior and not (args.store and checkpoint.exists()):
        print("the recipe's prior is left out: here the learner knows the labels alone (`learn` fits the prior)")

    def fresh(name: str) -> Learned:
        chips = accelerator.create(args.accelerator, preset=args.preset, seed=args.seed, **hardware)
        try:
            learner = recipes.make(skill, args.learner, chips, args.recipe, sections.get("learner"), args.seed)
        except BaseException:
            chips.close()
            raise
        made = learners[name] = Learned(learner)
        return made

    if args.store:
        return _from_store(args, skill, fresh("learned"))
    pool = skill.pool(args.pool)
    if args.strategy != "random":
        print(
            "questions choose among all contexts of the pool; a session's are given: how a strategy does there says "
            f"`memristor-bdnn benchmark strategies --skill {skill.name} --strategy {args.strategy}`"
        )
    for name, chosen_by in (("learned", args.strategy), ("passive", "random")):
        task = progress.add_task(f"learning ({chosen_by})", total=args.labels)

        def show(done: int, total: int, task: Any = task) -> None:
            progress.update(task, completed=done)

        rng = np.random.default_rng(args.seed)
        of = fresh(name)
        rows = ev.learn_from_pool(
            skill, of.learner, pool, args.labels, args.initial, chosen_by, rng, args.per_round, progress=show
        )
        of.final = for_strategy(args.strategy)
        of.tried, of.failures = (pool.x[rows], pool.score[rows]), int((pool.score[rows[args.initial :]] <= 0).sum())
    return int(args.labels)


def _from_store(args: argparse.Namespace, skill: Any, of: Learned) -> int:
    """Bring a learner to a store's labels: from its checkpoint, or by learning them again."""
    from memristor_bdnn import acquisitions
    from memristor_bdnn.active.checkpoints import mark_of
    from memristor_bdnn.active.resume import belongs
    from memristor_bdnn.active.store import TrialStore

    if not Path(args.store).exists():
        raise ConfigError(
            f"--store {args.store}: no such file; make one with memristor-bdnn learn --skill {skill.name}"
        )
    if not Path(args.store).is_file():
        raise ConfigError(f"--store {args.store} is no regular file: give the name of a trial store")
    checkpoint = Path(args.checkpoint or f"{args.store}.npz")
    with TrialStore(args.store, readonly=True) as store:
        if store.metadata.get("skill", skill.name) != skill.name:
            raise ConfigError(
                f"--store {args.store}: its trials are of skill {store.metadata['skill']!r}, not {skill.name!r}; "
                f"give --skill {store.metadata['skill']}"
            )
        x, _, scores = store.labels()
        mark = mark_of(checkpoint) if checkpoint.exists() else None
        if mark is not None and not (mark.labels and belongs(checkpoint, mark, store)):
            raise ConfigError(
                f"{checkpoint} was not learned from the trials of {args.store} ({mark.labels} labels, "
                f"{mark.trials} trials): give the checkpoint of this session"
            )
        asked = {t.strategy for t in store.trials if t.phase == "query" and t.strategy in acquisitions.names()}
    learner, of.tried = of.learner, (x, scores)
    of.final = "sturdy" if any(for_strategy(name) == "sturdy" for name in asked) else "confident"
    if checkpoint.exists():
        learner.load(checkpoint)
        return len(x) if mark is None else mark.labels
    if args.checkpoint:
        raise ConfigError(f"--checkpoint {checkpoint}: no such file")
    if len(x) < 2:
        raise ConfigError(f"--store {args.store}: {len(x)} labels are too few to learn from")
    learner.fit(x, (scores + 1) / 2)
    learner.learn(x, (scores + 1) / 2)
    return len(x)


def _draw(args: argparse.Namespace, skill: Any, learner: Any, arm: str) -> None:
    """The skill's own picture of candidates that the learner is sure of, for one context."""
    import numpy as np

    from memristor_bdnn.acquisitions.scores import confident
    from memristor_bdnn.report import style

    rng = np.random.default_rng([0xF164, args.seed])
    context = skill.sample_context(rng)
    candidates = skill.sample_candidates(context, 10 * args.candidates, rng, arm)
    sure = confident(learner.predict(skill.encode(context, candidates)))
    # Confident: success is at least one standard deviation away from the decision boundary.
    chosen = np.flatnonzero(sure > 1.0)
    if len(chosen) < 2:
        chosen = np.argsort(-sure, kind="stable")[:500]
    chosen = rng.permutation(chosen)[:500]
    style.drawn(skill.confident_picture)(context, candidates[chosen], sure[chosen], args.poses)
    print(f"wrote {args.poses}")
