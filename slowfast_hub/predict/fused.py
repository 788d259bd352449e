"""The bricks of `models/` for inference: batch norm folded, convolutions as 2-D ones with what follows them in one.

A brick takes and gives `(B, C, T, H, W)`, as the one it stands for; in memory it is `(B, T, H, W, C)`. To a kernel that
is 1 in time this is a batch of pictures, to one that is 1 in space a picture of T by H W. None of them takes gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from slowfast_hub.models.blocks import Bottleneck, ConvNorm, FactorConv3d, Stem
from slowfast_hub.models.lateral import Lateral
from slowfast_hub.models.nonlocal_block import NonLocal
from slowfast_hub.models.pathway import STAGES, Pathway
from slowfast_hub.predict.onednn import FusedConv, Target
from slowfast_hub.predict.winograd import KERNEL, LEAST_CHANNELS, WinogradConv

LANES = 16  # float32 numbers in the widest vector register: a convolution with 8 outputs uses half of it
GROUP_BYTES = 16 * 2**20  # of one map, so that the next operator finds it in the processor's cache


def rows_of(x: Tensor) -> Tensor:
    """`(B, C, T, H, W)` as `(B, T, H, W, C)`, contiguous: a view of what the bricks give."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def folded(source: ConvNorm) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution and the batch norm behind it."""
    conv, norm = source.conv, source.norm
    if isinstance(norm, nn.Identity):
        return conv.weight, None
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    return fuse_conv_bn_weights(conv.weight, None, mean, variance, norm.eps, norm.weight, norm.bias)


