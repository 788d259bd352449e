"""The clip that a file of weights expects."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from slowfast_hub.spec import ClipSpec
from slowfast_hub.transforms.eval import EvalTransform

SMALL = ClipSpec(short_side=32, crop=32)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_grey_is_normalised_by_mean_and_std():
    clip = EvalTransform(SMALL)(torch.full((4, 40, 60, 3), 255, dtype=torch.uint8))
    assert clip.shape == (3, 4, 32, 32)
    assert clip.dtype == torch.float32
    assert torch.allclose(clip, torch.tensor((1 - 0.45) / 0.225))


def test_channels_have_their_own_mean_and_std():
    spec = ClipSpec(short_side=8, crop=8, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    clip = EvalTransform(spec)(torch.full((1, 8, 8, 3), 255, dtype=torch.uint8))
    assert clip[:, 0, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_same_clip_as_normalising_first_like_pyslowfast():
    frames = noise(3, 48, 66, 3)
    normalised = (frames.permute(3, 0, 1, 2).float() / 255 - 0.45) / 0.225
    resized = functional.interpolate(normalised, size=(32, 44), mode="bilinear", align_corners=False)
    clip = EvalTransform(SMALL)(frames, crop="right")
    assert (clip - resized[..., 12:]).abs().max() < 1e-5


def test_three_crops_share_one_resize():
    transform, frames = EvalTransform(SMALL), noise(2, 40, 80, 3)
    resized = transform.resized(frames)
    assert resized.shape == (3, 2, 32, 64)
    for crop in ("left", "centre", "right"):
        assert torch.equal(transform.cropped(resized, crop=crop), transform(frames, crop=crop))
    assert not torch.equal(transform(frames, crop="left"), transform(frames, crop="right"))


def test_contain_pads_with_the_mean_colour_and_has_one_view():
    transform = EvalTransform(ClipSpec(short_side=32, crop=32, fit="contain"))
    clip = transform(torch.zeros(2, 40, 80, 3, dtype=torch.uint8), crop="left")
    assert clip.shape == (3, 2, 32, 32)
    column = clip[0, 0, :, 0]
    assert column[:8].tolist() == [0] * 8
    assert column[8:24].tolist() == pytest.approx([-2.0] * 16)
    assert column[24:].tolist() == [0] * 8


def test_antialias_belongs_to_the_spec():
    frames = noise(1, 128, 128, 3)
    plain, smooth = (EvalTransform(ClipSpec(short_side=32, crop=32, antialias=a))(frames) for a in (False, True))
    assert smooth.std() < 0.6 * plain.std()


def test_frames_are_left_unchanged():
    frames = noise(2, 32, 32, 3)
    before = frames.clone()
    EvalTransform(SMALL)(frames)
    assert torch.equal(frames, before)


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        (torch.zeros(2, 8, 8, 3), TypeError, "must be uint8"),
        (torch.zeros(3, 2, 8, 8, dtype=torch.uint8), ValueError, r"got \(3, 2, 8, 8\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), ValueError, r"got \(8, 8, 3\)"),
        (torch.zeros(0, 8, 8, 3, dtype=torch.uint8), ValueError, "no empty side"),
    ],
)
def test_wrong_frames_say_what_was_expected(frames, error, words):
    with pytest.raises(error, match=words):
        EvalTransform(SMALL)(frames)


def test_an_array_is_told_how_to_become_a_tensor():
    with pytest.raises(TypeError, match=r"must be a torch tensor, as torch.from_numpy makes one; got ndarray"):
        EvalTransform(ClipSpec())(np.zeros((4, 8, 8, 3), np.uint8))
