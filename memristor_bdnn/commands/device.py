"""Show, fit and validate device models.

device show tsinghua_taox_hfox --out figures/          parameters with their sources, and figures
device fit pulses.csv --out mine.yaml                  a preset from your own measurements
device validate --data escim_write_verify.npz          simulated write-verify against reads of real chips
device map checkpoint.npz --out maps.png               conductance maps of a saved state
device check mine.yaml                                 write, read, and learn a simple rule with every learner
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from memristor_bdnn.errors import ConfigError
from memristor_bdnn.parsing import RawHelp

FIT_EPILOG = """columns of a .csv, currents in microampere:
  operation,state_ua,next_ua         one pulse (set, reset) or one noisy read (read) per row
  operation,state_ua,mean_ua,sd_ua   statistics of pulses (set, reset), taken as tables
with --unit nA or uS: state_na,next_na,... or state_us,next_us,... (uS with --read-voltage)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-parser per noun."""
    parser.formatter_class = RawHelp
    sub = parser.add_subparsers(dest="noun", required=True, metavar="show|fit|validate|map|check")
    show = sub.add_parser("show", help="parameters with their sources, and figures")
    show.add_argument("preset", metavar="PRESET", help="name of a preset, or a YAML file")
    show.add_argument("--out", metavar="DIR", default=".", help="folder for the figures (made if missing)")
    show.add_argument("--seed", type=int, default=0)
    fit = sub.add_parser("fit", help="a preset from measurements: CSV of pulses and reads, or NPZ of write-verify")
    fit.formatter_class = RawHelp
    fit.epilog = FIT_EPILOG
    fit.add_argument("measurements", metavar="FILE", help=".csv (see docs/devices.md) or .npz (target_ua, read_ua)")
    fit.add_argument("--out", metavar="YAML", required=True, help="preset file to write")
    fit.add_argument("--base", default="tsinghua_taox_hfox", help="preset for everything that was not measured")
    fit.add_argument("--name", help="name of the new preset; default: the output file's name")
    fit.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="state window in uA")
    fit.add_argument("--table", action="store_true", help="describe pulses by tables instead of the formula")
    fit.add_argument("--unit", metavar="uA|nA|uS", help="unit of the columns of a .csv; default uA")
    fit.add_argument("--read-voltage", type=float, metavar="V", help="at which was measured; becomes the preset's")
    fit.add_argument("--evaluations", type=int, default=1500, help="simulations of a write-verify fit at most")
    validate = sub.add_parser("validate", help="simulated write-verify against reads of real chips")
    validate.add_argument("--data", metavar="FILE", required=True, help=".npz with target_ua and read_ua")
    validate.add_argument("--preset", default="tsinghua_taox_hfox", help="preset or YAML file")
    validate.add_argument("--seeds", type=int, default=5, help="simulations with different seeds")
    validate.add_argument("--out", metavar="JSON", help="write the figures as JSON")
    validate.add_argument("--figure", metavar="PNG", help="draw the error distributions")
    add_check(sub.add_parser("check", help="write, read and learn a simple rule with every learner: what can it do?"))
    maps = sub.add_parser("map", help="conductance maps of a checkpoint or a measurement as an image")
    maps.add_argument("file", metavar="FILE", help=".npz of a checkpoint, or with an array read_ua (chips, rows, cols)")
    maps.add_argument("--out", metavar="PNG", default="chip_maps.png", help="image to write")
    maps.add_argument("--preset", default="tsinghua_taox_hfox", help="preset whose chips they are")


def add_check(check: argparse.ArgumentParser) -> None:
    """Options of ``device check``."""
    check.add_argument("preset", metavar="PRESET", nargs="?", help="name of a preset, or a YAML file")
    check.add_argument("--all", action="store_true", help="all built-in presets, and the default one on six windows")
    check.add_argument("--learner", action="append", metavar="NAME", help="only this learner (may be repeated)")
    check.add_argument("--seeds", type=int, default=3, help="chips, data and learners; the table gives medians")
    check.add_argument("--out", metavar="JSON", help="write all figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the chosen noun."""
    if args.noun == "check":
        from memristor_bdnn.commands import device_check

        return device_check.run(args)
    return {"show": _show, "fit": _fit, "validate": _validate, "map": _map}[args.noun](args)


