"""Prepared networks give what the plain ones give: logits, and the maps of every stage, of every row and form."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from slowfast_hub.models import VideoModel
from slowfast_hub.models.classifier import MAPS
from slowfast_hub.models.nonlocal_block import NonLocal
from slowfast_hub.predict import fused
from slowfast_hub.predict.speed import prepare
from slowfast_hub.predict.winograd import WinogradConv
from slowfast_hub.spec import FAST_KERNELS, NONLOCAL_KINDS, ClipSpec, RoISpec, SlowFastArch
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.registry import ARCHS, list_models

BOUND = 4e-5  # of the largest value of a map or of the logits; measured 4e-6 at most
SHARP = 4e-4  # the same behind an attention whose affinities are in the hundreds; measured 4e-5
SMALL = {"depth": 26, "width": 16, "num_classes": 5, "zero_init_last": False}
SLOWFAST, SLOW = "slowfast_r50_4x16", "slow_r50_8x8"
ALPHA_3 = {"alpha": 3, "clip": ClipSpec(frames=33)}  # an odd number of Fast frames
LATERALS = "none", "ttoc_sum", "ttoc_cat", "tsample", "tconv"
ROIS = torch.tensor([[0.0, 4, 4, 30, 45], [2, 0, 0, 34, 33], [1, 20, 10, 30, 40]])


def small(row: str, **changes: object) -> VideoModel:
    """The row with two blocks a stage; batch norms and classifier are drawn, so that all of their numbers matter."""
    arch, fewer = ARCHS[row], {}
    if any(arch.nonlocal_at):
        fewer["nonlocal_at"] = tuple((1,) if places else () for places in arch.nonlocal_at)
    if arch.temporal_blocks is not None:
        fewer["temporal_blocks"] = (1, 1, 1, 1)
    if getattr(arch, "fast_depth", None) is not None:
        fewer["fast_depth"] = 14
    torch.manual_seed(0)
    model = create_model(row, **(SMALL | fewer | changes))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            ranges = {"weight": (0.6, 1.2), "running_var": (0.5, 2), "bias": (-0.2, 0.2), "running_mean": (-0.2, 0.2)}
            for name, (low, high) in ranges.items():
                nn.init.uniform_(getattr(module, name), low, high)
        elif isinstance(module, NonLocal) and module.kind != "gaussian":
            nn.init.normal_(module.theta.weight, std=0.003)  # a sharp attention makes much of a rounding
    nn.init.normal_(model.get_classifier().weight, std=0.1)
    return model.requires_grad_(False)


def clips(batch: int, frames: int, height: int = 49, width: int = 35, channels: int = 3) -> Tensor:
    """Noise, the second clip with twice the contrast of the first, the third with three times."""
    noise = torch.randn(batch, channels, frames, height, width, generator=torch.Generator().manual_seed(1))
    return noise * torch.arange(1, batch + 1).view(-1, 1, 1, 1, 1)


def apart(ready: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest value."""
    assert [m.shape for m in ready] == [m.shape for m in plain]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ready, plain, strict=True))


def check_same(model: VideoModel, given: Tensor | list[Tensor], bound: float = BOUND) -> VideoModel:
    """The prepared network, after it has given the logits and the maps of all stages that `model` gives."""
    ready, boxes = prepare(model), None if model.arch.roi is None else ROIS
    for stage in MAPS:
        plain = model.forward_features(given, stage)
        assert apart(ready.forward_features(given, stage), plain) < bound
    logits = model.forward_head(plain, rois=boxes)
    assert logits.std(0).max() > 0.01  # over clips or boxes
    assert apart([ready(given, boxes)], [logits]) < bound
    first = [part[:1] for part in given] if isinstance(given, list) else given[:1]
    assert apart([ready(first, boxes if boxes is None else boxes[:1])], [logits[:1]]) < bound
    return ready


@pytest.mark.parametrize("row", list_models())
def test_every_row(row: str):
    model = small(row)
    check_same(model, clips(3, 16 if isinstance(model.arch, SlowFastArch) else 9))


@pytest.mark.parametrize(
    ("lateral", "fast_input"),
    [(lateral, kind) for lateral in LATERALS for kind in ("rgb", "half")]
    + [("tconv", kind) for kind in ("gray", "diff", "flow")],
)
def test_every_lateral_and_every_fast_input(lateral: str, fast_input: str):
    given, model = clips(2, 16, 65, 47), small(SLOWFAST, lateral=lateral, fast_input=fast_input)
    check_same(model, [given[:, :, ::8], given[:, :2]] if fast_input == "flow" else given)


@pytest.mark.parametrize("kind", NONLOCAL_KINDS)
@pytest.mark.parametrize(("at", "bias"), [("before", True), ("after", False)])
def test_every_non_local_block(kind: str, at: str, bias: bool):
    details = {"nonlocal_kind": kind, "nonlocal_pool_at": at, "nonlocal_out_bias": bias}
    model = small("i3d_r50_8x8", nonlocal_at=((), (0,), (1,), ()), **details)
    check_same(model, clips(2, 8), SHARP if kind == "gaussian" else BOUND)


