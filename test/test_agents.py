"""Reinforcement learning: the update, the gate voltages, exact resumption, environments, refusals."""

import numpy as np
import pytest
import torch

from memristor_bdnn import accelerator, agents
from memristor_bdnn.agents import environments, gates
from memristor_bdnn.agents.dqn import DQNAgent, DQNConfig
from memristor_bdnn.agents.environments import Environment, MountainCar, task
from memristor_bdnn.agents.mcmc import DeviceRows, MCMCAgent, MCMCAgentConfig
from memristor_bdnn.agents.network import PairLayout
from memristor_bdnn.agents.training import Training, TrainingConfig
from memristor_bdnn.agents.weights import DeviceWeights, ExactWeights
from memristor_bdnn.device import presets
from memristor_bdnn.errors import CapacityError, ConfigError, UnsupportedError
from memristor_bdnn.state import save_npz

LAYOUT = PairLayout((4, 48, 48, 2))


def device_weights(layout=LAYOUT, seed=0, **preset):
    chips = accelerator.create("simulated", preset=gates.gate_preset(**preset), seed=seed)
    return DeviceWeights(chips, layout, np.random.default_rng(seed))


def filled(agent, n=200, seed=1):
    """An agent with random transitions to learn from."""
    rng, (inputs, *_, actions) = np.random.default_rng(seed), agent.layout.sizes
    for _ in range(n):
        before, after = rng.normal(size=(2, inputs))
        agent.replay.add(before, int(rng.integers(actions)), float(rng.normal()), after, rng.random() < 0.1)
    return agent


# --- where the devices lie, and what they are


def test_pairs_are_adjacent_rows_and_in_the_last_layer_adjacent_columns():
    assert LAYOUT.n_cells == 5184 and [a.shape for a in LAYOUT.arrays(np.zeros(5184))] == [(8, 48), (96, 48), (48, 4)]
    sign = np.zeros(LAYOUT.n_cells, int)
    sign[LAYOUT.plus], sign[LAYOUT.minus] = 1, -1
    first, second, last = LAYOUT.arrays(sign)
    for rows in (first, second):
        assert (rows[0::2] == 1).all() and (rows[1::2] == -1).all()
    assert (last[:, 0::2] == 1).all() and (last[:, 1::2] == -1).all()
    weights = np.arange(LAYOUT.n_weights)
    cells = np.zeros(LAYOUT.n_cells, int)
    cells[LAYOUT.plus] = weights
    for matrix, array in zip(LAYOUT.matrices(weights)[:2], LAYOUT.arrays(cells)[:2], strict=True):
        assert (array[0::2] == matrix).all()


@pytest.mark.parametrize("slope, reach", [(400.0, 1.44), (125.0, 0.45)])
def test_the_slope_of_the_gate_decides_how_large_a_weight_can_be(slope, reach):
    weights = device_weights(slope_us_per_v=slope, write_sd_us=0.0, device_spread=0.0)
    weights.descend(np.full(LAYOUT.n_weights, -10.0))
    assert weights.read(50).mean() == pytest.approx(reach, abs=0.01)


# --- one learning step


def test_the_update_of_the_twin_is_that_of_autograd():
    config = DQNConfig(twin_gain=1.0)
    twin = ExactWeights(LAYOUT, gates.GateLine(gates.gate_preset()), np.random.default_rng(0), gain=1.0)
    agent = filled(DQNAgent(twin, config, np.random.default_rng(3)))
    parameters = [torch.tensor(p.copy()) for p in (*LAYOUT.matrices(twin.read()), *LAYOUT.vectors(agent.biases))]
    for p in parameters:
        p.requires_grad_()
    optimiser = torch.optim.RMSprop(parameters, lr=5e-4, alpha=0.9, eps=1e-8)

    def values(x):
        w, b = parameters[:3], parameters[3:]
        hidden = torch.relu(torch.relu(x @ w[0] + b[0]) @ w[1] + b[1])
        return hidden @ w[2] + b[2]

    for _ in range(5):
        again = np.random.default_rng()
        again.bit_generator.state = agent.rng.bit_generator.state
        before, action, reward, after, ended = map(torch.tensor, agent.replay.batch(80, again))
        with torch.no_grad():
            goal = reward + 0.99 * (1 - ended) * values(after).amax(1)
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(values(before).gather(1, action[:, None])[:, 0], goal).backward()
        state = np.random.default_rng(9).normal(size=4).astype(np.float32)
        with torch.no_grad():
            expected = values(torch.tensor(state))
        found = agent.learn(state)  # acts on the values from before the update
        optimiser.step()
        assert found == pytest.approx(expected.numpy(), abs=1e-4)
    own = np.concatenate([twin.read(), agent.biases])
    theirs = np.concatenate([p.detach().numpy().ravel() for p in parameters])
    assert np.abs(own - theirs).max() < 2e-5


