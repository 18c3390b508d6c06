"""Classify trials with the network found in published chip states: the check of layout, weights and scaling."""

from __future__ import annotations

import argparse

# The network was trained with 6.9 uA; writing lowered the currents, and the
# offset was set to 6.66 uA for the chips as measured.
READ_OFFSET_UA, TARGET_OFFSET_UA, SCALE_UA = 6.66, 6.9, 1.1
ROWS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmark."""
    parser.add_argument("--data", required=True, metavar="NPZ", help="chip states: target_ua, read_ua (3, 128, 32)")
    parser.add_argument("--dataset", required=True, metavar="NPZ", help="labelled trials: x_pool, score_pool")


def run(args: argparse.Namespace) -> int:
    """Decode the chips and print how many of the first 64 pool rows are classified right."""
    import numpy as np

    from memristor_bdnn.benchmark.dbal.data import load_trials
    from memristor_bdnn.errors import ConfigError
    from memristor_bdnn.network.bayesian import BayesianNetwork
    from memristor_bdnn.network.scaling import InputScaler
    from memristor_bdnn.report.record import check_out, print_table, record, write_record
    from memristor_bdnn.state import check_array, load_npz

    check_out(args.out)
    chips = load_npz(args.data)
    trials = load_trials(args.dataset)
    x, truth = trials.x_pool[:ROWS], trials.score_pool[:ROWS] > 0
    scaled = InputScaler.fit(x)(x)
    figures: dict[str, float] = {}
    for key, name, offset in (
        ("read_accuracy", "read_ua", READ_OFFSET_UA),
        ("target_accuracy", "target_ua", TARGET_OFFSET_UA),
    ):
        network = BayesianNetwork(offset=offset, scale=SCALE_UA)
        if name not in chips:
            raise ConfigError(f"{args.data}: no array {name}; expected target_ua and read_ua")
        check_array(f"{args.data}: {name}", chips[name], kinds="fiu")
        currents = np.asarray(chips[name], dtype=np.float64).ravel()
        if currents.size < network.n_cells or not np.isfinite(currents).all():
            raise ConfigError(
                f"{args.data}: {name} has {currents.size} cells; {network.n_cells} finite currents are needed"
            )
        said = network.forward(scaled, currents[None, : network.n_cells])[0] > 0.5
        figures[key] = float((said == truth).mean())
    unused = np.asarray(chips["target_ua"]).ravel()[BayesianNetwork().n_cells :]
    figures["unused_cells"] = int(unused.size)
    rows = [
        ["measured reads", READ_OFFSET_UA, figures["read_accuracy"]],
        ["targets", TARGET_OFFSET_UA, figures["target_accuracy"]],
    ]
    print_table(f"first {ROWS} pool rows, decoded network", ["currents", "offset uA", "accuracy"], rows)
    write_record(args.out, record(figures, []))
    return 0
