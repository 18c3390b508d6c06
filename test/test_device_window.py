"""Learners follow the device: currents from the window, and deployments that fail are said."""

import dataclasses
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import accelerator, learners
from memristor_bdnn.device import presets
from memristor_bdnn.device.concerns import concerns
from memristor_bdnn.device.presets import load, override
from memristor_bdnn.errors import AcceleratorError, ConfigError, DeviceWarning
from memristor_bdnn.learners.device_check import OPTIONS, rule
from memristor_bdnn.learners.msgld.config import MSGLDConfig
from memristor_bdnn.network.exsitu import ExSituConfig
from memristor_bdnn.network.window import proposal_sd_ua, weight_offset_ua, weight_scale_ua, write_sd_ua
from memristor_bdnn.skills.recipes import GENERAL

PUBLISHED = load("tsinghua_taox_hfox")
WINDOWS = [(0.1, 1.0), (0.2, 1.5), (0.5, 3.5), (0.7, 25.0), (5.0, 50.0), (20.0, 200.0)]
QUICK = {**OPTIONS, "eapu": {"networks": 3}}
STUCK = {"stuck_low": 0.5, "stuck_high": 0.0}


def made(name, preset, seed=0, **options):
    chips = accelerator.create("simulated", preset=preset, seed=seed)
    return learners.create(name, chips, {"n_inputs": 11, **QUICK.get(name, {}), **options}, seed)


def learned(name, preset, seed=0, labels=160):
    """Test accuracy on the rule, and the reports of fit and learn."""
    x, y, x_test, y_test = rule(seed, labels)
    learner = made(name, preset, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeviceWarning)
        reports = learner.fit(x, y), learner.learn(x, y)
    return float(((learner.predict(x_test).mean > 0.5) == (y_test > 0.5)).mean()), reports


# --- currents follow the window


def test_on_the_published_window_every_number_is_the_published_one():
    config = MSGLDConfig().following(PUBLISHED)
    assert (config.offset_ua, config.scale_ua, config.ex_situ.write_sd_ua) == (6.66, 1.1, 0.2)
    assert (proposal_sd_ua(PUBLISHED), write_sd_ua(PUBLISHED)) == (0.2, 0.2)
    recipe = MSGLDConfig(largest_weight=GENERAL["general"]["msgld"].options["largest_weight"])
    assert recipe.following(PUBLISHED).scale_ua == 5.0
    assert weight_scale_ua(PUBLISHED, 3, 1.8) == 3.0


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("devices", [1, 3, 4])
def test_weights_span_the_same_range_on_every_window(window, devices):
    preset = override(PUBLISHED, {"window_ua": list(window)})
    offset, scale = weight_offset_ua(preset, devices), weight_scale_ua(preset, devices)
    edges = (devices * np.array(window) - offset) / scale
    assert edges == pytest.approx((3 * np.array([0.4, 4.0]) - 6.66) / 1.1)


def test_what_is_given_in_microampere_is_taken_as_given():
    preset = override(PUBLISHED, {"window_ua": [5.0, 50.0]})
    config = MSGLDConfig(offset_ua=80.0, scale_ua=12.0, ex_situ=ExSituConfig(write_sd_ua=0.7)).following(preset)
    assert (config.offset_ua, config.scale_ua, config.ex_situ.write_sd_ua) == (80.0, 12.0, 0.7)
    assert made("mcmc", preset, proposal_sd_ua=0.3).config.proposal_sd_ua == 0.3


def test_recipes_hold_no_currents():
    from memristor_bdnn import skills

    for skill in skills.BUILT_IN:
        for recipe in skills.load(skill).recipes.values():
            for one in recipe.values():
                assert not [key for key in one.options if key.endswith("_ua")], (skill, one)


@pytest.mark.parametrize("name", ["msgld", "eapu", "mcmc"])
@pytest.mark.parametrize("preset", presets.NAMES)
def test_every_learner_learns_on_every_built_in_preset(name, preset):
    accuracy = np.median([learned(name, load(preset), seed)[0] for seed in range(3)])
    assert accuracy >= (0.9 if preset == presets.NAMES[0] or name != "mcmc" else 0.88)
    assert not concerns(load(preset))


# Write-verify of the many rows of mcmc takes a minute on the second window: `device check --all` measures that one.
CASES = [(n, w) for n in ("msgld", "eapu", "mcmc") for w in WINDOWS if (n, w) != ("mcmc", WINDOWS[1])]


