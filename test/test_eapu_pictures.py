"""Convolutions on devices: super-resolution and denoising, and a CIFAR folder of the user's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memristor_bdnn import cli
from memristor_bdnn.benchmark.eapu import cifar, main, pictures, superres
from memristor_bdnn.benchmark.eapu.tasks import ssim
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu.cells import EapuDevice, reference_column_cells
from memristor_bdnn.learners.eapu.optimizer import EaPU


def test_the_published_network_has_its_weights_and_cells() -> None:
    kernels = [p for p in superres.network().parameters() if p.dim() > 1]
    assert [p.numel() for p in kernels] == [54, 288, 27]
    assert reference_column_cells(superres.LAYERS) == 396
    assert superres.network()(torch.zeros(2, 1, 14, 14)).shape == (2, 1, 28, 28)


def test_every_kernel_is_in_cells_and_biases_are_not() -> None:
    model = superres.network()
    optimizer = EaPU(torch.optim.Adam(model.parameters(), lr=1e-5), EapuDevice(), seed=0)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))).mean().backward()
    optimizer.step()  # steps of 1e-5: a cell is hardly ever written, a bias in software always
    for old, new in zip(before, model.parameters(), strict=True):
        changed = (old != new).float().mean()
        assert changed < 0.02 if new.dim() > 1 else changed > 0.5, (new.shape, float(changed))


def test_similarity_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a = rng.random((28, 28)).astype(np.float32)
    b = np.clip(a + 0.1 * rng.standard_normal((28, 28)), 0, 1).astype(np.float32)
    theirs = metrics.structural_similarity(a, b, data_range=1.0, win_size=7)
    assert ssim(torch.tensor(a)[None, None], torch.tensor(b)[None, None]) == pytest.approx(theirs, abs=1e-5)


def test_photographs_of_the_test_gave_nothing_to_learn_from() -> None:
    data = pictures.photographs(0)
    assert data.train.shape[1:] == data.test.shape[1:] == (1, 28, 28)
    assert 0.0 <= float(data.train.min()) < float(data.train.max()) <= 1.0
    assert not set(pictures.TRAINING) & set(pictures.TEST) and "china" in data.source and "flower" in data.source
    known = {row.numpy().tobytes() for row in data.train}
    assert not any(row.numpy().tobytes() in known for row in data.test)


def test_errors_in_writing_drown_what_eapu_learns() -> None:
    data, device = pictures.digits(0), EapuDevice()
    scores = {
        name: superres.train(superres.network, data, superres.smaller, 0, wrap, batches=120)[0].score
        for name, wrap in superres.wraps(device, 0).items()
    }
    assert scores["eapu"] > scores["adam_with_error"] + 0.02 and scores["ideal"] > 0.85, scores


def test_the_part_of_the_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "QUICK", dataclasses.replace(main.QUICK, picture_batches=5))
    words = ["benchmark", "eapu", "--quick", "--only", "superres", "--out", str(tmp_path / "o.json")]
    assert cli.main([*words, "--figures", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "o.json").read_text())
    for job in ("superres", "denoising"):
        for source in ("digits", "photographs"):
            assert {"ideal_ssim", "eapu_ssim", "adam_with_error_ssim", "unlearned_ssim"} <= set(found[job][source])
    assert found["superres"]["cells"] == 396 and (tmp_path / "eapu_superres.png").stat().st_size > 10_000
    assert "bicubic" in capsys.readouterr().out


# -- a folder of the user's ------------------------------------------------------------------------


def made(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 3, 32, 32) of two classes, dark and light, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return np.clip(60 + 130 * y[:, None, None, None] + rng.normal(0, 20, (n, 3, 32, 32)), 0, 255).astype(np.uint8), y


def binary(folder: Path) -> Path:
    folder.mkdir()
    for name, seed in (("data_batch_1.bin", 0), ("data_batch_2.bin", 1), ("test_batch.bin", 2)):
        x, y = made(40, seed)
        np.concatenate([y[:, None].astype(np.uint8), x.reshape(40, -1)], axis=1).tofile(folder / name)
    return folder


def test_both_forms_of_a_folder_are_read(tmp_path: Path) -> None:
    data = cifar.load(binary(tmp_path / "a"))
    assert data.x.shape == (80, 3, 32, 32) and data.x_test.shape == (40, 3, 32, 32)
    np.testing.assert_array_equal(data.x_test.numpy(), made(40, 2)[0])
    np.testing.assert_array_equal(data.y_test.numpy(), made(40, 2)[1])
    for part, seed in (("train", 0), ("test", 2)):
        x, y = made(10, seed)
        for k, (image, label) in enumerate(zip(x, y, strict=True)):
            place = tmp_path / "b" / part / ("dark", "light")[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.moveaxis(image, 0, -1)).save(place / f"{k:02}.png")
    data = cifar.load(tmp_path / "b")
    assert data.y.tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(data.x[0].numpy(), made(10, 0)[0][0])


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        cifar.load(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"test_batch\.bin"):
        cifar.load(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02.")
    with pytest.raises(ConfigError, match="pickled"):
        cifar.load(tmp_path)
    folder = binary(tmp_path / "a")
    good = (folder / "data_batch_1.bin").read_bytes()
    (folder / "data_batch_1.bin").write_bytes(good[:-1])
    with pytest.raises(ConfigError, match=r"data_batch_1\.bin has .* multiple of 3073"):
        cifar.load(folder)
    (folder / "data_batch_1.bin").write_bytes(b"\x0b" + good[1:])
    with pytest.raises(ConfigError, match="class 11 of picture 0"):
        cifar.load(folder)
    (tmp_path / "b" / "train" / "x").mkdir(parents=True)
    (tmp_path / "b" / "train" / "y").mkdir()
    (tmp_path / "b" / "test").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "b" / "train" / "x" / "0.png")
    with pytest.raises(ConfigError, match="8x8 pixels"):
        cifar.load(tmp_path / "b")


def test_a_residual_network_learns_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = binary(tmp_path / "a"), tmp_path / "o.json"
    words = ["benchmark", "eapu", "--data", "cifar10", "--root", str(folder), "--epochs", "4", "--out", str(out)]
    assert cli.main(words) == 0
    found = json.loads(out.read_text())["results"]["cifar10"]
    assert found["ideal_accuracy"] > 0.9 and found["pictures"] == 80
    assert set(found) >= {"eapu_accuracy", "adam_with_error_accuracy"}
    assert cli.main(["benchmark", "eapu", "--data", "cifar10"]) == 1
    assert "--root" in capsys.readouterr().err
    for ignored in (["--only", "speed"], ["--figures", str(tmp_path)]):  # with --data
        assert cli.main([*words, *ignored]) == 1
        assert ignored[0] in capsys.readouterr().err
    for ignored in (["--epochs", "3"], ["--blocks", "2"]):  # without it
        assert cli.main(["benchmark", "eapu", "--only", "speed", *ignored]) == 1
        assert "is for --data" in capsys.readouterr().err
