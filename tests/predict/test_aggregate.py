import pytest
import torch

from slowfast_hub.predict.aggregate import aggregate


def test_the_mean_of_softmax_is_not_the_softmax_of_the_mean():
    # View 1 says 0.75 / 0.25, view 2 says 0.5 / 0.5.
    logits = torch.tensor([[3.0, 1.0], [2.0, 2.0]]).log()
    assert aggregate(logits, "softmax").tolist() == pytest.approx([0.625, 0.375])


def test_many_labels_take_the_best_view_of_each():
    logits = torch.tensor([[0.0, -10.0], [-10.0, 0.0]])
    assert aggregate(logits, "sigmoid").tolist() == [0.5, 0.5]


def test_equal_views_aggregate_to_one_of_them():
    view = torch.randn(1, 7)
    assert torch.allclose(aggregate(view.expand(30, 7), "softmax"), view.softmax(1)[0])
