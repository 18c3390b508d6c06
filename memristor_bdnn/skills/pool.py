"""Pools of simulated trials of any skill: an append-only file whose rows can each be simulated again alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.skills import rows as rowfiles
from memristor_bdnn.skills.candidates import ask, too_few
from memristor_bdnn.skills.rows import RowArray, RowFile
from memristor_bdnn.state import check_array, pack_json, save_npz, unpack_json

if TYPE_CHECKING:
    from memristor_bdnn.skills.records import SkillMaths as Skill
    from memristor_bdnn.skills.records import World

FloatArray = npt.NDArray[np.floating[Any]]

SCHEMA = 1
_MAGIC = b"MBSKIL"


@dataclass(frozen=True)
class Pool:
    """Labelled trials ready for a learner.

    Attributes:
        x: network inputs, (n, d).
        score: (n,), in [-1, 1]; above 0 is a success.
        rows: the rows they came from, dtype :func:`row_type`; empty for data from elsewhere.
    """

    x: FloatArray
    score: FloatArray
    rows: RowArray

    @property
    def y(self) -> FloatArray:
        """Success as 0 or 1, (n,)."""
        return (self.score > 0).astype(float)

    def take(self, chosen: npt.NDArray[np.integer[Any]]) -> Pool:
        """Some of its trials, by index (m,)."""
        rows = self.rows[chosen] if len(self.rows) else self.rows
        return replace(self, x=self.x[chosen], score=self.score[chosen], rows=rows)


def row_type(skill: Skill) -> np.dtype[np.void]:
    """One row: seed, parameters, context and measures as executed (SI), and the CRC-32 of the fields before it."""
    return np.dtype(
        [
            ("seed", "<u8"),
            ("parameters", "<f4", (len(skill.parameter_space),)),
            ("context", "<f4", (len(skill.context_space),)),
            ("measures", "<f4", (len(skill.measure_space),)),
            ("crc", "<u4"),
        ]
    )


def trial_of(skill: Skill, seed: int) -> tuple[FloatArray, FloatArray]:
    """What a pool tries for a seed: a random context and valid parameters, as single precision keeps them."""
    rng = np.random.default_rng([SCHEMA, seed])
    context = skill.sample_context(rng).astype(np.float32).astype(float)
    found = ask(skill, context, 1, rng)
    if not len(found):
        raise too_few(skill, 0, 1, "candidates")
    parameters = found[0].astype(np.float32).astype(float)
    return skill.context_space.check(context), skill.parameter_space.check(parameters)


def simulate(skill: Skill, world: World, seed: int) -> RowArray:
    """Run the trial of a seed and return its row, shape ()."""
    context, parameters = trial_of(skill, seed)
    world.reset(seed, context)
    measured = world.execute(parameters)
    row = np.zeros((), row_type(skill))
    row["seed"], row["parameters"], row["context"] = seed, parameters, context
    row["measures"] = measured.measures
    row["crc"] = rowfiles.checksum(row)
    return row


class PoolFile(RowFile):
    """An append-only pool file: a header with skill and settings, then rows.

    Args:
        path: the file; made when it does not exist.
        skill: whose trials it holds.
        settings: how they are simulated; must equal those in an existing file.
        readonly: only look; the file must exist.

    Raises:
        StoreError: not a pool, of another skill or settings, or what :class:`memristor_bdnn.skills.rows.RowFile`
            refuses. The file is left as it is.
    """

    def __init__(
        self, path: str | Path, skill: Skill, settings: dict[str, Any] | None = None, readonly: bool = False
    ) -> None:
        self.skill = skill

        def check(found: dict[str, Any]) -> None:
            _check_header(Path(path), found, skill)
            if settings is not None and found.get("settings") != settings:
                raise StoreError(
                    f"{path} was made with the settings {found.get('settings')}, now they are {settings}: use the "
                    "same, or another file"
                )

        super().__init__(Path(path), _MAGIC, SCHEMA, row_type(skill), _header(skill, settings or {}), check, readonly)
        self.settings = self.header["settings"]

    def __enter__(self) -> PoolFile:
        """Use as a context manager."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()


