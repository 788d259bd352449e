"""From a video to its frames: PyAV lives here and nowhere else.

A frame number counts the pictures that a player shows, in the order it shows them: 0 is the first. Headers are not
believed (Matroska says 0 frames, a damaged AVI too many): the packets are walked once, and their presentation times
say how many frames there are and which decoded picture is which. Where those times prove wrong, frames are counted
from the beginning.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import av
import numpy as np
import torch
from av import VideoFrame, VideoStream
from av.buffer import Buffer
from av.container import InputContainer
from av.stream import Disposition
from torch import Tensor

from slowfast_hub.spec import VideoError, VideoInfo

Encoded = str | Path | bytes | BinaryIO
Video = Encoded | np.ndarray | Tensor

DEFAULT_FPS = 30.0  # of arrays and folders, which carry no rate, and of a lone frame
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
STALLED_S = 60.0  # a server that sends nothing for so long has failed
MAX_REORDER = 16  # frames that a decoder may hold back to show them in order (H.264, H.265)
ADVICE = "re-encode it or pass another file"


class Reader(Protocol):
    """A video that is known (`info`) and can be read."""

    info: VideoInfo

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """The frames `indices`, ascending without repeats, each (H, W, 3) uint8 RGB, in one pass over the video.

        IndexError or ValueError for indices outside the video or out of order; VideoError where decoding fails.
        """
        ...


def open_video(video: Video, *, fps: float | None = None) -> Reader:
    """A reader for a file, a URL, encoded bytes, a binary file object, frames, or a folder of frame images.

    Frames are uint8 (T, H, W, 3) RGB, array or tensor. A folder's images are sorted as people count (2 before 10).
    `fps` is the rate of frames and folders (30 if not given); a file knows its own, so there it is a ValueError.
    VideoError if there is no video in it; TypeError or ValueError if the object is no video at all.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive rate; got {fps!r}")
    if isinstance(video, np.ndarray | Tensor):
        return ArrayReader(video, fps=fps or DEFAULT_FPS)
    if isinstance(video, str | Path) and os.path.isdir(video):
        return FolderReader(Path(video), fps=fps or DEFAULT_FPS)
    if isinstance(video, io.TextIOBase) or not (isinstance(video, str | Path | bytes) or hasattr(video, "read")):
        expected = "a path, a URL, bytes, a binary file object, or uint8 frames (T, H, W, 3)"
        raise TypeError(f"a video is {expected}; got {type(video).__name__}")
    if fps is not None:
        raise ValueError(f"fps={fps} is for frames and folders: a file carries its own rate; leave fps out")
    return FileReader(video)


def read_frames(reader: Reader, indices: Tensor) -> Tensor:
    """The frames `indices`, a long tensor of any shape, order and repeats: (*indices.shape, H, W, 3) uint8 RGB.

    One pass over the video, each frame decoded once. Errors: those of `Reader.stream`.
    """
    frames = torch.empty(*indices.shape, reader.info.height, reader.info.width, 3, dtype=torch.uint8)
    numbers = indices.unique().tolist()
    for number, frame in zip(numbers, reader.stream(numbers), strict=True):
        frames[indices == number] = frame
    return frames


class ArrayReader:
    """Frames that are already in memory."""

    def __init__(self, frames: np.ndarray | Tensor, *, fps: float) -> None:
        shape, kind = tuple(frames.shape), str(frames.dtype).removeprefix("torch.")
        if kind != "uint8":
            raise TypeError(f"frames must be uint8 0..255; got {kind}: scale to 0..255, round and convert them first")
        if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise ValueError(f"frames must be (T, H, W, 3) RGB with no empty side; got {shape}: permute or stack them")
        self._frames = frames
        self.info = VideoInfo("array", frames=shape[0], fps=fps, width=shape[2], height=shape[1])

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `Reader.stream`."""
        for number in ascending(indices, self.info):
            frame = self._frames[number]
            yield torch.tensor(frame) if isinstance(frame, np.ndarray) else frame.cpu()


class FolderReader:
    """A folder of images, one per frame."""

    def __init__(self, folder: Path, *, fps: float) -> None:
        images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        self._images = sorted((path for path in images if not path.name.startswith(".")), key=natural)
        if not self._images:
            suffixes = " ".join(sorted(IMAGE_SUFFIXES))
            raise VideoError(str(folder), f"a folder without frame images ({suffixes}); pass videos one by one")
        width, height = displayed_size(first_picture(self._images[0]))
        self.info = VideoInfo(str(folder), frames=len(self._images), fps=fps, width=width, height=height)

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `Reader.stream`."""
        for number in ascending(indices, self.info):
            yield rgb(first_picture(self._images[number]), self.info)


