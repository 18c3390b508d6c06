"""The verbs with a skill of another package: nothing in commands/ or report/ may need to know it."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analytic import SlideSkill, register
from rich.console import Console

from memristor_bdnn import cli, skills
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.commands import demo, label, shared
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.report import session
from memristor_bdnn.report.console import SessionProgress
from memristor_bdnn.skills import pool
from memristor_bdnn.skills.collect import collect

ROOT = Path(skills.__file__).parents[1]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own_pool(tmp_path: Path) -> Path:
    collect(tmp_path / "slide.pool", 160, SlideSkill().collector(), show=False)
    return tmp_path / "slide.pool"


def learn(*words: str) -> int:
    return cli.main(["learn", "--skill", "slide", "--initial", "6", "--queries", "2", "--candidates", "30", *words])


# -- learn ----------------------------------------------------------------------------------------


def test_learn_teaches_any_skill_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn("--evaluations", "2", "--out", "o.json") == 0
    with TrialStore(tmp_path / "slide_trials.jsonl") as store:
        assert store.metadata["skill"] == "slide" and store.metadata["features"] == ["speed", "spin", "mark"]
        phases = [t.phase for t in store.trials]
    assert phases == ["initial"] * 6 + ["query"] * 2 + ["evaluation"] * 2
    written = json.loads(Path("o.json").read_text())
    assert written["labels"] == 8 and 0 <= written["evaluation_fraction"] <= 1
    capsys.readouterr()
    assert learn("--evaluations", "2", "--queries", "3") == 0
    assert "resuming slide_trials.jsonl: 10 trials on disk" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "paper"], "skill slide has no such recipe for msgld: choose one of plain, taught"),
        (["--learner", "eapu", "--recipe", "plain"], "recipe = 'plain' is for msgld, not for learner eapu"),
        (["--host", "10.0.0.1"], "host"),
        (["--port", "7"], "port"),
        (["--prior-pool", "x"], "recipe plain of skill slide has no prior for msgld"),
        (["--recipe", "taught"], "memristor-bdnn collect --skill slide --trials 1000 --out FILE"),
        (["--strategy", "guess"], "straddle"),
    ],
)
def test_learn_refuses_before_the_first_trial(words: list[str], message: str, capsys: Any) -> None:
    assert learn(*words) == 1
    assert message in capsys.readouterr().err
    store = Path("slide_trials.jsonl")
    assert not store.exists() or len(store.read_text().splitlines()) <= 1  # a header, and no trial


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learner: {n_inputs: 11}", "n_inputs = 11: skill slide has 3 inputs (speed, spin, mark)"),
        ("skill: {friction: 9.0}", "SlideOptions.friction = 9.0: allowed [0.1, 2.0]"),
        ("skill: {viscosity: 1.0}", "SlideOptions has no option 'viscosity'"),
        ("skill: {arm: 3}", "arm = 3, expected the name"),
        ("skill: [1]", "section skill is [1]"),
        ("world: {}", "expected the sections loop, learner, skill, accelerator"),
    ],
)
def test_learn_checks_every_section(text: str, message: str, capsys: Any) -> None:
    Path("c.yaml").write_text(text)
    assert learn("--config", "c.yaml") == 1
    assert message in capsys.readouterr().err and not Path("slide_trials.jsonl").exists()


def test_section_and_flag_name_the_arm() -> None:
    skill = SlideSkill()
    trials = shared.trials_of(skill, {"arm": "panda", "friction": 1.0})
    assert trials.arm == "panda"
    assert shared.trials_of(skill, {"arm": "panda"}, "").arm == ""
    assert shared.trials_of(skill, {"friction": 1.5}).world.options.friction == 1.5
    assert learn("--arm", "panda") == 1


def test_a_recipe_with_a_prior_is_fitted_to_the_pool_first(own_pool: Path, capsys: Any) -> None:
    assert learn("--recipe", "taught", "--prior-pool", str(own_pool)) == 0
    assert "prior: fitting to 160 simulated trials" in capsys.readouterr().out


# -- collect and validate-world --------------------------------------------------------------------


def test_collect_writes_the_generic_pool_whatever_the_workers(own_pool: Path, capsys: Any) -> None:
    command = ["collect", "--skill", "slide", "--trials", "20", "--out", "a.pool", "--export", "a.npz"]
    assert cli.main(command) == 0
    assert "20 trials" in (said := capsys.readouterr().out) and "mean nearness to the mark" in said
    made = pool.load("a.pool", SlideSkill())
    assert made.rows.tobytes() == pool.load(own_pool, SlideSkill()).rows[:20].tobytes()
    assert np.array_equal(pool.load("a.npz", SlideSkill()).score, made.score)
    assert bytes(np.load("a.npz")["command"].item(), "utf8").startswith(b"memristor-bdnn collect --skill slide")
    collect("two.pool", 20, SlideSkill().collector(), workers=2, show=False)
    two = pool.load("two.pool", SlideSkill()).rows
    assert two[np.argsort(two["seed"])].tobytes() == made.rows.tobytes()


def test_a_pool_keeps_its_settings_and_its_skill(own_pool: Path, capsys: Any) -> None:
    Path("w.yaml").write_text("world: {friction: 1.0}")
    assert (
        cli.main(["collect", "--skill", "slide", "--trials", "200", "--out", str(own_pool), "--world", "w.yaml"]) == 1
    )
    assert "{'friction': 0.5}, now they are {'friction': 1.0}" in capsys.readouterr().err
    whole = own_pool.read_bytes()
    with pytest.raises(StoreError, match="is not a pool file; nothing was changed"):
        collect(own_pool, 200, skills.load("pouring").collector(), show=False)
    assert own_pool.read_bytes() == whole
    own_pool.write_bytes(whole[:-5])  # as a kill leaves it
    collect(own_pool, 160, SlideSkill().collector(), show=False)
    assert own_pool.read_bytes() == whole


def test_validate_world_compares_labels_of_any_pool(own_pool: Path, capsys: Any) -> None:
    words = ["validate-world", "--skill", "slide", "--data", str(own_pool), "--rows", "60", "--out", "v.json"]
    assert cli.main(words) == 0
    figures = json.loads(Path("v.json").read_text())
    assert figures["agreement"] > 0.9 and figures["self_agreement"] > 0.9 and figures["correlation"] > 0.95
    Path("w.yaml").write_text("world: {friction: 2.0}")
    assert cli.main([*words, "--world", "w.yaml"]) == 0
    assert json.loads(Path("v.json").read_text())["agreement"] < 0.8  # another world, other outcomes
    assert cli.main([*words, "--audit"]) == 1
    assert "has no option audit" in capsys.readouterr().err
    bare = {"x": np.zeros((3, 3)), "score": np.zeros(3)}
    np.savez("bare.npz", **bare)
    assert cli.main(["validate-world", "--skill", "slide", "--data", "bare.npz", "--rows", "2"]) == 1
    assert "inputs and scores alone" in capsys.readouterr().err


# -- evaluate-skill --------------------------------------------------------------------------------


def evaluate(*words: str) -> int:
    return cli.main(["evaluate-skill", "--skill", "slide", "--pairs", "6", "--candidates", "40", *words])


def test_evaluate_skill_learns_from_a_pool_or_a_store(own_pool: Path, capsys: Any) -> None:
    sizes = ["--pool", str(own_pool), "--labels", "20", "--initial", "12"]
    assert evaluate(*sizes, "--per-round", "4", "--out", "e.json", "--figure", "bars.png") == 0
    said = capsys.readouterr().out
    assert "nearness to the mark" in said and "skill slide has no baseline" in said
    assert "benchmark strategies --skill slide --strategy straddle`" in said  # a pool's questions choose their context
    figures = json.loads(Path("e.json").read_text())
    for name in ("learned", "passive", "random"):
        assert 0 <= figures[f"{name}_fraction"] <= 1 and figures[f"{name}_infeasible"] == 0
    assert "designed_fraction" not in figures and Path("bars.png").stat().st_size > 10_000
    assert learn() == 0 and evaluate("--store", "slide_trials.jsonl", "--out", "e.json") == 0
    assert json.loads(Path("e.json").read_text())["labels"] == 8
    assert "the confident choice" in capsys.readouterr().out
    assert learn("--strategy", "sturdy", "--store", "sturdy.jsonl") == 0 and evaluate("--store", "sturdy.jsonl") == 0
    assert "the sturdy choice" in capsys.readouterr().out  # as it was asked, so it is used
    assert evaluate("--store", "sturdy.jsonl", "--final", "confident") == 0
    assert "the confident choice" in capsys.readouterr().out
    assert evaluate(*sizes, "--per-round", "8", "--recipe", "taught") == 0
    assert "the recipe's prior is left out" in capsys.readouterr().out
    assert evaluate(*sizes, "--per-round", "8", "--strategy", "random") == 0
    assert "benchmark strategies" not in capsys.readouterr().out


def test_evaluate_skill_refuses_by_name(own_pool: Path, capsys: Any) -> None:
    assert evaluate() == 1
    assert "ships no pool: make one with `memristor-bdnn collect --skill slide" in capsys.readouterr().err
    assert evaluate("--pool", str(own_pool), "--poses", "p.png") == 1
    assert "skill slide draws no such picture" in capsys.readouterr().err
    assert evaluate("--pool", str(own_pool), "--figure", "nowhere/f.png") == 1
    assert "--figure nowhere/f.png: the folder" in capsys.readouterr().err
    assert learn() == 0
    assert cli.main(["evaluate-skill", "--store", "slide_trials.jsonl"]) == 1
    assert "its trials are of skill 'slide', not 'pouring'; give --skill slide" in capsys.readouterr().err
    assert learn("--seed", "1", "--store", "other.jsonl") == 0
    assert evaluate("--store", "slide_trials.jsonl", "--checkpoint", "other.jsonl.npz") == 1
    assert "other.jsonl.npz was not learned from the trials of slide_trials.jsonl" in capsys.readouterr().err


# -- benchmark dbal --------------------------------------------------------------------------------


def dbal(*words: str) -> int:
    return cli.main(["benchmark", "dbal", "--skill", "slide", "--seeds", "1", "--workers", "1", *words])


def test_dbal_takes_its_contenders_from_the_skill(own_pool: Path, capsys: Any) -> None:
    chosen = ["--learner", "msgld,eapu,deep_ensemble,deep_ensemble_features", "--strategy", "bald"]
    sizes = ["--dataset", str(own_pool), "--initial", "64", "--queries", "4", "--out", "d.json", "--figures", "f"]
    assert dbal(*chosen, *sizes) == 0
    figures = json.loads(Path("d.json").read_text())
    assert figures["skill"] == "slide" and "sizes" not in figures and "passive_curve" not in figures
    assert list(figures["results"]) == ["msgld", "eapu", "deep_ensemble", "deep_ensemble_features"]
    for strategies in figures["results"].values():
        assert set(strategies) == {"random", "bald"} and 0.3 < strategies["bald"]["68"]["accuracy_median"] <= 1
    raw, features = (figures["results"][n]["bald"]["68"] for n in ("deep_ensemble", "deep_ensemble_features"))
    assert raw != features
    assert {p.name for p in Path("f").iterdir()} == {"dbal_curves.png", "dbal_calibration.png"}
    capsys.readouterr()
    assert dbal(*chosen, *sizes) == 0 and "found 8 of 8 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "recorded"], "--sizes is of the skill pouring alone"),
        (["--study"], "--study is of the skill pouring alone"),
        (["--prior", "simulator"], "--prior simulator is of the skill pouring alone"),
        (["--learner", "gp_lip"], "choose from msgld, eapu, mcmc"),
        ([], "skill slide ships no pool"),
    ],
)
def test_dbal_refuses_what_only_the_published_trials_have(words: list[str], message: str, capsys: Any) -> None:
    assert dbal("--dataset", "shipped", *words) == 1
    error = capsys.readouterr().err
    assert message in error or ("choose from" in message and "choose from" in error and "gp_features" in error)


# -- demo, report, label ---------------------------------------------------------------------------


def test_the_demo_tells_the_graph_the_skill(capsys: Any) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    values = demo.graph_values(parser.parse_args(["--skill", "slide", "--recipe", "plain"]), SlideSkill())
    assert (values["skill"], values["recipe"], values["test_data"]) == ("slide", "plain", "")
    assert "host" not in values and "port" not in values
    pouring = demo.graph_values(parser.parse_args(["--accelerator", "escim", "--port", "8"]), skills.load("pouring"))
    assert (pouring["test_data"], pouring["host"], pouring["port"]) == ("shipped", "127.0.0.1", "8")
    with pytest.raises(ConfigError, match="--host a: accelerator simulated has no such option"):
        demo.graph_values(parser.parse_args(["--host", "a"]), SlideSkill())
    with pytest.raises(ConfigError, match="has no such recipe for msgld"):
        demo.graph_values(parser.parse_args(["--recipe", "paper"]), SlideSkill())


def written(folder: Path) -> None:
    """A finished session of the analytic skill: three labels, one confident trial."""
    with TrialStore(folder / "trials.jsonl") as store:
        for k, phase in enumerate(("initial", "initial", "query", "evaluation")):
            store.commit(Trial(phase, (0.5,), (1.0, 0.0), (0.0, 0.0, 0.0), True, 0.3 * k - 0.5, 0.1 + 0.2 * k, k))
    (folder / "rounds.jsonl").write_text(
        json.dumps({"labels": 3, "train_accuracy": 0.7, "set_pulses": 4, "reset_pulses": 5}) + "\n"
    )


def test_the_report_speaks_of_the_skill_and_survives_a_film_that_fails(tmp_path: Path, capsys: Any) -> None:
    written(tmp_path)
    options = {"skill": "slide", "arm": "panda", "learner": "msgld", "seed": 0}
    summary = session.write_report(tmp_path, options, {"startup": 1.0})
    assert "no animation: ValueError: no camera" in capsys.readouterr().out
    assert summary["skill"] == "slide" and summary["pulses"] == 9 and summary["success_rate"] == 1.0
    assert summary["nearness"] == pytest.approx(0.7) and summary["nearness_random"] == pytest.approx(0.2)
    assert summary["nearness_by_labels"] == {"3": pytest.approx(0.7)}
    page = (tmp_path / "index.html").read_text()
    assert "nearness" in page and "slide.gif" not in page
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "learning.png").stat().st_size > 10_000


def test_a_skill_without_a_film_says_so(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SlideSkill, "film")
    written(tmp_path)
    session.write_report(tmp_path, {"skill": "slide", "arm": "panda"}, {})
    assert "no animation: skill slide makes no film" in capsys.readouterr().out


def feedback(n: int, phase: str = "initial") -> Any:
    outcome = types.SimpleNamespace(
        source="simulation", skill="slide", measures=types.SimpleNamespace(values=[0.1, np.nan])
    )
    return types.SimpleNamespace(phase=phase, labels=n, failures=1, accuracy=0.0, last_outcome=outcome, round=n)


@pytest.mark.parametrize("width", [30, 50, 80, 120])
def test_progress_fits_the_terminal(width: int) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system=None)
    with SessionProgress(SlideSkill(), {"initial": 2, "query": 1}, console) as bars:
        bars.update(feedback(1))
    lines = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]|\r", "\n", text.getvalue()).splitlines()
    assert all(len(line) <= width for line in lines)
    assert any("random trials" in line and "1/2" in line for line in lines)
    assert width < 50 or any("last trial 0.75" in line for line in lines)


def test_progress_in_a_pipe_is_plain_lines() -> None:
    text = io.StringIO()
    with SessionProgress(SlideSkill(), {"initial": 6, "query": None}, Console(file=text, width=40)) as bars:
        for n in range(1, 7):
            bars.update(feedback(n))
        bars.update(feedback(4, "query"))
    assert text.getvalue().splitlines() == [
        "random trials 4 of 6: last trial 0.75, 4 labels, 1 failed",
        "random trials 6 of 6: last trial 0.75, 6 labels, 1 failed",
        "queries 4: last trial 0.75, 4 labels, 1 failed",
    ]


@pytest.mark.parametrize(
    ("words", "names", "values"),
    [
        (["0.25"], [], [0.25]),
        (["-1e-3"], [], [-0.001]),
        (["miss=0.1"], ["miss"], [0.1]),
        (["miss=0.1", "turns=2"], ["miss", "turns"], [0.1, 2.0]),
    ],
)
def test_label_reads_a_value_or_named_values(words: list[str], names: list[str], values: list[float]) -> None:
    assert label.measures(words) == (names, values)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["half"], "the first measure = 'half': expected a number"),
        (["nan"], "the first measure = 'nan': expected a finite number"),
        (["miss=inf"], "miss = 'inf': expected a finite number"),
        (["0.1", "0.2"], "'0.1': expected NAME=VALUE when several"),
        (["miss=1", "miss=2"], "the measure miss is given twice"),
        (["=1"], "expected NAME=VALUE"),
    ],
)
def test_label_refuses_what_is_no_measure(words: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["label", "3", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("words", "names", "values"), [(["0.3"], [], [0.3]), (["miss=0.3"], ["miss"], [0.3])])
def test_label_sends_what_was_measured(
    words: list[str], names: list[str], values: list[float], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    sent: list[Any] = []

    class Client:
        def __init__(self, name: str, namespace: str) -> None:
            pass

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def call(self, node: str, kind: Any, service: str, request: Any, timeout_s: float) -> Any:
            sent.append((node, service, request))
            return types.SimpleNamespace(success=request.trial_id == 3, message="no such trial")

    made = types.SimpleNamespace
    for name, content in {
        "memristor_bdnn.msg": {"ValueTable": made},
        "memristor_bdnn.srv": {"LabelTrial": made(Request=made)},
        "memristor_bdnn.nodes.client": {"GraphClient": Client},
    }.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**content))
    assert cli.main(["label", "3", *words, "--source", "scale"]) == 0
    node, service, request = sent[0]
    assert (node, service, request.source) == ("coordinator", "label_trial", "scale")
    assert (request.measures.names, request.measures.values) == (names, values)
    assert cli.main(["label", "4", *words]) == 1 and "coordinator: no such trial" in capsys.readouterr().err
