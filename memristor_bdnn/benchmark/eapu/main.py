"""EaPU against the same optimiser with writing error: digits, faults, pictures, programming methods, speed."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.report.record import check_out, make_folder, print_table, record, write_record

if TYPE_CHECKING:
    from memristor_bdnn.learners.eapu.cells import EapuDevice

SWEEP_US = (0.0, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0)
SWEEP_QUICK_US = (0.0, 2.0, 8.0, 16.0)


@dataclass(frozen=True)
class Plan:
    """How much to run: repetitions and lengths of the full or the quick version."""

    seeds: int = 5
    epochs: int = 100
    sweep_us: tuple[float, ...] = SWEEP_US
    sweep_seeds: int = 2
    faults_seeds: int = 3
    images_seeds: int = 3
    batches: int = 1100
    methods_seeds: int = 1
    pictures_seeds: int = 3
    picture_batches: int = 400


QUICK = Plan(
    seeds=2,
    epochs=25,
    sweep_us=SWEEP_QUICK_US,
    sweep_seeds=1,
    faults_seeds=1,
    images_seeds=1,
    batches=200,
    pictures_seeds=1,
    picture_batches=100,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside --out, --seeds and --quick."""
    parser.add_argument("--sd", type=float, default=2.0, metavar="US", help="writing error SD, uS (default 2)")
    parser.add_argument(
        "--only", action="append", choices=tuple(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}; all"
    )
    parser.add_argument(
        "--data", choices=("cifar10",), help="train a small residual network on a folder of yours instead"
    )
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        help="for --data: the binary version of CIFAR-10, or train/CLASS/*.png and test/CLASS/*.png of 32x32 pixels",
    )
    parser.add_argument("--epochs", type=int, help="for --data (default 30, with --quick 2)")
    parser.add_argument("--blocks", type=int, help="for --data: blocks a stage, ResNet-8 (1, the default) to -20 (3)")
    parser.add_argument("--figures", metavar="DIR", help="write the figures as PNG files into this folder")


def run(args: argparse.Namespace) -> int:
    """Run every part, print the tables, write the record and the figures."""
    import torch

    from memristor_bdnn.learners.eapu.cells import EapuDevice

    check_out(args.out)
    _check_data(args)
    make_folder(args.figures, "--figures")
    torch.set_num_threads(1)
    plan = QUICK if args.quick else Plan()
    if args.seeds:
        plan = replace(plan, seeds=args.seeds)
    device = EapuDevice(writing_sd_us=args.sd)
    figures: dict[str, Any] = {"writing_sd_us": args.sd}
    if args.data:
        from memristor_bdnn.benchmark.eapu import cifar

        epochs = args.epochs or (2 if args.quick else 30)
        figures["results"] = cifar.part(args.root, args.seeds or 1, epochs, args.blocks or 1, device)
        write_record(args.out, record(figures, range(args.seeds or 1)))
        return 0
    for name in dict.fromkeys(args.only or PARTS):
        started = time.process_time()
        figures.update(PARTS[name](plan, device))
        print(f"({name}: {time.process_time() - started:.0f} s of processor time)\n")
    if args.figures:
        _draw(Path(args.figures), figures, plan, device)
    write_record(args.out, record(figures, range(plan.seeds)))
    return 0


def _check_data(args: argparse.Namespace) -> None:
    """Refuse options that would be ignored: those of --data without it, and those of the parts with it."""
    if (args.data is None) != (args.root is None):
        raise ConfigError("--data and --root belong together: --data cifar10 --root FOLDER")
    for name in ("epochs", "blocks"):
        given = getattr(args, name)
        if given is not None and args.data is None:
            raise ConfigError(f"--{name} {given} is for --data: give --data cifar10 --root FOLDER, or leave it out")
        if given is not None and given < 1:
            raise ConfigError(f"--{name} {given}: allowed 1 and above")
    for name in ("only", "figures"):
        if args.data and getattr(args, name):
            raise ConfigError(f"--{name} is of the parts, which --data replaces: leave one of them out")


def _draw(folder: Path, figures: dict[str, Any], plan: Plan, device: EapuDevice) -> None:
    """Write the pictures of the parts that were run."""
    from memristor_bdnn.benchmark.eapu import superres
    from memristor_bdnn.benchmark.eapu.figures import write_figures

    if {"sweep_sd_us", "autoencoder_ideal_ssim", "methods"} <= set(figures):
        write_figures(folder, figures)
    else:
        print("eapu_sweep.png and eapu_pulses.png are not drawn: they need the parts sweep, autoencoder and methods")
    if "superres" in figures:
        print(f"wrote {superres.draw(folder, device, plan.picture_batches)}")


