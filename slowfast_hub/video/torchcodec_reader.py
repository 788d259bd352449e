"""The frames of a file with torchcodec: on the CPU, or by NVDEC on a GPU.

What a file is has one truth: `track.probe` says how many frames there are, when each is shown and where decoding can
begin, and torchcodec gets that table (its `custom_frame_mappings`) instead of counting packets itself. It must answer
with the picture of that very time; where it does not, the file is refused, and PyAV reads it.

The pictures are those of PyAV, level for level, though another FFmpeg lies beneath. Two kinds of files are refused for
that: those whose display matrix mirrors, which torchcodec leaves out, and those whose colours have to be interpolated
(`direct_colours`). A damaged picture is mended by FFmpeg as it likes, and a GPU rounds colours in its own way.

Safety: torchcodec passes no options of ours to FFmpeg, so it is never given a path or an address, only a file object
of what `container` has accepted: from one it opens nothing else, whatever the file says. `Limits.pixels` holds for the
size that a file declares; a stream that grows later is decoded before it is refused. PyAV is the safer one there.
"""

from __future__ import annotations

import io
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import av
import torch
from av import VideoFrame
from torch import Tensor

from slowfast_hub.spec import Limits, VideoError, VideoInfo
from slowfast_hub.video.container import Encoded, Meter, address, opened, reason, rewindable
from slowfast_hub.video.decode import ascending
from slowfast_hub.video.picture import orientation
from slowfast_hub.video.track import Track, probe

INSTEAD = 'open it with backend="pyav"'
LEAST = (0, 17)  # versions before let a file object lead FFmpeg to other files and addresses
Decoder = Any  # torchcodec's VideoDecoder, and Picture its Frame: imported only where somebody asks for them
Picture = Any
STEP = 64  # frames that one call decodes at most, as it can only be stopped in between


class TorchCodecReader:
    """A local file, bytes or a file object that torchcodec decodes.

    device: where it decodes and where the frames stay, "cpu" or a CUDA device such as "cuda:1" (NVDEC; what that cannot
    decode, torchcodec decodes on the CPU). ImportError without torchcodec or FFmpeg's libraries, ValueError for another
    device, VideoError for a file that PyAV must read.
    """

    backend = "torchcodec"

    def __init__(self, video: Encoded, limits: Limits, *, device: str = "cpu") -> None:
        video_decoder()
        self._device = checked_device(device)
        video = rewindable(video, limits)
        with local(video, limits):
            pass  # an address is refused before anything is read from it
        self._video = video
        self._limits = limits
        self.info, self._track = probe(video, limits)
        if not self._track.times:
            raise VideoError(self.info.source, f"has no presentation times to find its frames by; {INSTEAD}")
        self._stream = check_pictures(video, limits, self.info)
        # Where decoding can begin, as numbers. The first frame counts: FFmpeg seeks to whatever lies before it.
        self._entries = sorted({0, *map(self._track.number, self._track.keys)})
        next(self.stream([0]))  # what torchcodec cannot open or find (it seeks too far in MPEG-TS) is refused at once

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.info.source}: a reader stays in its process; open the video in the worker instead")

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `VideoReader.stream`; on the reader's device, one frame in memory at a time."""
        wanted = ascending(indices, self.info)
        if not wanted:
            return
        chosen, reached = set(wanted), 0
        meter = Meter(self.info.source, self._limits)
        try:
            with local(self._video, self._limits) as file:
                with meter:
                    decoder = self._decoder(file)
                for number, frame in self._frames(decoder, wanted, meter):
                    self._check(number, frame)
                    reached = number + 1
                    if number in chosen:
                        yield frame.data
        except (RuntimeError, IndexError) as error:  # what torchcodec raises
            message = f"torchcodec reached frame {reached} of {self.info.frames}, then: {said(error)}; {INSTEAD}"
            raise VideoError(self.info.source, message) from error

    def _decoder(self, file: BinaryIO) -> Decoder:
        """A decoder that looks frames up in our table."""
        try:
            decoder = video_decoder()(
                file,
                stream_index=self._stream,
                dimension_order="NHWC",
                device=self._device,
                # As for PyAV: the other workers of a DataLoader have the other cores.
                num_ffmpeg_threads=0 if torch.utils.data.get_worker_info() is None else 1,
                custom_frame_mappings=mappings(self._track, self._entries),
            )
        except ValueError as error:
            raise VideoError(self.info.source, f"torchcodec cannot open it: {said(error)}; {INSTEAD}") from error
        if round(decoder.metadata.rotation or 0) % 360 != self.info.rotation:
            raise VideoError(self.info.source, f"is turned in a way that torchcodec does not see; {INSTEAD}")
        return decoder

    def _frames(self, decoder: Decoder, wanted: list[int], meter: Meter) -> Iterator[tuple[int, Picture]]:
        """The frames `wanted`, and others on the way to them where that is long, with their numbers."""
        before = -1
        for number in wanted:
            entry = self._entries[bisect_right(self._entries, number) - 1]
            before = max(before, entry - 1)
            for stop in (*range(before + STEP, number, STEP), number):
                meter.decoded(stop - before)
                with meter:
                    frame = decoder.get_frame_at(stop)
                yield stop, frame
                before = stop

    def _check(self, number: int, frame: Picture) -> None:
        """VideoError unless this is the picture that the table has there."""
        due_s = self._track.times[number] * self._track.tick_s
        if abs(frame.pts_seconds - due_s) > self._track.tick_s / 2:
            what = f"frame {number} is due at {due_s:.6f} s and torchcodec gives that of {frame.pts_seconds:.6f} s"
            raise VideoError(self.info.source, f"{what}; {INSTEAD}")
        if tuple(frame.data.shape) != (self.info.height, self.info.width, 3):
            raise VideoError(self.info.source, f"changes its size at frame {number}; {INSTEAD}")


