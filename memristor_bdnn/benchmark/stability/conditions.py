"""What happens to the chips in the simulated hours: kinds of drift and disturb, each in several strengths.

A strength is per cent of the preset's window per decade of time (or of reads). Nobody published drift of these devices
in such units, so a study shows the same skill under several.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memristor_bdnn.device.presets import DevicePreset, override

KINDS = {
    "shift": "all cells drift alike",
    "spread": "every cell drifts at a rate of its own, 0 on average",
    "drift": "both: mean and SD of the rates are the strength",
    "disturb": "reads move cells: mean and SD are the strength, a decade is one of reads",
}
NOISE, OWN = "noise", "preset"
"""Conditions without a strength: read noise alone, and what the preset itself says."""


@dataclass(frozen=True)
class Condition:
    """One kind at one strength.

    Attributes:
        kind: of :data:`KINDS`, ``noise`` or ``preset``.
        percent: strength, per cent of the window per decade.
    """

    kind: str
    percent: float = 0.0

    @property
    def name(self) -> str:
        """As in tables and files."""
        return self.kind if self.kind in (NOISE, OWN) else f"{self.kind} {self.percent:g} %"

    def preset(self, base: DevicePreset) -> DevicePreset:
        """The base with this retention and no other; times and reads at which a decade begins stay the base's."""
        if self.kind == OWN:
            return base
        low, high = base.window_ua
        rate = 0.01 * self.percent * (high - low)
        drift = {"rate_ua_per_decade": 0.0, "rate_sd_ua_per_decade": 0.0}
        disturb = {"disturb_ua_per_decade": 0.0, "disturb_sd_ua_per_decade": 0.0}
        if self.kind in ("shift", "drift"):
            drift["rate_ua_per_decade"] = rate
        if self.kind in ("spread", "drift"):
            drift["rate_sd_ua_per_decade"] = rate
        if self.kind == "disturb":
            disturb = dict.fromkeys(disturb, rate)
        return override(base, {"retention": {**drift, **disturb}})


def conditions(base: DevicePreset, kinds: Iterable[str], percents: Iterable[float]) -> list[Condition]:
    """Read noise alone, the preset's own retention where it has one, then every kind at every strength."""
    own = [Condition(OWN)] if base.retention.drifts or base.retention.disturbs else []
    strengths = sorted(percents)
    return [Condition(NOISE), *own, *(Condition(kind, percent) for kind in kinds for percent in strengths)]
