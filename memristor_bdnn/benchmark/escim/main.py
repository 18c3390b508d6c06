"""The board's protocol against the emulator: the simulation's results, faults, what has to be named, throughput,
random bytes.

The emulator runs in another process and is reached over loopback TCP, so the throughput is that of
driver and emulator together; a bare TCP exchange of the same sizes, interleaved, shows the limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

FAULTS = "drop=0.05,corrupt=0.01,delay=0.005,delay_max_s=2"
QUICK_FAULTS = "drop=0.05,corrupt=0.01,delay=0.001,delay_max_s=2"


PARTS = ("parity", "faults", "failures", "diagnosis", "rates", "fuzz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beyond --out, --seeds, --quick."""
    parser.add_argument("--faults", help=f"faults per request of the third part (default: {FAULTS})")
    parser.add_argument("--only", choices=PARTS, help="one part instead of all")
    parser.add_argument("--fuzz", type=int, help="random inputs for the codec (default: 1000000, quick 20000)")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write JSON."""
    from memristor_bdnn.emulator.faults import FaultConfig
    from memristor_bdnn.report.record import check_out, print_table, record, write_record

    check_out(args.out)
    faults = args.faults if args.faults is not None else (QUICK_FAULTS if args.quick else FAULTS)
    FaultConfig.parse(faults)
    seeds = list(range(args.seeds if args.seeds is not None else (1 if args.quick else 3)))
    initial, queries = (8, 1) if args.quick else (24, 8)
    figures: dict[str, Any] = {"initial_trials": initial, "queries": queries}
    known: dict[int, dict[bytes, Any]] = {seed: {} for seed in seeds}
    fuzz = args.fuzz if args.fuzz is not None else (20_000 if args.quick else 1_000_000)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "parity": lambda: _parity(known, initial, queries, print_table),
        "faults": lambda: _faults(known, initial, queries, faults, print_table),
        "failures": lambda: _failures(print_table),
        "diagnosis": lambda: _diagnosis(seeds, print_table),
        "rates": lambda: _rates(args.quick, print_table),
        "fuzz": lambda: _fuzz(fuzz, print_table),
    }
    for name in (args.only,) if args.only else PARTS:
        figures.update(parts[name]())
    wanted = {"faults_labels_lost": 0, "faults_labels_missing": 0, "faults_double_pulses": 0}
    wanted |= {"same_seed_identical": True, "fuzz_ok": True, "failures_ok": True, "diagnosis_ok": True}
    figures["ok"] = all(figures[name] == value for name, value in wanted.items() if name in figures)
    write_record(args.out, record(figures, seeds))
    return 0 if figures["ok"] else 1


def _parity(
    known: dict[int, dict[bytes, Any]], initial: int, queries: int, show: Callable[..., None]
) -> dict[str, Any]:
    from memristor_bdnn.benchmark.escim.sessions import parity

    runs = [parity(seed, outcomes, initial, queries) for seed, outcomes in known.items()]
    rows, figures = [], {}
    for way, text in (
        ("cfg_reg", "emulator, CFG_REG resets"),
        ("reset_target", "emulator, RESET_TARGET resets"),
        ("other_chips", "other simulated chips"),
    ):
        values = {key: [run[way][key] for run in runs] for key in runs[0][way]}
        accuracy = [run["accuracy"][way] for run in runs]
        figures[f"{way}_labels_equal"] = float(np.min(values["labels_equal"]))
        figures[f"{way}_largest_prediction_difference"] = float(np.max(values["largest_sample_difference"]))
        figures[f"{way}_mean_prediction_difference"] = float(np.mean(values["mean_difference"]))
        figures[f"{way}_prediction_correlation"] = float(np.mean(values["correlation"]))
        figures[f"{way}_accuracy"] = float(np.mean(accuracy))
        rows.append(
            [
                text,
                figures[f"{way}_labels_equal"],
                figures[f"{way}_largest_prediction_difference"],
                figures[f"{way}_prediction_correlation"],
                figures[f"{way}_accuracy"],
            ]
        )
    figures["simulated_accuracy"] = float(np.mean([run["accuracy"]["simulated"] for run in runs]))
    figures["same_seed_identical"] = (
        figures["cfg_reg_labels_equal"] == 1 and figures["cfg_reg_largest_prediction_difference"] == 0
    )
    show(
        f"active learning, {initial} + {queries} trials, against the simulated accelerator of the same seed",
        ["run", "labels equal", "largest difference of a prediction", "correlation", "accuracy"],
        rows,
    )
    print(
        "the same seed gives bit-identical labels and predictions with CFG_REG resets: "
        f"{'yes' if figures['same_seed_identical'] else 'NO'}; RESET_TARGET reads first and spares low cells, so it"
        " agrees statistically"
    )
    return figures


def _faults(
    known: dict[int, dict[bytes, Any]], initial: int, queries: int, faults: str, show: Callable[..., None]
) -> dict[str, Any]:
    from memristor_bdnn.benchmark.escim.sessions import under_faults

    # Every lost answer is a warning in the log of a lab; here they are expected by the hundred.
    logging.getLogger("memristor_bdnn.accelerator.escim").setLevel(logging.ERROR)
    runs = [under_faults(seed, outcomes, initial, queries, faults) for seed, outcomes in known.items()]
    figures: dict[str, Any] = {"faults": faults}
    for key in sorted({name for run in runs for name in run} - {"accuracy"}):
        figures[f"faults_{key}"] = int(sum(run.get(key, 0) for run in runs))
    figures["faults_accuracy"] = float(np.mean([run["accuracy"] for run in runs]))
    show(
        f"sessions under faults ({faults}), sums of {len(known)}",
        ["figure", "value"],
        [[key.removeprefix("faults_"), value] for key, value in figures.items() if key != "faults"],
    )
    return figures


def _failures(show: Callable[..., None]) -> dict[str, Any]:
    from memristor_bdnn.benchmark.escim.failures import run as fail

    cases = fail()
    show(
        "what can go wrong: the error that names it",
        ["case", "error", "after s", "pulses given meanwhile"],
        [
            [case.case, case.error or "NONE", case.seconds, "asked for" if case.pulses is None else case.pulses]
            for case in cases
        ],
    )
    return {
        "failures": [vars(case) for case in cases],
        "failures_slowest_s": max(case.seconds for case in cases),
        "failures_ok": all(case.error and not case.pulses for case in cases),
    }


def _diagnosis(seeds: list[int], show: Callable[..., None]) -> dict[str, Any]:
    from memristor_bdnn.benchmark.escim.diagnosis import SCENARIOS, measure

    logging.getLogger("memristor_bdnn.accelerator.escim").setLevel(logging.CRITICAL)
    runs = [measure(seed) for seed in seeds]
    worst = [max(rows, key=lambda row: (not row.ok, row.seconds)) for rows in zip(*runs, strict=True)]
    show(
        f"faults of a laboratory, the slowest of {len(seeds)}: seconds until the driver names them",
        ["scenario", "seconds", "error", "as wanted"],
        [[row.scenario, row.seconds, row.error, "yes" if row.ok else "NO"] for row in worst],
    )
    for row in worst:
        print(f"{row.scenario}: {row.text or ('done' if row.ok else 'it went on without an error')}")
    return {
        "diagnosis": {row.scenario: dataclasses.asdict(row) for row in worst},
        "diagnosis_scenarios": len(SCENARIOS),
        "diagnosis_ok": all(row.ok for row in worst),
    }


def _rates(quick: bool, show: Callable[..., None]) -> dict[str, Any]:
    from memristor_bdnn.benchmark.escim.rates import measure

    figures = measure(rounds=3 if quick else 9)
    names = {"chip_reads_per_s": "whole-chip reads (1/s)", "pulses_per_s": "single pulses (1/s)"}
    show(
        "throughput on loopback, medians of interleaved rounds",
        ["operation", "protocol", "bare TCP", "share of limit"],
        [[text, figures[key], figures[f"{key}_limit"], figures[f"{key}_of_limit"]] for key, text in names.items()],
    )
    show(
        "what a learner sees",
        ["operation", "value"],
        [
            ["processor time of the driver for a chip read, us", figures["chip_reads_driver_cpu_us"]],
            ["processor time of the driver for a pulse, us", figures["pulses_driver_cpu_us"]],
            ["one sample of the weights (three chips), ms", figures["three_chips_ms"]],
            *[
                [f"masked update of {figures['update_cells']} cells, {way}, ms", figures[f"update_{way}_ms"]]
                for way in ("cell", "row", "column", "reset_target")
            ],
        ],
    )
    return figures


def _fuzz(inputs: int, show: Callable[..., None]) -> dict[str, Any]:
    from rich.progress import Progress

    from memristor_bdnn.emulator import fuzz

    start = time.process_time()
    with Progress(transient=True) as bar:
        task = bar.add_task("random inputs", total=inputs)
        result = fuzz.run(inputs, seed=0, progress=lambda done: bar.update(task, completed=done))
    figures: dict[str, Any] = {
        "fuzz_inputs": result.inputs,
        "fuzz_frames": result.frames,
        "fuzz_good_accepted": result.good_accepted,
        "fuzz_bad_accepted": result.bad_accepted,
        "fuzz_refused": result.refused,
        "fuzz_crashes": result.crashes,
        "fuzz_board_requests": result.board_requests,
        "fuzz_cpu_s": time.process_time() - start,
    }
    figures["fuzz_ok"] = result.crashes == 0 and result.bad_accepted == 0
    show("random and damaged bytes", ["figure", "value"], [[k.removeprefix("fuzz_"), v] for k, v in figures.items()])
    return figures
