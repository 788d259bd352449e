"""Every override matters: no field of a row is accepted and then ignored, and impossible combinations are refused."""

from dataclasses import fields

import pytest
import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import FAST_KERNELS, ClipSpec, ResNet3DArch, RoISpec, SlowFastArch
from slowfast_hub.zoo.create import create_model

SMALL = {"depth": 14, "width": 16, "num_classes": 5, "zero_init_last": False}
WITH_NONLOCAL = {"nonlocal_at": ((), (0,), (), ())}
NOT_BUILT = {"clip"}  # says which pixels the weights want; the network does not read it

# field: (overrides it needs to have a meaning, another value, what has to differ)
SHARED = {
    "num_classes": ({}, 6, "tensors"),
    "depth": ({}, 26, "tensors"),
    "width": ({}, 32, "tensors"),
    "in_chans": ({}, 1, "tensors"),
    "temporal_kernels": ({}, FAST_KERNELS, "tensors"),
    "temporal_blocks": ({}, (1, 1, 1, 0), "tensors"),
    "nonlocal_at": ({}, ((), (), (0,), ()), "tensors"),
    "nonlocal_kind": (WITH_NONLOCAL, "softmax", "output"),
    "nonlocal_pool": (WITH_NONLOCAL, (2, 2, 2), "output"),
    "nonlocal_pool_at": (WITH_NONLOCAL, "after", "output"),
    "nonlocal_out_bias": (WITH_NONLOCAL, False, "tensors"),
    "roi": ({}, RoISpec(), "boxes"),
    "pool": ({}, "window_probs", "output"),
    "activation": ({"pool": "window_probs"}, "sigmoid", "output"),
    "dropout": ({}, 0.0, "training"),
    "zero_init_last": ({}, True, "output"),
}
CASES = {
    SlowFastArch: SHARED
    | {
        "alpha": ({}, 4, "output"),
        "beta_inv": ({}, 4, "tensors"),
        "lateral": ({}, "tsample", "tensors"),
        "fuse_kernel": ({}, 7, "tensors"),
        "lateral_norm": ({}, False, "tensors"),
        "fast_temporal_kernels": ({}, ((3,), (3,), (3,), (3,), (3,)), "tensors"),
        "fast_input": ({}, "half", "output"),
        "slow_rule": ({}, "strided", "output"),
        "fast_depth": ({}, 26, "tensors"),
    },
    ResNet3DArch: SHARED
    | {
        "temporal_pool": ({}, 2, "output"),
        "stem_strides": ({}, (2, 2), "output"),
        "stem_padding": ({}, 0, "output"),
    },
}
ROW = {SlowFastArch: "slowfast_r50_4x16", ResNet3DArch: "slow_r50_8x8"}
EVERY = [(arch, field) for arch, cases in CASES.items() for field in cases]


def built(arch: type, **changes: object) -> VideoModel:
    """A small network whose tensors come from one seed, and whose non-local blocks do something."""
    torch.manual_seed(0)
    model = create_model(ROW[arch], **(SMALL | changes))
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight") and not name.endswith(".c.norm.weight"):
            torch.nn.init.ones_(parameter)
    return model.requires_grad_(False)


def tensors(model: VideoModel) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


def answer(model: VideoModel, rois: torch.Tensor | None = None) -> torch.Tensor:
    """Logits for a clip whose last map is 8 x 8: more than one pooling window."""
    torch.manual_seed(1)
    return model(torch.randn(1, model.arch.in_chans, 16, 256, 256), rois)


@pytest.mark.parametrize("arch", CASES)
def test_every_field_has_a_case(arch: type):
    assert {field.name for field in fields(arch)} - NOT_BUILT == set(CASES[arch])


