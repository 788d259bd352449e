"""The five ways from the Fast pathway to the Slow one (paper, section 3.4 and Table 5a).

Each maps `slow (B, C, T, H, W)` and `fast (B, F, alpha T, H', W')` to the Slow pathway's next input and says by
`extra` how many channels it adds. A Fast map of another size (fast_input "half") is brought to the Slow map's by
nearest-neighbour upsampling after the connection, where it is cheapest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.models.blocks import ConvNorm
from slowfast_hub.spec import SlowFastArch


def match_size(fused: Tensor, slow: Tensor) -> Tensor:
    return fused if fused.shape[2:] == slow.shape[2:] else functional.interpolate(fused, size=slow.shape[2:])


class NoLateral(nn.Module):
    """The pathways meet in the head only."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.extra = 0

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return slow


class TimeToChannel(nn.Module):
    """alpha Fast frames become the channels of one Slow frame: `(B, alpha F, T, H, W)`."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.alpha = arch.alpha
        self.extra = arch.alpha * fast_channels

    def pack(self, slow: Tensor, fast: Tensor) -> Tensor:
        batch, channels, _, height, width = fast.shape
        frames = fast.view(batch, channels, slow.shape[2], self.alpha, height, width)
        return match_size(frames.transpose(2, 3).flatten(1, 2), slow)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return torch.cat([slow, self.pack(slow, fast)], dim=1)


class TimeToChannelSum(TimeToChannel):
    """The same, added: needs alpha == beta_inv."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__(fast_channels, arch)
        self.extra = 0

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return slow + self.pack(slow, fast)


class TimeSample(nn.Module):
    """One out of alpha Fast frames: `(B, F, T, H, W)`."""

    def __init__(self, fast_channels: int, arch: SlowFastArch) -> None:
        super().__init__()
        self.alpha = arch.alpha
        self.extra = fast_channels

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return torch.cat([slow, match_size(fast[:, :, :: self.alpha], slow)], dim=1)


class TimeConv(nn.Module):
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

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return torch.cat([slow, match_size(self.fuse(fast), slow)], dim=1)


LATERALS: dict[str, type[NoLateral | TimeToChannel | TimeSample | TimeConv]] = {
    "none": NoLateral,
    "ttoc_sum": TimeToChannelSum,
    "ttoc_cat": TimeToChannel,
    "tsample": TimeSample,
    "tconv": TimeConv,
}
