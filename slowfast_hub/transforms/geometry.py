"""Sizes and places of pictures: resize, crop, pad, flip. Sizes and offsets as PySlowFast's transform.py has them.

Every function takes pictures as its last two sides: (..., H, W), float where it resizes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slowfast_hub.spec import CROPS, one_of


def resize(clip: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """Bilinear (..., H, W) float to `size` (height, width); the same tensor if it has that size."""
    if tuple(clip.shape[-2:]) == size:
        return clip
    flat = clip.reshape(1, -1, *clip.shape[-2:])
    flat = functional.interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    return flat.reshape(*clip.shape[:-2], *size)


WHOLE_SIDE = slice(None)


class Bilinear:
    """Pictures (H, W, 3) uint8, one after the other, to float32 (h, w, 3): the numbers of `resize` without antialias.

    On one thread, and of the rows alone that count. `resize` is for what is in memory: while FFmpeg decodes on all
    cores, the threads of torch wait for them at every step (docs/performance.md). Each answer overwrites the last one.

    down, right: of which rows and columns of the resized picture the answer consists; the others cost nothing.
    """

    def __init__(
        self, before: tuple[int, int], after: tuple[int, int], *, down: slice = WHOLE_SIDE, right: slice = WHOLE_SIDE
    ) -> None:
        height, width = before
        self._rows, self._down = taps(height, after[0], down)
        at, share = taps(width, after[1], right)
        rows, columns = len(self._down), len(share)
        self._after = rows, columns
        # Of three colours side by side.
        self._columns = [(side[:, None] * 3 + np.arange(3)).ravel() for side in at]
        self._right = share.repeat(3)
        self._floats = [np.empty((rows, 3 * width), np.float32) for _ in range(2)]
        self._answers = [np.empty((rows, 3 * columns), np.float32) for _ in range(2)]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        lines = picture.reshape(len(picture), -1)
        upper, lower = self._floats
        for floats, rows in zip(self._floats, self._rows):
            floats[...] = lines[rows]
        between(upper, lower, self._down[:, None])
        left, right = self._answers
        for answer, columns in zip(self._answers, self._columns):
            np.take(upper, columns, axis=1, out=answer, mode="clip")  # the other modes copy once more
        between(left, right, self._right)
        return left.reshape(*self._after, 3)


def taps(length: int, size: int, part: slice) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The two places of `length` that each of a part of `size` lies between, and how far: torch's rule, in float32."""
    scale = np.float64(np.float32(length) / np.float32(size))  # rounded there and at the end, as torch does
    places = np.maximum(scale * (np.arange(size)[part] + 0.5) - 0.5, 0).astype(np.float32)
    before = np.minimum(places.astype(np.int64), length - 1)
    return (before, np.minimum(before + 1, length - 1)), places - before.astype(np.float32)


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> None:
    """Move `first` by `share` of the way to `second`, in place; `second` is used up."""
    second -= first
    second *= share
    first += second


def short_side_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after the shorter side became `size`; the longer is rounded down (240x320 -> 256x341)."""
    if height < width:
        return size, math.floor(width / height * size)
    return math.floor(height / width * size), size


def resize_short(clip: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """(..., H, W) float with its shorter side at `size` px, proportions kept."""
    height, width = clip.shape[-2:]
    return resize(clip, short_side_size(height, width, size), antialias=antialias)


def long_side_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after the longer side became `size`; the shorter is rounded, and at least 1 px."""
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_long(clip: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """(..., H, W) float with its longer side at `size` px, proportions kept; the shorter is at least 1 px."""
    height, width = clip.shape[-2:]
    return resize(clip, long_side_size(height, width, size), antialias=antialias)


def crop_offset(length: int, crop: int, where: str) -> int:
    """First pixel of a crop of `crop` px out of `length`: at the left (or top), centre, or right (or bottom)."""
    one_of("crop", where, CROPS)
    if crop > length:
        raise ValueError(f"cannot crop {crop} px from {length} px: resize first")
    return {"left": 0, "centre": math.ceil((length - crop) / 2), "right": length - crop}[where]


def crop_square(clip: Tensor, size: int, where: str) -> Tensor:
    """(..., size, size) out of (..., H, W): `where` along the longer side, centred along the other."""
    height, width = clip.shape[-2:]
    top = crop_offset(height, size, where if height > width else "centre")
    left = crop_offset(width, size, "centre" if height > width else where)
    return clip[..., top : top + size, left : left + size]


def pad_offset(length: int, size: int) -> int:
    """First pixel of a picture of `length` px in the middle of `size` px."""
    return (size - length) // 2


def pad_square(clip: Tensor, size: int) -> Tensor:
    """(..., H, W) centred on (..., size, size) of zeros: the mean colour of a normalised clip."""
    height, width = clip.shape[-2:]
    if max(height, width) > size:
        raise ValueError(f"cannot pad {height}x{width} px to {size} px: resize first")
    top, left = pad_offset(height, size), pad_offset(width, size)
    return functional.pad(clip, (left, size - width - left, top, size - height - top))


def contain(clip: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """The whole picture of (..., H, W) float, longer side at `size` px, centred on (..., size, size) of zeros."""
    return pad_square(resize_long(clip, size, antialias=antialias), size)


def flip(clip: Tensor) -> Tensor:
    """(..., H, W) mirrored left to right."""
    return torch.flip(clip, (-1,))


def flip_boxes(boxes: Tensor, width: int) -> Tensor:
    """Boxes (N, 4) of a picture of `width` px in the mirrored one."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], dim=1)
