"""Dense views: the fully convolutional form that three crops of ten clips approximate (paper, section 4).

In space the network sees whole pictures at the record's short side. In time it sees a long stretch of the video in one
pass, and each window of T frames on the way gives an answer, so that what overlapping clips share is computed once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import WHOLE, Arch, ResNet3DArch, SlowFastArch, VideoInfo, ViewPlan
from slowfast_hub.video.sampling import clip_indices, clip_places, clip_span, places_of

# Clips' lengths that one pass may cover; a longer video takes several passes, and memory stays that of one.
# Five are 10.7 s of a 64-frame span: a Kinetics video is one pass.
PASS_CLIPS = 5
WINDOWS_PER_CLIP = 4  # answers per T frames


def time_step(arch: Arch) -> int:
    """The frames of a pass are a multiple of this, so that the maps of a window begin where its frames do."""
    if isinstance(arch, SlowFastArch):
        return arch.alpha
    if isinstance(arch, ResNet3DArch):
        return math.prod(arch.stem_strides) * arch.temporal_pool
    return 1


def plan_dense(info: VideoInfo, arch: Arch) -> ViewPlan:
    """Stretches `(passes, T')` that cover the whole video, with T' at least T and a multiple of `time_step`.

    A network with non-local blocks sees one clip at a time: its attention is over the clip that it was trained on, and
    grows with the square of a pass.
    """
    spec, step = arch.clip, time_step(arch)
    if spec.sampling == "segments":
        indices = clip_indices(info, spec, start=0).unsqueeze(0)
        return ViewPlan(indices=indices, spans_s=(info.span_s(indices[0]),), crops=WHOLE)
    places = places_of(info, spec)
    apart = clip_span(places, spec) / spec.frames  # places from picture to picture
    clips = 1 if any(arch.nonlocal_at) else PASS_CLIPS
    passes = max(1, math.ceil(places.frames / apart / (clips * spec.frames)))
    length = max(spec.frames, math.floor(places.frames / apart / passes / step) * step)
    starts = [places.frames / passes * i for i in range(passes)]
    if places.frames / passes <= clip_span(places, spec):
        rows = [clip_indices(info, spec, start=start) for start in starts]
    else:
        rows = [places.file_frames(clip_places(start, places.frames / passes, length)) for start in starts]
    return ViewPlan(indices=torch.stack(rows), spans_s=tuple(map(info.span_s, rows)), crops=WHOLE)


def dense_logits(model: VideoModel, clips: Tensor) -> Tensor:
    """Clips (B, 3, T', H, W) to the logits of their windows of T frames, (B * windows, num_classes)."""
    maps = model.forward_features(clips)
    length, frames, step = clips.shape[2], model.arch.clip.frames, time_step(model.arch)
    hop = max(step, frames // WINDOWS_PER_CLIP // step * step)
    logits = []
    for start in sorted({*range(0, length - frames + 1, hop), length - frames}):
        window = [m[:, :, start * m.shape[2] // length : -(-(start + frames) * m.shape[2] // length)] for m in maps]
        logits.append(model.forward_head(window))
    return torch.stack(logits, dim=1).flatten(0, 1)
