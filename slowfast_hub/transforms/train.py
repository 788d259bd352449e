"""Frames to a training clip: random size, place, side and light (paper, section 4: scale jitter, random crop, flip).

All draws come from one generator, so a seed gives the same clip again. Only the light is not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.eval import check_frames, normalise
from slowfast_hub.transforms.geometry import flip, resize


@dataclass(frozen=True)
class TrainTransform:
    """`(T, H, W, 3)` uint8 frames to a clip `(3, T, crop, crop)`, augmented alike in all its frames.

    jitter: px, range of the size the resized side is drawn from: the short side for spec.fit "cover", the long one for
    "contain". The picture is then cut or padded to `crop` at a random place.
    aspect: largest relative change of width against height. flip: probability of left for right.
    light: largest relative change of contrast, and in units of the full range of brightness.
    """

    spec: ClipSpec
    jitter: tuple[int, int]
    aspect: float = 0.0
    flip: float = 0.5
    light: float = 0.0

    def __call__(self, frames: Tensor, *, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        check_frames(frames)
        clip = normalise(frames.permute(3, 0, 1, 2).float(), self.spec)
        height, width = clip.shape[2:]
        side = min(height, width) if self.spec.fit == "cover" else max(height, width)
        scale, stretch = uniform(*self.jitter) / side, 1 + uniform(-self.aspect, self.aspect)
        size = (max(1, round(height * scale)), max(1, round(width * scale * stretch)))
        clip = resize(clip, size, antialias=self.spec.antialias)
        clip = place(clip, self.spec.crop, down=uniform(0, 1), right=uniform(0, 1))
        if uniform(0, 1) < self.flip:
            clip = flip(clip)
        contrast, brightness = 1 + uniform(-self.light, self.light), uniform(-self.light, self.light)
        clip = clip * contrast + brightness / self.spec.std[0]
        return clip


def place(clip: Tensor, crop: int, *, down: float, right: float) -> Tensor:
    """Cut or pad `(3, T, H, W)` to `(3, T, crop, crop)`; `down` and `right` in 0..1 say where."""
    top, left = round(down * (crop - clip.shape[2])), round(right * (crop - clip.shape[3]))
    bottom, far = crop - clip.shape[2] - top, crop - clip.shape[3] - left
    return functional.pad(clip, (left, far, top, bottom))  # a negative width cuts
