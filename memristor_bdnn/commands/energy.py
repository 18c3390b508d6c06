"""Energy and latency of one full learning task on the chips, against a CPU and a GPU.

Runs active learning (64 labels, then queries one by one) on the simulated chips, counts every operation, and prices
the same work on each platform. Every assumption is printed; the published comparison stands beside ours.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.crossbar.ledger import Ledger
from memristor_bdnn.crossbar.pricing import Work
from memristor_bdnn.device.presets import DevicePreset
from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]
INITIAL_LABELS = 64
SHIPPED = "shipped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; every assumption about a platform is one."""
    from memristor_bdnn.crossbar.pricing import PlatformAssumptions

    parser.add_argument("--queries", type=int, default=64, help="queries after the 64 initial labels")
    parser.add_argument("--candidates", type=int, default=10_000, help="candidates scored per query")
    parser.add_argument(
        "--data",
        metavar="NPZ",
        help="labelled trials (x_pool, score_pool), or `shipped`: the default skill's; default: synthetic ones",
    )
    parser.add_argument("--preset", default="tsinghua_taox_hfox", help="device preset or YAML file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", metavar="JSON", help="write figures and assumptions as JSON")
    parser.add_argument("--figure", metavar="PNG", help="picture of where energy and time go, with every number used")
    parser.add_argument("--quick", action="store_true", help="4 queries, 1,000 candidates")
    parser.add_argument(
        "--torch-device",
        metavar="DEVICE",
        help="measure the GPU's part with torch on this device (cuda) instead of assuming it",
    )
    for field in dataclasses.fields(PlatformAssumptions):
        unit = f" ({field.metadata['unit']})" if field.metadata["unit"] else ""
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['doc']}{unit}; default {field.default}",
        )


def run(args: argparse.Namespace) -> int:
    """Run the task, print the comparison and the assumptions, write JSON."""
    from memristor_bdnn.config import build
    from memristor_bdnn.crossbar import pricing
    from memristor_bdnn.device import presets
    from memristor_bdnn.report.record import check_out, check_picture, print_table, record, write_record

    check_out(args.out)
    check_picture(args.figure, "--figure")
    if args.quick:
        args.queries, args.candidates = min(args.queries, 4), min(args.candidates, 1000)
    if args.queries < 1 or args.candidates < 1:
        raise ConfigError(f"--queries {args.queries}, --candidates {args.candidates}: at least 1 each")
    names = [field.name for field in dataclasses.fields(pricing.PlatformAssumptions)]
    assumptions = build(pricing.PlatformAssumptions, {name: getattr(args, name) for name in names})
    preset = presets.load(args.preset)
    x, y = _labelled(args.data, INITIAL_LABELS + args.candidates, args.seed)
    if len(x) < INITIAL_LABELS + args.queries:
        raise ConfigError(
            f"{len(x)} labelled rows: {INITIAL_LABELS} initial labels and --queries {args.queries} need"
            f" {INITIAL_LABELS + args.queries}; raise --candidates"
        )
    measured = _measured(args, preset)
    task = measure_task(preset, x, y, args.queries, args.seed)
    n_cells = task.ledger.wear.size
    costs = pricing.digital_costs(task.work, assumptions, measured)
    gpu = costs[-1]
    costs += pricing.memristor_costs(task.work, task.ledger, preset, n_cells, assumptions)
    comparisons = [pricing.against(gpu, cost) for cost in costs]
    break_even = pricing.break_even_read_time_s(task.ledger, preset, n_cells, gpu.time_s)
    ledgers = {"queries": task.ledger.summary(), "deployment": task.deployment.summary()}
    title = f"{args.queries} queries of {args.candidates} candidates after {INITIAL_LABELS} labels, without deployment"
    _print_costs(title, comparisons)
    fields = ["reads", "verify_reads", "set_pulses", "reset_pulses", "device_energy_j", "system_energy_j", "latency_s"]
    print_table(
        "ledger (periphery as on the board)",
        ["count", "queries", "deployment by write-verify"],
        [[f, ledgers["queries"][f], ledgers["deployment"][f]] for f in fields],
    )
    phases = [(task.training, task.deployment), (task.work, task.ledger)]
    whole = pricing.breakdowns(phases, preset, n_cells, assumptions, measured)
    _print_parts(whole)
    listed = pricing.assumption_rows(preset, assumptions)
    print_table("every number used", ["number", "value", "unit", "source"], listed)
    if break_even is None:
        print("The chips alone would not reach the GPU's time at any read time: their pulses take longer.")
    else:
        print(f"The chips alone would be as fast as the GPU at {break_even * 1e9:.3g} ns per read, chips in parallel.")
    figures = {
        "platforms": {c.platform: dataclasses.asdict(c) for c in comparisons},
        "break_even_read_time_s": break_even,
        "ledger": ledgers,
        "ledger_by_query": task.by_query,
        "work": dataclasses.asdict(task.work),
        "work_of_training": dataclasses.asdict(task.training),
        "whole_task": {of.platform: dataclasses.asdict(of) for of in whole},
        "published_speed_gain_percent": pricing.PUBLISHED_SPEED_GAIN_PERCENT,
        "published_energy_ratio": pricing.PUBLISHED_ENERGY_RATIO,
        "labels": {None: "synthetic", SHIPPED: SHIPPED}.get(args.data, "file"),
        "assumptions": [dict(zip(("number", "value", "unit", "source"), row, strict=True)) for row in listed],
    }
    if args.figure:
        from pathlib import Path

        from memristor_bdnn.report.energy_figures import draw

        title = f"A whole learning task: {INITIAL_LABELS} labels ex situ, deployment, {args.queries} queries of"
        print(f"wrote {draw(whole, listed, f'{title} {len(x) - INITIAL_LABELS:,} candidates', Path(args.figure))}")
    write_record(args.out, record(figures, [args.seed]))
    return 0


