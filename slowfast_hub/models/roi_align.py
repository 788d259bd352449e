"""RoIAlign (He et al. 2017, Mask R-CNN, section 3): torchvision's, or in plain torch where that has no kernel.

In plain torch: the samples of a box lie on a grid, and bilinear interpolation is one sum over rows times one over
columns. So each bin is the picture between two small matrices: how much of each row, and of each column, its samples
see.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def roi_align(maps: Tensor, rois: Tensor, grid: int, scale: float, aligned: bool) -> Tensor:
    """Maps `(B, C, H, W)` and rois `(N, 5)`, in pixels of pictures 1 / scale as large, to `(N, C, grid, grid)`.

    A bin has a sample for each place of the map that it spans: torchvision's sampling_ratio 0, as all projects have it.
    Plain torch on MPS and while a graph is exported: there torchvision has no kernel.
    """
    if maps.device.type == "mps" or torch.compiler.is_exporting():
        return plain_roi_align(maps, rois, grid, scale, aligned)
    from torchvision import ops

    return ops.roi_align(maps, rois, grid, scale, 0, aligned)


def plain_roi_align(maps: Tensor, rois: Tensor, grid: int, scale: float, aligned: bool) -> Tensor:
    """The same in plain torch, equal to 1e-5.

    While a graph is exported the number of samples is that of a box as large as the map, whatever the boxes: those of
    larger ones are then fewer than torchvision's.
    """
    height, width = maps.shape[2:]
    begin = rois[:, 1:3] * scale - (0.5 if aligned else 0.0)
    size = (rois[:, 3:5] - rois[:, 1:3]) * scale
    size = size if aligned else size.clamp(min=1.0)
    down = shares(begin[:, 1], size[:, 1], grid, height)
    right = shares(begin[:, 0], size[:, 0], grid, width)
    places = maps.permute(0, 2, 3, 1)  # (B, H, W, C)
    if maps.shape[0] == 1:  # no copy of the map for each box
        rows = (down.flatten(0, 1) @ places[0].flatten(1)).view(rois.shape[0], grid, width, maps.shape[1])
    else:
        rows = torch.einsum("ngh,nhwc->ngwc", down, places[rois[:, 0].long()])
    return (right.unsqueeze(1) @ rows).permute(0, 3, 1, 2)


def shares(begin: Tensor, size: Tensor, grid: int, length: int) -> Tensor:
    """How much the bins of boxes that begin and extend so far see of each of `length` places: `(N, grid, length)`."""
    step = size / grid
    counts = step.ceil().clamp(min=0)  # samples in a bin, each way
    most = math.ceil(length / grid) + 1
    if not torch.compiler.is_exporting():
        most = max(1, int(counts.max())) if len(counts) else 1
    counts = counts.clamp(max=most)
    numbers, bins = torch.arange(most, device=begin.device), torch.arange(grid, device=begin.device)
    # Summed in torchvision's order: a sample on the very edge counts or does not.
    within = (numbers + 0.5) * step[:, None] / counts.clamp(min=1)[:, None]  # (N, most)
    at = (begin[:, None] + bins * step[:, None])[:, :, None] + within[:, None]  # (N, grid, most)
    counted = (numbers < counts[:, None])[:, None, :] & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    places = torch.arange(length, device=begin.device)
    seen = (1 - (at[..., None] - places).abs()).clamp(min=0) * counted[..., None]  # (N, grid, most, length)
    return seen.sum(2) / counts.clamp(min=1)[:, None, None]
