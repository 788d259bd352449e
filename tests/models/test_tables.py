"""Parameters and multiply-adds of every row, counted in the built modules (no memory: meta device) at 256 x 256.

The counted part never is a typed number: `measure` builds the network and runs it under torch.utils.flop_counter.
A multiply-add is two FLOPs of a convolution, linear layer or matrix product; batch norm is not counted, as in the
paper.
"""

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.registry import ARCHS

ALTERNATING = (
    (5,),
    (3,),
    (3, 1),
    (3, 1),
    (1, 3),
)  # temporal kernels of I3D: the Fast-only network of the paper's 6.4 G

# row: (parameters in M, multiply-adds in G), from the issue and ../shared/facts/key_maps.md
ROWS = {
    "slowfast_r50_4x16": (34.480216, 36.10),
    "slowfast_r50_8x8": (34.566488, 65.71),
    "slowfast_r101_8x8_t50": (53.774808, 106.5),
    "slowfast_r101_8x8": (62.826968, 125.9),
    "slowfast_r101_16x8": (53.774808, 213.0),
    "slowfast_nl_r101_16x8": (60.080088, 234.0),
    # with the classes, and in MMAction2's form the bare laterals, of a file of weights
    "slowfast_r50_16x8.fair_ssv2": (34.045558, 131.418),
    "slowfast_r50_16x8.fair_charades": (34.006373, 131.417),
    "slowfast_r50_8x8.mm_k400": (34.565560, 65.71),
    "slowfast_r101_8x8.mm_k400": (62.912, 126.32),
    "slowfast_r101r50_4x16.mm_k400": (62.384, 64.62),
    "slowfast_nl_r50_4x16": (41.839, 47.91),
    "slowfast_nl_r50_8x8": (41.839, 99.12),
    "slow_r50_4x16": (32.454, 27.26),
    "slow_r50_8x8": (32.454, 54.52),
    "slow_r101_16x8": (51.446, 186.6),
    "slow_nl_r50_8x8": (39.813, 88.34),
    "fast_r50_32x2": (0.617, 6.90),
    "i3d_r50_8x8": (28.043, 37.11),
    "i3d_nl_r50_8x8": (35.402, 48.92),
    "c2d_r50_8x8": (24.328, 25.46),
}


@cache
def measure(name: str, size: int = 256, **changes: object) -> tuple[int, int]:
    """(parameters, multiply-adds) of a row with overrides, for one clip of the row's length."""
    with torch.device("meta"):
        model = create_model(name, **changes)
        clip = torch.empty(1, 3, model.arch.clip.frames, size, size)
        clips: Tensor | list[Tensor] = clip
        if changes.get("fast_input") == "flow":
            clips = [clip[:, :, :: model.arch.alpha], clip[:, :2]]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(clips)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def giga(name: str, **changes: object) -> float:
    return measure(name, **changes)[1] / 1e9


@pytest.mark.parametrize("name", ROWS)
def test_parameters_are_the_published_ones(name: str):
    assert measure(name)[0] / 1e6 == pytest.approx(ROWS[name][0], abs=0.0005)


@pytest.mark.parametrize("name", ROWS)
def test_multiply_adds_are_the_published_ones(name: str):
    assert giga(name) == pytest.approx(ROWS[name][1], rel=0.001)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("slowfast_r50_4x16", 34_480_216),
        ("slowfast_r50_8x8", 34_566_488),
        ("slowfast_r101_8x8_t50", 53_774_808),
        ("slowfast_r101_8x8", 62_826_968),
        ("slowfast_r101_16x8", 53_774_808),
        ("slowfast_nl_r101_16x8", 60_080_088),
    ],
)
def test_parameters_to_the_last_one(name: str, parameters: int):
    assert measure(name)[0] == parameters


def test_fast_only_with_alternating_kernels_is_the_papers_539_thousand_and_6_4_G():
    parameters, multiply_adds = measure("fast_r50_32x2", temporal_kernels=ALTERNATING)
    assert parameters / 1e6 == pytest.approx(0.539, abs=0.0005)
    assert multiply_adds / 1e9 == pytest.approx(6.36, abs=0.01)


def test_nonlocal_pooling_of_the_published_config_costs_242_G():
    assert giga("slowfast_nl_r101_16x8", nonlocal_pool=(1, 2, 2)) == pytest.approx(242.02, abs=0.05)
    assert giga("slowfast_nl_r101_16x8", nonlocal_pool=(1, 1, 1)) == pytest.approx(290.33, abs=0.05)


def test_embedded_network_is_under_10_MB_as_float32_and_under_a_giga_for_a_clip_of_its_own_size():
    parameters, multiply_adds = measure("slowfast_r14_4x16_w16", size=ARCHS["slowfast_r14_4x16_w16"].clip.crop)
    assert 4 * parameters < 10e6
    assert multiply_adds < 1e9


TABLE_5A = [  # how the Fast pathway is connected
    ("slow_r50_4x16", {}, 27.3),
    ("fast_r50_32x2", {"temporal_kernels": ALTERNATING}, 6.4),
    ("slowfast_r50_4x16", {"lateral": "none"}, 34.2),
    ("slowfast_r50_4x16", {"lateral": "ttoc_sum"}, 34.2),
    ("slowfast_r50_4x16", {"lateral": "ttoc_cat"}, 39.8),
    ("slowfast_r50_4x16", {"lateral": "tsample"}, 34.9),
    ("slowfast_r50_4x16", {"lateral": "tconv"}, 36.1),
]
TABLE_5B = [("slowfast_r50_4x16", {"beta_inv": beta}, paper) for beta, paper in
            {6: 41.8, 8: 36.1, 12: 32.8, 16: 30.6, 32: 28.6}.items()]  # fmt: skip
TABLE_5C = [("slowfast_r50_4x16", {"fast_input": kind}, paper) for kind, paper in
            {"rgb": 36.1, "gray": 34.1, "diff": 34.2, "flow": 35.1}.items()]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "paper"), [*TABLE_5A, *TABLE_5B, *TABLE_5C], ids=str)
def test_ablations_of_tables_5a_5b_5c_come_out_within_one_percent(name: str, changes: dict, paper: float):
    assert giga(name, **changes) == pytest.approx(paper, rel=0.01)


def test_beta_a_quarter_reaches_53_6_G_where_the_paper_says_54_5():
    """1.7 % short, and known: nobody's code reproduces 54.5 (key_maps.md: 53.60 by PySlowFast's own modules)."""
    assert giga("slowfast_r50_4x16", beta_inv=4) == pytest.approx(53.60, abs=0.01)


def test_half_size_fast_input_reaches_36_0_G_where_the_paper_says_34_4():
    """4.6 % more: the paper does not say how maps of half the size meet the Slow ones.

    Our reading keeps every Fast stage at half size, with beta 1/4, and upsamples after the lateral convolution; leaving
    out the Fast max-pool instead would cost about 49 G.
    """
    assert giga("slowfast_r50_4x16", fast_input="half", beta_inv=4) == pytest.approx(35.98, abs=0.01)


@pytest.mark.parametrize(("beta", "width"), [(4, 16), (6, 11), (8, 8), (12, 6), (16, 4), (32, 2)])
def test_fast_width_is_64_over_beta_rounded_up(beta: int, width: int):
    with torch.device("meta"):
        model = create_model("slowfast_r50_4x16", beta_inv=beta)
    assert model.fast.stem.conv1.conv.out_channels == width