def test_biases_stay_within_their_limit():
    twin = ExactWeights(LAYOUT, gates.GateLine(gates.gate_preset()), np.random.default_rng(0))
    agent = filled(DQNAgent(twin, DQNConfig(learning_rate=10.0), np.random.default_rng(0)))
    agent.learn(np.zeros(4, np.float32))
    assert np.abs(agent.biases).max() == 2.5


# --- gate voltages


def test_a_step_moves_the_two_gate_voltages_apart_and_pulses_only_what_moves():
    weights = device_weights()
    ledger, before = weights.accelerator.ledger, weights.settings()
    sets, resets = ledger.set_pulses, ledger.reset_pulses
    step = np.zeros(LAYOUT.n_weights)
    step[:3] = 0.001, -0.002, 0.003
    weights.descend(step)
    moved = weights.gate_v - before
    assert moved[LAYOUT.plus[:3]] == pytest.approx([-0.002, 0.004, -0.006])  # 250 uS / 125 uS/V = 2 V a weight
    assert moved[LAYOUT.minus[:3]] == pytest.approx([0.002, -0.004, 0.006])
    assert np.count_nonzero(moved) == 6
    # of each pair one device rises: SET; the other falls: RESET and SET
    assert (ledger.set_pulses - sets, ledger.reset_pulses - resets) == (6, 3)
    weights.descend(np.full(LAYOUT.n_weights, 100.0))
    assert set(np.unique(weights.gate_v)) == {0.6, 1.5}
    pulses = ledger.set_pulses
    weights.descend(np.full(LAYOUT.n_weights, 1.0))  # at the end of the range nothing changes, so nothing is written
    assert ledger.set_pulses == pulses


def test_the_scatter_of_writes_does_not_add_up():
    weights = device_weights(device_spread=0.0, write_sd_us=2.0)
    middle = np.full(LAYOUT.n_cells, 1.05)
    scatter = []
    for _ in range(30):
        weights.restore(middle)
        scatter.append(float(weights.read(20).std()))
    assert scatter[0] == pytest.approx(2.0 * np.sqrt(2) / 250, rel=0.1)
    assert scatter[-1] == pytest.approx(scatter[0], rel=0.1)


def test_the_twin_starts_where_the_devices_start_and_steps_as_they_do():
    weights = device_weights(write_sd_us=0.0, device_spread=0.0)
    twin = ExactWeights(LAYOUT, weights.line, np.random.default_rng(0))
    step = np.random.default_rng(1).normal(0, 0.01, LAYOUT.n_weights)
    for some in (weights, twin):
        some.descend(step)
    assert np.abs(weights.read(200) - twin.read()).max() < 0.005


# --- Metropolis-Hastings


def test_for_two_actions_the_prior_is_that_of_the_difference():
    chips = accelerator.create("simulated", preset=gates.rows_preset())
    agent = MCMCAgent(DeviceRows(chips, 8, 8), 4, 2, MCMCAgentConfig(rows=8, burn_in=2), np.random.default_rng(0))
    drawn = np.random.default_rng(1).uniform(10, 40, 8).astype(np.float32)
    g = drawn / 0.2
    difference = g[4:] - g[:4]
    assert agent._log_prior(drawn) == pytest.approx(float(-0.5 * (difference**2).sum() / 50**2), rel=1e-5)


def test_a_refused_row_is_reset_before_it_is_drawn_again():
    env = Environment(task("cartpole"))
    agent = agents.make(
        "mcmc", env, options={"rows": 8, "burn_in": 2, "kappa": 1e-6, "patience": 0, "max_proposals": 60}
    )
    training = Training(agent, env, TrainingConfig(episodes=60))
    training.run()
    ledger = training.accelerator.ledger
    refused = int((agent.counters[agent.counters > 0] - 1).sum())
    assert refused > 0 and agent.proposals == refused + np.count_nonzero(agent.counters)
    assert ledger.set_pulses == 8 * agent.proposals and ledger.reset_pulses >= 8 * (refused - 1)
    assert agent.values(np.zeros(4, np.float32)) == pytest.approx([0.5, 0.5])


# --- training


