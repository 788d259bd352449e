"""Convolutions of kernel 3 with half of the multiplications: F(4, 3) of Winograd 1980 along one axis.

Four neighbouring outputs are polynomial products: values of input and kernel at six points are multiplied, and the outputs
interpolated from them (Lavin and Gray, arXiv:1509.09308). Along one axis the two linear maps are small matrices that mix
whole rows, so each is one matrix product; what they cost grows with the channels, what they save with their square.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from slowfast_hub.predict.onednn import FusedConv

KERNEL = 3
OUTPUTS = 4  # of one tile
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0)  # and infinity: small whole numbers keep the rounding small
TERMS = len(POINTS) + 1
ONE = POINTS.index(1.0)  # the value at 1 counts once in every output
LEAST_CHANNELS = 128  # of input and output; below, the maps cost more than they save (docs/performance.md)


def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`outputs (4, 6)`, `kernel (6, 3)` and `inputs (6, 6)`: y = outputs @ ((kernel @ g) * (inputs @ d)), float64.

    Evaluation of the kernel's polynomial at the points, Lagrange's basis for the inputs (Toom and Cook, transposed).
    """
    points, finite = np.array(POINTS), len(POINTS)
    others = [np.delete(points, i) for i in range(finite)]
    outputs, kernel, inputs = np.zeros((OUTPUTS, TERMS)), np.zeros((TERMS, KERNEL)), np.zeros((TERMS, TERMS))
    outputs[:, :finite] = np.vander(points, OUTPUTS, increasing=True).T
    outputs[-1, -1] = 1
    scale = np.array([np.prod(points[i] - rest) for i, rest in enumerate(others)])
    kernel[:finite] = np.vander(points, KERNEL, increasing=True) / scale[:, None]
    kernel[-1, -1] = 1
    for i, rest in enumerate(others):
        inputs[i, :finite] = np.poly(rest)[::-1]
    inputs[-1] = np.poly(points)[::-1]
    return outputs, kernel, inputs


@lru_cache(maxsize=64)
def maps(length: int) -> tuple[Tensor, Tensor]:
    """Of a whole axis, padded by one on both sides: `to_terms (6 n, length)` and `to_outputs (length, 6 n)`, n tiles."""
    outputs, _, inputs = matrices()
    tiles = -(-length // OUTPUTS)
    to_terms, to_outputs = np.zeros((TERMS, tiles, TERMS + tiles * OUTPUTS)), np.zeros((tiles, OUTPUTS, TERMS, tiles))
    for tile in range(tiles):
        begin = tile * OUTPUTS  # of the padded axis
        to_terms[:, tile, begin : begin + TERMS] = inputs
        to_outputs[tile, :, :, tile] = outputs
    to_terms = to_terms[:, :, 1 : 1 + length].reshape(TERMS * tiles, length)
    to_outputs = to_outputs.reshape(tiles * OUTPUTS, TERMS * tiles)[:length]
    return tuple(torch.from_numpy(np.ascontiguousarray(m, np.float32)) for m in (to_terms, to_outputs))  # type: ignore


@torch.compiler.assume_constant_result
def constant_maps(length: int) -> tuple[Tensor, Tensor]:
    return maps(length)


class WinogradConv(nn.Module):
    """Kernel `(3, k)` on images `(N, C, L, P)`, channels last: stride 1, padded to keep the size, then bias and ReLU."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight: `(O, C, 3, k)`, k odd."""
        super().__init__()
        kernel = torch.from_numpy(matrices()[1])
        weights = torch.einsum("gk,oikp->goip", kernel, weight.double()).unsqueeze(3).to(weight.dtype)
        geometry = {"stride": (1, 1), "padding": (0, weight.shape[3] // 2), "dilation": (1, 1)}
        self.terms = nn.ModuleList(
            FusedConv(one, bias if term == ONE else None, **geometry, relu=False, cpu=True)  # type: ignore[arg-type]
            for term, one in enumerate(weights)
        )

    def forward(self, images: Tensor) -> Tensor:
        rows = images.permute(0, 2, 3, 1)  # (N, L, P, C)
        to_terms, to_outputs = constant_maps(rows.shape[1])
        values = (to_terms @ rows.flatten(2)).view(len(rows), TERMS, -1, *rows.shape[2:])
        products = [conv(values[:, term].permute(0, 3, 1, 2)) for term, conv in enumerate(self.terms)]
        stacked = torch.stack([product.permute(0, 2, 3, 1) for product in products], dim=1)  # (N, 6, n, P, O)
        outputs = (to_outputs @ stacked.flatten(1, 2).flatten(2)).relu_()
        return outputs.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)
