"""The verb rl, and the benchmark's runs and figures."""

import json

import numpy as np
import pytest

from memristor_bdnn.benchmark.rl import main as benchmark
from memristor_bdnn.benchmark.rl import report
from memristor_bdnn.benchmark.rl.run import Setting, execute
from memristor_bdnn.cli import main

SMALL = ["--agent-option", "hidden=[8]", "--agent-option", "batch=8", "--tests", "1"]


def test_train_goes_on_and_play_films(tmp_path, capsys):
    from PIL import Image

    folder, film = tmp_path / "run", tmp_path / "training.gif"
    command = ["rl", "train", "--folder", str(folder), *SMALL, "--picture-every", "1"]
    command += ["--training-option", "validation_episodes=1", "--training-option", "compare_from=1.0"]
    command += ["--film", str(film)]
    assert main([*command, "--episodes", "1"]) == 0
    assert main([*command, "--episodes", "2"]) == 0
    assert "resuming" in capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["episodes"] == 2 == len(summary["training_returns"])
    assert summary["set_pulses"] > summary["reset_pulses"] > 0 < summary["system_energy_j"]
    assert {p.name for p in folder.iterdir()} >= {"agent.npz", "live.png", "training.png", "summary.json"}
    assert Image.open(film).size[0] == 800 and Image.open(film).n_frames == 2
    played, out = tmp_path / "episode.mp4", tmp_path / "play.json"
    assert main(["rl", "play", "--folder", str(folder), "--tests", "1", "--film", str(played), "--out", str(out)]) == 0
    assert played.stat().st_size > 1000 and json.loads(out.read_text())["test_episodes"] == 1


def test_an_interrupted_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    from memristor_bdnn.agents.training import Training

    def interrupted(self, watch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "run", interrupted)
    assert main(["rl", "train", "--folder", str(tmp_path / "run"), *SMALL]) == 130
    assert "run the same command again" in capsys.readouterr().out


def test_the_film_of_an_environment_that_draws_itself_and_of_one_that_does_not(tmp_path):
    from memristor_bdnn import agents
    from memristor_bdnn.agents.environments import Environment, MountainCar, Task, task
    from memristor_bdnn.agents.training import Training, TrainingConfig
    from memristor_bdnn.report.films import episode_film

    class Drawn(MountainCar):
        render_mode = "rgb_array"

        def render(self):
            return np.full((60, 80, 3), 200, np.uint8)

    for k, one in enumerate((Task("drawn", Drawn, np.ones(2), longest=5), task("Acrobot-v1"), task("cartpole"))):
        env = Environment(one)
        agent = agents.make("dqn", env, hardware="software", options={"hidden": [4]})
        path = tmp_path / f"{k}.gif"
        episode_film(Training(agent, env, TrainingConfig()), path, every=50)
        assert path.stat().st_size > 500


@pytest.mark.parametrize(
    "words, said",
    [
        (["--env", "Pendulum-v1"], "Discrete"),
        (["--agent", "sarsa"], "dqn, mcmc"),
        (["--accelerator", "escim"], "blind writes"),
        (["--accelerator", "software", "--host", "x"], "software twin"),
        (["--agent-option", "layers=2"], "layers"),
        (["--episodes", "0"], "episodes"),
        (["--film", "x.avi"], ".mp4"),
        (["--film", "x.gif", "--picture-every", "0"], "--picture-every"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_requests_end_with_one_line(tmp_path, capsys, words, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["rl", "train", "--folder", str(tmp_path / "run"), *words]) == 1
    assert said in capsys.readouterr().err


def test_playing_without_a_training_is_refused(tmp_path, capsys):
    assert main(["rl", "play", "--folder", str(tmp_path)]) == 1
    (tmp_path / "agent.npz").write_bytes(b"nothing")
    assert main(["rl", "play", "--folder", str(tmp_path)]) == 1
    assert "agent.npz" in capsys.readouterr().err


def test_the_benchmarks_record_has_what_it_promises(tmp_path):
    found = {}
    for setting, _ in benchmark.settings(benchmark.PARTS, tests=1, quick=True):
        small = Setting(**{**vars(setting), "episodes": 1})
        if setting.agent == "dqn" or setting.hardware == "software":
            found[setting.group] = [execute(small, 0)]
    results = report.summary(found)
    for figures in (
        results["cartpole"]["devices"],
        results["cartpole"]["software"],
        results["mountain_car"]["devices"],
    ):
        assert {"reward_median", "reward_spread", "steps_median", "seeds"} <= figures.keys()
    devices = results["cartpole"]["devices"]
    assert devices["pulses"] == devices["set_pulses"] + devices["reset_pulses"] and devices["joules"] > 0
    assert set(results["slopes"]) == {"125", "250", "400"} and set(results["errors_last"]) == {"0", "2", "5", "10"}
    report.print_tables(results)
    assert [path.name for path in report.draw(tmp_path, results, found)] == ["rl_training.png", "rl_studies.png"]


def test_the_example_of_an_arm_that_reaches(monkeypatch):
    from pathlib import Path

    from memristor_bdnn.agents.environments import Environment, task

    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples" / "reaching_arm"))
    env = Environment(task("reaching_arm:Reach-v0"))
    assert (env.n_inputs, env.n_actions) == (3, 6)

    def episode(seed):
        seen, path, over = env.reset(seed), [], False
        while not over:
            axis = int(np.abs(seen).argmax())  # along the longest way
            seen, reward, reached, cut = env.step(2 * axis + int(seen[axis] > 0))
            path.append((*seen, reward))
            over = reached or cut
        return reached, path

    first = episode(3)
    assert first[0] and len(first[1]) < 20
    episode(4)
    assert episode(3) == first  # the start alone decides an episode: interrupted trainings go on exactly
    assert env.render().shape == (300, 400, 3)
    env.close()
