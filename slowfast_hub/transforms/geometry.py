"""Sizes and places of pictures: resize, crop, pad, flip. Sizes and offsets as PySlowFast's transform.py has them.

Every function takes pictures as its last two sides: (..., H, W), float where it resizes.
"""

from __future__ import annotations

import math

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


def pad_square(clip: Tensor, size: int) -> Tensor:
    """(..., H, W) centred on (..., size, size) of zeros: the mean colour of a normalised clip."""
    height, width = clip.shape[-2:]
    if max(height, width) > size:
        raise ValueError(f"cannot pad {height}x{width} px to {size} px: resize first")
    top, left = (size - height) // 2, (size - width) // 2
    return functional.pad(clip, (left, size - width - left, top, size - height - top))


def contain(clip: Tensor, size: int, *, antialias: bool = False) -> Tensor:
    """The whole picture of (..., H, W) float, longer side at `size` px, centred on (..., size, size) of zeros."""
    return pad_square(resize_long(clip, size, antialias=antialias), size)


def flip(clip: Tensor) -> Tensor:
    """(..., H, W) mirrored left to right."""
    return torch.flip(clip, (-1,))
