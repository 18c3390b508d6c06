"""The page of a session: one file without references to anything outside, to send to a colleague, print, or keep."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memristor_bdnn import skills
from memristor_bdnn.active.store import Trial
from memristor_bdnn.report.page_looks import SORT, STYLE
from memristor_bdnn.report.words import with_error
from memristor_bdnn.spaces import Dimension

KINDS = {"initial": "random", "query": "asked for", "evaluation": "learned skill"}
_TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
NONE = "none"
_SECURITY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A browser that obeys it fetches nothing for this page from anywhere."""


@dataclass(frozen=True)
class Figure:
    """A picture of the page, or why it is not there.

    Attributes:
        title: what it shows.
        path: of the picture; None where there is none.
        caption: how to read it; without a picture, the reason.
        still: what is printed in place of a picture that moves.
    """

    title: str
    path: Path | None
    caption: str
    still: Path | None = None


def page(
    skill: skills.Skill, summary: Mapping[str, Any], trials: Sequence[Trial], film: Figure, figures: Sequence[Figure]
) -> str:
    """The whole page as text; pictures are read and put inside."""
    title = f"{skill.name.capitalize()}, learned on memristors"
    parts = [
        f"<header><p class=kind>memristor_bdnn &middot; session report</p><h1>{_text(title)}</h1>",
        f"<p class=lead>{_text(_signs(str(summary['learned'])))}</p>{_tiles(skill, summary)}</header>",
        f"<section><h2>Before and after</h2>{_figure(film)}</section>",
        f"<section><h2>What it learned</h2>{''.join(map(_figure, figures))}</section>",
        f"<section><h2>The trials</h2>{_trials(skill, trials)}</section>",
        f"<section><h2>The chips</h2>{_chips(summary)}</section>",
        f"<section><h2>To repeat it</h2>{_setup(skill, summary)}</section>",
        f"<section><details><summary>All figures of summary.json</summary>{_raw(summary)}</details></section>",
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f'<meta http-equiv=Content-Security-Policy content="{_SECURITY}">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(parts)}</main><script>{SORT}</script></body></html>\n"
    )


def _tiles(skill: skills.Skill, summary: Mapping[str, Any]) -> str:
    """The figures that are asked for first."""
    done = skill.fraction_name
    queries = int(summary.get("queries") or 0)
    failed = f"{summary.get('query_failures')} of {queries}" if queries else NONE
    tiles = [
        (f"{skill.fraction_label}, random trials", _number(summary.get(f"{done}_random"))),
        (f"{skill.fraction_label}, learned skill", _number(summary.get(done), summary.get(f"{done}_error"))),
        ("successes of the learned skill", _share(summary.get("success_rate"), summary.get("evaluation_trials"))),
        ("failures among the trials it asked for", failed),
        ("unseen trials predicted right", _number(summary.get("test_accuracy"))),
        ("energy of devices and circuits", _quantity(summary.get("system_energy_j"), "J")),
    ]
    cells = "".join(f"<div><b>{_text(value)}</b><span>{_text(name)}</span></div>" for name, value in tiles)
    return f"<div class=tiles>{cells}</div>"


def _figure(figure: Figure) -> str:
    if figure.path is None:
        return f"<p class=absent>{_text(figure.title)}: none. {_text(figure.caption)}</p>"
    if figure.path.suffix.lower() == ".mp4":
        shown = f'<video class=moving src="{_data(figure.path)}" autoplay loop muted playsinline controls></video>'
    else:
        moving = "" if figure.still is None else "class=moving "
        shown = f'<img {moving}src="{_data(figure.path)}" alt="{_text(figure.title)}">'
    if figure.still is not None:
        shown += f'<img class=still src="{_data(figure.still)}" alt="{_text(figure.title)}">'
    return f"<figure>{shown}<figcaption><b>{_text(figure.title)}.</b> {_text(figure.caption)}</figcaption></figure>"


