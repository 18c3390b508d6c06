"""Draws the pictures of docs/how_it_learns.md and prints their figures: `python docs/figures/posterior.py [folder]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator, learners, presets
from memristor_bdnn.learners.msgld.update import GradientScale, choose_pulses, mark

FloatArray = npt.NDArray[np.floating[Any]]

BLUE, RED, GREEN, GREY = "#1f5a94", "#c1440e", "#3b7a57", "#777777"
OFFSET_UA, SCALE_UA = 6.66, 1.1
"""Sum of three currents that means weight 0, and current per unit of weight, as published."""
INPUTS, ROWS, PRIOR_SD = 8, 60, 1.0
STEPS, SETTLED, EVALUATIONS, MARKED = 3000, 1000, 5, 0.25


def pyplot() -> Any:
    """Matplotlib that needs no screen, with letters for a slide."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 13, "axes.spines.top": False, "axes.spines.right": False})
    return plt


# -- from currents to predictions --------------------------------------------------------------


def ring() -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """200 points of a square, and whether each is inside a circle."""
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    return x, np.hypot(x[:, 0], x[:, 1]) < 0.7


def reads(path: Path) -> None:
    """One device over many reads, a weight of three, and what 400 reads of a network say about three points."""
    plt = pyplot()
    chips = accelerator.create("simulated", preset=presets.load("tsinghua_taox_hfox"), seed=0)
    chips.allocate(3)
    chips.write_verify(np.array([2.0, 2.6, 1.8]))
    currents = chips.read(20_000)
    weight = (currents.sum(axis=1) - OFFSET_UA) / SCALE_UA
    x, y = ring()
    # Every read sees the same cells: no samples of earlier epochs among those of a prediction.
    options = {"n_inputs": 2, "hidden": [24], "kl_layers": "none", "memory_samples": 0, "max_epochs": 60}
    learner = learners.create("msgld", accelerator.create("simulated", seed=1), options, seed=1)
    learner.fit(x, y)
    report = learner.learn(x, y)
    points = np.array([[0.55, 0.0], [0.66, 0.0], [0.75, 0.0]])
    said = learner.predict(points, samples=400)

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    axes[0].hist(currents[:, 0], 80, density=True, color=BLUE, alpha=0.8)
    axes[0].set(xlabel="read current (uA)", ylabel="density", title="one device, 20,000 reads")
    axes[1].hist(weight, 80, density=True, color=GREEN, alpha=0.8)
    axes[1].set(xlabel="weight", title="three devices: one weight")
    edges = np.linspace(0, 1, 41)
    for k, colour in enumerate((BLUE, RED, GREEN)):
        label = f"{points[k, 0]:.2f} from the middle"
        axes[2].hist(said.samples[:, k], edges, color=colour, alpha=0.7, label=label)
    axes[2].legend(frameon=False, loc="upper center")
    axes[2].set(xlabel="probability of being inside", ylabel="reads", title="400 reads of a network")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"one device: mean {currents[:, 0].mean():.3f} uA, SD {currents[:, 0].std():.3f} uA")
    print(f"one weight: mean {weight.mean():.3f}, SD {weight.std():.3f}")
    print(f"network: training accuracy {report.accuracy:.2f}; mean and SD of the probability")
    for point, mean, sd in zip(points, said.samples.mean(axis=0), said.samples.std(axis=0), strict=True):
        print(f"  {point}: {mean:.2f} {sd:.3f}")


# -- a weight under pulses ---------------------------------------------------------------------


def problem(rows: int = ROWS) -> tuple[FloatArray, FloatArray]:
    """Inputs (rows, d) and labels (rows,) of a logistic regression whose posterior can be sampled exactly."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, INPUTS))
    truth = rng.normal(scale=PRIOR_SD, size=INPUTS)
    return x, (rng.random(rows) < 1 / (1 + np.exp(-x @ truth))).astype(float)


def gradient(w: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Gradient of minus the log posterior at weights (k, d), shape (k, d)."""
    p = 1 / (1 + np.exp(-w @ x.T))
    return (p - y) @ x + w / PRIOR_SD**2


def metropolis(x: FloatArray, y: FloatArray, steps: int = 200_000) -> FloatArray:
    """The posterior as software samples it: random-walk Metropolis, every tenth of the last nine tenths."""
    rng = np.random.default_rng(0)

    def log_posterior(w: FloatArray) -> float:
        z = x @ w
        return float(y @ z - np.logaddexp(0, z).sum() - (w @ w) / (2 * PRIOR_SD**2))

    w, here, kept = np.zeros(INPUTS), log_posterior(np.zeros(INPUTS)), []
    for step in range(steps):
        proposed = w + 0.25 * rng.normal(size=INPUTS)
        there = log_posterior(proposed)
        if np.log(rng.random()) < there - here:
            w, here = proposed, there
        if step >= steps // 10 and step % 10 == 0:
            kept.append(w)
    return np.array(kept)


