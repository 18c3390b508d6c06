"""Pools of simulated trials: an append-only file whose rows can each be re-simulated alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.skills import pool as skills_pool
from memristor_bdnn.skills import rows as rowfiles
from memristor_bdnn.skills.pouring.context import (
    FEATURE_NAMES,
    N_PARAMETERS,
    PARAMETER_SPACE,
    PourContext,
    PourParameters,
    encode,
    score_of,
)
from memristor_bdnn.skills.pouring.geometry import is_valid
from memristor_bdnn.skills.pouring.setup import draw_context
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig
from memristor_bdnn.skills.rows import RowArray, RowFile
from memristor_bdnn.state import check_array, pack_json, save_npz

FloatArray = npt.NDArray[np.floating[Any]]

SCHEMA = 1
SHIPPED = Path(__file__).with_name("pool.npz")
"""The pool that comes with the package; its own record says how many trials and by which command."""

ROW = np.dtype(
    [
        ("seed", "<u8"),  # randomisation of the scene
        ("physical", "<f4", (len(FEATURE_NAMES),)),  # control parameters and context as executed, SI
        ("beads", "<u2"),
        ("in_bowl", "<u2"),
        ("in_cup", "<u2"),
        ("tipped", "<u2"),  # 1 if the bowl ended more than 30 degrees from upright
        ("crc", "<u4"),  # CRC-32 of the fields before it
    ]
)
_MAGIC = b"MBPOOL"


@dataclass(frozen=True)
class Pool(skills_pool.Pool):
    """Labelled pours ready for a learner.

    Attributes:
        x: network inputs, (n, 11).
        score: (n,), in [-1, 1]; above 0 is a success.
        rows: the rows they came from, dtype :data:`ROW`; empty for data from elsewhere.
    """

    def balanced(self, rng: np.random.Generator) -> Pool:
        """As many failures as successes, shuffled: the rarer kind whole, the other drawn at random."""
        success, failure = np.flatnonzero(self.score > 0), np.flatnonzero(self.score <= 0)
        n = min(len(success), len(failure))
        keep = rng.permutation(np.concatenate([rng.permutation(success)[:n], rng.permutation(failure)[:n]]))
        return Pool(self.x[keep], self.score[keep], self.rows[keep] if len(self.rows) else self.rows)


def trial_of(seed: int) -> tuple[PourContext, PourParameters]:
    """What ``collect`` tries for a seed: a random pair, and control parameters uniform over the valid ones."""
    rng = np.random.default_rng([SCHEMA, seed])
    context = PourContext.from_array(draw_context(rng)[0].array().astype(np.float32))
    for _ in range(1000):
        rows = PARAMETER_SPACE.sample(8, rng).astype(np.float32)
        valid = is_valid(context, rows)
        if valid.any():
            return context, PourParameters.from_array(rows[int(valid.argmax())])
    raise ConfigError(f"no valid control parameters found for the pool's seed {seed}")


def simulate(
    world: PouringWorld, seed: int, context: PourContext | None = None, parameters: PourParameters | None = None
) -> RowArray:
    """Run one trial and return its row, shape ().

    Args:
        world: any world without an arm; what ran in it before does not matter.
        seed: of the scene, and of context and parameters where those are left out.
    """
    if context is None or parameters is None:
        drawn = trial_of(seed)
        context, parameters = context or drawn[0], parameters or drawn[1]
    world.reset(seed, context)
    outcome = world.pour_cup_alone(parameters)
    beads = int(outcome.details["beads"])
    row = np.zeros((), ROW)
    row["seed"], row["beads"], row["tipped"] = seed, beads, outcome.details["bowl_tipped"]
    row["physical"] = np.concatenate([parameters.array(), context.array()])
    row["in_bowl"] = round(outcome.fraction_in_bowl * beads)
    row["in_cup"] = round(outcome.fraction_in_cup * beads)
    row["crc"] = rowfiles.checksum(row)
    return row


def resimulate(world: PouringWorld, row: RowArray) -> RowArray:
    """Run a pool's row again; on the same machine and PyBullet the same row comes back."""
    physical = row["physical"]
    return simulate(
        world,
        int(row["seed"]),
        PourContext.from_array(physical[N_PARAMETERS:]),
        PourParameters.from_array(physical[:N_PARAMETERS]),
    )


