"""Which frames make a clip. Arithmetic only: no files, no pixels.

A clip is `frames` pictures taken every `stride` ticks of a clock, so the same spec means the same duration in a
25 fps and a 60 fps file. Rule and rounding: PySlowFast decoder.py, `get_start_end_idx` and `temporal_sampling`,
with the evenly spaced starts of the paper's testing (section 4, 10 clips).

A start is a place on the timeline of the video: its frames at a steady rate. A file of steady rate is its own
timeline; one of varying rate is read off at the ticks of the clock, as a screen would show it.

A video shorter than the clip, or a clip that reaches past the end, holds the last frame.

Networks for Something-Something see the whole video instead (`sampling="segments"`): PySlowFast ssv2.py,
`get_seq_frames`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast_hub.spec import ClipSpec, VideoInfo, at_least

# Containers such as Matroska round each presentation time to a millisecond, the first one included.
TIME_ROUNDING_S = 1e-3


@dataclass(frozen=True)
class Places:
    """A video as pictures at a steady rate."""

    frames: int
    fps: float
    numbers: Tensor | None = None  # (frames,) long, file frame shown at each place; None: place and frame are one

    def file_frames(self, places: Tensor) -> Tensor:
        """Numbers in the file for places on the timeline: rounded down, held inside the video. Long, any shape."""
        places = places.clamp(0, self.frames - 1).long()
        return places if self.numbers is None else self.numbers[places]


def places_of(info: VideoInfo, spec: ClipSpec) -> Places:
    """The steady timeline on which `spec` counts: the file itself, or its reading on the clock if its rate varies."""
    if info.times_s is None:
        return Places(info.frames, info.fps)
    clock = spec.fps or info.fps
    ticks = max(1, int((info.duration_s + TIME_ROUNDING_S) * clock))
    shown_s = info.times_s[0] + torch.arange(ticks, dtype=torch.float64) / clock
    numbers = torch.searchsorted(info.times_s, shown_s + TIME_ROUNDING_S, right=True) - 1
    return Places(ticks, clock, numbers)


def clip_span(line: Places, spec: ClipSpec) -> float:
    """Places that a clip covers, its last tick included; at least 1."""
    return max(1.0, spec.stride * spec.frames / (spec.fps or line.fps) * line.fps)


def clip_indices(info: VideoInfo, spec: ClipSpec, *, start: float) -> Tensor:
    """Numbers in the file of the frames of the clip that begins at place `start`: (T,) long, never descending."""
    line = places_of(info, spec)
    if spec.sampling == "segments":
        return line.file_frames(segment_places(line, spec))
    if spec.fps is None:
        return line.file_frames(start + spec.stride * torch.arange(spec.frames))
    # linspace to the last place of the span, not steps of `stride`: the published weights were trained on 0 2 .. 60 63.
    return line.file_frames(torch.linspace(start, start + clip_span(line, spec) - 1, spec.frames))


def clip_places(start: float, span: float, frames: int) -> Tensor:
    """The places of `frames` pictures spread over `span` places from `start`, as in `clip_indices`: (frames,) float64.

    In double precision, for starts that are hours away; a millionth of a place more, so that rounding errors of sums do
    not lead to the frame before.
    """
    return torch.linspace(start, start + max(span, 1.0) - 1, frames, dtype=torch.float64) + 1e-6


def centred_indices(info: VideoInfo, spec: ClipSpec, at_s: float) -> Tensor:
    """Numbers in the file of the frames around the one shown at `at_s`, in seconds of the file: (T,) long.

    `stride` ticks apart, with that frame at place T / 2, and held at the ends of the video: PySlowFast ava_helper.py
    and utils.py, `get_sequence`. ValueError outside the video, and for a network that sees whole videos.
    """
    if spec.sampling == "segments":
        raise ValueError("sampling='segments' sees the whole video; a clip around a moment needs sampling='stride'")
    begin, end = info.start_s, info.start_s + info.duration_s
    if not begin <= at_s < end:
        raise ValueError(
            f"{info.source}: at_s must be in [{begin:.3f}, {end:.3f}), the time of the video; got {at_s!r}"
        )
    line = places_of(info, spec)
    step = spec.stride if spec.fps is None else spec.stride / spec.fps * line.fps
    # A whole place, so that the frame itself is seen.
    key = min(math.floor((at_s - begin + TIME_ROUNDING_S) * line.fps), line.frames - 1)
    steps = torch.arange(spec.frames, dtype=torch.float64) - spec.frames // 2
    return line.file_frames(key + steps * step + 1e-6)


def segment_places(line: Places, spec: ClipSpec, generator: torch.Generator | None = None) -> Tensor:
    """The middle of each of `spec.frames` equal parts of the video, counted in ticks of the clock: (T,).

    With a generator a tick drawn evenly from each part instead.
    """
    rate = spec.fps or line.fps
    ticks = max(1, int(line.frames * rate / line.fps + TIME_ROUNDING_S))
    edges = (torch.arange(spec.frames + 1, dtype=torch.float64) * (ticks - 1) / spec.frames).round()  # half to even
    first, last = edges[:-1], edges[1:]
    if generator is None:
        return (first + last).div(2, rounding_mode="floor") * (line.fps / rate)
    drawn = torch.rand(spec.frames, generator=generator, dtype=torch.float64)
    return (first + drawn * (last - first + 1)).floor() * (line.fps / rate)


def room(info: VideoInfo, spec: ClipSpec) -> float:
    """The last place where a whole clip still fits; 0 for a video no longer than the clip, or seen whole."""
    if spec.sampling == "segments":
        return 0.0
    line = places_of(info, spec)
    return max(0.0, line.frames - clip_span(line, spec))


def uniform_starts(info: VideoInfo, spec: ClipSpec, num_clips: int) -> list[float]:
    """Places of `num_clips` evenly spaced clips: the centre for one, else `room * i / num_clips` (paper views)."""
    at_least("num_clips", num_clips, 1)
    last = room(info, spec)
    return [last / 2] if num_clips == 1 else [last * i / num_clips for i in range(num_clips)]


def random_start(info: VideoInfo, spec: ClipSpec, generator: torch.Generator | None = None) -> float:
    """A place drawn evenly from all where a whole clip fits."""
    return torch.rand((), generator=generator, dtype=torch.float64).item() * room(info, spec)


def random_indices(info: VideoInfo, spec: ClipSpec, generator: torch.Generator) -> Tensor:
    """Numbers in the file of the frames of a training clip: (T,) long, never descending.

    From a random start, or of a video seen whole a random frame of each part (PySlowFast, ssv2.py).
    """
    if spec.sampling == "segments":
        line = places_of(info, spec)
        return line.file_frames(segment_places(line, spec, generator))
    return clip_indices(info, spec, start=random_start(info, spec, generator=generator))


def start_at(info: VideoInfo, spec: ClipSpec, start_s: float) -> float:
    """The place `start_s` seconds after the first frame; ValueError outside the video."""
    if spec.sampling == "segments":
        raise ValueError(f"sampling='segments' sees the whole video and starts nowhere else; got start_s={start_s!r}")
    if not 0 <= start_s < info.duration_s:
        raise ValueError(f"{info.source}: start_s must be in [0, {info.duration_s:.3f}), its length; got {start_s!r}")
    return start_s * places_of(info, spec).fps
