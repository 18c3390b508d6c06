"""The parameters of one memristor by topic, every field with its unit, range and source.

Sources: "MSGLD" is *Deep Bayesian active learning using in-memory computing hardware* (Nat. Comput. Sci. 2025)
with its published code and chip measurements; "MCMC" is *In situ learning using intrinsic memristor variability
via Markov chain Monte Carlo sampling* (Nat. Electron. 2021); "EaPU" is the error-aware probabilistic update paper.
"fit" marks what was fitted to the published reads of the MSGLD chips after write-verify (docs/devices.md),
"assumption" numbers that nobody published: change them for your device.
"""

from __future__ import annotations

from dataclasses import dataclass

from memristor_bdnn.config import check, option
from memristor_bdnn.errors import ConfigError


@dataclass(frozen=True)
class ReadNoise:
    """Laplace read noise of scale b(I) = c0 + c1 I + c2 I^2, drawn anew for every cell and read."""

    constant_ua: float = option(0.0141, "c0", low=0, high=1000, unit="uA", source="MSGLD code, Extended Data 2")
    linear: float = option(0.0324, "c1", low=-1, high=1, source="MSGLD code, Extended Data 2")
    quadratic_per_ua: float = option(-0.0058, "c2", low=-1, high=1, unit="1/uA", source="MSGLD code, Ext. Data 2")
    floor_ua: float = option(1e-4, "no read is below this", low=0, high=1, unit="uA", source="assumption")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Pulse:
    """One SET or RESET pulse: I -> Normal(mu(I), sigma(I)^2), clipped to the device's window.

    Without a table, mu(I) = I + fraction (edge - I) with the edge of the device's own window in the pulse's
    direction, and sigma(I) = sd_constant_ua + sd_linear I. A table of (state, mean next state, SD), in
    microampere and with increasing states, replaces both and is interpolated linearly (so monotone tables stay
    monotone), held constant in (mean - state) and SD beyond its ends.
    """

    fraction: float = option(0.25, "share of the way to the window's edge", low=0, high=1, source="assumption")
    sd_constant_ua: float = option(0.15, "SD at zero current", low=0, high=1000, unit="uA", source="assumption")
    sd_linear: float = option(0.02, "growth of the SD with the state", low=-1, high=1, source="assumption")
    voltage_v: float = option(2.0, "voltage over cell and transistor", low=0, high=20, unit="V", source="MSGLD")
    gate_v: float = option(1.25, "word-line voltage", low=0, high=20, unit="V", source="MSGLD")
    width_s: float = option(100e-9, "pulse width", low=0, high=1, unit="s", source="MSGLD")
    table: tuple[tuple[float, float, float], ...] = option((), "rows of (state, mean, SD)", unit="uA")

    def __post_init__(self) -> None:
        check(self)
        for row, (state, mean, sd) in enumerate(self.table, start=1):
            if row > 1 and state <= self.table[row - 2][0]:
                raise ConfigError(f"Pulse.table row {row}: state {state:g} uA does not increase")
            if sd < 0 or not 0 <= mean <= 1000 or not 0 <= state <= 1000:
                raise ConfigError(
                    f"Pulse.table row {row}: ({state:g}, {mean:g}, {sd:g}) uA: states and means in"
                    " [0, 1000] uA, SD not negative"
                )
        if len(self.table) == 1:
            raise ConfigError("Pulse.table has one row: give at least two, or none")


