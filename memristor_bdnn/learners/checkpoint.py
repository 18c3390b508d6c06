"""Checkpoints of learners: one .npz with the learner's arrays, its options and its accelerator's state."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import archives
from memristor_bdnn.accelerator.protocol import Accelerator
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.network.features import current_name
from memristor_bdnn.state import check_array, pack_json, save_npz, unpack_json

Array = npt.NDArray[Any]
_PREFIX = "accelerator."
_RECORDS = ("format", "config", "contents", "session")
"""What a file holds besides arrays: JSON texts. ``contents`` lists the arrays; ``session`` is the mark of the session
that the checkpoint belongs to (active/checkpoints.py)."""
_LONGEST_RECORD = 2**20
_ABSENT = object()
_BEFORE = {"n_classes": 2}
"""Options with the only value that there was before they were options: files of then mean it, without a doubt."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file that fits a learner by format and options.

    Attributes:
        arrays: the learner's own.
        accelerator: its accelerator's state.
        sha256: of the file, hexadecimal.
        complete: whether the file lists its arrays and all are there; files of version 0.1 have no list.
    """

    arrays: dict[str, Array]
    accelerator: dict[str, Array]
    sha256: str
    complete: bool


def save(path: str | Path, kind: str, config: Any, accelerator: Accelerator, arrays: Mapping[str, Array]) -> str:
    """Write a checkpoint; returns its SHA-256.

    Args:
        path: file to write or replace.
        kind: name and version of the format, such as ``memristor_bdnn.eapu/1``.
        config: the learner's configuration dataclass; a checkpoint of other options is refused later.
        accelerator: its :meth:`state_dict` is stored too.
        arrays: the learner's own state, no objects.
    """
    content: dict[str, Array] = {"format": pack_json(kind), "config": pack_json(_plain(config)), **arrays}
    content.update({_PREFIX + key: np.asarray(value) for key, value in accelerator.state_dict().items()})
    content["contents"] = pack_json(sorted(content))
    return save_npz(path, content)


def read(path: str | Path, kind: str, config: Any, accelerator: Accelerator, own: Mapping[str, Array]) -> Checkpoint:
    """Read a checkpoint; nothing is restored yet. An option that the file does not know is said in a warning.

    Args:
        path: a regular file.
        kind: name and version of the expected format.
        config: the learner's configuration.
        accelerator: that the state must fit.
        own: the learner's present arrays: those of the file may not be much larger than these, or of other shapes
            where these say so (an array whose shape varies has no entry).

    Raises:
        ConfigError: damaged, of another learner, of another number of cells, or made with other options: each is named
            with both values.
    """
    file = archives.read_file(path)
    judge = _judge(path, accelerator, own)
    records = archives.unpack(path, file, judge, _RECORDS)
    found = unpack_json(records["format"], f"{path}: format") if "format" in records else "no learner at all"
    if found != kind:
        raise ConfigError(f"{path} is not a checkpoint of this learner: format: expected {kind}, found {_text(found)}")
    if "config" not in records:
        raise ConfigError(f"damaged checkpoint {path}: config is missing")
    _check_options(path, _current(unpack_json(records["config"], f"{path}: config")), config)
    content = archives.unpack(path, file, judge)
    for name in _RECORDS:
        content.pop(name, None)
    if "contents" in records:
        _check_contents(path, unpack_json(records["contents"], f"{path}: contents"), content)
    chips = {key[len(_PREFIX) :]: value for key, value in content.items() if key.startswith(_PREFIX)}
    mine = {key: value for key, value in content.items() if not key.startswith(_PREFIX)}
    _check_cells(path, chips, accelerator)
    return Checkpoint(mine, chips, hashlib.sha256(file).hexdigest(), "contents" in records)


def check_arrays(
    path: str | Path,
    arrays: Mapping[str, Array],
    own: Mapping[str, Array],
    optional: tuple[str, ...] = (),
    growing: tuple[str, ...] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Refuse a checkpoint whose arrays are not those that the learner would save.

    Args:
        path: of the file.
        arrays: from it.
        own: the learner's present arrays: every one must be there, of the same kind and shape, finite.
        optional: names of arrays that may be absent.
        growing: names of arrays whose shape may be another.
        ranges: name -> lowest and highest value that an array may hold.

    Raises:
        ConfigError: names the array.
    """
    damaged, ranges = f"damaged checkpoint {path}: ", ranges or {}
    missing = [key for key in own if key not in arrays and key not in optional]
    if missing:
        raise ConfigError(f"{damaged}{', '.join(missing)} missing")
    unknown = [key for key in arrays if key not in own and key not in optional]
    if unknown:
        raise ConfigError(
            f"{damaged}{_text(', '.join(sorted(unknown)))}: no array of this learner; it has {_list(own)}"
        )
    for key, value in arrays.items():
        like = np.asarray(own[key]) if key in own else None
        low, high = ranges.get(key, (-np.inf, np.inf))
        kinds = "biuf" if like is None or (key in growing and like.size == 0) else like.dtype.kind
        shape = None if like is None or key in growing else like.shape
        if kinds not in "biuf":
            raise ConfigError(f"{key} is {kinds!r} in this learner: a checkpoint holds numbers")
        check_array(damaged + key, value, kinds=kinds, shape=shape, low=low, high=high)
        if like is not None and like.dtype.kind in "iu" and kinds in "iu" and value.dtype != like.dtype:
            raise ConfigError(f"{damaged}{key} holds {value.dtype}, expected {like.dtype}")


