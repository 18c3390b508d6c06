"""A CIFAR folder of the user's, and a small residual network: the published table for whoever has the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from memristor_bdnn.archives import read_file
from memristor_bdnn.benchmark.eapu.tasks import Trained, Wrap, bare, build, on
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu.cells import EapuDevice
from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU
from memristor_bdnn.report.record import print_table

SIDE, CHANNELS, CLASSES = 32, 3, 10
RECORD = 1 + CHANNELS * SIDE * SIDE
"""Bytes of a picture in the binary version: its class, then the channels, row by row."""
TRAINING = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST = "test_batch.bin"
MOST = 200_000
"""Pictures that a folder may hold."""


@dataclass(frozen=True)
class Photographs:
    """Pictures (n, 3, 32, 32) of bytes and classes (n,) to learn from, and those of the test."""

    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


def load(root: str | Path) -> Photographs:
    """CIFAR-10 in a folder: its binary version (``data_batch_1.bin``, ...), or folders of pictures by class.

    The Python version of the files is pickled, and nothing pickled is ever loaded.

    Raises:
        ConfigError: no such folder, none of the two forms in it, or damaged.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ConfigError(f"--root {root}: no such folder")
    if (folder / "cifar-10-batches-bin").is_dir():
        folder = folder / "cifar-10-batches-bin"
    if (folder / TEST).exists():
        parts = [_binary(folder / name) for name in TRAINING if (folder / name).exists()]
        if not parts:
            raise ConfigError(f"--root {root}: {TEST} is there, but none of {', '.join(TRAINING)}")
        x, y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        return _photographs((x, y), _binary(folder / TEST))
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        classes = sorted(p.name for p in (folder / "train").iterdir() if p.is_dir())
        return _photographs(_folder(folder / "train", classes), _folder(folder / "test", classes))
    pickled = " (the Python version is pickled and not loaded: take the binary one)" if _pickled(folder) else ""
    raise ConfigError(
        f"--root {root}: expected {TEST} and {TRAINING[0]} ..., or train/CLASS/*.png and test/CLASS/*.png{pickled}"
    )


def _pickled(folder: Path) -> bool:
    return (folder / "data_batch_1").exists() or (folder / "cifar-10-batches-py").exists()


def _photographs(train: tuple[Any, Any], test: tuple[Any, Any]) -> Photographs:
    return Photographs(*(torch.from_numpy(array) for array in (*train, *test)))


def _binary(path: Path) -> tuple[Any, Any]:
    """Pictures and classes of one file of the binary version."""
    content = read_file(path)
    if not content or len(content) % RECORD:
        raise ConfigError(
            f"{path} has {len(content)} bytes: expected a multiple of {RECORD}, a byte of class a picture"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if (worst := int(rows[:, 0].max())) >= CLASSES:
        raise ConfigError(f"{path}: class {worst} of picture {int(rows[:, 0].argmax())}: allowed 0 to {CLASSES - 1}")
    return rows[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE).copy(), rows[:, 0].astype(np.int64)


def _folder(folder: Path, classes: list[str]) -> tuple[Any, Any]:
    """Pictures of a folder of folders, one a class."""
    from PIL import Image, UnidentifiedImageError

    if not 2 <= len(classes) <= CLASSES:
        raise ConfigError(f"{folder}: {len(classes)} classes, expected 2 to {CLASSES} folders")
    found = [(path, k) for k, name in enumerate(classes) for path in sorted((folder / name).glob("*.png"))]
    if not 1 <= len(found) <= MOST:
        raise ConfigError(f"{folder}: {len(found)} pictures CLASS/*.png, expected 1 to {MOST}")
    x = np.empty((len(found), CHANNELS, SIDE, SIDE), np.uint8)
    for k, (path, _) in enumerate(found):
        try:
            with Image.open(path) as image:
                if image.size != (SIDE, SIDE):
                    raise ConfigError(f"{path} has {image.size[0]}x{image.size[1]} pixels: expected {SIDE}x{SIDE}")
                x[k] = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
        except (UnidentifiedImageError, OSError) as error:
            raise ConfigError(f"{path} is no picture: {error}") from error
    return x, np.array([label for _, label in found], np.int64)


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added (He et al. 2016), with normalisation in software."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        same = inputs == outputs and stride == 1
        self.past: nn.Module = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        inner = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(inner)) + self.past(x))


def resnet(width: int = 16, blocks: int = 1) -> nn.Module:
    """A residual network of 6 blocks + 2 layers for 32x32 pictures: ResNet-8 with ``blocks`` = 1, 20 with 3."""
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    inputs = width
    for stage in range(3):
        for block in range(blocks):
            layers.append(Residual(inputs, width << stage, 2 if stage and not block else 1))
            inputs = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


def prepared(x: torch.Tensor) -> torch.Tensor:
    """Bytes to numbers about 0 with an SD of about 1."""
    return (x.float() / 255.0 - 0.473) / 0.251


def train(data: Photographs, seed: int, wrap: Wrap, epochs: int, batch: int = 128, blocks: int = 1) -> Trained:
    """Adam on mirrored and shifted pictures; the score is the accuracy on the test pictures."""
    generator = torch.Generator().manual_seed(seed)
    model = build(seed, lambda: resnet(blocks=blocks))
    optimizer = wrap(torch.optim.Adam(model.parameters(), lr=1e-3, fused=True))
    for _ in range(epochs):
        for rows in torch.randperm(len(data.x), generator=generator).split(batch):
            if len(rows) < 2:
                continue  # nothing to normalise over
            x = _varied(prepared(data.x[rows]), generator)
            optimizer.zero_grad()
            functional.cross_entropy(model(x), data.y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        parts = zip(data.x_test.split(500), data.y_test.split(500), strict=True)
        right = sum(int((model(prepared(x)).argmax(1) == y).sum()) for x, y in parts)
    return Trained.of(right / len(data.y_test), optimizer)


def _varied(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the pictures mirrored, all of a batch shifted by up to four pixels."""
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    down, right = torch.randint(0, 9, (2,), generator=generator).tolist()
    return functional.pad(x, (4, 4, 4, 4))[..., down : down + SIDE, right : right + SIDE]


def part(root: str, seeds: int, epochs: int, blocks: int, device: EapuDevice) -> dict[str, Any]:
    """Adam without error, with it, and EaPU, on a user's pictures; prints the table."""
    from memristor_bdnn.benchmark.eapu.tasks import median

    data = load(root)
    ways: dict[str, tuple[str, Callable[[int], Wrap]]] = {
        "ideal": ("Adam, no error", lambda seed: bare),
        "eapu": (f"EaPU, {device.writing_sd_us:g} uS error", lambda seed: on(EaPU, device, seed)),
        "adam_with_error": (f"Adam, {device.writing_sd_us:g} uS error", lambda seed: on(DeviceOptimizer, device, seed)),
    }
    found: dict[str, Any] = {"pictures": len(data.x), "test_pictures": len(data.x_test), "epochs": epochs}
    rows = []
    for key, (label, wrap) in ways.items():
        runs = [train(data, seed, wrap(seed), epochs, blocks=blocks) for seed in range(seeds)]
        scores = [run.score for run in runs]
        found |= {f"{key}_accuracy": median(scores), f"{key}_accuracies": scores}
        rows.append((label, median(scores), min(scores), max(scores), median([r.r_up for r in runs])))
    print_table(
        f"{len(data.x):,} pictures, ResNet-{6 * blocks + 2}, {epochs} epochs, test accuracy of {seeds} seeds",
        ("method", "median", "lowest", "highest", "cells updated"),
        rows,
    )
    return {"cifar10": found}