def in_situ(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """mSGLD on simulated devices: one read of all weights a step, the pulses given, and reads of the last state.

    Returns:
        weights (STEPS, d) and pulses (STEPS, d) of +1, -1 and 0, and 2,000 reads of the devices as they are at the end.
    """
    chips = accelerator.create("simulated", preset=presets.load("tsinghua_taox_hfox"), seed=0)
    chips.allocate(3 * INPUTS)
    chips.write_verify(np.full(3 * INPUTS, OFFSET_UA / 3))
    scale, rng = GradientScale(INPUTS, 0.9), np.random.default_rng(0)

    def read(samples: int) -> FloatArray:
        return (chips.read(samples).reshape(samples, INPUTS, 3).sum(axis=2) - OFFSET_UA) / SCALE_UA

    weights, given = np.zeros((STEPS, INPUTS)), np.zeros((STEPS, INPUTS))
    for step in range(STEPS):
        now = read(EVALUATIONS)
        slopes = gradient(now, x, y)
        marked = mark(scale.apply(slopes), MARKED, 0.5)
        weights[step] = now[0]
        for pulse in choose_pulses(-np.sign(slopes.mean(axis=0)), marked, np.ones(INPUTS), 3, 1, rng):
            chips.pulse(pulse)
            given[step] = pulse.reshape(INPUTS, 3).sum(axis=1)
    return weights, given, read(2000)


def pulses(path: Path) -> None:
    """One weight of eight under single pulses, beside its posterior; centres and widths of all eight."""
    plt = pyplot()
    x, y = problem()
    exact, (weights, given, frozen) = metropolis(x, y), in_situ(x, y)
    late, k = weights[SETTLED:], int(np.argmax(np.abs(exact.mean(axis=0))))
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained", width_ratios=(1.6, 0.8, 1))
    shown = np.arange(200)
    axes[0].plot(shown, weights[:200, k], color=GREY, lw=1)
    for sign, colour, name, shape in ((1, RED, "SET", "^"), (-1, BLUE, "RESET", "v")):
        at = shown[given[:200, k] == sign]
        axes[0].plot(at, weights[at, k], shape, color=colour, ms=7, label=name)
    low, high = np.quantile(exact[:, k], [0.025, 0.975])
    axes[0].axhspan(low, high, color=GREEN, alpha=0.15, label="95 % of the posterior")
    axes[0].set(xlabel="step", ylabel="weight", title="sign of the gradient: one pulse")
    axes[0].legend(frameon=False, loc="lower right", ncols=3)
    grid = np.linspace(min(late[:, k].min(), low - 0.5), max(late[:, k].max(), high + 0.5), 50)
    drawn = ((exact, GREEN, "posterior"), (late, RED, "devices, 2,000 steps"), (frozen, BLUE, "reads, no pulses"))
    for values, colour, name in drawn:
        axes[1].hist(
            values[:, k], grid, density=True, histtype="step", lw=2, color=colour, label=name, orientation="horizontal"
        )
    axes[1].set(xlabel="density", title="the same weight")
    axes[1].legend(frameon=False, fontsize=11, loc="lower right")
    names = np.arange(INPUTS)
    for values, colour, shift, name in ((exact, GREEN, -0.15, "posterior"), (late, RED, 0.15, "devices")):
        axes[2].errorbar(
            names + shift, values.mean(axis=0), values.std(axis=0), fmt="o", color=colour, label=name, capsize=3
        )
    axes[2].set(xlabel="weight number", title="all eight: mean and SD")
    axes[2].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    share = late.std(axis=0) / exact.std(axis=0)
    apart = np.abs(late.mean(axis=0) - exact.mean(axis=0)) / exact.std(axis=0)
    print(f"SD under pulses over posterior SD: median {np.median(share):.2f} ({share.min():.2f} to {share.max():.2f})")
    print(f"SD of reads alone over posterior SD: median {np.median(frozen.std(axis=0) / exact.std(axis=0)):.2f}")
    print(f"means apart, in posterior SD: median {np.median(apart):.2f}, largest {apart.max():.2f}")
    print(f"correlation of the means {np.corrcoef(late.mean(axis=0), exact.mean(axis=0))[0, 1]:.2f}")


def widths(path: Path) -> None:
    """SD of the weights against the number of labels: of the posterior, under pulses, and of reads alone."""
    plt = pyplot()
    labels, found = (8, 15, 30, 60, 120, 240, 480), []
    print("labels, SD of posterior, under pulses, of reads; correlation of the means")
    for rows in labels:
        x, y = problem(rows)
        exact, (weights, _, frozen) = metropolis(x, y, 100_000), in_situ(x, y)
        late = weights[SETTLED:]
        found.append([float(np.median(values.std(axis=0))) for values in (exact, late, frozen)])
        same = np.corrcoef(late.mean(axis=0), exact.mean(axis=0))[0, 1]
        print(f"  {rows:4d} {found[-1][0]:.2f} {found[-1][1]:.2f} {found[-1][2]:.2f}  {same:.3f}")
    figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    drawn = (("posterior", GREEN, "o"), ("devices under pulses", RED, "s"), ("reads, no pulses", BLUE, "^"))
    for k, (name, colour, shape) in enumerate(drawn):
        axes.plot(labels, [row[k] for row in found], shape + "-", color=colour, label=name)
    axes.set(xlabel="labels", ylabel="SD of a weight (median of 8)", xscale="log", ylim=(0, None))
    axes.set_xticks(labels, [str(n) for n in labels])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "images" / "posterior")
    target.mkdir(parents=True, exist_ok=True)
    reads(target / "reads.png")
    pulses(target / "pulses.png")
    widths(target / "widths.png")
