"""MCMC on memristor rows: breast cancer, cart-pole, stuck devices, programming operations."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from memristor_bdnn.report.record import check_out, make_folder, print_table, record, write_record

PUBLISHED = {"cancer": 0.963, "cancer_network": 0.958, "cartpole": 484.0, "cartpole_dqn": 420.0}


@dataclass(frozen=True)
class Plan:
    """How much to run: repetitions and sizes of the full or the quick version."""

    runs: int = 100
    rows: int = 256
    patience: int = 300
    faults_runs: int = 30
    network_runs: int = 10
    network_proposals: int = 30_000
    backpropagation_runs: int = 5
    trainings: int = 10
    cartpole_rows: int = 512
    episodes: int = 100
    agents: int = 3
    dqn_steps: int = 20_000


QUICK = Plan(
    runs=20,
    patience=50,
    faults_runs=10,
    network_runs=4,
    network_proposals=4000,
    backpropagation_runs=2,
    trainings=4,
    cartpole_rows=192,
    episodes=20,
    agents=1,
    dqn_steps=4000,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside --out, --seeds (number of breast-cancer runs) and --quick."""
    parser.add_argument("--preset", default="leti_hfo2_oxram", help="device preset (default leti_hfo2_oxram)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default 0)")
    parser.add_argument("--figures", metavar="DIR", help="write the figures as PNG files into this folder")


def run(args: argparse.Namespace) -> int:
    """Run every part, print the tables, write the record and the figures."""
    import torch

    from memristor_bdnn.device import presets

    check_out(args.out)
    make_folder(args.figures, "--figures")
    torch.set_num_threads(1)
    plan = QUICK if args.quick else Plan()
    if args.seeds:
        plan = replace(plan, runs=args.seeds)
    preset = presets.load(args.preset)
    figures: dict[str, Any] = {"preset": preset.name}
    for part in (cancer_part, network_part, faults_part, operations_part, cartpole_part):
        started, busy = time.perf_counter(), time.process_time()
        figures.update(part(plan, preset, args.seed, figures))
        spent = time.perf_counter() - started
        figures[f"{part.__name__}_s"] = spent
        busy = time.process_time() - busy
        print(f"({part.__name__.removesuffix('_part')}: {spent:.0f} s, {busy:.0f} s of processor)\n")
    if args.figures:
        from memristor_bdnn.benchmark.mcmc.figures import write_figures

        write_figures(Path(args.figures), figures)
    write_record(args.out, record(figures, range(args.seed, args.seed + plan.runs)))
    return 0


def cancer_part(plan: Plan, preset: Any, seed: int, figures: dict[str, Any]) -> dict[str, Any]:
    """Breast cancer on 256x16 and 96x16 arrays."""
    from memristor_bdnn.benchmark.mcmc.tasks import cancer_runs
    from memristor_bdnn.learners.mcmc.rows import ChainConfig

    started = time.perf_counter()
    config = ChainConfig(rows=plan.rows, patience=plan.patience)
    accuracy, posterior = cancer_runs(preset, config, plan.runs, seed)
    taken = time.perf_counter() - started
    small, fewer = cancer_runs(preset, replace(config, rows=96, burn_in=12), plan.runs, seed + 1)
    rows = [
        (
            f"{r} rows x 16",
            published,
            float(np.median(a)),
            float(a.mean()),
            float(a.min()),
            float(a.max()),
            int(np.median(p.proposals)),
            int(np.median(p.accepted)),
        )
        for r, published, a, p in ((plan.rows, "0.963", accuracy, posterior), (96, "-", small, fewer))
    ]
    print_table(
        f"Breast cancer, test accuracy of {plan.runs} arrays, each with its own split (369 + 200 rows)",
        ("array", "published", "median", "mean", "lowest", "highest", "proposals", "rows accepted"),
        rows,
    )
    print(f"{plan.runs} runs of {plan.rows}x16 took {taken:.1f} s")
    return {
        "cancer_median_accuracy": rows[0][2],
        "cancer_mean_accuracy": rows[0][3],
        "cancer_small_median_accuracy": rows[1][2],
        "cancer_proposals": rows[0][6],
        "cancer_operations": int(np.median(posterior.operations)),
        "cancer_seconds": taken,
        "cancer_accuracies": accuracy.tolist(),
        "cancer_small_accuracies": small.tolist(),
    }


def network_part(plan: Plan, preset: Any, seed: int, figures: dict[str, Any]) -> dict[str, Any]:
    """The 10-9-1 network of 198 devices a model, a tenth of the pairs anew in each proposal."""
    from memristor_bdnn.benchmark.mcmc.tasks import BernoulliData, cancer_split
    from memristor_bdnn.learners.mcmc.models import Network, posterior_mean
    from memristor_bdnn.learners.mcmc.rows import ChainConfig, RowArrays, run_chains

    model = Network(9, 0.1)
    config = ChainConfig(rows=128, burn_in=32, max_proposals=plan.network_proposals, patience=plan.patience)
    splits = [cancer_split(seed * 100_000 + k, 10) for k in range(plan.network_runs)]
    arrays = RowArrays(preset, plan.network_runs, config.rows, model.parameters(10), np.random.default_rng(seed))
    data = BernoulliData(model, np.stack([s.x_train for s in splits]), np.stack([s.y_train for s in splits]))
    posterior = run_chains(arrays, data, config, share=0.1)
    mean = posterior_mean(model, posterior, np.stack([s.x_test for s in splits]).astype(np.float32))
    accuracy = ((mean > 0.5) == (np.stack([s.y_test for s in splits]) > 0.5)).mean(axis=1)
    share = float((posterior.accepted / posterior.proposals).mean())
    print_table(
        "Network 10-9-1 (198 devices a model) on the ten best features",
        ("runs", "median accuracy", "lowest", "proposals accepted"),
        [(plan.network_runs, float(np.median(accuracy)), float(accuracy.min()), share)],
    )
    return {"network_median_accuracy": float(np.median(accuracy)), "network_acceptance": share}


