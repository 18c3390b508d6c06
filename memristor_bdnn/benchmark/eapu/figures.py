"""Figures of the EaPU benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memristor_bdnn.report import style
from memristor_bdnn.report.style import BLUE, GREY, ORANGE


def write_figures(folder: Path, figures: Mapping[str, Any]) -> list[Path]:
    """Write eapu_sweep.png and eapu_pulses.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_sweep(folder / "eapu_sweep.png", figures), _pulses(folder / "eapu_pulses.png", figures)]


@style.drawn
def _sweep(path: Path, figures: Mapping[str, Any]) -> Path:
    worst = f"EaPU {figures['sweep_eapu_accuracy'][-1]:.2f}, Adam {figures['sweep_adam_accuracy'][-1]:.2f}"
    figure = style.slide(f"Writing errors: at the largest, {worst} of the digits right")
    left, right = figure.subplots(1, 2)
    sd = figures["sweep_sd_us"]
    left.plot(sd, figures["sweep_eapu_accuracy"], "o-", color=BLUE, label="EaPU(Adam)")
    left.plot(sd, figures["sweep_adam_accuracy"], "s-", color=ORANGE, label="Adam")
    left.axhline(figures["ideal_accuracy"], color=GREY, linestyle=":", label="Adam without error")
    left.set(xlabel="writing error SD (µS)", ylabel="test accuracy", ylim=(0, 1.02), title="Digits, 64-32-24-10")
    left.legend(loc="center right")
    names = ["no error", "EaPU", "Adam with error"]
    keys = ["autoencoder_ideal_ssim", "autoencoder_eapu_ssim", "autoencoder_adam_with_error_ssim"]
    bars = right.bar(names, [figures[k] for k in keys], color=[GREY, BLUE, ORANGE])
    right.bar_label(bars, fmt="%.3f")
    right.set(ylabel="SSIM", ylim=(0, 1), title="Denoising autoencoder, 135 weights")
    return style.save(figure, path)


@style.drawn
def _pulses(path: Path, figures: Mapping[str, Any]) -> Path:
    methods = sorted(figures["methods"].items(), key=lambda item: -item[1]["n_up"])
    fewest = methods[-1]
    figure = style.slide(f"{fewest[0]} needs fewest pulses: {fewest[1]['n_up']:.2g} per cell and iteration")
    axis = figure.subplots()
    values = [method["n_up"] for _, method in methods]
    colours = [BLUE if name.startswith("EaPU") else ORANGE for name, _ in methods]
    bars = axis.barh([name for name, _ in methods], values, color=colours)
    axis.bar_label(bars, [f"{m['n_up']:.2g} pulses, accuracy {m['accuracy']:.2f}" for _, m in methods], padding=4)
    axis.set_xscale("log")
    axis.set_xlim(min(values) / 3, max(values) * 100)
    axis.axvline(1, color=GREY, linestyle=":")
    axis.set(xlabel="N_up, pulses per cell and iteration", title="Programming methods, digits")
    return style.save(figure, path)