@pytest.mark.parametrize("steps", [3, 4])
@pytest.mark.parametrize(
    ("row", "changes"),
    [
        (SLOWFAST, {"lateral_norm": False}),
        (SLOWFAST, {"slow_rule": "strided", "pool": "window_probs"}),
        (SLOWFAST, {"lateral": "ttoc_cat", "beta_inv": 1, **ALPHA_3}),  # 16 + 3 x 16 channels: a bare shortcut in res2
        (SLOWFAST, {"fuse_kernel": 3, **ALPHA_3}),
        (SLOWFAST, {"beta_inv": 16}),
        (SLOWFAST, {"width": 10, "beta_inv": 6, "temporal_kernels": FAST_KERNELS}),
        (SLOWFAST, {"roi": RoISpec(dilation=1, time_pool="max")}),
        (SLOW, {"roi": RoISpec(grid=8, aligned=True)}),
        (SLOW, {"stem_strides": (2, 2), "stem_padding": 0}),
        (SLOW, {"stem_strides": (1, 2), "temporal_pool": 2}),
        (SLOW, {"stem_strides": (2, 1), "width": 8, "temporal_kernels": FAST_KERNELS}),
        (SLOW, {"stem_padding": 0, "temporal_kernels": ((3,), (1,), (1, 5), (1,), (7,))}),
        (SLOW, {"stem_padding": 0, "width": 8, "temporal_kernels": FAST_KERNELS}),
    ],
)
def test_other_forms_in_odd_and_even_times(row: str, changes: dict, steps: int):
    model = small(row, **changes)
    check_same(model, clips(3, steps * getattr(model.arch, "alpha", 3), 33, 30))


# At width 64 res3 to res5 have 128 to 512 channels inside: those with 3 places in time, or 3 x 3 and no stride.
HALVED = {"res3.1.b", "res4.0.a", "res4.1.a", "res4.1.b", "res5.0.a", "res5.1.a", "res5.1.b"}


@pytest.mark.parametrize(
    ("row", "changes", "layers"),
    [
        (SLOWFAST, {}, HALVED),
        ("slow_det_r50_8x8", {}, HALVED | {"res5.0.b"}),  # dilated, without a stride
        ("slow_det_r50_8x8", {"roi": RoISpec(dilation=1)}, HALVED | {"res5.0.b"}),
        ("c2d_r50_8x8", {}, {"res3.1.b", "res4.1.b", "res5.1.b"}),
    ],
)
def test_wide_kernels_of_3_take_half_of_the_products(row: str, changes: dict, layers: set[str]):
    ready = check_same(small(row, width=64, **changes), clips(3, 8, 33, 30))
    found = {name.split(".", 1)[1] for name, module in ready.named_modules() if isinstance(module, WinogradConv)}
    assert found == {f"{layer}.conv" for layer in layers}


@pytest.mark.parametrize(
    ("row", "alone"),
    [(row, {"slow": 3, "fast": 0}) for row in list_models("slowfast_r*")]
    + [("slowfast_nl_r50_8x8", {"slow": 2, "fast": 0}), ("slowfast_nl_r101_16x8", {"slow": 3, "fast": 0})]
    + [(SLOW, {"pathway": 3}), ("slow_nl_r50_8x8", {"pathway": 2}), ("c2d_r50_8x8", {"pathway": 2})]
    + [("fast_r50_32x2", {"pathway": 0}), ("i3d_r50_8x8", {"pathway": 0})],
)
def test_stages_in_front_of_the_first_kernel_in_time_see_single_frames(row: str, alone: dict[str, int]):
    ready = prepare(small(row))
    assert {name: getattr(ready, name).alone for name in alone} == alone


@pytest.mark.parametrize("strides", [(1, 2), (2, 1)])
def test_a_stem_with_a_stride_in_time_sees_all_frames_at_once(strides: tuple[int, int]):
    assert prepare(small(SLOW, stem_strides=strides)).pathway.alone == 0


@pytest.mark.parametrize(("group_bytes", "groups"), [(1, [1, 1, 1, 1, 1]), (2**17, [3, 2]), (2**40, [5])])
@pytest.mark.parametrize(
    ("row", "changes"),
    [(SLOWFAST, {"lateral": "tconv", "fast_input": "half"})]
    + [(SLOWFAST, {"lateral": lateral}) for lateral in ("none", "ttoc_sum", "tsample")]
    + [("slow_nl_r50_8x8", {}), ("c2d_r50_8x8", {"temporal_pool": 1})],
)
def test_5_frames_in_groups_of_any_size(monkeypatch, row: str, changes: dict, group_bytes: int, groups: list[int]):
    monkeypatch.setattr(fused, "GROUP_BYTES", group_bytes)  # 2 clips of 9 x 8 places and 64 channels: 36,864 a frame
    given = clips(2, 40 if row == SLOWFAST else 5, 33, 30)
    ready, sizes = check_same(small(row, **changes), given), []
    stem = (ready.slow if row == SLOWFAST else ready.pathway).stem
    stem.register_forward_hook(lambda module, arguments, out: sizes.append(out.shape[2]))
    ready(given)
    assert sizes == groups