def _print_parts(whole: list[Any]) -> None:
    """Where energy and time of the whole task go, a row a part and a column a platform; chips with their host only."""
    from memristor_bdnn.report.record import print_table

    shown = [of for of in whole if not of.platform.startswith("chips,")]
    for title, unit, parts in (("energy", "J", "energy_j"), ("time", "s", "time_s")):
        names = list(dict.fromkeys(name for of in shown for name in getattr(of, parts)))
        rows: list[list[Any]] = [[name, *(getattr(of, parts).get(name, "-") for of in shown)] for name in names]
        rows.append(["sum", *(sum(getattr(of, parts).values()) for of in shown)])
        heads = [of.platform.replace("chips + host, ", "chips + host,\n") for of in shown]
        print_table(f"{title} ({unit}) of the whole task: ex situ training, deployment, queries", ["", *heads], rows)


def _measured(args: argparse.Namespace, preset: DevicePreset) -> tuple[float, float] | None:
    """Seconds of a step and of a prediction, measured where a torch device was named."""
    if args.torch_device is None:
        return None
    from memristor_bdnn.crossbar.digital_platform import measure

    labels = INITIAL_LABELS + args.queries // 2
    times = measure(preset, args.torch_device, labels=labels, candidates=args.candidates)
    print(f"{times.device}: {1e3 * times.step_s:.3f} ms a step, {1e3 * times.predict_s:.3f} ms a prediction")
    return times.step_s, times.predict_s


def _print_costs(title: str, comparisons: list[Any]) -> None:
    from memristor_bdnn.crossbar import pricing
    from memristor_bdnn.report.record import print_table

    rows: list[list[Any]] = [
        [c.platform, c.time_s, c.energy_j, f"{c.speed_gain_percent:+.1f} %", c.energy_ratio, c.basis]
        for c in comparisons
    ]
    rows.append(
        [
            "published",
            "-",
            "-",
            f"{pricing.PUBLISHED_SPEED_GAIN_PERCENT:+.0f} %",
            pricing.PUBLISHED_ENERGY_RATIO,
            "abstract; its assumptions are not known here",
        ]
    )
    print_table(title, ["platform", "time (s)", "energy (J)", "faster than GPU", "less energy (x)", "basis"], rows)


