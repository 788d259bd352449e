"""The bricks: convolution with batch norm, stem, bottleneck, weight init.

Shapes follow ResNet's bottleneck with the spatial stride on the 3x3 convolution (PySlowFast, resnet_helper.py,
`STRIDE_1X1 False`); temporal kernels are padded, so time keeps its length.
"""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, batch norm and, with `act`, ReLU; `norm=False` leaves the bare convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int],
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        act: bool = True,
        norm: bool = True,
    ) -> None:
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(out_channels) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Stem(nn.Module):
    """conv1 and pool1 of Table 1: `(B, C, T, H, W)` to `(B, width, T, H/4, W/4)`."""

    def __init__(self, in_channels: int, width: int, temporal_kernel: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, width, (temporal_kernel, 7, 7), stride=(1, 2, 2))
        self.pool1 = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool1(self.conv1(x))


class Bottleneck(nn.Module):
    """Tx1x1, 1x3x3 and 1x1x1 convolutions beside a shortcut (paper, Table 1)."""

    def __init__(self, in_channels: int, out_channels: int, *, temporal_kernel: int, spatial_stride: int) -> None:
        super().__init__()
        inner = out_channels // 4
        stride = (1, spatial_stride, spatial_stride)
        self.a = ConvNorm(in_channels, inner, (temporal_kernel, 1, 1))
        self.b = ConvNorm(inner, inner, (1, 3, 3), stride=stride)
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
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Bottleneck) and zero_init_last:
            nn.init.zeros_(module.c.norm.weight)
        elif hasattr(module, "start_as_identity"):
            module.start_as_identity()