class PoolFile(RowFile):
    """An append-only pool file: a header with the world's settings, then rows of 64 bytes.

    Args:
        path: the file; made when it does not exist.
        config: how the trials are simulated; must equal the settings in an existing file.
        readonly: only look; the file must exist.

    Raises:
        StoreError: not a pool, of other settings, or what :class:`memristor_bdnn.skills.rows.RowFile` refuses. The
            file is left as it is.
    """

    def __init__(self, path: str | Path, config: WorldConfig | None = None, readonly: bool = False) -> None:
        def check(found: dict[str, Any]) -> None:
            if config is not None:
                _check_settings(Path(path), found, settings_of(config))

        super().__init__(Path(path), _MAGIC, SCHEMA, ROW, settings_of(config or WorldConfig()), check, readonly)
        self.settings = self.header

    def __enter__(self) -> PoolFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(path: str | Path | None = None) -> Pool:
    """Load a pool: a file of ``memristor-bdnn collect``, its export, or (None) the shipped pool.

    An .npz with arrays ``x_pool`` and ``score_pool`` (published trials) is understood too.

    Raises:
        ConfigError, StoreError: missing, damaged, empty, or of another schema version.
    """
    path = SHIPPED if path is None else Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: no such pool; make one: memristor-bdnn collect --trials 1000 --out {path}")
    content = archives.read_file(path)
    if content.startswith(_MAGIC):
        return labelled(rowfiles.read(path, content, _MAGIC, SCHEMA, ROW)[1])
    arrays = archives.unpack(path, content)
    if "x_pool" in arrays:
        if "score_pool" not in arrays:
            raise ConfigError(f"{path} is no whole pool: score_pool missing")
        n = len(arrays["x_pool"]) if arrays["x_pool"].ndim else 0
        check_array(f"{path}: x_pool", arrays["x_pool"], shape=(n, len(FEATURE_NAMES)))
        check_array(f"{path}: score_pool", arrays["score_pool"], shape=(n,), low=-1, high=1)
        return Pool(arrays["x_pool"], arrays["score_pool"], np.zeros(0, ROW))
    if "schema" not in arrays:
        raise StoreError(f"{path} is not a pool: expected a file of memristor-bdnn collect, or an export of one")
    check_array(f"{path}: schema", arrays["schema"], kinds="iu", shape=())
    _check_schema(path, int(arrays["schema"]))
    rows = skills_pool.rows_of(path, arrays, ROW)
    check_array(f"{path}: beads", rows["beads"], kinds="u", low=1)
    return labelled(rows)


def labelled(rows: RowArray) -> Pool:
    """Network inputs and scores of rows."""
    if not len(rows):
        raise StoreError("the pool has no rows yet")
    physical = rows["physical"].astype(float)
    x = encode(physical[:, N_PARAMETERS:], physical[:, :N_PARAMETERS])
    fraction = rows["in_bowl"] / rows["beads"]
    return Pool(x, np.array([score_of(f) for f in fraction]), rows)


def export(pool: PoolFile, path: str | Path, command: str) -> str:
    """Write a pool as a compact .npz, sorted by seed, that :func:`load` reads; returns its SHA-256."""
    rows = pool.rows[np.argsort(pool.rows["seed"])]
    small = {name: rows[name].astype(np.uint8) for name in ("beads", "in_bowl", "in_cup", "tipped")}
    return save_npz(
        path,
        {
            "schema": np.array(SCHEMA),
            "seed": rows["seed"].astype(np.uint32),
            "physical": rows["physical"],
            **small,
            "feature_names": np.array(FEATURE_NAMES),
            "settings": pack_json(pool.settings),
            "command": np.array(command),
        },
    )


def settings_of(config: WorldConfig) -> dict[str, Any]:
    """The part of a configuration that decides the outcomes of trials without an arm."""
    names = ("time_step", "solver_iterations", "tilt_speed", "settle", "wait")
    return {name: getattr(config, name) for name in names}


def _check_settings(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    unlike = [f"{k}: {old.get(k)} in the file, {v} asked" for k, v in new.items() if old.get(k) != v]
    if unlike:
        raise StoreError(f"{path} was made with other settings ({', '.join(unlike)}): use the same, or another file")


def _check_schema(path: Path, schema: int) -> None:
    if schema != SCHEMA:
        raise StoreError(
            f"{path} has pool schema {schema}, this version reads {SCHEMA}; nothing was changed. "
            "Use the version that made it, or another file"
        )
