"""From the logits of the views to the scores of the video (paper, sections 4 and 5).

One label per video: the mean of the views' softmax. Many labels: the maximum of their sigmoid, as Charades is tested.
"""

from __future__ import annotations

from torch import Tensor


def aggregate(view_logits: Tensor, activation: str) -> Tensor:
    """`(V, num_classes)` logits to `(num_classes,)` scores in 0..1."""
    if activation == "softmax":
        return view_logits.softmax(dim=1).mean(dim=0)
    return view_logits.sigmoid().amax(dim=0)