def faults_part(plan: Plan, preset: Any, seed: int, figures: dict[str, Any]) -> dict[str, Any]:
    """Stuck devices, half low, half high, that nobody maps out."""
    from memristor_bdnn.benchmark.mcmc.tasks import cancer_runs
    from memristor_bdnn.learners.mcmc.rows import ChainConfig

    config = ChainConfig(rows=plan.rows, patience=plan.patience)
    rows = []
    for stuck in (0.0, 0.01, 0.02, 0.05, 0.10):
        accuracy, posterior = cancer_runs(preset, config, plan.faults_runs, seed, stuck=stuck)
        rows.append((stuck, float(np.median(accuracy)), float(accuracy.min()), int(np.median(posterior.accepted))))
    print_table(
        f"Stuck devices, median of {plan.faults_runs} (published: holds at the error rates of 1e7 cycles)",
        ("share stuck", "accuracy", "lowest", "rows accepted"),
        rows,
    )
    return {"stuck_curve": [{"stuck": row[0], "accuracy": row[1], "lowest": row[2]} for row in rows]}


def operations_part(plan: Plan, preset: Any, seed: int, figures: dict[str, Any]) -> dict[str, Any]:
    """Programming operations of MCMC against backpropagation in as much memory, and in one row."""
    from memristor_bdnn.benchmark.mcmc.tasks import backpropagation

    reach = figures["cancer_median_accuracy"]
    rows: list[tuple[Any, ...]] = [("MCMC, 256x16", reach, figures["cancer_operations"], 1.0)]
    found = {}
    for name, hidden in (("backpropagation, 16-240-1, as much memory", 240), ("backpropagation, one logistic row", 0)):
        runs = [backpropagation(seed * 100_000 + k, hidden) for k in range(plan.backpropagation_runs)]
        best = float(np.median([r.accuracy[-1] for r in runs]))
        operations = float(np.median([r.operations_to(min(reach, float(r.accuracy.max()))) for r in runs]))
        rows.append((name, best, int(operations), operations / figures["cancer_operations"]))
        found[hidden] = (best, operations)
    print_table(
        "SET and RESET operations (devices) until MCMC's accuracy or the best of the run (published network: 0.958)",
        ("method", "accuracy at the end", "operations", "against MCMC"),
        rows,
    )
    return {
        "backpropagation_accuracy": found[240][0],
        "backpropagation_operations": found[240][1],
        "backpropagation_row_operations": found[0][1],
        "operations_ratio": found[240][1] / figures["cancer_operations"],
    }


def cartpole_part(plan: Plan, preset: Any, seed: int, figures: dict[str, Any]) -> dict[str, Any]:
    """Cart-pole on two arrays, tested in gymnasium, beside a small deep Q-network."""
    from memristor_bdnn.benchmark.mcmc import cartpole
    from memristor_bdnn.benchmark.mcmc.tasks import DeepQ, test_policy

    config = cartpole.CartPoleConfig(rows=plan.cartpole_rows)
    posterior = cartpole.train(preset, config, plan.trainings, np.random.default_rng(seed))
    rewards = [
        test_policy(cartpole.Policy(posterior, k, config.scale_per_us), plan.episodes, seed + k)
        for k in range(plan.trainings)
    ]
    agents = DeepQ(plan.agents, seed)
    agents.train(plan.dqn_steps)
    others = [test_policy(agents.policy(k), plan.episodes, seed + k) for k in range(plan.agents)]
    print_table(
        f"Cart-pole, mean reward of {plan.episodes} gymnasium episodes (500 is the most)",
        ("method", "published", "trainings", "median", "lowest", "highest", "training episodes"),
        [
            (
                f"MCMC, two arrays {config.rows}x4",
                484.0,
                plan.trainings,
                float(np.median(rewards)),
                min(rewards),
                max(rewards),
                int(np.median(posterior.proposals)),
            ),
            (
                "deep Q-network, 4-48-48-2",
                420.0,
                plan.agents,
                float(np.median(others)),
                min(others),
                max(others),
                f"{plan.dqn_steps} steps",
            ),
        ],
    )
    return {
        "cartpole_median_reward": float(np.median(rewards)),
        "cartpole_rewards": rewards,
        "cartpole_dqn_median_reward": float(np.median(others)),
        "cartpole_dqn_rewards": others,
        "cartpole_training_episodes": int(np.median(posterior.proposals)),
        "cartpole_operations": int(np.median(posterior.operations)),
    }
