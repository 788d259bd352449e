"""From a file to its frames, with PyAV.

A frame number counts the pictures that a player shows, in the order it shows them: 0 is the first. `track.probe` says
where they are; here they are decoded, and no more of them than the frames asked for need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import NoReturn

import av
import numpy as np
from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from torch import Tensor

from slowfast_hub.spec import Limits, VideoError, VideoInfo
from slowfast_hub.video.container import ADVICE, Encoded, Meter, opened, packets_of, reason, rewindable
from slowfast_hub.video.picture import Painter
from slowfast_hub.video.track import OutOfOrder, Track, probe

WORTH_A_SEEK = 32  # frames left out by it: a seek empties the decoder, which then waits for its threads again

Numbered = Iterator[tuple[int, VideoFrame]]


class FileReader:
    """A file or stream that FFmpeg decodes."""

    backend = "pyav"

    def __init__(self, video: Encoded, limits: Limits) -> None:
        self._video = video = rewindable(video, limits)
        self._limits = limits
        self.info, self._track = probe(video, limits)
        self._painted = self.info

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.info.source}: a reader stays in its process; open the video in the worker instead")

    def times_s(self) -> np.ndarray:
        """When each frame is shown, as exactly as the file says it: (frames,) float64, seconds of the file."""
        if self._track.times and self._track.tick_s:
            return np.array(self._track.times, dtype=np.float64) * self._track.tick_s
        return np.array([self.info.time_s(number) for number in range(self.info.frames)])

    def scaled(self, height: int, width: int) -> FileReader:
        """A reader of the same frames at another size, by swscale at decode time: fast, and not what networks saw.

        Its bilinear filter covers all pixels of a larger picture; `transforms` takes samples of it, as the published
        weights were trained. docs/performance.md says what that changes.
        """
        other = object.__new__(FileReader)
        other.__dict__.update(self.__dict__)
        other._painted = replace(self.info, height=height, width=width)
        return other

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """See `VideoReader.stream`. A packet without a picture leaves the one before on show, as in a player."""
        wanted = ascending(indices, self.info)
        meter, paint = Meter(self.info.source, self._limits), Painter(self._painted)
        done, reached, failure = 0, 0, "the stream ended"
        for read in self._ways():
            if done == len(wanted):
                return
            shown = None
            try:
                with opened(self._video, self._limits) as (container, stream):
                    for number, frame in read(Decoding(container, stream, meter), wanted[done:]):
                        while done < len(wanted) and wanted[done] <= number:
                            with meter:
                                picture = paint(frame if wanted[done] == number or shown is None else shown)
                            yield picture
                            done += 1
                        if done == len(wanted):
                            return
                        shown, reached = frame, max(reached, number + 1)
                    break
            except OutOfOrder:
                continue
            except av.FFmpegError as error:
                failure = reason(error)
                break
        if done < len(wanted):
            message = f"decoding reached frame {reached} of {self.info.frames}, then {failure}; {ADVICE}"
            raise VideoError(self.info.source, message)

    def _ways(self) -> Iterator[Callable[[Decoding, list[int]], Numbered]]:
        """How to read on, best first; each may find that times are out of order, and leaves the rest to the next."""
        if self._track.times:
            if self._track.lean:
                yield self._lean
            yield self._whole
            yield self._from_the_beginning
        yield lambda decoding, wanted: enumerate(decoding.frames())

    def _lean(self, decoding: Decoding, wanted: list[int]) -> Numbered:
        """As `_whole`, without the pictures that nobody asked for and no other picture refers to."""
        track, needed = self._track, bytearray(self.info.frames)
        for number in wanted:
            needed[number] = 1

        def is_needed(packet: Packet) -> bool:
            number = track.number(packet.pts)
            return number < 0 or bool(needed[number])

        for run in self._runs(wanted):
            first, sought = decoding.seek(track, run[0])
            frames = decoding.frames(is_needed)
            yield from until(run[-1], track.numbered(frames, first=first, sought=sought, needed=needed))

    def _whole(self, decoding: Decoding, wanted: list[int]) -> Numbered:
        for run in self._runs(wanted):
            first, sought = decoding.seek(self._track, run[0])
            yield from until(run[-1], self._track.numbered(decoding.frames(), first=first, sought=sought))

    def _from_the_beginning(self, decoding: Decoding, wanted: list[int]) -> Numbered:
        return self._track.numbered(decoding.frames(), first=wanted[0], sought=False)

    def _runs(self, wanted: list[int]) -> Iterator[list[int]]:
        """`wanted` in pieces, each to be decoded in one go from a keyframe at or before its first frame."""
        begin = 0
        for at, (before, number) in enumerate(pairwise(wanted), start=1):
            if number - before > WORTH_A_SEEK:
                key = self._track.key(number)
                if key is not None and self._track.number(key) - before > WORTH_A_SEEK:
                    yield wanted[begin:at]
                    begin = at
        yield wanted[begin:]


class Decoding:
    """A file while it is decoded."""

    def __init__(self, container: InputContainer, stream: VideoStream, meter: Meter) -> None:
        self._container, self._stream, self._meter = container, stream, meter

    def seek(self, track: Track, number: int) -> tuple[int, bool]:
        """Go to the last keyframe at or before frame `number`, or stay, at first at the beginning, if there is none.

        Returns the frame that has to come first, or one before it, and whether there was a seek.
        """
        key = track.key(number)
        if key is None:
            return number, False
        with suppress(av.FFmpegError):  # not seekable: decoding goes on where it is, and times still tell
            self._container.seek(track.entry(key), stream=self._stream)
        return track.number(key), True

    def frames(self, needed: Callable[[Packet], bool] = lambda packet: True) -> Iterator[VideoFrame]:
        """Decoded frames, in the order they are shown: those of needed packets, and all that others refer to."""
        context, packets = self._stream.codec_context, packets_of(self._container, self._stream, self._meter)
        while True:
            with self._meter:
                packet = next(packets, None)
                if packet is None:
                    return
                context.skip_frame = "DEFAULT" if needed(packet) else "NONREF"
                frames = packet.decode()
            self._meter.decoded(len(frames))
            yield from frames


def until(last: int, frames: Numbered) -> Numbered:
    """The frames up to number `last`, or to the first beyond it."""
    for number, frame in frames:
        yield number, frame
        if number >= last:
            return


def ascending(indices: Sequence[int], info: VideoInfo) -> list[int]:
    """`indices` as a list, checked: strictly ascending, inside the video."""
    numbers = [int(number) for number in indices]
    if any(after <= before for before, after in pairwise(numbers)):
        raise ValueError("stream() takes ascending frame numbers without repeats; read_frames() takes any")
    if numbers and not 0 <= numbers[0] <= numbers[-1] < info.frames:
        raise IndexError(f"{info.source} has frames 0..{info.frames - 1}; got {numbers[0]}..{numbers[-1]}")
    return numbers
