"""The bricks: the fast convolution equals the plain one, sizes of stem and bottleneck, initial weights."""

import pytest
import torch
from torch import nn

from slowfast_hub.models.blocks import Bottleneck, ConvNorm, FactorConv3d, Stem
from slowfast_hub.zoo.create import create_model

# in, out, kernel, stride of the convolutions in these networks, and the Fast stem of one and of three channels
CONVOLUTIONS = {
    "1x1x1": (4, 6, (1, 1, 1), (1, 1, 1)),
    "3x1x1": (4, 6, (3, 1, 1), (1, 1, 1)),
    "lateral 5x1x1": (4, 8, (5, 1, 1), (4, 1, 1)),
    "lateral 7x1x1": (4, 8, (7, 1, 1), (8, 1, 1)),
    "1x3x3": (4, 6, (1, 3, 3), (1, 1, 1)),
    "1x3x3 stride 2": (4, 6, (1, 3, 3), (1, 2, 2)),
    "shortcut stride 2": (8, 6, (1, 1, 1), (1, 2, 2)),
    "lateral 1x1x1": (4, 8, (1, 1, 1), (8, 1, 1)),
    "slow stem": (3, 6, (1, 7, 7), (1, 2, 2)),
    "fast stem": (3, 6, (5, 7, 7), (1, 2, 2)),
    "fast stem of one channel": (1, 6, (5, 7, 7), (1, 2, 2)),
    "slow stem of one channel": (1, 6, (1, 7, 7), (1, 2, 2)),
    "one channel 3x1x1": (1, 6, (3, 1, 1), (1, 1, 1)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("size", [(2, 8, 9, 10), (1, 8, 1, 1), (2, 1, 8, 8)], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format], ids=["last", "first"])
def test_factor_conv_equals_conv3d_forward_and_backward(kind: str, size: tuple[int, ...], layout: torch.memory_format):
    channels, out_channels, kernel, stride = CONVOLUTIONS[kind]
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel)
    factor = FactorConv3d(channels, out_channels, kernel, stride)
    plain = nn.Conv3d(channels, out_channels, kernel, stride, padding, bias=False)
    plain.load_state_dict(factor.state_dict())
    x = torch.randn(size[0], channels, *size[1:]).contiguous(memory_format=layout).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out, expected = factor(x), plain(y)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(expected)
    out.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(factor.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7, 8, 12])
def test_strided_shortcut_of_few_channels_keeps_the_memory_whole(channels: int):
    """oneDNN's own 2-D kernel writes past its buffer here, below 8 channels: torch 2.14 then dies sooner or later."""
    factor = FactorConv3d(channels, 2 * channels, (1, 1, 1), (1, 2, 2))
    assert factor.only_3d == (channels < 8)
    clips = torch.randn(2, channels, 1, 8, 8).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    for _ in range(30):
        factor(clips).sum().backward()
    assert torch.isfinite(clips.grad).all()


def test_channels_last_stays_channels_last():
    block = Bottleneck(16, 32, temporal_kernel=3, spatial_stride=2).eval()
    clips = torch.randn(2, 16, 4, 6, 8).contiguous(memory_format=torch.channels_last_3d)
    assert block(clips).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "i3d_r50_8x8"])
def test_network_gives_the_same_in_both_layouts(row: str):
    torch.manual_seed(0)
    model = create_model(row, width=8, depth=14, num_classes=5, zero_init_last=False).requires_grad_(False)
    clips = torch.randn(2, 3, 8, 48, 40)
    torch.testing.assert_close(
        model(clips.contiguous(memory_format=torch.channels_last_3d)), model(clips), rtol=1e-4, atol=1e-5
    )


def test_stem_keeps_time_and_quarters_space():
    assert Stem(3, 8, 5)(torch.randn(1, 3, 6, 64, 32)).shape == (1, 8, 6, 16, 8)


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (32, 1), (16, 2), (32, 2)])
def test_shortcut_is_a_convolution_only_where_the_shape_changes(channels: int, stride: int):
    block = Bottleneck(channels, 32, temporal_kernel=3, spatial_stride=stride)
    assert isinstance(block.shortcut, nn.Identity) == (channels == 32 and stride == 1)
    assert block(torch.randn(1, channels, 4, 8, 8)).shape == (1, 32, 4, 8 // stride, 8 // stride)


def test_spatial_stride_is_on_the_3x3_convolution():
    block = Bottleneck(16, 32, temporal_kernel=3, spatial_stride=2)
    assert [layer.conv.stride for layer in (block.a, block.b, block.c)] == [(1, 1, 1), (1, 2, 2), (1, 1, 1)]


def test_bare_convolution_has_no_batch_norm():
    assert list(ConvNorm(2, 4, (1, 1, 1), norm=False, act=False).state_dict()) == ["conv.weight"]


def test_block_with_zero_last_gamma_starts_as_its_shortcut():
    model = create_model("slow_r50_8x8", width=8, depth=26)
    block, clips = model.pathway.res2[1], torch.rand(1, 32, 4, 6, 6)
    torch.testing.assert_close(block(clips), clips)


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slow_r50_8x8"])
def test_zero_init_is_of_the_last_gamma_of_every_block_and_of_nothing_else(row: str):
    for zero, expected in ((True, {".c.norm.weight"}), (False, set())):
        model = create_model(row, width=8, depth=26, zero_init_last=zero)
        gammas = {name: p for name, p in model.named_parameters() if name.endswith("norm.weight")}
        zeros = [name for name, gamma in gammas.items() if not gamma.any()]
        assert {name[-len(".c.norm.weight") :] for name in zeros} == expected
        assert len(zeros) == (zero and sum(isinstance(m, Bottleneck) for m in model.modules()))
        assert all(bool((gamma == 1).all()) for name, gamma in gammas.items() if name not in zeros)


def test_convolutions_start_by_he_over_fan_out():
    weight = create_model("slow_r50_8x8", width=64, depth=14).pathway.res5[0].b.conv.weight  # 512 x 512 x 1 x 3 x 3
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
