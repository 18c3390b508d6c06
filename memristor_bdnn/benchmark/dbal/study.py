"""Which part of the method does what: each switched off in turn, on pouring trials and on 8x8 digits."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark.dbal.data import Trials
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
TRAIN_DIGITS = 400
HIDDEN_DIGITS = 40


def study(trials: Trials, seeds: list[int], quick: bool = False) -> dict[str, Any]:
    """study.<task>.<variant>.accuracy_median, _q25, _q75, pulses_median, and the table."""
    tasks = {"pouring": _pouring(trials)}
    if importlib.util.find_spec("sklearn") is None:
        print("skipping the digits: scikit-learn is not installed (pip install scikit-learn)")
    else:
        tasks["digits"] = _digits()
    result: dict[str, Any] = {}
    for task, data in tasks.items():
        result[task] = {}
        for name, (options, chips) in VARIANTS.items():
            runs = [_run(data, seed, options, chips, 20 if quick else EPOCHS) for seed in seeds]
            accuracy, pulses = (np.array(v) for v in zip(*runs, strict=True))
            result[task][name] = {
                "accuracy_median": float(np.median(accuracy)),
                "accuracy_q25": float(np.quantile(accuracy, 0.25)),
                "accuracy_q75": float(np.quantile(accuracy, 0.75)),
                "pulses_median": float(np.median(pulses)),
            }
    rows = [
        [
            name,
            *[f"{result[t][name]['accuracy_median']:.3f}" for t in result],
            *[f"{result[t][name]['pulses_median']:.0f}" for t in result],
        ]
        for name in VARIANTS
    ]
    columns = ["variant", *[f"{t} accuracy" for t in result], *[f"{t} pulses" for t in result]]
    print_table(f"in situ from random devices, {len(seeds)} seeds, medians", columns, rows)
    return {"study": result}


def _pouring(trials: Trials) -> Any:
    """(draw of training rows, test inputs, test labels, classes): 128 random pool rows on lip features."""
    from memristor_bdnn.network.features import feature_map
    from memristor_bdnn.skills.pouring.recipes import LIP

    x = feature_map(LIP)(trials.x_pool)
    y = (trials.score_pool > 0).astype(int)
    test = feature_map(LIP)(trials.x_test)
    return x, y, test, (trials.score_test > 0).astype(int), 2, 128, (50, 50)


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
        TRAIN_DIGITS,
        (HIDDEN_DIGITS,),
    )


def _run(data: Any, seed: int, options: dict[str, Any], chips: dict[str, Any], epochs: int) -> tuple[float, float]:
    """(test accuracy, pulses) of in situ training from random device states, nothing trained ex situ."""
    from memristor_bdnn import accelerator
    from memristor_bdnn.config import build
    from memristor_bdnn.learners.msgld.config import MSGLDConfig
    from memristor_bdnn.learners.msgld.insitu import InSituTrainer
    from memristor_bdnn.network.bayesian import decided, layer_shapes
    from memristor_bdnn.network.chains import Chains
    from memristor_bdnn.network.exsitu import ExSituConfig, initial_states
    from memristor_bdnn.network.scaling import InputScaler

    x_all, y_all, x_test, y_test, classes, n, hidden = data
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
    rows = rng.choice(len(x_all), n, replace=False)
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
