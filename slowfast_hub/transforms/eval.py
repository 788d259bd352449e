"""From frames to the clip that a file of weights expects: `ClipSpec` is the only argument.

Order and values as in PySlowFast's testing: 0..1, normalise, short side by bilinear resizing of floats, then a crop.
Normalising comes after the resize here: both are linear, so the result is the same and fewer pixels are touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.geometry import (
    Bilinear,
    crop_square,
    long_side_size,
    pad_offset,
    pad_square,
    resize,
    short_side_size,
)

MOST_FITTED = 4_000_000  # px of a resized picture: a strip of 256 x 15 625 passes


@dataclass(frozen=True)
class EvalTransform:
    """Frames to a clip, the same for the same input."""

    spec: ClipSpec

    def __call__(self, frames: Tensor, *, crop: str = "centre") -> Tensor:
        """(T, H, W, 3) uint8 RGB to a normalised float32 clip (3, T, S, S), S = spec.crop; `crop` is one of CROPS."""
        return self.cropped(self.resized(frames), crop=crop)

    def resized(self, frames: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB to a normalised float32 (3, T, H', W'): what all crops of one clip share.

        TypeError for frames that are not uint8, ValueError for another layout.
        """
        check_frames(frames)
        fit = Fitter(self)
        return as_clip([fit(frame) for frame in frames])

    def fitted_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture has before it is cropped or padded.

        ValueError for a strip so long that it would take gigabytes once its short side is what the network wants.
        """
        if self.spec.fit == "contain":
            return long_side_size(height, width, self.spec.crop)
        rows, columns = short_side_size(height, width, self.spec.short_side)
        if rows * columns > MOST_FITTED:
            raise ValueError(f"pictures of {width} x {height} px would become {columns} x {rows}; crop them first")
        return rows, columns

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Boxes (N, 4) in px of a picture of this size to px of the clip that `cropped(..., crop="whole")` gives."""
        rows, columns = self.fitted_size(height, width)
        left = top = 0
        if self.spec.fit == "contain":
            left, top = pad_offset(columns, self.spec.crop), pad_offset(rows, self.spec.crop)
        scale = boxes.new_tensor([columns / width, rows / height, columns / width, rows / height])
        return boxes * scale + boxes.new_tensor([left, top, left, top])

    def cropped(self, clip: Tensor, *, crop: str = "centre") -> Tensor:
        """(3, T, S, S) out of what `resized` gives; with the crop "whole" (3, T, H', W'), nothing cut off.

        For fit "contain" every crop is the whole picture, padded to a square.
        """
        if self.spec.fit == "contain":
            return pad_square(clip, self.spec.crop)
        if crop == "whole":
            return clip
        return crop_square(clip, self.spec.crop, crop)


class Fitter:
    """Frames (H, W, 3) uint8 RGB, one after the other, to resized, normalised pictures (3, H', W') float32.

    What all crops, and all clips, that share a frame have in common. Frame by frame, as the floats of a whole clip at
    the size of the file would take a gigabyte; through buffers of its own, as freed pieces of such a size between
    pictures that are kept would leave the memory full of holes.
    """

    def __init__(self, transform: EvalTransform) -> None:
        self._transform = transform
        self._resize: Bilinear | None = None
        self._before: tuple[int, ...] = ()

    def __call__(self, frame: Tensor) -> Tensor:
        spec, before = self._transform.spec, (frame.shape[0], frame.shape[1])
        size = self._transform.fitted_size(*before)
        if spec.antialias or frame.device.type != "cpu":
            picture = resize(frame.permute(2, 0, 1).float(), size, antialias=spec.antialias)
            return normalise(picture.unsqueeze(1), spec).squeeze(1)
        pixels = frame.numpy()
        if size == before:
            pixels = pixels.astype(np.float32)
        else:
            if self._resize is None or self._before != before:
                self._resize, self._before = Bilinear(before, size), before
            pixels = self._resize(pixels)
        pixels = pixels / np.float32(255)
        # One number for all colours is a fast loop, three are not.
        pixels -= np.float32(spec.mean[0]) if len({*spec.mean}) == 1 else np.array(spec.mean, np.float32)
        pixels /= np.float32(spec.std[0]) if len({*spec.std}) == 1 else np.array(spec.std, np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def as_clip(pictures: Sequence[Tensor]) -> Tensor:
    """T pictures (3, H, W), as `Fitter` makes them, to one clip (3, T, H, W).

    The colours of a pixel lie side by side in it, as they do in the pictures and as the networks like them.
    """
    rows = [picture.permute(1, 2, 0) for picture in pictures]
    if rows[0].device.type != "cpu":
        return torch.stack(rows).permute(3, 0, 1, 2)
    return torch.from_numpy(np.stack([row.numpy() for row in rows])).permute(3, 0, 1, 2)  # on one thread, as `Bilinear`


def normalise(clip: Tensor, spec: ClipSpec) -> Tensor:
    """(3, T, H, W) float 0..255 to the mean and spread that `spec` names, in place."""
    clip.div_(255)
    if len({*spec.mean}) == len({*spec.std}) == 1:  # one number for all colours is a fast loop
        return clip.sub_(spec.mean[0]).div_(spec.std[0])
    mean, std = (clip.new_tensor(value).view(3, 1, 1, 1) for value in (spec.mean, spec.std))
    return clip.sub_(mean).div_(std)


def check_frames(frames: Tensor) -> None:
    if not isinstance(frames, Tensor):
        raise TypeError(f"frames must be a torch tensor, as torch.from_numpy makes one; got {type(frames).__name__}")
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8 0..255, as decoded; got {frames.dtype}")
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be (T, H, W, 3) RGB with no empty side; got {tuple(frames.shape)}")
