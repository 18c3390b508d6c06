"""The panels of the page: what the session says of itself, pictures, sliders, and an operator's label."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping
from typing import Any

from memristor_bdnn.errors import MemristorError
from memristor_bdnn.view import pictures
from memristor_bdnn.view.moment import Axis, Candidates, Chips, Condition, Moment, Source
from memristor_bdnn.view.scene import LAYERS, Scene

LEVELS = ("#2ca02c", "#ff9f1c", "#d62728", "#9aa0a6")
"""Colours of ok, warning, error, silent."""
LEDGER: dict[str, tuple[str, str]] = {
    "labels": ("labels", ""),
    "reads": ("reads of a device", ""),
    "set_pulses": ("SET pulses", ""),
    "reset_pulses": ("RESET pulses", ""),
    "energy_j": ("energy of the devices", "J"),
    "system_energy_j": ("with the electronics", "J"),
    "latency_s": ("time of the accelerator", "s"),
    "max_wear": ("pulses on the most used device", ""),
}
_PREFIXES = ((1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))


class Panels:
    """The panels of one page.

    Args:
        server: a viser server.
        source: whose moments are shown, and who takes labels.
        scene: whose parts can be hidden.
    """

    def __init__(self, server: Any, source: Source, scene: Scene) -> None:
        self._gui, self._source = server.gui, source
        self._gui.configure_theme(show_logo=False, show_share_button=False)
        self._gui.main_panel.dock_right()
        self._gui.main_panel.set_width(350)
        self._gui.set_panel_label(f"memristor_bdnn: {source.title}")
        self._label: LabelForm | None = None
        self._now = self._gui.add_html("")
        self._add_axes(source.axes)
        if not source.axes:
            self._label = LabelForm(self._gui, source)
        with self._gui.add_folder("Nodes"):
            self._nodes = self._gui.add_html("")
        with self._gui.add_folder("Ledger of the accelerator"):
            self._ledger = self._gui.add_html("")
        with self._gui.add_folder("Shown"):
            for name in LAYERS:
                self._add_switch(name, scene)
        left = self._gui.add_panel()
        with left.add_tab("Learning"):
            self._learning = Picture(self._gui)
            self._gui.add_divider()
            self._chips = Picture(self._gui)
            self._gui.add_divider()
            self._across = self._up = None  # type: Any
            self._candidates = Picture(self._gui)
        left.dock_left()
        left.set_width(400)

    def _add_axes(self, axes: tuple[Axis, ...]) -> None:
        self._sliders, self._plays = [], []
        for axis in axes:
            text = f"{axis.name}, {axis.unit}" if axis.unit else axis.name
            self._sliders.append(
                self._gui.add_slider(
                    text, min=0.0, max=max(axis.end, axis.step), step=axis.step, initial_value=axis.start
                )
            )
            self._plays.append(self._gui.add_checkbox("play", initial_value=False) if axis.rate else None)

    def _add_switch(self, layer: str, scene: Scene) -> None:
        box = self._gui.add_checkbox(layer, initial_value=True)
        box.on_update(lambda _: scene.visible(layer, box.value))

    # -- where the sliders stand --------------------------------------------------------------

    def position(self, passed_s: float) -> tuple[float, ...]:
        """Where the sliders stand, those that play moved on by so many seconds."""
        for axis, slider, play in zip(self._source.axes, self._sliders, self._plays, strict=True):
            if play is not None and play.value:
                value = slider.value + passed_s * axis.rate
                slider.value = round(value, 6) if value <= axis.end else 0.0
        return tuple(min(float(s.value), a.end) for s, a in zip(self._sliders, self._source.axes, strict=True))

    # -- what is shown ------------------------------------------------------------------------

    def show(self, moment: Moment) -> None:
        """Bring the panels to a moment."""
        self._say(self._now, _head(moment))
        self._say(self._nodes, _nodes(moment.nodes) or _absent(moment, "nodes"))
        self._say(self._ledger, _ledger(moment.ledger) if moment.ledger else _absent(moment, "ledger"))
        if self._label is not None:
            self._label.show(moment)
        if moment.rounds or moment.results:
            key = (len(moment.rounds), len(moment.results), moment.rounds[-1:], moment.results[-1:])
            self._learning.show(
                key,
                lambda: pictures.learning(moment.rounds, moment.results, moment.absent.get("learning", "")),
                "Learning",
            )
        else:
            self._learning.absent("Learning", moment.absent.get("learning", ""))
        self._show_chips(moment.chips, moment)
        self._show_candidates(moment.candidates, moment)

    def _show_chips(self, chips: Chips | None, moment: Moment) -> None:
        if chips is None:
            self._chips.absent("Chips", moment.absent.get("chips", ""))
            return
        more = f", 8 of {len(chips.current_ua)}" if len(chips.current_ua) > 8 else ""
        self._chips.show(chips.key, lambda: pictures.chips(chips), f"Chips by read current, {chips.when}{more}")

    def _show_candidates(self, found: Candidates | None, moment: Moment) -> None:
        if found is None or not len(found.confidence) or len(found.names) < 2:
            self._candidates.absent("Candidates", moment.absent.get("candidates", "fewer than two parameters"))
            return
        if self._across is None:
            self._across = self._gui_dropdown("across", found.names, 0)
            self._up = self._gui_dropdown("up", found.names, 1)
        names = list(found.names)
        across, up = (names.index(d.value) if d.value in names else k for k, d in enumerate((self._across, self._up)))
        title = f"Candidates of the last query, {len(found.confidence)}"
        self._candidates.show((found.key, across, up), lambda: pictures.candidates(found, across, up), title)

    def _gui_dropdown(self, text: str, names: tuple[str, ...], number: int) -> Any:
        return self._candidates.within(lambda: self._gui.add_dropdown(text, names, initial_value=names[number]))

    def _say(self, handle: Any, content: str) -> None:
        if handle.content != content:
            handle.content = content


class Picture:
    """A picture with its title that is drawn anew when what it shows has changed, or the reason why it is not there."""

    def __init__(self, gui: Any) -> None:
        self._gui = gui
        self._folder = gui.add_folder("...")
        with self._folder:
            self._text = gui.add_html("", visible=False)
        self._image: Any = None
        self._key: Any = None

    def within(self, make: Callable[[], Any]) -> Any:
        """Make an element below the picture."""
        with self._folder:
            return make()

    def show(self, key: Any, draw: Callable[[], Any], title: str) -> None:
        """Draw when the key differs from the last one."""
        if key == self._key:
            return
        self._key, pixels = key, draw()
        self._folder.label, self._text.visible = title, False
        if self._image is None:
            with self._folder:
                self._image = self._gui.add_image(pixels, format="png", order=-1.0)
        else:
            self._image.image, self._image.visible = pixels, True

    def absent(self, title: str, why: str) -> None:
        """Say why there is no picture."""
        if self._key == ("absent", why):
            return
        self._key, self._folder.label = ("absent", why), title
        self._text.content, self._text.visible = _grey(why), True
        if self._image is not None:
            self._image.visible = False


class LabelForm:
    """Asks an operator for the outcome of the trial that waits for it, and hands it on."""

    def __init__(self, gui: Any, source: Source) -> None:
        self._gui, self._source = gui, source
        self._folder: Any = None
        self._trial: int | None = None
        self._given: int | None = None
        self._sending = threading.Lock()
        self._answer = gui.add_html("", visible=False)

    def show(self, moment: Moment) -> None:
        """Show the form while a trial waits; it goes when the label is given here or elsewhere."""
        waiting = moment.waiting if moment.measures else None
        if moment.waiting != self._given:
            self._given = None
        waiting = None if waiting == self._given else waiting
        if waiting == self._trial:
            return
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
        self._trial = waiting
        if waiting is not None:
            self._ask(waiting, moment)

    def _ask(self, trial: int, moment: Moment) -> None:
        self._folder = self._gui.add_folder(f"Trial {trial} waits for its outcome", order=0.5)
        with self._folder:
            fields = {
                m.name: self._gui.add_text(
                    m.name.replace("_", " "),
                    initial_value="",
                    hint=f"{m.low:g} to {m.high:g} {m.unit}".strip() + ("" if k == 0 else "; empty where not measured"),
                )
                for k, m in enumerate(moment.measures)
            }
            button = self._gui.add_button("Give the outcome", color="green")
        button.on_click(lambda _: self._send(trial, {name: field.value for name, field in fields.items()}))

    def _send(self, trial: int, typed: Mapping[str, str]) -> None:
        words = [f"{name}={text.strip()}" for name, text in typed.items() if text.strip()]
        if not self._sending.acquire(blocking=False):
            return
        try:
            if not words:
                self._tell("give at least the first measure", LEVELS[2])
                return
            self._source.label(trial, words)
            self._given = trial
            self._tell(f"trial {trial}: {', '.join(words)} recorded", LEVELS[0])
        except MemristorError as error:
            self._tell(str(error), LEVELS[2])
        finally:
            self._sending.release()

    def _tell(self, text: str, colour: str) -> None:
        self._answer.content = f"<div style='padding:.3em .8em;color:{colour}'>{html.escape(text)}</div>"
        self._answer.visible = True


def _head(moment: Moment) -> str:
    missing = [f"{name}: {moment.absent[name]}" for name in ("arm", "scene") if name in moment.absent]
    if moment.arm is not None and moment.arm.missing:
        missing.append(f"{len(moment.arm.missing)} parts of the arm are not drawn ({moment.arm.missing[0][:200]})")
    waits = f"<br><b>trial {moment.waiting} waits for its outcome</b>" if moment.waiting is not None else ""
    return f"<div style='padding:.4em .8em'>{html.escape(moment.when)}{waits}</div>" + "".join(map(_grey, missing))


def _nodes(nodes: Mapping[str, Condition]) -> str:
    rows = "".join(
        f"<tr><td style='color:{LEVELS[c.level]};padding-right:.5em'>&#9679;</td>"
        f"<td style='padding-right:.8em'>{html.escape(name.lstrip('/'))}</td>"
        f"<td>{html.escape(c.message[:80])}</td></tr>"
        for name, c in sorted(nodes.items())
    )
    return f"<table style='margin:.2em .8em;font-size:.9em'>{rows}</table>" if rows else ""


def _ledger(ledger: Mapping[str, float]) -> str:
    rows = "".join(
        f"<tr><td style='padding-right:1em'>{text}</td>"
        f"<td style='text-align:right'>{_figure(ledger[name], unit)}</td></tr>"
        for name, (text, unit) in LEDGER.items()
        if name in ledger
    )
    return f"<table style='margin:.2em .8em;font-size:.9em'>{rows}</table>"


def _figure(value: float, unit: str) -> str:
    if not unit:
        return f"{value:,.0f}"
    scale, prefix = next(((s, p) for s, p in reversed(_PREFIXES) if abs(value) >= s), (1.0, ""))
    return f"{value / scale:.3g} {prefix}{unit}"


def _absent(moment: Moment, part: str) -> str:
    return _grey(moment.absent.get(part, "not there"))


def _grey(text: str) -> str:
    return f"<div style='padding:.2em .8em;color:#8a8f98;font-size:.9em'>{html.escape(text)}</div>" if text else ""
