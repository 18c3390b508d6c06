"""The conformance suite against every built-in learner, and against one that lives in another package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from memristor_bdnn import learners
from memristor_bdnn.testing import LearnerConformance

EXAMPLE = Path(__file__).parent.parent / "examples" / "bootstrap_learner"


class TestMSGLD(LearnerConformance):
    learner = "msgld"
    options: ClassVar = {
        "n_inputs": 3, "hidden": [12], "scale_ua": 2.0, "kl_layers": "none", "max_epochs": 20,
        "ex_situ": {"epochs": 60, "learning_rate": 0.05},
    }  # fmt: skip


class TestEaPU(LearnerConformance):
    learner = "eapu"
    options: ClassVar = {"n_inputs": 3, "networks": 2, "hidden": [12], "max_epochs": 20,
                         "ex_situ": {"epochs": 60, "learning_rate": 0.05}}  # fmt: skip


class TestMCMC(LearnerConformance):
    learner = "mcmc"
    options: ClassVar = {"n_inputs": 3, "rows": 32, "burn_in": 32, "rows_per_round": 16}


class TestMCMCNetwork(LearnerConformance):
    learner = "mcmc"
    options: ClassVar = {"n_inputs": 2, "model": "network", "hidden": 4, "expansion": "linear", "rows": 32,
                         "weight_span": 12.0, "prior_sd": 4.0}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The example package installed into a folder of its own, without network."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(EXAMPLE, source)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--target", str(target), str(source)],
        capture_output=True, text=True,
    )  # fmt: skip
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
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_without_the_package_its_name_is_refused_with_the_choices():
    from memristor_bdnn import accelerator
    from memristor_bdnn.errors import ConfigError

    if "bootstrap" in learners.names():
        pytest.skip("the example package is installed in this environment")
    with pytest.raises(ConfigError, match="eapu, mcmc, msgld"):
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
