"""The network: layout, gradients against autograd, scaling, ex situ training."""

import numpy as np
import pytest

from memristor_bdnn.device import presets
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network import bayesian, exsitu
from memristor_bdnn.network.bayesian import POURING_SHAPES, BayesianNetwork, kl_to_prior, layer_shapes
from memristor_bdnn.network.chains import Chains
from memristor_bdnn.network.features import feature_map, feature_width
from memristor_bdnn.network.scaling import InputScaler


def test_published_shapes_need_the_published_number_of_cells():
    assert BayesianNetwork().n_cells == 9756
    assert layer_shapes(11, (50, 50)) == POURING_SHAPES


def test_weights_follow_input_output_device_order():
    network = BayesianNetwork(((3, 4, 3), (5, 2, 3)), offset=6.0, scale=2.0)
    currents = np.arange(network.n_cells, dtype=float)[None]
    first, second = network.weights(currents)
    assert first.shape == (1, 3, 4) and second.shape == (1, 5, 2)
    cell = (1 * 4 + 2) * 3  # input 1, output 2
    assert first[0, 1, 2] == pytest.approx((3 * cell + 3 - 6.0) / 2.0)
    assert second[0, 0, 0] == pytest.approx((36 + 37 + 38 - 6.0) / 2.0)


def test_targets_invert_weights():
    network = BayesianNetwork(((3, 4, 3), (5, 2, 3)))
    flat = np.random.default_rng(0).uniform(-4, 4, network.n_weights)
    states = network.targets(flat, 0.4, 4.0)
    assert np.allclose(network.flat_weights(states[None])[0], flat, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_agree_with_autograd(classes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    network = BayesianNetwork(layer_shapes(4, (6, 5), classes), 6.66, 1.1)
    flat = network.flat_weights(rng.uniform(0.4, 4.0, (6, network.n_cells)))
    x = rng.normal(size=(9, 4)).astype(np.float32)
    soft = rng.dirichlet(np.ones(classes), 9)
    weight = rng.uniform(0.5, 2.0, 9)
    got = network.gradient(x, soft[:, 1] if classes == 2 else soft, flat, groups=3, sample_weight=weight)
    w = torch.tensor(flat.astype(float), requires_grad=True)
    h = torch.tensor(x.astype(float)).expand(6, -1, -1)
    for index, (part, (i, o, _)) in enumerate(zip(network.layers, network.shapes, strict=True)):
        h = torch.cat([h, torch.ones(6, 9, 1, dtype=h.dtype)], -1) @ w[:, part].reshape(6, i, o)
        h = torch.sigmoid(h) if index < 2 else h
    loss = -(torch.tensor(soft) * torch.log_softmax(h, -1)).sum(-1) * torch.tensor(weight)
    loss.sum().backward()
    assert got.loss == pytest.approx(loss.sum().item() / 6, rel=1e-5)
    assert np.allclose(got.gradient, w.grad.numpy().reshape(3, 2, -1).mean(1), atol=1e-5)


def test_blocks_of_rows_do_not_change_predictions():
    rng = np.random.default_rng(1)
    network = BayesianNetwork()
    currents = rng.uniform(0.4, 4.0, (2, network.n_cells))
    x = rng.normal(size=(300, 11))
    whole = network.forward(x, currents)
    assert np.allclose(whole[:, 200:], network.forward(x[200:], currents), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_blocks_of_rows_do_not_change_gradients(classes, monkeypatch):
    rng = np.random.default_rng(4)
    network = BayesianNetwork(layer_shapes(4, (6, 5), classes), 6.66, 1.1)
    flat = network.flat_weights(rng.uniform(0.4, 4.0, (6, network.n_cells)))
    x, soft = rng.normal(size=(700, 4)).astype(np.float32), rng.dirichlet(np.ones(classes), 700)
    y, weight = soft[:, 1] if classes == 2 else soft, rng.uniform(0.5, 2.0, 700)
    whole = network.gradient(x, y, flat, groups=3, sample_weight=weight)
    monkeypatch.setattr(bayesian, "_GRADIENT_FLOATS", 1)
    blocks = network.gradient(x, y, flat, groups=3, sample_weight=weight)
    assert blocks.loss == pytest.approx(whole.loss, rel=1e-5)
    assert blocks.probability.shape == whole.probability.shape
    np.testing.assert_allclose(blocks.probability, whole.probability, atol=1e-6)
    np.testing.assert_allclose(blocks.gradient, whole.gradient, atol=2e-3)


def test_gradients_of_two_networks_do_not_touch_each_other():
    rng = np.random.default_rng(5)
    networks = [BayesianNetwork(layer_shapes(4, (width,), 2), 6.66, 1.1) for width in (7, 5)]
    flats = [n.flat_weights(rng.uniform(0.4, 4.0, (4, n.n_cells))) for n in networks]
    x, y = rng.normal(size=(20, 4)).astype(np.float32), rng.random(20)
    first = networks[0].gradient(x, y, flats[0], groups=2)
    kept = first.gradient.copy(), first.probability.copy()
    networks[1].gradient(x, y, flats[1], groups=4)
    networks[0].forward_flat(x, flats[0])
    assert np.array_equal(first.gradient, kept[0]) and np.array_equal(first.probability, kept[1])


def test_wrong_shapes_are_named():
    with pytest.raises(ConfigError, match="expects 49"):
        BayesianNetwork(((12, 50, 3), (50, 2, 3)))
    with pytest.raises(ConfigError, match=r"expected \(samples, 9756\)"):
        BayesianNetwork().weights(np.ones((2, 9)))
    with pytest.raises(ConfigError, match=r"expected \(n, 11\)"):
        BayesianNetwork().forward(np.ones((2, 9)), np.ones((1, 9756)))


def test_kl_of_the_prior_itself_is_zero_and_grows_with_the_mean():
    sd = np.full(5, 0.19)
    assert kl_to_prior(np.zeros(5), sd, 0.19) == pytest.approx(0.0, abs=1e-12)
    assert kl_to_prior(np.full(5, 0.19), sd, 0.19) == pytest.approx(2.5)


def test_kl_gradient_is_that_of_its_value():
    network = Chains(layer_shapes(3, (4,)), 6.66, 1.1, 2)
    penalty = exsitu.gaussian_kl(network, "last", 0.19, 2.0)
    reads = np.random.default_rng(0).normal(0, 0.3, (10, network.n_weights)).astype(np.float64)
    _, gradient = penalty(reads, True)
    assert not gradient[network.layers[0]].any()
    k = network.layers[-1][-1]
    step = np.zeros(network.n_weights)
    step[k] = 1e-4
    numeric = (penalty(reads + step, True)[0] - penalty(reads - step, True)[0]) / 2e-4
    assert gradient[k] == pytest.approx(numeric, rel=1e-3)


def test_scaler_quantises_and_clips():
    x = np.random.default_rng(0).normal(2.0, 3.0, (500, 2))
    z = InputScaler.fit(x, bits=8)(np.vstack([x, [[1e9, -1e9]]]))
    assert len(np.unique(z[:, 0])) <= 256 and z.max() == pytest.approx(2.5) and z.min() == pytest.approx(-2.5)
    assert np.abs(InputScaler.fit(x, bits=0)(x).mean(axis=0)).max() < 1e-6


def test_ex_situ_training_learns_and_stays_in_the_window():
    preset = presets.load("tsinghua_taox_hfox")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5))
    y = (x[:, 0] + x[:, 1] > 0).astype(float)
    network = Chains(layer_shapes(5, (10,)), 6.66, 4.0, 2)
    config = exsitu.ExSituConfig(epochs=150, learning_rate=0.05)
    result = exsitu.train(network, preset, x, y, config, rng)
    assert result.accuracy >= 0.95
    assert preset.window_ua[0] <= result.states.min() and result.states.max() <= preset.window_ua[1]


def test_batches_of_an_epoch_share_one_penalty_and_the_rate_falls_to_its_end():
    preset = presets.load("tsinghua_taox_hfox")
    x = np.random.default_rng(0).normal(size=(64, 5))
    y = (x[:, 0] > 0).astype(float)
    network = Chains(layer_shapes(5, (6,)), 6.66, 4.0)

    def states(stop=99, kl=None, **options):
        config = exsitu.ExSituConfig(epochs=40, batch=16, **options)
        return exsitu.train(
            network, preset, x, y, config, np.random.default_rng(1), kl=kl, on_epoch=lambda epoch, *_: epoch == stop
        )

    def flat_penalty(flat, asked):
        return 3.0, np.zeros(network.n_weights, dtype=np.float32)

    assert states(kl=flat_penalty).loss == pytest.approx(states().loss + 3.0)
    last = {
        rate: np.abs(states(final_rate=rate).states - states(38, final_rate=rate).states).max() for rate in (1.0, 0.0)
    }
    assert last[0.0] < 0.05 * last[1.0]


def test_feature_maps_are_found_by_path_and_refused_by_name():
    width = feature_width(feature_map("memristor_bdnn.skills.pouring.lip:lip_features"), 11)
    assert width == 13
    with pytest.raises(ConfigError, match="module:function"):
        feature_map("lip")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        feature_map("memristor_bdnn.skills.pouring.lip:nothing")


def test_lip_features_agree_with_the_pour_path():
    from memristor_bdnn.skills.pouring.context import PourContext, PourParameters, decode
    from memristor_bdnn.skills.pouring.geometry import cup_pose
    from memristor_bdnn.skills.pouring.lip import LIP_FEATURE_NAMES, lip_features

    x = np.random.default_rng(4).uniform(-0.5, 0.5, (1, 11))
    context, parameters = (values[0] for values in decode(x))
    pair, params = PourContext.from_array(context), PourParameters.from_array(parameters)
    pose = cup_pose(pair, params, params.pitch, bowl_position=(0.0, 0.0, 0.0))
    lip = pose @ [-pair.cup_diameter / 2, 0.0, pair.cup_height / 2, 1.0]
    made = dict(zip(LIP_FEATURE_NAMES, lip_features(x)[0], strict=True))
    radius = pair.bowl_diameter / 2
    assert made["lip_x_final"] == pytest.approx(lip[0] / radius, abs=1e-6)
    assert made["lip_z_final"] == pytest.approx((lip[2] - pair.bowl_height) / radius, abs=1e-6)


def test_chains_are_independent_networks():
    rng = np.random.default_rng(0)
    one, three = BayesianNetwork(layer_shapes(4, (5,))), Chains(layer_shapes(4, (5,)), 6.66, 1.1, 3)
    currents = rng.uniform(0.4, 4.0, (6, three.n_cells))
    x, y = rng.normal(size=(7, 4)), rng.random(7)
    flat = three.flat_weights(currents)
    got = three.gradient(x, y, flat, groups=2)
    p = three.forward_flat(x, flat).reshape(6, 3, 7)
    loss = 0.0
    for chain in range(3):
        own = one.flat_weights(currents[:, chain * one.n_cells : (chain + 1) * one.n_cells])
        expected = one.gradient(x, y, own, groups=2)
        part = slice(chain * one.n_weights, (chain + 1) * one.n_weights)
        assert np.allclose(got.gradient[:, part], expected.gradient, atol=1e-6)
        assert np.allclose(p[:, chain], one.forward_flat(x, own), atol=1e-6)
        loss += expected.loss
    assert got.loss == pytest.approx(loss, rel=1e-5)
    assert [len(part) for part in three.layers] == [3 * 25, 3 * 12]
