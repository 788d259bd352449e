"""Frames in the order they come, from sources without a known end and without a way back: cameras, addresses, pipes.

A file on the disk, or frames in memory, can be a source too: they are read by `open_video`, with its frames and times.
Elsewhere the rate is what the stream declares, and each frame stands where its time is next to on that grid.
"""

from __future__ import annotations

import io
import math
import os
import re
import select
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import BinaryIO, cast

import av
import numpy as np
import torch
from av import VideoFrame, VideoStream
from av.container import InputContainer
from torch import Tensor

from slowfast_hub.spec import LONG, Limits, VideoError, VideoInfo
from slowfast_hub.video.container import STALLED_S, Meter, opened, packets_of, reason
from slowfast_hub.video.feed import Arriving, Timed
from slowfast_hub.video.picture import Painter, displayed_size
from slowfast_hub.video.reader import VideoReader, open_video
from slowfast_hub.video.track import DEFAULT_FPS

Source = int | str | Path | bytes | BinaryIO | np.ndarray | Tensor | Iterable[object]

# What an address may ask of this machine where nobody says otherwise: HLS is a list of pieces.
LIVE = Limits(protocols=("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp"), playlists=True)
# What a pipe may: it may have no end.
ENDLESS = replace(LONG, bytes=sys.maxsize, frames=sys.maxsize, duration_s=math.inf, wall_s=math.inf)
# FFmpeg's devices, and what they call camera N.
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}:none"), "win32": ("dshow", "video={}")}
NO_WAY_BACK = "; as it comes, MP4 needs its index in front (faststart), and other files may need to be on the disk"
BREAK_S = 10.0  # a live source whose clock leaps by so much has set it anew
LEAP_S = 600.0  # in a pipe so much is a false time: its windows, all of one picture, would keep a network busy for days
POLL_S = 0.1  # how soon a pipe that says nothing can be left


def is_remote(source: Source) -> bool:
    """Whether a source is the number of a camera, or an address."""
    named = isinstance(source, str) and re.match(r"[A-Za-z0-9+.-]{2,}:", source) is not None
    return isinstance(source, int) or (named and not os.path.exists(str(source)))


def is_pipe(source: Source) -> bool:
    """Whether a source is the standard input, or a file object that cannot go back."""
    if isinstance(source, str):
        return source == "-"
    return hasattr(source, "read") and not cast(BinaryIO, source).seekable()


def usual_limits(source: Source) -> Limits:
    """The limits of a source where nobody says otherwise."""
    if is_remote(source):
        return LIVE
    return ENDLESS if is_pipe(source) else LONG


def arrive(source: Source, *, fps: float | None, limits: Limits) -> Arriving:
    """Open a source: what `StreamClassifier` takes.

    fps: the rate of frames and of folders of them; with times, the grid they are put on. VideoError where there is
    nothing to be had; TypeError or ValueError for what is no source, and for a rate where the source has its own.

    limits: all of them hold for files, before the first frame. Pipes and addresses of recordings are left by a
    VideoLimitError behind the frames within `bytes`, `frames`, `duration_s` (from the first
    frame on) and `wall_s` (of decoding, not of waiting). Those four do not hold for addresses without an end. None
    holds for cameras, and for an iterable of frames, which the caller makes.
    """
    if isinstance(source, np.ndarray | Tensor) or (isinstance(source, str | Path) and os.path.isdir(source)):
        return from_reader(open_video(source, fps=fps, limits=limits))
    readable = isinstance(source, str | Path | bytes) or hasattr(source, "read")
    if not readable and not isinstance(source, int):
        if not isinstance(source, Iterable):
            expected = "a camera's number, an address, a path, '-', a binary file object, or an iterable of frames"
            raise TypeError(f"a stream is {expected}; got {type(source).__name__}")
        return Arriving(type(source).__name__, each(source), fps)
    if fps is not None:
        raise ValueError(f"fps={fps} is for frames: files, streams and cameras carry their own rate; leave fps out")
    if isinstance(source, int):
        return from_camera(source)
    if is_remote(source):
        return from_address(str(source), limits)
    if is_pipe(source):
        return from_pipe(sys.stdin.buffer if isinstance(source, str) else cast(BinaryIO, source), limits)
    return from_reader(open_video(cast(BinaryIO, source), limits=limits))


