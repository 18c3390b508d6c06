"""Which part of the method does what, over labels: each switched off in turn, on pouring trials and on 8x8 digits."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark import runs
from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.jobs import Setting
from memristor_bdnn.benchmark.runs import code_digest
from memristor_bdnn.report.record import print_table

FloatArray = npt.NDArray[np.floating[Any]]

# What differs from the full method: learner options, then options of the chips. With one device a weight spans a
# third of the current, so offset and scale shrink with it and the weights keep their size.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full mSGLD": ({}, {}),
    "plain SGD pulses": ({"update": "sgd"}, {}),
    "without sign": ({"update": "magnitude"}, {}),
    "without smooth transition": ({"mark_decay": 1.0}, {}),
    "without read noise": ({}, {"read_noise_factor": 0.0}),
    "one device per weight": ({"devices_per_weight": 1}, {}),
}
EPOCHS = 110
QUICK_EPOCHS = 20
LABELS = {"pouring": (16, 32, 64, 128), "digits": (50, 100, 200, 400)}
"""Labels that each variant learns at once, from the same random states; the fewer are the first of the more."""
HIDDEN_DIGITS = 40
CODE = (
    "config.py", "state.py", "device", "crossbar", "accelerator", "network", "learners", "skills/pouring",
    "benchmark/dbal/study.py", "benchmark/dbal/data.py", "benchmark/dbal/published.py",
)  # fmt: skip
"""Rooms whose code decides a run."""


def study(
    setting: Setting, seeds: list[int], quick: bool = False, work: Path | None = None, workers: int = 1
) -> dict[str, Any]:
    """study.<task>.<variant>: figures at the most labels, and ``curve`` by number of labels.

    Figures are accuracy_median, _q25, _q75 on test rows and pulses_median. Resumable through the folder ``work``.
    """
    tasks = list(LABELS)
    if importlib.util.find_spec("sklearn") is None:
        print("skipping the digits: scikit-learn is not installed (pip install scikit-learn)")
        tasks.remove("digits")
    epochs = QUICK_EPOCHS if quick else EPOCHS
    jobs = [(t, v, n, seed) for t in tasks for v in VARIANTS for n in LABELS[t] for seed in seeds]
    names = [_name(setting, epochs, *job) for job in jobs]
    done = runs.run_all(work, names, execute, [(setting, epochs, *job) for job in jobs], workers)
    of: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for (task, variant, n, _), result in zip(jobs, done, strict=True):
        of.setdefault((task, variant, n), []).append(result)
    made: dict[str, Any] = {
        task: {
            variant: {
                **_figures(of[task, variant, LABELS[task][-1]]),
                "curve": {str(n): _figures(of[task, variant, n]) for n in LABELS[task]},
            }
            for variant in VARIANTS
        }
        for task in tasks
    }
    for task in tasks:
        rows = [
            [variant, *(f"{p['accuracy_median']:.3f}" for p in r["curve"].values()), f"{r['pulses_median']:.0f}"]
            for variant, r in made[task].items()
        ]
        columns = ["variant", *(f"{n} labels" for n in LABELS[task]), "pulses"]
        print_table(f"{task}: in situ from random devices, test accuracy, {len(seeds)} seeds, medians", columns, rows)
    return {"study": made}


def _figures(found: list[dict[str, Any]]) -> dict[str, float]:
    accuracy = [r["accuracy"] for r in found]
    return {
        "accuracy_median": float(np.median(accuracy)),
        "accuracy_q25": float(np.quantile(accuracy, 0.25)),
        "accuracy_q75": float(np.quantile(accuracy, 0.75)),
        "pulses_median": float(np.median([r["pulses"] for r in found])),
    }


def _name(setting: Setting, epochs: int, task: str, variant: str, n: int, seed: int) -> str:
    """File of a finished run: names everything that decides its result, the code included."""
    content = Path(setting.dataset).read_bytes() if task == "pouring" else b""
    sizes = setting.sizes if task == "pouring" else ""
    text = json.dumps([code_digest(*CODE), VARIANTS[variant], epochs, sizes, hashlib.sha256(content).hexdigest()])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-study-{task}-{variant.replace(' ', '_')}-{n}-{seed}.json"


def execute(setting: Setting, epochs: int, task: str, variant: str, n: int, seed: int) -> dict[str, float]:
    """One variant on n labels: test accuracy and pulses."""
    data = _pouring(setting.trials("msgld", seed)) if task == "pouring" else _digits()
    options, chips = VARIANTS[variant]
    accuracy, pulses = _run(data, n, LABELS[task][-1], seed, options, chips, epochs)
    return {"accuracy": accuracy, "pulses": pulses}


def _pouring(trials: Trials) -> Any:
    """(inputs and labels to draw from, the same of the test rows, classes, hidden units), on lip features."""
    from memristor_bdnn.network.features import feature_map
    from memristor_bdnn.skills.pouring.recipes import LIP

    x = feature_map(LIP)(trials.x_pool)
    y = (trials.score_pool > 0).astype(int)
    test = feature_map(LIP)(trials.x_test)
    return x, y, test, (trials.score_test > 0).astype(int), 2, (50, 50)


def _digits() -> Any:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    train, test = order[:1200], order[1200:]
    return (
        data.data[train],
        data.target[train],
        data.data[test],
        data.target[test],
        10,
        (HIDDEN_DIGITS,),
    )


def _run(
    data: Any, n: int, most: int, seed: int, options: dict[str, Any], chips: dict[str, Any], epochs: int
) -> tuple[float, float]:
    """(test accuracy, pulses) of in situ training from random device states, nothing trained ex situ.

    The n labels are the first of ``most`` that the seed draws.
    """
    from memristor_bdnn import accelerator
    from memristor_bdnn.config import build
    from memristor_bdnn.learners.msgld.config import MSGLDConfig
    from memristor_bdnn.learners.msgld.insitu import InSituTrainer
    from memristor_bdnn.network.bayesian import decided, layer_shapes
    from memristor_bdnn.network.chains import Chains
    from memristor_bdnn.network.exsitu import ExSituConfig, initial_states
    from memristor_bdnn.network.scaling import InputScaler

    x_all, y_all, x_test, y_test, classes, hidden = data
    devices = options.get("devices_per_weight", 3)
    config = build(
        MSGLDConfig,
        {
            "scale_ua": 4.0 * devices / 3,
            "offset_ua": 2.22 * devices,
            "max_epochs": epochs,
            "stop_accuracy": 1.1,
            **options,
        },
    )
    rng = np.random.default_rng([seed, 11])
    board = accelerator.create("simulated", seed=seed, **chips)
    assert config.offset_ua is not None and config.scale_ua is not None
    network = Chains(layer_shapes(x_all.shape[1], hidden, classes, devices), config.offset_ua, config.scale_ua)
    board.allocate(network.n_cells)
    board.write_verify(initial_states(network, board.preset, ExSituConfig(), rng))
    rows = rng.choice(len(x_all), most, replace=False)[:n]
    scaler = InputScaler.fit(x_all[rows])
    truth = y_all[rows]
    targets = truth.astype(float) if classes == 2 else np.eye(classes)[truth]

    def hits(probability: FloatArray) -> float:
        return float((decided(probability) == truth).mean())

    trainer = InSituTrainer(network, board, config, rng)
    report = trainer.run(scaler(x_all[rows]), targets, hits)
    flat = network.flat_weights(board.read(20))
    said = decided(network.forward_flat(scaler(x_test), flat).mean(axis=0))
    return float((said == y_test).mean()), float(report.pulses)