def _show(args: argparse.Namespace) -> int:
    from memristor_bdnn.device import presets
    from memristor_bdnn.report.device_figures import all_figures
    from memristor_bdnn.report.record import make_folder, print_table

    preset, given = presets.load(args.preset), presets.given_fields(args.preset)
    folder = Path(args.out)
    if folder.suffix.lower() in (".json", ".yaml", ".yml", ".png", ".pdf", ".svg", ".csv"):
        raise ConfigError(f"--out {args.out}: figures are written into a folder, this is the name of a file")
    make_folder(args.out, "--out")
    print(f"{preset.name}: {preset.source}")
    print_table("parameters", ["parameter", "value", "unit", "source"], _parameter_rows(preset, given))
    for path in all_figures(preset, folder, args.seed):
        print(f"wrote {path}")
    return 0


def _parameter_rows(preset: Any, given: dict[str, str], config: Any = None, prefix: str = "") -> list[list[str]]:
    """Every field with value, unit and source, nested topics in dotted names; ``given``: fields of YAML files."""
    rows = []
    config = preset if config is None else config
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            rows += _parameter_rows(preset, given, value, f"{name}.")
        elif name not in ("name", "source", "sources"):
            text = f"{len(value)} rows" if field.name == "table" and value else f"{value}"
            source = preset.source_of(name, field.metadata.get("source", ""))
            if given and name not in dict(preset.sources):
                source = f"given in {given[name]}" if name in given else f"not given; of the base: {source}"
            rows.append([name, text, field.metadata.get("unit", ""), source])
    return rows


def _fit(args: argparse.Namespace) -> int:
    from memristor_bdnn.device import fitting, inheritance, presets, tables
    from memristor_bdnn.device.concerns import concerns
    from memristor_bdnn.report.record import check_out, print_table
    from memristor_bdnn.state import write_atomic

    check_out(args.out)
    if Path(args.out).suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--out {args.out}: a preset is a .yaml file")
    base, name = presets.load(args.base), args.name or Path(args.out).stem
    early: dict[str, Any] = {"name": name}  # what the user gave is refused before the work
    if args.read_voltage is not None:
        early["read_voltage_v"] = args.read_voltage
    if args.window:
        early["window_ua"] = args.window
    base = presets.override(base, {k: v for k, v in early.items() if k == "read_voltage_v"})
    presets.override(base, early)
    if Path(args.measurements).suffix.lower() == ".npz":
        if args.unit or args.window or args.table:
            raise ConfigError(
                "--unit, --window and --table are for .csv files of pulses, not for an .npz of write-verify"
            )
        changes = _fit_write_verify(args, base, name)
        inherited = inheritance.listed(base, (*changes, *(["read_voltage_v"] if args.read_voltage else [])), changes)
    else:
        result = fitting.fit_measurements(
            tables.read_table(args.measurements, unit=args.unit, read_voltage_v=args.read_voltage),
            base,
            name,
            window_ua=args.window and tuple(args.window),
            tables=args.table,
            read_voltage_v=args.read_voltage,
        )
        changes = result.changes
        print_table(
            "fit quality",
            ["pulse", "rows", "mean RMSE (uA)", "SD RMSE (uA)", "R2", "KS distance"],
            [list(dataclasses.astuple(q)) for q in result.quality],
        )
        inherited = result.inherited
        print(f"window: {changes['window_ua'][0]:g} to {changes['window_ua'][1]:g} uA")
    print_table("not measured", ["topic", "value"], [[one.topic, one.action] for one in inherited])
    if not isinstance(args.base, str) or args.base not in presets.NAMES:
        args.base = str(Path(args.base).resolve())
    write_atomic(args.out, fitting.preset_yaml(args.base, changes).encode())
    for text in concerns(presets.load(args.out)):
        print(f"warning: {text}")
    print(f"wrote {args.out}; use it with --preset {args.out}")
    return 0


