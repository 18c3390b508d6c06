"""Pictures and films into files: PNG, GIF (Pillow), MP4 (imageio-ffmpeg), by the name's ending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memristor_bdnn.errors import ConfigError

Image = npt.NDArray[np.uint8]
RATE = 10.0
"""Pictures a second of a film of a trial."""
COLOURS = 255
"""Of a GIF, one palette for all pictures, so that nothing flickers."""
NEARLY_WHITE = 235
"""What is lighter becomes white: averaged colours would tint paper."""


def write_film(frames: Iterable[Image], path: str | Path, rate: float = RATE, hold_s: float = 0.0) -> Path:
    """Write pictures (height, width, 3), all of the first one's size, as .gif or .mp4.

    Args:
        frames: the pictures; an MP4 is written while they come.
        path: the file.
        rate: pictures a second.
        hold_s: how much longer the last one stands, seconds.

    Raises:
        ConfigError: no pictures, another ending, or a folder that does not exist.
    """
    path = writable(path)
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise ConfigError(f"animation {path}: the name must end in .gif or .mp4")
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ConfigError(f"film {path}: an animation needs at least one picture")
    if path.suffix.lower() == ".gif":
        _gif([first, *pictures], path, rate, hold_s)
    else:
        _mp4(first, pictures, path, rate, hold_s)
    return path


def save_image(image: Image, path: str | Path) -> None:
    """Write one picture as PNG (or another format Pillow knows by the name's ending)."""
    from PIL import Image as Pillow

    Pillow.fromarray(image).save(writable(path))


def writable(path: str | Path) -> Path:
    """The path of a file whose folder exists; raises ConfigError for another."""
    path = Path(path)
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"cannot write {path}: the folder {path.resolve().parent} does not exist")
    return path


def _gif(frames: Sequence[Image], path: Path, rate: float, hold_s: float) -> None:
    from PIL import Image as Pillow

    some = frames[:: max(1, len(frames) // 6)]
    palette = Pillow.fromarray(np.concatenate(list(some), axis=1)).quantize(COLOURS)
    colours = np.reshape(palette.getpalette() or [0, 0, 0], (-1, 3))
    lightest = colours.sum(axis=1).argmax()
    if colours[lightest].min() > NEARLY_WHITE:
        colours[lightest] = 255
        palette.putpalette(colours.ravel().tolist())
    images = [Pillow.fromarray(f).quantize(palette=palette, dither=Pillow.Dither.NONE) for f in frames]
    each = round(1000 / rate)
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=[each] * (len(images) - 1) + [each + round(1000 * hold_s)],
        loop=0,
        optimize=True,
    )


def _mp4(first: Image, more: Iterable[Image], path: Path, rate: float, hold_s: float) -> None:
    import imageio_ffmpeg

    height, width = (side - side % 2 for side in first.shape[:2])
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=rate, quality=8, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    last = first
    writer.send(np.ascontiguousarray(first[:height, :width]))
    for last in more:
        writer.send(np.ascontiguousarray(last[:height, :width]))
    for _ in range(round(hold_s * rate)):
        writer.send(np.ascontiguousarray(last[:height, :width]))
    writer.close()
