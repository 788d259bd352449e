"""A network that is quick and not constant, and frames for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from slowfast_hub.models import VideoModel, build
from slowfast_hub.spec import ClipSpec, SlowFastArch

# A clip of 8 pictures in 32 ticks of the 30 fps clock.
TINY = SlowFastArch(
    ClipSpec(frames=8, stride=4, short_side=16, crop=16), depth=14, width=8, beta_inv=4, alpha=4, num_classes=5
)


def tiny_network(**changes: object) -> VideoModel:
    """The same weights every time, and a classifier that tells clips apart."""
    torch.manual_seed(0)
    model = build(replace(TINY, **changes)).eval()
    torch.nn.init.normal_(model.get_classifier().weight)
    return model


def noise(frames: int, height: int = 18, width: int = 24) -> np.ndarray:
    """(T, H, W, 3) uint8, the same every time."""
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