def test_a_network_in_double_precision_is_prepared_in_single():
    model, given = small(SLOWFAST), clips(1, 16)
    logits = prepare(copy.deepcopy(model).double())(given.double())
    assert logits.dtype == torch.float32
    assert apart([logits], [model(given)]) < BOUND


@pytest.mark.parametrize("row", [SLOWFAST, "i3d_nl_r50_8x8", "slow_det_r50_4x16"])
def test_the_plain_network_stays_as_it_was_and_the_prepared_one_takes_no_gradients(row: str):
    model, given = small(row).train().requires_grad_(), clips(2, 16)
    boxes = None if model.arch.roi is None else ROIS[:1]
    before, answer = copy.deepcopy(model.state_dict()), copy.deepcopy(model).eval()(given, boxes)
    ready = prepare(model)
    assert not ready(given, boxes).requires_grad
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert (model.training, ready.training) == (True, False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.eval()(given, boxes), answer)
    model(given, boxes).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("changes", [{"lateral": lateral} for lateral in LATERALS] + [{"fast_input": "flow"}], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_neither_clips_nor_maps_are_written_to_later(changes: dict, layout: torch.memory_format):
    parts = clips(2, 2), clips(2, 16, channels=2 if "fast_input" in changes else 3)
    given, ready = [part.clone(memory_format=layout) for part in parts], prepare(small(SLOWFAST, **changes))
    maps = *ready.forward_features(given, "res2"), *ready.forward_features(given)
    before = [one.clone() for one in maps]
    ready([-part for part in parts])
    ready.forward_head(maps[2:])
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(given, parts, strict=True))


@pytest.mark.parametrize("ran", [False, True])
def test_a_copy_answers_the_same(ran: bool):
    ready = prepare(small(SLOWFAST))
    if ran:
        ready(clips(1, 16))
    assert torch.equal(copy.deepcopy(ready)(clips(1, 16)), ready(clips(1, 16)))


@pytest.mark.parametrize("row", [SLOWFAST, SLOW])
def test_no_clips_have_no_logits(row: str):
    model = small(row)
    assert model(clips(0, 16)).shape == prepare(model)(clips(0, 16)).shape == (0, 5)


def test_weights_with_a_nan_are_refused():
    model = small(SLOWFAST)
    model.slow.res3[0].b.conv.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="the weights hold NaN or infinity"):
        prepare(model)


def swapped(model: VideoModel, name: str, module: nn.Module) -> VideoModel:
    parent, _, child = name.rpartition(".")
    model.get_submodule(parent).add_module(child, module)
    return model.eval()


class Shift(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.roll(x, 1, 2)


CHANGES = {
    "another norm": ("slow.res2.0.b.norm", lambda: nn.GroupNorm(4, 16)),
    "another activation": ("slow.res3.0.b.act", nn.SiLU),
    "another activation of a block": ("slow.res2.0.act", nn.SiLU),
    "another activation of the stem": ("fast.stem.conv1.act", nn.SiLU),
    "another pool": ("slow.stem.pool1", lambda: nn.AvgPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    "a shift in time": ("slow.res2.shift", Shift),
}


@pytest.mark.parametrize("changed", CHANGES)
@torch.inference_mode()
def test_what_somebody_has_changed_stays_as_it_is(changed: str):
    name, made = CHANGES[changed]
    model, given = swapped(small(SLOWFAST), name, made()), clips(1, 16)
    assert torch.allclose(prepare(model)(given), model(given), atol=1e-3)


@torch.inference_mode()
def test_synchronised_batch_norm_is_folded_too():
    model, given = nn.SyncBatchNorm.convert_sync_batchnorm(small(SLOWFAST)), clips(1, 16)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in prepare(model).modules())
    assert torch.allclose(prepare(model)(given), small(SLOWFAST)(given), atol=1e-3)


@torch.inference_mode()
def test_a_non_local_block_may_end_res2():
    model, given = small(SLOWFAST, nonlocal_at=((0,), (), (), ())), clips(1, 16)
    assert torch.allclose(prepare(model)(given), model(given), atol=1e-3)


@torch.inference_mode()
def test_new_weights_are_seen():
    ready, given = prepare(small(SLOWFAST)), clips(1, 16)
    ready(given)
    ready.load_state_dict({key: 1.1 * value for key, value in ready.state_dict().items()})
    assert torch.equal(copy.deepcopy(ready)(given), ready(given))
