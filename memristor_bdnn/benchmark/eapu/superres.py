"""Super-resolution by two with the published 1-6-3-1 network, and denoising, on digits and on photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from memristor_bdnn.benchmark.eapu import pictures, tasks
from memristor_bdnn.benchmark.eapu.pictures import Pictures
from memristor_bdnn.benchmark.eapu.tasks import Trained, Wrap, bare, on, ssim
from memristor_bdnn.learners.eapu.cells import EapuDevice, reference_column_cells
from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU
from memristor_bdnn.report import style
from memristor_bdnn.report.record import print_table

BATCHES, BATCH, RATE = 400, 64, 5e-3
PUBLISHED = {"ideal": 0.958, "eapu": 0.933}
"""SSIM of super-resolution in software, and on the array (EaPU paper)."""
NOISE_SD = 0.15
SOURCES: dict[str, Callable[[int], Pictures]] = {"digits": pictures.digits, "photographs": pictures.photographs}
LAYERS = [(9, 6), (24, 12), (27, 1)]
"""Inputs and outputs of each layer on the array: by its stride of two the transposed 4x4 kernel is four of 2x2."""
METHODS = ("ideal", "eapu", "adam_with_error")


def network() -> nn.Module:
    """Convolutions 1-6-3-1 (3x3, transposed 4x4 of stride 2, 3x3): 54 + 288 + 27 = 369 weights in 396 cells."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 1, 3, padding=1),
        nn.Sigmoid(),
    )


def halved(images: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 1, h, w) of half the side: means over 2x2 pixels."""
    return functional.avg_pool2d(images, 2)


def bicubic(small: torch.Tensor) -> torch.Tensor:
    """Pictures enlarged by two without learning."""
    return functional.interpolate(small, scale_factor=2, mode="bicubic").clamp(0.0, 1.0)


def train(
    make: Callable[[], nn.Module],
    data: Pictures,
    spoil: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
    seed: int,
    wrap: Wrap,
    batches: int = BATCHES,
) -> tuple[Trained, nn.Module]:
    """Learn to undo what spoils a picture, with the L1 loss; the score is the SSIM on the test pictures."""
    generator = torch.Generator().manual_seed(seed)
    model = tasks.build(seed, make)
    optimizer = wrap(torch.optim.Adam(model.parameters(), lr=RATE, fused=True))
    for _ in range(batches):
        clean = data.train[torch.randint(len(data.train), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        functional.l1_loss(model(spoil(clean, generator)), clean).backward()
        optimizer.step()
    with torch.no_grad():
        restored = model(spoil(data.test, torch.Generator().manual_seed(seed + 1)))
    return Trained.of(ssim(restored, data.test), optimizer), model


def smaller(clean: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    """Half the side."""
    return halved(clean)


def noisy(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise, SD 0.15."""
    return clean + NOISE_SD * torch.randn(clean.shape, generator=generator)


def wraps(device: EapuDevice, seed: int) -> dict[str, Wrap]:
    """The three ways of training."""
    return {"ideal": bare, "eapu": on(EaPU, device, seed), "adam_with_error": on(DeviceOptimizer, device, seed)}


def part(seeds: int, batches: int, device: EapuDevice) -> dict[str, Any]:
    """Super-resolution and denoising on both kinds of pictures, medians over seeds; prints the tables."""
    found: dict[str, Any] = {"superres": {}, "denoising": {}}
    jobs: dict[str, tuple[Callable[[], nn.Module], Callable[..., torch.Tensor], Callable[[Pictures], torch.Tensor]]] = {
        "superres": (network, smaller, lambda data: bicubic(halved(data.test))),
        "denoising": (tasks.autoencoder, noisy, lambda data: noisy(data.test, torch.Generator().manual_seed(1))),
    }
    for job, (make, spoil, beside) in jobs.items():
        for name, source in SOURCES.items():
            scores: dict[str, list[Trained]] = {method: [] for method in METHODS}
            for seed in range(seeds):
                data = source(seed)
                for method, wrap in wraps(device, seed).items():
                    scores[method].append(train(make, data, spoil, seed, wrap, batches)[0])
            found[job][name] = summary(scores, ssim(beside(data), data.test), data.source)
    found["superres"]["cells"] = reference_column_cells(LAYERS)
    _print(found, device, seeds)
    return found


def summary(scores: dict[str, list[Trained]], beside: float, source: str) -> dict[str, Any]:
    """Medians, every seed, and the SSIM of what is done without learning (bicubic, or left as it is)."""
    made: dict[str, Any] = {"pictures": source, "unlearned_ssim": beside}
    for method, runs in scores.items():
        made[f"{method}_ssim"] = tasks.median([r.score for r in runs])
        made[f"{method}_ssims"] = [r.score for r in runs]
    made["updated_share"] = tasks.median([r.r_up for r in scores["eapu"]])
    return made


def _print(found: dict[str, Any], device: EapuDevice, seeds: int) -> None:
    error = f"{device.writing_sd_us:g} uS error"
    for job, title, beside in (
        ("superres", "Super-resolution x2, 369 weights in 396 cells", "bicubic, nothing learned"),
        ("denoising", f"Denoising, noise SD {NOISE_SD:g}, 135 weights in 162 cells", "left as it is"),
    ):
        columns = list(SOURCES)
        names = {
            "ideal_ssim": "Adam, no error",
            "eapu_ssim": f"EaPU, {error}",
            "adam_with_error_ssim": f"Adam, {error}",
            "unlearned_ssim": beside,
        }
        published = {"ideal_ssim": PUBLISHED["ideal"], "eapu_ssim": PUBLISHED["eapu"]} if job == "superres" else {}
        rows = [
            (label, published.get(key, "-"), *(f"{found[job][c][key]:.3f}" for c in columns))
            for key, label in names.items()
        ]
        print_table(f"{title}, SSIM, medians of {seeds} seeds", ("method", "published (MNIST)", *columns), rows)
    print(f"photographs: {found['superres']['photographs']['pictures']}")


@style.drawn
def draw(folder: Path, device: EapuDevice, batches: int) -> Path:
    """Write eapu_superres.png: two pictures of each kind, as they are, halved, and as each way enlarges them."""
    heads = ["picture", "halved", "bicubic", "Adam, no error", "EaPU, error", "Adam, error"]
    figure = style.slide(
        f"Enlarged by Adam and by EaPU with a writing error of {device.writing_sd_us:g} uS (SSIM above each)",
        (12.8, 9.2),
    )
    axes = figure.subplots(4, len(heads))
    for k, source in enumerate(SOURCES.values()):
        data = source(0)
        models = [train(network, data, smaller, 0, wrap, batches)[1] for wrap in wraps(device, 0).values()]
        busy = data.test.std(dim=(1, 2, 3)).argsort()
        for j, index in enumerate(busy[[int(0.7 * len(busy)), int(0.9 * len(busy))]].tolist()):
            clean = data.test[index : index + 1]
            small = halved(clean)
            with torch.no_grad():
                shown = [clean, small, bicubic(small), *(model(small) for model in models)]
            for axis, head, image in zip(axes[2 * k + j], heads, shown, strict=True):
                axis.imshow(image[0, 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                score = f", {ssim(image, clean):.2f}" if image.shape == clean.shape and image is not clean else ""
                axis.set_title(f"{head}{score}", fontsize=12, fontweight="normal", loc="center")
                axis.axis("off")
    return style.save(figure, folder / "eapu_superres.png")
