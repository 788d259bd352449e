"""Which views of a video are tested (paper, section 4: 10 clips x 3 crops).

One word everywhere, in Python, on the command line and in evaluation: `centre` is one clip from the middle and the
centre crop, `paper` is 10 clips and 3 crops, `dense` is whole pictures in one pass (dense.py), and any pair
`(clips, crops)` or `"5x1"` is itself.
"""

from __future__ import annotations

import re

import torch

from slowfast_hub.predict.dense import plan_dense
from slowfast_hub.spec import CROPS, Arch, VideoInfo, ViewPlan, Views
from slowfast_hub.video.sampling import clip_indices, uniform_starts

NAMED = {"centre": (1, 1), "paper": (10, 3)}
CROPS_OF = {1: ("centre",), 3: CROPS}


def parse_views(views: Views) -> tuple[int, int] | None:
    """`(clips, crops)` of a word, a pair or a string like "10x3", None for "dense"; ValueError for anything else."""
    if views == "dense":
        return None
    if isinstance(views, str):
        product = re.fullmatch(r"(\d{1,4})x(\d{1,2})", views)
        pair = (int(product[1]), int(product[2])) if product else NAMED.get(views, (0, 0))
    else:
        pair = views if isinstance(views, tuple | list) else (0, 0)
    if len(pair) != 2 or not all(isinstance(count, int) for count in pair) or pair[0] < 1 or pair[1] not in CROPS_OF:
        raise ValueError(
            f"views is 'centre', 'paper', 'dense', (clips, crops) or 'CLIPSxCROPS' with 1 or 3 crops; got {views!r}"
        )
    return pair


def plan_views(info: VideoInfo, arch: Arch, views: Views) -> ViewPlan:
    """Frames and crops of every view: clip i of n starts at (frames - span) * i / n, a single one in the middle.

    A clip with `sampling="segments"` is the whole video: there is one, whatever `views` says.
    """
    counts = parse_views(views)
    if counts is None:
        return plan_dense(info, arch)
    (clips, crops), spec = counts, arch.clip
    if spec.sampling == "segments":
        clips = 1
    indices = torch.stack([clip_indices(info, spec, start=start) for start in uniform_starts(info, spec, clips)])
    return ViewPlan(indices=indices, spans_s=tuple(info.span_s(row) for row in indices), crops=CROPS_OF[crops])
