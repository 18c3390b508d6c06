"""Measure how well the learned policy pours for bowl/cup pairs it has not seen.

The policy: among 1,000 valid candidates execute the one with the highest mu/sigma. It is compared with random
valid parameters, with one designed parameter set, and with passive learning on as many labels. The learner comes
from a trial store (--store, as written by `learn`), or learns here from a pool (--pool, default the shipped one).
"""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``memristor-bdnn evaluate-skill``."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", metavar="FILE", help="trial store: learn from its labels")
    source.add_argument("--pool", metavar="FILE", help="pool to learn from, actively and passively (default: shipped)")
    parser.add_argument("--checkpoint", metavar="FILE", help="learner state to load (default STORE.npz if there)")
    parser.add_argument("--learner", default="msgld", help="learner plugin (default msgld)")
    parser.add_argument(
        "--recipe",
        default="pouring",
        help="options of the msgld learner, as for `learn` (default "
        "pouring); --config's section learner changes single options",
    )
    parser.add_argument("--accelerator", default="simulated", help="accelerator (default simulated)")
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or YAML file")
    parser.add_argument("--config", metavar="YAML", help="file with sections learner and skill, as for `learn`")
    parser.add_argument("--labels", type=int, default=128, help="labels from a pool (default 128)")
    parser.add_argument("--initial", type=int, default=64, help="of them at random, before the first query")
    parser.add_argument("--per-round", type=int, default=1, help="queries between in situ learnings (default 1)")
    parser.add_argument("--pairs", type=int, default=50, help="unseen bowl/cup pairs (default 50)")
    parser.add_argument("--candidates", type=int, default=1000, help="valid candidates per pair (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of learner, devices and pairs")
    parser.add_argument("--figure", metavar="PNG", help="bars of the fractions poured")
    parser.add_argument("--poses", metavar="PNG", help="final cup poses of 500 confident candidates for one pair")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Learn or load, pour, compare."""
    from rich.progress import Progress

    from memristor_bdnn.active import evaluate as ev
    from memristor_bdnn.config import build
    from memristor_bdnn.report import record as common
    from memristor_bdnn.skills.pouring.skill import PouringSkill, SkillConfig

    common.check_out(args.out)
    sections = _sections(args.config)
    skill = PouringSkill(build(SkillConfig, sections.get("skill")))
    with Progress(transient=True) as progress:
        learners, labels = _learned(args, sections.get("learner"), progress)
        policies: dict[str, ev.Policy] = {name: ev.learned_policy(item) for name, item in learners.items()}
        policies |= {"designed": ev.designed_policy, "random": ev.random_policy}
        task = progress.add_task("pouring", total=args.pairs * len(policies))
        scores = ev.evaluate(
            skill,
            policies,
            args.pairs,
            args.candidates,
            args.seed,
            lambda done, total: progress.update(task, completed=done),
        )
    figures: dict[str, Any] = {"labels": labels, "pairs": args.pairs, "candidates": args.candidates}
    for name, score in scores.items():
        figures |= {
            f"{name}_fraction": score.fraction,
            f"{name}_fraction_se": score.standard_error,
            f"{name}_success": score.success,
            f"{name}_infeasible": score.infeasible,
        }
    figures["gain_over_random"] = scores["learned"].fraction - scores["random"].fraction
    common.print_table(
        f"{args.pairs} unseen bowl/cup pairs, {labels} labels",
        ("policy", "fraction poured", "standard error", "success rate"),
        [(n, s.fraction, s.standard_error, s.success) for n, s in scores.items()],
    )
    if args.figure:
        from memristor_bdnn.skills.pouring.figures import skill_bars

        skill_bars(scores, labels, args.figure)
        print(f"wrote {args.figure}")
    if args.poses:
        _draw_poses(args, skill, learners["learned"])
    common.write_record(args.out, common.record(figures, [args.seed]))
    for item in learners.values():
        item.accelerator.close()
    skill.close()
    return 0


def _sections(path: str | None) -> dict[str, Any]:
    from pathlib import Path

    import yaml

    from memristor_bdnn.errors import ConfigError

    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read --config {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path}: expected sections learner, skill, not {type(content).__name__}")
    return content


def _learned(args: argparse.Namespace, options: Any, progress: Any) -> tuple[dict[str, Any], int]:
    """Learners by policy name, and the number of labels they have seen."""
    import numpy as np

    from memristor_bdnn import accelerator, learners
    from memristor_bdnn.active import evaluate as ev
    from memristor_bdnn.skills.pouring.pool import load

    if args.learner == "msgld":
        from memristor_bdnn.skills.pouring.recipes import recipe

        options = recipe(args.recipe, options)

    def fresh(seed: int) -> Any:
        chips = accelerator.create(args.accelerator, preset=args.preset, seed=seed)
        return learners.create(args.learner, chips, options, seed)

    if args.store:
        learner = fresh(args.seed)
        return {"learned": learner}, _from_store(args, learner)
    pool = load(args.pool)
    made = {}
    for name, chosen_by in (("learned", "straddle"), ("passive", "random")):
        task = progress.add_task(f"learning ({chosen_by})", total=args.labels)
        made[name] = fresh(args.seed)

        def show(done: int, total: int, task: Any = task) -> None:
            progress.update(task, completed=done)

        ev.learn_from_pool(
            made[name],
            pool,
            args.labels,
            args.initial,
            chosen_by,
            np.random.default_rng(args.seed),
            args.per_round,
            progress=show,
        )
    return made, args.labels


def _from_store(args: argparse.Namespace, learner: Any) -> int:
    """Bring a learner to a store's labels: from its checkpoint, or by learning them again."""
    from pathlib import Path

    from memristor_bdnn.active.store import TrialStore
    from memristor_bdnn.errors import ConfigError

    if not Path(args.store).exists():
        raise ConfigError(f"--store {args.store}: no such file; make one with memristor-bdnn learn")
    with TrialStore(args.store) as store:
        x, _, scores = store.labels()
    checkpoint = Path(args.checkpoint or f"{args.store}.npz")
    if checkpoint.exists():
        learner.load(checkpoint)
    elif args.checkpoint:
        raise ConfigError(f"--checkpoint {checkpoint}: no such file")
    elif len(x) < 2:
        raise ConfigError(f"--store {args.store}: {len(x)} labels are too few to learn from")
    else:
        learner.fit(x, (scores + 1) / 2)
        learner.learn(x, (scores + 1) / 2)
    return len(x)


def _draw_poses(args: argparse.Namespace, skill: Any, learner: Any) -> None:
    import numpy as np

    from memristor_bdnn.acquisitions.scores import confident
    from memristor_bdnn.skills.pouring.context import PourContext, encode
    from memristor_bdnn.skills.pouring.figures import final_poses

    rng = np.random.default_rng([0xF164, args.seed])
    context = skill.sample_context(rng)
    candidates = skill.sample_candidates(context, 10 * args.candidates, rng)
    sure = confident(learner.predict(encode(context, candidates)))
    # Confident: success is at least one standard deviation away from the decision boundary.
    chosen = np.flatnonzero(sure > 1.0)
    if len(chosen) < 2:
        chosen = np.argsort(-sure, kind="stable")[:500]
    chosen = rng.permutation(chosen)[:500]
    final_poses(PourContext.from_array(context), candidates[chosen], sure[chosen], args.poses)
    print(f"wrote {args.poses}")
