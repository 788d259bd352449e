"""Non-local block (Wang et al. 2018), as PySlowFast builds it (nonlocal_helper.py).

The input is max-pooled before phi and g; theta, phi, g and out have biases; batch norm follows out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class NonLocal(nn.Module):
    """x + BN(out(attention(theta(x), phi(pool(x))) g(pool(x)))): `(B, C, T, H, W)` in and out.

    `dot_product` divides by the number of positions; `softmax` scales by the root of the inner channels.
    """

    def __init__(self, channels: int, *, kind: str, pool: tuple[int, int, int]) -> None:
        super().__init__()
        inner = channels // 2
        self.kind = kind
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        # A map smaller than the pool is pooled whole.
        keys = functional.max_pool3d(x, [min(size, length) for size, length in zip(self.pool, x.shape[2:])])
        theta, phi, g = self.theta(x).flatten(2), self.phi(keys).flatten(2), self.g(keys).flatten(2)  # (B, C', N)
        affinity = torch.einsum("bcn,bcm->bnm", theta, phi)
        if self.kind == "softmax":
            affinity = (affinity * theta.shape[1] ** -0.5).softmax(dim=2)
        else:
            affinity = affinity / affinity.shape[2]
        attended = torch.einsum("bnm,bcm->bcn", affinity, g).unflatten(2, x.shape[2:])
        return x + self.norm(self.out(attended))