class FileReader:
    """A file or stream that FFmpeg decodes."""

    def __init__(self, video: Encoded) -> None:
        if not isinstance(video, str | Path | bytes) and not video.seekable():
            video = video.read()  # a pipe: it is needed twice, for the walk over the packets and for the frames
        self._video = video
        self.info, self._track = probe(video)

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `Reader.stream`. A packet without a picture of its own leaves the one before on show, as in a player."""
        wanted = ascending(indices, self.info)
        if not wanted:
            return
        done, reached, failure, shown = 0, 0, "the stream ended", None
        decoded = self._decoded(wanted[0])
        try:
            for number, frame in decoded:
                while done < len(wanted) and wanted[done] <= number:
                    yield rgb(frame if wanted[done] == number or shown is None else shown, self.info)
                    done += 1
                if done == len(wanted):
                    return
                shown, reached = frame, number + 1
        except av.FFmpegError as error:
            failure = reason(error)
        finally:
            decoded.close()
        raise VideoError(self.info.source, f"decoded {reached} of {self.info.frames} frames, then {failure}; {ADVICE}")

    def _decoded(self, first: int) -> Generator[tuple[int, VideoFrame]]:
        """Decoded frames with their numbers, from the last keyframe at or before frame `first`.

        After an entry that missed that frame, or times out of order, all over again from the beginning.
        """
        for entry in self._track.entries(first):
            with opened(self._video) as (container, stream), suppress(OutOfOrder):
                if entry is not None:
                    with suppress(av.FFmpegError):  # not seekable: decoding begins at the beginning, times still tell
                        container.seek(entry, stream=stream)
                yield from self._track.numbered(container.decode(stream), first=first)
                return
        with opened(self._video) as (container, stream):
            yield from enumerate(container.decode(stream))


class OutOfOrder(Exception):
    """The times of the decoded frames do not follow those of the packets."""


@dataclass(frozen=True)
class Track:
    """Where the frames of a video stream are, in ticks of its time base; both empty where the times cannot be used."""

    times: tuple[int, ...]  # presentation time of frame 0, 1, ...
    keys: tuple[int, ...]  # those of them where decoding can begin

    def entries(self, number: int) -> Iterator[int | None]:
        """Where to begin decoding for frame `number`, best first: the time of a keyframe, or None, the beginning."""
        if not self.times:
            return
        key = max((key for key in self.keys if key <= self.times[number]), default=self.times[0])
        if key > self.times[0]:
            yield key
        yield None

    def numbered(self, frames: Iterator[VideoFrame], *, first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with the numbers that their times give; OutOfOrder if they miss frame `first` or go back."""
        number_at: dict[int | None, int] = {time: number for number, time in enumerate(self.times)}
        before = None
        for frame in frames:
            ahead = [frame]
            if before is not None and number_at.get(frame.pts) != before + 1:
                # A packet without a picture, or the first sign of times out of order? The next frames tell.
                ahead += islice(frames, MAX_REORDER)
            numbers = [number_at.get(frame.pts, -1) for frame in ahead]
            fits = 0 <= numbers[0] <= first if before is None else before < numbers[0]
            if not fits or any(after <= number for number, after in pairwise(numbers)):
                raise OutOfOrder
            yield from zip(numbers, ahead)
            before = numbers[-1]
        if before is None:  # MPEG-TS: a seek close to the end can lead past it
            raise OutOfOrder


def probe(video: Encoded) -> tuple[VideoInfo, Track]:
    """What is known of a file, and where its frames are: one walk over the packets, with the first frame decoded."""
    source = source_name(video)
    first, packets = None, []
    try:
        with opened(video) as (container, stream):
            for packet in container.demux(stream):
                if first is None:
                    first = next(iter(packet.decode()), None)
                if packet.size and not packet.is_discard:
                    packets.append((packet.pts, packet.is_keyframe))
            # AVI has no presentation times: with frames out of order, what FFmpeg makes up for them is wrong.
            made_up = container.format.name == "avi" and stream.codec_context.has_b_frames
            base, rate = stream.time_base, stream.average_rate
    except av.FFmpegError as error:
        raise VideoError(source, f"cannot be read as a video: {reason(error)}") from error
    if first is None:
        raise VideoError(source, f"no frame can be decoded; {ADVICE}")
    track = Track((), ()) if made_up else track_of(packets, first.pts)
    ticks = track.times or sorted(pts for pts, _ in packets if pts is not None)
    frames = len(track.times) or len(packets)
    fps, times_s = rate_of(np.array(ticks, dtype=np.float64) * float(base or 1), frames, rate=float(rate or 0))
    width, height = displayed_size(first)
    info = VideoInfo(
        source,
        frames=frames,
        fps=fps,
        width=width,
        height=height,
        rotation=round(first.rotation / 90) * 90 % 360,
        start_s=float(ticks[0] * base) if ticks and base else 0.0,
        times_s=times_s,
    )
    return info, track


