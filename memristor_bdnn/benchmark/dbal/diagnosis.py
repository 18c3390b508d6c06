"""What can be seen of a data set before anything is learned from it: repeats, duplicates, shares of successes.

Contexts that repeat exactly although every trial draws a continuous one were recorded wrongly, all but one of them; the
published trials taught us to look. Nothing here fits anything, and repeats are counted in the inputs alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.benchmark.dbal.data import Trials
from memristor_bdnn.benchmark.dbal.published import VESSELS, sharing
from memristor_bdnn.report.record import print_table
from memristor_bdnn.skills import Skill

FloatArray = npt.NDArray[np.floating[Any]]
SHARES_DIFFER = 3.0
"""Standard errors between the shares of successes of pool and test rows from which on we say that they differ."""


def diagnose(trials: Trials, skill: Skill) -> dict[str, Any]:
    """Figures of a data set.

    Returns:
        ``rows``, ``success_share`` and ``duplicate_rows`` of ``pool`` and ``test``; ``test_rows_in_pool``;
        ``repeated_contexts``: per part of the context the ``distinct`` values among all ``rows``, the rows whose value
        is theirs alone (``alone``), the most rows that share one (``largest_group``), and the share of rows whose value
        cannot be right if every trial draws its own (``misrecorded_share``, a lower bound: one row of each group may
        be right); ``warnings``: sentences.
    """
    every = np.concatenate([trials.x_pool, trials.x_test])
    in_pool = {row.tobytes() for row in trials.x_pool + 0.0}  # + 0.0: -0.0 is 0.0
    parts = {"pool": (trials.x_pool, trials.score_pool), "test": (trials.x_test, trials.score_test)}
    found: dict[str, Any] = {
        "rows": {name: len(x) for name, (x, _) in parts.items()},
        "success_share": {name: float((score > 0).mean()) for name, (_, score) in parts.items()},
        "duplicate_rows": {name: len(x) - len(np.unique(x, axis=0)) for name, (x, _) in parts.items()},
        "test_rows_in_pool": sum(row.tobytes() in in_pool for row in trials.x_test + 0.0),
        "repeated_contexts": {
            name: _repeats(every[:, columns]) for name, columns in context_parts(skill, every.shape[1]).items()
        },
    }
    return {**found, "warnings": _warnings(found)}


def context_parts(skill: Skill, width: int) -> dict[str, Any]:
    """Columns of the inputs that hold a part of the context each, by name; the vessels for pouring."""
    if skill.name == "pouring" and width == len(skill.feature_names):
        return dict(VESSELS)
    names = skill.feature_names if len(skill.feature_names) == width else ()
    columns = [k for k, name in enumerate(names) if name in skill.context_space.names]
    return {"contexts": columns} if columns else {}


def _repeats(values: FloatArray) -> dict[str, Any]:
    shared = sharing(values)
    distinct = len(np.unique(values, axis=0))
    return {
        "rows": len(values),
        "distinct": distinct,
        "alone": int((shared == 1).sum()),
        "largest_group": int(shared.max()),
        "misrecorded_share": 1.0 - distinct / len(values),
    }


def _warnings(found: dict[str, Any]) -> list[str]:
    said = []
    for name, of in found["repeated_contexts"].items():
        if of["misrecorded_share"] > 0:
            said.append(
                f"{of['rows']} rows hold {of['distinct']} different {name}, up to {of['largest_group']} rows the same: "
                f"if every trial draws its own, at least {of['misrecorded_share']:.1%} are not those of their trial"
            )
    share, rows = found["success_share"], found["rows"]
    middle = sum(share[p] * rows[p] for p in rows) / sum(rows.values())
    error = np.sqrt(middle * (1 - middle) * sum(1 / n for n in rows.values()))
    if abs(share["pool"] - share["test"]) > SHARES_DIFFER * error:
        said.append(
            f"{share['pool']:.1%} of the pool and {share['test']:.1%} of the test rows are successes: they are no "
            "samples of the same trials, and accuracy rewards saying what the test rows hold more of"
        )
    for name, n in found["duplicate_rows"].items():
        if n:
            said.append(f"{n} of the {rows[name]} {name} rows have inputs that came before")
    if found["test_rows_in_pool"]:
        said.append(f"{found['test_rows_in_pool']} test rows are in the pool too: a learner may be told their labels")
    return said


def print_diagnosis(found: dict[str, Any]) -> None:
    """The table, and what is wrong."""
    print_table(
        "the data set",
        ["", "rows", "successes", "duplicates"],
        [
            [name, found["rows"][name], f"{found['success_share'][name]:.1%}", found["duplicate_rows"][name]]
            for name in found["rows"]
        ],
    )
    rows = [
        [name, of["distinct"], of["alone"], of["largest_group"], f"{of['misrecorded_share']:.1%}"]
        for name, of in found["repeated_contexts"].items()
    ]
    if rows:
        print_table(
            "contexts that repeat", ["part", "different", "rows alone", "most rows share", "wrong, at least"], rows
        )
    for warning in found["warnings"]:
        print(f"warning: {warning}")
