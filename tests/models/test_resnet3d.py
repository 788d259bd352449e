"""The one-pathway networks: Slow-only, Fast-only, I3D, C2D."""

import pytest
import torch

from slowfast_hub.models import VideoModel, build
from slowfast_hub.spec import Arch
from slowfast_hub.zoo.create import create_model

ROWS = ["slow_r50_8x8", "fast_r50_32x2", "i3d_r50_8x8", "c2d_r50_8x8", "slow_nl_r50_8x8"]


def small(row: str, **changes: object) -> VideoModel:
    torch.manual_seed(0)
    places = {"nonlocal_at": ((), (0,), (), ())} if "_nl_" in row else {}
    return create_model(
        row, **({"depth": 14, "width": 8, "num_classes": 5, "zero_init_last": False} | places | changes)
    )


@pytest.mark.parametrize("row", ROWS)
@torch.inference_mode()
def test_clips_give_logits_and_stay_unchanged(row: str):
    clips = torch.randn(2, 3, 8, 40, 33)
    kept = clips.clone()
    assert small(row)(clips).shape == (2, 5)
    assert torch.equal(clips, kept)


@pytest.mark.parametrize("frames", [2, 3, 8, 17])
@torch.inference_mode()
def test_temporal_pool_of_2_halves_the_frames_after_res2(frames: int):
    (pooled,) = small("i3d_r50_8x8").forward_features(torch.randn(1, 3, frames, 32, 32))
    (whole,) = small("slow_r50_8x8").forward_features(torch.randn(1, 3, frames, 32, 32))
    assert pooled.shape == (1, 256, frames // 2, 1, 1)
    assert whole.shape == (1, 256, frames, 1, 1)


@torch.inference_mode()
def test_c2d_without_its_pool_sees_every_frame_alone():
    """Frames in another order are the same to it, as no kernel is longer than 1 in time."""
    model, clips = small("c2d_r50_8x8", temporal_pool=1), torch.randn(1, 3, 8, 32, 32)
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    torch.testing.assert_close(model(clips[:, :, order]), model(clips), rtol=1e-4, atol=1e-6)
    slow = small("slow_r50_8x8")
    assert (slow(clips[:, :, order]) - slow(clips)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("row", "given", "says"),
    [
        ("i3d_r50_8x8", torch.randn(1, 3, 1, 32, 32), "at least 2 frames; got 1"),
        (
            "slow_r50_8x8",
            torch.randn(1, 4, 8, 32, 32),
            r"clips must be \(B, 3, T, H, W\) with no empty side; got \(1, 4",
        ),
        ("slow_r50_8x8", torch.zeros(1, 3, 8, 32, 32, dtype=torch.long), "normalised floats; got torch.int64"),
    ],
)
def test_input_of_another_shape_is_an_error(row: str, given: torch.Tensor, says: str):
    with pytest.raises(ValueError, match=says):
        small(row)(given)


@torch.inference_mode()
def test_timms_methods():
    model, clips = small("slow_r50_8x8"), torch.randn(2, 3, 4, 32, 32)
    maps = model.forward_features(clips)
    assert len(maps) == 1
    assert torch.equal(model.forward_head(maps), model(clips))
    assert model.forward_head(maps, pre_logits=True).shape == (2, model.num_features) == (2, 256)
    model.reset_classifier(0)
    assert model(clips).shape == (2, 256)
    model.reset_classifier(3)
    assert model(clips).shape == (2, 3)
    assert model.num_classes == 3


def test_features_of_r50_are_2048_and_of_fast_only_256():
    with torch.device("meta"):
        assert create_model("slow_r50_8x8").num_features == 2048
        assert create_model("fast_r50_32x2").num_features == 256


def test_an_arch_of_no_family_is_refused():
    with pytest.raises(TypeError, match="SlowFastArch or a ResNet3DArch; got Arch"):
        build(Arch())
