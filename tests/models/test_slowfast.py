"""The two-pathway network: what goes in, what comes out, and timm's methods."""

import copy

import pytest
import torch
from torch import nn

from slowfast_hub.models import VideoModel
from slowfast_hub.zoo.create import create_model

SMALL = {"depth": 14, "width": 16, "num_classes": 5, "zero_init_last": False}


def small(**changes: object) -> VideoModel:
    torch.manual_seed(0)
    return create_model("slowfast_r50_4x16", **(SMALL | changes))


def clips(batch: int = 2, frames: int = 16, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_input_is_unchanged_by_forward():
    model, given = small(), clips()
    kept = given.clone()
    pair = [given[:, :, ::8].contiguous(), given]
    kept_pair = [part.clone() for part in pair]
    model(given)
    model(pair)
    assert torch.equal(given, kept)
    assert len(pair) == 2
    assert all(torch.equal(now, before) for now, before in zip(pair, kept_pair))


@pytest.mark.parametrize("fast_input", ["rgb", "gray", "diff", "half"])
@pytest.mark.parametrize("container", [list, tuple])
@torch.inference_mode()
def test_pair_of_slow_and_fast_equals_the_single_tensor(fast_input: str, container: type):
    model, given = small(fast_input=fast_input), clips()
    pair = container([given[:, :, [0, 15]], given])
    assert torch.equal(model(pair), model(given))


@torch.inference_mode()
def test_videos_of_a_batch_do_not_touch_each_other():
    model, given = small(), clips()
    torch.testing.assert_close(model(given), torch.cat([model(given[:1]), model(given[1:])]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("frames", [8, 24, 32, 64])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 57), (97, 33), (1, 1)])
@torch.inference_mode()
def test_any_crop_and_any_multiple_of_alpha_frames_is_taken(frames: int, height: int, width: int):
    given = clips(1, frames, height, width)
    slow, fast = small().forward_features(given)
    assert slow.shape == (1, 512, frames // 8, -(-height // 32), -(-width // 32))
    assert fast.shape == (1, 64, frames, -(-height // 32), -(-width // 32))
    assert small()(given).shape == (1, 5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (torch.randn(2, 3, 12, 32, 32), "multiple of alpha = 8 frames; got 12"),
        (torch.randn(3, 16, 32, 32), r"clips must be \(B, 3, T, H, W\) with no empty side; got \(3, 16, 32, 32\)"),
        (torch.randn(2, 16, 3, 32, 32), r"clips must be \(B, 3, T, H, W\)"),
        (torch.zeros(2, 3, 16, 32, 32, dtype=torch.uint8), "normalised floats; got torch.uint8: use EvalTransform"),
        ([torch.randn(2, 3, 16, 32, 32)], r"a list must be \[slow, fast\]; got 1 tensors"),
        ([torch.randn(2, 3, 3, 32, 32), torch.randn(2, 3, 16, 32, 32)], "alpha = 8 frames per slow frame; got 3"),
        ([torch.randn(2, 3, 2, 32, 32), torch.randn(2, 3, 16, 16, 16)], "agree in batch, height and width"),
        ([torch.randn(2, 3, 2, 32, 32), torch.randn(1, 3, 16, 32, 32)], "agree in batch, height and width"),
        ([torch.randn(2, 3, 2, 32, 32), torch.randn(2, 1, 16, 32, 32)], r"fast must be \(B, 3, T, H, W\)"),
    ],
)
def test_input_of_another_shape_is_an_error_that_says_what_was_expected(given: object, says: str):
    with pytest.raises(ValueError, match=says):
        small()(given)


def test_features_of_r50_are_2048_of_slow_and_256_of_fast():
    with torch.device("meta"):
        model = create_model("slowfast_r50_4x16")
        slow, fast = model.forward_features(torch.empty(1, 3, 32, 224, 224))
    assert model.num_features == 2304
    assert model.num_classes == 400
    assert slow.shape == (1, 2048, 4, 7, 7)
    assert fast.shape == (1, 256, 32, 7, 7)


@torch.inference_mode()
def test_forward_is_forward_head_of_forward_features():
    model, given = small(), clips()
    maps = model.forward_features(given)
    assert torch.equal(model.forward_head(maps), model(given))
    features = model.forward_head(maps, pre_logits=True)
    assert features.shape == (2, model.num_features)
    assert torch.equal(model.get_classifier()(features), model(given))


@torch.inference_mode()
def test_reset_classifier_changes_the_head_and_nothing_else():
    model, given = small(), clips()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.reset_classifier(7)
    assert model.num_classes == model.arch.num_classes == 7
    assert model.get_classifier().out_features == 7
    assert model(given).shape == (2, 7)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("head.fc."))


@torch.inference_mode()
def test_no_classes_give_pooled_features():
    given = clips()
    bare, full = small(num_classes=0), small()
    bare.load_state_dict({key: value for key, value in full.state_dict().items() if not key.startswith("head.fc.")})
    features = full.forward_head(full.forward_features(given), pre_logits=True)
    assert isinstance(bare.get_classifier(), nn.Identity)
    assert torch.equal(bare(given), features)
    full.reset_classifier(0)
    assert torch.equal(full(given), features)


@pytest.mark.parametrize("row", ["slowfast_r50_4x16", "slowfast_nl_r50_4x16", "i3d_r50_8x8"])
def test_grad_checkpointing_gives_the_same_output_and_gradients(row: str):
    torch.manual_seed(0)
    changes = {"nonlocal_at": ((), (0,), (), ())} if "_nl_" in row else {}
    plain = create_model(row, **SMALL, **changes, dropout=0.0).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    outputs = [model(clips(frames=8)) for model in (plain, saving)]
    torch.testing.assert_close(outputs[0], outputs[1])
    for logits in outputs:
        logits.square().sum().backward()
    for (name, parameter), other in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")
    saving.set_grad_checkpointing(False)
    assert not saving.get_submodule("slow" if "slowfast" in row else "pathway").grad_checkpointing


def test_every_parameter_gets_a_gradient():
    model = small().train()
    model(clips()).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_one_tensor_form_exports():
    model, given = small(pool="window_probs").requires_grad_(False), clips()
    exported = torch.export.export(model, (given,)).module()
    torch.testing.assert_close(exported(given), model(given))


@torch.inference_mode()
def test_weights_travel_through_a_state_dict():
    model, other = small(), create_model("slowfast_r50_4x16", **SMALL)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(clips()), model(clips()))
