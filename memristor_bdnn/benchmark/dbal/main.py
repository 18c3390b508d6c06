"""Active against passive learning on labelled pouring trials, with software baselines; resumable."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

STRATEGY_NAMES = ("straddle", "random", "entropy", "bald", "variance", "margin")
# Asked only what they can answer: these have no posterior samples that BALD could use.
DEFAULT_LEARNERS = ("msgld", "msgld_paper", "gp", "mc_dropout", "deep_ensemble", "random_forest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NPZ",
        help="a file with x_pool, score_pool, x_test, score_test, or an exported pool of `collect` (its last quarter "
        "are the test rows); `shipped` is the pool that comes with the package",
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
    parser.add_argument("--prior", choices=("none", "simulator"), default="none", help="fit to simulated trials first")
    parser.add_argument("--prior-pool", metavar="FILE", help="pool of `collect` for --prior (default: the shipped one)")
    parser.add_argument(
        "--sizes",
        choices=("corrected", "recorded"),
        default="corrected",
        help="bowl sizes for contenders on lip features: those that the published outcomes fit (default; found by "
        "comparing the simulated world with all pool rows, see docs/pouring.md), or those that are recorded",
    )
    parser.add_argument(
        "--strategy",
        action="append",
        choices=STRATEGY_NAMES,
        help="acquisition function(s) beside random, may be repeated (default straddle)",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="measure on a third of the pool, drawn by seed, instead of the test rows: for choosing options",
    )
    parser.add_argument("--work", metavar="FOLDER", help="finished runs, for resuming (default: beside --out)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    parser.add_argument("--figures", metavar="FOLDER", help="write figures as PNG files")
    parser.add_argument(
        "--study",
        action="store_true",
        help="the study of the method's parts, and of the bowls' sizes, instead of the contest",
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, print the table, write JSON and figures."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: one process per core is the better use of two cores
    from memristor_bdnn.benchmark.dbal import report as dbal_report
    from memristor_bdnn.benchmark.dbal import sizes as dbal_sizes
    from memristor_bdnn.benchmark.dbal.data import load_trials
    from memristor_bdnn.benchmark.dbal.jobs import Setting, run_all
    from memristor_bdnn.benchmark.dbal.methods import METHODS
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.report.record import check_out, print_table, record, write_record
    from memristor_bdnn.skills.pouring import pool
    from memristor_bdnn.skills.pouring.sizes import are_published

    names = [n for part in args.learner or [] for n in part.split(",") if n]
    if "list" in names:
        print_table("contenders", ["name", "what"], [[k, v] for k, v in METHODS.items()])
        return 0
    check_out(args.out)
    if args.initial < 4 or args.queries < 0:
        raise ConfigError(f"--initial {args.initial} --queries {args.queries}: at least 4 and 0 are needed")
    learners = _learners(names, args)
    dataset = (pool.SHIPPED if args.dataset == "shipped" else Path(args.dataset)).resolve()
    if args.prior == "simulator" and dataset == Path(args.prior_pool or pool.SHIPPED).resolve():
        raise ConfigError(f"--prior simulator would learn the test rows: {dataset} is its pool too")
    needed = max(64, args.initial + args.queries)
    trials = load_trials(dataset, needed * 3 // 2 + 1 if args.validate else needed)
    seeds = list(range(args.seeds if args.seeds is not None else (2 if args.quick else 10)))
    if args.study:
        from memristor_bdnn.benchmark.dbal.study import study

        figures = {**study(trials, seeds, args.quick), **dbal_sizes.study(trials, seeds)}
        if args.figures:
            from memristor_bdnn.benchmark.dbal import figures as learning_figures

            Path(args.figures).mkdir(parents=True, exist_ok=True)
            print(f"wrote {learning_figures.study(figures, Path(args.figures) / 'dbal_study.png')}")
            if "sizes" in figures:
                print(f"wrote {learning_figures.sizes(figures, Path(args.figures) / 'dbal_sizes.png')}")
        write_record(args.out, record(figures, seeds))
        return 0
    setting = Setting(
        dataset=str(dataset),
        init=args.init,
        initial=args.initial,
        queries=args.queries,
        prior=args.prior,
        prior_pool=args.prior_pool and str(Path(args.prior_pool).resolve()),
        sizes=args.sizes,
        validate=args.validate,
    )
    if args.sizes == "corrected" and not are_published(trials.x_pool):
        print("sizes as recorded: the bowls of this dataset are not the published ones")
    strategies = list(dict.fromkeys(["random", *(args.strategy or ["straddle"])]))
    work = Path(args.work) if args.work else (Path(f"{args.out}.runs") if args.out else None)
    jobs = [(learner, s, seed) for seed in seeds for learner in learners for s in strategies]
    runs = run_all(setting, jobs, work, args.workers or os.cpu_count() or 1)
    figures = dbal_report.summary(runs, setting)
    if "msgld" in learners:
        largest = 512 if args.quick else 2048
        figures |= dbal_report.passive_labels(figures, seeds[:5], setting, work, largest)
        figures |= dbal_report.speed(setting)
    dbal_report.print_tables(figures)
    if args.figures:
        from memristor_bdnn.benchmark.dbal import figures as learning_figures

        for path in learning_figures.write_all(figures, trials, Path(args.figures), args.prior):
            print(f"wrote {path}")
    write_record(args.out, record(figures, seeds))
    return 0


def _learners(names: list[str], args: argparse.Namespace) -> list[str]:
    """The contenders asked for, without those whose package is missing (said so)."""
    import importlib.util

    from memristor_bdnn.benchmark.dbal.methods import METHODS, NEED_SKLEARN, plugins
    from memristor_bdnn.errors import ConfigError

    default = ("msgld",) if args.quick or args.prior == "simulator" else DEFAULT_LEARNERS
    chosen = names or list(default)
    for name in chosen:
        if name not in METHODS and name not in plugins():
            raise ConfigError(f"--learner {name}: choose from {', '.join([*METHODS, *plugins()])}")
        if args.prior == "simulator" and name not in ("msgld", "msgld_paper"):
            raise ConfigError(f"--learner {name} cannot use --prior simulator: only msgld and msgld_paper can")
    if importlib.util.find_spec("sklearn") is None:
        for name in [n for n in chosen if n in NEED_SKLEARN]:
            print(f"skipping {name}: scikit-learn is not installed (pip install scikit-learn)")
            chosen.remove(name)
    return chosen
