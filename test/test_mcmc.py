"""MCMC on rows: the chain samples the posterior, the devices are the proposal, the cart-pole is gymnasium's."""

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.benchmark.mcmc import cartpole
from memristor_bdnn.benchmark.mcmc.tasks import DeepQ, cancer_runs, cancer_split, test_policy
from memristor_bdnn.device import presets
from memristor_bdnn.errors import CapacityError, ConfigError, UnsupportedError
from memristor_bdnn.learners.mcmc import rows as rows_module
from memristor_bdnn.learners.mcmc.models import BernoulliData, Logistic, Network, log_sigmoid_sum, posterior_mean
from memristor_bdnn.learners.mcmc.rows import ChainConfig, Posterior, RowArrays, run_chains

test_policy.__test__ = False
PRESET = presets.load("leti_hfo2_oxram")
EVEN = presets.override(PRESET, {"blind_write": {"device_spread": 0.0}})


def arrays(chains=3, rows=20, pairs=4, preset=PRESET, seed=0, **faults):
    return RowArrays(preset, chains, rows, pairs, np.random.default_rng(seed), **faults)


def test_a_set_lands_around_the_gate_level_with_the_presets_spread():
    rows = arrays(chains=4000, rows=2, pairs=1, preset=EVEN)
    everyone, zero = np.arange(4000), np.zeros(4000, int)
    rows.first(everyone, zero)
    pair = rows._pair[:, 0]
    assert pair.mean() == pytest.approx(40.0, rel=0.01)
    expected = float(EVEN.blind_sd_ua(8.0)) / EVEN.read_voltage_v
    assert pair.std() == pytest.approx(expected, rel=0.05)
    assert 0.05 * 40 < expected < 0.2 * 40


def test_proposals_follow_the_row_they_start_from_within_the_gate_table():
    rows = arrays(chains=2, rows=3, pairs=500, preset=EVEN)
    rows._pair[:, 0, :, 0], rows._pair[:, 0, :, 1] = 70.0, 120.0
    rows.propose(np.arange(2), np.zeros(2, int), np.ones(2, int))
    assert rows._pair[:, 1, :, 0].mean() == pytest.approx(70, abs=1)
    assert rows._pair[:, 1, :, 1].mean() == pytest.approx(80, abs=1)


def test_a_share_below_one_copies_the_rest():
    rows = arrays(chains=1, rows=3, pairs=1000)
    who = np.array([0])
    rows.first(who, who)
    rows.propose(who, who, who + 1, share=0.1)
    same = (rows._pair[0, 1] == rows._pair[0, 0]).all(axis=1).mean()
    assert 0.86 < same < 0.94


def test_stuck_devices_stay():
    rows = arrays(chains=2, rows=2, pairs=500, stuck_low=0.1, stuck_high=0.05)
    rows.first(np.arange(2), np.zeros(2, int))
    pair = rows._pair[:, 0]
    assert (pair == 0).mean() == pytest.approx(0.1, abs=0.03)
    assert (pair == 200).mean() == pytest.approx(0.05, abs=0.02)


def test_the_chain_samples_a_known_posterior():
    """A Gaussian likelihood with a wide prior: mean and SD of g must be those of the likelihood."""
    rows = arrays(chains=24, rows=600, pairs=1, preset=EVEN)
    posterior = run_chains(
        rows, lambda _, g: -0.5 * ((g[:, 0] - 8.0) / 6.0) ** 2, ChainConfig(rows=600, burn_in=50, prior_sd_us=1e4)
    )
    weights = posterior.weights()
    mean = (weights * posterior.g[..., 0]).sum(axis=1)
    second = (weights * posterior.g[..., 0] ** 2).sum(axis=1)
    assert np.mean(mean) == pytest.approx(8.0, abs=1.0)
    assert np.sqrt(np.mean(second - mean**2)) == pytest.approx(6.0, rel=0.15)


def test_counters_proposals_and_operations_agree():
    rows = arrays(chains=5, rows=30, pairs=2)
    posterior = run_chains(rows, lambda _, g: -np.abs(g).sum(axis=1) / 4, ChainConfig(rows=30, burn_in=5))
    assert (posterior.accepted == 29).all()
    assert (posterior.counters >= 1).all()
    # Every proposal is either accepted (a new row, counter 1) or adds one to the counter of the row it left.
    np.testing.assert_array_equal(posterior.counters.sum(axis=1), posterior.proposals + 1)
    refused = posterior.proposals - posterior.accepted
    np.testing.assert_array_equal(posterior.operations, 4 * (1 + posterior.proposals + refused))
    np.testing.assert_allclose(posterior.weights().sum(axis=1), 1.0)
    assert (posterior.weights()[:, :5] == 0).all()