def _fit_write_verify(args: argparse.Namespace, base: Any, name: str) -> dict[str, Any]:
    """Fit to half of the cells, report the distance on the other half, return the changed topics."""
    import numpy as np

    from memristor_bdnn.crossbar import validation

    target, read = validation.load_measurement(args.measurements)
    half = np.arange(target.size) % 2 == 0

    def progress(done: int, distance: float) -> None:
        if done % 100 == 0:
            print(f"{done} simulations, distance {distance:.4f} uA", flush=True)

    fitted = validation.fit(base, target[half], read[half], evaluations=args.evaluations, progress=progress)
    for label, chosen in (("fitted half", half), ("other half", ~half)):
        found = validation.compare(fitted, target[chosen], read[chosen], seed=1)
        print(
            f"{label}: KS distance {found.ks_distance:.4f}, mean {found.model.mean_error_ua:+.3f} uA (chips"
            f" {found.chip.mean_error_ua:+.3f}), SD {found.model.sd_error_ua:.3f} uA ({found.chip.sd_error_ua:.3f})"
        )
    plain, old = fitted.to_dict(), base.to_dict()
    changed = {key: plain[key] for key in ("fresh_ua", "write_verify", "relaxation") if plain[key] != old[key]}
    how = f"fitted to {Path(args.measurements).name} (write-verify of {target.size} cells)"
    changed["sources"] = [*map(list, base.sources), *([topic, how] for topic in changed)]
    if args.read_voltage is not None:
        changed["read_voltage_v"] = args.read_voltage
    source = f"write-verify fitted to {Path(args.measurements).name}; what was not measured is from {base.name}"
    return {"name": name, "source": source, **changed}


def _validate(args: argparse.Namespace) -> int:
    from memristor_bdnn.crossbar import validation
    from memristor_bdnn.device import presets
    from memristor_bdnn.report.record import check_out, check_picture, print_table, record, write_record

    check_out(args.out)
    check_picture(args.figure, "--figure")
    if args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: at least 1")
    preset = presets.load(args.preset)
    target, read = validation.load_measurement(args.data)
    seeds = list(range(args.seeds))
    found = [validation.compare(preset, target, read, seed) for seed in seeds]
    figures = validation.figures(found)
    names = ("mean_error_ua", "sd_error_ua", "share_within_tolerance")
    rows = [[name, figures[name]["chip"], figures[name]["model"], figures[name]["model_by_seed"]] for name in names]
    rows.append(["ks_distance", 0.0, figures["ks_distance"], figures["ks_distance_by_seed"]])
    print_table(
        f"write-verify of {target.size} cells, {preset.name}",
        ["figure", "chips", "model", "model, seed by seed"],
        [[*row[:3], " ".join(f"{v:.3f}" for v in row[3])] for row in rows],
    )
    print_table(
        "by target (first seed)",
        ["target (uA)", "cells", "mean chips", "mean model", "SD chips", "SD model", "KS distance"],
        [
            [
                f"{b.low_ua:g} to {b.high_ua:g}",
                b.chip.cells,
                b.chip.mean_error_ua,
                b.model.mean_error_ua,
                b.chip.sd_error_ua,
                b.model.sd_error_ua,
                b.ks_distance,
            ]
            for b in found[0].bins
        ],
    )
    if args.figure:
        from memristor_bdnn.report.device_figures import write_verify_errors

        model = validation.simulate_reads(preset, target, seeds[0])
        print(f"wrote {write_verify_errors(target, read, model, Path(args.figure), preset.name)}")
    write_record(args.out, record(figures, seeds))
    return 0


def _map(args: argparse.Namespace) -> int:
    import numpy as np

    from memristor_bdnn.crossbar.placement import Placement
    from memristor_bdnn.device import presets
    from memristor_bdnn.report.device_figures import chip_maps
    from memristor_bdnn.report.record import check_picture
    from memristor_bdnn.state import check_array, load_npz

    check_picture(args.out, "--out")
    arrays = load_npz(args.file)
    names = [name for name in arrays if name == "read_ua" or name.endswith("cells.state_ua")]
    if not names:
        raise ConfigError(f"{args.file}: no array read_ua and no saved cells; found {', '.join(arrays) or 'nothing'}")
    check_array(f"{args.file}: {names[0]}", arrays[names[0]], kinds="fiu", nan=True)
    currents = np.asarray(arrays[names[0]], dtype=np.float64)
    if currents.ndim != 3:
        placement = Placement.of(presets.load(args.preset))
        if currents.size > placement.capacity:
            raise ConfigError(f"{args.file}: {currents.size} cells, preset {args.preset} has {placement.capacity}")
        currents = placement.maps(currents.ravel())
    print(f"wrote {chip_maps(currents, Path(args.out))}")
    return 0
