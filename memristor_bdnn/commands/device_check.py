"""`device check`: whether learners can work on a device, as a table, and why not."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from typing import Any

import numpy as np

from memristor_bdnn.errors import ConfigError

WINDOWS_UA = ((0.1, 1.0), (0.2, 1.5), (0.5, 3.5), (0.7, 25.0), (5.0, 50.0), (20.0, 200.0))
"""Windows of --all: the default preset on each, nothing else of it changed."""


def run(args: argparse.Namespace) -> int:
    """Check one preset or all; 1 if some learner does not learn."""
    from memristor_bdnn import learners
    from memristor_bdnn.report.record import check_out, record, write_record

    check_out(args.out)
    if args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: at least 1")
    if bool(args.all) == bool(args.preset):
        raise ConfigError("device check: give a preset, or --all")
    names = args.learner or list(learners.BUILT_IN)
    for name in names:
        learners.learner_class(name)
    entries = [(label, _checks(label, preset, names, args.seeds)) for label, preset in _presets(args)]
    _print(entries, names)
    write_record(
        args.out, record({"presets": {label: _plain(found) for label, found in entries}}, list(range(args.seeds)))
    )
    working = all(_median(found, name) >= _good() for _, found in entries for name in names)
    if not args.all:
        _explain(entries[0][1], names)
    return 0 if working or args.all else 1


def _presets(args: argparse.Namespace) -> list[tuple[str, Any]]:
    from memristor_bdnn.device import presets

    if not args.all:
        preset = presets.load(args.preset)
        return [(preset.name, preset)]
    default = presets.load(presets.NAMES[0])
    built_in = [(name, presets.load(name)) for name in presets.NAMES]
    moved = [(f"{low:g} to {high:g} uA", {"window_ua": [low, high]}) for low, high in WINDOWS_UA]
    return built_in + [(label, presets.override(default, changes)) for label, changes in moved]


def _checks(label: str, preset: Any, names: list[str], seeds: int) -> list[Any]:
    """One check for every seed."""
    from memristor_bdnn.learners.device_check import check

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{label}, seed {seed}: {text} ...\033[K", end="", file=sys.stderr, flush=True)

    found = []
    for seed in range(seeds):
        found.append(check(preset, seed, names, progress=progress))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return found


def _print(entries: list[tuple[str, list[Any]]], names: list[str]) -> None:
    from memristor_bdnn.report.record import print_table

    def middle(values: list[float]) -> str:
        kept = [value for value in values if math.isfinite(value)]
        return f"{np.median(kept):.3g}" if kept else "-"

    rows = []
    for label, found in entries:
        row = [
            label,
            f"{np.median([one.within for one in found]):.0%}",
            middle([one.error_ua for one in found]),
            middle([one.levels for one in found]),
            middle([one.read_sd_ua for one in found]),
        ]
        warned = {text for one in found for text in one.concerns}
        warned |= {text.split(":")[0] for one in found for learner in one.learners for text in learner.warnings}
        row += [f"{_median(found, name):.3f}" if _median(found, name) > 0 else "refused" for name in names]
        rows.append([*row, str(len({text.split(" = ")[0].split(":")[0] for text in warned}))])
    columns = ["preset", "within tolerance", "RMS error (uA)", "levels", "read SD (uA)"]
    print_table(
        f"write-verify, reads, and test accuracy on y = (x0 > 0): medians of {len(entries[0][1])} seeds",
        [*columns, *names, "warnings"],
        rows,
    )


def _explain(found: list[Any], names: list[str]) -> None:
    """What cannot work, and why."""
    said: dict[str, None] = {}
    for one in found:
        said |= dict.fromkeys(f"device: {text}" for text in (*((one.error,) if one.error else ()), *one.concerns))
    for name in names:
        mine = [learner for one in found for learner in one.learners if learner.learner == name]
        refused = [learner.error for learner in mine if learner.error]
        accuracy = _median(found, name)
        if refused:
            said[f"{name}: refused with {len(refused)} of {len(mine)} seeds: {refused[0]}"] = None
        elif accuracy < _good():
            said[f"{name}: does not learn: test accuracy {accuracy:.2f}, below {_good()}"] = None
        texts = [text for learner in mine for text in learner.warnings if not text.startswith("preset ")]
        for kind in dict.fromkeys(text.split(":")[0].split(" on ")[0] for text in texts):
            same = [text for text in texts if text.startswith(kind)]
            said[f"{name}: {same[0]}" + (f" ({len(same)} such warnings)" if len(same) > 1 else "")] = None
    for text in said:
        print(f"warning: {text}")
    if not said:
        print("nothing to warn of")


def _median(found: list[Any], name: str) -> float:
    """Median test accuracy of a learner; a refusal counts as 0."""
    values = [learner.test_accuracy for one in found for learner in one.learners if learner.learner == name]
    return float(np.median(np.nan_to_num(values)))


def _good() -> float:
    from memristor_bdnn.learners.device_check import GOOD

    return GOOD


def _plain(found: list[Any]) -> list[dict[str, Any]]:
    """Checks as JSON takes them: no NaN."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    plain = [clean(dataclasses.asdict(one)) for one in found]
    for one, content in zip(found, plain, strict=True):
        for learner, entry in zip(one.learners, content["learners"], strict=True):
            entry["verdict"] = learner.verdict
    return plain
