"""The maps of any stage: those its modules give, and nothing computed behind it."""

from functools import partial

import pytest
import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.models.classifier import MAPS
from slowfast_hub.zoo.create import create_model

SMALL = {"depth": 14, "width": 16, "num_classes": 5, "zero_init_last": False}


def small(row: str, **changes: object) -> VideoModel:
    torch.manual_seed(0)
    return create_model(row, **(SMALL | changes))


def clips(frames: int = 16) -> torch.Tensor:
    return torch.randn(1, 3, frames, 64, 64, generator=torch.Generator().manual_seed(0))


def pathways(model: VideoModel) -> list[torch.nn.Module]:
    return [model.slow, model.fast] if hasattr(model, "slow") else [model.pathway]


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slowfast_r50_8x8", "slow_r50_8x8", "i3d_r50_8x8"])
@torch.inference_mode()
def test_maps_of_a_stage_are_what_its_modules_give_in_a_whole_run(row: str):
    model, given = small(row), clips()
    kept: dict[str, list[torch.Tensor]] = {name: [torch.empty(0)] * len(pathways(model)) for name in MAPS}
    hooks = []
    for side, pathway in enumerate(pathways(model)):
        for name in MAPS:
            keep = partial(kept[name].__setitem__, side)
            hooks.append(pathway.get_submodule(name).register_forward_hook(lambda m, x, out, keep=keep: keep(out)))
    whole = model.forward_features(given)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(a, b) for a, b in zip(whole, kept["res5"], strict=True))
    for name in MAPS:
        maps = model.forward_features(given, stage=name)
        assert all(torch.equal(a, b) for a, b in zip(maps, kept[name], strict=True))
        assert [m.shape for m in maps] == [m.shape for m in kept[name]]


@pytest.mark.parametrize(
    ("stage", "slow", "fast"),
    [
        ("stem", (64, 4, 16, 16), (8, 32, 16, 16)),
        ("res2", (256, 4, 16, 16), (32, 32, 16, 16)),
        ("res3", (512, 4, 8, 8), (64, 32, 8, 8)),
        ("res4", (1024, 4, 4, 4), (128, 32, 4, 4)),
        ("res5", (2048, 4, 2, 2), (256, 32, 2, 2)),
    ],
)
def test_maps_of_r50_have_the_channels_of_table_1_without_those_of_the_laterals(stage, slow, fast):
    with torch.device("meta"):
        model = create_model("slowfast_r50_4x16")
        maps = model.forward_features(torch.empty(1, 3, 32, 64, 64), stage)
    assert tuple(tuple(m.shape[1:]) for m in maps) == (slow, fast)


def test_i3d_gives_res2_before_its_pool_over_time():
    model = small("i3d_r50_8x8")
    with torch.inference_mode():
        shapes = [model.forward_features(clips(8), stage)[0].shape[2] for stage in MAPS]
    assert model.arch.temporal_pool == 2
    assert shapes == [8, 8, 4, 4, 4]


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slow_r50_8x8"])
@torch.inference_mode()
def test_nothing_is_computed_behind_the_stage(row: str):
    model, ran = small(row), []
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in MAPS or (name.startswith("laterals.") and name.count(".") == 1):
            module.register_forward_hook(lambda m, x, out, name=name: ran.append(name))
    model.forward_features(clips(), "res3")
    stages = ("stem", "res2", "res3")
    expected = {"slow_r50_8x8": {f"pathway.{stage}" for stage in stages}}.get(
        row, {f"{side}.{stage}" for side in ("slow", "fast") for stage in stages} | {"laterals.0", "laterals.1"}
    )
    assert sorted(ran) == sorted(expected)


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slow_r50_8x8"])
def test_an_unknown_stage_is_named_before_anything_is_computed(row: str):
    with pytest.raises(ValueError, match="stage must be one of 'stem', 'res2', 'res3', 'res4', 'res5'; got 'res1'"):
        small(row).forward_features(clips(), "res1")
