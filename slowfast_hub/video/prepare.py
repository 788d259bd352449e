"""A file of the same pictures at the same times, made for reading random clips from it.

Training reads a few frames at a random place of each file. That costs what lies between the last keyframe and the clip,
and the pixels of all of it; so here the shorter side shrinks to what networks see, a keyframe comes every few frames,
and the stream is one that decodes fast. One file at a time, with PyAV alone: no ffmpeg program is needed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from slowfast_hub.spec import Limits, VideoError, VideoInfo, whole
from slowfast_hub.video.container import opened
from slowfast_hub.video.decode import FileReader
from slowfast_hub.video.encode import KEPT_S, MPEG_TICKS, write_mp4


@dataclass(frozen=True)
class Encoding:
    """How a file is encoded: H.264 in yuv420p, closed groups of pictures, no sound."""

    short_side: int = 256  # px, even; a smaller video keeps its size (less one row or column where it is odd)
    gop: int = 32  # frames from one keyframe to the next, at most
    crf: int = 18  # x264's quality: 0 is lossless, 18 hard to tell from the source, 51 the worst

    def __post_init__(self) -> None:
        whole("Encoding.short_side", self.short_side, 2)
        whole("Encoding.gop", self.gop, 1)
        whole("Encoding.crf", self.crf, 0)
        if self.short_side % 2:
            raise ValueError(f"Encoding.short_side must be even, as colours have half the size; got {self.short_side}")
        if self.crf > 51:
            raise ValueError(f"Encoding.crf goes from 0 to 51; got {self.crf}")


def prepare_file(source: Path, target: Path, encoding: Encoding, limits: Limits) -> VideoInfo:
    """Write the pictures of `source` to `target`, an MP4 file whatever its name, and check it: its `VideoInfo`.

    Display rotation is in the pixels then, times are those of the source (to `KEPT_S`), and a comment in the file says
    what it was made from (`origin`). VideoError where the source cannot be read whole, or the result is not the same
    video; what was written until then is left to the caller, who gives a `target` that counts only when all is well.
    """
    comment = origin(source, encoding)
    reader = FileReader(source, limits)
    info, times_s = reader.info, reader.times_s()
    if times_s[0] < 0:
        raise VideoError(str(source), f"begins {-times_s[0]:.3f} s before 0, where MP4 shows nothing")
    height, width = prepared_size(info.height, info.width, encoding.short_side)
    pictures = reader.scaled(height, width).stream(range(info.frames))
    write_mp4(
        target,
        pictures,
        times_s,
        info=info,
        size=(height, width),
        gop=encoding.gop,
        crf=encoding.crf,
        comment=comment,
    )
    written = FileReader(target, limits)
    made = written.info
    came, expected = (made.frames, made.height, made.width), (info.frames, height, width)
    if came != expected:
        raise VideoError(str(source), f"came out as {came} (frames, height, width); expected {expected}")
    moved_s = np.abs(written.times_s() - times_s).max()
    if moved_s > KEPT_S + 1 / MPEG_TICKS:
        raise VideoError(str(source), f"came out with frames moved by up to {moved_s:.6f} s")
    return made


def prepared_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Even height and width with the shorter at `short_side` px, or as it is where it is smaller."""
    scale = min(1.0, short_side / min(height, width))
    nearest = round if scale < 1 else int
    return max(2, 2 * nearest(height * scale / 2)), max(2, 2 * nearest(width * scale / 2))


def origin(source: Path, encoding: Encoding) -> str:
    """What a prepared file says it was made from: another text where the source or the encoding has changed."""
    status = source.stat()
    file = {"source": source.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    return json.dumps({"prepared_by": "slowfast_hub", **file, **asdict(encoding)})


def origin_of(prepared: Path, limits: Limits) -> str | None:
    """The `origin` that a prepared file carries; None for a file that is none. VideoError if it is no video at all."""
    with opened(prepared, limits) as (container, _):
        comment = container.metadata.get("comment", "")
    return comment if comment.startswith('{"prepared_by": "slowfast_hub"') else None
