"""Ours beside every peer that is installed, in one run: who is how much faster, and what the machine would allow.

CPU times of one process, ours and the peer's in turn, so that other work on the machine does not decide. A peer that is
absent, fails or takes too long is a row that says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from memristor_bdnn.benchmark.peers.measure import PEER_LIMIT_S, Machine, compare
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.report import record as common

WORKS = ("predict", "pulses", "active_run", "ik_single", "ik_batch", "rrt_open", "rrt_hard", "eapu_step")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--work, --arm-trials, --peer-limit."""
    parser.add_argument("--work", action="append", metavar="NAME", help=f"only these works, of {', '.join(WORKS)}")
    parser.add_argument(
        "--arm-trials", type=int, default=None, metavar="N", help="simulated trials with the arm (default 6; 0: none)"
    )
    parser.add_argument(
        "--peer-limit",
        type=float,
        default=PEER_LIMIT_S,
        metavar="S",
        help=f"CPU seconds after which a peer is given up (default {PEER_LIMIT_S:g})",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    common.check_out(args.out)
    wanted = args.work or list(WORKS)
    if unknown := [name for name in wanted if name not in WORKS]:
        raise ConfigError(f"--work {unknown[0]}: choose from {', '.join(WORKS)}")
    if not args.peer_limit > 0:
        raise ConfigError(f"--peer-limit {args.peer_limit}: seconds above 0")
    machine = Machine.measure()
    results: dict[str, Any] = {}
    for comparison in _comparisons(wanted, machine, args.quick):
        try:
            rows = {
                peer.name: compare(comparison.ours, peer, comparison.rounds, args.peer_limit)
                for peer in comparison.peers
            }
        finally:
            comparison.close()
        results[comparison.name] = rows
        _print(comparison, rows)
    works = dict(results)
    trials = args.arm_trials if args.arm_trials is not None else (2 if args.quick else 6)
    if trials:
        from memristor_bdnn.benchmark.speed import trial_figures

        results["arm_trials_per_cpu_s"] = trial_figures("panda", [0], trials)["arm_trials_per_cpu_s"]
        print(f"simulated trials with the arm: {results['arm_trials_per_cpu_s']:.3g} a CPU second")
    print(
        f"one core: {machine.flops / 1e9:.0f} GFLOP/s in float32, {1e9 * machine.bits_s:.2f} ns for 32 random bits, "
        f"{machine.bytes_s / 1e9:.1f} GB/s beyond the cache"
    )
    slower = [
        f"{work} {name} {row['ratio']:.2f}"
        for work, rows in works.items()
        for name, row in rows.items()
        if row.get("ratio", 1.0) < 1.0
    ]
    print("slower than:", ", ".join(slower) if slower else "none of those measured")
    limits = {"flops": machine.flops, "random_bits_s": machine.bits_s, "bytes_s": machine.bytes_s}
    figures = {"results": results, "limits": limits}
    common.write_record(args.out, common.record(figures, [0]))
    return 0


def _comparisons(wanted: list[str], machine: Machine, quick: bool) -> Iterator[Any]:
    """The works asked for, each made ready when its turn comes."""
    from memristor_bdnn.benchmark.peers import works

    makers: dict[str, Callable[[], list[Any]]] = {
        "predict": lambda: [works.predict(machine, quick)],
        "pulses": lambda: [works.pulses(machine, quick)],
        "active_run": lambda: [works.active_run(machine, quick)],
        "ik": lambda: [c for c in works.inverse_kinematics(machine, quick) if c.name in wanted],
        "rrt_open": lambda: [works.planning("open", quick)],
        "rrt_hard": lambda: [works.planning("hard", quick)],
        "eapu_step": lambda: [works.eapu_step(machine, quick)],
    }
    for name, make in makers.items():
        if name in wanted or (name == "ik" and {"ik_single", "ik_batch"} & set(wanted)):
            yield from make()


def _print(comparison: Any, rows: dict[str, dict[str, Any]]) -> None:
    """The table of one work."""
    limit = comparison.limit_s
    measured = [row for row in rows.values() if "ratio" in row]
    table = []
    for name, row in rows.items():
        label = f"{name} {row['version']}" if row["version"] else name
        if "ratio" not in row:
            table.append([label, "", "", row["status"], row["note"]])
            continue
        spread = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        shown = spread if row["status"] == "measured" else f"{spread}; {row['status']}"
        table.append([label, _ms(row["ours_s"]), _ms(row["peer_s"]), shown, row["note"]])
    common.print_table(
        f"{comparison.name}: {comparison.text}",
        ["peer", "ours (ms)", "peer (ms)", "peer over ours", "what the peer does"],
        table,
    )
    share = ""
    if limit is not None and measured:
        share = f"; the least is {_ms(limit)} ms, ours takes {measured[0]['ours_s'] / limit:.1f} times that"
    print(f"  bound by: {comparison.bound}{share}")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"
