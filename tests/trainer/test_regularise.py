import torch

from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.regularise import drop_paths, make_mix
from slowfast_hub.zoo.create import create_model


def test_mixed_clips_have_mixed_targets():
    """A clip of ones with label 0 and one of zeros with label 1: what is left of the ones is the share of label 0."""
    mix = make_mix(Recipe("any", mixup=1.0), 2)
    clips = torch.stack([torch.ones(3, 4, 6, 6), torch.zeros(3, 4, 6, 6)])
    mixed, targets = mix(clips.clone(), torch.tensor([0, 1]))
    assert torch.allclose(mixed[0].mean(), targets[0, 0], atol=1e-6)
    assert torch.allclose(targets.sum(1), torch.ones(2))
    assert mixed.shape == clips.shape


def test_a_cut_box_is_the_same_in_all_frames():
    torch.manual_seed(0)
    mix = make_mix(Recipe("any", cutmix=1.0), 2)
    clips = torch.stack([torch.ones(3, 4, 16, 16), torch.zeros(3, 4, 16, 16)])
    mixed, targets = mix(clips.clone(), torch.tensor([0, 1]))
    assert all(torch.equal(mixed[0, 0, 0], mixed[0, c, t]) for c in range(3) for t in range(4))
    assert torch.allclose(mixed[0].mean(), targets[0, 0], atol=1e-6)


def test_the_last_of_an_odd_number_stays():
    mix = make_mix(Recipe("any", mixup=1.0), 3)
    clips = torch.randn(3, 3, 2, 4, 4)
    mixed, targets = mix(clips.clone(), torch.tensor([0, 1, 2]))
    assert torch.equal(mixed[2], clips[2])
    assert targets[2].tolist() == [0, 0, 1]
    assert make_mix(Recipe("any"), 3) is None


def test_blocks_are_dropped_in_training_alone_and_the_later_the_more():
    model = create_model("slow_r50_4x16", width=8, num_classes=2)
    keys = list(model.state_dict())
    clips = torch.randn(1, 3, 4, 32, 32)
    before = model.eval()(clips)
    drop_paths(model, 0.99)
    assert list(model.state_dict()) == keys
    assert torch.equal(model.eval()(clips), before)
    blocks = model.pathway.res5
    seen = []
    blocks[2].c.register_forward_hook(lambda module, inputs, output: seen.append(float(output.detach().abs().sum())))
    model.pathway.res5[2].c.norm.weight.data.fill_(1.0)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 4, 32, 32))
        for _ in range(5):
            model(torch.randn(2, 3, 4, 32, 32))
    assert seen.count(0.0) >= 3  # a chance of 0.99 for each of two clips
