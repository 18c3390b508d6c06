"""Reproduce a published or a speed figure; each benchmark prints a table and writes JSON with --out."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

# name -> (module below memristor_bdnn.benchmark, help)
BENCHMARKS: dict[str, tuple[str, str]] = {
    "dbal": ("dbal.main", "active against passive learning on labelled trials of a skill"),
    "strategies": ("strategies.main", "failures while learning and the final skill, a row a strategy"),
    "stability": ("stability.main", "a learned skill over hours of noise, drift and read disturb, with remedies"),
    "decode": ("decode", "classify trials with a network read out of published chip states"),
    "classify": ("classify.main", "digits, iris, wine, breast cancer: learners on devices beside software"),
    "device": ("device", "rates of reads and pulses against plain loops"),
    "world": ("world", "simulated trials per second against a naive PyBullet set-up"),
    "planning": ("planning", "inverse kinematics, RRT-Connect and whole plans"),
    "escim": ("escim.main", "the board protocol against the emulator: throughput and faults"),
    "eapu": ("eapu.main", "error-aware probabilistic update against Adam with writing error"),
    "mcmc": ("mcmc.main", "Metropolis-Hastings on RRAM rows: breast cancer and cart-pole"),
    "heartbeat": ("heartbeat.main", "arrhythmic beats of people held out: MCMC on RRAM rows beside software"),
    "rl": ("rl.main", "reinforcement learning on devices: cart-pole, mountain car, gate slopes, write errors"),
    "faults": ("faults.main", "kills, hostile requests and damaged files: nothing lost, nothing wrongly believed"),
    "peers": ("peers.main", "our works beside those of every installed peer: ratios, and what the machine allows"),
    "growth": ("growth", "how time and memory grow with pool, labels, devices and workers"),
    "idle": ("idle", "what the four nodes cost while nobody asks anything"),
    "speed": ("speed", "prediction, in situ learning, trial and planning rates of the running system"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser per benchmark, each with --out, --seeds and --quick."""
    sub = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name, (_, text) in BENCHMARKS.items():
        child = sub.add_parser(name, help=text, description=text)
        child.add_argument("--out", metavar="FILE", help="write figures, seeds, versions and machine as JSON")
        child.add_argument("--seeds", type=int, default=None, help="number of repetitions with different seeds")
        child.add_argument("--quick", action="store_true", help="a small version that ends in a minute or two")
        _module(name).add_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Run the chosen benchmark."""
    return int(_module(args.benchmark).run(args))


def _module(name: str) -> Any:
    return importlib.import_module(f"memristor_bdnn.benchmark.{BENCHMARKS[name][0]}")
