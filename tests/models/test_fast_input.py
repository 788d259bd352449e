"""What each pathway sees of a clip: the frames of the Slow one, the form of the Fast one."""

import pytest
import torch

from slowfast_hub.models.fast_input import difference, gray, half, slow_indices
from slowfast_hub.zoo.create import create_model

RAMP = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 3, 4, 2, 2) ** 2  # frames 0, 1, 4, 9


@pytest.mark.parametrize(
    ("alpha", "rule", "expected"),
    [
        (8, "linspace", [0, 10, 20, 31]),
        (4, "linspace", [0, 4, 8, 13, 17, 22, 26, 31]),
        (8, "strided", [0, 8, 16, 24]),
        (4, "strided", [0, 4, 8, 12, 16, 20, 24, 28]),
        (32, "linspace", [0]),
        (1, "linspace", list(range(32))),
    ],
)
def test_slow_frames_of_a_clip_of_32(alpha: int, rule: str, expected: list[int]):
    assert slow_indices(32, alpha=alpha, rule=rule).tolist() == expected


@pytest.mark.parametrize("frames", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("alpha", [2, 4, 8])
def test_linspace_rule_is_the_truncated_torch_linspace_of_pyslowfast(frames: int, alpha: int):
    expected = torch.linspace(0, frames - 1, frames // alpha).long()
    assert slow_indices(frames, alpha=alpha, rule="linspace").tolist() == expected.tolist()


@pytest.mark.parametrize(("rule", "seen"), [("linspace", [0, 10, 20, 31]), ("strided", [0, 8, 16, 24])])
def test_network_cuts_the_slow_frames_by_its_rule(rule: str, seen: list[int]):
    model = create_model("slowfast_r50_4x16", width=8, depth=14, slow_rule=rule)
    numbered = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, 3, 32, 4, 4)
    slow, fast = model.split(numbered)
    assert slow[0, 0, :, 0, 0].tolist() == seen
    assert fast[0, 0, :, 0, 0].tolist() == list(range(32))


def test_gray_is_0_299_red_0_587_green_0_114_blue():
    colours = torch.eye(3).view(3, 3, 1, 1, 1)
    assert gray(colours).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert gray(torch.ones(1, 3, 1, 1, 1)).item() == pytest.approx(1)


def test_difference_is_the_change_since_the_frame_before_and_0_at_the_first():
    assert difference(RAMP).shape == (1, 1, 4, 2, 2)
    assert difference(RAMP)[0, 0, :, 0, 0].tolist() == pytest.approx([0, 1, 3, 5])


def test_half_is_the_mean_of_2x2_pixels():
    picture = torch.tensor([[0.0, 2, 4, 6], [2, 4, 6, 8]]).view(1, 1, 1, 2, 4)
    assert half(picture).tolist() == [[[[[2, 6]]]]]
    assert half(torch.empty(1, 3, 5, 7, 9)).shape == (1, 3, 5, 3, 4)


@pytest.mark.parametrize(("kind", "channels", "size"), [("rgb", 3, 8), ("gray", 1, 8), ("diff", 1, 8), ("half", 3, 4)])
def test_fast_pathway_gets_the_form_it_was_built_for(kind: str, channels: int, size: int):
    model = create_model("slowfast_r50_4x16", width=8, depth=14, fast_input=kind)
    clips = torch.randn(2, 3, 16, 8, 8)
    assert model.split(clips)[1].shape == (2, channels, 16, size, size)
    assert model.split([clips[:, :, ::8], clips])[1].shape == (2, channels, 16, size, size)
    assert model.fast.stem.conv1.conv.in_channels == channels


def test_flow_is_given_as_a_list_and_a_single_tensor_is_an_error():
    model = create_model("slowfast_r50_4x16", width=8, depth=14, fast_input="flow", num_classes=3)
    rgb, flow = torch.randn(2, 3, 2, 32, 32), torch.randn(2, 2, 16, 32, 32)
    assert model([rgb, flow]).shape == (2, 3)
    with pytest.raises(ValueError, match=r"takes \[slow_rgb, fast_flow\]"):
        model(torch.randn(2, 3, 16, 32, 32))
    with pytest.raises(ValueError, match=r"fast must be \(B, 2, T, H, W\)"):
        model([rgb, torch.randn(2, 3, 16, 32, 32)])