def _judge(path: str | Path, accelerator: Accelerator, own: Mapping[str, Array]) -> archives.Judge:
    """Refuses arrays that are larger than they can be, before they are unpacked."""
    sizes = {_PREFIX + key: np.asarray(value).nbytes for key, value in accelerator.state_dict().items()}

    def judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if name in own and shape != np.shape(own[name]):
            raise ConfigError(f"damaged checkpoint {path}: {name} has shape {shape}, expected {np.shape(own[name])}")
        if name in _RECORDS or name == "rng":
            most = _LONGEST_RECORD
        else:  # a record of the accelerator, such as its identity, may be longer than the present one
            most = 2 * sizes[name] + _LONGEST_RECORD if name in sizes else size
        if size > most:
            raise ConfigError(f"damaged checkpoint {path}: {name} {shape} has {size} bytes, expected at most {most}")

    return judge


def _check_contents(path: str | Path, listed: Any, content: Mapping[str, Array]) -> None:
    """Refuse a file that lacks an array which was saved with it, or has one that was not."""
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ConfigError(f"damaged checkpoint {path}: contents is no list of names")
    names = set(listed) - set(_RECORDS)
    for odd, what in ((names - content.keys(), "missing"), (content.keys() - names, "unknown: not saved with it")):
        if odd:
            raise ConfigError(f"damaged checkpoint {path}: {_text(', '.join(sorted(odd)))} {what}")


def _check_cells(path: str | Path, chips: Mapping[str, Array], accelerator: Accelerator) -> None:
    """Refuse the state of chips on which another number of cells was allocated, where the state tells it."""
    if "identity" not in chips:
        return
    identity = unpack_json(chips["identity"], f"{path}: {_PREFIX}identity")
    if isinstance(identity, dict) and identity.get("n_cells", accelerator.n_cells) != accelerator.n_cells:
        raise ConfigError(
            f"damaged checkpoint {path}: {_PREFIX}identity: n_cells = {_brief(identity['n_cells'])}, this learner has "
            f"{accelerator.n_cells}"
        )


def _check_options(path: str | Path, saved: dict[str, Any], config: Any) -> None:
    """Refuse other options; one that the file does not know is taken to have been at its default."""
    own = _current(_plain(config))
    usual = _defaults(config)
    differing = list(_differences(saved, own, usual))
    unsaid = list(_unsaid(saved, own, usual))
    if differing:
        differing += [f"{name} = absent in the checkpoint, {now} here (its default)" for name, now in unsaid]
        raise ConfigError(f"{path} was made with other options (config): {'; '.join(differing)}. Use the same")
    if unsaid:
        taken = ", ".join(f"{name} = {now}" for name, now in unsaid)
        warnings.warn(f"{path} is older than these options, which take their defaults: {taken}", stacklevel=4)


def _plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON would give it back (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _defaults(config: Any) -> dict[str, Any]:
    """The values of the options that have defaults, as JSON would give them back."""
    made: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            made[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
            made[field.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return _current(plain)


def _current(options: Any) -> dict[str, Any]:
    """Options with the feature map under its present name, so that a module that moved makes no difference."""
    if not isinstance(options, dict):
        raise ConfigError(f"damaged checkpoint: its config is {type(options).__name__}, expected a mapping")
    features = options.get("features")
    return {**options, "features": current_name(features)} if isinstance(features, str) else options


def _differences(
    saved: Mapping[str, Any], own: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Every option that differs, with both values."""
    for key in sorted({*saved, *own}):
        name = prefix + key
        if key not in own:
            yield f"{name} = {_brief(saved[key])} in the checkpoint, absent here"
            continue
        now, default = own[key], usual.get(key, _ABSENT)
        if key not in saved:
            if not _same(now, default):
                before = "absent" if default is _ABSENT else f"absent (default {_brief(default)})"
                yield f"{name} = {before} in the checkpoint, {_brief(now)} here"
        elif isinstance(saved[key], dict) and isinstance(now, dict):
            yield from _differences(saved[key], now, default if isinstance(default, dict) else {}, f"{name}.")
        elif not _same(saved[key], now):
            yield f"{name} = {_brief(saved[key])} in the checkpoint, {_brief(now)} here"


def _unsaid(
    saved: Mapping[str, Any], own: Mapping[str, Any], usual: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Options that the file does not know and that are at their defaults here, with these."""
    for key, now in own.items():
        default = usual.get(key, _ABSENT)
        if key not in saved:
            known = now is None or _BEFORE.get(key, _ABSENT) == now  # an option that is empty changes nothing
            if _same(now, default) and not known:
                yield prefix + key, _brief(now)
        elif isinstance(now, dict) and isinstance(saved[key], dict):
            yield from _unsaid(saved[key], now, default if isinstance(default, dict) else {}, f"{prefix}{key}.")


def _same(one: Any, other: Any) -> bool:
    """Equal as values of an option: 1 and 1.0 are, 1 and true are not; a list of one is what stands in it.

    (Options that are lists now were numbers once.)
    """
    if isinstance(one, list) != isinstance(other, list):
        one, other = (value[0] if isinstance(value, list) and len(value) == 1 else value for value in (one, other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))


def _brief(value: Any) -> str:
    """A value from a file as Python writes it, short enough for one line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlist = short.maxdict = 12
    return short.repr(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 200 else _brief(value)