@pytest.mark.parametrize("name, hardware", [("dqn", "simulated"), ("dqn", "software"), ("mcmc", "simulated")])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(tmp_path, name, hardware):
    options = {"dqn": {"batch": 16, "hidden": [8, 8]}, "mcmc": {"rows": 12, "burn_in": 2}}[name]
    config = TrainingConfig(
        episodes=11,
        validation_episodes=2,
        compare_from=1.0,
        validate_every=3,
        checkpoint_every=3,
        stop_when_solved=False,
    )

    def training(path=None):
        env = Environment(task("cartpole"))
        return Training(agents.make(name, env, 5, hardware, options=options), env, config, 5, path)

    def interrupt(now):
        if len(now.progress.total) == 8:
            raise KeyboardInterrupt

    whole, path = training(), tmp_path / "agent.npz"
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        training(path).run(interrupt)
    resumed = training(path)
    assert len(resumed.progress.total) == 6
    resumed.run()
    one, other = whole.progress, resumed.progress
    assert (one.total, one.steps, one.validated, one.validation_steps) == (
        other.total,
        other.steps,
        other.validated,
        other.validation_steps,
    )
    for key, value in whole.agent.state().items():
        assert np.array_equal(value, resumed.agent.state()[key]), key
    if whole.accelerator is not None:
        assert whole.accelerator.ledger.summary() == resumed.accelerator.ledger.summary()
    again = agents.reopen(path)
    assert again.progress.done and np.array_equal(again.test(2)[0], whole.test(2)[0])


def test_cart_pole_is_learned_on_devices():
    env = Environment(task("cartpole"))
    training = Training(agents.make("dqn", env, 3), env, TrainingConfig(episodes=60), 3)
    assert training.run().best_value > 150  # 9 before learning
    assert training.test(3)[0].mean() > 100


def test_training_comparing_and_testing_use_different_episodes():
    kinds = (environments.TRAIN, environments.VALIDATE, environments.TEST)
    starts = {environments.episode_seed(0, kind, k) for kind in kinds for k in range(200)}
    assert len(starts) == 600


def test_the_best_policy_is_written_again_at_the_end():
    env = Environment(task("cartpole"))
    agent = agents.make("dqn", env, options={"batch": 16, "hidden": [8]})
    config = TrainingConfig(episodes=3, compare_from=1.0, validation_episodes=2)
    training = Training(agent, env, config)
    training.run()
    best = {"weights": np.linspace(0.6, 1.5, agent.layout.n_cells), "biases": np.zeros(10, np.float32)}
    progress = training.progress
    progress.best, progress.best_value, progress.present_is_best, progress.done = best, 0.0, False, False
    training.run()
    assert np.array_equal(agent.weights.gate_v, best["weights"]) and not agent.biases.any()


# --- environments


def test_the_mountain_cars_velocity_rule_takes_42_steps():
    env, steps = MountainCar(), []
    for seed in range(100):
        seen, _ = env.reset(seed=seed)
        won, n = False, 0
        while not won:
            seen, reward, won, _, _ = env.step(environments.with_the_speed(seen))
            n += 1
            assert reward == (0.0 if won else -1.0)
        steps.append(n)
    assert np.median(steps) == 42


@pytest.mark.parametrize("name", ["Acrobot-v1", "MountainCar-v0", "CartPole-v1", "mountain-car"])
@pytest.mark.parametrize("agent", ["dqn", "mcmc"])
def test_any_environment_with_discrete_actions_and_vectors_will_do(name, agent):
    env = Environment(environments.task(name))
    options = {"dqn": {"batch": 8, "hidden": [8]}, "mcmc": {"rows": 3, "burn_in": 1, "bias": True}}[agent]
    training = Training(
        agents.make(agent, env, options=options), env, TrainingConfig(episodes=1, validation_episodes=1)
    )
    assert len(training.run().total) == 1
    assert np.isfinite(training.agent.values(env.reset(0))).all()


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("Pendulum-v1", UnsupportedError, "Discrete"),
        ("FrozenLake-v1", UnsupportedError, "vector"),
        ("CarRacing-v3", (UnsupportedError, ConfigError), "CarRacing"),
        ("Nothing-v0", ConfigError, "Nothing"),
        ("no such name!", ConfigError, "no such name"),
    ],
)
def test_what_an_agent_cannot_act_in_is_refused(name, error, words):
    with pytest.raises(error, match=words):
        Environment(task(name))


def test_pictures_are_refused():
    from gymnasium import spaces

    class Pictures(MountainCar):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    with pytest.raises(UnsupportedError, match="images"):
        Environment(environments.Task("pictures", Pictures, np.ones(1)))


