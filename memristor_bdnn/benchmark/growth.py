"""How time and memory grow with the pool, the labels, the devices and the workers: exponents of power laws.

The exponent is the slope of log CPU time over log size, by least squares over the larger half of the sizes; 1 is
linear. Memory is the largest growth of the resident set of a fresh process. More workers share fixed work: their CPU
time should stay, so its exponent should be near 0.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from memristor_bdnn.report import record as common
from memristor_bdnn.skills import workers as parallel

Sizes = tuple[int, ...]
SIZES: dict[str, tuple[Sizes, Sizes]] = {
    "pool": ((1_000, 10_000, 100_000, 1_000_000), (1_000, 4_000, 16_000)),
    "labels": ((64, 128, 256, 512, 1024, 2048, 4096), (64, 256, 1024)),
    "reads": ((10_000, 100_000, 1_000_000, 10_000_000), (10_000, 40_000, 160_000)),
    "pulses": ((10_000, 100_000, 1_000_000, 10_000_000), (10_000, 40_000, 160_000)),
    "workers": ((1, 2, 4), (1, 2)),
}
"""What grows: sizes in full, and with --quick."""
TEXT = {
    "pool": "rows asked for the next question, recipe pouring, labels known",
    "labels": "labels in one in situ learning call, recipe pouring",
    "reads": "cells read once",
    "pulses": "cells pulsed once, all of them",
    "workers": "processes that share eight runs of 64 labels",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--only names what grows."""
    parser.add_argument("--only", action="append", choices=tuple(SIZES), help="measure only this, may be repeated")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    common.check_out(args.out)
    results: dict[str, Any] = {}
    for name in args.only or SIZES:
        sizes = SIZES[name][1 if args.quick else 0]
        measured = [_measured(name, size) for size in sizes]
        seconds = [m["seconds"] for m in measured]
        results[name] = {
            "sizes": list(sizes),
            "seconds": seconds,
            "memory_gib": [m["memory_gib"] for m in measured],
            "clock_s": [m["clock_s"] for m in measured],
            "exponent": exponent(list(sizes), seconds),
        }
        rows = [
            [f"{size:,}", 1e3 * m["seconds"], _each(name, size, m["seconds"]), m["memory_gib"], m["clock_s"]]
            for size, m in zip(sizes, measured, strict=True)
        ]
        common.print_table(
            f"{name}: {TEXT[name]}", ["size", "CPU (ms)", "CPU (ns) a piece", "memory (GiB)", "on the clock (s)"], rows
        )
        print(f"  exponent {results[name]['exponent']:.2f} over the larger half")
    common.write_record(args.out, common.record({"results": results}, [0]))
    return 0


def _each(name: str, size: int, seconds: float) -> Any:
    """Nanoseconds a row, label or cell; workers share the same work."""
    return "" if name == "workers" else 1e9 * seconds / size


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log sizes, least squares over the larger half of the sizes (at least two)."""
    first = min(len(sizes) // 2, len(sizes) - 2)
    return float(np.polyfit(np.log(sizes[first:]), np.log(seconds[first:]), 1)[0])


def _measured(name: str, size: int) -> dict[str, float]:
    """One size in a fresh process, whose memory is that of nobody else; workers are made from this one."""
    if name == "workers":
        return _workers(size)
    found = list(parallel.results(measure, [(name, size), (name, size)], 2))
    runs = [result for _, result in found]
    return {key: min(r[key] for r in runs) for key in runs[0]}


def measure(name: str, size: int) -> dict[str, float]:
    """``seconds`` of CPU time (median of three after a first), ``clock_s``, and ``memory_gib`` grown by all of it."""
    work = {"pool": _pool, "labels": _labels, "reads": _reads, "pulses": _pulses}[name](size)
    before = _peak_gib()
    work()
    seconds, clock = [], []
    calls = max(1, math.ceil(0.02 * 1e8 / max(size, 1) / 1e2)) if name in ("reads", "pulses") else 1
    for _ in range(3):
        began, started = time.process_time(), time.perf_counter()
        for _ in range(calls):
            work()
        seconds.append((time.process_time() - began) / calls)
        clock.append((time.perf_counter() - started) / calls)
    return {
        "seconds": float(np.median(seconds)),
        "clock_s": float(np.median(clock)),
        "memory_gib": _peak_gib() - before,
    }


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _learner(labels: int) -> tuple[Any, Any, Any]:
    """A learner by the recipe that has seen 64 labels, and so many inputs and labels."""
    from memristor_bdnn import accelerator, skills
    from memristor_bdnn.active import recipes

    rng = np.random.default_rng(0)
    learner = recipes.make(skills.load("pouring"), "msgld", accelerator.create("simulated", seed=0), "pouring", {}, 0)
    x = rng.uniform(-1, 1, (max(labels, 64), learner.n_inputs))
    y = (np.sin(3 * x[:, 0]) + x[:, 1] > 0).astype(float)
    learner.fit(x[:64], y[:64])
    learner.learn(x[:64], y[:64])
    return learner, x[:labels], y[:labels]


def _pool(rows: int) -> Callable[[], Any]:
    from memristor_bdnn.acquisitions.scores import straddle

    learner, _, _ = _learner(64)
    x = np.random.default_rng(1).uniform(-1, 1, (rows, learner.n_inputs))
    return lambda: learner.shortlist(x, 10, lambda prediction, _: straddle(prediction))


def _labels(labels: int) -> Callable[[], Any]:
    learner, x, y = _learner(labels)
    return lambda: learner.learn(x, y)


def _chips(cells: int) -> Any:
    import dataclasses

    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
    from memristor_bdnn.device import presets

    preset = presets.load("tsinghua_taox_hfox")
    chips = SimulatedAccelerator(dataclasses.replace(preset, chips=-(-cells // (preset.rows * preset.columns))), 0)
    chips.allocate(cells)
    return chips


def _reads(cells: int) -> Callable[[], Any]:
    chips = _chips(cells)
    return lambda: chips.read(1)


def _pulses(cells: int) -> Callable[[], Any]:
    chips = _chips(cells)
    direction = np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.int8), cells)
    return lambda: chips.pulse(direction)


def _workers(count: int) -> dict[str, float]:
    """Eight runs of 64 labels shared by some processes: their CPU time together, and the time on the clock."""
    started = time.perf_counter()
    pieces = [(seed,) for seed in range(8)]
    if count == 1:
        found = [one_run(*piece) for piece in pieces]
    else:
        found = [result for _, result in parallel.results(one_run, pieces, count)]
    return {
        "seconds": float(sum(r["seconds"] for r in found)),
        "clock_s": time.perf_counter() - started,
        "memory_gib": float(max(r["memory_gib"] for r in found)),
    }


def one_run(seed: int) -> dict[str, float]:
    """A learner made, fitted and asked."""
    before, began = _peak_gib(), time.process_time()
    learner, x, _ = _learner(64)
    for _ in range(10):
        learner.predict(x, 10)
    return {"seconds": time.process_time() - began, "memory_gib": _peak_gib() - before}
