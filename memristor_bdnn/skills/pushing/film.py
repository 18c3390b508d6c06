"""Films of a push: the trial simulated again, seen from the side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

RATE = 20.0
"""Pictures a simulated second: the world reports progress as often."""


def film(skill: Any, trial: Any, arm: str, path: Path, view: str = "side", size: tuple[int, int] = (480, 360)) -> None:
    """Simulate a trial again (same seed, same outcome) and write it as an animation.

    Args:
        skill: the pushing skill.
        trial: has ``context`` (8,), ``parameters`` (5,) and ``seed``, as a trial of the store.
        arm: that carried it out; empty when the fingers moved by themselves.
        path: ends in .gif or .mp4.
        view: see :class:`memristor_bdnn.skills.pushing.picture.Stage`.
        size: width and height, pixels.

    Raises:
        ConfigError: another ending, or an unknown view.
        PlanningError: the arm cannot carry out this trial.
    """
    if Path(path).suffix.lower() not in (".gif", ".mp4"):
        raise ConfigError(f"animation {path}: the name must end in .gif or .mp4")
    context, parameters, seed = np.asarray(trial.context), np.asarray(trial.parameters), int(trial.seed)
    plan = None
    if arm:
        motion = skill.motion(arm)
        try:
            # over ROS a plan's times are rounded; the trial that was executed had them so
            plan = motion.plan(context, parameters, seed=seed).as_sent()
        finally:
            motion.close()
    world = skill.world(arm)
    try:
        world.reset(seed, context)
        frames: list[Image] = []

        ticks = itertools.count()

        def look(phase: str, share: float) -> None:
            # the way to the object and back is slow and nothing happens: every third picture will do
            if next(ticks) % 3 == 0 or phase == "push":
                frames.append(world.render(view, *size, supersample=1))

        world.execute(parameters, plan, progress=look)
        frames += [world.render(view, *size, supersample=1)] * round(RATE / 2)
    finally:
        world.close()
    animation(frames, path)


def animation(frames: Sequence[Image], path: Path, frames_per_s: float = RATE) -> None:
    """Write pictures (height, width, 3) as a GIF (Pillow) or an MP4 (imageio-ffmpeg), by the name's ending."""
    if path.suffix.lower() == ".gif":
        from PIL import Image as Pillow

        # one palette for all frames, so that colours do not flicker
        sample = np.concatenate(list(frames[:: max(1, len(frames) // 6)]), axis=1)
        palette = Pillow.fromarray(sample).quantize(256)
        images = [Pillow.fromarray(f).quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames]
        duration = round(1000 / frames_per_s)
        images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=True)
        return
    import imageio_ffmpeg

    height, width = frames[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=frames_per_s, quality=8, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