def track_of(packets: list[tuple[int | None, bool]], first: int | None) -> Track:
    """The track of packets (presentation time, is a keyframe), from the time of the first frame that decodes."""
    timed = sorted((pts, key) for pts, key in packets if pts is not None)
    times = [pts for pts, _ in timed]
    if first is None or first not in times or len(set(times)) < len(packets):
        return Track((), ())
    # A recording cut out of a broadcast may begin with pictures whose references are gone.
    timed = timed[times.index(first) :]
    return Track(tuple(pts for pts, _ in timed), tuple(pts for pts, key in timed if key))


def rate_of(times_s: np.ndarray, count: int, *, rate: float) -> tuple[float, Tensor | None]:
    """Frames per second, and the presentation times if no steady rate gives them within half a frame.

    The rate that the file declares goes first: 30000/1001 is more exact than what times rounded to a tick give. It
    also stands where times are missing or repeated (MPEG-PS stamps only some frames).
    """
    declared = rate if 0 < rate <= 1000 else DEFAULT_FPS
    if count == 1 or len(np.unique(times_s)) < count:
        return declared, None
    mean = (count - 1) / float(times_s[-1] - times_s[0])
    for fps in (declared, mean):
        if np.abs((times_s - times_s[0]) * fps - np.arange(count)).max() <= 0.5:
            return fps, None
    return mean, torch.from_numpy(times_s)


@contextmanager
def opened(video: Encoded) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream, closed at the end; VideoError if there is none."""
    with open_container(video) as container:
        stream = container.streams.best("video")
        # The cover of a song is a stream of pictures too.
        if not isinstance(stream, VideoStream) or Disposition.attached_pic in stream.disposition:
            raise VideoError(source_name(video), "has no video stream")
        stream.thread_type = "AUTO"
        yield container, stream


def open_container(video: Encoded) -> InputContainer:
    if isinstance(video, str | Path):
        # Without "file:" FFmpeg would take the name "12:30.mp4" for a protocol.
        return av.open(f"file:{video}" if os.path.exists(video) else str(video), mode="r", timeout=STALLED_S)
    file = io.BytesIO(video) if isinstance(video, bytes) else video
    file.seek(0)
    # Bytes that are really a playlist must not make FFmpeg open other files; for paths and URLs it has such rules.
    return av.open(file, mode="r", options={"protocol_whitelist": "data"}, timeout=STALLED_S)


def first_picture(image: Path) -> VideoFrame:
    try:
        # As bytes, because FFmpeg takes a "%" in an image's name for the pattern of a sequence.
        content = image.read_bytes()
    except OSError as error:
        raise VideoError(str(image), f"cannot be read: {error.strerror}") from error
    try:
        with opened(content) as (container, stream):
            for frame in container.decode(stream):
                return frame
    except av.FFmpegError as error:
        raise VideoError(str(image), f"cannot be read as an image: {reason(error)}") from error
    raise VideoError(str(image), "no picture can be decoded")


def rgb(frame: VideoFrame, info: VideoInfo) -> Tensor:
    """A decoded frame as (H, W, 3) uint8 RGB, upright, in the size of the video even where the stream changes it."""
    quarter, down, right = orientation(frame)
    width, height = (info.height, info.width) if quarter else (info.width, info.height)
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    picture = picture.swapaxes(0, 1) if quarter else picture
    return torch.from_numpy(np.ascontiguousarray(picture[::down, ::right]))


def orientation(frame: VideoFrame) -> tuple[bool, int, int]:
    """How to show a frame upright: swap rows and columns or not, then the steps (1 or -1) down the rows and right."""
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")  # PyAV's stub knows other keys only
    if matrix is None:
        return False, 1, 1
    # 3x3 fixed point, row vectors: (x, y) is shown at (a x + c y, b x + d y); a mirrored one has determinant < 0.
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), np.int32)[:5])
    quarter = abs(b) > abs(a)
    right, down = (c, b) if quarter else (a, d)
    return quarter, -1 if down < 0 else 1, -1 if right < 0 else 1


def displayed_size(frame: VideoFrame) -> tuple[int, int]:
    quarter, _, _ = orientation(frame)
    return (frame.height, frame.width) if quarter else (frame.width, frame.height)


def ascending(indices: Sequence[int], info: VideoInfo) -> list[int]:
    """`indices` as a list, checked: strictly ascending, inside the video."""
    numbers = [int(number) for number in indices]
    if any(after <= before for before, after in pairwise(numbers)):
        raise ValueError("stream() takes ascending frame numbers without repeats; read_frames() takes any")
    if numbers and not 0 <= numbers[0] <= numbers[-1] < info.frames:
        raise IndexError(f"{info.source} has frames 0..{info.frames - 1}; got {numbers[0]}..{numbers[-1]}")
    return numbers


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which frame2 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def source_name(video: Encoded) -> str:
    if isinstance(video, str | Path):
        return str(video)
    return "bytes" if isinstance(video, bytes) else str(getattr(video, "name", "file object"))


def reason(error: av.FFmpegError) -> str:
    return f"{type(error).__name__} ({error.strerror})"