def digits_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """Digits 64-32-24-10: Adam without error, Adam with error, EaPU with error."""
    from memristor_bdnn.benchmark.eapu.tasks import bare, median, on, train_digits
    from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU

    seeds = range(plan.seeds)
    ideal = [train_digits(s, bare, plan.epochs) for s in seeds]
    plain = [train_digits(s, on(DeviceOptimizer, device, s), plan.epochs) for s in seeds]
    eapu = [train_digits(s, on(EaPU, device, s), plan.epochs) for s in seeds]
    rows = [
        (
            name,
            published,
            median([t.score for t in runs]),
            min(t.score for t in runs),
            max(t.score for t in runs),
            median([t.r_up for t in runs]),
        )
        for name, published, runs in (
            ("Adam, no error", "-", ideal),
            (f"Adam, {device.writing_sd_us:g} uS error", "fails", plain),
            (f"EaPU, {device.writing_sd_us:g} uS error", "as without error", eapu),
        )
    ]
    print_table(
        f"Digits, 64-32-24-10, test accuracy of {plan.seeds} seeds",
        ("method", "published (ResNet)", "median", "lowest", "highest", "cells updated"),
        rows,
    )
    return {
        "ideal_accuracy": rows[0][2],
        "adam_with_error_accuracy": rows[1][2],
        "eapu_accuracy": rows[2][2],
        "updated_share": rows[2][5],
        "ideal_accuracies": [t.score for t in ideal],
        "adam_with_error_accuracies": [t.score for t in plain],
        "eapu_accuracies": [t.score for t in eapu],
    }


def sweep_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """The same training over the SD of the writing error."""
    from memristor_bdnn.benchmark.eapu.tasks import median, on, train_digits
    from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU

    curve: dict[str, list[float]] = {"adam": [], "eapu": [], "share": []}
    for sd in plan.sweep_us:
        cell = replace(device, writing_sd_us=sd)
        runs = range(plan.sweep_seeds)
        plain = [train_digits(s, on(DeviceOptimizer, cell, s), plan.epochs) for s in runs]
        eapu = [train_digits(s, on(EaPU, cell, s), plan.epochs) for s in runs]
        curve["adam"].append(median([t.score for t in plain]))
        curve["eapu"].append(median([t.score for t in eapu]))
        curve["share"].append(median([t.r_up for t in eapu]))
    print_table(
        f"Over the writing error, median of {plan.sweep_seeds} seeds (published: about 80 % at 16 uS, ResNet34)",
        ("error SD, uS", "Adam", "EaPU", "EaPU cells updated"),
        list(zip(plan.sweep_us, curve["adam"], curve["eapu"], curve["share"], strict=True)),
    )
    return {
        "sweep_sd_us": list(plan.sweep_us),
        "sweep_adam_accuracy": curve["adam"],
        "sweep_eapu_accuracy": curve["eapu"],
        "sweep_updated_share": curve["share"],
    }


def faults_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """EaPU with stuck cells that nobody maps out."""
    from memristor_bdnn.benchmark.eapu.tasks import median, on, train_digits
    from memristor_bdnn.learners.eapu.optimizer import EaPU

    rows = []
    for low, high in ((0.0, 0.0), (0.05, 0.01), (0.10, 0.02), (0.20, 0.04)):
        cell = replace(device, stuck_off=low, stuck_on=high)
        runs = [train_digits(s, on(EaPU, cell, s), plan.epochs) for s in range(plan.faults_seeds)]
        rows.append((f"{low:.0%} off, {high:.0%} on", median([t.score for t in runs]), low, high))
    print_table(
        f"Stuck cells, median of {plan.faults_seeds} (published, ResNet34: training accuracy 85 % at 10 % off, 2 % on)",
        ("faults", "EaPU accuracy"),
        [row[:2] for row in rows],
    )
    return {
        "stuck_accuracy": rows[2][1],
        "stuck_curve": [{"stuck_off": low, "stuck_on": high, "accuracy": score} for _, score, low, high in rows],
    }


def autoencoder_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """Denoising autoencoder 1-3-3-1: SSIM without error, with error, with EaPU."""
    from memristor_bdnn.benchmark.eapu.tasks import bare, median, on, train_autoencoder
    from memristor_bdnn.learners.eapu.cells import reference_column_cells
    from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU

    seeds = range(plan.images_seeds)
    ideal = median([train_autoencoder(s, bare, plan.batches).score for s in seeds])
    plain = median([train_autoencoder(s, on(DeviceOptimizer, device, s), plan.batches).score for s in seeds])
    eapu = median([train_autoencoder(s, on(EaPU, device, s), plan.batches).score for s in seeds])
    cells = reference_column_cells([(9, 3), (27, 3), (27, 1)])
    print_table(
        f"Denoising autoencoder, 135 weights in {cells} cells, SSIM, median of {plan.images_seeds} seeds",
        ("method", "published (MNIST)", "SSIM", "against no error"),
        [
            ("Adam, no error", 0.869, ideal, 1.0),
            (f"EaPU, {device.writing_sd_us:g} uS error", 0.896, eapu, eapu / ideal),
            (f"Adam, {device.writing_sd_us:g} uS error", "80 % lower", plain, plain / ideal),
        ],
    )
    return {
        "autoencoder_ideal_ssim": ideal,
        "autoencoder_eapu_ssim": eapu,
        "autoencoder_adam_with_error_ssim": plain,
        "autoencoder_cells": cells,
    }


