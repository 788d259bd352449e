"""From the logits of the views to the scores of the video (paper, sections 4 and 5).

One label per video: the mean of the views' softmax. Many labels: the maximum of their sigmoid, as Charades is tested.
"""

from __future__ import annotations

from torch import Tensor


def scores_of(logits: Tensor, activation: str) -> Tensor:
    """`(..., num_classes)` logits to scores in 0..1."""
    return logits.softmax(dim=-1) if activation == "softmax" else logits.sigmoid()


def aggregate(view_logits: Tensor, activation: str) -> Tensor:
    """`(V, num_classes)` logits to `(num_classes,)` scores in 0..1."""
    scores = scores_of(view_logits, activation)
    return scores.mean(dim=0) if activation == "softmax" else scores.amax(dim=0)
