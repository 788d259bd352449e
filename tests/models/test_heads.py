"""From maps to logits: three ways to pool that agree at 7 x 7, and scores averaged exactly."""

import pytest
import torch

from slowfast_hub.models.heads import ClassHead, RoIHead, mean_score_logits
from slowfast_hub.spec import RoISpec


def head(pool: str, activation: str = "softmax", *, num_classes: int = 5, dropout: float = 0.5) -> ClassHead:
    torch.manual_seed(0)
    made = ClassHead(6, num_classes, pool=pool, activation=activation, dropout=dropout).eval()
    torch.nn.init.normal_(made.fc.weight)
    return made


def maps(size: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(size)
    return [torch.randn(2, 4, 3, size, size, generator=random), torch.randn(2, 2, 12, size, size, generator=random)]


@pytest.mark.parametrize("size", [1, 3, 7])
def test_all_poolings_agree_on_a_map_of_one_window(size: int):
    whole = head("global")(maps(size))
    torch.testing.assert_close(head("window_logits")(maps(size)), whole)
    torch.testing.assert_close(head("window_probs")(maps(size)).softmax(1), whole.softmax(1))
    torch.testing.assert_close(head("window_probs", "sigmoid")(maps(size)), whole)


def test_map_of_8x8_has_4_windows_and_8x9_has_6():
    assert head("window_logits").windows(maps(8)).shape == (2, 4, 6)
    wide = [m.repeat(1, 1, 1, 1, 2)[..., :9] for m in maps(8)]
    assert head("window_logits").windows(wide).shape == (2, 6, 6)


def test_first_window_is_the_mean_of_the_upper_left_7x7_and_all_of_time():
    slow, fast = maps(8)
    expected = torch.cat([slow[..., :7, :7].mean((2, 3, 4)), fast[..., :7, :7].mean((2, 3, 4))], 1)
    torch.testing.assert_close(head("window_logits").windows([slow, fast])[:, 0], expected)


def test_a_map_smaller_than_a_window_in_one_direction_is_pooled_whole_there():
    slow, fast = (m[..., :3, :] for m in maps(8))
    assert head("window_logits").windows([slow, fast]).shape == (2, 2, 6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_window_probs_give_exactly_the_mean_of_the_windows_scores(activation: str):
    def score(logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1) if activation == "softmax" else logits.sigmoid()

    made = head("window_probs", activation)
    far_apart = [20 * m for m in maps(9)]
    logits = made.fc(made.windows(far_apart))
    assert logits.shape == (2, 9, 5)
    torch.testing.assert_close(score(made(far_apart)), score(logits).mean(1))
    assert (made(far_apart) - head("window_logits")(far_apart)).abs().max() > 0.1


def test_mean_of_scores_0_9_and_0_5_is_0_7():
    logits = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]]).log()
    assert mean_score_logits(logits, "softmax").exp().flatten().tolist() == pytest.approx([0.7, 0.3])
    odds = torch.tensor([[[0.9], [0.5]]]).logit()
    assert mean_score_logits(odds, "sigmoid").sigmoid().item() == pytest.approx(0.7)


def test_sure_windows_stay_finite():
    sure = torch.tensor([[[200.0, -200.0], [200.0, -200.0]]])
    assert mean_score_logits(sure, "softmax").flatten().tolist() == pytest.approx([0, -400])
    assert mean_score_logits(sure, "sigmoid").flatten().tolist() == pytest.approx([200, -200])


def test_training_averages_the_windows_logits():
    made = head("window_probs", dropout=0.0).train()
    torch.testing.assert_close(made(maps(8)), head("window_logits")(maps(8)))


def test_pre_logits_are_the_means_of_both_pathways_slow_first():
    slow, fast = maps(8)
    features = head("window_probs")([slow, fast], pre_logits=True)
    torch.testing.assert_close(features, torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1))


def test_no_classes_give_pooled_features():
    bare = ClassHead(6, 0, pool="window_probs", activation="softmax", dropout=0.5)
    assert bare.eval()(maps(8)).shape == (2, 6)


def test_dropout_acts_in_training_only():
    made = head("global")
    assert torch.equal(made(maps(7)), made(maps(7)))
    made.train()
    assert not torch.equal(made(maps(7)), made(maps(7)))


def test_fresh_classifier_is_normal_0_01_with_zero_bias():
    fresh = ClassHead(2304, 400, pool="global", activation="softmax", dropout=0.5).fc
    assert fresh.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert fresh.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("rois", "error", "says"),
    [
        ([[0.0, 1, 1, 9, 9]], TypeError, "one tensor .N, 5. for the whole batch; got list"),
        (torch.zeros(2, 4), ValueError, r"must be \(N, 5\)"),
        (torch.tensor([[2.0, 1, 1, 9, 9]]), ValueError, "index in the batch, 0 to 1; got .2.0."),
        (torch.tensor([[-1.0, 1, 1, 9, 9]]), ValueError, "index in the batch"),
        (torch.tensor([[0.5, 1, 1, 9, 9]]), ValueError, "index in the batch"),
        (torch.tensor([[1e6, 1, 1, 9, 9]]), ValueError, "index in the batch"),  # RoIAlign itself would read there
        (torch.tensor([[0, 1, float("nan"), 9, 9]]), ValueError, "NaN or infinity"),
    ],
    ids=lambda value: "" if isinstance(value, type) else None,
)
def test_rois_that_are_none_are_refused(rois: object, error: type[Exception], says: str):
    head = RoIHead(4, 3, RoISpec(), dropout=0.0)
    with pytest.raises(error, match=says):
        head([torch.zeros(2, 4, 1, 8, 8)], rois)


def test_rois_may_be_whole_numbers_or_none_at_all():
    head = RoIHead(4, 3, RoISpec(), dropout=0.0).eval()
    maps = [torch.rand(2, 4, 1, 8, 8)]
    whole = torch.tensor([[1, 16, 16, 80, 64]])
    assert torch.equal(head(maps, whole), head(maps, whole.float()))
    assert head(maps, torch.zeros(0, 5)).shape == (0, 3)


def test_a_box_takes_the_maximum_of_its_part_of_the_map():
    """One hot place at (row 2, column 3) of a stride-16 map: the box over it sees it, the box beside it does not."""
    head = RoIHead(1, 0, RoISpec(grid=7), dropout=0.0)
    maps = torch.zeros(1, 1, 4, 8, 8)
    maps[0, 0, :, 2, 3] = 5.0
    over, beside = torch.tensor([[0.0, 48, 32, 64, 48]]), torch.tensor([[0.0, 96, 96, 128, 128]])
    assert head([maps], over).item() > 2.5
    assert head([maps], beside).item() == 0.0
