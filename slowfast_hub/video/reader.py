"""One protocol for every video: a file, an address, bytes, frames in memory, a folder of images.

Readers are opened where they are used: in the process, and in the worker of a DataLoader, that reads.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import torch
from av import VideoFrame
from torch import Tensor

from slowfast_hub.spec import Limits, VideoError, VideoInfo, one_of
from slowfast_hub.video.container import IMAGE_SUFFIXES, Encoded, Meter, opened, reason
from slowfast_hub.video.decode import FileReader, ascending
from slowfast_hub.video.picture import Painter, displayed_size
from slowfast_hub.video.sampling import TIME_ROUNDING_S
from slowfast_hub.video.track import DEFAULT_FPS, check_duration

Video = Encoded | np.ndarray | Tensor

# What is taken for a video in a folder of them; a file that is named is read whatever its name.
VIDEO_SUFFIXES = {
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}


class VideoReader(Protocol):
    """A video that is known (`info`) and can be read."""

    info: VideoInfo
    backend: str  # what decodes: "pyav", "torchcodec", or "memory" for frames that are decoded already

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """The frames `indices`, ascending without repeats, each (H, W, 3) uint8 RGB, in one pass over the video.

        IndexError or ValueError for indices outside the video or out of order; VideoError where decoding fails.
        """
        ...


def open_video(
    video: Video, *, fps: float | None = None, limits: Limits | None = None, backend: str = "pyav"
) -> VideoReader:
    """A reader for a file, a URL, encoded bytes, a binary file object, frames, or a folder of frame images.

    Frames are uint8 (T, H, W, 3) RGB, array or tensor. A folder's images are sorted as people count (2 before 10).
    `fps` is the rate of frames and folders (30 if not given); a file knows its own, so there it is a ValueError.
    `limits`: what a file may ask of this machine, None for `Limits()`. `backend`: what decodes files, "pyav" or
    "torchcodec". VideoError if there is no video in it; TypeError or ValueError if the object is no video at all.
    """
    one_of("backend", backend, ("pyav", "torchcodec"))
    limits = limits or Limits()
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive rate; got {fps!r}")
    if isinstance(video, np.ndarray | Tensor):
        return ArrayReader(video, fps=fps or DEFAULT_FPS)
    if isinstance(video, str | Path) and os.path.isdir(video):
        return FolderReader(Path(video), fps=fps or DEFAULT_FPS, limits=limits)
    if isinstance(video, io.TextIOBase) or not (isinstance(video, str | Path | bytes) or hasattr(video, "seekable")):
        expected = "a path, a URL, bytes, a binary file object, or uint8 frames (T, H, W, 3)"
        raise TypeError(f"a video is {expected}; got {type(video).__name__}")
    if fps is not None:
        raise ValueError(f"fps={fps} is for frames and folders: a file carries its own rate; leave fps out")
    if backend == "torchcodec":
        from slowfast_hub.video.torchcodec_reader import TorchCodecReader

        return TorchCodecReader(video, limits)
    return FileReader(video, limits)


def read_frames(reader: VideoReader, indices: Tensor) -> Tensor:
    """The frames `indices`, a long tensor of any shape, order and repeats: (*indices.shape, H, W, 3) uint8 RGB.

    One pass over the video, each frame decoded once. Errors: those of `VideoReader.stream`.
    """
    frames = torch.empty(*indices.shape, reader.info.height, reader.info.width, 3, dtype=torch.uint8)
    numbers = indices.unique().tolist()
    for number, frame in zip(numbers, reader.stream(numbers), strict=True):
        frames[indices == number] = frame
    return frames


class ArrayReader:
    """Frames that are already in memory."""

    backend = "memory"

    def __init__(self, frames: np.ndarray | Tensor, *, fps: float) -> None:
        shape, kind = tuple(frames.shape), str(frames.dtype).removeprefix("torch.")
        if kind != "uint8":
            raise TypeError(f"frames must be uint8 0..255; got {kind}: scale to 0..255, round and convert them first")
        if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise ValueError(f"frames must be (T, H, W, 3) RGB with no empty side; got {shape}: permute or stack them")
        self._frames = frames
        self.info = VideoInfo("array", frames=shape[0], fps=fps, width=shape[2], height=shape[1])

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `VideoReader.stream`."""
        for number in ascending(indices, self.info):
            frame = self._frames[number]
            yield torch.tensor(frame) if isinstance(frame, np.ndarray) else frame.cpu()