@pytest.mark.parametrize(("name", "window"), CASES)
def test_every_learner_learns_on_every_sane_window(name, window):
    runs = [learned(name, override(PUBLISHED, {"window_ua": list(window)}), seed) for seed in range(3)]
    assert np.median([accuracy for accuracy, _ in runs]) >= 0.9


def test_a_window_moved_alone_carries_its_reach_along_and_a_given_reach_stays():
    moved = override(PUBLISHED, {"window_ua": [5.0, 50.0]})
    assert moved.write_verify.reach_ua == (0.1, 75.0) and moved.blind_write.target_ua == (5.0, 50.0)
    assert override(PUBLISHED, {"window_ua": [0.5, 3.5]}).write_verify == PUBLISHED.write_verify
    given = override(PUBLISHED, {"window_ua": [0.7, 25.0], "write_verify": {"reach_ua": [0.1, 6.0]}})
    assert given.write_verify.reach_ua == (0.1, 6.0) and given.usable_ua == (0.7, 6.0)
    _, (report, _) = learned("eapu", given)
    assert any("write_verify.reach_ua = 0.1 to 6 uA ends inside window_ua" in text for text in report.warnings)


def test_a_window_that_cannot_be_written_is_refused_by_field():
    preset = dataclasses.replace(PUBLISHED, window_ua=(20.0, 200.0))
    for name in ("msgld", "eapu", "mcmc"):
        with pytest.raises(ConfigError, match=r"write_verify\.reach_ua = \[0\.1, 6\.0\] uA has nothing in common"):
            made(name, preset)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window_ua": [0.1, 1.0]}, "write_verify.tolerance_ua = 0.3 uA is 33%"),
        ({"window_ua": [5.0, 50.0]}, "read_noise.quadratic_per_ua = -0.0058: the polynomial is negative"),
        ({"write_verify": {"max_pulses": 3}}, "write_verify.step_ua = 0.487 uA: max_pulses = 3"),
        ({"write_verify": {"tolerance_ua": 0.01}}, "write_verify.tolerance_ua = 0.01 uA is far below a step"),
        ({"read_noise": {"constant_ua": 2.0}}, "read_noise: one read scatters by"),
        ({"relaxation": {"sd_constant_ua": 2.0}}, "relaxation.sd_constant_ua"),
        ({"set_pulse": {"sd_constant_ua": 2.0}}, "set_pulse.sd_constant_ua"),
        ({"set_pulse": {"table": [[0.4, 0.2, 0.1], [4.0, 3.0, 0.1]]}}, "set_pulse: moves the middle state.*swapped"),
        ({"reset_pulse": {"fraction": 0.0}}, "reset_pulse: moves the middle state"),
    ],
)
def test_fields_that_do_not_go_with_the_window_are_named(changes, field):
    assert any(re.search(field, text) for text in concerns(override(PUBLISHED, changes))), field


def test_a_chain_writes_with_verification_where_blind_writes_cannot_propose():
    assert not made("mcmc", PUBLISHED).verified
    assert made("mcmc", override(PUBLISHED, {"window_ua": [5.0, 50.0]})).verified, "too quiet for the window"
    assert made("mcmc", load("leti_hfo2_oxram")).verified, "too wide for the gate's reach"
    apart = override(PUBLISHED, {"window_ua": [0.4, 4.0], "blind_write": {"target_ua": [5.0, 9.0]}})
    assert made("mcmc", apart).verified
    with pytest.raises(ConfigError, match=r"blind_write\.target_ua = \[5\.0, 9\.0\]"):
        made("mcmc", apart, writing="blind")


# --- a deployment that fails is said


@pytest.mark.parametrize("name", ["msgld", "eapu", "mcmc"])
def test_half_the_cells_stuck_is_a_warning_with_figures(name):
    x, y, *_ = rule(0)
    learner = made(name, override(PUBLISHED, {"faults": STUCK}))
    with pytest.warns(DeviceWarning, match=r"for many cells: \d+ of \d+ cells"):
        report = learner.fit(x, y)
    assert any(" of " in text and "uA" in text for text in report.warnings)


@pytest.mark.parametrize("name", ["msgld", "eapu", "mcmc"])
@pytest.mark.parametrize("faults", [{"stuck_low": 1.0, "stuck_high": 0.0}, {"stuck_low": 0.0, "stuck_high": 1.0}])
def test_nothing_written_is_an_error(name, faults):
    x, y, *_ = rule(0)
    with pytest.raises(AcceleratorError, match=r"nothing could be written: .* of \d+|nothing could be written: what"):
        made(name, override(PUBLISHED, {"faults": faults})).fit(x, y)


