"""Heartbeats: Metropolis-Hastings on memristor rows beside software, every person held out in turn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from memristor_bdnn.report import style
from memristor_bdnn.report.record import check_out, check_picture, print_table, record, write_record

PUBLISHED = 0.91
"""Median accuracy on one unnamed held-out person over 100 runs (Dalgaty et al. 2021)."""
SEEDS, QUICK_PEOPLE, TRAINING = 5, 6, 250
LABELS = {
    "mcmc": "MCMC 10-9-1 on rows",
    "perceptron": "perceptron",
    "mlp": "network 10-9-1",
    "constant": 'always "normal"',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside --out, --seeds and --quick."""
    parser.add_argument(
        "--data",
        required=True,
        metavar="FOLDER|FILE.npz",
        help="the MIT-BIH arrhythmia database (PhysioNet) as downloaded, read with wfdb; or an .npz file with x "
        "(beats, 10), symbol and record",
    )
    parser.add_argument("--training", type=int, default=TRAINING, help=f"beats to learn from (default {TRAINING})")
    parser.add_argument("--preset", default="leti_hfo2_oxram", help="device preset (default leti_hfo2_oxram)")
    parser.add_argument("--figure", metavar="PNG", help="picture of the accuracy on every person")


def run(args: argparse.Namespace) -> int:
    """Run everyone on every person, print the table, write the record and the picture."""
    import numpy as np

    from memristor_bdnn.benchmark.heartbeat import contest, data
    from memristor_bdnn.device import presets
    from memristor_bdnn.errors import ConfigError

    check_out(args.out)
    check_picture(args.figure, "--figure")
    seeds = (1 if args.quick else SEEDS) if args.seeds is None else args.seeds
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: allowed 1 and above")
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError("benchmark heartbeat compares with scikit-learn: pip install scikit-learn") from error
    preset, beats = presets.load(args.preset), data.load(args.data)
    fewest = min(int((beats.person != who).sum()) for who in beats.people)  # when the one with most is held out
    if not 2 <= args.training <= fewest:
        raise ConfigError(f"--training {args.training}: allowed 2 to {fewest}, the beats of all people but one")
    people = beats.people[:QUICK_PEOPLE] if args.quick else beats.people
    accuracy = {name: np.zeros((seeds, len(people))) for name in contest.METHODS}
    chains = []
    for seed in range(seeds):
        tasks = [contest.task(beats, who, args.training, seed) for who in people]
        chains.append(contest.on_rows(tasks, preset, seed))
        accuracy["mcmc"][seed] = chains[-1].accuracy
        for name in contest.METHODS[1:]:
            accuracy[name][seed] = [contest.in_software(name, one, seed) for one in tasks]
    figures = summary(accuracy, people)
    figures |= {
        "beats": len(beats.x),
        "training_beats": args.training,
        "preset": preset.name,
        "published_median_on_one_person": PUBLISHED,
        "results": figures["results"] | _costs(chains),
    }
    figures |= figures["results"]  # at the top, too, as the keys of benchmark mcmc
    _print(figures, len(people), seeds)
    if args.figure:
        print(f"wrote {draw(accuracy, people, Path(args.figure))}")
    write_record(args.out, record(figures, range(seeds)))
    return 0


def summary(accuracy: dict[str, Any], people: list[int]) -> dict[str, Any]:
    """results.<method>_{mean,median,lowest,highest,se}_accuracy over people, and the accuracy on every person.

    Accuracies (seeds, people); a person's is the mean over the seeds, and ``se`` is over people.
    """
    import numpy as np

    results: dict[str, Any] = {}
    for name, values in accuracy.items():
        each = values.mean(axis=0)
        results |= {
            f"{name}_mean_accuracy": float(each.mean()),
            f"{name}_median_accuracy": float(np.median(values)),
            f"{name}_lowest_accuracy": float(each.min()),
            f"{name}_highest_accuracy": float(each.max()),
            f"{name}_se_accuracy": float(each.std(ddof=1) / np.sqrt(len(each))),
            f"{name}_mean_by_seed": [float(v) for v in values.mean(axis=1)],
            f"{name}_median_by_seed": [float(v) for v in np.median(values, axis=1)],
        }
        if name != "mcmc":
            gap = accuracy["mcmc"].mean(axis=0) - each
            results[f"mcmc_minus_{name}"] = float(gap.mean())
            results[f"mcmc_minus_{name}_se"] = float(gap.std(ddof=1) / np.sqrt(len(gap)))
    by_person = {str(who): {n: float(v[:, k].mean()) for n, v in accuracy.items()} for k, who in enumerate(people)}
    return {"results": results, "by_person": by_person}


def _costs(chains: list[Any]) -> dict[str, float]:
    """What the chains needed, medians over people and seeds."""
    import numpy as np

    return {
        f"mcmc_{name}_median": float(np.median(np.concatenate([getattr(c, name) for c in chains])))
        for name in ("proposals", "filled", "operations")
    }


def _print(figures: dict[str, Any], people: int, seeds: int) -> None:
    """The table, the constant answer among the others, the published figure below."""
    found = figures["results"]
    rows = []
    for name, label in LABELS.items():
        values = [f"{found[f'{name}_{what}_accuracy']:.3f}" for what in ("median", "mean", "lowest", "highest")]
        gap = "-" if name == "mcmc" else f"{found[f'mcmc_minus_{name}']:+.3f} +- {found[f'mcmc_minus_{name}_se']:.3f}"
        rows.append([label, *values, gap])
    print_table(
        f"accuracy on the beats of a person held out: {people} people in turn, {figures['training_beats']} beats of "
        f"others, {seeds} seeds",
        ["method", "median", "mean", "lowest person", "highest", "MCMC minus it"],
        rows,
    )
    print(
        f"MCMC: {found['mcmc_filled_median']:.0f} rows filled in {found['mcmc_proposals_median']:.0f} proposals, "
        f"{found['mcmc_operations_median']:,.0f} SET and RESET operations (medians)"
    )
    print(f"published: median {PUBLISHED:.2f} on one held-out person who is not named; one person proves nothing here")


@style.drawn
def draw(accuracy: dict[str, Any], people: list[int], path: Path) -> Path:
    """The accuracy on every person, sorted by how many of the beats are normal; returns the path."""
    import numpy as np

    order = np.argsort(accuracy["constant"].mean(axis=0), kind="stable")
    figure = style.slide("Beats of people nobody learned from: most people are easy, some defeat everyone")
    axis = figure.subplots()
    looks = {"mcmc": ("o", style.BLUE), "mlp": ("s", style.ORANGE), "perceptron": ("^", style.GREY)}
    axis.bar(range(len(people)), accuracy["constant"].mean(axis=0)[order], color=style.FAINT, label=LABELS["constant"])
    for name, (marker, colour) in looks.items():
        values = accuracy[name].mean(axis=0)[order]
        median = np.median(accuracy[name])
        axis.plot(
            values, marker, color=colour, ms=8, label=f"{LABELS[name]}: median {median:.2f}, mean {values.mean():.2f}"
        )
    axis.set_xticks(range(len(people)), [str(people[k]) for k in order], rotation=90, fontsize=11)
    axis.set(
        xlabel="record of the person, by the share of normal beats",
        ylabel="accuracy, mean over seeds",
        xlim=(-0.8, len(people) - 0.2),
    )
    axis.axhline(PUBLISHED, color=style.BLUE, linestyle=":", lw=1.5, label=f"published median, one person: {PUBLISHED}")
    style.shares(axis)
    axis.grid(axis="x", visible=False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return style.save(figure, path)
