"""The five ways from Fast to Slow, with numbers to follow by hand."""

import pytest
import torch

from slowfast_hub.models.lateral import LATERALS
from slowfast_hub.spec import SlowFastArch
from slowfast_hub.zoo.create import create_model

SLOW = torch.zeros(1, 8, 2, 1, 1)
FAST = torch.arange(16.0).view(1, 1, 16, 1, 1)  # one channel whose value is the frame number; alpha = 8


def lateral(kind: str, channels: int = 1, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return LATERALS[kind](channels, SlowFastArch(lateral=kind, **changes)).eval().requires_grad_(False)


def joined(made: torch.nn.Module, slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    return made.join(slow, made(fast))


@pytest.mark.parametrize(
    ("kind", "extra"), [("none", 0), ("ttoc_sum", 0), ("ttoc_cat", 24), ("tsample", 3), ("tconv", 6)]
)
def test_channels_added_by_3_fast_ones(kind: str, extra: int):
    made = lateral(kind, channels=3)
    assert made.extra == extra
    slow, fast = torch.randn(2, 24, 2, 4, 5), torch.randn(2, 3, 16, 4, 5)
    assert joined(made, slow, fast).shape == (2, 24 + extra, 2, 4, 5)


def test_none_leaves_the_slow_pathway_alone():
    assert joined(lateral("none"), SLOW, FAST) is SLOW


def test_ttoc_cat_makes_8_frames_the_channels_of_one():
    fused = joined(lateral("ttoc_cat"), SLOW, FAST)[0, 8:, :, 0, 0]
    assert fused[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert fused[:, 1].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]


def test_ttoc_sum_adds_them_to_the_slow_channels():
    fused = joined(lateral("ttoc_sum"), SLOW + 100, FAST)[0, :, :, 0, 0]
    assert fused[:, 0].tolist() == [100, 101, 102, 103, 104, 105, 106, 107]
    assert fused[:, 1].tolist() == [108, 109, 110, 111, 112, 113, 114, 115]


def test_tsample_takes_every_8th_frame():
    assert joined(lateral("tsample"), SLOW, FAST)[0, 8, :, 0, 0].tolist() == [0, 8]


def test_tconv_sums_5_frames_around_every_8th():
    made = lateral("tconv", lateral_norm=False)
    torch.nn.init.ones_(made.fuse.conv.weight)
    fused = joined(made, SLOW, FAST)[0, 8:, :, 0, 0]
    assert fused.tolist() == [[0 + 1 + 2, 6 + 7 + 8 + 9 + 10]] * 2


def test_tconv_has_batch_norm_and_relu_unless_lateral_norm_is_off():
    assert sorted(lateral("tconv").state_dict())[:2] == ["fuse.conv.weight", "fuse.norm.bias"]
    assert list(lateral("tconv", lateral_norm=False).state_dict()) == ["fuse.conv.weight"]
    fast = torch.randn(1, 4, 16, 3, 3)
    assert joined(lateral("tconv", channels=4), SLOW.expand(1, 8, 2, 3, 3), fast)[:, 8:].min() == 0
    assert joined(lateral("tconv", channels=4, lateral_norm=False), SLOW.expand(1, 8, 2, 3, 3), fast)[:, 8:].min() < 0


@pytest.mark.parametrize("kind", ["ttoc_sum", "ttoc_cat", "tsample", "tconv"])
def test_half_size_maps_are_brought_to_the_slow_maps(kind: str):
    made = lateral(kind, channels=1)
    slow, fast = torch.zeros(1, 8, 2, 5, 6), torch.rand(1, 1, 16, 2, 3)
    assert joined(made, slow, fast).shape == (1, 8 + made.extra, 2, 5, 6)
    assert joined(made, slow, fast)[0, -1, 0, :2, :2].unique().numel() == 1  # nearest: 2x2 copies


@pytest.mark.parametrize("kind", LATERALS)
def test_whole_network_runs_with_every_lateral(kind: str):
    model = create_model("slowfast_r50_4x16", depth=14, width=16, lateral=kind, num_classes=3)
    assert model(torch.randn(2, 3, 16, 32, 32)).shape == (2, 3)


def test_laterals_stand_after_stem_and_res2_to_res4():
    with torch.device("meta"):
        model = create_model("slowfast_r50_4x16")
    assert [lateral.extra for lateral in model.laterals] == [16, 64, 128, 256]  # 2 x (8, 32, 64, 128)
