"""The compiled passes of an EaPU step give the numbers of NumPy, bit by bit, and step aside where they do not apply."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from memristor_bdnn import native
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.eapu import array, passes, rule
from memristor_bdnn.learners.eapu.cells import EapuDevice
from memristor_bdnn.learners.eapu.optimizer import EaPU

pytestmark = pytest.mark.skipif(native.kernels is None, reason=f"no compiled kernels: {native.status()}")

SHAPES = ((150, 201), (150,), (31, 150), (31,), (3, 31))
"""34,893 cells; only the first matrix begins at a multiple of 8."""


class NumpyAdam(torch.optim.Optimizer):
    """Adam and AdamW, written out in NumPy with the compiled pass's order of operations."""

    def __init__(self, params: Any, lr: float = 1e-3, decay: float = 0.0, decoupled: bool = False) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "decoupled": decoupled})
        self.t = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.t += 1
        f = np.float32
        for group in self.param_groups:
            lr, decay = group["lr"], group["decay"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                p, g = parameter.detach().numpy(), parameter.grad.numpy()
                state = self.state[parameter]
                m, v = state.setdefault("m", np.zeros_like(p)), state.setdefault("v", np.zeros_like(p))
                state["t"] = t = state.get("t", 0) + 1
                g = g + f(0.0 if group["decoupled"] else decay) * p
                m[:] = m + (g - m) * f(1 - 0.9)
                v[:] = v * f(0.999) + g * g * f(1 - 0.999)
                size, root = f(lr / (1 - 0.9**t)), f(1 / np.sqrt(1 - 0.999**t))
                shrink = f(1 - lr * decay) if group["decoupled"] else f(1)
                p[:] = p * shrink - size * m / (np.sqrt(v) * root + f(1e-8))


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(0.02 * torch.randn(shape, generator=generator)) for shape in SHAPES]


