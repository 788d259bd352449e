"""What each pathway sees of a clip: which frames, and in which form (paper, sections 3.1, 3.2 and Table 5c)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import SlowRule

# ITU-R BT.601 luma; the clip is normalised alike in all channels, so weights that sum to 1 keep its scale.
LUMA = (0.299, 0.587, 0.114)

FAST_CHANNELS = {"gray": 1, "diff": 1, "flow": 2}  # rgb and half: the channels of the clip


def slow_indices(frames: int, *, alpha: int, rule: SlowRule) -> Tensor:
    """Which of `frames` the Slow pathway sees: `(frames // alpha,)` long.

    `linspace` (PySlowFast, PyTorchVideo) reaches the last frame: 32 frames at alpha 8 give 0 10 20 31.
    `strided` (MMAction2, GluonCV) takes every alpha-th: 0 8 16 24. The rule belongs to the weights.
    """
    if rule == "strided":
        return torch.arange(0, frames, alpha)
    # Integers, as the cut must not depend on the rounding of a float linspace: floor(i * (T - 1) / (n - 1)).
    count = frames // alpha
    return torch.arange(count) * (frames - 1) // max(count - 1, 1)


def as_given(clips: Tensor) -> Tensor:
    """The clip itself."""
    return clips


def gray(clips: Tensor) -> Tensor:
    """`(B, 3, T, H, W)` to its luma `(B, 1, T, H, W)`."""
    weights = clips.new_tensor(LUMA).view(1, 3, 1, 1, 1)
    return (clips * weights).sum(1, keepdim=True)


def difference(clips: Tensor) -> Tensor:
    """Change of luma since the frame before, `(B, 1, T, H, W)`; 0 at the first frame, which has none before it."""
    luma = gray(clips)
    return torch.cat([torch.zeros_like(luma[:, :, :1]), luma[:, :, 1:] - luma[:, :, :-1]], dim=2)


def half(clips: Tensor) -> Tensor:
    """Half the height and width, by the mean of 2x2 pixels."""
    return functional.avg_pool3d(clips, (1, 2, 2))


FAST_INPUTS = {"rgb": as_given, "gray": gray, "diff": difference, "half": half, "flow": as_given}
