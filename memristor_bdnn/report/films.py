"""Films: pictures one after the other into an MP4 or a GIF; and the film of an agent's episode."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.agents.environments import TEST, episode_seed
from memristor_bdnn.agents.training import Training
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.report.record import check_out
from memristor_bdnn.skills import pictures

Image = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 640, 400
INK, BLUE, ORANGE, PAPER = (40, 40, 40), (0, 114, 178), (213, 94, 0), (255, 255, 255)


def check_film(path: str | None, flag: str) -> None:
    """Refuse a film that cannot be written before any work is done."""
    check_out(path, flag)
    if path is not None and Path(path).suffix.lower() not in (".gif", ".mp4"):
        raise ConfigError(f"{flag} {path}: the name must end in .gif or .mp4")


def write_film(frames: Iterable[Image], path: Path, rate: float = 25.0, hold_s: float = 0.0) -> Path:
    """Write pictures (height, width, 3), all of the first one's size, as .mp4 or .gif; whole or not at all.

    See :func:`memristor_bdnn.skills.pictures.write_film`.

    Raises:
        ConfigError: no pictures.
    """
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        pictures.write_film(frames, unfinished, rate, hold_s)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def episode_film(training: Training, path: Path, episode: int = 0, every: int = 1) -> float:
    """Film one greedy test episode; returns its return.

    Args:
        training: holds the agent.
        path: .mp4 or .gif.
        episode: number of the test episode.
        every: steps between pictures.
    """
    rate = training.env.pictures_per_s / every
    env, agent, frames = training.env, training.agent, list[Image]()
    state, total, over, step = env.reset(episode_seed(training.seed, TEST, episode)), 0.0, False, 0
    seen = [state]
    while not over:
        value = agent.values(state)
        if step % every == 0:
            frames.append(_frame(training, seen, value, step, total))
        state, reward, ended, cut = env.step(int(value.argmax()))
        seen.append(state)
        total, over, step = total + reward, ended or cut, step + 1
    frames += [_frame(training, seen, value, step, total)] * max(1, round(rate))
    write_film(frames, path, rate)
    return total


def _frame(training: Training, seen: Sequence[Any], value: Any, step: int, total: float) -> Image:
    """The environment as it is, the values of the actions, and a line of text."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    canvas = Pillow.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    env = training.env
    rendered = env.render()
    raw = seen[-1] / env.scale
    if env.task.name in ("cartpole", "CartPole-v1"):
        _cart(draw, raw)
    elif env.task.name in ("mountain-car", "MountainCar-v0"):
        _car(draw, raw)
    elif rendered is not None:
        fitted = Pillow.fromarray(rendered)
        fitted.thumbnail((WIDTH, HEIGHT - 90))
        canvas.paste(fitted, ((WIDTH - fitted.width) // 2, 35))
    else:
        _traces(draw, np.array(seen))
    draw.text((12, 8), f"{env.task.name}   step {step}   return {total:.4g}", fill=INK, font=font)
    _values(draw, value, font)
    return np.asarray(canvas)


def _values(draw: Any, value: Any, font: Any) -> None:
    """A bar for each action's value, the chosen one in another colour."""
    span, n = max(float(np.abs(value).max()), 1e-9), len(value)
    slot = min(150, (WIDTH - 40) // n)
    for action, v in enumerate(value):
        x = 20 + action * slot
        colour = ORANGE if action == int(np.argmax(value)) else BLUE
        draw.rectangle((x, HEIGHT - 20, x + max(1, int((slot - 20) * abs(float(v)) / span)), HEIGHT - 12), fill=colour)
        draw.text((x, HEIGHT - 42), f"action {action}: {float(v):.2f}", fill=INK, font=font)


def _cart(draw: Any, raw: Any) -> None:
    ground, scale = 290, 110
    x, angle = WIDTH / 2 + float(raw[0]) * scale, float(raw[2])
    draw.line((0, ground + 14, WIDTH, ground + 14), fill=INK, width=2)
    for edge in (-2.4, 2.4):
        draw.line((WIDTH / 2 + edge * scale, ground, WIDTH / 2 + edge * scale, ground + 28), fill=ORANGE, width=3)
    draw.rectangle((x - 36, ground - 24, x + 36, ground), fill=BLUE)
    for wheel in (-20, 20):
        draw.ellipse((x + wheel - 7, ground, x + wheel + 7, ground + 14), fill=INK)
    tip = (x + 200 * np.sin(angle), ground - 24 - 200 * np.cos(angle))
    draw.line((x, ground - 24, *tip), fill=ORANGE, width=9)
    draw.ellipse((x - 5, ground - 29, x + 5, ground - 19), fill=INK)


def _car(draw: Any, raw: Any) -> None:
    def at(place: Any) -> tuple[Any, Any]:
        return 40 + (place + 1.2) / 1.8 * (WIDTH - 80), 210 - 90 * np.sin(3 * np.asarray(place))

    hill = np.linspace(-1.2, 0.6, 160)
    draw.line([(float(x), float(y)) for x, y in zip(*at(hill), strict=True)], fill=INK, width=3)
    flag_x, flag_y = at(0.5)
    draw.line((flag_x, flag_y, flag_x, flag_y - 50), fill=INK, width=2)
    draw.polygon([(flag_x, flag_y - 50), (flag_x + 26, flag_y - 41), (flag_x, flag_y - 32)], fill=ORANGE)
    x, y = at(float(raw[0]))
    draw.ellipse((x - 14, y - 30, x + 14, y - 2), fill=BLUE)


def _traces(draw: Any, seen: Any) -> None:
    """Observations over time, for environments that cannot be drawn."""
    shown = seen[-200:]
    span = max(float(np.abs(shown).max()), 1e-9)
    colours = [BLUE, ORANGE, INK, (0, 158, 115), (204, 121, 167), (230, 159, 0)]
    for k in range(shown.shape[1]):
        points = [(20 + 3 * i, 190 - 140 * float(v) / span) for i, v in enumerate(shown[:, k])]
        if len(points) > 1:
            draw.line(points, fill=colours[k % len(colours)], width=2)
