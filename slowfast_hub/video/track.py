"""Where the frames of a file are: one walk over its packets, before any clip is read.

Headers are not believed (Matroska says 0 frames, a damaged AVI too many): the packets are walked once, and their
presentation times say how many frames there are and which decoded picture is which.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import av
import numpy as np
import torch
from av import VideoFrame

from slowfast_hub.spec import Limits, VideoError, VideoInfo, VideoLimitError
from slowfast_hub.video.container import ADVICE, Encoded, Meter, opened, packets_of, reason, source_name
from slowfast_hub.video.picture import displayed_size
from slowfast_hub.video.sampling import TIME_ROUNDING_S

DEFAULT_FPS = 30.0  # of arrays and folders, which carry no rate, and of a lone frame
MAX_REORDER = 16  # frames that a decoder may hold back to show them in order (H.264, H.265)
# Codecs that mark the pictures which no other one refers to. Not HEVC: its mark holds within one temporal layer only.
LEAN_CODECS = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
MAX_PACKETS = 20_000_000  # four days at 60 fps; what a walk remembers of more would fill the memory


class OutOfOrder(Exception):
    """The times of the decoded frames do not follow those of the packets."""


@dataclass(frozen=True)
class Track:
    """Where the frames of a video stream are, in ticks of its time base; both empty where the times cannot be used."""

    times: array[int]  # presentation time of frame 0, 1, ..., ascending
    keys: array[int]  # those of them where decoding can begin, ascending
    entries: array[int]  # of each of those: the time to seek to
    lean: bool = False  # pictures that nobody asked for may be left out (LEAN_CODECS)
    tick_s: float = 0.0  # seconds of a tick; 0 where the file does not say

    def number(self, time: int | None) -> int:
        """The frame that is shown from `time` on; -1 if there is none."""
        at = -1 if time is None else bisect_left(self.times, time)
        return at if 0 <= at < len(self.times) and self.times[at] == time else -1

    def key(self, number: int) -> int | None:
        """The time of the last keyframe at or before frame `number`; None: there is none, begin at the beginning."""
        at = bisect_right(self.keys, self.times[number])
        return self.keys[at - 1] if at and self.keys[at - 1] > self.times[0] else None

    def entry(self, key: int) -> int:
        """The time that leads a seek to the keyframe of time `key`."""
        return self.entries[bisect_left(self.keys, key)]

    def numbered(
        self, frames: Iterator[VideoFrame], *, first: int, sought: bool, needed: bytearray | None = None
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with the numbers that their times give; OutOfOrder if they miss frame `first` or go back.

        sought: they come after a seek, `first` is the keyframe it leads to, and a frame that does not come is a fault.
        needed: for each frame of the video, whether it must come (else the decoder may have left it out).
        """
        before = None
        for frame in frames:
            ahead, number = [frame], self.number(frame.pts)
            if before is not None and number != before + 1:
                if needed is None and sought:
                    # MPEG-4's decoder leaves out interlaced B-pictures from a seek on, for good.
                    raise OutOfOrder
                if needed is None:
                    # A packet without a picture, or the first sign of times out of order? The next frames tell.
                    ahead += islice(frames, MAX_REORDER)
                elif number > before and needed.find(1, before + 1, number) >= 0:
                    raise OutOfOrder
            numbers = [number, *(self.number(later.pts) for later in ahead[1:])]
            fits = 0 <= number <= first if before is None else before < number
            if not fits or any(after <= earlier for earlier, after in pairwise(numbers)):
                raise OutOfOrder
            yield from zip(numbers, ahead)
            before = numbers[-1]
        if before is None:  # MPEG-TS: a seek close to the end can lead past it
            raise OutOfOrder


NO_TRACK = Track(array("q"), array("q"), array("q"))


