"""Which clips a long video is seen in. Pure arithmetic on the places of its timeline (video/sampling.py): no pixels.

Windows begin at a steady pace, and a clip is centred in its window. A window with room for several clips may be seen in
all of them; neighbouring windows then share theirs, so that no clip is seen twice.

A clip begins no earlier than the video, and holds the last frame where it reaches past the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from slowfast_hub.spec import LARGEST, ClipSpec, VideoInfo, one_of, whole
from slowfast_hub.video.sampling import Places, clip_places, clip_span, places_of

Last = Literal["hold", "drop", "back"]

SLACK = 1e-6  # of a stride: what doubles may lose on the way to the end of a long film


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """The clip of each window, and when the windows begin and end."""

    indices: Tensor  # (N, T) long, frame numbers in the file; rows begin in ascending order
    spans_s: tuple[tuple[float, float], ...]  # N, in seconds of the file; none ends later than the video


@dataclass(frozen=True)
class Schedule:
    """Windows over a timeline of any length, in places of it."""

    window: float
    stride: float  # from the start of a window to the start of the next
    span: float  # of a clip
    clips_per_window: int = 1
    clips_per_stride: int = 1

    def filled(self) -> Schedule:
        """The same windows, each seen in as many clips as lie in it, at most their own length apart."""
        per_stride = max(1, math.ceil(self.stride / self.span - SLACK))
        per_window = math.floor((self.window - self.span) / (self.stride / per_stride) + SLACK) + 1
        if per_window <= 1:
            return self
        return replace(self, clips_per_window=per_window, clips_per_stride=per_stride)

    def fit(self, places: int) -> int:
        """How many windows end within the first `places` places."""
        return max(0, math.floor((places - self.window) / self.stride + SLACK) + 1)

    def count(self, places: int, last: Last = "hold") -> int:
        """How many windows a video of `places` places has; `last` as in `plan_windows`."""
        fit = self.fit(places)
        left = (places - self.window) / self.stride - (fit - 1)  # strides, behind the last that fits
        done = left <= SLACK or last == "drop" or (last == "hold" and places / self.stride - fit <= SLACK)
        return fit if fit and done else fit + 1

    def clips(self, window: int) -> range:
        """The numbers of the clips that a window is seen in."""
        first = window * self.clips_per_stride
        return range(first, first + self.clips_per_window)

    def clips_within(self, window: int, places: int) -> range:
        """Those of them that begin in a video of `places` places, and the first in any case."""
        clips = self.clips(window)
        return clips[: max(1, sum(self.clip_start(clip) < places for clip in clips))]

    def clip_start(self, clip: int) -> float:
        """The place where a clip begins."""
        hop = self.stride / self.clips_per_stride
        centred = (self.window - self.span - (self.clips_per_window - 1) * hop) / 2
        return max(0.0, clip * hop + centred)

    def seconds(self, window: int, fps: float) -> tuple[float, float]:
        """When a window begins and ends, in seconds after the first place, at `fps` places a second."""
        return window * self.stride / fps, (window * self.stride + self.window) / fps


def clip_schedule(spec: ClipSpec, line: Places, *, window_s: float | None, stride_s: float | None) -> Schedule:
    """The windows in which a network that sees clips of `spec` looks at a long video; only the rate of `line` counts.

    window_s: None for the length of one clip. stride_s: None for half a window. A network that sees whole videos
    (`sampling="segments"`) sees each window as if it were one, and has no length of its own. ValueError for lengths
    that are not positive, or missing.
    """
    for name, seconds in {"window_s": window_s, "stride_s": stride_s}.items():
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"{name} must be a positive number of seconds; got {seconds!r}")
    if spec.sampling == "segments" and window_s is None:
        raise ValueError("this network sees videos of any length whole: say with window_s how much of this one at once")
    window = clip_span(line, spec) if window_s is None else window_s * line.fps
    stride = window / 2 if stride_s is None else stride_s * line.fps
    if spec.sampling == "segments":
        return Schedule(window, stride, max(1.0, window - window / spec.frames + 1))  # to the middle of each part
    in_steps = float(spec.stride * (spec.frames - 1) + 1)  # of `stride` frames, as clip_indices counts without a clock
    return Schedule(window, stride, in_steps if spec.fps is None else clip_span(line, spec)).filled()


def plan_windows(
    info: VideoInfo, *, frames: int, clock: float | None, window: float, stride: float, last: Last
) -> WindowPlan:
    """The clip of each window, `frames` frames from end to end of it; lengths in ticks of `clock` (None: frames of the
    file).

    last: what happens where no whole window fits any more. "hold": one more, which holds the last frame; "back": one
    more, moved back to end with the video, as PyTorchVideo's UniformClipSampler does with backpad_last; "drop":
    nothing. A video shorter than a window has that one window, and holds its last frame.
    """
    whole("frames", frames, 1)
    one_of("last", last, ("hold", "drop", "back"))
    for name, ticks in {"window": window, "stride": stride}.items():
        if not 0 < ticks < math.inf:
            raise ValueError(f"{name} must be a positive length; got {ticks!r}")
    line = places_of(info, ClipSpec(fps=clock))
    # Multiplied in the order of sampling.clip_span, for the same last bit.
    places = [ticks if clock is None else ticks / clock * line.fps for ticks in (window, stride)]
    windows = Schedule(places[0], places[1], max(1.0, places[0]))
    count = window_count(windows, info, line, last)
    starts = [windows.clip_start(window) for window in range(count)]
    spans_s = window_spans(windows, info, line, count)
    if last == "back" and count > windows.fit(line.frames) > 0:
        begin = line.frames - windows.window
        starts[-1] = begin
        spans_s[-1] = (info.start_s + begin / line.fps, spans_s[-1][1])
    return WindowPlan(clip_rows(line, starts, windows.span, frames), tuple(spans_s))


def window_count(windows: Schedule, info: VideoInfo, line: Places, last: Last = "hold") -> int:
    """How many windows a video has; ValueError for more than anyone can want."""
    if line.frames / windows.stride > LARGEST:
        seconds = windows.stride / line.fps
        raise ValueError(f"{info.source}: a window every {seconds:g} s is more than {LARGEST}; choose a longer stride")
    return windows.count(line.frames, last)


def window_spans(windows: Schedule, info: VideoInfo, line: Places, count: int) -> list[tuple[float, float]]:
    """When each window begins and ends, in seconds of the file: one that does not fit ends with the video."""
    fit, end_s = windows.fit(line.frames), info.end_s(info.frames - 1)
    spans_s = [windows.seconds(window, line.fps) for window in range(count)]
    return [
        (info.start_s + begin, info.start_s + end if window < fit else end_s)
        for window, (begin, end) in enumerate(spans_s)
    ]


def clip_rows(line: Places, starts: Sequence[float], span: float, frames: int) -> Tensor:
    """Frame numbers in the file of the clips that begin at the places `starts`: (len(starts), frames) long."""
    rows = torch.empty(len(starts), frames, dtype=torch.long)
    for row, start in zip(rows, starts):  # one by one, as every clip is counted: a linspace rounds as a whole
        row.copy_(line.file_frames(clip_places(start, span, frames)))
    return rows
