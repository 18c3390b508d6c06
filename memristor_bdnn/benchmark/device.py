"""Rates of reads and single pulses, beside a plain per-cell loop and a naive vectorised version; memory; methods.

All three do the same work on the same devices: a read draws Laplace noise of scale b(I); a pulse draws the next
state from Normal(mu(I), sigma(I)^2) within the device's window, counts wear and current, and keeps b(I) up to date.
Times are process CPU times, the three versions interleaved.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from memristor_bdnn.errors import ConfigError

CELLS = 12_288
"""All cells of the three chips."""
FEW = 0.02
"""Share of the cells in a pulse on few of them."""
PUBLISHED_WRITE_VERIFY_PULSES = 66
"""Pulses per update of write-verify on the eapu_180nm array (error-aware probabilistic update paper)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beyond --out, --seeds, --quick."""
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or YAML file")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write JSON."""
    from memristor_bdnn.device import presets
    from memristor_bdnn.report.record import check_out, print_table, record, write_record

    check_out(args.out)
    preset = presets.load(args.preset)
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: at least 1")
    seeds = list(range(args.seeds if args.seeds is not None else 3))
    reads, pulses = (100, 1_000_000) if args.quick else (1000, 10_000_000)
    rates = [_rates(preset, seed, reads, pulses) for seed in seeds]
    figures: dict[str, Any] = {key: float(np.median([r[key] for r in rates])) for key in rates[0]}
    for kind in ("read", "pulse"):
        for other in ("loop", "naive"):
            ratios = [r[f"{kind}s_per_s"] / r[f"{other}_{kind}s_per_s"] for r in rates]
            figures[f"{kind}_speedup_over_{other}"] = float(np.median(ratios))
    figures["read_10_samples_ms"] = 1e3 * 10 * 9756 / figures["reads_per_s"]
    figures["pulse_all_us"], figures["pulse_few_us"] = (
        1e6 * CELLS / figures["pulses_per_s"],
        1e6 / figures["few_pulse_calls_per_s"],
    )
    figures.update(_memory(preset, 10_000 if args.quick else 100_000))
    print_table(
        f"{CELLS} cells read {reads} times and {pulses:,} single pulses, medians of {len(seeds)}",
        ["operation", "rate (1/s)", "plain loop (1/s)", "naive vectorised (1/s)", "over loop", "over naive"],
        [
            [f"{kind}s"]
            + [figures[f"{kind}s_per_s"], figures[f"loop_{kind}s_per_s"], figures[f"naive_{kind}s_per_s"]]
            + [f"{figures[f'{kind}_speedup_over_{other}']:.0f}x" for other in ("loop", "naive")]
            for kind in ("read", "pulse")
        ],
    )
    print(f"10 samples of the pouring network's 9,756 cells: {figures['read_10_samples_ms']:.2f} ms")
    every, few = figures["pulse_all_us"], figures["pulse_few_us"]
    print(f"one pulse: {every:.0f} us on all cells, {few:.0f} us on {FEW:.0%} of them")
    print(
        f"memory over {figures['memory_operations']:,} operations: "
        f"{figures['memory_growth_kib']:+.0f} KiB traced, {figures['resident_growth_kib']:+.0f} KiB resident"
    )
    methods = _methods(seeds[0])
    print_table(
        f"programming methods, eapu_180nm (published: write-verify takes {PUBLISHED_WRITE_VERIFY_PULSES} an update)",
        ["method", "pulses, small update", "pulses, any update", "reads, small", "error SD (uA), small", "operation"],
        [[m.name, m.pulses_small, m.pulses_any, m.reads_small, m.error_sd_ua, m.operation] for m in methods],
    )
    figures["programming"] = {m.name: dataclasses.asdict(m) for m in methods}
    figures["published_write_verify_pulses"] = PUBLISHED_WRITE_VERIFY_PULSES
    write_record(args.out, record(figures, seeds))
    return 0


