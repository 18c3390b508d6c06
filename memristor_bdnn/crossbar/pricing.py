"""Time and energy of one piece of work on memristor hardware, on a CPU and on a GPU, from a ledger and assumptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from memristor_bdnn.config import check, option
from memristor_bdnn.crossbar.ledger import Ledger, LedgerSummary
from memristor_bdnn.crossbar.placement import Placement
from memristor_bdnn.device.presets import DevicePreset, override

PUBLISHED_SPEED_GAIN_PERCENT = 44.0
"""Published: the memristor system is 44 % faster than the GPU platform (Nat. Comput. Sci. 2025, abstract)."""
PUBLISHED_ENERGY_RATIO = 153.0
"""Published: it uses 153 times less energy (the same)."""


@dataclass(frozen=True)
class PlatformAssumptions:
    """What has to be assumed to put watts and seconds beside a ledger; change them on the command line."""

    host_power_w: float = option(15.0, "power of the one CPU core that computes", low=0, unit="W", source="assumption")
    gpu_power_w: float = option(
        250.0, "power of the GPU board while it computes (rated power)", low=0, unit="W", source="assumption"
    )
    gpu_launch_s: float = option(
        5e-6, "time per GPU kernel launch; a network this small is bound by it", low=0, unit="s", source="assumption"
    )
    gpu_step_kernels: int = option(
        120,
        "kernels of one learning step: sampling, forward, backward, optimiser",
        low=1,
        source="assumption",
    )
    gpu_predict_kernels: int = option(30, "kernels of one prediction", low=1, source="assumption")
    gpu_flops: float = option(5e12, "arithmetic that such small matrices reach", low=1, unit="1/s", source="assumption")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Work:
    """One learning task as it was measured or counted.

    Attributes:
        steps: learning steps.
        predictions: calls of predict.
        multiply_adds: multiply-accumulates of all forward and backward passes.
        host_s: CPU seconds of everything but the devices (network arithmetic, choosing pulses).
        devices_s: CPU seconds of the device operations that a digital platform needs as well: drawing random
            weights and updating them; without write-verify.
    """

    steps: int
    predictions: int
    multiply_adds: float
    host_s: float
    devices_s: float

    def __add__(self, other: Work) -> Work:
        """One task after another."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return Work(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Cost:
    """Time and energy of a task on one platform, and how they came about."""

    platform: str
    time_s: float
    energy_j: float
    basis: str


@dataclass(frozen=True)
class Scenario:
    """One periphery around the same devices; each change from the preset is an assumption to be listed."""

    name: str
    changes: dict[str, float | bool]
    note: str


SCENARIOS = (
    Scenario("board", {}, "as the published board is used: 200 us a read, chips one after another"),
    Scenario(
        "parallel read",
        {"read_time_s": 10e-6, "chips_in_parallel": True, "pulse_overhead_s": 1e-6},
        "the board's 10 us parallel read, chips at once, 1 us per pulse (assumption)",
    ),
    Scenario(
        "integrated",
        {"read_time_s": 100e-9, "chips_in_parallel": True, "pulse_overhead_s": 100e-9},
        "periphery on the chip: 100 ns reads and 100 ns per pulse (assumption; nothing like it was measured)",
    ),
)


def with_periphery(preset: DevicePreset, scenario: Scenario) -> DevicePreset:
    """The preset with a scenario's periphery."""
    return override(preset, {"periphery": dict(scenario.changes)})


def price_devices(ledger: Ledger, preset: DevicePreset, n_cells: int, scenario: Scenario) -> LedgerSummary:
    """A ledger priced with another periphery, for a network on cells 0..n_cells-1.

    Accesses are scaled by what reading the whole network takes; single-cell verify reads are scaled alike.
    """
    other = with_periphery(preset, scenario)
    return ledger.priced(other, _access_factor(other, preset, n_cells))


def _access_factor(other: DevicePreset, preset: DevicePreset, n_cells: int) -> float:
    """How often channels switch to read the whole network with another periphery, over how often they did."""
    return Placement.of(other).accesses(0, n_cells) / Placement.of(preset).accesses(0, n_cells)


def digital_costs(
    work: Work, assumptions: PlatformAssumptions, measured: tuple[float, float] | None = None
) -> list[Cost]:
    """The task on a CPU (measured time) and on a GPU.

    Args:
        work: the task.
        assumptions: watts; without ``measured`` also the GPU's launches and arithmetic.
        measured: seconds of one learning step and of one prediction on the GPU.
    """
    a = assumptions
    cpu_s = work.host_s + work.devices_s
    launches = work.steps * a.gpu_step_kernels + work.predictions * a.gpu_predict_kernels
    gpu_s, basis = launches * a.gpu_launch_s + 2 * work.multiply_adds / a.gpu_flops, f"{launches} kernel launches"
    if measured is not None:
        gpu_s, basis = work.steps * measured[0] + work.predictions * measured[1], "measured with torch"
    return [
        Cost("CPU", cpu_s, cpu_s * a.host_power_w, "measured CPU time"),
        Cost("GPU", gpu_s, gpu_s * a.gpu_power_w, basis),
    ]


