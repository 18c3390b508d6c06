"""The report of a real session: its words, its page, its pictures, and what it says of what is not there."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from memristor_bdnn import accelerator, learners, skills
from memristor_bdnn.active import checkpoints, recipes
from memristor_bdnn.active.loop import ActiveLoop, LoopConfig
from memristor_bdnn.active.rounds import Rounds
from memristor_bdnn.active.store import Trial, TrialStore
from memristor_bdnn.active.trials import LocalTrials
from memristor_bdnn.report import belief, chips, session, session_film, style
from memristor_bdnn.report.words import grown_in_words, learned_in_words, mean_error, share_error, with_error
from memristor_bdnn.skills.pouring.film import shots
from memristor_bdnn.skills.records import Shot
from memristor_bdnn.skills.studio import Camera, Spheres, Studio, cylinder, turned

SKILL = skills.load("pushing")
OPTIONS: dict[str, Any] = {
    "skill": "pushing",
    "arm": "",
    "learner": "msgld",
    "accelerator": "simulated",
    "seed": 3,
    "strategy": "straddle",
    "preset": "tsinghua_taox_hfox",
    "recipe": "",
    "command_line": "memristor-bdnn demo --out '<b>results</b> & more'",
}


class Seen(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a session: 12 random pushes, 2 that were asked for, 3 of the learned skill."""
    folder = tmp_path_factory.mktemp("session")
    made = accelerator.create("simulated", seed=3)
    learner = recipes.make(SKILL, "msgld", made, "", {"max_epochs": 2, "ex_situ": {"epochs": 10}}, 3)
    rounds, path = Rounds(folder / "rounds.jsonl"), folder / session.CHECKPOINT
    config = LoopConfig(initial_trials=12, queries=2, evaluations=3, candidates=60, evaluation_candidates=60)

    def on_round(done: Any) -> None:
        if not checkpoints.first(path).exists():  # what the accelerator node does before the first training
            checkpoints.keep_first(path)
        ledger = made.ledger.summary()
        counts = {
            k: ledger[k] for k in ("set_pulses", "reset_pulses", "reads", "system_energy_j", "latency_s", "max_wear")
        }
        rounds.write({"labels": done.labels, "train_accuracy": done.report.accuracy, "energy_j": 1e-3, **counts})

    with TrialStore(folder / "trials.jsonl") as store:
        trials = LocalTrials(SKILL, "")
        rng = np.random.default_rng(3)
        ActiveLoop(SKILL, learner, store, config, rng, trials=trials, checkpoint=path, on_round=on_round).run()
        trials.close()
    return folder


@pytest.fixture(scope="module")
def report(finished: Path) -> tuple[dict[str, Any], str, Path]:
    """Summary, page and folder of the report with its film."""
    summary = session.write_report(finished, OPTIONS, {"startup": 1.0, "session": 2.0})
    return summary, (finished / "index.html").read_text(), finished


def stored(folder: Path) -> list[Trial]:
    with TrialStore(folder / "trials.jsonl", readonly=True) as store:
        return list(store.trials)


# -- the page --------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_asks_nothing_of_anybody(report: tuple[dict[str, Any], str, Path]) -> None:
    _, page, folder = report
    assert len(page) < 8e6 and "://" not in re.sub(r'base64,[^"]*', "", page)
    seen = Seen(page)
    for tag, attributes in seen.tags:
        assert not {"href", "srcset", "data", "action", "poster"} & set(attributes), tag
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/"), tag
    assert not seen.all("link") and "@import" not in page and "url(" not in page
    assert any("default-src 'none'" in str(a.get("content")) for a in seen.all("meta"))
    kinds = [str(a["src"]).partition(";")[0] for a in seen.all("img")]
    assert kinds.count("data:image/gif") == 1 and kinds.count("data:image/png") == 4  # three figures, a still
    assert len(seen.all("figcaption")) == 4
    for name in ("learning.png", "belief.png", "chips.png", "trial.gif", "trial.png", "summary.json"):
        assert (folder / name).stat().st_size > 1000, name


def test_every_trial_is_a_row_that_a_click_can_sort(report: tuple[dict[str, Any], str, Path]) -> None:
    _, page, folder = report
    trials = stored(folder)
    body = re.search(r"<table class=sortable>.*?<tbody>(.*?)</tbody>", page, re.S)
    assert body is not None
    rows = [re.findall(r'<td data-v="([^"]*)">([^<]*)</td>', row) for row in re.findall(r"<tr.*?</tr>", body[1])]
    heads = re.findall(r"<th scope=col><button type=button>(.*?)</button></th>", page)
    assert len(rows) == len(trials) and all(len(row) == len(heads) for row in rows)
    assert heads[:4] == ["trial", "kind", "success", SKILL.fraction_label] and "speed (m/s)" in heads
    for number, (row, trial) in enumerate(zip(rows, trials, strict=True), start=1):
        assert row[0] == (str(number), str(number))
        assert float(row[3][0]) == trial.fraction and row[3][1] == f"{trial.fraction:.2f}"
        assert [float(v) for v, _ in row[7:12]] == list(trial.parameters)
        assert row[5][1] == ("none" if trial.phase == "initial" else f"{trial.predicted_mean:.2f}")
    assert 'querySelectorAll("table.sortable")' in page and "dataset.v" in page


