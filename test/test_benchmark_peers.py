"""Benchmarks peers and growth: every peer is a row, whatever it does; the same work; exponents."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.benchmark import growth, planning
from memristor_bdnn.benchmark.peers import models
from memristor_bdnn.benchmark.peers.measure import Machine, Peer, compare
from memristor_bdnn.cli import main
from memristor_bdnn.errors import ConfigError, PlanningError
from memristor_bdnn.motion import arms, ompl, rrt
from memristor_bdnn.motion.collision import CollisionModel
from memristor_bdnn.motion.ik import solvers
from memristor_bdnn.testing import scenes


def busy(seconds):
    def work():
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    return work


def test_a_peer_is_measured_in_turn_and_the_ratio_is_its_time_over_ours():
    row = compare(busy(0.02), Peer("slow", "", lambda: busy(0.06)), rounds=3)
    assert row["status"] == "measured" and row["rounds"] == 3 and row["version"] == ""
    assert row["ratio"] == pytest.approx(3.0, rel=0.4)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_absent_failing_and_endless_peers_are_rows_that_say_so():
    def broken():
        raise ValueError("wrong version")

    def later():
        calls = iter([None])

        def work():
            busy(0.02)()
            next(calls)

        return work

    absent = compare(busy(0.01), Peer("absent", "no-such-distribution", broken), 1)
    assert absent["status"] == "not installed" and absent["version"] is None and "ratio" not in absent
    failing = compare(busy(0.01), Peer("failing", "numpy", broken), 1)
    assert failing["status"] == "failed: ValueError: wrong version" and failing["version"] == np.__version__
    assert compare(busy(0.01), Peer("later", "", later), 2)["status"].startswith("failed: StopIteration")
    endless = compare(busy(0.01), Peer("endless", "", lambda: busy(60.0)), 1, limit_s=0.3)
    assert endless["status"].startswith("timed out: more than 0.3 s")
    long = compare(busy(0.01), Peer("long", "", lambda: busy(0.1)), 9, limit_s=0.35)
    assert long["status"].startswith("timed out") and 1 <= long["rounds"] < 9 and long["ratio"] > 1.0


def test_torch_predicts_with_the_learners_own_network():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    chips = accelerator.create("simulated", seed=0)
    learner = learners.create("msgld", chips, {"ex_situ": {"epochs": 20}}, seed=0)
    x = np.random.default_rng(0).uniform(-1, 1, (64, learner.n_inputs))
    learner.fit(x, (x[:, 0] > 0).astype(float))
    mean, sd = models.torch_prediction(learner, x, 200)()
    ours = learner.predict(x, 200)
    error = np.sqrt(2 / 200) * ours.std
    assert np.abs(mean.numpy() - ours.mean).max() < 5 * error.max()
    assert np.corrcoef(sd.numpy(), ours.std)[0, 1] > 0.9


def test_eaik_reaches_what_ours_reaches():
    pytest.importorskip("eaik.IK_HP")
    arm = arms.load("panda")
    solver = solvers.create(arm)
    q = np.random.default_rng(0).uniform(*arm.limits(), (4, arm.dof))
    q[:, -1] = 0.3
    poses = solver.chain.fk(q)
    models.eaik_robot(solver.chain, 0.3, poses, q)
    with pytest.raises(ConfigError, match="does not reach"):
        models.eaik_robot(solver.chain, -1.3, poses, q)


def test_the_command_writes_a_ratio_for_every_peer_there_is(tmp_path, capsys):
    out = tmp_path / "peers.json"
    command = ["benchmark", "peers", "--quick", "--arm-trials", "0", "--work", "pulses", "--work", "ik_batch"]
    assert main([*command, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert set(record["results"]) == {"pulses", "ik_batch"}
    assert set(record["results"]["pulses"]) == {"python_loop", "numpy_naive", "aihwkit"}
    assert record["results"]["pulses"]["python_loop"]["ratio"] > 5.0
    row = record["results"]["pulses"]["aihwkit"]
    assert "ratio" in row or row["status"] != "measured"
    assert record["limits"]["flops"] > 1e8 and record["limits"]["random_bits_s"] < 1e-7
    text = capsys.readouterr().out
    assert "bound by" in text and "GFLOP/s" in text and "slower than" in text
    assert main(["benchmark", "peers", "--work", "nothing"]) != 0
    assert "--work nothing: choose from predict" in capsys.readouterr().err


def test_the_machine_is_measured_in_units_that_can_be():
    machine = Machine.measure()
    assert 1e8 < machine.flops < 1e13 and 1e-11 < machine.bits_s < 1e-7 and 1e7 < machine.bytes_s < 1e13


def test_exponents_are_slopes_over_the_larger_half():
    sizes = [10, 100, 1000, 10_000]
    assert growth.exponent(sizes, [5e-3 * n**1.3 for n in sizes]) == pytest.approx(1.3)
    assert growth.exponent(sizes, [9.0, 9.0, 1e-3 * 1000, 1e-3 * 10_000]) == pytest.approx(1.0)
    assert growth.exponent([1, 2], [3.0, 3.0]) == pytest.approx(0.0)


def test_growth_prints_and_writes_exponents(tmp_path, capsys):
    out = tmp_path / "growth.json"
    assert main(["benchmark", "growth", "--quick", "--only", "pulses", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["results"]["pulses"]
    assert len(found["sizes"]) == len(found["seconds"]) == len(found["memory_gib"]) == 3
    assert 0.2 < found["exponent"] < 2.0 and "exponent" in capsys.readouterr().out


def test_ompl_gives_up_by_the_time_of_this_process():
    pytest.importorskip("ompl")
    arm = arms.load("panda")
    model = CollisionModel(arm, padding=0.003)
    scenes.hard_scene(model)
    query = scenes.random_query(model, solvers.create(arm), np.random.default_rng(0))
    space, config = rrt.JointSpace(model), rrt.RRTConfig(timeout=30.0)
    path = ompl.plan(space, *query, np.random.default_rng(0), config, clock=time.process_time)
    assert model.first_contact(path) is None
    with pytest.raises(PlanningError, match="of this process's time"):
        none = np.random.default_rng(0)
        ompl.plan(space, *query, none, replace(config, timeout=0.001), clock=iter(range(10**6)).__next__)
    model.close()


def test_a_planner_that_finds_nothing_does_not_end_the_benchmark(monkeypatch, capsys):
    def nothing(*_, **__):
        raise PlanningError("timeout", "OMPL found no path in 20.0 s of this process's time")

    monkeypatch.setattr(ompl, "available", lambda: True)
    monkeypatch.setattr(ompl, "plan", nothing)
    found = planning.motion_planning(arms.load("panda"), 0, 6)
    assert found["ompl_failed_open"] == found["ompl_failed_hard"] == 6
    assert "ompl_median_ms_open" not in found and found["rrt_solved_share"] == 1.0