@pytest.mark.parametrize(("arch", "field"), EVERY, ids=lambda value: getattr(value, "__name__", value))
def test_field_matters(arch: type, field: str):
    needed, value, differs = CASES[arch][field]
    before, after = built(arch, **needed), built(arch, **needed, **{field: value} if field not in needed else {})
    assert getattr(before.arch, field) != getattr(after.arch, field) == value
    if differs == "tensors":
        assert tensors(before) != tensors(after)
        return
    if differs == "boxes":
        rois = torch.tensor([[0.0, 8, 8, 120, 200], [0.0, 0, 0, 256, 256]])
        assert answer(before).shape == (1, 5)
        assert answer(after, rois).shape == (2, 5)
        return
    assert tensors(before) == tensors(after)  # so that the same seed gave both the same weights
    if differs == "training":
        before, after = before.train().head, after.train().head
        torch.manual_seed(0)
        maps = [torch.ones(1, channels, 1, 7, 7) for channels in (512, 64)][: 1 + (arch is SlowFastArch)]
        assert torch.equal(after(maps), after(maps))
        assert not torch.equal(before(maps), before(maps))
    else:
        assert (answer(before) - answer(after)).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lateral": "ttoc_sum", "beta_inv": 16}, "needs alpha == beta_inv, got 8 and 16"),
        (
            {"lateral": "ttoc_sum", "beta_inv": 6, "alpha": 6, "clip": ClipSpec(frames=36)},
            "a width that beta_inv divides; got width 64 and 6",
        ),
        ({"lateral": "sum"}, "must be one of 'none', 'ttoc_sum', 'ttoc_cat', 'tsample', 'tconv'; got 'sum'"),
        ({"lateral": "tsample", "fuse_kernel": 7}, "belongs to lateral='tconv'"),
        ({"lateral": "none", "lateral_norm": False}, "belongs to lateral='tconv'"),
        ({"fuse_kernel": 4}, "fuse_kernel must be odd"),
        ({"fast_input": "depth"}, "must be one of 'rgb', 'gray', 'diff', 'half', 'flow'"),
        ({"fast_input": "half", "pool": "window_probs"}, "needs pool='global'"),
        ({"fast_input": "gray", "in_chans": 1}, "needs in_chans=3, got 1"),
        ({"slow_rule": "last"}, "must be one of 'linspace', 'strided'"),
        ({"alpha": 0}, "alpha must be a whole number of at least 1"),
        ({"beta_inv": 0}, "beta_inv must be a whole number of at least 1"),
        ({"depth": 34}, "must be one of 14, 26, 50, 101, 152; got 34"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"in_chans": 0}, "in_chans must be a whole number of at least 1"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0"),
        ({"num_classes": 10.0}, "num_classes must be a whole number of at least 0; got 10.0"),
        ({"alpha": 5}, "clip.frames must be a multiple of alpha; got 32 and 5"),
        ({"nonlocal_kind": "softmax"}, "nonlocal_kind belongs to non-local blocks: give nonlocal_at too"),
        ({"nonlocal_out_bias": False}, "nonlocal_out_bias belongs to non-local blocks"),
        ({"roi": RoISpec(), "pool": "window_probs"}, "a detector .roi. has boxes"),
        ({"roi": RoISpec(), "fast_input": "half"}, "maps of two sizes, and a detector .roi. cuts boxes out of one"),
        ({"fast_depth": 34}, "fast_depth must be one of 14, 26, 50, 101, 152; got 34"),
        ({"nonlocal_pool": 2}, "nonlocal_pool is a tuple of 3"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"pool": "max"}, "must be one of 'global', 'window_logits', 'window_probs'"),
        ({"activation": "tanh"}, "must be one of 'softmax', 'sigmoid'"),
        ({"temporal_kernels": ((1,),) * 4}, "temporal_kernels is a tuple of 5: odd sizes of the stem and res2..res5"),
        ({"temporal_kernels": ((2,), *((1,),) * 4)}, "odd sizes"),
        ({"fast_temporal_kernels": ((5,), (), (3,), (3,), (3,))}, "odd sizes"),
        ({"temporal_blocks": (3, 4, 7, 3)}, r"up to \(3, 4, 6, 3\) at depth 50"),
        ({"nonlocal_at": ((), (4,), (), ())}, r"res3 has blocks 0..3 at depth 50; got \(4,\)"),
        ({"nonlocal_at": ((), (1, 1), (), ())}, "res3 has blocks 0..3"),
        ({"nonlocal_at": ((),)}, "nonlocal_at is a tuple of 4: a tuple of block positions for each of res2..res5"),
        ({"nonlocal_kind": "concat"}, "must be one of 'dot_product', 'softmax', 'softmax_unscaled', 'gaussian'"),
        ({"nonlocal_pool": (2, 2)}, "nonlocal_pool is a tuple of 3: sizes T, H, W of at least 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_impossible_combinations_are_refused_before_anything_is_built(changes: dict, says: str):
    with pytest.raises(ValueError, match=says):
        create_model("slowfast_r50_4x16", **changes)


def test_temporal_pool_is_at_least_one():
    with pytest.raises(ValueError, match="temporal_pool must be a whole number of at least 1; got 0"):
        create_model("i3d_r50_8x8", temporal_pool=0)


@pytest.mark.parametrize(
    ("field", "value"), [("grid", 8), ("aligned", True), ("time_pool", "max"), ("dilation", 1)], ids=lambda v: str(v)
)
@torch.inference_mode()
def test_every_field_of_a_detector_matters(field: str, value: object):
    rois = torch.tensor([[0.0, 40, 40, 90, 150]])
    before, after = (built(SlowFastArch, roi=roi) for roi in (RoISpec(), RoISpec(**{field: value})))
    assert tensors(before) == tensors(after)
    assert (answer(before, rois) - answer(after, rois)).abs().max() > 1e-7


def test_boxes_belong_to_detectors_and_detectors_need_them():
    with pytest.raises(ValueError, match=r"a detector needs rois \(N, 5\)"):
        answer(built(ResNet3DArch, roi=RoISpec()))
    with pytest.raises(ValueError, match=r"rois must be \(N, 5\): batch index, x1, y1, x2, y2; got \(1, 4\)"):
        answer(built(ResNet3DArch, roi=RoISpec()), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="classifies whole clips; rois are for detectors"):
        answer(built(ResNet3DArch), torch.zeros(1, 5))