def test_what_a_user_typed_is_text_and_nothing_else(report: tuple[dict[str, Any], str, Path]) -> None:
    _, page, _ = report
    assert "<b>results" not in page and "&lt;b&gt;results&lt;/b&gt; &amp; more" in page
    assert OPTIONS["command_line"] in Seen(page).text


def test_the_page_says_how_to_repeat_it(report: tuple[dict[str, Any], str, Path]) -> None:
    summary, page, _ = report
    text = Seen(page).text
    for name in ("memristor_bdnn", "python", "numpy", "torch"):
        assert f"{name} {summary['versions'][name]}" in text
    assert "tsinghua_taox_hfox" in text and f"{summary['set_pulses']:,}" in text
    assert (summary["commit"] or "none") in text
    for key in ("labels", "query_failures", "wall_report_s"):
        assert f"<th scope=row>{key}</th>" in page


# -- the words -------------------------------------------------------------------------------------


def test_the_sentence_has_the_numbers_of_the_trials(report: tuple[dict[str, Any], str, Path]) -> None:
    summary, page, folder = report
    trials = stored(folder)
    first = [t for t in trials if t.phase == "initial"]
    shown = [t for t in trials if t.phase == "evaluation"]
    good, n = sum(t.score > 0 for t in shown), len(shown)
    before, after = sum(t.score > 0 for t in first) / len(first), good / n
    share = (good + 2) / (n + 4)
    error = (share * (1 - share) / (n + 4)) ** 0.5
    said = summary["learned"]
    assert said == learned_in_words(json.loads((folder / "summary.json").read_text()))
    assert said == (
        f"12 random trials brought {before:.2f} of their objects to the goal; after 14 trials it brings "
        f"{after:.2f} +- {error:.2f} of them there, with objects and goals it has never seen (3 evaluation trials)."
    )
    assert said.replace(" +- ", "\xa0±\xa0") in Seen(page).text


def test_words_of_what_was_not_measured() -> None:
    summary = {"skill": "pouring", "labels": 5, "queries": 2, "random_trials": 3, "fraction_poured_random": 0.5}
    assert learned_in_words(summary) == (
        "3 random trials poured 0.50 of their beads into the bowl; what was learned after 5 trials was not evaluated."
    )
    assert "not evaluated" in grown_in_words(summary)
    one = {**summary, "fraction_poured": 0.75, "evaluation_trials": 1, "evaluation_labels": 4}
    assert learned_in_words(one).endswith("after 4 trials it pours 0.75 (1 evaluation trial, no error known).")
    seen = {**one, "evaluation_trials": 9, "fraction_poured_error": 0.0312, "evaluation_unseen": False}
    assert learned_in_words(seen).endswith("it pours 0.75 +- 0.03 (9 evaluation trials).")
    assert grown_in_words(seen) == "Fraction poured into the bowl grows from 0.50 to 0.75 while it asks for 2 trials"
    assert grown_in_words({**seen, "fraction_poured": 0.2}).startswith("Fraction poured into the bowl falls from 0.50")
    assert with_error(0.9969, 0.0021) == "0.997 +- 0.002" and with_error(1.0, 0.0) == "1.00 +- 0.00"
    none = {"skill": "pouring", "labels": 0}
    assert learned_in_words(none) == "No random trials were made; what was learned after 0 trials was not evaluated."
    assert mean_error([1.0]) is None and mean_error([0.0, 1.0]) == pytest.approx(0.5)
    assert share_error(0, 0) is None and share_error(4, 4) == pytest.approx(0.1531, abs=1e-4)


# -- what is not there -----------------------------------------------------------------------------


def test_what_is_absent_is_said_to_be(finished: Path, tmp_path: Path) -> None:
    for name in ("trials.jsonl", "rounds.jsonl"):
        shutil.copy(finished / name, tmp_path / name)
    bare = {"skill": "pushing", "arm": ""}
    summary = session.write_report(tmp_path, bare, {}, animate=False)
    text = Seen((tmp_path / "index.html").read_text()).text
    assert "The session was asked to make no animation." in text
    assert "What the network believes: none." in text and "learner.npz" in text
    assert "The session kept no states of cells in learner.npz." in text
    assert "The command is not known." in text
    assert summary["chips"] is None and not (tmp_path / "belief.png").exists()
    assert {"learning.png", "summary.json", "index.html"} <= {p.name for p in tmp_path.iterdir()}


