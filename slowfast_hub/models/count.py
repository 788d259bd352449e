"""The size of a network, counted on the built modules without memory or time (meta device)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from slowfast_hub.models import build
from slowfast_hub.spec import Arch


@dataclass(frozen=True)
class Size:
    """Parameters, batch norm included, and multiply-adds of one view of the network's own clip."""

    parameters: int
    multiply_adds: int  # of convolutions, linear layers and matrix products, as the paper counts


def count(arch: Arch) -> Size:
    """Build `arch` and run one clip of its own length and crop through it; a detector's with one box."""
    from torch.utils.flop_counter import FlopCounterMode

    clip = arch.clip
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = build(arch).eval()
        clips = torch.empty(1, arch.in_chans, clip.frames, clip.crop, clip.crop)
        maps = model.forward_features(clips)
        head = model.num_features * model.num_classes  # of one box; a classifier's is counted as it runs
        if arch.roi is None:
            model.forward_head(maps)
            head = 0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Size(parameters, counter.get_total_flops() // 2 + head)  # a multiply-add is two FLOPs there
