"""The film of a session: a random trial beside a learned one, with what was predicted and what happened.

The trials are simulated again in other processes, so that figures can be drawn meanwhile.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import skills
from memristor_bdnn.active.store import Trial
from memristor_bdnn.errors import MemristorError
from memristor_bdnn.report import style
from memristor_bdnn.report.films import write_film
from memristor_bdnn.report.summary import evaluations_by_labels
from memristor_bdnn.skills import workers
from memristor_bdnn.skills.pictures import RATE
from memristor_bdnn.skills.records import Shot
from memristor_bdnn.state import write_atomic

Image = npt.NDArray[np.uint8]

SIZE = (960, 540)
"""Pixels of the film, 16:9."""
HEAD, FOOT, GAP = 46, 66, 4
SAME = 0.05
"""A film agrees with its trial where the fraction of the task that is done differs by no more."""
HOLD_S = 2.5
"""How long the outcome stands."""


@dataclass(frozen=True)
class Part:
    """A trial that is shown.

    Attributes:
        number: of the trial in the store, from 1.
        trial: the trial.
        title: what kind of trial it is.
    """

    number: int
    trial: Trial
    title: str


def parts(trials: Sequence[Trial]) -> list[Part]:
    """What is shown: a random trial that failed, the one in the middle of all that did; and the best learned one.

    The learned one is, of the evaluations after the last trial that was learned from, the last that did most; without
    an evaluation nothing is shown.
    """
    groups = evaluations_by_labels(trials)
    if not groups:
        return []
    learned, shown = groups[-1]
    number = {id(trial): k for k, trial in enumerate(trials, start=1)}
    best = max(reversed(shown), key=lambda t: t.fraction)
    found = [Part(number[id(best)], best, f"After {learned} trials: trial {number[id(best)]}, its choice")]
    random = [t for t in trials if t.feasible and t.phase == "initial" and t.score <= 0]
    failed = sorted(random, key=lambda t: t.fraction)
    if failed:
        middle = failed[len(failed) // 2]
        found.insert(0, Part(number[id(middle)], middle, f"Before: trial {number[id(middle)]}, random"))
    return found


class Filming:
    """A film that is being made; :meth:`finish` waits for it.

    Args:
        skill: simulates the trials.
        trials: of the session.
        arm: that carried them out.
        folder: where the film goes, under the skill's name for it.

    Attributes:
        parts: what is shown.
        path: of the film.
        still: its last picture, once it is written; None for a film that the skill makes by itself.
        reason: why there is none; empty as long as there may be one.
    """

    def __init__(self, skill: skills.Skill, trials: Sequence[Trial], arm: str, folder: Path) -> None:
        self._skill, self._arm = skill, arm
        self.parts = parts(trials)
        self.reason = "" if self.parts else "No trial of the learned skill was made."
        self.path = folder / skill.film_name
        self.still: Path | None = None
        self._differs = ""
        self._thread = ThreadPoolExecutor(1)
        self._shots: Future[list[list[Shot]]] | None = None
        if self.parts and type(skill).shots is not skills.Skill.shots:
            self._shots = self._thread.submit(_shots, skill.name, self.parts, arm)

    def finish(self) -> str | None:
        """Write the film; returns the file's name, or None where there is none.

        A trial that cannot be repeated is reported and leaves the film out: the results are complete without it.
        """
        if not self.parts:
            self._thread.shutdown()
            return None
        unfinished = self.path.with_name(f".unfinished.{os.getpid()}{self.path.suffix}")
        try:
            if self._shots is None:  # the skill makes a film of its own, or none
                self._skill.film(self.parts[-1].trial, self._arm, unfinished)
            else:
                shots = self._shots.result()
                frames = composed(self._skill, self.parts, shots)
                self._compare(shots)
                write_film(frames, unfinished, RATE, HOLD_S)
                self.still = self.path.with_suffix(".png")
                write_atomic(self.still, _png(frames[-1]))
            os.replace(unfinished, self.path)
        except MemristorError as error:
            self._fail(str(error))
            return None
        except Exception as error:  # a skill of another package may fail in any way, after the trials are paid for
            self._fail(f"{type(error).__name__}: {error}")
            return None
        finally:
            self._thread.shutdown(cancel_futures=True)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return self._skill.film_name

    def _compare(self, shots: Sequence[Sequence[Shot]]) -> None:
        """Say where the simulation went another way than the session, as one of a physical arm may."""
        for part, of in zip(self.parts, shots, strict=True):
            seen, told = of[-1].done, part.trial.fraction
            if seen is not None and abs(seen - told) > SAME:
                words = self._skill.outcome_in_words
                self._differs += f" Trial {part.number} was measured as: {words(told)}; its film shows: {words(seen)}."

    def _fail(self, reason: str) -> None:
        print(f"no animation: {reason}")
        self.reason = f"{reason}."

    @property
    def caption(self) -> str:
        """Which trials are shown and how they were picked."""
        picked = [f"trial {part.number}" for part in self.parts]
        if self._shots is None or len(picked) == 1:
            return (
                f"The best trial of the learned skill at the end ({picked[-1]}), simulated again from its seed."
                f"{self._differs}"
            )
        return (
            f"Left: {picked[0]}, the one in the middle of the random trials that failed. Right: {picked[1]}, the best "
            f"of the learned skill at the end. Both are simulated again from their seeds.{self._differs}"
        )


def _shots(name: str, shown: Sequence[Part], arm: str) -> list[list[Shot]]:
    """Pictures of all parts, a process each."""
    width = (SIZE[0] - GAP * (len(shown) - 1)) // len(shown)
    size = (width, SIZE[1] - HEAD - FOOT)
    work = [(name, part.trial, arm, size) for part in shown]
    found = dict(workers.results(_photograph, work, min(len(work), os.cpu_count() or 1)))
    return [found[k] for k in range(len(work))]


def _photograph(name: str, trial: Trial, arm: str, size: tuple[int, int]) -> list[Shot]:
    """In the worker: the pictures of one trial."""
    return skills.load(name).shots(trial, arm, size)


def composed(skill: skills.Skill, shown: Sequence[Part], shots: Sequence[Sequence[Shot]]) -> list[Image]:
    """The pictures of all parts side by side, each with its title above and what it does below."""
    length = max(map(len, shots))
    write = _writer()
    frames: list[Image] = []
    for k in range(length):
        panels: list[Image] = []
        for part, of in zip(shown, shots, strict=True):
            shot = of[min(k, len(of) - 1)]
            ended = k >= len(of) - 1
            panels += [write(part, shot, _told(skill, part, shot, ended), ended), _gap()]
        frame = np.concatenate(panels[:-1], axis=1)
        frames.append(frame[:, : frame.shape[1] - frame.shape[1] % 2])
    return frames


def _told(skill: skills.Skill, part: Part, shot: Shot, ended: bool) -> str:
    """What stands under a picture: the outcome once it is there, and what was predicted where something was."""
    trial = part.trial
    if ended:
        words = skill.outcome_in_words(trial.fraction)
    elif shot.done is not None:
        words = f"{skill.outcome_in_words(shot.done)} so far"
    else:
        words = shot.phase
    if trial.phase == "initial":
        return f"{words}; nothing was predicted"
    return f"{words}, predicted success {trial.predicted_mean:.2f} ± {trial.predicted_std:.2f}"


def _png(image: Image) -> bytes:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _gap() -> Image:
    return np.full((SIZE[1], GAP, 3), 255, np.uint8)


def _writer() -> Callable[[Part, Shot, str, bool], Image]:
    """A function that puts title and words around a picture."""
    from matplotlib import font_manager
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    def font(size: int, weight: str = "normal") -> Any:
        found = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
        return ImageFont.truetype(font_manager.findfont(found), size)

    def fitted(draw: Any, text: str, width: int, size: int, weight: str = "normal") -> Any:
        while size > 9 and draw.textlength(text, font=font(size, weight)) > width:
            size -= 1
        return font(size, weight)

    def write(part: Part, shot: Shot, words: str, ended: bool) -> Image:
        height, width = shot.image.shape[:2]
        canvas = Pillow.new("RGB", (width, HEAD + height + FOOT), "white")
        canvas.paste(Pillow.fromarray(shot.image), (0, HEAD))
        draw = ImageDraw.Draw(canvas)
        good = part.trial.score > 0
        colour = style.RANDOM if part.trial.phase == "initial" else style.LEARNED
        draw.text(
            (10, HEAD / 2),
            part.title,
            fill=style.INK,
            anchor="lm",
            font=fitted(draw, part.title, width - 20, 19, "bold"),
        )
        done = part.trial.fraction if ended else shot.done
        top = HEAD + height
        if done is not None:
            draw.rectangle((0, top, width, top + 9), fill="#E4E7EB")
            draw.rectangle((0, top, round(width * done), top + 9), fill=colour)
        ink = style.INK if not ended else style.LEARNED if good else style.FAILED
        draw.text((10, top + 38), words, fill=ink, anchor="lm", font=fitted(draw, words, width - 20, 19))
        return np.asarray(canvas)

    return write