def test_no_cell_within_tolerance_is_an_error_unless_the_network_is_there_all_the_same():
    x, y, *_ = rule(0)
    chips = accelerator.create("simulated", preset=override(PUBLISHED, {"write_verify": {"tolerance_ua": 1e-6}}))
    learner = learners.create("eapu", chips, {"n_inputs": 11}, 0)
    with pytest.warns(DeviceWarning):
        report = learner.fit(x, y)
    assert report.accuracy > 0.9 and any("0 of 6084 cells" in text for text in report.warnings)
    away = dataclasses.replace(PUBLISHED, window_ua=(3.0, 25.0), fresh_ua=(0.38, 0.1))
    away = override(away, {"write_verify": {"max_pulses": 1, "reach_ua": [0.1, 25.0]}})
    with pytest.raises(AcceleratorError, match=r"nothing could be written: 0 of 6084 cells \(0%\)"):
        made("eapu", away, networks=6).fit(x, y)


def test_the_error_names_the_field_that_explains_it():
    x, y, *_ = rule(0)
    preset = override(PUBLISHED, {"window_ua": [0.01, 0.1]})
    with pytest.raises(AcceleratorError, match=r"write_verify\.tolerance_ua = 0\.3 uA is 333% of the window"):
        made("eapu", preset, networks=6).fit(x, y)


def test_training_that_teaches_nothing_is_said_and_what_works_says_nothing():
    x, _, *_ = rule(0)
    noise = np.random.default_rng(5).integers(0, 2, len(x)).astype(float)
    learner = made("mcmc", PUBLISHED)
    with pytest.warns(DeviceWarning, match=r"training accuracy 0\.\d+ on 160 labels, where always saying the same"):
        learner.looking.taught(noise, 0.5)
        learner.looking.report(learner.learn(x, noise))
    for name in ("msgld", "eapu", "mcmc"):
        assert [report.warnings for report in learned(name, PUBLISHED)[1]] == [(), ()], name


def test_the_same_warning_is_given_once_but_stays_in_every_report():
    x, y, *_ = rule(0)
    learner = made("eapu", override(PUBLISHED, {"faults": STUCK}))
    with pytest.warns(DeviceWarning):
        learner.fit(x, y)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert any("deployment failed" in text for text in learner.fit(x, y).warnings)
    assert not [one for one in given if "deployment failed" in str(one.message)]


def test_commands_say_it_in_one_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nfaults: {stuck_low: 0.5}\n")
    words = ["learn", "--skill", "pushing", "--preset", str(bad), "--initial", "24", "--queries", "1"]
    words += [
        "--evaluations",
        "0",
        "--learner",
        "eapu",
        "--candidates",
        "50",
        "--store",
        str(tmp_path / "t.jsonl"),
        "--recipe",
        "paper",
    ]
    words += ["--out", str(tmp_path / "o.json")]
    program = "import sys; from memristor_bdnn.cli import main; sys.exit(main(sys.argv[1:]))"
    said = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    assert "warning: writes during training failed for many cells" in said.stderr and "looking.py" not in said.stderr
    assert "warnings" in Path(tmp_path / "o.json").read_text()


def test_the_node_says_in_its_diagnostics_what_could_not_be_written(tmp_path):
    pytest.importorskip("rclpy")
    from conftest import until
    from diagnostic_msgs.msg import DiagnosticArray
    from one_node import learn, nodes_in

    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nfaults: {stuck_low: 0.5}\n")
    nodes, seen = nodes_in(tmp_path), []
    node = next(nodes)("accelerator", preset=str(bad)).wait_ready()
    try:

        def note(message):
            seen.extend(pair.value for one in message.status for pair in one.values if pair.key == "warnings")

        node.client.node.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
        assert learn(node).error_code == 0
        until(lambda: any("deployment failed for many cells" in text for text in seen), 30.0)
        assert "deployment failed for many cells" in node.log.read_text()
    finally:
        nodes.close()
        node.close()


@pytest.mark.parametrize("section", ["write_verify", "blind_write"])
@pytest.mark.parametrize("value", ["-inf", None, [], [1], 5, True, float("nan")])
def test_a_section_that_is_none_is_refused_with_a_window_too(section, value):
    with pytest.raises(ConfigError, match=section):
        override(PUBLISHED, {"window_ua": [5.0, 50.0], section: value})