def probe(video: Encoded, limits: Limits) -> tuple[VideoInfo, Track]:
    """What is known of a file, and where its frames are: one walk over the packets, with the first frame decoded.

    VideoError if no frame can be had, VideoLimitError for a file beyond `limits`.
    """
    source = source_name(video)
    meter = Meter(source, limits)
    first, times, keys, untimed = None, array("q"), bytearray(), 0
    try:
        with opened(video, limits) as (container, stream), meter:
            base, rate = stream.time_base, stream.average_rate
            # Seeks go by presentation time; in MPEG-TS by decoding time. In a program stream they lead to times that
            # belong to other pictures: it is read from the beginning.
            by_decoding, seekable = container.format.name == "mpegts", container.format.name != "mpeg"
            entries = array("q") if by_decoding else times
            for packet in packets_of(container, stream, meter):
                if first is None:
                    first = next(iter(packet.decode()), None)
                if packet.size and not packet.is_discard:
                    if packet.pts is None:
                        untimed += 1
                    else:
                        times.append(packet.pts)
                        keys.append(packet.is_keyframe and seekable)
                        if by_decoding:
                            entries.append(packet.pts if packet.dts is None else packet.dts)
                if len(times) + untimed > MAX_PACKETS:
                    raise VideoError(source, f"holds more than {MAX_PACKETS} pictures")
            # AVI has no presentation times: with frames out of order, what FFmpeg makes up for them is wrong.
            if container.format.name == "avi" and stream.codec_context.has_b_frames:
                untimed, times = untimed + len(times), array("q")
            codec = stream.codec_context.name
    except av.FFmpegError as error:
        raise VideoError(source, f"cannot be read as a video: {reason(error)}") from error
    if first is None:
        raise VideoError(source, f"no frame can be decoded; {ADVICE}")
    lean = codec in LEAN_CODECS and not first.interlaced_frame
    track = NO_TRACK if untimed else track_of(times, keys, entries, first.pts, lean=lean)
    track = replace(track, tick_s=float(base or 0))
    frames = len(track.times) or len(times) + untimed
    ticks = np.array(track.times or np.sort(times), dtype=np.float64) * float(base or 1)
    fps, steady = rate_of(ticks, frames, rate=float(rate or 0))
    # Of a steady file only what its rate does not say by itself: a frame that was dropped shifts those around it.
    strays = bool(track.times) and np.abs(ticks - ticks[0] - np.arange(frames) / fps).max() > TIME_ROUNDING_S
    width, height = displayed_size(first)
    info = VideoInfo(
        source,
        frames=frames,
        fps=fps,
        width=width,
        height=height,
        rotation=round(first.rotation / 90) * 90 % 360,
        start_s=float(ticks[0]) if len(ticks) and base else 0.0,
        times_s=None if steady else torch.from_numpy(ticks),
        strays_s=torch.from_numpy(ticks) if steady and strays else None,
    )
    check_duration(info, limits)
    return info, track


def check_duration(info: VideoInfo, limits: Limits) -> None:
    if info.duration_s > limits.duration_s:
        lasts = f"lasts {info.duration_s:.1f} s, longer than {limits.duration_s:g} s"
        raise VideoLimitError(info.source, "duration_s", lasts)


def track_of(times: array[int], keys: bytearray, entries: array[int], first: int | None, *, lean: bool) -> Track:
    """The track of packets in the order of the file (presentation time, is a keyframe, time to seek to).

    first: the time of the first frame that decodes. lean: the codec says what no other picture refers to.
    """
    ticks = np.array(times, dtype=np.int64)
    order = np.argsort(ticks, kind="stable")
    shown, is_key, entry = ticks[order], np.array(keys, dtype=bool)[order], np.array(entries, dtype=np.int64)[order]
    if first is None or not len(ticks) or (np.diff(shown) == 0).any() or first not in shown:
        return NO_TRACK
    # A recording cut out of a broadcast may begin with pictures whose references are gone.
    begin = int(np.searchsorted(shown, first))
    shown, is_key, entry = shown[begin:], is_key[begin:], entry[begin:]
    # Pictures can only be left out by their times, and those are known to be theirs where they show the reordering
    # that such pictures bring: ascending times in the order of the file may be the times of something else.
    lean = lean and bool((np.diff(ticks) < 0).any())
    times, keyframes, entries = (array("q", ticks.tobytes()) for ticks in (shown, shown[is_key], entry[is_key]))
    return Track(times, keyframes, entries, lean)


def rate_of(times_s: np.ndarray, count: int, *, rate: float) -> tuple[float, bool]:
    """Frames per second, and whether they are steady: all presentation times within half a frame of that rate's.

    The rate that the file declares goes first: 30000/1001 is more exact than what times rounded to a tick give. It
    also stands where times are missing or repeated (MPEG-PS stamps only some frames).
    """
    declared = rate if 0 < rate <= 1000 else None
    if count == 1 or len(np.unique(times_s)) < count:
        return declared or DEFAULT_FPS, True
    mean = (count - 1) / float(times_s[-1] - times_s[0])
    for fps in (declared or mean, mean):
        # Less than half, so that rounding finds the place of every frame.
        if np.abs((times_s - times_s[0]) * fps - np.arange(count)).max() < 0.5:
            return fps, True
    return mean, False
