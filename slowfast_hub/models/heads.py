"""From the last maps to logits.

The code bases differ in how a map larger than the 7x7 of training is pooled: over the whole map (MMAction2, GluonCV),
or in 7x7 windows at stride 1 whose logits (PyTorchVideo) or scores (PySlowFast, head_helper.py) are averaged. At 224 px
all three are the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.models.roi_align import roi_align
from slowfast_hub.spec import RoISpec

WINDOW = 7  # the map that 224 px training gives


class ClassHead(nn.Module):
    """Pool each pathway, concatenate, drop out, classify: maps `(B, C_i, T_i, H, W)` to logits `(B, num_classes)`."""

    def __init__(self, num_features: int, num_classes: int, *, pool: str, activation: str, dropout: float) -> None:
        super().__init__()
        self.pool = pool
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.num_features = num_features
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        """A fresh classifier; 0 classes leave the pooled features."""
        self.fc = fresh_classifier(self.num_features, num_classes)

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """Mean over time and space: `(B, num_features)`."""
        return torch.cat([stream.mean((2, 3, 4)) for stream in maps], dim=1)

    def windows(self, maps: Sequence[Tensor]) -> Tensor:
        """Mean over time and over each window: `(B, windows, num_features)`."""
        pooled = [functional.avg_pool2d(m.mean(2), [min(WINDOW, size) for size in m.shape[3:]], stride=1) for m in maps]
        return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)

    def forward(self, maps: Sequence[Tensor], *, pre_logits: bool = False) -> Tensor:
        if pre_logits or self.pool == "global" or isinstance(self.fc, nn.Identity):
            features = self.features(maps)
            return features if pre_logits else self.fc(self.dropout(features))
        logits = self.fc(self.dropout(self.windows(maps)))  # (B, windows, num_classes)
        if self.pool == "window_probs" and not self.training:
            return mean_score_logits(logits, self.activation)
        return logits.mean(1)


def mean_score_logits(logits: Tensor, activation: str) -> Tensor:
    """The logits whose softmax (or sigmoid) is exactly the mean over dim 1 of the windows' scores."""
    if activation == "softmax":
        return logits.log_softmax(-1).logsumexp(1) - torch.log(torch.tensor(float(logits.shape[1])))
    # logsigmoid of +x and -x keeps the two tails apart where a plain logit of the mean would round to infinity
    return functional.logsigmoid(logits).logsumexp(1) - functional.logsigmoid(-logits).logsumexp(1)


def fresh_classifier(num_features: int, num_classes: int) -> nn.Module:
    """A linear layer as the papers begin with it: normal 0.01, no bias; Identity for 0 classes."""
    if not num_classes:
        return nn.Identity()
    layer = nn.Linear(num_features, num_classes)
    if not layer.weight.is_meta:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return layer


class RoIHead(nn.Module):
    """Pool over time, cut boxes with RoIAlign, take their maximum, concatenate pathways, classify (paper, section 5).

    Maps `(B, C_i, T_i, H/16, W/16)` and rois `(N, 5)` - index in the batch, then x1, y1, x2, y2 in pixels of the clip -
    to logits `(N, num_classes)`.
    """

    SCALE = 1 / 16  # of the maps: res5 does not halve them

    def __init__(self, num_features: int, num_classes: int, roi: RoISpec, *, dropout: float) -> None:
        super().__init__()
        self.roi = roi
        self.dropout = nn.Dropout(dropout)
        self.num_features = num_features
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        """A fresh classifier; 0 classes leave the pooled features."""
        self.fc = fresh_classifier(self.num_features, num_classes)

    def features(self, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Features of every box: `(N, num_features)`."""
        check_rois(rois, maps[0].shape[0])  # len() would make a constant of it while a graph is exported
        flat = [m.mean(2) if self.roi.time_pool == "mean" else m.amax(2) for m in maps]
        # In float32, as half precision has no place between 256 and 257 px.
        cut = roi_align(torch.cat(flat, dim=1).float(), rois.float(), self.roi.grid, self.SCALE, self.roi.aligned)
        return cut.amax((2, 3)).to(maps[0].dtype)

    def forward(self, maps: Sequence[Tensor], rois: Tensor, *, pre_logits: bool = False) -> Tensor:
        features = self.features(maps, rois)
        return features if pre_logits else self.fc(self.dropout(features))


def check_rois(rois: Tensor, batch: int) -> None:
    """RoIAlign itself checks nothing: an index outside of the batch reads memory that is not the batch's.

    And reversed boxes have a negative number of samples.
    """
    if not isinstance(rois, Tensor):
        raise TypeError(f"rois must be one tensor (N, 5) for the whole batch; got {type(rois).__name__}")
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(f"rois must be (N, 5): batch index, x1, y1, x2, y2; got {tuple(rois.shape)}")
    if rois.is_meta or torch.compiler.is_compiling():  # no values to look at
        return
    if not bool(rois.isfinite().all()):
        raise ValueError("rois hold NaN or infinity")
    index = rois[:, 0]
    if len(index) and not bool(((index >= 0) & (index < batch) & (index == index.round())).all()):
        raise ValueError(
            f"the first column of rois is the index in the batch, 0 to {batch - 1}; got {index.tolist()[:5]}"
        )
    reversed_ = (rois[:, 3:] < rois[:, 1:3]).any(1)
    if bool(reversed_.any()):
        box = rois[reversed_][0, 1:].tolist()
        raise ValueError(f"rois are x1, y1, x2, y2 with x1 <= x2 and y1 <= y2; got {box}")