def _rates(preset: Any, seed: int, reads: int, pulses: int) -> dict[str, float]:
    """Operations per CPU second of our version, the loop and the naive version, interleaved in five rounds."""
    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator

    ours = SimulatedAccelerator(preset, seed)
    ours.allocate(min(CELLS, ours.capacity))
    loop, naive = LoopChips(preset, 2000, seed), NaiveChips(preset, ours.n_cells, seed)
    rng = np.random.default_rng(seed)
    directions = [rng.choice(np.array([-1, 1], dtype=np.int8), ours.n_cells) for _ in range(4)]
    few = [d * (rng.random(ours.n_cells) < FEW) for d in directions]
    rounds = 5
    work: dict[str, tuple[Callable[[int], Any], int, int]] = {
        "reads_per_s": (lambda _: ours.read(10), ours.n_cells * 10, max(1, reads // 10 // rounds)),
        "loop_reads_per_s": (lambda _: loop.read(), loop.n, 5),
        "naive_reads_per_s": (lambda _: naive.read(10), ours.n_cells * 10, max(1, reads // 100)),
        "pulses_per_s": (lambda i: ours.pulse(directions[i % 4]), ours.n_cells, -(-pulses // ours.n_cells // rounds)),
        "few_pulse_calls_per_s": (lambda i: ours.pulse(few[i % 4]), 1, max(20, pulses // ours.n_cells // rounds)),
        "loop_pulses_per_s": (lambda i: loop.pulse(directions[i % 4][: loop.n]), loop.n, 5),
        "naive_pulses_per_s": (lambda i: naive.pulse(directions[i % 4]), ours.n_cells, 20),
    }
    done, spent = dict.fromkeys(work, 0), dict.fromkeys(work, 0.0)
    for _ in range(rounds):
        for name, (operation, size, repetitions) in work.items():
            operation(0)  # warm caches
            started = time.process_time()
            for i in range(repetitions):
                operation(i)
            spent[name] += time.process_time() - started
            done[name] += size * repetitions
    return {name: done[name] / max(spent[name], 1e-9) for name in work}


def _memory(preset: Any, operations: int) -> dict[str, float | int]:
    """Growth of traced and resident memory between the first and the last of many mixed operations."""
    import resource
    import tracemalloc

    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator

    chips = SimulatedAccelerator(preset, 0)
    chips.allocate(300)
    rng = np.random.default_rng(0)
    direction = rng.integers(-1, 2, 300).astype(np.int8)
    target = rng.uniform(preset.window_ua[0], preset.window_ua[1], 300)
    few = rng.random(300) < 0.02

    def operate(n: int) -> None:
        for i in range(n):
            if i % 50 == 0:
                chips.write_verify(target, few)
            elif i % 2:
                chips.pulse(direction)
            else:
                chips.read(2)

    operate(operations // 20)
    tracemalloc.start()
    before, resident = tracemalloc.get_traced_memory()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    operate(operations)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
    return {
        "memory_operations": operations,
        "memory_growth_kib": (after - before) / 1024,
        "resident_growth_kib": grown,
    }


@dataclass(frozen=True)
class Method:
    """One way to write new values: pulses and verify reads per update, and the error of small updates.

    A small update moves a target by up to 2 uA; any update draws a new target from the whole window.
    """

    name: str
    operation: str
    pulses_small: float
    pulses_any: float
    reads_small: float
    error_sd_ua: float


def _methods(seed: int) -> list[Method]:
    """Write-verify, memorial, two-pulse and sign-based updates of the same cells by the same random amounts."""
    cases = {
        "write-verify": ("incremental", "write_verify, incremental"),
        "memorial": ("memorial", "write_verify, memorial (the preset's)"),
        "two-pulse": ("memorial", "program: RESET and SET (SET alone upwards), unverified"),
        "sign-based": ("memorial", "pulse: one SET or RESET by the sign"),
    }
    found = []
    for name, (method, operation) in cases.items():
        small, reads, error = _update(name, method, seed, small=True)
        anywhere, _, _ = _update(name, method, seed, small=False)
        found.append(Method(name, operation, small, anywhere, reads, error))
    return found


def _update(
    name: str, method: str, seed: int, small: bool, n: int = 4000, rounds: int = 5
) -> tuple[float, float, float]:
    """Pulses and verify reads per update, and the SD of (state - target), over some rounds of updates."""
    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator
    from memristor_bdnn.device import presets

    chips = SimulatedAccelerator(
        presets.override(presets.load("eapu_180nm"), {"write_verify": {"method": method}}), seed
    )
    chips.allocate(n)
    rng = np.random.default_rng(seed)
    target = rng.uniform(4, 12, n)
    chips.write_verify(target)
    errors, before = [], chips.ledger.snapshot()
    for _ in range(rounds):
        target = np.clip(target + rng.uniform(-2, 2, n), 2, 14) if small else rng.uniform(0, 16, n)
        if name == "two-pulse":
            chips.program(target)
        elif name == "sign-based":
            chips.pulse(np.sign(target - chips.read()[0]).astype(np.int8))
        else:
            chips.write_verify(target)
        errors.append(chips.cells.state_ua[:n] - target)
    spent, updates = chips.ledger.since(before), n * rounds
    pulses = (spent["set_pulses"] + spent["reset_pulses"]) / updates
    return pulses, spent["verify_reads"] / updates, float(np.std(errors))


class LoopChips:
    """The comparison: one cell after another in plain Python, with a scalar random generator."""

    def __init__(self, preset: Any, n: int, seed: int) -> None:
        """n cells of the preset."""
        from memristor_bdnn.crossbar.cells import CellArray

        self.n, self.preset, self.rng = n, preset, np.random.default_rng(seed)
        self.cells = CellArray(preset, n, self.rng)
        self.wear, self.current_ua = np.zeros(n, dtype=np.int64), 0.0

    def read(self) -> Any:
        """One noisy read of every cell, shape (n,)."""
        noise, state, reads = self.preset.read_noise, self.cells.state_ua, np.empty(self.n)
        for i in range(self.n):
            current = state[i]
            scale = noise.constant_ua + noise.linear * current + noise.quadratic_per_ua * current**2
            reads[i] = max(self.rng.laplace(current, scale), noise.floor_ua)
        return reads

    def pulse(self, direction: Any) -> None:
        """One pulse on every cell with a direction."""
        cells, preset = self.cells, self.preset
        for i in range(self.n):
            if direction[i] == 0:
                continue
            state, low, high = cells.state_ua[i], cells.low_ua[i], cells.high_ua[i]
            self.wear[i] += 1
            self.current_ua += state
            if cells.stuck[i]:
                continue
            if direction[i] > 0:
                pulse, mean = preset.set_pulse, state + preset.set_pulse.fraction * max(high - state, 0.0)
            else:
                pulse, mean = preset.reset_pulse, state - preset.reset_pulse.fraction * max(state - low, 0.0)
            moved = self.rng.normal(mean, pulse.sd_constant_ua + pulse.sd_linear * state)
            cells.state_ua[i] = min(max(moved, min(low, state)), max(high, state))


class NaiveChips:
    """The comparison: the same formulas written down in NumPy without further thought (float64, all temporaries)."""

    def __init__(self, preset: Any, n: int, seed: int) -> None:
        """n cells of the preset."""
        from memristor_bdnn.crossbar.cells import CellArray

        self.preset, self.rng = preset, np.random.default_rng(seed)
        cells = CellArray(preset, n, self.rng)
        self.state, self.low, self.high = (a.astype(np.float64) for a in (cells.state_ua, cells.low_ua, cells.high_ua))
        self.stuck, self.wear, self.current_ua = cells.stuck, np.zeros(n, dtype=np.int64), 0.0

    def read(self, samples: int) -> Any:
        """Noisy reads, shape (samples, n)."""
        scale = self.preset.read_noise_scale_ua(self.state)
        reads = self.rng.laplace(self.state, scale, (samples, self.state.size))
        return np.maximum(reads, self.preset.read_noise.floor_ua)

    def pulse(self, direction: Any) -> None:
        """One pulse on every cell with a direction."""
        preset, state = self.preset, self.state
        mean = np.where(direction > 0, preset.set_mean_ua(state, self.high), preset.reset_mean_ua(state, self.low))
        sd = np.where(direction > 0, preset.set_sd_ua(state), preset.reset_sd_ua(state))
        moved = np.clip(self.rng.normal(mean, sd), np.minimum(self.low, state), np.maximum(self.high, state))
        self.current_ua += state[direction != 0].sum()
        self.wear[direction != 0] += 1
        self.state = np.where((direction != 0) & (self.stuck == 0), moved, state)
