"""Options of the board's driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from memristor_bdnn.accelerator.escim.client import ClientConfig
from memristor_bdnn.accelerator.escim.safety import LONGEST_RELAX_US, SafetyLimits
from memristor_bdnn.config import option
from memristor_bdnn.device.presets import DevicePreset


@dataclass(frozen=True)
class EscimConfig(ClientConfig):
    """The driver's options, with those of the connection."""

    reset_by: str = option(
        "auto",
        "RESET_TARGET (one conditional pulse, as the experiment), CFG_REG (unconditional), or auto: RESET_TARGET, but"
        " CFG_REG with the published firmware (dialect P), whose RESET_TARGET writes outside an array of its own",
        choices=("auto", "reset_target", "cfg_reg"),
        source="MSGLD code",
    )
    reset_target_ua: float = option(
        0.4, "RESET_TARGET pulses only cells that read above this", low=0, high=20, unit="uA", source="MSGLD code"
    )
    pulses_per_request: str = option(
        "cell",
        "cells pulsed by one request: one, those of a row, those of a column (CFG_REG only)",
        choices=("cell", "row", "column"),
        source="MSGLD code: cell",
    )
    set_voltage_v: float | None = option(None, "V_BL of a SET; default: the preset's", low=0, high=5, unit="V")
    set_gate_v: float | None = option(None, "V_WL of a SET; default: the preset's", low=0, high=5, unit="V")
    set_width_ns: float | None = option(None, "width of a SET; default: the preset's", low=0, unit="ns")
    reset_voltage_v: float | None = option(None, "V_SL of a RESET; default: the preset's", low=0, high=5, unit="V")
    reset_gate_v: float | None = option(None, "V_WL of a RESET; default: the preset's", low=0, high=5, unit="V")
    reset_width_ns: float | None = option(None, "width of a RESET; default: the preset's", low=0, unit="ns")
    map_relax_us: int = option(
        500, "rest before the checks of write-verify", low=0, high=LONGEST_RELAX_US, unit="us", source="MSGLD code"
    )
    map_rounds: int = option(3, "write-verify jobs for cells whose job was interrupted", low=1, high=100)
    map_stall_s: float = option(60.0, "a job without progress for so long has ended", low=0.1, high=3600, unit="s")
    restore: str = option(
        "refuse",
        "a checkpoint of other chip states: refuse it, or deploy its currents by write-verify",
        choices=("refuse", "deploy"),
    )
    restore_tolerance_ua: float = option(
        0.3,
        "median difference up to which chips count as those of a checkpoint, or of before a reconnect",
        low=0,
        high=20,
        unit="uA",
    )
    dry_run: bool = option(False, "send nothing that changes a device; record it instead", changes="start")
    record: str | None = option(None, "file for a recording of every packet", files=True)
    endurance_file: str | None = option(
        None, ".npz file that keeps the cells' pulse counts between sessions", files=True
    )
    limits: SafetyLimits = field(default_factory=SafetyLimits)

    def pulse(self, preset: DevicePreset, reset: bool) -> tuple[float, float, float]:
        """Line voltage and gate voltage in volt, width in ns, of a SET or RESET; where not given, the preset's."""
        own = (self.set_voltage_v, self.set_gate_v, self.set_width_ns)
        if reset:
            own = (self.reset_voltage_v, self.reset_gate_v, self.reset_width_ns)
        nominal = preset.reset_pulse if reset else preset.set_pulse
        defaults = (nominal.voltage_v, nominal.gate_v, 1e9 * nominal.width_s)
        volts, gate, width = (value if given is None else given for given, value in zip(own, defaults, strict=True))
        return volts, gate, width
