"""Convolutions of kernel 3 with half of the multiplications: F(4, 3) of Winograd 1980 along one axis.

Four neighbouring outputs are coefficients of a product of polynomials: input and kernel are evaluated at six points,
multiplied there, and the outputs interpolated (Lavin and Gray, arXiv:1509.09308). Along one axis both maps are small
matrices that mix whole rows, a matrix product each. Their cost grows with the channels, what they save with the square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from slowfast_hub.predict.onednn import FusedConv, Target

KERNEL = 3
OUTPUTS = 4  # of one tile
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0)  # and infinity: small whole numbers keep the rounding small
TERMS = len(POINTS) + 1
ONE = POINTS.index(1.0)  # the product at 1 counts once in every output
LEAST_CHANNELS = 128  # of input and output; below, the maps cost more than they save (docs/performance.md)


def polynomial(roots: list[float]) -> list[float]:
    """Coefficients of the product of all (x - root), the lowest power first."""
    made = [1.0]
    for root in roots:
        made = [up - root * same for up, same in zip([0.0, *made], [*made, 0.0])]
    return made


def matrices() -> tuple[Tensor, Tensor, Tensor]:
    """`outputs (4, 6)`, `kernel (6, 3)`, `inputs (6, 6)`, float64: y = outputs @ ((kernel @ g) * (inputs @ d)).

    For y[i] = sum over k of d[i + k] g[k], six inputs d and three weights g.
    """
    float64 = partial(torch.tensor, dtype=torch.float64, device="cpu")
    zeros = partial(torch.zeros, dtype=torch.float64, device="cpu")
    outputs, kernel, inputs = zeros(OUTPUTS, TERMS), zeros(TERMS, KERNEL), zeros(TERMS, TERMS)
    for term, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        scale = math.prod(point - other for other in others)
        outputs[:, term] = float64([point**power for power in range(OUTPUTS)])
        kernel[term] = float64([point**power / scale for power in range(KERNEL)])
        inputs[term, : len(POINTS)] = float64(polynomial(others))
    outputs[-1, -1] = kernel[-1, -1] = 1
    inputs[-1] = float64(polynomial(list(POINTS)))
    return outputs, kernel, inputs


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for all, whatever the mode is now
def maps(length: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Of an axis padded to keep its size, in n tiles: `to_terms (6 n, length)` and `to_outputs (length, 6 n)`.

    With a dilation every d-th place is an axis for itself.
    """
    zeros = partial(torch.zeros, dtype=torch.float32, device="cpu")  # kept for all, whatever the defaults are now
    parts = [tiled(len(range(first, length, dilation))) for first in range(min(dilation, length))]
    tiles = sum(to_terms.shape[1] for to_terms, _ in parts)
    all_terms, all_outputs, tile = zeros(TERMS, tiles, length), zeros(length, TERMS, tiles), 0
    for first, (to_terms, to_outputs) in enumerate(parts):
        there = slice(tile, tile + to_terms.shape[1])
        all_terms[:, there, first::dilation], all_outputs[first::dilation, :, there] = to_terms, to_outputs
        tile = there.stop
    return all_terms.flatten(0, 1), all_outputs.flatten(1)


def tiled(length: int) -> tuple[Tensor, Tensor]:
    """Of an axis padded by one on both sides, in n tiles: `(6, n, length)` and `(length, 6, n)`."""
    outputs, _, inputs = matrices()
    tiles = math.ceil(length / OUTPUTS)
    zeros = partial(torch.zeros, dtype=torch.float32, device="cpu")
    to_terms, to_outputs = zeros(TERMS, tiles, TERMS + tiles * OUTPUTS), zeros(tiles, OUTPUTS, TERMS, tiles)
    for tile in range(tiles):
        begin = tile * OUTPUTS  # of the padded axis
        to_terms[:, tile, begin : begin + TERMS] = inputs
        to_outputs[tile, :, :, tile] = outputs
    return to_terms[:, :, 1 : 1 + length], to_outputs.flatten(0, 1)[:length]


class WinogradConv(nn.Module):
    """Kernel `(3, k)` on images `(N, C, L, P)`, channels last, padded to keep the size; bias and ReLU after it.

    Dilated in a detector's res5 (paper, section 5).
    """

    def __init__(self, weight: Tensor, bias: Tensor, target: Target, *, dilation: Sequence[int] = (1, 1)) -> None:
        """weight: `(O, C, 3, k)`, k odd."""
        super().__init__()
        self.dilation = dilation[0]
        weights = torch.einsum("gk,oikp->goip", matrices()[1].to(weight.device), weight.double()).unsqueeze(3)

        def conv(kernel: Tensor, bias: Tensor | None, *, relu: bool) -> FusedConv:
            padding = [size // 2 * step for size, step in zip(kernel.shape[2:], dilation)]
            return FusedConv(kernel, bias, stride=(1, 1), padding=padding, dilation=dilation, relu=relu, target=target)

        self.terms = nn.ModuleList(
            conv(kernel.to(weight.dtype), bias if term == ONE else None, relu=False)
            for term, kernel in enumerate(weights)
        )
        self.direct = conv(weight, bias, relu=True)  # for axes of one or two places, where nothing is saved
        self._maps: tuple[int, Tensor, Tensor] | None = None  # of the last length, at hand for torch.compile

    def forward(self, images: Tensor) -> Tensor:
        rows = images.permute(0, 2, 3, 1)  # (N, L, P, C)
        kept = self._maps  # read and written at once: threads may share a network
        if kept is None or kept[0] != rows.shape[1]:
            kept = self._maps = rows.shape[1], *maps(rows.shape[1], self.dilation)
        length, to_terms, to_outputs = kept
        if len(to_terms) >= KERNEL * length:
            return self.direct(images)
        values = to_terms @ rows.flatten(2)
        values = values.unflatten(1, (TERMS, len(to_terms) // TERMS)).unflatten(3, rows.shape[2:])
        products = [conv(values[:, term].permute(0, 3, 1, 2)) for term, conv in enumerate(self.terms)]
        stacked = torch.stack([product.permute(0, 2, 3, 1) for product in products], dim=1)  # (N, 6, n, P, O)
        outputs = (to_outputs @ stacked.flatten(1, 2).flatten(2)).relu_()
        return outputs.unflatten(2, stacked.shape[3:]).permute(0, 3, 1, 2)