class PartReader:
    """A part of another video, as a video of its own; see `part_of`."""

    def __init__(self, reader: VideoReader, first: int, last: int) -> None:
        self.backend = reader.backend
        self._reader, self._first = reader, first
        info, part = reader.info, slice(first, last + 1)
        self.info = replace(
            info,
            frames=last + 1 - first,
            start_s=info.time_s(first),
            times_s=None if info.times_s is None else info.times_s[part],
            strays_s=None if info.strays_s is None else info.strays_s[part],
        )

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `VideoReader.stream`."""
        return self._reader.stream([self._first + number for number in ascending(indices, self.info)])


def part_of(reader: VideoReader, start_s: float, end_s: float) -> VideoReader:
    """The frames that begin at or after `start_s` and before `end_s`, in seconds of the file, as a video of its own.

    VideoError where there are none. Its frames are numbered from 0 and keep their times.
    """
    info = reader.info
    times_s = info.times_s if info.strays_s is None else info.strays_s
    if times_s is None:
        times_s = info.start_s + torch.arange(info.frames, dtype=torch.float64) / info.fps
    # A start that was written down rounded, as 0.033 for 1 / 30, means the frame there.
    inside = ((times_s > start_s - TIME_ROUNDING_S) & (times_s < end_s - TIME_ROUNDING_S)).nonzero()
    if not len(inside):
        times = f"{info.time_s(0):.3f} s to {info.end_s(info.frames - 1):.3f} s"
        raise VideoError(info.source, f"no frame from {start_s:g} s to {end_s:g} s; it goes from {times}")
    return PartReader(reader, int(inside[0]), int(inside[-1]))


class FolderReader:
    """A folder of images, one per frame."""

    backend = "pyav"

    def __init__(self, folder: Path, *, fps: float, limits: Limits) -> None:
        self._images = images_in(folder)
        self._limits = limits
        if not self._images:
            suffixes = " ".join(sorted(IMAGE_SUFFIXES))
            raise VideoError(str(folder), f"a folder without frame images ({suffixes}); pass videos one by one")
        with shown(self._images[0]):
            width, height = displayed_size(first_picture(self._images[0], limits))
        self.info = VideoInfo(str(folder), frames=len(self._images), fps=fps, width=width, height=height)
        check_duration(self.info, limits)

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `VideoReader.stream`."""
        meter = Meter(self.info.source, self._limits)
        for number in ascending(indices, self.info):
            meter.decoded(1)
            with meter, shown(self._images[number]):  # an image has a turn of its own
                picture = Painter(self.info)(first_picture(self._images[number], self._limits))
            yield picture


def images_in(folder: Path) -> list[Path]:
    """The frames of a folder, sorted as people count; VideoError for a folder without access."""
    try:
        images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise VideoError(str(folder), f"cannot be read: {error.strerror}") from error
    return sorted((path for path in images if not path.name.startswith(".")), key=natural)


def first_picture(image: Path, limits: Limits) -> VideoFrame:
    try:
        with opened(image, limits) as (container, stream):
            for frame in container.decode(stream):
                return frame
    except OSError as error:
        raise VideoError(str(image), f"cannot be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise VideoError(str(image), f"cannot be read as an image: {reason(error)}") from error
    raise VideoError(str(image), "no picture can be decoded")


@contextmanager
def shown(image: Path) -> Iterator[None]:
    """VideoError for a picture that FFmpeg decodes and cannot turn into pixels, such as one 2,000,000 px wide."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(str(image), f"cannot be shown: {reason(error)}") from error


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which frame2 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