def each(source: Iterable[object]) -> Generator[Timed]:
    """Frames with their times, from an iterable of frames or of (seconds, frame); copies, as a camera's driver may
    write the next frame into the memory of the last one.

    TypeError or ValueError for other things, frames of several sizes, and times that do not ascend.
    """
    shape, last_s = None, -math.inf
    for item in source:
        time_s, frame = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
        picture = as_picture(frame)
        if time_s is not None and not last_s < time_s < math.inf:
            raise ValueError(f"times of frames must ascend; got {time_s!r} after {last_s!r}")
        if shape not in (None, picture.shape):
            raise ValueError(f"frames must have one size; got {tuple(picture.shape)} after {tuple(shape)}")
        shape, last_s = picture.shape, last_s if time_s is None else float(time_s)
        yield None if time_s is None else last_s, picture


def as_picture(frame: object) -> Tensor:
    if not isinstance(frame, np.ndarray | Tensor):
        raise TypeError(f"a frame is an array or tensor (H, W, 3), or (seconds, frame); got {type(frame).__name__}")
    shape, kind = tuple(frame.shape), str(frame.dtype).removeprefix("torch.")
    if kind != "uint8" or len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        raise ValueError(f"a frame is uint8 (H, W, 3) RGB with no empty side; got {kind} {shape}")
    return torch.tensor(frame) if isinstance(frame, np.ndarray) else frame.cpu().clone()


def from_reader(reader: VideoReader) -> Arriving:
    info = reader.info

    def frames() -> Generator[Timed]:
        for number, frame in enumerate(reader.stream(range(info.frames))):
            yield info.time_s(number), frame

    return Arriving(info.source, frames(), info.fps, steady=info.times_s is None)


def from_camera(number: int) -> Arriving:
    name = f"camera {number}"
    if sys.platform not in CAMERAS:
        raise VideoError(name, f"cameras are known on {', '.join(CAMERAS)}; this is {sys.platform}")
    device, address = CAMERAS[sys.platform]
    stack = ExitStack()
    try:
        # DirectShow knows cameras by their names.
        called = av.enumerate_input_devices(device)[number].name if device == "dshow" else number
        container = stack.enter_context(av.open(address.format(called), format=device, timeout=STALLED_S))
        stream = container.streams.video[0]
    except av.FFmpegError as error:
        raise VideoError(name, f"cannot be opened: {reason(error)}") from error
    except (IndexError, ValueError) as error:  # ValueError: a build of FFmpeg without the device
        raise VideoError(name, f"cannot be opened: {error}") from error
    return going_on(name, container, stream, stack)


def from_address(address: str, limits: Limits) -> Arriving:
    stack = ExitStack()
    container, stream = stack.enter_context(opened(address, limits))
    if container.duration is None:
        return going_on(address, container, stream, stack)
    return recorded(Meter(address, limits), container, stream, stack, longest_s=math.inf)


def from_pipe(file: BinaryIO, limits: Limits) -> Arriving:
    pipe, stack = Pipe(file), ExitStack()
    container, stream = stack.enter_context(opened(cast(BinaryIO, pipe), limits))
    arriving = recorded(Meter(pipe.name, limits), container, stream, stack, longest_s=LEAP_S)
    return replace(arriving, stop=pipe.close)


def going_on(name: str, container: InputContainer, stream: VideoStream, stack: ExitStack) -> Arriving:
    """A source that does not wait for anyone."""
    stream.thread_type = "SLICE"  # threads that work on different frames would hold some back
    fps = declared_rate(stream)
    frames = without_breaks(timed(name, stream, whole_frames(container, stream), stack), fps, longest_s=BREAK_S)
    return Arriving(name, frames, fps, waits=False, stalled_s=STALLED_S)


def recorded(
    meter: Meter, container: InputContainer, stream: VideoStream, stack: ExitStack, *, longest_s: float
) -> Arriving:
    """A source that comes as fast as it is taken, within the limits of `meter`; longest_s: see `without_breaks`."""
    fps = declared_rate(stream)
    frames = timed(meter.source, stream, all_frames(container, stream, meter), stack)
    if container.format.name == "avi" and stream.codec_context.has_b_frames:  # times that are made up, see track.probe
        frames = ((None, frame) for _, frame in frames)
    ascending = without_breaks(frames, fps, longest_s=longest_s)
    return Arriving(meter.source, no_longer(ascending, meter), fps, stalled_s=STALLED_S)


