"""A file of the same pictures at the same times, made for reading random clips from it.

Training reads a few frames at a random place of each file. That costs what lies between the last keyframe and the clip,
and the pixels of all of it; so here the shorter side shrinks to what networks see, a keyframe comes every few frames,
and the stream is one that decodes fast. One file at a time, with PyAV alone: no ffmpeg program is needed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from slowfast_hub.spec import Limits, VideoError, VideoInfo, whole
from slowfast_hub.video.container import opened, reason
from slowfast_hub.video.decode import FileReader

KEPT_S = 1e-3  # no frame moves further in time: what Matroska rounds to
MPEG_TICKS = 90_000  # in a second: the clock of MPEG, fine enough for what keeps no rate


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
    try:
        write(target, reader.scaled(height, width), (height, width), *clock(times_s, info.fps), encoding, comment)
    except (av.FFmpegError, OverflowError) as error:  # Overflow: a rate that is no fraction of 32 bits
        why = reason(error) if isinstance(error, av.FFmpegError) else f"its rate is {info.fps:g}"
        raise VideoError(str(source), f"cannot be written as H.264 in MP4: {why}") from error
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


def clock(times_s: np.ndarray, fps: float) -> tuple[Fraction, np.ndarray]:
    """A tick in seconds, and times (frames,) float64 in whole numbers of it, none moved by more than `KEPT_S`.

    Times at the rate `fps`, but for what rounding to a container's ticks did to them, come out exactly at that rate:
    else it would be another rate that their mean gives, and other frames that a clip is made of.
    """
    rate = Fraction(fps).limit_denominator(1001)
    if rate:
        finer = -(-MPEG_TICKS // rate.numerator)  # so many ticks for one of the rate that the start has its place too
        tick = 1 / Fraction(rate.numerator * finer)
        steady = round(times_s[0] / tick) + np.arange(len(times_s)) * rate.denominator * finer
        if np.abs(steady * float(tick) - times_s).max() <= KEPT_S:
            return tick, steady
    return Fraction(1, MPEG_TICKS), np.rint(times_s * MPEG_TICKS).astype(np.int64)


def write(
    target: Path,
    reader: FileReader,
    size: tuple[int, int],
    tick: Fraction,
    times: np.ndarray,
    encoding: Encoding,
    comment: str,
) -> None:
    """Encode all frames of `reader`, (height, width) px as `size` says, shown at `times` in ticks."""
    info = reader.info
    options = {
        "movflags": "faststart",  # the index first: a reader needs it before the frames
        "movie_timescale": str(tick.denominator),  # of the start of the film, which would be rounded to milliseconds
    }
    with av.open(str(target), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment
        # fastdecode leaves out what costs a decoder of H.264 most: half its time, for a seventh more bytes.
        how = {"crf": str(encoding.crf), "tune": "fastdecode", "x264-params": "open-gop=0"}
        rate = Fraction(info.fps).limit_denominator(1001) or Fraction(1)  # x264 shares out its bits by it, no more
        stream = container.add_stream("libx264", rate=rate, options=how)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        stream.codec_context.gop_size = encoding.gop
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        if torch.utils.data.get_worker_info() is not None:
            stream.codec_context.thread_count = 1  # the other workers have the other cores
        for time, picture in zip(times.tolist(), reader.stream(range(info.frames)), strict=True):
            frame = VideoFrame.from_ndarray(picture.numpy(), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


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
