"""The conformance suite against every built-in learner, and against one that lives in another package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from memristor_bdnn import learners
from memristor_bdnn.testing import LearnerConformance

EXAMPLE = Path(__file__).parent.parent / "examples" / "bootstrap_learner"


class TestMSGLD(LearnerConformance):
    learner = "msgld"
    options: ClassVar = {
        "n_inputs": 3,
        "hidden": [12],
        "scale_ua": 2.0,
        "kl_layers": "none",
        "max_epochs": 20,
        "ex_situ": {"epochs": 60, "learning_rate": 0.05},
    }


class TestEaPU(LearnerConformance):
    learner = "eapu"
    options: ClassVar = {
        "n_inputs": 3,
        "networks": 2,
        "hidden": [12],
        "max_epochs": 20,
        "ex_situ": {"epochs": 60, "learning_rate": 0.05},
    }


class TestMCMC(LearnerConformance):
    learner = "mcmc"
    options: ClassVar = {"n_inputs": 3, "rows": 32, "burn_in": 32, "rows_per_round": 16}


class TestMCMCNetwork(LearnerConformance):
    learner = "mcmc"
    options: ClassVar = {
        "n_inputs": 2,
        "model": "network",
        "hidden": 4,
        "expansion": "linear",
        "rows": 32,
        "weight_span": 12.0,
        "prior_sd": 4.0,
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The example package installed into a folder of its own, without network."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(EXAMPLE, source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--target",
            str(target),
            str(source),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target


def test_an_installed_package_is_found_by_name_and_conforms(site, tmp_path):
    tests = tmp_path / "test_bootstrap.py"
    tests.write_text(
        "from memristor_bdnn.testing import LearnerConformance\n\n\n"
        "class TestBootstrap(LearnerConformance):\n    learner = 'bootstrap'\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(EXAMPLE.parents[1])])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tests)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_without_the_package_its_name_is_refused_with_the_choices():
    from memristor_bdnn import accelerator
    from memristor_bdnn.errors import ConfigError

    if "bootstrap" in learners.names():
        pytest.skip("the example package is installed in this environment")
    with pytest.raises(ConfigError, match="msgld, eapu, mcmc"):
        learners.create("bootstrap", accelerator.create("simulated"))


def test_a_learner_that_breaks_the_protocol_fails_the_suite(tmp_path):
    class Broken(LearnerConformance):
        learner = "eapu"
        options = TestEaPU.options

        def make(self, seed=0, **changes):
            made = super().make(seed, **changes)
            made.load = lambda path: "0" * 64
            return made

    with pytest.raises(AssertionError):
        Broken().test_checkpoint_restores_bit_exactly(tmp_path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("eapu", {"n_inputs": 2, "networks": 1, "hidden": [8], "max_epochs": 6}),
        (
            "mcmc",
            {
                "n_inputs": 2,
                "rows": 12,
                "burn_in": 6,
                "rows_per_round": 4,
                "spare_rows": 4,
                "weight_span": 6.0,
                "max_proposals": 200,
            },
        ),
    ],
)
def test_eapu_and_mcmc_run_on_an_emulated_board(name, options):
    from memristor_bdnn import accelerator
    from memristor_bdnn.emulator.board import EmulatedBoard, EmulatorConfig
    from memristor_bdnn.emulator.faults import FaultConfig, FaultInjector
    from memristor_bdnn.emulator.server import BoardResponder, Server

    faults = FaultInjector(FaultConfig(), 3)
    server = Server(BoardResponder(EmulatedBoard(EmulatorConfig(seed=5)), faults), faults=faults)
    running = server.start()
    board = accelerator.create("escim", host=server.host, port=server.port, abort_port=server.abort_port, seed=5)
    try:
        learner = learners.create(name, board, options, 0)
        x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
        y = (x[:, 0] > 0).astype(float)
        learner.fit(x, y)
        learner.learn(x, y)
        assert ((learner.predict(x).mean > 0.5) == y).mean() > 0.75
        assert board.ledger.set_pulses + board.ledger.reset_pulses > 0
    finally:
        board.close()
        running.stop()
