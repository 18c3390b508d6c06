"""Golden packets of the board's own host software: found, built by our codec, decoded by our codec."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memristor_bdnn.accelerator.escim.wire import adc, commands, layouts, scaling
from memristor_bdnn.accelerator.escim.wire.commands import Command, Dialect
from memristor_bdnn.accelerator.escim.wire.layouts import (
    Block,
    MapArray,
    MapFlow,
    MapParameters,
    TargetPulses,
)
from memristor_bdnn.emulator import requests
from memristor_bdnn.emulator.requests import ApplyOptions


def load() -> dict[str, Any]:
    folder = Path(os.environ.get("MEMRISTOR_BDNN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    path = folder / "escim_golden_packets.json"
    if not path.is_file():
        pytest.skip(f"golden packets not found: {path} (set MEMRISTOR_BDNN_DATA)")
    return json.loads(path.read_text())


def pick(args: dict[str, Any], *names: str, default: Any = None) -> Any:
    for name in names:
        if name in args:
            return args[name]
    if default is None:
        raise KeyError(f"none of {names} in {sorted(args)}")
    return default


def ladder(args: dict[str, Any], *names: str) -> tuple[float, float, float]:
    start, step, end = pick(args, *names)
    return start, step, end


def _pulse(args: dict[str, Any], make: Any, line: str) -> commands.Request:
    return make(
        args["chip"],
        args["bl"],
        pick(args, "wl", "sl"),
        pick(args, line),
        args["vwl"],
        n_bl=args.get("n_bl", 1),
        n_wl=pick(args, "n_wl", "n_sl", default=1),
        width_ns=args.get("width_ns", 100),
        gap_ns=args.get("gap_ns", 0),
        count=args.get("count", 1),
    )


def _block(args: dict[str, Any]) -> Block:
    return Block(
        args.get("chip"),
        args["bl"],
        args.get("n_bl", 1),
        pick(args, "sl", "wl", default=0),
        pick(args, "n_sl", "n_wl", default=1),
    )


def _options(args: dict[str, Any]) -> ApplyOptions:
    return ApplyOptions(
        width_ns=args["width_ns"],
        max_pulses=args["max_pulses"],
        read_v=args.get("read_v", 0.2),
        access_v=args.get("access_v", 5.0),
        log_level=args.get("log", 0),
        feedback=args.get("feedback", 3),
        negative=bool(args.get("direction", 1)),
        wl_first=bool(args.get("volt_mode", args.get("inc_mode", 0))),
        extra_reads=args.get("extra_reads", args.get("reads", 0)),
    )


def _dialect(args: dict[str, Any], *fields: str) -> Dialect:
    return Dialect.C if any(f in args for f in fields) else Dialect.P


def _target(args: dict[str, Any], reset: bool) -> commands.Request:
    line = ladder(args, *(("sl_v", "vsl") if reset else ("bl_v", "vbl")))
    return TargetPulses.build(
        reset,
        _block(args),
        pick(args, "targets_uA", "target_uA"),
        ladder(args, "wl", "vwl"),
        line,
        max_pulses=args["n_max"],
        negative=bool(args["direction"]),
        wl_first=bool(args["inc_mode"]),
    ).request()


def _map_array(args: dict[str, Any]) -> commands.Request:
    p = args["para"]
    parameters = MapParameters(
        tuple(p["set_wl"]),
        tuple(p["set_bl"]),
        tuple(p["reset_wl"]),
        tuple(p["reset_sl"]),
        p["tol_high_uA"],
        p["tol_low_uA"],
        p["max_pulses"],
        p["max_checks"],
        p["check_threshold"],
        p["relax_us"],
        p["set_width_ns"],
        p["reset_width_ns"],
    )
    return MapArray.build(_block(args), args["targets_uA"], parameters).request()


def _map_flow(args: dict[str, Any]) -> commands.Request:
    p = {**args, **args.get("para", {})}
    return MapFlow.build(
        _block(args),
        args["targets_uA"],
        **{name: tuple(p[name]) for name in ("form_wl", "form_bl", "set_wl", "set_bl", "reset_wl", "reset_sl")},
        tolerance_ua=pick(p, "tol_uA", "tolerance_uA", "tol_high_uA"),
        max_pulses=pick(p, "max_pulses", "n_max"),
        negative=bool(pick(p, "direction", "read_direction", default=1)),
    ).request()


def _apply_pulses(args: dict[str, Any], operation: layouts.Operation) -> commands.Request:
    line = ladder(args, "vsl" if operation == layouts.Operation.RESET else "vbl", "bl_v", "sl_v")
    return requests.apply_pulses(
        operation,
        _block({**args, "chip": None}),
        ladder(args, "vwl", "wl_v"),
        line,
        args["target_uA"],
        _options(args),
        _dialect(args, "access_v", "feedback", "log"),
    )


def _apply_map(args: dict[str, Any]) -> commands.Request:
    args = {**args, **args.get("para", {})}
    names = ("form_wl", "form_bl", "set_wl", "set_bl", "reset_wl", "reset_sl")
    high = pick(args, "tol_high_uA", "tol_uA")
    return requests.apply_map(
        _block({**args, "chip": None}),
        args["targets_uA"],
        **{name: tuple(args[name]) for name in names},
        tolerance_high_ua=high,
        tolerance_low_ua=args.get("tol_low_uA", high),
        options=_options(args),
        dialect=_dialect(args, "access_v", "feedback", "log"),
    )


def _cfg_read(args: dict[str, Any]) -> commands.Request:
    return requests.cfg_read(
        args["chip"],
        args["bl"],
        pick(args, "wl", "sl"),
        n_bl=args["n_bl"],
        n_wl=pick(args, "n_wl", "n_sl"),
        v_read=args["vread"],
        v_wl=args["vwl"],
        negative=bool(args["direction"]),
    )


def _map_read(args: dict[str, Any]) -> commands.Request:
    return commands.map_read(
        args["chip"],
        args["bl"],
        pick(args, "sl", "wl"),
        negative=bool(args.get("direction", 1)),
        v_read=pick(args, "vread", "read_v", default=0.2),
        v_wl=pick(args, "vwl", "access_v", default=5.0),
        feedback=args.get("feedback", 3),
    )


def _parallel_read(args: dict[str, Any]) -> commands.Request:
    first = pick(args, "sl", "wl", default=0) or 0
    volts = pick(args, "vsl", "sl_v", "vread", "read_v")
    pairs = volts.items() if isinstance(volts, dict) else enumerate(volts, start=first)
    selected = {int(column): float(v) for column, v in pairs}
    return requests.parallel_read(args["bl"], args["n_bl"], selected, chip=args.get("chip", 1))


def _pulse_generator(args: dict[str, Any]) -> commands.Request:
    volts = pick(args, "wl_v", "vwl", "volts", "voltages")
    blocks = np.asarray(volts, dtype=float).reshape(-1, 32)
    if "width_us" in args:
        return requests.pulse_generator(blocks.tolist(), width_us=args["width_us"], gap_us=args["gap_us"])
    return requests.pulse_generator(blocks.tolist(), width_us=20 * args["width"], gap_us=20 * args["gap"])


BUILDERS: dict[str, Any] = {
    "read_all": lambda a: commands.read_all(a["chip"]),
    "map_abort": lambda a: commands.map_abort(),
    "map_progress": lambda a: commands.map_progress(),
    "map_result": lambda a: requests.map_result(),
    "debug": lambda a: requests.debug(a["on"]),
    "write_reg": lambda a: requests.write_reg(list(zip(a["addr"], a["data"], strict=True))),
    "read_reg": lambda a: requests.read_reg(a["addr"]),
    "seq_write_reg": lambda a: requests.seq_write_reg(a["start"], a["data"]),
    "seq_read_reg": lambda a: requests.seq_read_reg(a["start"], a["count"]),
    "set_pulse": lambda a: _pulse(a, requests.set_pulse, "vbl"),
    "form_pulse": lambda a: _pulse(a, requests.form_pulse, "vbl"),
    "reset_pulse": lambda a: _pulse(a, requests.reset_pulse, "vsl"),
    "cfg_read": _cfg_read,
    "seq_read": lambda a: requests.seq_read(a["bl"], a["sl"], a["read_v"]),
    "map_read": _map_read,
    "op_result": lambda a: requests.op_result(a["offset"], a["count"]),
    "cell_para": lambda a: requests.cell_para(a["offset"], a["count"]),
    "map_array": _map_array,
    "map_flow": _map_flow,
    "set_target": lambda a: _target(a, False),
    "reset_target": lambda a: _target(a, True),
    "parallel_read": _parallel_read,
    "pulse_generator": _pulse_generator,
    "apply_op": lambda a: requests.apply_op(a["words"]),
    "apply_op_form": lambda a: _apply_pulses(a, layouts.Operation.FORM),
    "apply_op_set": lambda a: _apply_pulses(a, layouts.Operation.SET),
    "apply_op_reset": lambda a: _apply_pulses(a, layouts.Operation.RESET),
    "apply_op_map": _apply_map,
}
BUILDERS["form"] = BUILDERS["form_pulse"]


def build(case: dict[str, Any]) -> bytes:
    """Our bytes of a golden request."""
    return BUILDERS[case["op"]](case["args"]).encode(checks=case["args"].get("checks", True))


def decode(op: str, payload: bytes, expected: Any) -> Any:
    """What our codec makes of a golden response's payload."""
    if op in ("read_all", "map_result", "set_target", "reset_target"):
        values = commands.half_values(payload) if op == "read_all" else commands.word_values(payload)
        return scaling.code_currents(values)
    if op == "cfg_read":
        channels = scaling.code_currents(commands.half_values(payload))
        return adc.sl_currents(channels) if np.size(expected) == 32 else adc.bl_currents(channels)
    if op == "map_progress":
        return int(commands.word_values(payload)[0])
    if op == "map_read":
        return scaling.code_current(int(commands.word_values(payload)[0]))
    if op == "seq_read":
        return scaling.code_currents(commands.word_values(payload))
    return commands.word_values(payload) if payload else None


_BY_CFG_REG = ("cfg_read", "set_pulse", "reset_pulse", "form_pulse", "form", "parallel_read")


def _command(op: str) -> Command:
    name = "CFG_REG" if op in _BY_CFG_REG else "APPLY_OP" if op.startswith("apply_op") else op.upper()
    return Command[name]


COMMAND_OF = {op: _command(op) for op in BUILDERS}
