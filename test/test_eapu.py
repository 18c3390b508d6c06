"""EaPU: the update rule is unbiased, the wrapper is plug-and-play, programming methods behave as described."""

import copy
import itertools

import numpy as np
import pytest
import torch

from memristor_bdnn import accelerator, learners
from memristor_bdnn.benchmark.eapu.tasks import digits, ssim, train_digits
from memristor_bdnn.errors import CapacityError, ConfigError
from memristor_bdnn.learners.eapu.cells import PROGRAMMERS, EapuDevice, as_device, reference_column_cells
from memristor_bdnn.learners.eapu.optimizer import DeviceOptimizer, EaPU, SignUpdate
from memristor_bdnn.learners.eapu.rule import choose, new_key, probabilistic_update


def model(seed=0, widths=(6, 5, 3)):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = (torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths))
    return torch.nn.Sequential(first, torch.nn.Tanh(), second)


def loss_of(net, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 6, generator=generator)
    return torch.nn.functional.cross_entropy(net(x), (x[:, 0] > 0).long())


def train(net, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(net).backward()
        optimizer.step()


def quiet(**changes):
    return EapuDevice(writing_sd_us=0.0, **changes)


@pytest.mark.parametrize("size", [7, 60_000])
def test_the_rule_is_unbiased_and_never_writes_less_than_the_threshold(size):
    rng = np.random.default_rng(0)
    pattern = np.array([0.004, -0.002, 0.0, 0.001, -0.0049, 0.003, 0.002])
    if size == 7:
        pattern = np.array([0.02, -0.01, 0.0, 0.005, -0.024, 0.05, 0.012])
    delta = np.resize(pattern, size)
    total, repeats = np.zeros(7), 20_000 if size == 7 else 30
    for _ in range(repeats):
        index, change = probabilistic_update(delta, 0.025, rng)
        assert (np.abs(change) >= 0.025).all()
        assert (np.diff(index) > 0).all()
        np.add.at(total, index % 7, change)
    draws = repeats * np.bincount(np.arange(size) % 7)
    error = np.abs(total / draws - pattern)
    assert (error <= 5 * np.sqrt(0.025 * np.abs(pattern) / draws) + 1e-12).all()


def test_large_steps_pass_as_they_are():
    index, change = probabilistic_update(np.array([0.5, -0.1, 0.03]), 0.025, np.random.default_rng(0))
    assert index.tolist() == [0, 1, 2]
    assert change.tolist() == [0.5, -0.1, 0.03]


@pytest.mark.parametrize("p", [1e-4, 0.003, 0.2, 0.9])
def test_bytes_draw_independent_trials(p):
    n, repeats, threshold = 200_000, 4, 0.025
    delta, rng = np.full(n, p * threshold, np.float32), np.random.default_rng(3)
    drawn = np.zeros((repeats, n), bool)
    for row in drawn:
        row[choose(delta, threshold, new_key(rng))[0]] = True
    spread = np.sqrt(p * (1 - p) / drawn.size)
    assert abs(drawn.mean() - p) < 5 * spread
    for first, second in ((drawn[:, 1:], drawn[:, :-1]), (drawn[:, 8:], drawn[:, :-8]), (drawn[1:], drawn[:-1])):
        both = (first & second).mean()
        assert abs(both - p * p) < 5 * np.sqrt(p * p * (1 - p * p) / first.size) + 2 * p * 5 * spread


@pytest.mark.parametrize("inner", ["Adam", "AdamW", "SGD", "RMSprop", "NAdam"])
def test_without_writing_error_it_is_the_wrapped_optimiser(inner):
    make = getattr(torch.optim, inner)
    plain, wrapped = model(), model()
    train(plain, make(plain.parameters(), lr=0.01), 20)
    train(wrapped, EaPU(make(wrapped.parameters(), lr=0.01), quiet()), 20)
    for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_moments_see_raw_gradients_and_biases_stay_in_software():
    net = model()
    optimizer = EaPU(torch.optim.Adam(net.parameters(), lr=1e-3), EapuDevice())
    loss_of(net).backward()
    before = [p.detach().clone() for p in net.parameters()]
    gradients = [p.grad.clone() for p in net.parameters()]
    optimizer.step()
    for p, g in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], 0.1 * g)
    for p, old in zip(net.parameters(), before, strict=True):
        if p.ndim == 1:
            assert float((p.detach() - old).abs().max()) == pytest.approx(1e-3, rel=1e-3)
        else:
            assert ((p == old).float().mean()) > 0.7
    assert optimizer.n_cells == 45


def test_schedulers_drive_the_wrapped_optimiser():
    net = model()
    optimizer = EaPU(torch.optim.SGD(net.parameters(), lr=0.1), quiet())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(net, optimizer, 1)
    scheduler.step()
    assert optimizer.optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize("programming", ["gaussian", "memorial"])