def test_patience_skips_rows_and_limits_end_chains():
    rows = arrays(chains=2, rows=10, pairs=2)
    never = run_chains(rows, lambda _, g: -1e9 * g[:, 0] ** 2, ChainConfig(rows=10, burn_in=1, patience=3))
    assert (never.proposals <= 3 * 9 + 9).all()
    limit = ChainConfig(rows=10, burn_in=1, max_proposals=7)
    ended = run_chains(arrays(rows=10), lambda _, g: -1e6 * (g**2).sum(1), limit)
    assert ended.proposals.max() == 7
    np.testing.assert_allclose(ended.weights().sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("chains", "share", "changes"),
    [(1, 1.0, {}), (1, 0.4, {}), (3, 1.0, {}), (1, 1.0, {"patience": 7}), (1, 1.0, {"max_proposals": 203})],
)
def test_proposals_drawn_ahead_give_the_same_chain(chains, share, changes, monkeypatch):
    """Accepted rows, counters, operations, and what is drawn afterwards: as if they were drawn one by one."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(chains, 40, 5))
    data = BernoulliData(Logistic(0.05), x, (x[..., 0] > 0).astype(float))
    config = ChainConfig(rows=24, burn_in=5, **changes)
    seen: list[int] = []
    found = []
    for alone in (rows_module._Walk.alone, lambda walk, chain: walk.together(np.array([chain]))):
        monkeypatch.setattr(rows_module._Walk, "alone", alone)
        rows = arrays(chains=chains, rows=24, pairs=5, stuck_low=0.05)
        counted = lambda who, g: (seen.append(len(who)), data(who, g))[1]  # noqa: E731
        found.append((run_chains(rows, counted, config, share), rows._pair, rows.rng.random()))
    (ahead, pair, after), (one_by_one, pair_1, after_1) = found
    for name in ("counters", "proposals", "accepted", "operations"):
        np.testing.assert_array_equal(getattr(ahead, name), getattr(one_by_one, name))
    np.testing.assert_array_equal(ahead.g, one_by_one.g)
    np.testing.assert_array_equal(pair, pair_1)
    assert after == after_1 and ahead.proposals.min() > 30
    assert max(seen) > 1, "several were drawn at once"


def test_several_models_of_one_chain_have_its_likelihood():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3, 20, 4))
    for model in (Logistic(0.05), Network(2, 0.1)):
        data = BernoulliData(model, x, (x[..., 1] > 0).astype(float))
        g = rng.normal(size=(3, model.parameters(4))).astype(np.float32) * 20
        each = [data(np.array([1]), row[None])[0] for row in g]
        np.testing.assert_allclose(data(np.array([1, 1, 1]), g), each, rtol=1e-5)


def test_log_likelihoods_match_the_definition():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(9, 3)), rng.normal(size=(2, 3)).astype(np.float32) * 30
    y = (x[:, 0] > 0).astype(float)
    for model in (Logistic(0.05), Network(2, 0.1)):
        parameters = rng.normal(size=(2, model.parameters(3))).astype(np.float32) * 20
        p = 1 / (1 + np.exp(-model.logits(x, parameters)))
        expected = (y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
        np.testing.assert_allclose(BernoulliData(model, x, y)(np.arange(2), parameters), expected, rtol=1e-4)
        batched = BernoulliData(model, np.stack([x, x, x]), np.stack([y, y, y]))
        np.testing.assert_allclose(batched(np.array([0, 2]), parameters), expected, rtol=1e-4)
    np.testing.assert_allclose(log_sigmoid_sum(np.array([[-200.0, 0.0]], np.float32)), [-200 - np.log(2)], rtol=1e-5)
    assert Network(9).parameters(10) == 99
    assert g.shape == (2, 3)


def test_prediction_weighs_rows_by_their_counters():
    g = np.array([[[100.0], [-100.0], [20.0]]], np.float32)
    counters = np.array([[5, 1, 3]])
    posterior = Posterior(g, counters, np.array([9]), np.array([2]), 1, np.array([0]))
    mean = posterior_mean(Logistic(0.05), posterior, np.array([[1.0]]))
    expected = (1 / (1 + np.exp(5)) + 3 / (1 + np.exp(-1))) / 4
    assert mean[0, 0] == pytest.approx(expected, rel=1e-5)


def test_breast_cancer_is_learned_on_few_rows():
    accuracy, posterior = cancer_runs(PRESET, ChainConfig(rows=96, burn_in=12, patience=30), 8)
    assert np.median(accuracy) >= 0.93
    assert posterior.operations.min() > 0
    split = cancer_split(0)
    assert split.x_train.shape == (369, 16) and split.x_test.shape == (200, 16)
    assert 0.3 < split.y_train.mean() < 0.45


def test_the_cart_pole_is_gymnasiums_step_by_step():
    gymnasium = pytest.importorskip("gymnasium")
    environment = gymnasium.make("CartPole-v1").unwrapped
    rng = np.random.default_rng(0)
    for seed in range(20):
        start, _ = environment.reset(seed=seed)
        state, over, steps = np.array([environment.state], dtype=float), False, 0
        np.testing.assert_allclose(start, state[0], rtol=1e-6)
        while not over and steps < cartpole.EPISODE:
            action = int(rng.integers(2)) if seed % 2 else int(state[0, 2] + 0.2 * state[0, 3] > 0)
            _, _, over, _, _ = environment.step(action)
            state, fallen = cartpole.step(state, np.array([action == 1]))
            np.testing.assert_allclose(state[0], environment.state, rtol=1e-9, atol=1e-12)
            assert bool(fallen[0]) == over
            steps += 1
    starts = cartpole.reset(2000, rng)
    assert np.abs(starts).max() <= 0.05 and np.abs(starts).max() > 0.049


def test_episode_rewards_of_a_good_and_a_bad_controller():
    good, bad = [1.0, 2.0, 40.0, 12.0], [0.0, 0.0, -40.0, 0.0]
    rewards = cartpole.episode_rewards(np.array([good, bad] * 3, np.float32), np.random.default_rng(0))
    assert (rewards[::2] == 500).all()
    assert (rewards[1::2] < 20).all()


@pytest.mark.parametrize("acceptance", ["temperature", "ratio"])
def test_cart_pole_training_improves_on_the_first_rows(acceptance):
    config = cartpole.CartPoleConfig(rows=40, burn_in=10, acceptance=acceptance, max_proposals=300)
    posterior = cartpole.train(PRESET, config, 3, np.random.default_rng(0))
    kept = [posterior.g[k, np.argmax(posterior.weights()[k])] for k in range(3)]
    rewards = cartpole.episode_rewards(np.repeat(kept, 5, axis=0), np.random.default_rng(1))
    assert np.median(rewards) > 100
    assert (posterior.proposals <= 300 + config.parallel).all()


def test_policies_play_in_gymnasium():
    pytest.importorskip("gymnasium")
    g = np.array([[[0.0] * 4, [1.0, 2.0, 40.0, 12.0]]], np.float32)
    posterior = Posterior(g, np.array([[1, 5]]), np.array([6]), np.array([1]), 1, np.array([0]))
    assert test_policy(cartpole.Policy(posterior, 0), 2, seed=0) == 500
    agents = DeepQ(2, 0)
    agents.train(120)
    assert test_policy(agents.policy(1), 2, seed=0) >= 8


def data(n=80, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    return x, (x[:, 0] ** 2 + x[:, 1] > 0.3).astype(float)


def test_the_learner_learns_a_curved_rule_through_its_squares():
    learner = learners.create("mcmc", accelerator.create("simulated", seed=0), {"n_inputs": 2, "weight_span": 6.0})
    learner.fit(*data())
    x, y = data(300, 1)
    assert ((learner.predict(x).mean > 0.5) == y).mean() > 0.85
    assert len(learner.order) == learner.config.rows
    assert learner.counters[learner.order].sum() >= len(learner.order)
    assert set(learner.order).isdisjoint(learner.spare)


def test_hardware_without_blind_writes_is_programmed_with_verification():
    chips = accelerator.create("simulated", seed=0)

    def refuse(*_):
        raise UnsupportedError("no blind write here")

    chips.program = refuse
    options = {"n_inputs": 2, "rows": 16, "burn_in": 16, "weight_span": 6.0}
    learner = learners.create("mcmc", chips, options)
    learner.fit(*data())
    assert learner.verified and chips.ledger.verify_reads > 0
    with pytest.raises(UnsupportedError):
        learners.create("mcmc", chips, {**options, "writing": "blind"}).fit(*data())


def test_too_many_rows_name_the_cells_missing():
    with pytest.raises(CapacityError, match="use rows = "):
        learners.create("mcmc", accelerator.create("simulated"), {"rows": 4000})
    with pytest.raises(ConfigError, match="burn_in"):
        ChainConfig(rows=10, burn_in=10)
