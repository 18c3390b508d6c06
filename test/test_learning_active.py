"""Acquisition functions, the trial store and the loop."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from memristor_bdnn import accelerator, acquisitions, learners
from memristor_bdnn.acquisitions.scores import confident
from memristor_bdnn.active import recipes
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.errors import ConfigError, MemristorError, PlanningError, StoreError
from memristor_bdnn.learners.protocol import LearnReport, Prediction
from memristor_bdnn.skills import Skill
from memristor_bdnn.skills.protocol import TrialOutcome
from memristor_bdnn.spaces import Dimension, Space


def prediction(samples):
    p = np.asarray(samples, dtype=float)
    return Prediction(p.mean(axis=0), p.std(axis=0), p)


def trial(**changes):
    values = {
        "phase": "initial",
        "context": (1.0,),
        "parameters": (2.0,),
        "features": (0.5, 0.25),
        "feasible": True,
        "score": 0.5,
        "fraction": 0.95,
        "seed": 3,
    }
    return Trial(**{**values, **changes})


class Toy(Skill):
    """Succeeds when the parameters add up to more than minus the context."""

    name = "toy"
    context_space = Space([Dimension("a", "", -1, 1)], "context")
    parameter_space = Space([Dimension("b", "", -1, 1), Dimension("c", "", -1, 1)], "parameters")
    measure_space = Space([Dimension("score", "", -1, 1)], "measures")

    def encode(self, context, parameters):
        return np.concatenate([np.repeat(context[None], len(parameters), 0), parameters], axis=1)

    def score(self, measures):
        return float(measures[0])

    def world(self, arm="", options=None, gui=False):
        raise AssertionError("trials are run by the test, not by a world")


class ToyTrials:
    """Toy trials by a formula; some cannot be planned."""

    def __init__(self, feasible=lambda p: True, arm=""):
        self.feasible, self.arm = feasible, arm

    def sample_context(self, rng):
        return Toy().sample_context(rng)

    def run(self, context, parameters, seed):
        if not self.feasible(parameters):
            raise PlanningError("no_ik", "out of reach")
        score = float(np.tanh(parameters.sum() + context[0]))
        return TrialOutcome(True, score, (score + 1) / 2, {"odd": np.float32(1.5), "nan": float("nan")})


class Counting:
    """A learner that only remembers what it was given."""

    def __init__(self):
        self.given = []

    def fit(self, x, y, progress=None, cancelled=None):
        self.given.append(("fit", x.copy(), y.copy()))
        return LearnReport(1, 0.0, 1.0, 0)

    learn_report = LearnReport(1, 0.0, 1.0, 0)

    def learn(self, x, y, progress=None, cancelled=None):
        self.given.append(("learn", x.copy(), y.copy()))
        return self.learn_report

    def predict(self, x, samples=20):
        p = 1 / (1 + np.exp(-x.sum(axis=1)))
        return prediction(np.stack([p * 0.9, p]))

    def save(self, path):
        return ""


CONFIG = LoopConfig(initial_trials=5, queries=4, candidates=30, evaluations=3, evaluation_candidates=20)


def test_closed_forms():
    p = prediction([[0.5, 0.9, 0.1, 0.0], [0.5, 0.9, 0.9, 1.0]])
    assert np.allclose(acquisitions.load("straddle")(p), [0.0, -0.8, 1.96 * 0.8, 1.96 * 1.0])
    assert np.allclose(acquisitions.load("margin")(p), [0.0, -0.8, 0.0, 0.0])
    assert np.allclose(acquisitions.load("variance")(p), [0, 0, 0.16, 0.25])
    assert np.allclose(acquisitions.load("entropy")(p)[[0, 2]], np.log(2))
    assert np.allclose(acquisitions.load("bald")(p), [0, 0, np.log(2) - 0.325083, np.log(2)], atol=1e-5)
    assert np.argmax(confident(prediction([[0.7, 0.9], [0.7, 0.6]]))) == 0


def test_random_needs_a_generator_and_unknown_names_are_refused():
    p = prediction([[0.5, 0.9]])
    assert acquisitions.load("random")(p, np.random.default_rng(0)).shape == (2,)
    with pytest.raises(ConfigError, match="generator"):
        acquisitions.load("random")(p)
    with pytest.raises(ConfigError, match="straddle, random"):
        acquisitions.load("best")


def test_store_gives_back_what_was_committed(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrialStore(path, {"skill": "toy"}) as store:
        store.commit(trial())
        store.commit(trial(feasible=False, score=0.0, details={"reason": "no_ik"}))
        store.commit(trial(phase="query", score=-0.2))
        store.commit(trial(phase="evaluation", score=1.0))
    with TrialStore(path) as again:
        assert again.trials[0] == trial() and again.metadata == {"skill": "toy"}
        x, y, scores = again.labels()
        assert x.shape == (2, 2) and y.tolist() == [1.0, 0.0] and scores.tolist() == [0.5, -0.2]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path, cut):
    path = tmp_path / "t.jsonl"
    with TrialStore(path) as store:
        store.commit(trial())
        store.commit(trial(seed=4))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.warns(UserWarning, match="incomplete last line"), TrialStore(path) as store:
        assert [t.seed for t in store.trials] == [3]
        store.commit(trial(seed=5))
    with TrialStore(path) as store:
        assert [t.seed for t in store.trials] == [3, 5]


def test_damage_before_the_end_is_refused_and_nothing_is_changed(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrialStore(path) as store:
        for seed in range(3):
            store.commit(trial(seed=seed))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"0.95", b"0.96")
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="line 3 is damaged"):
        TrialStore(path)
    assert path.read_bytes() == before


def test_other_schema_metadata_writer_and_values_are_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrialStore(path, {"skill": "toy"}) as store:
        with pytest.raises(StoreError, match="in use by another process"):
            TrialStore(path)
        with pytest.raises(StoreError, match="phase"):
            trial(phase="test")
        with pytest.raises(StoreError, match="allowed"):
            trial(score=2.0)
        store.commit(trial())
    with pytest.raises(StoreError, match="skill is 'toy'"):
        TrialStore(path, {"skill": "pouring"})
    with TrialStore(path, readonly=True) as reader, pytest.raises(StoreError, match="read-only"):
        reader.commit(trial())
    import zlib

    text = '{"schema": "memristor_bdnn.trials", "version": 99}'
    (tmp_path / "u.jsonl").write_text(f"{zlib.crc32(text.encode()):08x} {text}\n")
    with pytest.raises(StoreError, match="version 99"):
        TrialStore(tmp_path / "u.jsonl")


def test_store_survives_kill(tmp_path):
    path = tmp_path / "t.jsonl"
    code = textwrap.dedent(
        f"""
        import sys
        from memristor_bdnn.active.store import Trial, TrialStore
        store = TrialStore({str(path)!r})
        for seed in range(10**6):
            store.commit(Trial("initial", (1.0,), (2.0,), (0.5,), True, 0.5, 0.95, seed))
            print(seed, flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    heard = [int(child.stdout.readline()) for _ in range(20)]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with TrialStore(path) as store:
        assert [t.seed for t in store.trials][: len(heard)] == heard


def run_loop(tmp_path, learner, config=CONFIG, skill=None, trials=None, cancelled=None, **options):
    with TrialStore(tmp_path / "t.jsonl") as store:
        trials = trials or ToyTrials()
        loop = ActiveLoop(skill or Toy(), learner, store, config, np.random.default_rng(0), trials=trials, **options)
        report = loop.run(None, cancelled)
        return report, list(store.trials)


def test_loop_phases_labels_and_callbacks(tmp_path):
    learner, trials, rounds = Counting(), [], []
    report, stored = run_loop(tmp_path, learner, on_trial=lambda i, t: trials.append((i, t)), on_round=rounds.append)
    phases = [t.phase for t in stored]
    assert phases == ["initial"] * 5 + ["query"] * 4 + ["evaluation"] * 3
    assert [t for _, t in trials] == stored and [i for i, _ in trials] == list(range(12))
    assert [r.labels for r in rounds] == [5, 6, 7, 8, 9]
    assert [kind for kind, _, _ in learner.given] == ["fit"] + ["learn"] * 5
    _, x, y = learner.given[-1]
    assert len(x) == 9 and np.allclose(y, [(t.score + 1) / 2 for t in stored[:9]])
    assert report.labels == 9 and report.evaluation_trials == 3 and not report.cancelled
    assert stored[0].details == {"odd": 1.5, "nan": None}


def test_queries_are_the_best_by_the_strategy_and_evaluations_the_surest(tmp_path):
    _, stored = run_loop(tmp_path, Counting())
    query = stored[5]
    rng = np.random.default_rng([np.random.default_rng(0).integers(2**31), 5])
    skill = Toy()
    context = skill.sample_context(rng)
    candidates = skill.sample_candidates(context, 30, rng)
    scores = acquisitions.load("straddle")(Counting().predict(skill.encode(context, candidates)))
    assert query.acquisition == pytest.approx(scores.max())
    assert query.parameters == pytest.approx(tuple(candidates[np.argmax(scores)]))


def test_infeasible_trials_are_kept_but_are_no_labels(tmp_path):
    report, stored = run_loop(tmp_path, Counting(), trials=ToyTrials(lambda p: p[0] > 0))
    assert report.infeasible > 0 and report.labels == 9
    assert all(t.details["reason"] == "no_ik" for t in stored if not t.feasible)


def test_a_skill_that_is_never_feasible_ends_with_an_error(tmp_path):
    config = LoopConfig(initial_trials=5, max_infeasible=7)
    with pytest.raises(MemristorError, match="7 trials in a row"):
        run_loop(tmp_path, Counting(), config, trials=ToyTrials(lambda p: False))


@pytest.mark.parametrize("after", [2, 7, 13])
def test_an_interrupted_run_resumes_bit_exactly(tmp_path, after):
    options = {"n_inputs": 3, "hidden": [8], "max_epochs": 3, "stop_accuracy": 1.1, "ex_situ": {"epochs": 5}}

    def learner():
        return learners.create("msgld", accelerator.create("simulated", seed=1), options, 1)

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    _, whole = run_loop(tmp_path / "whole", learner(), checkpoint=tmp_path / "whole" / "c.npz")
    calls = iter(range(10**6))
    report, part = run_loop(
        tmp_path / "parts",
        learner(),
        checkpoint=tmp_path / "parts" / "c.npz",
        cancelled=lambda: next(calls) >= after,
    )
    assert report.cancelled and len(part) < len(whole)
    _, parts = run_loop(tmp_path / "parts", learner(), checkpoint=tmp_path / "parts" / "c.npz")
    assert parts[: len(part)] == part
    assert parts == whole
    assert [t.phase for t in parts] == [t.phase for t in whole]
    assert [t.context for t in parts] == [t.context for t in whole]


def test_a_store_of_another_skill_is_refused(tmp_path):
    run_loop(tmp_path, Counting())

    class Stirring(Toy):
        name = "stirring"

    with pytest.raises(StoreError, match="'toy', not 'stirring'"):
        run_loop(tmp_path, Counting(), skill=Stirring())


class Limp(Toy):
    """A skill whose candidates depend on the arm."""

    def valid(self, context, parameters, arm=""):
        return parameters[:, 0] > (0.5 if arm else -1.0)


def test_candidates_are_those_of_the_arm_that_carries_them_out(tmp_path):
    _, stored = run_loop(tmp_path, Counting(), skill=Limp(), trials=ToyTrials(arm="panda"))
    assert all(t.parameters[0] > 0.5 for t in stored)


def test_a_learner_of_another_width_is_refused_before_any_trial():
    options = {"n_inputs": 4, "hidden": [4]}
    learner = learners.create("msgld", accelerator.create("simulated"), options, 0)
    with pytest.raises(ConfigError, match="takes 4 inputs, skill toy has 3"):
        recipes.check_width(Toy(), learner)