def with_moments(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """As after no step: the pass takes the first one, too."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            optimizer.state[p] = {"step": torch.tensor(0.0), **moments}
    return optimizer


def trained(owned: list[torch.nn.Parameter], optimizer: EaPU, steps: int = 12) -> EaPU:
    """Gradients that change, one parameter at times without, and weights that somebody clips between two steps."""
    for k in range(steps):
        generator = torch.Generator().manual_seed(k)
        for i, p in enumerate(owned):
            p.grad = 1e-2 * torch.randn(p.shape, generator=generator)
            if k % 4 == 3 and i == 2:
                p.grad = None
        optimizer.step()
        if k % 5 == 2:
            owned[0].data[:20].clamp_(-0.03, 0.03)
            owned[1].data.clamp_(-0.03, 0.03)
    return optimizer


def without_kernels(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> Any:
    with monkeypatch.context() as patched:
        for module in (rule, passes, array):
            patched.setattr(module, "kernels", None)
        return make()


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parameters took Adam's step within each pass from now on."""
    seen: list[int] = []
    original = passes.Cells.choose

    def choose(self: passes.Cells, cells: bytes, others: bytes, *rest: Any) -> Any:
        fields = [passes._SEGMENT.unpack_from(cells, at) for at in range(0, len(cells), passes._SEGMENT.size)]
        seen.append(sum(each[1] != 0 for each in fields) + len(others) // passes._SEGMENT.size)
        return original(self, cells, others, *rest)

    monkeypatch.setattr(passes.Cells, "choose", choose)
    return seen


@pytest.mark.parametrize("scale", [1e-4, 5e-3, 3e-2, 0.3])
@pytest.mark.parametrize(("n", "first"), [(rule.MANY, 0), (20_001, 3), (33_333, 8), (511, 4099), (1, 7), (0, 5)])
def test_the_choice_is_numpys_cell_by_cell(n: int, first: int, scale: float) -> None:
    rng = np.random.default_rng(n)
    delta = (rng.standard_normal(n) * scale).astype(np.float32)
    delta[::11], delta[5::1000], delta[6::1000] = 0.0, 0.025, -0.025
    for key in (0, 2**64 - 1, rule.new_key(rng)):
        ours, theirs = rule.choose(delta, 0.025, key, first), rule.reference_choose(delta, 0.025, key, first)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)
        assert np.isin(first + np.flatnonzero(np.abs(delta) >= np.float32(0.025)), ours[0]).all()
        part = rule.choose(delta[n // 3 :], 0.025, key, first + n // 3)
        assert np.array_equal(part[0], ours[0][ours[0] >= first + n // 3])


@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.02, False), (0.3, True)])
def test_a_pass_with_adam_is_numpys_bit_by_bit(monkeypatch: pytest.MonkeyPatch, decay: float, decoupled: bool) -> None:
    device = EapuDevice(loss_us=0.1)
    plain = parameters()
    theirs = without_kernels(
        monkeypatch, lambda: trained(plain, EaPU(NumpyAdam(plain, 2e-3, decay, decoupled), device, seed=5))
    )
    seen = count_passes(monkeypatch)
    owned = parameters()
    cls = torch.optim.AdamW if decoupled else torch.optim.Adam
    ours = trained(owned, EaPU(with_moments(cls(owned, lr=2e-3, weight_decay=decay)), device, seed=5))
    assert seen == [5, 5, 5, 4] * 3
    for p, q in zip(owned, plain, strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
        assert np.array_equal(ours.state[p]["exp_avg"].numpy(), theirs.state[q]["m"])
        assert np.array_equal(ours.state[p]["exp_avg_sq"].numpy(), theirs.state[q]["v"])
        assert ours.state[p]["step"] == theirs.state[q]["t"]
    assert (ours.updates, ours.n_up, ours.r_up) == (theirs.updates, theirs.n_up, theirs.r_up)
    assert ours.updates > 1000
    assert ours.rng.bit_generator.state == theirs.rng.bit_generator.state


def stepped(lr: float, eps: float, t: int, p: Any, g: Any, m: Any, v: Any, held: Any) -> tuple[Any, Any, Any]:
    """Steps, means and powers of Adam in NumPy, in the compiled pass's order of operations."""
    f = np.float32
    mean, power = m + (g - m) * f(1 - 0.9), v * f(0.999) + g * g * f(1 - 0.999)
    size, root = f(lr / (1 - 0.9**t)), f(1 / np.sqrt(1 - 0.999**t))
    return p - size * mean / (np.sqrt(power) * root + f(eps)) - held, mean, power


def hard_cells(kind: str, n: int) -> list[Any]:
    """Weights, gradients, means, powers and what cells hold, where looking at squares is hardest."""
    rng = np.random.default_rng(len(kind))
    sign = lambda: rng.choice(np.array([-1, 1]), n)  # noqa: E731
    wide = {"plain": (-4, -1), "wide": (-22, 4), "tiny": (-44, -15)}.get(kind, (-4, -1))
    m, g = (sign() * 10 ** rng.uniform(*wide, n) for _ in range(2))
    v = np.maximum(m**2 * 10 ** rng.uniform(-3, 3, n), 1e-60)
    held = 0.02 * rng.standard_normal(n)
    if kind == "large":
        held = sign() * rng.uniform(2, 3000, n)
    if kind == "below 2":
        held = sign() * rng.uniform(1.5, 1.999, n)
    if kind == "lost":  # squares among the smallest numbers, of few digits
        m, g, v = sign() * 10 ** rng.uniform(-23, -21, n), np.zeros(n), 1.4e-45 * rng.integers(0, 60, n)
    if kind == "zero":
        m[::2], v[::2], g[::2] = 0.0, 0.0, 0.0
    p, g, m, v, held = (each.astype(np.float32) for each in (held, g, m, v, held))
    p = held.copy()
    if kind == "moved":
        p[n // 2 :] += (0.01 * rng.standard_normal(n - n // 2)).astype(np.float32)
    if kind == "broken":
        g[777] = 1e38  # its square is infinite, the step is not
        m[1500], v[1500] = 3e38, 0.0  # this one is
    if kind == "no number":
        m[1700] = np.nan
    return [p, g, m, v, held]


@pytest.mark.parametrize(
    "kind", ["plain", "wide", "tiny", "large", "below 2", "zero", "lost", "moved", "broken", "no number"]
)
@pytest.mark.parametrize(
    ("lr", "threshold"), [(1e-3, 0.025), (3e-2, 2e-3), (1e-3, 1e-6), (0.0, 0.025), (0.3, 5.0), (1e20, 1e20)]
)
@pytest.mark.parametrize(("eps", "t"), [(1e-8, 1), (1e-8, 4000), (0.0, 9)])
@np.errstate(all="ignore")
def test_a_pass_leaves_out_no_cell_that_the_rule_chooses(
    kind: str, lr: float, threshold: float, eps: float, t: int
) -> None:
    n = 6 * 512 + 77
    p, g, m, v, held = cells = hard_cells(kind, n)
    delta, mean, power = stepped(lr, eps, t, *cells)
    steps, index, change = np.array([t - 1], np.float32), np.empty(n, np.int64), np.empty(n, np.float32)
    own = [each.ctypes.data for each in (p, g, m, v, held, steps)]
    packed = passes._SEGMENT.pack(*own, n, lr, 0.9, 0.999, eps, 0.0, 0)
    count = native.kernels.eapu_step(packed, b"", threshold, 5, index, change)
    assert np.array_equal(m, mean, equal_nan=True) and np.array_equal(v, power, equal_nan=True)
    assert np.array_equal(p, held) and steps[0] == t
    if not np.isfinite(delta).all():
        assert count == -1
        return
    theirs = rule.reference_choose(delta, threshold, 5)
    assert np.array_equal(index[:count], theirs[0]) and np.array_equal(change[:count], theirs[1])
    if (kind, lr, threshold) == ("plain", 1e-3, 0.025):
        assert 5 < count < n // 2


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.Philox, np.random.MT19937])
def test_a_key_is_one_whole_number_of_the_generator(bits: Any) -> None:
    ours, theirs = np.random.Generator(bits(3)), np.random.Generator(bits(3))
    for _ in range(5):
        assert rule.new_key(ours) == theirs.integers(1 << 64, dtype=np.uint64)
        assert ours.standard_normal(3, np.float32).tolist() == theirs.standard_normal(3, np.float32).tolist()


@pytest.mark.parametrize("n", [1, 63, 511, 512, 513, 4096, 5000])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_gradient_that_is_not_finite_is_overlooked(n: int, bad: float) -> None:
    g = np.full(n, 3e38, np.float32)
    packed = passes._SEGMENT.pack(0, g.ctypes.data, 0, 0, 0, 0, n, *[0.0] * 5, 0)
    assert native.kernels.eapu_finite(packed)
    for at in {0, n // 2, n - 1, *range(0, n, 37)}:
        g[at] = bad
        assert not native.kernels.eapu_finite(packed), at
        g[at] = 0.0


def test_cells_are_written_where_parameters_lie_now() -> None:
    """A choice remembers addresses for its own writing alone."""
    owned = parameters()
    optimizer = trained(owned, EaPU(torch.optim.Adam(owned)), 2)
    cells, old = optimizer.array.cells, owned[0].data
    assert cells.choose(cells.packed() or b"", b"", 0.025, 1) is not None  # whose writing never comes
    before = old.clone()
    owned[0].data = old.clone()
    optimizer.array.write(np.array([0, 7]), np.full(2, 0.1, np.float32))
    assert not optimizer.array.differs()
    assert set(np.flatnonzero((owned[0].detach() != before).numpy())) == {0, 7}
    assert torch.equal(old, before)


@pytest.mark.parametrize(
    "options", [{}, {"loss_us": 0.3}, {"window": True}, {"stuck_off": 0.1}, {"writing_sd_us": 0.5}]
)
def test_a_pass_behind_another_optimiser_is_numpys_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    def run() -> tuple[EaPU, list[torch.nn.Parameter]]:
        owned = parameters()
        device = EapuDevice(**options)
        return trained(owned, EaPU(torch.optim.SGD(owned, lr=0.1, momentum=0.9), device, seed=1)), owned

    theirs, plain = without_kernels(monkeypatch, run)
    seen = count_passes(monkeypatch)
    ours, owned = run()
    assert len(seen) == 12
    assert all(torch.equal(p, q) for p, q in zip(owned, plain, strict=True))
    assert (ours.updates, ours.n_up) == (theirs.updates, theirs.n_up) and ours.updates > 1000
    assert not ours.array.differs()


def test_the_moments_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = count_passes(monkeypatch)
    owned, plain = parameters(), parameters()
    ours = trained(owned, EaPU(torch.optim.Adam(owned)))
    theirs = torch.optim.Adam(plain)
    trained(plain, theirs)  # type: ignore[arg-type]
    assert seen == [0, 5, 5, 4, *[5, 5, 5, 4] * 2]  # the first step makes the moments
    for p, q in zip(owned, plain, strict=True):
        for name in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(ours.state[p][name], theirs.state[q][name], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(owned[1], plain[1], rtol=1e-5, atol=1e-7)  # biases are in no cells


def test_training_resumes_bit_by_bit_through_the_pass() -> None:
    owned = parameters()
    optimizer = trained(owned, EaPU(torch.optim.Adam(owned), seed=2))
    saved, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in owned]
    trained(owned, optimizer)
    other = parameters(9)
    resumed = EaPU(torch.optim.Adam(other), seed=8)
    with torch.no_grad():
        for p, w in zip(other, weights, strict=True):
            p.copy_(w)
    resumed.load_state_dict(saved)
    trained(other, resumed)
    assert all(torch.equal(p, q) for p, q in zip(owned, other, strict=True))


@pytest.mark.parametrize("why", ["amsgrad", "maximize", "fused", "foreach", "lr", "hook", "double", "order", "closure"])
def test_adam_is_left_to_torch_where_the_pass_does_not_know_it(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    seen, called = count_passes(monkeypatch), []
    owned = parameters()
    if why == "double":
        owned = [torch.nn.Parameter(p.detach().double()) for p in owned]
    if why == "order":
        owned[0] = torch.nn.Parameter(owned[0].detach().t())
    options: dict[str, Any] = {} if why in ("hook", "double", "order", "closure") else {why: True}
    if why == "lr":
        options = {"lr": torch.tensor(1e-3)}
    inner = torch.optim.Adam(owned, **options)
    if why == "hook":
        inner.register_step_post_hook(lambda *_: called.append(1))
    optimizer = EaPU(inner)
    for _ in range(3):
        for p in owned:
            p.grad = torch.full_like(p, 1e-2)
        optimizer.step((lambda: torch.tensor(0.0)) if why == "closure" else None)
    assert not any(seen)
    assert len(called) == (3 if why == "hook" else 0)
    assert optimizer.state[owned[0]]["step"] == 3 and optimizer.updates > 100
    assert not optimizer.array.differs()


@pytest.mark.parametrize("broken", ["exp_avg", "step", "weight"])
def test_a_pass_reads_nothing_beside_its_tensors(broken: str) -> None:
    """Moments of another size, as a wrong state brings them, and weights that were replaced by fewer."""
    owned = parameters()
    optimizer = trained(owned, EaPU(torch.optim.Adam(owned)), 2)
    assert passes.adam(optimizer.optimizer, optimizer.array.cells) is not None
    if broken == "weight":
        owned[0].data = owned[0].data[:50]
    else:
        optimizer.state[owned[0]][broken] = torch.zeros(7)
    assert passes.adam(optimizer.optimizer, optimizer.array.cells) is None
    assert (optimizer.array.cells.packed() is None) == (broken == "weight")


def test_steps_that_are_not_finite_reach_no_cell_and_no_weight() -> None:
    owned = parameters()
    optimizer = trained(owned, EaPU(torch.optim.Adam(owned)), 3)
    held, pulses = optimizer.array.held.copy(), optimizer.programmer.pulses
    optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ConfigError, match="no cell was written"):
        optimizer.step()
    assert np.array_equal(optimizer.array.held, held) and not optimizer.array.differs()
    assert optimizer.programmer.pulses == pulses


def test_what_a_pass_is_given_is_looked_at() -> None:
    delta, index, change = np.zeros(9, np.float32), np.zeros(9, np.int64), np.zeros(9, np.float32)
    good = (delta, 0.025, 1, 0, index, change)
    native.kernels.eapu_choose(*good)
    for at, bad in (
        (0, delta.astype(float)),
        (1, 0.0),
        (1, float("nan")),
        (2, -1),
        (3, -1),
        (4, index[:8]),
        (5, index),
    ):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            native.kernels.eapu_choose(*good[:at], bad, *good[at + 1 :])
    owned = parameters()
    cells = EaPU(torch.optim.Adam(owned)).array.cells.packed()
    noise, numbers = np.zeros(2, np.float32), (0.0125, 40.0, 2.0, 0.0)
    for wrong in ([5, 5], [7, 3], [-1, 3], [0, 34_893]):
        with pytest.raises(ValueError, match="ascending"):
            native.kernels.eapu_write(cells, np.array(wrong), noise, noise, numbers)
    with pytest.raises(ValueError):
        native.kernels.eapu_write(cells[:-1], np.array([1, 2]), noise, noise, numbers)
