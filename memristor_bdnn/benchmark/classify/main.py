"""Digits, iris, wine and breast cancer: three learners on devices beside an MLP and a deep ensemble in software."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import statistics
import sys
from typing import TYPE_CHECKING, Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.report.record import check_out, print_table, record, write_record

if TYPE_CHECKING:
    from memristor_bdnn.benchmark.classify.tasks import Outcome

SEEDS, QUICK_SEEDS = 5, 1
DIGITS = "digits"
NAMES = ("iris", "wine", "breast cancer", DIGITS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside --out, --seeds and --quick."""
    parser.add_argument("--data", action="append", metavar="NAME", help=f"one of {', '.join(NAMES)}; all by default")
    parser.add_argument("--learner", action="append", metavar="NAME", help="a learner; the built-in ones by default")
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset (default tsinghua_taox_hfox)")


def run(args: argparse.Namespace) -> int:
    """Run everyone on every data set, print the table, write the record."""
    check_out(args.out)
    seeds = (QUICK_SEEDS if args.quick else SEEDS) if args.seeds is None else args.seeds
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: at least 1")
    chosen = _chosen(args.data)
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "benchmark classify takes its data sets from scikit-learn: pip install scikit-learn"
        ) from error
    from memristor_bdnn import learners
    from memristor_bdnn.benchmark.classify.tasks import TASKS, methods, split
    from memristor_bdnn.device import presets

    names = tuple(args.learner or learners.BUILT_IN)
    for name in names:
        learners.learner_class(name)
    presets.load(args.preset)
    results: dict[str, dict[str, Any]] = {}
    for task in (task for task in TASKS if task.name in chosen):
        found: dict[str, list[Outcome]] = {}
        for name, method in methods(names, args.preset).items():
            found[name] = []
            for seed in range(seeds):
                _say(f"{task.name}, {name}, seed {seed} ...")
                found[name].append(method(task, split(task, seed), seed))
        _say("")
        _print(task.name, found)
        results[task.name] = {name: summary(outcomes) for name, outcomes in found.items()}
    write_record(args.out, record({"preset": args.preset, "results": results}, range(seeds)))
    return 0


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Medians over the seeds, lowest and highest accuracy, and every seed's figures."""
    rows = [dataclasses.asdict(outcome) for outcome in outcomes]
    made: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        if name != "warnings" and values:
            made[f"{name}_median"] = statistics.median(values)
    made["accuracy_min"] = min(row["accuracy"] for row in rows)
    made["accuracy_max"] = max(row["accuracy"] for row in rows)
    return {**made, "seeds": rows}


def _print(title: str, found: dict[str, list[Outcome]]) -> None:
    rows = []
    said: dict[str, None] = {}
    for name, outcomes in found.items():
        s = summary(outcomes)
        own = ["-"] * 6
        if "pulses_median" in s:
            own = [
                f"{s['deployed_accuracy_median']:.3f}",
                f"{s['cells_median']:,.0f}",
                f"{s['pulses_median']:,.0f}",
                f"{s['learning_energy_j_median'] * 1e6:.3g}",
                f"{s['learning_system_j_median'] * 1e3:.3g}",
                f"{s['prediction_j_median'] * 1e9:.3g}",
            ]
        figures = [f"{s[name]:.3f}" for name in ("accuracy_median", "accuracy_min", "nll_median", "ece_median")]
        rows.append([name, *figures, *own, f"{s['processor_s_median']:.2g}"])
        for outcome in outcomes:
            said |= {f"{name}: {text}": None for text in outcome.warnings}
    count = len(next(iter(found.values())))
    print_table(
        f"{title}: medians of {count} seed{'s' if count > 1 else ''}; learning: energy in "
        "the cells, uJ, and of the whole system, mJ; predicting: in the cells, nJ a row",
        (
            "method",
            "accuracy",
            "lowest",
            "NLL",
            "ECE",
            "deployed",
            "cells",
            "pulses",
            "uJ",
            "mJ",
            "nJ",
            "CPU s",
        ),
        rows,
    )
    kinds = {text.split(":")[0] + text.split(":")[1][:30]: text for text in said}
    for text in kinds.values():
        print(f"warning: {text}")


def _chosen(given: list[str] | None) -> tuple[str, ...]:
    """Names of data sets to run."""
    for name in given or ():
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"--data {name}: choose from {', '.join(NAMES)}{hint}")
    return tuple(given) if given else NAMES


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)
