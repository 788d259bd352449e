"""The five ways from the Fast pathway to the Slow one (paper, section 3.4 and Table 5a).

Each maps `slow (B, C, T, H, W)` and `fast (B, F, alpha T, H', W')` to the Slow pathway's next input and says by
`extra` how many channels E it adds. A Fast map of another size (fast_input "half") is brought to the Slow map's by
nearest-neighbour upsampling after the connection, where it is cheapest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.models.blocks import ConvNorm
from slowfast_hub.spec import SlowFastArch


class Lateral(nn.Module):
    """Called with a Fast map it gives what goes to the Slow one; `join` brings it there."""

    extra = 0

    def forward(self, fast: Tensor) -> Tensor:
        """`(B, F, alpha T, H', W')` to `(B, E, T, H', W')`."""
        raise NotImplementedError

    def join(self, slow: Tensor, carried: Tensor) -> Tensor:
        """`(B, C, T, H, W)` and `(B, E, T, H', W')` to `(B, C + E, T, H, W)`; frame by frame."""
        return torch.cat([slow, match_size(carried, slow)], dim=1)


def match_size(carried: Tensor, slow: Tensor) -> Tensor:
    return carried if carried.shape[2:] == slow.shape[2:] else functional.interpolate(carried, size=slow.shape[2:])


class NoLateral(Lateral):
    """The pathways meet in the head only."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.alpha = arch.alpha

    def forward(self, fast: Tensor) -> Tensor:
        return fast[:, :0, :: self.alpha]

    def join(self, slow: Tensor, carried: Tensor) -> Tensor:
        return slow


class TimeToChannel(Lateral):
    """alpha Fast frames become the channels of one Slow frame: `(B, alpha F, T, H, W)`."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.alpha = arch.alpha
        self.extra = arch.alpha * fast_channels

    def forward(self, fast: Tensor) -> Tensor:
        return fast.unflatten(2, (-1, self.alpha)).transpose(2, 3).flatten(1, 2)


class TimeToChannelSum(TimeToChannel):
    """The same, added: needs alpha == beta_inv."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__(fast_channels, arch)
        self.extra = 0

    def join(self, slow: Tensor, carried: Tensor) -> Tensor:
        return slow + match_size(carried, slow)


class TimeSample(Lateral):
    """One out of alpha Fast frames: `(B, F, T, H, W)`."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.alpha = arch.alpha
        self.extra = fast_channels

    def forward(self, fast: Tensor) -> Tensor:
        return fast[:, :, :: self.alpha]


class TimeConv(Lateral):
    """Convolution over time with stride alpha and 2F output channels, batch norm and ReLU."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.extra = 2 * fast_channels
        # MMAction2's published files have a bare convolution here: lateral_norm=False.
        self.fuse = ConvNorm(
            fast_channels,
            self.extra,
            (arch.fuse_kernel, 1, 1),
            stride=(arch.alpha, 1, 1),
            act=arch.lateral_norm,
            norm=arch.lateral_norm,
        )

    def forward(self, fast: Tensor) -> Tensor:
        return self.fuse(fast)


LATERALS: dict[str, Callable[[int, SlowFastArch], Lateral]] = {
    "none": NoLateral,
    "ttoc_sum": TimeToChannelSum,
    "ttoc_cat": TimeToChannel,
    "tsample": TimeSample,
    "tconv": TimeConv,
}