def test_a_session_without_a_trial_has_a_report(tmp_path: Path) -> None:
    with TrialStore(tmp_path / "trials.jsonl") as store:
        store.begin()
    session.write_report(tmp_path, {"skill": "pouring", "arm": ""}, {})
    text = Seen((tmp_path / "index.html").read_text()).text
    for said in ("No trial was made.", "No trial of the learned skill was made.", "The network has chosen no trial."):
        assert said in text


# -- chips and beliefs -----------------------------------------------------------------------------


def test_conductances_are_those_of_the_checkpoints(finished: Path, tmp_path: Path) -> None:
    found = chips.read(finished / session.CHECKPOINT)
    assert found is not None and found.before_us is not None
    states = [
        np.load(p)["accelerator.cells.state_ua"] for p in (finished / "learner.first.npz", finished / "learner.npz")
    ]
    n = len(found.after_us)
    assert found.before_us == pytest.approx(states[0][:n] / 0.2) and found.after_us == pytest.approx(
        states[1][:n] / 0.2
    )
    assert found.figures["mean_conductance_change_us"] == pytest.approx(np.abs(states[1] - states[0])[:n].mean() / 0.2)
    assert (
        found.figures["stuck_devices"] == (np.load(finished / "learner.npz")["accelerator.cells.stuck"][:n] != 0).sum()
    )
    fresh = accelerator.create("simulated", seed=3)
    assert states[0] == pytest.approx(fresh.state_dict()["cells.state_ua"])  # kept before anything was written

    shutil.copy(finished / "learner.npz", tmp_path / "learner.npz")
    alone = chips.read(tmp_path / "learner.npz")
    assert alone is not None and alone.before_us is None and alone.figures["mean_conductance_change_us"] is None
    other = recipes.make(SKILL, "msgld", fresh, "", {"max_epochs": 2}, 3)
    checkpoints.keep(tmp_path / "other.npz", other.save, checkpoints.Mark(0, 0, "another-session"))
    (tmp_path / "other.npz").rename(tmp_path / "learner.first.npz")
    foreign = chips.read(tmp_path / "learner.npz")
    assert foreign is not None and foreign.before_us is None


def test_what_it_believes_is_what_the_learner_predicts(finished: Path) -> None:
    trial = next(t for t in stored(finished) if t.phase == "evaluation")
    learner = belief.learner_of(finished / session.CHECKPOINT)
    found = belief.believed(SKILL, learner, trial, "")
    first, second = found.names
    assert first < second and found.mean.shape == found.std.shape == (belief.STEPS, belief.STEPS)
    rows = np.repeat(np.array(trial.parameters)[None], 2, axis=0)
    rows[:, first], rows[:, second] = found.x[[10, 50]], found.y[[20, 40]]
    valid = SKILL.valid(np.array(trial.context), rows)
    assert np.isfinite(found.mean[[20, 40], [10, 50]]).tolist() == valid.tolist()
    again = learners.create("msgld", accelerator.create("simulated", seed=0), learner.config, 0)
    again.load(finished / session.CHECKPOINT)
    said = again.predict(SKILL.encode(np.array(trial.context), rows[valid]), 200)
    assert said.mean == pytest.approx(found.mean[[20, 40], [10, 50]][valid], abs=0.1)


# -- films -----------------------------------------------------------------------------------------


def test_the_film_shows_what_its_words_say(report: tuple[dict[str, Any], str, Path]) -> None:
    _, page, folder = report
    trials = stored(folder)
    shown = session_film.parts(trials)
    best = max(t.fraction for t in trials if t.phase == "evaluation")
    assert trials[-1].phase == "evaluation" and len({t.phase for t in trials[-3:]}) == 1
    assert shown[-1].trial.fraction == best and trials[shown[-1].number - 1] == shown[-1].trial
    assert shown[0].trial.phase == "initial" and shown[0].trial.score <= 0
    for part in shown:
        assert f"trial {part.number}" in Seen(page).text
    with Image.open(folder / SKILL.film_name) as film:
        assert film.size == session_film.SIZE and film.n_frames > 5
    taken = SKILL.shots(shown[-1].trial, "", (96, 80))
    assert taken[-1].phase == "end" and taken[-1].done == pytest.approx(best, abs=1e-3)
    told = [session_film._told(SKILL, shown[-1], shot, shot is taken[-1]) for shot in (taken[0], taken[-1])]
    sure = f"predicted success {shown[-1].trial.predicted_mean:.2f} ± {shown[-1].trial.predicted_std:.2f}"
    assert told[0].endswith(f"so far, {sure}") and told[1] == f"{SKILL.outcome_in_words(best)}, {sure}"


