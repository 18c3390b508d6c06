"""Reproduce a published or a speed figure; each benchmark prints a table and writes JSON with --out."""

from __future__ import annotations

import argparse
import importlib

# name -> help; the module is memristor_bdnn.benchmark.<name>
BENCHMARKS = {
    "dbal": "active against passive learning on labelled pouring trials",
    "decode": "classify trials with a network read out of published chip states",
    "device": "rates of reads and pulses against plain loops",
    "world": "simulated trials per second against a naive PyBullet set-up",
    "planning": "inverse kinematics, RRT-Connect and whole pour plans",
    "escim": "the board protocol against the emulator: throughput and faults",
    "eapu": "error-aware probabilistic update against Adam with writing error",
    "mcmc": "Metropolis-Hastings on RRAM rows: breast cancer and cart-pole",
    "speed": "prediction, in situ learning, trial and planning rates of the running system",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser per benchmark, each with --out, --seeds and --quick."""
    sub = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name, text in BENCHMARKS.items():
        child = sub.add_parser(name, help=text, description=text)
        child.add_argument("--out", metavar="FILE", help="write figures, seeds, versions and machine as JSON")
        child.add_argument("--seeds", type=int, default=None, help="number of repetitions with different seeds")
        child.add_argument("--quick", action="store_true", help="a small version that ends in under a minute")
        module = importlib.import_module(f"memristor_bdnn.benchmark.{name}")
        module.add_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Run the chosen benchmark."""
    return int(importlib.import_module(f"memristor_bdnn.benchmark.{args.benchmark}").run(args))
