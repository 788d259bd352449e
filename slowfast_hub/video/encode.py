"""From pictures to a file: H.264 in MP4, each picture at the time it has."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor

from slowfast_hub.spec import VideoError, VideoInfo
from slowfast_hub.video.container import reason

KEPT_S = 1e-3  # no frame moves further in time: what Matroska rounds to
MPEG_TICKS = 90_000  # in a second: the clock of MPEG, fine enough for what keeps no rate


def write_mp4(
    target: Path,
    pictures: Iterable[Tensor],
    times_s: np.ndarray,
    *,
    info: VideoInfo,
    size: tuple[int, int],
    gop: int,
    crf: int,
    preset: str = "medium",
    comment: str = "",
) -> None:
    """Encode pictures (H, W, 3) uint8 RGB, one for each of `times_s (frames,)`, none before 0: yuv420p, no sound.

    info: of the video they come from; its rate shares out the bits. size: even height and width of the pictures.
    gop: frames from one keyframe to the next, at most. crf: x264's quality, 0 to 51.
    preset: how long x264 looks for what makes a file small; "veryfast" takes a third of the time of "medium".
    Errors: VideoError for what H.264 in MP4 cannot hold, and those of `pictures`.
    """
    try:
        write(target, pictures, *clock(times_s, info.fps), info, size, gop, crf, preset, comment)
    except (av.FFmpegError, OverflowError) as error:  # Overflow: a rate that is no fraction of 32 bits
        why = reason(error) if isinstance(error, av.FFmpegError) else f"its rate is {info.fps:g}"
        raise VideoError(info.source, f"cannot be written as H.264 in MP4: {why}") from error


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
    pictures: Iterable[Tensor],
    tick: Fraction,
    times: np.ndarray,
    info: VideoInfo,
    size: tuple[int, int],
    gop: int,
    crf: int,
    preset: str,
    comment: str,
) -> None:
    """As `write_mp4`, with times in ticks."""
    options = {
        "movflags": "faststart",  # the index first: a reader needs it before the frames
        "movie_timescale": str(tick.denominator),  # of the start of the film, which would be rounded to milliseconds
    }
    with av.open(str(target), "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment
        # fastdecode leaves out what costs a decoder of H.264 most: half its time, for a seventh more bytes.
        how = {"preset": preset, "crf": str(crf), "tune": "fastdecode", "x264-params": "open-gop=0"}
        rate = Fraction(info.fps).limit_denominator(1001) or Fraction(1)  # x264 shares out its bits by it, no more
        stream = container.add_stream("libx264", rate=rate, options=how)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        stream.codec_context.gop_size = gop
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU601, ColorRange.MPEG
        if torch.utils.data.get_worker_info() is not None:
            stream.codec_context.thread_count = 1  # the other workers have the other cores
        for time, picture in zip(times.tolist(), pictures, strict=True):
            frame = VideoFrame.from_ndarray(picture.numpy(), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
