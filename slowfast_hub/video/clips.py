"""A clip in one call: probe, choose frames, read them. For data sets and for looking at what a model sees."""

from __future__ import annotations

from typing import Literal

import torch

from slowfast_hub.spec import Clip, ClipSpec, Limits, VideoInfo, one_of
from slowfast_hub.video.reader import Video, open_video, read_frames
from slowfast_hub.video.sampling import clip_indices, random_start, start_at, uniform_starts

Start = float | Literal["centre", "random"]


def sample_clip(
    video: Video,
    spec: ClipSpec,
    *,
    start_s: Start = "centre",
    generator: torch.Generator | None = None,
    fps: float | None = None,
    limits: Limits | None = None,
) -> Clip:
    """One clip of `video`: its frames (T, H, W, 3) uint8 RGB, ready for a transform, and when they are shown.

    `start_s`: "centre", "random" (drawn from `generator`), or seconds after the first frame. A video shorter than
    the clip holds its last frame. `video`, `fps` and `limits`: as in `open_video`. Raises VideoError if frames cannot
    be read, ValueError for a start outside the video.
    """
    if generator is not None and start_s != "random":
        raise ValueError(f"generator belongs to start_s='random'; start_s is {start_s!r}")
    reader = open_video(video, fps=fps, limits=limits)
    info = reader.info
    indices = clip_indices(info, spec, start=clip_start(info, spec, start_s, generator))
    times_s = torch.tensor([info.time_s(number) for number in indices.tolist()], dtype=torch.float64)
    return Clip(read_frames(reader, indices), indices, times_s, *info.span_s(indices))


def clip_start(info: VideoInfo, spec: ClipSpec, start_s: Start, generator: torch.Generator | None) -> float:
    """The place on the timeline that `start_s` names."""
    if not isinstance(start_s, str):
        return start_at(info, spec, start_s)
    one_of("start_s", start_s, ("centre", "random"))
    return random_start(info, spec, generator) if start_s == "random" else uniform_starts(info, spec, 1)[0]