def test_training_resumes_bit_exactly(programming):
    net = model()
    optimizer = EaPU(torch.optim.Adam(net.parameters(), lr=0.01), EapuDevice(), programming=programming, seed=3)
    train(net, optimizer, 5)
    weights, saved = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    train(net, optimizer, 5)
    other = model(seed=7)
    resumed = EaPU(torch.optim.Adam(other.parameters(), lr=0.01), EapuDevice(), programming=programming, seed=8)
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    train(other, resumed, 5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (resumed.r_up, resumed.n_up) == (optimizer.r_up, optimizer.n_up)


def test_counters_count():
    net = model()
    plain = DeviceOptimizer(torch.optim.Adam(net.parameters(), lr=0.01), EapuDevice(), programming="two-pulse")
    train(net, plain, 4)
    assert plain.r_up == 1.0
    assert plain.n_up == 2.0
    assert plain.deploy_pulses == 2 * 45
    sign = SignUpdate(torch.optim.SGD(net.parameters(), lr=0.1), EapuDevice(), programming="sign-based")
    train(net, sign, 3)
    assert sign.n_up == 1.0


@pytest.mark.parametrize("name", ["gaussian", "write-verify", "memorial"])
def test_verified_writes_land_with_the_stated_error(name):
    device, n = EapuDevice(), 4000
    cells = PROGRAMMERS[name](device, n, np.random.default_rng(0))
    target = np.random.default_rng(1).uniform(10, 70, n).astype(np.float32)
    everyone = np.arange(n)
    landed = cells.write(everyone, np.zeros(n, np.float32), target)
    assert abs(np.mean(landed - target)) < 0.6
    assert np.std(landed - target) == pytest.approx(device.writing_sd_us, rel=0.08)


def test_memorial_programming_remembers():
    n = 2000
    cells = PROGRAMMERS["memorial"](EapuDevice(), n, np.random.default_rng(0))
    target = np.random.default_rng(1).uniform(10, 70, n).astype(np.float32)
    first = cells.write(np.arange(n), np.zeros(n, np.float32), target)
    searching = cells.pulses / n
    cells.write(np.arange(n), first, target + 2)
    assert searching > 8
    assert (cells.pulses / n) - searching < 5


def test_write_verify_costs_about_the_published_pulses():
    n = 3000
    cells = PROGRAMMERS["write-verify"](EapuDevice(), n, np.random.default_rng(0))
    cells.write(np.arange(n), np.zeros(n, np.float32), np.full(n, 40, np.float32))
    assert 56 < cells.pulses / n < 76


def test_stuck_cells_never_move():
    net = model()
    device = EapuDevice(stuck_off=0.2, stuck_on=0.1)
    optimizer = EaPU(torch.optim.Adam(net.parameters(), lr=0.05), device)
    train(net, optimizer, 20)
    weights = torch.cat([p.detach().flatten() for p in net.parameters() if p.ndim > 1]).numpy()
    stuck = optimizer.programmer.stuck
    frozen = np.isfinite(stuck)
    assert frozen.any()
    np.testing.assert_allclose(weights[frozen], (stuck[frozen] - 40) / 80, atol=1e-6)


def test_device_comes_from_presets_options_or_itself():
    preset = as_device("eapu_180nm")
    assert preset.writing_sd_us == pytest.approx(2.0)
    assert preset.threshold == pytest.approx(0.025)
    assert as_device({"writing_sd_us": 3.0}).threshold == pytest.approx(0.0375)
    assert as_device(preset) is preset


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (lambda: EapuDevice(g_zero_us=90.0), "g_zero_us = 90"),
        (lambda: as_device(3), "expected an EapuDevice"),
        (lambda: EaPU(torch.optim.SGD(model().parameters(), lr=1), programming="laser"), "laser"),
        (lambda: EaPU(torch.optim.SGD([torch.nn.Parameter(torch.zeros(3))], lr=1)), "two or more dimensions"),
        (lambda: EaPU(torch.optim.SGD(model().parameters(), lr=1), parameters=[torch.zeros(2, 2)]), "does not train"),
        (lambda: EaPU(torch.optim.SGD(model().half().parameters(), lr=1)), "float16"),
    ],
)
def test_mistakes_are_named(work, text):
    with pytest.raises(ConfigError, match=text):
        work()


def test_reference_column_of_the_autoencoder():
    assert reference_column_cells([(9, 3), (27, 3), (27, 1)]) == 162


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    noisy = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    assert ssim(images, images) == pytest.approx(1.0)
    assert ssim(noisy, images) < 0.9


def test_eapu_trains_where_the_same_optimiser_with_error_does_not():
    assert digits()[0].shape == (1797, 64)
    device = EapuDevice()
    eapu = train_digits(0, lambda o: EaPU(o, device), epochs=25)
    plain = train_digits(0, lambda o: DeviceOptimizer(o, device), epochs=25)
    assert eapu.score > 0.88
    assert plain.score < eapu.score - 0.15
    assert eapu.r_up < 0.02


def test_the_learner_writes_few_weights_and_measures_its_error():
    chips = accelerator.create("simulated", seed=0)
    learner = learners.create("eapu", chips, {"n_inputs": 2, "networks": 2, "hidden": [8], "stop_accuracy": 1.1})
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    y = (x[:, 0] > 0).astype(float)
    learner.fit(x, y)
    assert 0.1 < learner.writing_sd_ua < 0.5
    report = learner.learn(x, y)
    assert report.epochs == 40
    assert 0 < learner.r_up < 0.2
    assert report.pulses > 0 and learner.n_up < 1


@pytest.mark.parametrize(("given", "used"), [(None, 0.191), (0.0, 0.0), (0.3, 0.3)])
def test_learning_without_a_fit_takes_the_presets_writing_error(given, used):
    chips = accelerator.create("simulated", seed=0)
    options = {"n_inputs": 2, "networks": 2, "hidden": [8], "max_epochs": 5, "writing_sd_ua": given}
    learner = learners.create("eapu", chips, options)
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    learner.learn(x, (x[:, 0] > 0).astype(float))
    assert learner.writing_sd_ua == pytest.approx(used, abs=0.001)
    assert (learner.r_up < 0.5) == (used > 0)


def test_the_learner_says_how_many_cells_are_missing():
    with pytest.raises(CapacityError, match="missing"):
        learners.create("eapu", accelerator.create("simulated", preset="eapu_180nm"), {"hidden": [200, 200]})