@dataclass(frozen=True)
class WriteVerify:
    """Closed-loop programming as the board's map-array command does it.

    Small pulses towards the target until a read lies within the tolerance; a rest; ``checks`` reads of which
    ``check_threshold`` must pass, else pulses again; until ``max_pulses``. Method ``memorial`` instead writes
    (RESET, then SET at a gate voltage) and corrects the gate voltage, starting from the cell's previous one.
    """

    method: str = option(
        "incremental",
        "how the target is approached",
        choices=("incremental", "memorial"),
        source="MSGLD (incremental), EaPU (memorial)",
    )
    tolerance_ua: float = option(0.3, "accepted |read - target|", low=1e-6, high=1000, unit="uA", source="MSGLD code")
    max_pulses: int = option(300, "programming pulses a cell at most", low=1, high=100000, source="MSGLD code")
    checks: int = option(20, "reads after the rest", low=1, high=1000, source="MSGLD code")
    check_threshold: int = option(10, "reads that must pass", low=0, high=1000, source="MSGLD code")
    rest_s: float = option(500e-6, "rest before the checks", low=0, high=10, unit="s", source="MSGLD code")
    step_ua: float = option(
        0.487, "mean step of one small pulse at zero current", low=1e-6, high=1000, unit="uA", source="fit"
    )
    step_linear: float = option(0.0012, "growth of the mean step with the state", low=-1, high=1, source="fit")
    step_cv: float = option(0.55, "SD of a step over its mean", low=0, high=10, source="fit")
    reach_ua: tuple[float, float] = option(
        (0.1, 6.0),
        "lowest and highest state at all: what the rising pulse voltages reach, beyond the window of single pulses",
        low=0,
        high=10000,
        unit="uA",
        source="fit",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.check_threshold > self.checks:
            raise ConfigError(f"WriteVerify.check_threshold = {self.check_threshold}: at most checks = {self.checks}")


@dataclass(frozen=True)
class Relaxation:
    """What a cell loses between the last check of write-verify and its use.

    The state moves by Normal(-(mean_constant_ua + mean_linear I), (sd_constant_ua + sd_linear I)^2). A share of
    the cells, tail_constant + tail_linear I + tail_quadratic I^2, makes an exponentially distributed jump as well,
    downwards with probability tail_down.
    """

    mean_constant_ua: float = option(
        -0.0146, "mean loss at zero current", low=-1000, high=1000, unit="uA", source="fit"
    )
    mean_linear: float = option(0.0272, "growth of the mean loss with the state", low=-1, high=1, source="fit")
    sd_constant_ua: float = option(0.0076, "core SD at zero current", low=0, high=1000, unit="uA", source="fit")
    sd_linear: float = option(0.0109, "growth of the core SD with the state", low=-1, high=1, source="fit")
    tail_constant: float = option(0.0046, "share of tail cells at zero current", low=0, high=1, source="fit")
    tail_linear_per_ua: float = option(
        0.0808, "growth of that share with the state", low=-1, high=1, unit="1/uA", source="fit"
    )
    tail_quadratic_per_ua2: float = option(
        -0.0224, "curvature of that share over the state", low=-1, high=1, unit="1/uA^2", source="fit"
    )
    tail_scale_ua: float = option(0.49, "mean size of a tail cell's jump", low=0, high=1000, unit="uA", source="fit")
    tail_down: float = option(0.835, "share of the jumps that go down", low=0, high=1, source="fit")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class BlindWrite:
    """RESET, then one SET whose gate voltage aims at a target: lands at Normal(median, SD^2), unverified.

    The median is the target times the device's own factor, Normal(1, device_spread^2). With power_d > 0 the SD
    follows the power laws of the MCMC paper: the gate sets I_set = (g / d)^(1/c) (A) for the conductance g (S),
    and the SD is a I_set^-b percent of g. (Printed as a I_set^b; taken literally it would be ten times the
    conductance, so only this reading can be meant.) Otherwise SD = sd_constant_ua + sd_linear I.
    Targets are first moved into target_ua, the reach of the gate voltages, and to the nearest of gate_levels
    (0: continuous).
    """

    sd_constant_ua: float = option(0.2, "SD at zero current", low=0, high=1000, unit="uA", source="assumption")
    sd_linear: float = option(0.0, "growth of the SD with the state", low=-1, high=1, source="assumption")
    power_a: float = option(0.093, "a of the SD", low=0, high=100, source="MCMC")
    power_b: float = option(0.48, "b of the SD", low=0, high=10, source="MCMC")
    power_c: float = option(0.78, "c of the median conductance", low=0.01, high=10, source="MCMC")
    power_d: float = option(
        0.0,
        "d of the median conductance; 0 switches the power laws off",
        low=0,
        high=100,
        unit="S/A^c",
        source="MCMC",
    )
    device_spread: float = option(0.0, "relative device-to-device SD of the median", low=0, high=2)
    target_ua: tuple[float, float] = option((0.4, 4.0), "targets that the gate reaches", low=0, high=10000, unit="uA")
    gate_v: tuple[float, float] = option((0.6, 1.5), "gate voltages of these two", low=0, high=20, unit="V")
    gate_levels: int = option(0, "gate voltages in the look-up table; 0 is continuous", low=0, high=65536)

    def __post_init__(self) -> None:
        check(self)
        if self.target_ua[0] >= self.target_ua[1] or self.gate_v[0] >= self.gate_v[1]:
            raise ConfigError(f"BlindWrite: target_ua {self.target_ua} and gate_v {self.gate_v} must increase")
        if self.gate_levels == 1:
            raise ConfigError("BlindWrite.gate_levels = 1: 0 (continuous) or at least 2")


@dataclass(frozen=True)
class Faults:
    """Cells that do not move from one end, from the fabrication on."""

    stuck_low: float = option(0.0, "share of cells stuck low", low=0, high=1)
    stuck_high: float = option(0.0, "share of cells stuck high", low=0, high=1)
    low_ua: tuple[float, float] = option((0.04, 0.2), "range of stuck-low currents", low=0, high=1000, unit="uA")
    high_ua: tuple[float, float] = option((3.8, 4.2), "range of stuck-high currents", low=0, high=10000, unit="uA")

    def __post_init__(self) -> None:
        check(self)
        if self.stuck_low + self.stuck_high > 1:
            raise ConfigError(f"Faults: stuck_low + stuck_high = {self.stuck_low + self.stuck_high:g}, at most 1")


@dataclass(frozen=True)
class Retention:
    """What becomes of a state that nobody programs: drift with its age, disturb by the reads since its last pulse.

    A cell of age t has moved down by rate log10(1 + t / t0), rate ~ Normal(mean, SD) by device. A cell that was read n
    times has moved up by disturb log10(1 + n / n0), disturb ~ Normal(mean, SD) by device: reads have the polarity of
    SET. That reads at 0.2 V move TaOx/HfOx cells was measured over 10^6 reads (Yao et al., Nature 577, 641 (2020),
    Extended Data Fig. 7); form, direction and numbers are assumptions, and both effects are off by default.
    """

    rate_ua_per_decade: float = option(
        0.0, "mean rate, common to all", low=-1000, high=1000, unit="uA/decade", source="assumption"
    )
    rate_sd_ua_per_decade: float = option(
        0.0, "SD of the rate between devices", low=0, high=1000, unit="uA/decade", source="assumption"
    )
    onset_s: float = option(1.0, "t0", low=1e-9, high=1e9, unit="s", source="assumption")
    disturb_ua_per_decade: float = option(
        0.0, "mean disturb by reads, common to all", low=-1000, high=1000, unit="uA/decade", source="assumption"
    )
    disturb_sd_ua_per_decade: float = option(
        0.0, "SD of the disturb between devices", low=0, high=1000, unit="uA/decade", source="assumption"
    )
    onset_reads: float = option(1000.0, "n0", low=1e-3, high=1e15, source="assumption")

    def __post_init__(self) -> None:
        check(self)

    @property
    def drifts(self) -> bool:
        """Whether states change with time."""
        return self.rate_ua_per_decade != 0 or self.rate_sd_ua_per_decade != 0

    @property
    def disturbs(self) -> bool:
        """Whether reads change states."""
        return self.disturb_ua_per_decade != 0 or self.disturb_sd_ua_per_decade != 0


@dataclass(frozen=True)
class Wear:
    """Beyond ``endurance`` pulses every further pulse breaks the cell with a small probability."""

    endurance: int = option(100_000_000, "pulses before wear-out begins", low=1, source="assumption")
    failure_probability: float = option(
        1e-4, "chance of failure of each later pulse", low=0, high=1, source="assumption"
    )
    stuck_low_share: float = option(0.5, "share of the failures that end stuck low", low=0, high=1, source="assumption")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Periphery:
    """Circuits around the cells, for energy and latency. Pulses are given one after another."""

    read_time_s: float = option(200e-6, "integration time of a read", low=0, high=10, unit="s", source="MSGLD code")
    channels: int = option(64, "cells read at once", low=1, high=65536, source="MSGLD")
    chips_in_parallel: bool = option(False, "whether the chips are read at the same time", source="MSGLD code: no")
    adc_bits: int = option(12, "resolution of the converter", low=1, high=32, source="MSGLD code")
    adc_full_scale_ua: float = option(
        20.08032, "full scale of the converter", low=1e-6, unit="uA", source="MSGLD code, 5 V over 249 kOhm"
    )
    adc_energy_j: float = option(50e-12, "energy of a conversion", low=0, unit="J", source="assumption")
    amplifier_power_w: float = option(
        20e-6, "power of one transimpedance amplifier while reading", low=0, unit="W", source="assumption"
    )
    driver_energy_j: float = option(
        20e-12, "energy of the line drivers per pulse", low=0, unit="J", source="assumption"
    )
    controller_power_w: float = option(
        10e-3, "power of the digital controller while anything runs", low=0, unit="W", source="assumption"
    )
    pulse_overhead_s: float = option(10e-6, "time to set up one pulse", low=0, high=10, unit="s", source="assumption")

    def __post_init__(self) -> None:
        check(self)