def labelled(skill: Skill, rows: RowArray) -> Pool:
    """Network inputs and scores of rows. Raises StoreError when there are none."""
    if not len(rows):
        raise StoreError("the pool has no rows yet")
    contexts, parameters = rows["context"].astype(float), rows["parameters"].astype(float)
    x = np.concatenate([skill.encode(c, p[None]) for c, p in zip(contexts, parameters, strict=True)])
    return Pool(x, np.array([skill.score(m.astype(float)) for m in rows["measures"]]), rows)


def export(pool: PoolFile, path: str | Path, command: str) -> str:
    """Write a pool as a compact .npz, sorted by seed, that :func:`load` reads; returns its SHA-256."""
    rows = pool.rows[np.argsort(pool.rows["seed"])]
    return save_npz(
        path,
        {
            "format": pack_json(_header(pool.skill, pool.settings)),
            "seed": rows["seed"].astype(np.uint32),
            **{name: rows[name] for name in ("parameters", "context", "measures")},
            "command": np.array(command),
        },
    )


def load(path: str | Path, skill: Skill) -> Pool:
    """Load a pool of a skill: a file of ``memristor-bdnn collect``, its export, or an .npz with x and score.

    Raises:
        ConfigError, StoreError: missing, damaged, empty, of another skill, or of another schema.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: no such pool; make one: memristor-bdnn collect --skill {skill.name} --out {path}")
    content = archives.read_file(path)
    if content.startswith(_MAGIC):
        header, rows, _ = rowfiles.read(path, content, _MAGIC, SCHEMA, row_type(skill))
        _check_header(path, header, skill)
        return labelled(skill, rows)
    arrays = archives.unpack(path, content)
    if "format" in arrays:
        _check_header(path, unpack_json(arrays["format"], f"{path}: format"), skill)
        return labelled(skill, rows_of(path, arrays, row_type(skill)))
    if not {"x", "score"} <= set(arrays):
        raise ConfigError(f"{path} is no pool: expected a file of memristor-bdnn collect, or arrays x and score")
    x, score = arrays["x"], arrays["score"]
    width = len(skill.feature_names)
    if x.ndim != 2 or x.shape[1] != width or score.shape != (len(x),) or len(x) == 0:
        raise ConfigError(f"{path}: x {x.shape} and score {score.shape}, expected (n, {width}) and (n,)")
    for name, values in (("x", x), ("score", score)):
        check_array(f"{path}: {name}", values, kinds="fiu")
    return Pool(x.astype(float), score.astype(float), np.zeros(0, row_type(skill)))


def rows_of(path: Path, arrays: Mapping[str, npt.NDArray[Any]], kind: np.dtype[np.void]) -> RowArray:
    """Rows from the columns of an exported pool; the checksums stay empty.

    Raises:
        ConfigError: a column is missing, of another type or shape, not finite, or beyond what a row holds.
    """
    columns = [name for name in kind.names or () if name != "crc"]
    missing = [name for name in columns if name not in arrays]
    if missing:
        raise ConfigError(f"{path} is no whole pool: {', '.join(missing)} missing")
    rows = np.zeros(arrays["seed"].size, kind)
    for name in columns:
        whole = kind[name].base.kind == "u"
        low, high = (0, float(np.iinfo(kind[name].base).max)) if whole else (-np.inf, np.inf)
        kinds, shape = "iu" if whole else "f", rows[name].shape
        seen = arrays[name]
        if name == "measures" and seen.ndim == 2 and seen.dtype.kind == "f":
            seen = seen.copy()
            seen[:, 1:][np.isnan(seen[:, 1:])] = 0.0  # a measure that nobody took; the first one is always there
        check_array(f"{path}: {name}", seen, kinds=kinds, shape=shape, low=low, high=high)
        rows[name] = arrays[name]
    return rows


def _header(skill: Skill, settings: dict[str, Any]) -> dict[str, Any]:
    spaces = {
        kind: [[d.name, d.unit, d.low, d.high] for d in getattr(skill, f"{kind}_space").dimensions]
        for kind in ("parameter", "context", "measure")
    }
    return {"schema": SCHEMA, "skill": skill.name, **spaces, "settings": settings}


def _check_header(path: Path, found: Any, skill: Skill) -> None:
    wanted = _header(skill, {})
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise StoreError(f"{path}: its header is not that of a pool; nothing was changed")
    for key in ("schema", "skill", "parameter", "context", "measure"):
        if found.get(key) != wanted[key]:
            raise StoreError(
                f"{path}: its {key} is {found.get(key)}, skill {skill.name} has {wanted[key]}; nothing was changed"
            )
