"""Non-local block (Wang et al. 2018) in the forms the published weights were trained in.

PySlowFast (nonlocal_helper.py) max-pools the input before phi and g, and every convolution has a bias. MMAction2 (mmcv,
non_local.py) pools what phi and g give, and its last convolution has no bias. GluonCV does not pool. Batch norm follows
the last convolution in all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.spec import Arch


class NonLocal(nn.Module):
    """x + BN(out(affinity(theta(x), phi(x)) g(x))): `(B, C, T, H, W)` in and out.

    Affinity of N queries and M keys: `dot_product` divides by M; `softmax` scales by the root of the inner channels
    first, `softmax_unscaled` does not; `gaussian` is the softmax of x and its pooled self, without theta and phi.
    """

    def __init__(self, channels: int, arch: Arch) -> None:
        super().__init__()
        inner = channels // 2
        self.kind = arch.nonlocal_kind
        self.pool = arch.nonlocal_pool
        self.pool_first = arch.nonlocal_pool_at == "before"
        if self.kind == "gaussian":
            self.theta: nn.Module = nn.Identity()
            self.phi: nn.Module = nn.Identity()
        else:
            self.theta, self.phi = nn.Conv3d(channels, inner, 1), nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1, bias=arch.nonlocal_out_bias)
        self.norm = nn.BatchNorm3d(channels)

    def pooled(self, x: Tensor) -> Tensor:
        # A map smaller than the pool is pooled whole.
        return functional.max_pool3d(x, [min(size, length) for size, length in zip(self.pool, x.shape[2:])])

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_first:
            keys = self.pooled(x)
            phi, g = self.phi(keys), self.g(keys)
        else:
            phi, g = self.pooled(self.phi(x)), self.pooled(self.g(x))
        theta, phi, g = self.theta(x).flatten(2), phi.flatten(2), g.flatten(2)  # (B, C', N), (B, C', M), (B, C', M)
        affinity = torch.einsum("bcn,bcm->bnm", theta, phi)
        if self.kind == "dot_product":
            affinity = affinity / affinity.shape[2]
        else:
            scale = theta.shape[1] ** -0.5 if self.kind == "softmax" else 1.0
            affinity = (affinity * scale).softmax(dim=2)
        attended = torch.einsum("bnm,bcm->bcn", affinity, g).unflatten(2, x.shape[2:])
        return x + self.norm(self.out(attended))