@dataclasses.dataclass(frozen=True)
class Task:
    """A measured learning task: the work of the queries with their ledger, of each query and of all.

    ``training`` is the work of ex situ training on the first labels, ``deployment`` the ledger of writing it.
    """

    work: Work
    ledger: Ledger
    training: Work
    deployment: Ledger
    by_query: list[dict[str, float | int]]


def measure_task(preset: DevicePreset, x: FloatArray, y: FloatArray, queries: int, seed: int) -> Task:
    """Active learning on labelled rows, timed and counted.

    Args:
        preset: the devices.
        x: inputs (n, features); the first 64 rows are the initial labels, the others the candidates.
        y: labels (n,) in [0, 1].
        queries: queries one by one, the highest straddle score first.
        seed: of devices and learner.
    """
    from memristor_bdnn import accelerator, learners
    from memristor_bdnn.acquisitions.scores import straddle

    chips = TimedAccelerator(accelerator.create("simulated", preset=preset, seed=seed))
    learner = learners.create("msgld", chips, None, seed)
    rng = np.random.default_rng(seed)
    chosen = np.arange(INITIAL_LABELS)
    started, weights = time.process_time(), chips.n_cells / getattr(learner.config, "devices_per_weight", 3)
    fitted = learner.fit(x[chosen], y[chosen])
    # What simulating write-verify takes is no work of a digital platform.
    host_s = time.process_time() - started - chips.seconds
    seen = 3.0 * fitted.epochs * learner.config.ex_situ.reads * len(chosen)
    training = Work(fitted.epochs, 0, seen * weights, host_s, 0.0)
    # Ex situ training is the same on every platform: what is compared starts with the first query.
    deployment, chips.inner.ledger = chips.ledger, Ledger(preset, chips.n_cells)
    chips.seconds, started = 0.0, time.process_time()
    steps, evaluations, by_query = 0, 0.0, []
    reads = getattr(learner.config, "reads", 10)
    for query in range(queries):
        before, left = chips.ledger.snapshot(), np.setdiff1d(np.arange(len(x)), chosen)
        prediction = learner.predict(x[left])
        best = left[int(np.argmax(straddle(prediction, rng)))]
        chosen = np.append(chosen, best)
        report = learner.learn(x[chosen], y[chosen])
        steps += report.epochs
        evaluations += len(left) * len(prediction.samples) + 3.0 * report.epochs * reads * len(chosen)
        by_query.append(chips.ledger.since(before))
        print(f"query {query + 1}/{queries}: {report.epochs} epochs, accuracy {report.accuracy:.3f}", flush=True)
    total = time.process_time() - started
    work = Work(steps, queries, evaluations * weights, total - chips.seconds, chips.seconds)
    return Task(work, chips.ledger, training, deployment, by_query)


class TimedAccelerator:
    """An accelerator that measures the CPU time spent in it; everything else passes through."""

    def __init__(self, inner: Any) -> None:
        """Wrap ``inner``."""
        self.inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        """Attributes of the accelerator; its operations timed."""
        value = getattr(self.inner, name)
        if name not in ("read", "pulse", "write_verify", "program"):
            return value

        def timed(*args: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return value(*args, **options)
            finally:
                self.seconds += time.process_time() - started

        return timed


def _labelled(path: str | None, n: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """n labelled rows: trials of a file or those that ship, or points of a random smooth function on 11 inputs."""
    if path == SHIPPED:
        from memristor_bdnn import skills

        pool = skills.load(skills.DEFAULT).pool()
        return pool.x[:n], pool.y[:n]
    if path is not None:
        from memristor_bdnn.state import check_array, load_npz

        arrays = load_npz(path)
        for name in ("x_pool", "score_pool"):
            if name not in arrays:
                raise ConfigError(f"{path}: no array {name!r}; found {', '.join(arrays) or 'nothing'}")
            check_array(f"{path}: {name}", arrays[name], kinds="fiu")
        return arrays["x_pool"][:n], (arrays["score_pool"][:n] > 0).astype(np.float64)
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 11))
    hidden = np.tanh(x @ rng.standard_normal((11, 8)) + rng.standard_normal(8))
    return x, (hidden @ rng.standard_normal(8) + 0.3 * rng.standard_normal(n) > 0).astype(np.float64)
