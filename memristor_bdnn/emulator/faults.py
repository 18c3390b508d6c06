"""Faults that an emulated board can have, drawn from one seeded generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memristor_bdnn.config import build, check, option
from memristor_bdnn.errors import ConfigError


@dataclass(frozen=True)
class FaultConfig:
    """Probability of each fault per request, unless another unit is given."""

    drop: float = option(0.0, "the connection is closed, half before executing, half after", low=0, high=1)
    corrupt: float = option(0.0, "one byte of the request (half) or of the answer (half) changes", low=0, high=1)
    truncate: float = option(0.0, "the answer breaks off and the connection closes", low=0, high=1)
    garbage: float = option(0.0, "up to 64 random bytes precede the answer", low=0, high=1)
    busy: float = option(0.0, "the board refuses with error 0x08", low=0, high=1)
    reset: float = option(0.0, "the board restarts: connection closed, registers zero", low=0, high=1)
    delay: float = option(0.0, "the answer is late", low=0, high=1)
    delay_max_s: float = option(2.0, "longest delay of a late answer", low=0, high=600, unit="s")
    stuck: float = option(0.0, "share of the cells that are stuck, half low and half high", low=0, high=1)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def parse(cls, text: str) -> FaultConfig:
        """From ``name=value,name=value``, as on the command line.

        Raises:
            ConfigError: an unknown name, no number, or out of range.
        """
        values: dict[str, float] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, equals, number = item.partition("=")
            if name.strip() in values:
                raise ConfigError(f"fault {item!r}: {name.strip()} is given twice")
            try:
                values[name.strip()] = float(number)
            except ValueError:
                equals = ""
            if not equals:
                raise ConfigError(f"fault {item!r}: expected name=number, for example drop=0.05,corrupt=0.01")
        return build(cls, values)


@dataclass(frozen=True)
class Plan:
    """What goes wrong with one request."""

    drop_before: bool = False
    drop_after: bool = False
    corrupt_request: bool = False
    corrupt_answer: bool = False
    truncate: bool = False
    garbage: int = 0
    busy: bool = False
    reset: bool = False
    delay_s: float = 0.0


class FaultInjector:
    """Draws the faults of each request and counts them."""

    def __init__(self, config: FaultConfig, seed: int = 0) -> None:
        """Faults of ``config``; the same seed gives the same faults for the same requests."""
        self.config = config
        self._rng = np.random.default_rng([seed, 0xFA17])
        self._quiet = not any(
            (config.drop, config.corrupt, config.truncate, config.garbage, config.busy, config.reset, config.delay)
        )
        self.counts = {name: 0 for name in ("drop", "corrupt", "truncate", "garbage", "busy", "reset", "delay")}

    def plan(self) -> Plan:
        """The faults of the next request."""
        if self._quiet:
            return Plan()
        c, draw, half = self.config, self._rng.random(7), self._rng.random(2) < 0.5
        happens = dict(zip(self.counts, draw < [getattr(c, name) for name in self.counts], strict=True))
        for name, hit in happens.items():
            self.counts[name] += bool(hit)
        return Plan(
            drop_before=bool(happens["drop"] and half[0]),
            drop_after=bool(happens["drop"] and not half[0]),
            corrupt_request=bool(happens["corrupt"] and half[1]),
            corrupt_answer=bool(happens["corrupt"] and not half[1]),
            truncate=bool(happens["truncate"]),
            garbage=int(self._rng.integers(1, 65)) if happens["garbage"] else 0,
            busy=bool(happens["busy"]),
            reset=bool(happens["reset"]),
            delay_s=float(self._rng.uniform(0, c.delay_max_s)) if happens["delay"] else 0.0,
        )

    def corrupted(self, data: bytes) -> bytes:
        """The bytes with one of them changed."""
        position = int(self._rng.integers(len(data)))
        flip = int(self._rng.integers(1, 256))
        return data[:position] + bytes((data[position] ^ flip,)) + data[position + 1 :]

    def random_bytes(self, count: int) -> bytes:
        """Garbage."""
        return self._rng.bytes(count)
