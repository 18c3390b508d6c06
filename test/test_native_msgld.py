"""Compiled passes of mSGLD give every digit of their references; a look comes close; wrong arrays are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memristor_bdnn import native
from memristor_bdnn.device import noise
from memristor_bdnn.learners.msgld import update
from memristor_bdnn.network import bayesian
from memristor_bdnn.network.bayesian import BayesianNetwork, layer_shapes
from memristor_bdnn.network.chains import Chains

pytestmark = pytest.mark.skipif(native.kernels is None, reason=f"no compiled kernels: {native.status()}")


@pytest.mark.parametrize(("samples", "cells"), [(1, 1), (3, 7), (10, 11_832), (5, 20_001), (3, 70_001), (2, 140_000)])
def test_reads_and_the_generator_after_them_are_those_of_numpy(monkeypatch: Any, samples: int, cells: int) -> None:
    state = np.random.default_rng(1).uniform(0, 4, cells).astype(np.float32)
    scale = np.random.default_rng(2).uniform(0, 0.5, cells).astype(np.float32)
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    for rng in (ours, theirs):  # half a word is kept for later
        rng.integers(0, 9, dtype=np.uint32)
    compiled = noise.laplace_reads(state, scale, samples, 1e-4, ours)
    monkeypatch.setattr(noise, "kernels", None)
    reference = noise.laplace_reads(state, scale, samples, 1e-4, theirs)
    assert np.array_equal(compiled, reference)
    assert ours.bit_generator.state == theirs.bit_generator.state
    assert ours.standard_normal() == theirs.standard_normal()


def test_other_generators_are_asked_themselves() -> None:
    ours, theirs = (np.random.Generator(np.random.Philox(5)) for _ in range(2))
    assert np.array_equal(noise.raw_bits(ours, 40_000), theirs.bit_generator.random_raw(20_000).view(np.uint32))


@pytest.mark.parametrize("devices", [1, 2, 3, 5])
def test_weights_are_those_of_numpy(monkeypatch: Any, devices: int) -> None:
    network = BayesianNetwork(layer_shapes(4, (6,), devices=devices), 6.66, 1.1)
    currents = np.random.default_rng(devices).uniform(0, 4, (7, network.n_cells)).astype(np.float32)
    compiled = network.flat_weights(currents)
    monkeypatch.setattr(bayesian, "kernels", None)
    assert np.array_equal(compiled, network.flat_weights(currents))


@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_are_those_of_numpy(monkeypatch: Any, classes: int) -> None:
    rng = np.random.default_rng(4)
    network = BayesianNetwork(layer_shapes(5, (9, 6), classes), 6.66, 1.1)
    x, flat = rng.normal(size=(37, 5)), rng.normal(size=(8, network.n_weights)).astype(np.float32)
    y = rng.random(37) if classes == 2 else rng.dirichlet(np.ones(classes), 37)
    compiled = network.gradient(x, y, flat, 4)
    monkeypatch.setattr(bayesian, "kernels", None)
    reference = network.gradient(x, y, flat, 4)
    assert np.array_equal(compiled.gradient, reference.gradient) and np.abs(compiled.gradient).max() > 0
    assert np.array_equal(compiled.probability, reference.probability) and compiled.loss == reference.loss


@pytest.mark.parametrize(("fraction", "votes"), [(0.0, 0.5), (0.004, 0.2), (0.06, 0.5), (0.5, 0.0), (1.0, 1.0)])
def test_marks_and_averages_are_those_of_numpy(monkeypatch: Any, fraction: float, votes: float) -> None:
    rng = np.random.default_rng(6)
    ours, theirs = update.GradientScale(501, 0.9), update.GradientScale(501, 0.9)
    for step in range(4):
        gradient = (rng.normal(size=(5, 501)) * 10.0 ** rng.integers(-20, 3, 501)).astype(np.float32)
        gradient[:, ::7] = gradient[:, :1]  # many of the same size
        gradient[1, 3] = np.nan if step == 2 else 0.0
        average, marked = ours.marked(gradient, fraction, votes)
        with monkeypatch.context() as patched, np.errstate(invalid="ignore"):
            patched.setattr(update, "kernels", None)
            reference, wanted = theirs.marked(gradient, fraction, votes)
        assert np.array_equal(marked, wanted) and np.array_equal(average, reference, equal_nan=True)
        assert np.array_equal(ours.mean, theirs.mean, equal_nan=True) and ours.steps == theirs.steps
        assert np.array_equal(ours.square, theirs.square, equal_nan=True)
    assert marked.any() == (fraction > 0)


@pytest.mark.parametrize("hidden", [(24, 24), (5,), (1, 3, 7)])
@pytest.mark.parametrize("rows", [0, 1, 64, 131])
def test_a_look_comes_close_to_the_prediction(hidden: tuple[int, ...], rows: int) -> None:
    rng = np.random.default_rng(7)
    chains = Chains(layer_shapes(11, hidden), 6.66, 1.1, 3)
    x, flat = rng.normal(size=(rows, 11)), 2 * rng.normal(size=(4, chains.n_weights)).astype(np.float32)
    looked = chains.look_flat(x, flat)
    assert looked.shape == (12, rows)
    p = chains.forward_flat(x, flat).astype(np.float64)
    np.testing.assert_allclose(looked, p, rtol=0, atol=5e-6)
    carried = chains.look_flat(x, chains.moved(flat, np.log(1.7)))
    np.testing.assert_allclose(carried, 1.7 * p / (1 - p + 1.7 * p), rtol=0, atol=1e-5)


def test_wrong_arrays_are_refused() -> None:
    def array(n: int, kind: Any = np.float32) -> np.ndarray:
        return np.ones(n, dtype=kind)

    kernels, fixed = native.kernels, array(6)
    fixed.setflags(write=False)
    numbers, sizes = (0.9, 0.1, 1.0, 2, 1), np.array([2, 1], dtype=np.int64)
    wrong = [
        (kernels.uniforms, array(6, np.uint64), array(6)),
        (kernels.uniforms, array(6, np.uint32), array(5)),
        (kernels.uniforms, array(6, np.uint32), fixed),
        (kernels.reads, array(6, np.uint32), array(6), array(4), array(4), 0.0),
        (kernels.reads, array(6, np.uint32), array(6), array(3), array(2), 0.0),
        (kernels.weights, array(6), array(3), 3, 0.0, 1.0),
        (kernels.weights, array(6), array(6), 0, 0.0, 1.0),
        (kernels.weights, array(6, np.float64), array(2), 3, 0.0, 1.0),
        (kernels.sigmoids, array(6), 4, 1),
        (kernels.sigmoids, array(6), 1 << 40, 1 << 40),
        (kernels.sigmoids, fixed, 2, 3),
        (kernels.slopes, array(6), array(6), 2, 3),
        (kernels.marked, array(5), array(2), array(2), array(2), array(2, bool), numbers),
        (kernels.marked, array(6), array(2), array(2), array(2), array(2, bool), (0.9, 0.1, 1.0, 3, 1)),
        (kernels.marked, array(6), array(2), array(1), array(2), array(2, bool), numbers),
        (kernels.looked, sizes, array(4), 1, array(4), array(2)),
        (kernels.looked, sizes, array(3), 1, array(5), array(2)),
        (kernels.looked, sizes, array(3), 0, array(4), array(2)),
        (kernels.looked, sizes, array(3), 1, array(4), array(3)),
        (kernels.looked, np.array([2, 2], dtype=np.int64), array(6), 1, array(4), array(4)),
    ]
    if hasattr(kernels, "words"):
        wrong += [
            (kernels.words, array(3, np.uint64), array(6, np.uint64)),
            (kernels.words, array(4, np.uint64), array(6)),
        ]
    for function, *arguments in wrong:
        with pytest.raises((ValueError, TypeError, BufferError)):
            function(*arguments)
    with pytest.raises(TypeError, match="expected 2"):
        kernels.uniforms(array(6, np.uint32))
