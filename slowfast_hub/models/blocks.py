"""The bricks: convolution with batch norm, stem, bottleneck, weight init.

Shapes follow ResNet's bottleneck with the spatial stride on the 3x3 convolution (PySlowFast, resnet_helper.py,
`STRIDE_1X1 False`); temporal kernels are padded, so time keeps its length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.models.nonlocal_block import NonLocal


class FactorConv3d(nn.Conv3d):
    """A Conv3d, padded to keep its size, whose kernel is 1 in time or 1 in space (stems apart).

    On the CPU a `channels_last_3d` tensor is at the same time a 2-D image to such a kernel: frames in the batch, or
    space flattened into one axis. The 2-D convolutions of oneDNN take less time there, forward and backward
    (docs/performance.md); elsewhere this is Conv3d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int],
        dilation: int = 1,
    ) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2 * dilation, kernel[2] // 2 * dilation)
        dilations = (1, dilation, dilation)
        super().__init__(in_channels, out_channels, kernel, stride, padding, dilations, bias=False)
        self.in_time = kernel[0], stride[0], padding[0]
        self.in_space = stride[1:], padding[1:], dilations[1:]
        self.pointwise_in_space = kernel[1:] == (1, 1) and stride[1:] == (1, 1)
        # Below 8 channels, the 2-D backward of a strided 1x1 kernel writes past its buffer (oneDNN in torch 2.14).
        self.only_3d = kernel == (1, 1, 1) and stride != (1, 1, 1) and in_channels < 8

    def forward(self, x: Tensor) -> Tensor:
        if (
            x.numel() == 0
            or self.only_3d
            or x.device.type != "cpu"
            or not x.is_contiguous(memory_format=torch.channels_last_3d)
        ):
            return super().forward(x)
        batch, channels, frames, height, width = x.shape
        rows = x.permute(0, 2, 3, 4, 1)  # (B, T, H, W, C), a view
        size, stride, padding = self.in_time
        if self.pointwise_in_space:
            image = rows.reshape(batch, frames, height * width, channels).permute(0, 3, 1, 2)
            out = functional.conv2d(image, self.weight.flatten(3), None, (stride, 1), (padding, 0))
            return out.permute(0, 2, 3, 1).unflatten(2, (height, width)).permute(0, 4, 1, 2, 3)
        if stride > 1 or (size > 1 and channels > 1):
            return super().forward(x)
        if size > 1:
            # A stem on one channel: its taps in time become the channels of an image.
            rows = functional.pad(rows, (0, 0, 0, 0, 0, 0, padding, padding)).unfold(1, size, 1)
        image = rows.reshape(batch * frames, height, width, -1).permute(0, 3, 1, 2)
        out = functional.conv2d(image, self.weight.flatten(1, 2), None, *self.in_space)
        return out.permute(0, 2, 3, 1).unflatten(0, (batch, frames)).permute(0, 4, 1, 2, 3)


class ConvNorm(nn.Module):
    """Convolution, batch norm and, with `act`, ReLU; `norm=False` leaves the bare convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int],
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        dilation: int = 1,
        act: bool = True,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = FactorConv3d(in_channels, out_channels, kernel, stride, dilation)
        self.norm = nn.BatchNorm3d(out_channels) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Stem(nn.Module):
    """conv1 and pool1 of Table 1: `(B, C, T, H, W)` to `(B, width, T, H/4, W/4)`; some I3D halve T in each of them."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        temporal_kernel: int,
        *,
        time_strides: tuple[int, int] = (1, 1),
        pool_padding: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, width, (temporal_kernel, 7, 7), stride=(time_strides[0], 2, 2))
        self.pool1 = nn.MaxPool3d((1, 3, 3), stride=(time_strides[1], 2, 2), padding=(0, pool_padding, pool_padding))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool1(self.conv1(x))


class Bottleneck(nn.Module):
    """Tx1x1, 1x3x3 and 1x1x1 convolutions beside a shortcut (paper, Table 1)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, temporal_kernel: int, spatial_stride: int, dilation: int = 1
    ) -> None:
        super().__init__()
        inner = out_channels // 4
        stride = (1, spatial_stride, spatial_stride)
        self.a = ConvNorm(in_channels, inner, (temporal_kernel, 1, 1))
        self.b = ConvNorm(inner, inner, (1, 3, 3), stride=stride, dilation=dilation)
        self.c = ConvNorm(inner, out_channels, (1, 1, 1), act=False)
        same = in_channels == out_channels and spatial_stride == 1
        self.shortcut = (
            nn.Identity() if same else ConvNorm(in_channels, out_channels, (1, 1, 1), stride=stride, act=False)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.c(self.b(self.a(x))) + self.shortcut(x))


def init_weights(model: nn.Module, *, zero_init_last: bool) -> None:
    """He init for convolutions (paper, section 4), normal 0.01 for linear layers, gammas 1.

    `zero_init_last` starts every block as its shortcut: gamma 0 in the last batch norm (Goyal et al. 2017).
    A non-local block starts as the identity in any case (Wang et al. 2018, section 4.1).
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return  # there are no values to set, and torch takes seconds to find that out
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, NonLocal):
            nn.init.zeros_(module.norm.weight)
        elif isinstance(module, Bottleneck) and isinstance(module.c.norm, nn.BatchNorm3d) and zero_init_last:
            nn.init.zeros_(module.c.norm.weight)
