"""Active against passive learning on labelled trials of a skill, with software baselines; resumable."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from memristor_bdnn.skills import DEFAULT

SIMULATED = "simulated"
SHIPPED = "shipped"
DEFAULT_LEARNERS = ("msgld", "msgld_paper", "gp", "mc_dropout", "deep_ensemble", "random_forest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    from memristor_bdnn import accelerator, acquisitions

    parser.add_argument(
        "--skill",
        default=DEFAULT,
        metavar="NAME",
        help=f"skill plugin (default {DEFAULT}); sizes, study, prior and speed are of {DEFAULT} alone",
    )
    parser.add_argument(
        "--dataset",
        default=SHIPPED,
        metavar="FILE",
        help="a pool of `collect` or its export (its last quarter are the test rows), or an .npz with x_pool, "
        "score_pool, x_test, score_test; default `shipped`, the pool that comes with the skill",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="only look at the data set: contexts that repeat, duplicates, shares of successes; learn nothing",
    )
    parser.add_argument(
        "--init",
        choices=("first", "random"),
        default="random",
        help="the initial labels: first rows, or random ones",
    )
    parser.add_argument("--initial", type=int, default=64, help="initial labels (default 64)")
    parser.add_argument("--queries", type=int, default=64, help="labels asked for one by one (default 64)")
    parser.add_argument(
        "--learner",
        action="append",
        metavar="NAME",
        help="contender, may be repeated or a comma list; default: our recipe, the paper's, four baselines "
        "(with --prior simulator: our recipe); `list` shows all",
    )
    parser.add_argument(
        "--accelerator",
        default=SIMULATED,
        choices=accelerator.names(),
        help="what the learners live on (default simulated); every run makes chips of its own, so not for a board",
    )
    parser.add_argument("--prior", choices=("none", "simulator"), default="none", help="fit to simulated trials first")
    parser.add_argument("--prior-pool", metavar="FILE", help="pool of `collect` for --prior (default: the shipped one)")
    parser.add_argument(
        "--sizes",
        choices=("corrected", "recorded"),
        help="vessel sizes of published trials for contenders on lip features: those to expect where a recorded size "
        "repeats (default; from the inputs alone, see docs/pouring.md), or those that are recorded",
    )
    parser.add_argument(
        "--strategy",
        action="append",
        choices=acquisitions.names(),
        help="acquisition function(s) beside random, may be repeated (default straddle)",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="measure on a third of the pool, drawn by seed, instead of the test rows: for choosing options",
    )
    parser.add_argument(
        "--audit",
        metavar="ROWS",
        help="measure at the end on rows that took part in nothing: a number of pool rows, withheld by seed, or a "
        "pool's file",
    )
    parser.add_argument(
        "--successes",
        type=float,
        metavar="SHARE",
        help="make successes rare: leave them out of the pool, drawn by seed, until they are this share of it; "
        "test rows stay as they are",
    )
    parser.add_argument("--work", metavar="FOLDER", help="finished runs, for resuming (default: beside --out)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--figures", metavar="FOLDER", help="write figures as PNG files")
    parser.add_argument(
        "--study",
        action="store_true",
        help="the study of the method's parts, over labels, and of recorded sizes, instead of the contest",
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the table, write JSON and figures."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: one process per core is the better use of two cores
    from memristor_bdnn import skills
    from memristor_bdnn.benchmark.dbal.diagnosis import diagnose, print_diagnosis
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report.record import check_out, make_folder, print_table, record, write_record

    names = [n for part in args.learner or [] for n in part.split(",") if n]
    known, need_sklearn = _contenders(args.skill)
    if "list" in names:
        print_table("contenders", ["name", "what"], [[k, v] for k, v in known.items()])
        return 0
    check_out(args.out)
    make_folder(args.figures, "--figures")
    if args.initial < 4 or args.queries < 0:
        raise ConfigError(f"--initial {args.initial} --queries {args.queries}: at least 4 and 0 are needed")
    _check_published(args)
    learners = _learners(names, args, known, need_sklearn)
    setting = _setting(args)
    trials = _trials(args, setting)
    seeds = list(range(args.seeds if args.seeds is not None else (2 if args.quick else 10)))
    found = diagnose(trials, skills.load(args.skill))
    print_diagnosis(found)
    figures = {"diagnosis": found}
    if args.diagnose:
        seeds = []
    elif args.study:
        figures |= _study(args, setting, trials, seeds)
    else:
        figures |= _contest(args, setting, trials, learners, seeds)
    write_record(args.out, record(figures, seeds))
    return 0


def _trials(args: argparse.Namespace, setting: Any) -> Any:
    """The dataset with rows enough for the protocol and what is withheld; an audit's rows are looked at too.

    Raises:
        ConfigError: too few rows, or successes.
    """
    from memristor_bdnn.errors import ConfigError

    if args.diagnose:
        return setting.load(1)
    needed = max(64, args.initial + args.queries)
    needed = needed * 3 // 2 + 1 if args.validate else needed
    trials = setting.load(needed + (setting.audit if isinstance(setting.audit, int) else 0))
    if isinstance(setting.audit, str):
        setting.trials("", 0)
    left = len(setting.trials("", 0).x_pool) if setting.successes else needed
    if left < needed:
        raise ConfigError(f"--successes {setting.successes:g} leaves {left} rows of the pool, {needed} are needed")
    return trials


def _contenders(skill: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """What each contender is, by name; and which of them need scikit-learn."""
    from memristor_bdnn import learners, skills
    from memristor_bdnn.benchmark.dbal import generic
    from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED
    from memristor_bdnn.benchmark.dbal.methods import METHODS, NEED_SKLEARN, plugins

    if skill != PUBLISHED:
        return generic.contenders(skills.load(skill)), generic.NEED_SKLEARN
    described = learners.available()
    return {**METHODS, **{name: described[name] for name in plugins()}}, NEED_SKLEARN


def _check_published(args: argparse.Namespace) -> None:
    """Refuse what only the published trials have, for other skills, and what a study or a diagnosis would ignore."""
    from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED
    from memristor_bdnn.errors import ConfigError

    if args.study and args.accelerator != SIMULATED:
        raise ConfigError(f"--accelerator {args.accelerator}: --study is of {SIMULATED} chips; leave one of them out")
    if args.study and args.audit is not None:
        raise ConfigError(f"--audit {args.audit}: --study has no audit; leave one of them out")
    if args.diagnose and (args.study or args.audit is not None or args.successes is not None):
        raise ConfigError("--diagnose only looks at the data set: leave out --study, --audit and --successes")
    if args.successes is not None and args.study:
        raise ConfigError(f"--successes {args.successes:g}: --study is of the whole pool; leave one of them out")
    if args.successes is not None and not 0.0 < args.successes < 1.0:
        raise ConfigError(f"--successes {args.successes:g}: allowed between 0 and 1")
    if args.skill == PUBLISHED:
        return
    asked = {
        "--sizes": args.sizes is not None,
        "--study": args.study,
        "--prior simulator": args.prior != "none",
        "--prior-pool": args.prior_pool is not None,
    }
    for flag in (name for name, given in asked.items() if given):
        raise ConfigError(f"{flag} is of the skill {PUBLISHED} alone: leave it out for --skill {args.skill}")


def _setting(args: argparse.Namespace) -> Any:
    """What all runs share.

    Raises:
        ConfigError: the prior's pool is the dataset.
    """
    from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED, Setting
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.skills.pouring import pool

    if args.skill == PUBLISHED:
        dataset = str((pool.SHIPPED if args.dataset == SHIPPED else Path(args.dataset)).resolve())
        if args.prior == "simulator" and dataset == str(Path(args.prior_pool or pool.SHIPPED).resolve()):
            raise ConfigError(
                f"--prior simulator would learn the test rows: {dataset} is its pool too; give another --dataset"
            )
    else:
        dataset = args.dataset if args.dataset == SHIPPED else str(Path(args.dataset).resolve())
    return Setting(
        dataset=dataset,
        init=args.init,
        initial=args.initial,
        queries=args.queries,
        prior=args.prior,
        prior_pool=args.prior_pool and str(Path(args.prior_pool).resolve()),
        sizes=args.sizes or "corrected",
        validate=args.validate,
        skill=args.skill,
        accelerator=args.accelerator,
        audit=_audit(args.audit),
        successes=args.successes or 0.0,
    )


def _audit(asked: str | None) -> int | str:
    """So many rows of the pool, or the path of a file; 0 for none. Raises ConfigError for anything else."""
    from memristor_bdnn.errors import ConfigError

    if asked is None:
        return 0
    if asked.lstrip("+-").isdigit():
        if int(asked) < 2:
            raise ConfigError(f"--audit {asked}: allowed 2 rows and above, or a file")
        return int(asked)
    if not Path(asked).is_file():
        raise ConfigError(f"--audit {asked}: no such file, and no number of rows")
    return str(Path(asked).resolve())


def _check_samples(learners: list[str], strategies: list[str]) -> None:
    """Refuse strategies that need posterior samples for contenders that have none."""
    from memristor_bdnn import acquisitions
    from memristor_bdnn.benchmark.dbal import generic
    from memristor_bdnn.benchmark.dbal.methods import NO_SAMPLES
    from memristor_bdnn.errors import ConfigError

    for strategy in (s for s in strategies if acquisitions.load(s).needs_samples):
        for name in (n for n in learners if n in NO_SAMPLES or n == f"gp{generic.SUFFIX}"):
            raise ConfigError(
                f"--strategy {strategy} needs posterior samples, and --learner {name} asks with a mean and a standard "
                "deviation alone: leave one of them out"
            )


def _work(args: argparse.Namespace) -> Path | None:
    """Where finished runs are kept; nowhere without --out or --work."""
    return Path(args.work) if args.work else (Path(f"{args.out}.runs") if args.out else None)


def _study(args: argparse.Namespace, setting: Any, trials: Any, seeds: list[int]) -> dict[str, Any]:
    """The study of the method's parts and of recorded sizes, with its figures."""
    from memristor_bdnn.benchmark.dbal import figures as learning_figures
    from memristor_bdnn.benchmark.dbal import sizes as dbal_sizes
    from memristor_bdnn.benchmark.dbal.study import study

    figures = study(setting, seeds, args.quick, _work(args), args.workers or os.cpu_count() or 1)
    figures |= dbal_sizes.study(trials, seeds)
    if args.figures:
        Path(args.figures).mkdir(parents=True, exist_ok=True)
        print(f"wrote {learning_figures.study(figures, Path(args.figures) / 'dbal_study.png')}")
        if "sizes" in figures:
            print(f"wrote {learning_figures.sizes(figures, Path(args.figures) / 'dbal_sizes.png')}")
    return figures


