"""One stream: which blocks look across time, and how shapes run through it."""

import pytest
import torch
from torch import nn

from slowfast_hub.models.pathway import Pathway
from slowfast_hub.spec import FAST_KERNELS, SLOW_KERNELS, ResNet3DArch
from slowfast_hub.zoo.create import create_model

STAGES = ("res2", "res3", "res4", "res5")


def temporal_sizes(pathway: nn.Module) -> list[list[int]]:
    """Temporal kernel of the stem, then of the first convolution in each block of res2..res5."""
    blocks = [[block.a.conv.kernel_size[0] for block in getattr(pathway, stage)] for stage in STAGES]
    return [[pathway.stem.conv1.conv.kernel_size[0]], *blocks]


def on_meta(name: str, **changes: object) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **changes)


def test_slow_pathway_looks_across_time_in_res4_and_res5_only():
    assert temporal_sizes(on_meta("slowfast_r50_4x16").slow) == [[1], [1] * 3, [1] * 4, [3] * 6, [3] * 3]


def test_fast_pathway_looks_across_time_in_every_block():
    assert temporal_sizes(on_meta("slowfast_r50_4x16").fast) == [[5], [3] * 3, [3] * 4, [3] * 6, [3] * 3]


def test_i3d_alternates_in_res3_to_res5_and_c2d_never_looks():
    alternating = [[5], [3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
    assert temporal_sizes(on_meta("i3d_r50_8x8").pathway) == alternating
    assert temporal_sizes(on_meta("c2d_r50_8x8").pathway) == [[1], [1] * 3, [1] * 4, [1] * 6, [1] * 3]


def test_t50_has_temporal_kernels_in_6_of_23_blocks_of_res4_in_both_pathways():
    model = on_meta("slowfast_r101_8x8_t50")
    assert temporal_sizes(model.slow)[3] == [3] * 6 + [1] * 17
    assert temporal_sizes(model.fast)[3] == [3] * 6 + [1] * 17
    assert temporal_sizes(on_meta("slowfast_r101_8x8").slow)[3] == [3] * 23


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (1, 2, 3, 1), (3, 4, 6, 3)])
def test_temporal_blocks_counts_from_the_first_of_each_stage(counts: tuple[int, ...]):
    sizes = temporal_sizes(on_meta("fast_r50_32x2", temporal_blocks=counts).pathway)
    assert [stage.count(3) for stage in sizes[1:]] == list(counts)
    assert all(stage == sorted(stage, reverse=True) for stage in sizes[1:])


@pytest.mark.parametrize(("depth", "blocks"), [(14, 4), (26, 8), (50, 16), (101, 33), (152, 50)])
def test_depth_is_three_convolutions_a_block_and_two_layers_more(depth: int, blocks: int):
    pathway = on_meta("slow_r50_8x8", depth=depth).pathway
    assert sum(len(getattr(pathway, stage)) for stage in STAGES) == blocks
    assert depth == 3 * blocks + 2


def test_shapes_run_through_the_stages_as_in_table_1():
    pathway = Pathway(ResNet3DArch(depth=14), in_channels=3, width=8, depth=14, kernels=SLOW_KERNELS).eval()
    shapes = [tuple((x := pathway.stem(torch.randn(1, 3, 4, 64, 96))).shape)]
    for i in range(4):
        x = pathway.stage(i, x)
        shapes.append(tuple(x.shape))
    assert shapes == [(1, 8, 4, 16, 24), (1, 32, 4, 16, 24), (1, 64, 4, 8, 12), (1, 128, 4, 4, 6), (1, 256, 4, 2, 3)]
    assert pathway.num_features == 256


def test_fused_channels_widen_the_first_block_of_a_stage_only():
    pathway = Pathway(
        ResNet3DArch(depth=26), in_channels=3, width=8, depth=26, kernels=FAST_KERNELS, fused=(1, 2, 3, 4)
    )  # one pathway of two
    widths = [[block.a.conv.in_channels for block in getattr(pathway, stage)] for stage in STAGES]
    assert widths == [[8 + 1, 32], [32 + 2, 64], [64 + 3, 128], [128 + 4, 256]]