def test_a_film_that_goes_another_way_says_so(finished: Path, tmp_path: Path) -> None:
    trials = stored(finished)
    shown = session_film.parts(trials)
    taken = [SKILL.shots(part.trial, "", (64, 48)) for part in shown]
    filming = session_film.Filming(SKILL, [], "", tmp_path)
    filming.parts = shown
    filming._compare(taken)
    assert "was measured" not in filming.caption
    filming.parts[-1] = dataclasses.replace(shown[-1], trial=dataclasses.replace(shown[-1].trial, fraction=0.001))
    filming._compare(taken)
    assert f"Trial {shown[-1].number} was measured as: {SKILL.outcome_in_words(0.001)}" in filming.caption


def test_a_pour_is_filmed_as_it_was(tmp_path: Path) -> None:
    pouring, rng = skills.load("pouring"), np.random.default_rng(5)
    context = pouring.sample_context(rng)
    trial = Trial("initial", tuple(context), tuple(pouring.sample_candidates(context, 1, rng)[0]), (), True, 0, 0, 7)
    world = pouring.world()
    world.reset(7, context)
    poured = world.execute(np.array(trial.parameters)).measures[0]
    world.close()
    taken = shots(trial, "", (64, 48))
    assert isinstance(taken[0], Shot) and taken[0].image.shape == (48, 64, 3)
    assert taken[-1].done == pytest.approx(poured, abs=0.02)
    pouring.film(trial, "", tmp_path / "pour.gif")
    assert (tmp_path / "pour.gif").read_bytes()[:4] == b"GIF8"


def test_beads_are_seen_through_glass_and_not_through_walls() -> None:
    camera = Camera((0.6, 0.0, 0.3), (0.0, 0.0, 0.05), 20.0)
    wall = turned([np.array([(0.05, 0.0), (0.05, 0.1)])], 24, -0.5, 0.5)
    beads = Spheres(np.array([(0.0, 0.0, 0.05)]), np.array([0.02]), np.array([(0.9, 0.1, 0.1)]))
    red = []
    for glass in (True, False):
        studio = Studio(camera, (80, 60))
        studio.place(studio.add(glass=glass, colour=(0.4, 0.6, 0.9), **wall), ((0, 0, 0), (0, 0, 0, 1)))
        middle = studio.picture(beads)[30, 40].astype(int)
        red.append(middle[0] - middle[2])
        studio.close()
    assert red[0] > 40 and red[1] < 0
    empty = Studio(camera, (80, 60))
    empty.place(empty.add(colour=(0.1, 0.1, 0.1), **cylinder(0.03, 0.1)), ((0, 0, 0.05), (0, 0, 0, 1)))
    picture = empty.picture()
    empty.close()
    assert picture[30, 40].max() < 90 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 10  # body, floor, shadow


def test_a_process_that_films_is_no_second_session() -> None:
    script = Path(__file__).parent.parent / "cmake" / "memristor-bdnn"
    assert "main" not in runpy.run_path(str(script), run_name="__mp_main__")  # as a process that is spawned reads it


def test_the_style_is_left_where_it_was() -> None:
    before = dict(matplotlib.rcParams)
    figure = style.drawn(style.slide)("Success grows")
    assert figure.get_size_inches() * style.DPI == pytest.approx([1280, 720])
    assert dict(matplotlib.rcParams) == before


def test_the_camera_stands_where_the_arm_hides_least_of_a_pour() -> None:
    from memristor_bdnn.motion import arms
    from memristor_bdnn.skills.pouring import film
    from memristor_bdnn.skills.pouring.records import Snapshot
    from memristor_bdnn.skills.pouring.setup import draw

    panda, setup = arms.load("panda"), draw(3)
    at = ((0.62, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    moment = Snapshot(at, ((0.62, 0.0, 0.3), at[1]), np.zeros((0, 3)), np.asarray(panda.home), 0.05)
    behind_the_arm = Camera((-0.6, 0.0, 0.5), (0.62, 0.0, 0.1), 34.0)
    free = Camera((1.6, 0.3, 0.5), (0.62, 0.0, 0.1), 34.0)
    assert film.chosen_camera([behind_the_arm, free], setup, panda, [moment]) is free
    assert film.chosen_camera([free, behind_the_arm], setup, panda, [moment]) is free
    assert film.chosen_camera([behind_the_arm, free], setup, None, [moment]) is behind_the_arm