class FusedConvNorm(nn.Module):
    """For a `ConvNorm` whose kernel is 1 in time or 1 in space."""

    def __init__(self, source: ConvNorm, *, target: Target, relu: bool | None = None) -> None:
        """relu: at the end; None, as the source has it."""
        super().__init__()
        conv, (weight, bias) = source.conv, folded(source)
        relu = isinstance(source.act, nn.ReLU) if relu is None else relu
        self.in_time = conv.pointwise_in_space
        self.frames = conv.kernel_size[0]  # that one frame depends on
        axes = slice(0, 2) if self.in_time else slice(1, 3)
        weight = weight.flatten(3) if self.in_time else weight.flatten(1, 2)  # (O, C, k, 1) or (O, C, k, k)
        exact = target.cpu and target.dtype == torch.float32
        saves = exact and weight.shape[2] == KERNEL and min(weight.shape[:2]) >= LEAST_CHANNELS
        self.conv: FusedConv | WinogradConv
        if saves and relu and bias is not None and {*conv.stride} == {1}:
            self.conv = WinogradConv(weight, bias, target, dilation=conv.dilation[axes])
        else:
            geometry = {"stride": conv.stride[axes], "padding": conv.padding[axes], "dilation": conv.dilation[axes]}
            self.conv = FusedConv(weight, bias, **geometry, relu=relu, target=target)  # type: ignore[arg-type]

    def images(self, x: Tensor) -> Tensor:
        """`(B, C, T, H, W)` as `(N, C, H', W')`, channels last: pictures, or T by H W."""
        rows = rows_of(x)
        rows = rows.flatten(2, 3) if self.in_time else rows.flatten(0, 1)
        return rows.permute(0, 3, 1, 2)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, the sum with it, in its memory."""
        sums = () if onto is None else (self.images(onto),)
        images = self.conv(self.images(x), *sums)
        rows = images.permute(0, 2, 3, 1)
        rows = rows.unflatten(2, x.shape[3:]) if self.in_time else rows.unflatten(0, (len(x), x.shape[2]))
        return rows.permute(0, 4, 1, 2, 3)


class FusedBottleneck(nn.Module):
    """For a `Bottleneck`. The sum is written into the shortcut: of a block without a convolution there, its input."""

    def __init__(self, source: Bottleneck, *, target: Target) -> None:
        super().__init__()
        self.a, self.b = FusedConvNorm(source.a, target=target), FusedConvNorm(source.b, target=target)
        self.c = FusedConvNorm(source.c, target=target, relu=True)
        conv = source.shortcut if isinstance(source.shortcut, ConvNorm) else None
        self.shortcut = nn.Identity() if conv is None else FusedConvNorm(conv, target=target)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.b(self.a(x))
        return self.c(inner, self.shortcut(x))


class FusedStem(nn.Module):
    """For a `Stem`. Where it has few channels, one convolution gives those of two frames (paper: Fast has 8).

    Two frames see k + 1 frames: the kernel of the second is that of the first, one frame later.
    """

    def __init__(self, source: Stem, *, target: Target) -> None:
        super().__init__()
        conv, (weight, bias) = source.conv1.conv, folded(source.conv1)
        geometry = {"padding": conv.padding, "dilation": conv.dilation, "relu": True, "target": target}
        self.single = FusedConv(weight, bias, stride=conv.stride, **geometry)  # type: ignore[arg-type]
        self.paired: FusedConv | None = None
        if 2 * conv.out_channels <= LANES and conv.kernel_size[0] > 1 and conv.stride[0] == 1 and bias is not None:
            first, second = functional.pad(weight, (0, 0, 0, 0, 0, 1)), functional.pad(weight, (0, 0, 0, 0, 1, 0))
            both, stride = torch.cat([first, second]), (2, *conv.stride[1:])
            biases = torch.cat([bias, bias])
            self.paired = FusedConv(both, biases, stride=stride, **geometry)  # type: ignore[arg-type]
        self.pool1 = source.pool1
        strides, padding = (cast(tuple[int, int, int], pair) for pair in (self.pool1.stride, self.pool1.padding))
        # Of pictures, where it is 1 in time: 3 x 3, halving them (paper, Table 1).
        self.pool2d = nn.MaxPool2d(3, 2, padding[1]) if strides[0] == 1 else None
        self.frames = max(conv.kernel_size[0], conv.stride[0], strides[0])  # that one frame depends on

    def forward(self, x: Tensor) -> Tensor:
        images = rows_of(x.to(self.single.weight.dtype)).permute(0, 4, 1, 2, 3)
        if self.paired is None or x.shape[2] % 2:
            return self.pool(self.single(images))
        pairs = self.pool(self.paired(images)).unflatten(1, (2, -1))  # (B, 2, C, T / 2, H, W)
        rows = pairs.permute(0, 3, 1, 4, 5, 2).flatten(1, 2)  # (B, T, H, W, C)
        return rows.permute(0, 4, 1, 2, 3)

    def pool(self, x: Tensor) -> Tensor:
        """pool1, picture by picture where it is 1 in time: that takes torch a fourth of the time on the CPU."""
        if self.pool2d is None:
            return self.pool1(x)
        rows = self.pool2d(rows_of(x).flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return rows.unflatten(0, (len(x), x.shape[2])).permute(0, 4, 1, 2, 3)


class FusedPathway(Pathway):
    """For a `Pathway` on the CPU: frames go through its first stages a few at a time, up to a kernel in time."""

    def __init__(self, source: Pathway) -> None:
        """source: with its bricks replaced, which become this one's."""
        nn.Module.__init__(self)
        self.stem, self.temporal_pool = source.stem, source.temporal_pool
        self.grad_checkpointing, self.num_features = False, source.num_features
        for name in STAGES:
            self.add_module(name, source.get_submodule(name))
        self.alone = int(isinstance(self.stem, FusedStem) and self.stem.frames == 1)  # of stem, res2 .. see one frame
        for name in STAGES if self.alone else ():
            blocks = [*self.get_submodule(name).children()]
            convs = [part for block in blocks for part in block.modules() if isinstance(part, FusedConvNorm)]
            pooled = name == "res3" and not isinstance(self.temporal_pool, nn.Identity)
            known = all(isinstance(block, FusedBottleneck) for block in blocks)
            if pooled or not known or any(conv.frames > 1 for conv in convs):
                break
            self.alone += 1

    def forward(self, x: Tensor, last: int, laterals: Sequence[Lateral] = (), carried: Sequence[Tensor] = ()) -> Tensor:
        """As `Pathway` has it."""
        if not self.alone:
            return super().forward(x, last, laterals, carried)
        early = min(self.alone - 1, last)
        parts = []
        for first in range(0, x.shape[2], self.group_size(x)):
            group = slice(first, first + self.group_size(x))
            maps = self.stem(x[:, :, group])
            parts.append(self.stages(maps, range(early), laterals, [one[:, :, group] for one in carried]))
        return self.stages(torch.cat(parts, dim=2), range(early, last), laterals, carried)

    def group_size(self, x: Tensor) -> int:
        """How many frames have maps of `GROUP_BYTES` behind res2, at a fourth of the pictures' height and width."""
        channels = 4 * cast(FusedStem, self.stem).single.weight.shape[0]
        places = math.ceil(x.shape[3] / 4) * math.ceil(x.shape[4] / 4)
        return max(1, GROUP_BYTES // (4 * max(1, len(x)) * channels * places))


def fits(source: nn.Module) -> bool:
    """Whether a brick is as `models/` builds it; one that somebody has changed stays as it is."""
    if any(part._forward_hooks or part._forward_pre_hooks for part in source.modules()):
        return False
    if type(source) is ConvNorm:
        conv, norm = source.conv, source.norm
        same = tuple(size // 2 * step for size, step in zip(conv.kernel_size, conv.dilation)) == conv.padding
        plain = type(conv) is FactorConv3d and conv.bias is None and conv.groups == 1 and conv.padding_mode == "zeros"
        folds = type(norm) in (nn.BatchNorm3d, nn.SyncBatchNorm) and norm.running_mean is not None and norm.affine
        return same and plain and (folds or type(norm) is nn.Identity) and type(source.act) in (nn.ReLU, nn.Identity)
    if type(source) is Bottleneck:
        ends = source.c, source.shortcut
        alike = all(type(end) is nn.Identity or (fits(end) and type(end.act) is nn.Identity) for end in ends)
        return alike and all(map(fits, (source.a, source.b, source.c))) and type(source.act) is nn.ReLU
    if type(source) is Stem:
        pool, conv1 = source.pool1, source.conv1
        pools = type(pool) is nn.MaxPool3d and pool.kernel_size == (1, 3, 3) and pool.stride[1:] == (2, 2)  # type: ignore
        return pools and fits(conv1) and type(conv1.act) is nn.ReLU
    return False


BRICKS = {Stem: FusedStem, Bottleneck: FusedBottleneck, ConvNorm: FusedConvNorm}


def fuse(model: nn.Module, *, target: Target) -> None:
    """Replace the bricks inside `model`, float32 and in eval mode, by those for inference on `target`."""
    for name, child in model.named_children():
        brick = BRICKS.get(type(child))
        if brick is not None and fits(child):
            setattr(model, name, brick(child, target=target))
            continue
        if isinstance(child, NonLocal) and isinstance(child.norm, nn.BatchNorm3d):
            child.out, child.norm = fuse_conv_bn_eval(child.out, child.norm), nn.Identity()  # type: ignore[assignment]
        fuse(child, target=target)
        if target.cpu and type(child) is Pathway:
            setattr(model, name, FusedPathway(child))