def video_decoder() -> Callable[..., Decoder]:
    """torchcodec's class; ImportError that says what to install where it or FFmpeg is missing."""
    advice = 'pip install "slowfast-hub[torchcodec]", and the libraries of FFmpeg 4 to 9 (Debian: apt install ffmpeg)'
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:  # the last two: it is there, and fits another torch or FFmpeg
        raise ImportError(f'backend="torchcodec" needs {advice}') from error
    found = version("torchcodec")
    if tuple(int(part) for part in found.split(".")[:2]) < LEAST:
        raise ImportError(f"torchcodec {found} would follow a file to others; at least {LEAST[0]}.{LEAST[1]}: {advice}")
    if torchcodec.ffmpeg_major_version is None:
        why = f"finds no FFmpeg libraries, or was built for another torch than {torch.__version__}"
        raise ImportError(f'backend="torchcodec" {why}; it needs {advice}')
    return VideoDecoder


def checked_device(device: str) -> str:
    """`device`, if torchcodec can decode there and it is here; ValueError otherwise."""
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"torchcodec decodes on 'cpu' or 'cuda'; got device={device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: this machine has no CUDA device; leave device out")
    return device


@contextmanager
def local(video: Encoded, limits: Limits) -> Iterator[BinaryIO]:
    """A video as the file object that torchcodec reads; VideoError for an address."""
    if isinstance(video, bytes):
        yield io.BytesIO(video)
    elif isinstance(video, str | Path):
        target, _ = address(video, limits)
        if isinstance(target, io.BytesIO):
            yield target
        elif target.startswith("file:"):
            with open(target.removeprefix("file:"), "rb") as file:
                yield file
        else:
            raise VideoError(str(video), f"is an address, and torchcodec reads files only; download it, or {INSTEAD}")
    else:
        video.seek(0)
        yield video


def check_pictures(video: Encoded, limits: Limits, info: VideoInfo) -> int:
    """The index of the video stream; VideoError where pictures would not equal PyAV's."""
    try:
        with opened(video, limits) as (container, stream):
            first = next(container.decode(stream), None)
            index = stream.index
    except av.FFmpegError as error:
        raise VideoError(info.source, f"cannot be read as a video: {reason(error)}") from error
    if first is None:
        raise VideoError(info.source, "no frame can be decoded")
    quarter, down, right = orientation(first)
    if quarter == (down == right):
        raise VideoError(info.source, f"shows its pictures mirrored, which torchcodec leaves out; {INSTEAD}")
    if not direct_colours(first):
        what = f"has {first.width} x {first.height} px pictures in {first.format.name}, whose colours are interpolated"
        raise VideoError(info.source, f"{what}, by each version of FFmpeg in its own way; {INSTEAD}")
    return index


def direct_colours(frame: VideoFrame) -> bool:
    """Whether FFmpeg takes the colours of a picture as they are, so that all its versions give the same one.

    It does where every pixel has its own, and where swscale has a direct way to RGB that repeats the nearest: 8 bits,
    an even height, one column of colours for two of pixels. Elsewhere it interpolates, with other filters and other
    places for the samples in PyAV than in torchcodec: up to 139 levels apart at the edges of a 10-bit test picture, 3
    on average.
    """
    width, height, name = frame.width, frame.height, frame.format.name
    if frame.format.chroma_width(width) == width and frame.format.chroma_height(height) == height:
        return True
    return height % 2 == 0 and name in ("yuv420p", "yuvj420p", "yuva420p", "yuv422p", "yuvj422p")


def mappings(track: Track, entries: Sequence[int]) -> str:
    """`track` in torchcodec's words: times in ticks, lengths, and the frames where decoding can begin."""
    times, begins = [*track.times, track.times[-1] + 1], set(entries)
    rows = [
        {"pts": time, "duration": after - time, "key_frame": int(number in begins)}
        for number, (time, after) in enumerate(pairwise(times))
    ]
    return json.dumps({"frames": rows})


def said(error: Exception) -> str:
    """torchcodec's message without the place in its source, which goes before it as "function, file:line, "."""
    return re.sub(r"^\w+, \S+:\d+, ", "", str(error).split("\n")[0]).strip()