def _contest(
    args: argparse.Namespace, setting: Any, trials: Any, learners: list[str], seeds: list[int]
) -> dict[str, Any]:
    """Run what is missing, print the tables, write the figures."""
    from memristor_bdnn.benchmark.dbal import report as dbal_report
    from memristor_bdnn.benchmark.dbal.jobs import PUBLISHED, run_all
    from memristor_bdnn.benchmark.dbal.passive import passive_labels
    from memristor_bdnn.benchmark.dbal.published import are_published

    published = setting.skill == PUBLISHED
    if published and setting.sizes == "corrected" and not are_published(trials.x_pool):
        print("sizes as recorded: the vessels of this dataset are not the published ones")
    strategies = list(dict.fromkeys(["random", *(args.strategy or ["straddle"])]))
    _check_samples(learners, strategies)
    work, workers = _work(args), args.workers or os.cpu_count() or 1
    jobs = [(learner, s, seed) for seed in seeds for learner in learners for s in strategies]
    runs = run_all(setting, jobs, work, workers)
    figures = dbal_report.summary(runs, setting)
    simulated = setting.accelerator == SIMULATED
    if not simulated:
        print(f"no passive curve and no speed: they are measured on {SIMULATED} chips only")
    if published and "msgld" in learners and simulated:
        largest = 512 if args.quick else 2048
        figures |= passive_labels(figures, seeds[:5], setting, work, workers, largest)
        figures |= dbal_report.speed(setting)
    dbal_report.print_tables(figures)
    if args.figures:
        from memristor_bdnn.benchmark.dbal import figures as learning_figures

        for path in learning_figures.write_all(figures, trials, Path(args.figures), args.prior):
            print(f"wrote {path}")
    return figures


def _learners(
    names: list[str], args: argparse.Namespace, known: dict[str, str], need_sklearn: tuple[str, ...]
) -> list[str]:
    """The contenders asked for, without those whose package is missing (said so)."""
    import importlib.util

    from memristor_bdnn.errors import ConfigError

    default = ("msgld",) if args.quick or args.prior == "simulator" else DEFAULT_LEARNERS
    chosen = names or [name for name in default if name in known]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--learner {name}: choose from {', '.join(known)}")
        if args.prior == "simulator" and name not in ("msgld", "msgld_paper"):
            raise ConfigError(f"--learner {name} cannot use --prior simulator: only msgld and msgld_paper can")
    if importlib.util.find_spec("sklearn") is None:
        for name in [n for n in chosen if n in need_sklearn]:
            print(f"skipping {name}: scikit-learn is not installed (pip install scikit-learn)")
            chosen.remove(name)
    return chosen