def declared_rate(stream: VideoStream) -> float:
    """The rate that a stream says it has, as `track.rate_of` takes it."""
    rate = float(stream.average_rate or 0)
    return rate if 0 < rate <= 1000 else DEFAULT_FPS


def all_frames(container: InputContainer, stream: VideoStream, meter: Meter) -> Iterator[VideoFrame]:
    """All frames; VideoLimitError behind those within the bytes, frames and seconds of decoding of `meter`."""
    for packet in packets_of(container, stream, meter):
        with meter:  # a pipe that waits for its writer is not at work
            frames = packet.decode()
        for frame in frames:
            meter.decoded(1)
            yield frame


def whole_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """What can be decoded: who tunes in late, or on a bad line, gets pieces that cannot."""
    for packet in packets_of(container, stream, None):
        with suppress(av.InvalidDataError):
            yield from packet.decode()


def timed(name: str, stream: VideoStream, frames: Iterator[VideoFrame], stack: ExitStack) -> Generator[Timed]:
    """Frames as pictures of one size, with their times; closes `stack` at the end. VideoError where decoding fails."""
    with stack:
        base, paint, count = float(stream.time_base or 1), None, 0
        try:
            for frame in frames:
                if paint is None:
                    width, height = displayed_size(frame)
                    paint = Painter(VideoInfo(name, frames=1, fps=DEFAULT_FPS, width=width, height=height))
                yield None if frame.pts is None else frame.pts * base, paint(frame)
                count += 1
        except av.FFmpegError as error:
            advice = "" if count else NO_WAY_BACK
            raise VideoError(name, f"failed after {count} frames: {reason(error)}{advice}") from error


def no_longer(frames: Generator[tuple[float, Tensor]], meter: Meter) -> Generator[Timed]:
    """The same; VideoLimitError behind the frames of the first `duration_s` of the limits of `meter`."""
    begin_s, longest_s = None, meter.limits.duration_s
    with closing(frames):
        for time_s, frame in frames:
            begin_s = time_s if begin_s is None else begin_s
            if time_s - begin_s >= longest_s:
                meter.exceeded("duration_s", f"lasts longer than {longest_s:g} s")
            yield time_s, frame


def without_breaks(frames: Iterator[Timed], fps: float, *, longest_s: float) -> Generator[tuple[float, Tensor]]:
    """The same with times that go on where the clock of the source is set anew: back, or on by `longest_s` at once."""
    shift, last_s = 0.0, None
    for time_s, frame in frames:
        due_s = 0.0 if last_s is None else last_s + 1 / fps
        if time_s is None:
            time_s = due_s - shift
        elif last_s is not None and not 0 < time_s + shift - last_s < longest_s:
            shift = due_s - time_s
        last_s = time_s + shift
        yield last_s, frame


class Pipe:
    """A file object that cannot go back, as FFmpeg reads one; it can be closed while it waits."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) else "pipe"  # a descriptor's number is no name
        self._file = file
        self._closed = Event()
        self._poll: select.poll | None = None
        # What other objects buffer can be read while their descriptor says that there is nothing.
        if hasattr(select, "poll") and isinstance(getattr(file, "raw", file), io.FileIO):
            self._poll = select.poll()
            self._poll.register(file.fileno(), select.POLLIN)

    def read(self, size: int) -> bytes:
        """What there is, at most `size` bytes; nothing at the end, and once the pipe is closed."""
        silent = monotonic() + STALLED_S
        while self._poll is not None and not self._poll.poll(POLL_S * 1000):
            if self._closed.is_set():
                return b""
            if monotonic() > silent:
                raise VideoError(self.name, f"nothing came for {STALLED_S:g} s")
        read = getattr(self._file, "read1", self._file.read)
        return b"" if self._closed.is_set() else read(size)

    def close(self) -> None:
        """Let go who reads."""
        self._closed.set()

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Nothing: a pipe has no size that one could ask for."""
        return 0