def memristor_costs(
    work: Work,
    ledger: Ledger,
    preset: DevicePreset,
    n_cells: int,
    assumptions: PlatformAssumptions,
    scenarios: tuple[Scenario, ...] = SCENARIOS,
) -> list[Cost]:
    """The task on memristor hardware: the chips alone, and with the host that does the digital arithmetic."""
    costs = []
    for scenario in scenarios:
        chips = price_devices(ledger, preset, n_cells, scenario)
        whole_s, host_j = chips.latency_s + work.host_s, work.host_s * assumptions.host_power_w
        alone = Cost(f"chips, {scenario.name}", chips.latency_s, chips.system_energy_j, "ledger")
        host = Cost(f"chips + host, {scenario.name}", whole_s, chips.system_energy_j + host_j, "ledger + host CPU")
        costs += [alone, host]
    return costs


@dataclass(frozen=True)
class Breakdown:
    """Where the joules and seconds of a task go on one platform, by part; see :class:`CostParts`."""

    platform: str
    energy_j: dict[str, float]
    time_s: dict[str, float]

    @property
    def total_j(self) -> float:
        """Energy of all parts."""
        return sum(self.energy_j.values())

    @property
    def total_s(self) -> float:
        """Time of all parts, in sequence."""
        return sum(self.time_s.values())


def breakdowns(
    phases: Sequence[tuple[Work, Ledger]],
    preset: DevicePreset,
    n_cells: int,
    assumptions: PlatformAssumptions,
    measured: tuple[float, float] | None = None,
    scenarios: tuple[Scenario, ...] = SCENARIOS,
) -> list[Breakdown]:
    """CPU and GPU, then the chips with every periphery, alone and with the host that does the arithmetic.

    Args:
        phases: work and ledger of each part of the task, such as deployment and queries.
        preset: the devices.
        n_cells: of the network, on cells 0..n_cells-1.
        assumptions: watts.
        measured: seconds of a step and of a prediction on the GPU; assumed where None.
        scenarios: peripheries.
    """
    work = sum((work for work, _ in phases[1:]), phases[0][0])
    cpu, gpu = digital_costs(work, assumptions, measured)
    drawn = {"host arithmetic": work.host_s, "random weights, updates": work.devices_s}
    watts = assumptions.host_power_w
    found = [
        Breakdown(cpu.platform, {name: seconds * watts for name, seconds in drawn.items()}, drawn),
        Breakdown(gpu.platform, {"GPU": gpu.energy_j}, {"GPU": gpu.time_s}),
    ]
    for scenario in scenarios:
        other = with_periphery(preset, scenario)
        parts = [ledger.parts(other, _access_factor(other, preset, n_cells)) for _, ledger in phases]
        energy = {name: sum(part.energy_j[name] for part in parts) for name in parts[0].energy_j}
        time = {name: sum(part.time_s[name] for part in parts) for name in parts[0].time_s}
        host_j, host_s = {"host arithmetic": work.host_s * watts}, {"host arithmetic": work.host_s}
        found.append(Breakdown(f"chips, {scenario.name}", energy, time))
        found.append(Breakdown(f"chips + host, {scenario.name}", {**energy, **host_j}, {**time, **host_s}))
    return found


@dataclass(frozen=True)
class Comparison(Cost):
    """A cost beside the GPU's: how much faster in percent (negative: slower), how many times less energy."""

    speed_gain_percent: float
    energy_ratio: float


def against(gpu: Cost, cost: Cost) -> Comparison:
    """Compare a cost with the GPU's."""
    gain, ratio = 100 * (gpu.time_s / cost.time_s - 1), gpu.energy_j / cost.energy_j
    return Comparison(cost.platform, cost.time_s, cost.energy_j, cost.basis, gain, ratio)


def break_even_read_time_s(ledger: Ledger, preset: DevicePreset, n_cells: int, time_s: float) -> float | None:
    """Read time at which the chips alone, read in parallel, take ``time_s``; None where pulses alone take longer."""
    zero, one = (
        price_devices(ledger, preset, n_cells, Scenario("", {**SCENARIOS[-1].changes, "read_time_s": t}, ""))
        for t in (0.0, 1.0)
    )
    left = time_s - zero.latency_s
    return left / (one.latency_s - zero.latency_s) if left > 0 else None


def assumption_rows(preset: DevicePreset, assumptions: PlatformAssumptions) -> list[list[str]]:
    """Every number used and where it comes from: name, value, unit, source."""
    rows = []
    groups = (
        ("", assumptions),
        ("periphery.", preset.periphery),
        ("set_pulse.", preset.set_pulse),
        ("reset_pulse.", preset.reset_pulse),
    )
    wanted = ("voltage_v", "width_s")
    for prefix, config in groups:
        for field in dataclasses.fields(config):
            if "pulse." in prefix and field.name not in wanted:
                continue
            meta = field.metadata
            rows.append([prefix + field.name, f"{getattr(config, field.name)}", meta["unit"], meta["source"]])
    rows.append(["read_voltage_v", f"{preset.read_voltage_v}", "V", "MSGLD"])
    rows.append(["current during a pulse", "ohmic: I_read V / V_read", "", "assumption"])
    rows.append(["network arithmetic", "on the host; the chips deliver noisy weights", "", "MSGLD code"])
    rows += [[f"scenario {s.name}", s.note, "", "see left"] for s in SCENARIOS]
    return rows
