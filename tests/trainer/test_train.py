import numpy as np
import pytest
import torch

from slowfast_hub.spec import ClipSpec, SlowFastArch
from slowfast_hub.trainer.data import Sample
from slowfast_hub.trainer.evaluate import Evaluation, evaluate
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.train import train
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.load import load_weights
from slowfast_hub.zoo.registry import ARCHS, register_model
from slowfast_hub.zoo.save import save_tensors

NAME = "tiny_for_training"
RECIPE = Recipe(NAME, epochs=30, batch_size=4, optimizer="adamw", lr=3e-3, warmup_epochs=1, jitter=(32, 32), flip=0.0)


@pytest.fixture(autouse=True)
def tiny_row():
    clip = ClipSpec(frames=8, stride=2, short_side=32, crop=32)
    register_model(NAME, SlowFastArch(clip, depth=14, width=8, beta_inv=2, dropout=0.0))
    yield
    del ARCHS[NAME]


def moving_bars(count: int) -> list[Sample]:
    """Bars that move right (class 0) or left (class 1): no single frame tells them apart."""
    samples = []
    for i in range(count):
        frames = np.zeros((16, 32, 32, 3), np.uint8)
        for t in range(16):
            frames[t, :, (5 * i + (2 * t if i % 2 == 0 else -2 * t)) % 32] = 255
        samples.append(Sample(frames, i % 2, fps=30.0))
    return samples


def test_training_learns_the_direction_of_motion():
    log = []
    model = train(RECIPE, moving_bars(8), num_classes=2, log=log.append)
    assert not model.training
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert evaluate(model, moving_bars(8), views="centre").top(1) == 1.0


def test_the_same_seed_gives_the_same_weights():
    short = Recipe(NAME, epochs=1, batch_size=4, warmup_epochs=0, jitter=(30, 34))
    first, second = (train(short, moving_bars(8), num_classes=2).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_weights_saved_by_training_start_another_and_make_a_new_head_for_other_classes(tmp_path):
    path = tmp_path / "w.safetensors"
    model = create_model(NAME, num_classes=2)
    save_tensors(model.to(memory_format=torch.channels_last_3d).state_dict(), path, metadata={})
    assert load_weights(create_model(NAME, num_classes=2), path).new == ()
    idle = Recipe(NAME, init=str(path), epochs=1, batch_size=8, lr=0.0, warmup_epochs=0, jitter=(32, 32))
    trained = train(idle, moving_bars(8), num_classes=3)
    assert torch.equal(trained.slow.res2[0].a.conv.weight, model.slow.res2[0].a.conv.weight)
    assert trained.get_classifier().out_features == 3


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"label 1 is not in 0\.\.0"):
        train(RECIPE, moving_bars(2), num_classes=1)
    with pytest.raises(ValueError, match="no samples"):
        train(RECIPE, [], num_classes=1)


def test_a_network_in_training_mode_is_not_evaluated():
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        evaluate(create_model(NAME).train(), moving_bars(2), views="centre")


def test_accuracy_and_confusion_can_be_counted_by_hand():
    probs = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.1, 0.5, 0.4]])
    result = Evaluation(probs, torch.tensor([0, 1, 1]))
    assert result.top(1) == pytest.approx(2 / 3)
    assert result.top(2) == 1.0
    assert result.top(1, classes=(0, 1)) == 1.0
    assert result.confusion().tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