def methods_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """Programming methods: pulses per cell and iteration, and what accuracy they buy."""
    from memristor_bdnn.benchmark.eapu.tasks import median, on, train_digits
    from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU, SignUpdate

    table = (
        ("Adam, write-verify", DeviceOptimizer, "write-verify"),
        ("Adam, two-pulse", DeviceOptimizer, "two-pulse"),
        ("sign-based", SignUpdate, "sign-based"),
        ("Adam, memorial", DeviceOptimizer, "memorial"),
        ("EaPU, write-verify", EaPU, "write-verify"),
        ("EaPU, two-pulse", EaPU, "two-pulse"),
        ("EaPU, memorial", EaPU, "memorial"),
    )
    rows, found = [], {}
    for name, cls, method in table:
        doomed = cls is DeviceOptimizer
        epochs = max(plan.epochs // 4, 5) if doomed else plan.epochs
        seeds = range(plan.methods_seeds)
        runs = [train_digits(s, on(cls, device, s, method), epochs) for s in seeds]
        # Plain Adam soon drives the units to where no gradient is left to write: count its pulses while it trains.
        counted = [train_digits(s, on(cls, device, s, method), 2) for s in seeds] if doomed else runs
        scores, n_up = median([t.score for t in runs]), median([t.n_up for t in counted])
        rows.append((name, n_up, median([t.r_up for t in counted]), median([t.per_update for t in counted]), scores))
        found[name] = {"n_up": n_up, "r_up": rows[-1][2], "pulses_per_update": rows[-1][3], "accuracy": scores}
    print_table(
        "Programming methods on digits (published: write-verify 66 pulses an update; EaPU with memorial below 1)",
        ("method", "N_up, pulses/cell/iteration", "R_up", "pulses/update", "accuracy"),
        rows,
    )
    return {
        "methods": found,
        "n_up_write_verify": found["Adam, write-verify"]["n_up"],
        "n_up_two_pulse": found["Adam, two-pulse"]["n_up"],
        "n_up_sign_based": found["sign-based"]["n_up"],
        "n_up_eapu_memorial": found["EaPU, memorial"]["n_up"],
    }


def superres_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """Super-resolution and denoising of digits and photographs."""
    from memristor_bdnn.benchmark.eapu import superres

    found = superres.part(plan.pictures_seeds, plan.picture_batches, device)
    return {**found, "results": found}


def speed_part(plan: Plan, device: EapuDevice) -> dict[str, Any]:
    """Time of one optimiser step: EaPU around Adam against the same Adam alone, interleaved."""
    from memristor_bdnn.benchmark.eapu.speed import MILLION, step_times

    steps = 60 if plan.epochs < 100 else 150
    rows = []
    for widths in ((64, 32, 24, 10), (64, 256, 256, 10), MILLION, (784, 1000, 500, 10)):
        cells = sum(a * b for a, b in itertools.pairwise(widths))
        plain, eapu = step_times(widths, device, steps)
        rows.append(("-".join(map(str, widths)), cells, plain * 1e6, eapu * 1e6, eapu / plain))
    print_table(
        "One step, torch's default Adam, one thread", ("network", "cells", "Adam, us", "EaPU(Adam), us", "ratio"), rows
    )
    fused = step_times(MILLION, device, steps, fused=True)
    print(f"Both with fused=True, a million cells: {fused[0] * 1e6:.0f} and {fused[1] * 1e6:.0f} us\n")
    ratios = {row[0]: row[-1] for row in rows}
    return {
        "step_ratio": max(ratios.values()),
        "step_ratios": ratios,
        "step_ratio_million": rows[2][-1],
        "step_ratio_million_fused": fused[1] / fused[0],
    }


PARTS: dict[str, Callable[[Plan, EapuDevice], dict[str, Any]]] = {
    "digits": digits_part,
    "sweep": sweep_part,
    "faults": faults_part,
    "autoencoder": autoencoder_part,
    "superres": superres_part,
    "methods": methods_part,
    "speed": speed_part,
}
