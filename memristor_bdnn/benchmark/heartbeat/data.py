"""Beats of the MIT-BIH arrhythmia database as ten features each: from the database, or from a file of features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.state import check_array, load_npz

Array = npt.NDArray[Any]

WINDOW_S, COMPONENTS, LEADS = 0.7, 5, 2
"""700 ms about the R peak, the five lowest Fourier components of each of two leads (MCMC paper)."""
FEATURES = COMPONENTS * LEADS
NORMAL = "N"
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
"""Annotations that are beats; the database marks rhythms, noise and waves too."""
SAME_PERSON = {202: 201}
"""Records 201 and 202 are of the same person."""
LEAST_BEATS = 10


@dataclass(frozen=True)
class Beats:
    """Beats of many people.

    Attributes:
        x: magnitudes of the Fourier components, (n, 10): lead by lead, lowest first.
        arrhythmic: 1.0 for every beat that is not annotated as normal, (n,).
        person: the number of the person's first record, (n,).
    """

    x: Array
    arrhythmic: Array
    person: Array

    @property
    def people(self) -> list[int]:
        """Numbers of the people."""
        return [int(p) for p in np.unique(self.person)]


def load(path: str | Path) -> Beats:
    """Beats of a folder of the database (``100.hea``, ``100.dat``, ``100.atr``, ...), or of an .npz file of features.

    Raises:
        ConfigError: no such thing, nothing in it, damaged, or of fewer than two people.
    """
    place = Path(path)
    x, symbol, record = _database(place) if place.is_dir() else _features(place)
    person = record.astype(np.int64)
    for other, first in SAME_PERSON.items():
        person[person == other] = first
    beats = Beats(x.astype(np.float64), (symbol != NORMAL).astype(float), person)
    if len(beats.people) < 2:
        raise ConfigError(f"--data {path}: beats of {len(beats.people)} person, at least 2 are needed: one is held out")
    for who in beats.people:
        if (count := int((beats.person == who).sum())) < LEAST_BEATS:
            raise ConfigError(f"--data {path}: record {who} has {count} beats, at least {LEAST_BEATS} are needed")
    return beats


def _features(path: Path) -> tuple[Array, Array, Array]:
    """Arrays x (n, 10), symbol (n,) and record (n,) of a file."""
    arrays = load_npz(path)
    missing = [name for name in ("x", "symbol", "record") if name not in arrays]
    if missing:
        raise ConfigError(f"{path}: missing {', '.join(missing)}; expected the arrays x, symbol and record")
    x, symbol, record = arrays["x"], arrays["symbol"], arrays["record"]
    n = len(symbol) if symbol.ndim == 1 else -1
    check_array(f"{path}: x", x, shape=(n, FEATURES), low=0.0)
    check_array(f"{path}: record", record, kinds="iu", shape=(n,), low=0)
    if symbol.dtype.kind != "U":
        raise ConfigError(f"{path}: symbol has type {symbol.dtype}, expected the annotations as text")
    _known(path, symbol)
    return x, symbol, record


def _known(path: Path, symbol: Array) -> None:
    """Refuse annotations that are no beats."""
    for text in np.unique(symbol):
        if text not in BEATS:
            beats = "".join(sorted(BEATS))
            raise ConfigError(f"{path}: symbol {str(text)!r} is no beat of the database; those are {beats}")


def _database(folder: Path) -> tuple[Array, Array, Array]:
    """Features, annotations and records of every record of a folder that has signals and annotations."""
    try:
        import wfdb
    except ImportError as error:
        raise ConfigError("reading the database needs the package wfdb: pip install wfdb") from error
    names = sorted(p.stem for p in folder.glob("*.atr") if p.with_suffix(".hea").exists())
    if not names:
        raise ConfigError(f"--data {folder}: no record in it (expected files such as 100.hea, 100.dat and 100.atr)")
    parts = []
    for name in names:
        if not name.isdigit():
            raise ConfigError(f"--data {folder}: record {name!r} has no number, expected names such as 100")
        try:
            signals = wfdb.rdrecord(str(folder / name))
            notes = wfdb.rdann(str(folder / name), "atr")
        except Exception as error:  # the reader raises what it likes on damaged files
            raise ConfigError(f"--data {folder}: record {name} cannot be read: {error}") from error
        parts.append(_record(folder / name, signals, notes))
    x, symbol = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return x, symbol, np.repeat([int(name) for name in names], [len(part[1]) for part in parts])


def _record(path: Path, signals: Any, notes: Any) -> tuple[Array, Array]:
    """Features (n, 10) and annotations (n,) of the beats whose window lies within a record."""
    leads = np.asarray(signals.p_signal, dtype=np.float64)
    if leads.ndim != 2 or leads.shape[1] < LEADS:
        raise ConfigError(f"{path}: signals of shape {leads.shape}, expected {LEADS} leads")
    if not np.isfinite(leads[:, :LEADS]).all():
        raise ConfigError(f"{path}: its first {LEADS} leads have gaps")
    half = round(WINDOW_S * float(signals.fs) / 2)
    peak, symbol = np.asarray(notes.sample, dtype=np.int64), np.array(notes.symbol, dtype="<U1")
    kept = np.isin(symbol, sorted(BEATS)) & (peak >= half) & (peak + half <= len(leads))
    if not kept.any():
        raise ConfigError(f"{path}: no beat in it")
    windows = leads[peak[kept, None] + np.arange(-half, half), :LEADS]  # (n, samples, leads)
    return features(windows), symbol[kept]


def features(windows: Array) -> Array:
    """Magnitudes of the lowest Fourier components of every lead, (n, 10), of windows (n, samples, leads)."""
    magnitude = np.abs(np.fft.rfft(windows, axis=1))[:, :COMPONENTS]
    return np.swapaxes(magnitude, 1, 2).reshape(len(windows), -1)