def test_an_accelerator_without_blind_writes_is_refused():
    from memristor_bdnn.accelerator.simulated import SimulatedAccelerator

    class Blunt(SimulatedAccelerator):
        def _program(self, cells, target_ua):
            raise UnsupportedError("no gate voltages here")

    preset = gates.gate_preset()
    with pytest.raises(UnsupportedError, match=r"blind writes.*no gate voltages here"):
        DeviceWeights(Blunt(preset), LAYOUT, np.random.default_rng(0))
    with pytest.raises(UnsupportedError, match="no gate voltages here"):
        DeviceRows(Blunt(preset), 4, 4)
    env = Environment(task("mountain-car"))
    with pytest.raises(UnsupportedError, match="escim"):
        agents.make("dqn", env, hardware="escim")  # said before any board is looked for


def test_bad_requests_are_refused():
    env = Environment(task("mountain-car"))
    with pytest.raises(ConfigError, match="choose one of dqn, mcmc"):
        agents.make("sarsa", env)
    with pytest.raises(ConfigError, match="rl_gate_400"):
        agents.make("dqn", env, preset="gold")
    with pytest.raises(CapacityError):
        agents.make("dqn", env, options={"hidden": [400, 400]})
    with pytest.raises(ConfigError, match="batch"):
        DQNConfig(batch=100, memory=50)
    with pytest.raises(ConfigError, match="burn_in"):
        MCMCAgentConfig(rows=5, burn_in=5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "agent.npz"
    env = Environment(task("cartpole"))
    agent = agents.make("dqn", env, options={"batch": 8, "hidden": [8]})
    Training(agent, env, TrainingConfig(episodes=4, compare_from=1.0, validation_episodes=1), 0, path).run()
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c.update({"agent.gate_v": c["agent.gate_v"] + 1.0}), "gate_v"),
        (lambda c: c.update({"best.weights": c["best.weights"] * np.nan}), "gate_v"),
        (lambda c: c.update({"agent.biases": c["agent.biases"][:-1]}), "biases"),
        (lambda c: c.update({"agent.replay.action": c["agent.replay.action"] + 7}), "action"),
        (lambda c: c.update({"agent.replay.count": np.array([10**6])}), "replay"),
        (lambda c: c.update({"steps": c["steps"][1:]}), "steps"),
        (lambda c: c.update({"rng": c["rng"][:-3]}), "rng"),
        (lambda c: c.update({"more": np.zeros(3)}), "more"),
        (lambda c: c.pop("agent.square_w"), "square_w"),
        (lambda c: c.pop("validated"), "validated"),
        (lambda c: c.pop("what"), "what"),
        (lambda c: c.pop("accelerator.identity"), "identity"),
        (lambda c: [c.pop(k) for k in list(c) if k.startswith("accelerator.")], "chips"),
        (lambda c: c.update({"what": c["what"][:20]}), "JSON"),
        (lambda c: c.update({"format": c["what"]}), "no|not a checkpoint"),
    ],
)
def test_damaged_checkpoints_are_refused(tmp_path, saved, change, words):
    content = dict(saved)
    change(content)
    path = tmp_path / "agent.npz"
    save_npz(path, content)
    with pytest.raises(ConfigError, match=words):
        agents.reopen(path)


def test_a_checkpoint_of_other_options_is_refused(tmp_path, saved):
    path = tmp_path / "agent.npz"
    save_npz(path, saved)
    env = Environment(task("cartpole"))
    for change, words in (
        ({"options": {"batch": 9, "hidden": [8]}}, "batch"),
        ({"seed": 1}, "seed"),
        ({"hardware": "software"}, "accelerator"),
        ({"preset": presets.override(gates.gate_preset(), {"rows": 256})}, "preset"),
    ):
        given = {"options": {"batch": 8, "hidden": [8]}, **change}
        agent = agents.make("dqn", env, **given)
        config = TrainingConfig(episodes=4, compare_from=1.0, validation_episodes=1)
        with pytest.raises(ConfigError, match=words):
            Training(agent, env, config, given.get("seed", 0), path)


def test_a_file_alone_names_no_package_to_import(tmp_path, saved):
    from memristor_bdnn.state import pack_json, unpack_json

    path = tmp_path / "agent.npz"
    what = {**unpack_json(saved["what"]), "environment": "antigravity:Some-v0"}
    save_npz(path, {**saved, "what": pack_json(what)})
    with pytest.raises(ConfigError, match="--env"):
        agents.reopen(path)
    with pytest.raises(ConfigError, match="not cartpole"):
        agents.reopen(path, environment="cartpole")