def _data(path: Path) -> str:
    """A file as a URI that holds all of it."""
    kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _trials(skill: skills.Skill, trials: Sequence[Trial]) -> str:
    """Every trial of the store as a row; a click on the head of a column sorts by it."""
    if not trials:
        return "<p class=absent>No trial was made.</p>"
    heads = ["trial", "kind", "success", skill.fraction_label, "score", "predicted success", "SD of it"]
    heads += [_named(d) for d in skill.parameter_space.dimensions]
    heads += [_named(d) for d in skill.context_space.dimensions]
    rows = [_row(number, trial) for number, trial in enumerate(trials, start=1)]
    head = "".join(f"<th scope=col><button type=button>{_text(name)}</button></th>" for name in heads)
    return (
        "<p>One row a trial, in the order in which they were made. Random trials and those it asked for are learned "
        "from; those of the learned skill never are. A click on the head of a column sorts by it.</p>"
        f"<div class=wide><table class=sortable><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(number: int, trial: Trial) -> str:
    predicted = trial.phase != "initial"
    done = trial.feasible
    success = ("yes" if trial.score > 0 else "no") if done else "not carried out"
    cells: list[tuple[str, float | str]] = [
        (str(number), number),
        (KINDS[trial.phase], trial.phase),
        (success, success),
        (f"{trial.fraction:.2f}" if done else NONE, trial.fraction if done else -1),
        (f"{trial.score:.2f}" if done else NONE, trial.score if done else -2),
        (f"{trial.predicted_mean:.2f}" if predicted else NONE, trial.predicted_mean if predicted else -1),
        (f"{trial.predicted_std:.2f}" if predicted else NONE, trial.predicted_std if predicted else -1),
        *((f"{value:.4g}", value) for value in (*trial.parameters, *trial.context)),
    ]
    inside = "".join(f'<td data-v="{_text(str(value))}">{_text(shown)}</td>' for shown, value in cells)
    look = "good" if done and trial.score > 0 else "bad" if done else "void"
    return f"<tr class={look}>{inside}</tr>"


def _chips(summary: Mapping[str, Any]) -> str:
    """Preset, work and state of the chips."""
    chips: Mapping[str, Any] = summary.get("chips") or {}
    moved = chips.get("mean_conductance_change_us")
    rows = [
        ("accelerator", summary.get("accelerator")),
        ("device preset", chips.get("preset", summary.get("preset"))),
        ("chips, devices used", f"{chips['chips']}, {chips['devices']:,}" if chips else None),
        ("stuck devices among them", chips.get("stuck_devices")),
        ("SET pulses", _count(summary.get("set_pulses"))),
        ("RESET pulses", _count(summary.get("reset_pulses"))),
        ("reads of a device", _count(summary.get("reads"))),
        ("most pulses of one device", _count(summary.get("max_wear"))),
        ("energy of the devices", _quantity(summary.get("energy_j"), "J")),
        ("energy with the circuits around them", _quantity(summary.get("system_energy_j"), "J")),
        ("time that the chips would take", _quantity(summary.get("latency_s"), "s")),
        ("mean change of a conductance by learning", None if moved is None else f"{moved:.2f} µS"),
    ]
    return _pairs(rows)


def _setup(skill: skills.Skill, summary: Mapping[str, Any]) -> str:
    """What somebody needs to make the same session again."""
    versions = ", ".join(f"{name} {version}" for name, version in dict(summary.get("versions") or {}).items())
    machine = dict(summary.get("machine") or {})
    where = ", ".join(str(machine[key]) for key in ("system", "processor") if machine.get(key))
    if machine.get("cores"):
        where += f", {machine['cores']} cores"
    command = summary.get("command_line")
    shown = f"<pre>{_text(str(command))}</pre>" if command else "<p class=absent>The command is not known.</p>"
    rows = [
        ("seed", summary.get("seed")),
        ("skill, arm", _joined(summary, "skill", "arm")),
        ("learner", summary.get("learner")),
        ("recipe", _recipe(skill, summary)),
        ("strategy", summary.get("strategy")),
        ("versions", versions),
        ("git commit", summary.get("commit")),
        ("machine", where),
        ("time in all", _quantity(summary.get("wall_s"), "s")),
        ("written", summary.get("time")),
    ]
    return shown + _pairs(rows)


def _recipe(skill: skills.Skill, summary: Mapping[str, Any]) -> str | None:
    """The recipe that was asked for, or what the skill recommends for the learner."""
    own = skill.default_recipe
    default = f"{own} (the skill's own)" if summary.get("learner") in skill.recipes.get(own, {}) else None
    return summary.get("recipe") or default


def _joined(summary: Mapping[str, Any], *names: str) -> str:
    return ", ".join(str(summary.get(name) or NONE) for name in names)


def _raw(summary: Mapping[str, Any]) -> str:
    flat = [(key, value) for key, value in summary.items() if not isinstance(value, dict | list)]
    return _pairs([(key, f"{value:.6g}" if isinstance(value, float) else value) for key, value in flat])


def _pairs(rows: Iterable[tuple[str, Any]]) -> str:
    inside = "".join(
        f"<tr><th scope=row>{_text(name)}</th><td>{_text(NONE if value in (None, '') else str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table class=pairs>{inside}</table>"


def _named(dimension: Dimension) -> str:
    return dimension.name.replace("_", " ") + (f" ({dimension.unit})" if dimension.unit else "")


def _number(value: Any, error: Any = None) -> str:
    return NONE if value is None else _signs(with_error(value, error))


def _share(value: Any, n: Any) -> str:
    return NONE if value is None or not n else f"{round(value * n)} of {n}"


def _count(value: Any) -> str | None:
    return None if value is None else f"{value:,}"


def _quantity(value: Any, unit: str) -> str:
    """A value with a prefix, such as 1.7 mJ."""
    if value is None:
        return NONE
    for factor, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _signs(text: str) -> str:
    return text.replace(" +- ", "\u00a0±\u00a0")


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
