import pytest
import torch
from torch import nn

from slowfast_hub.trainer.batch_norm import ClipsBatchNorm3d, arrange, measure_anew, still
from slowfast_hub.trainer.clips import Batch
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.zoo.create import create_model


def test_statistics_are_taken_within_pieces_of_the_batch():
    norm = ClipsBatchNorm3d(3)
    norm.clips = 2
    x = torch.randn(4, 3, 2, 5, 5) + torch.arange(4.0).view(4, 1, 1, 1, 1) * 10
    y = norm(x)
    for piece in (y[:2], y[2:]):
        assert piece.mean((0, 2, 3, 4)).abs().max() < 1e-5
    whole = nn.BatchNorm3d(3)(x)
    assert whole[:2].mean() < -0.5


def test_running_statistics_move_by_one_momentum_a_batch():
    """Constant clips of 10 in two pieces: from 0 a tenth of the way, as in one."""
    norm = ClipsBatchNorm3d(1)
    norm.clips = 2
    norm(torch.full((4, 1, 1, 2, 2), 10.0))
    assert norm.running_mean.item() == pytest.approx(1.0)


def test_a_network_with_pieces_has_the_same_tensors():
    model = create_model("slowfast_r14_4x16_w16")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    arranged = arrange(model, Recipe("any", norm_clips=2))
    after = arranged.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    kinds = {type(module) for module in arranged.modules() if isinstance(module, nn.BatchNorm3d)}
    assert kinds == {ClipsBatchNorm3d}


def test_synchronised_statistics_need_gpus():
    if torch.cuda.is_available():
        pytest.skip("there are GPUs here")
    with pytest.raises(ValueError, match="needs GPUs"):
        arrange(create_model("slowfast_r14_4x16_w16"), Recipe("any", batch_norm="sync"))


def test_still_layers_normalise_by_what_they_have():
    norm = nn.BatchNorm3d(1)
    still(norm.train())
    x = torch.full((2, 1, 1, 1, 1), 3.0)
    assert torch.allclose(norm(x), x, atol=1e-4)
    assert norm.running_mean.item() == 0


class Norm(nn.Sequential):
    """A network whose maps are normalised clips."""

    def forward_features(self, clips: torch.Tensor) -> torch.Tensor:
        return self(clips)


def test_statistics_measured_anew_are_the_plain_mean_over_batches():
    """Batches of 1, 2 and 3 everywhere: a mean of 2, whatever the momentum; one without clips counts for nothing."""
    norm = Norm(nn.BatchNorm3d(1))
    batches = [Batch(torch.full((2, 1, 1, 2, 2), float(level)), torch.zeros(2), []) for level in (1, 2, 3)]
    batches.append(Batch(torch.empty(0), torch.empty(0), []))
    norm.train()
    measure_anew(norm, batches, torch.device("cpu"), lambda value: value)
    assert norm[0].running_mean.item() == pytest.approx(2.0)
    assert norm[0].running_var.item() == pytest.approx(0.0)
    assert norm.training
