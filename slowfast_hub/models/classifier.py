"""What both networks offer, in timm's words: forward_features, forward_head, get_classifier, reset_classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from slowfast_hub.models.heads import ClassHead, RoIHead
from slowfast_hub.models.pathway import STAGES, Pathway
from slowfast_hub.spec import Arch, one_of

Clips = Tensor | list[Tensor] | tuple[Tensor, ...]  # (B, C, T, H, W), or [slow, fast]

MAPS = ("stem", *STAGES)  # whose maps `forward_features` gives


class Classifier(nn.Module):
    """A backbone that gives maps, and a `ClassHead` or `RoIHead`. Subclasses define `forward_features`."""

    arch: Arch
    head: ClassHead | RoIHead
    labels: tuple[str, ...] = ()  # names of the classes, where they are known

    def finish(self, arch: Arch, num_features: int) -> None:
        """Attach the head for `num_features` channels of all pathways together."""
        self.arch = arch
        self.num_features = num_features
        if arch.roi is not None:
            self.head = RoIHead(num_features, arch.num_classes, arch.roi, dropout=arch.dropout)
        else:
            self.head = ClassHead(
                num_features, arch.num_classes, pool=arch.pool, activation=arch.activation, dropout=arch.dropout
            )

    @property
    def num_classes(self) -> int:
        return self.arch.num_classes

    def forward_features(self, clips: Clips, stage: str = "res5") -> tuple[Tensor, ...]:
        raise NotImplementedError

    def forward_head(self, maps: Sequence[Tensor], pre_logits: bool = False, rois: Tensor | None = None) -> Tensor:
        """Maps to logits `(B, num_classes)`, or with `pre_logits` to pooled features `(B, num_features)`.

        A detector needs `rois (N, 5)` and gives `(N, ...)`, a row for each box; see `RoIHead`.
        """
        if isinstance(self.head, RoIHead):
            if rois is None:
                raise ValueError("a detector needs rois (N, 5): batch index, x1, y1, x2, y2 in pixels of the clip")
            return self.head(maps, rois, pre_logits=pre_logits)
        if rois is not None:
            raise ValueError("this network classifies whole clips; rois are for detectors (names with _det)")
        return self.head(maps, pre_logits=pre_logits)

    def forward(self, clips: Clips, rois: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(clips), rois=rois)

    def get_classifier(self) -> nn.Module:
        """The linear layer, or Identity when `num_classes` is 0."""
        return self.head.fc

    def reset_classifier(self, num_classes: int) -> None:
        """A new head for `num_classes`; 0 makes the network give pooled features `(B, num_features)`."""
        self.arch, self.labels = replace(self.arch, num_classes=num_classes), ()
        like = next(self.parameters())
        dtype = next(self.head.parameters(), like).dtype  # float32 in a network prepared for half precision
        with torch.device(like.device):
            self.head.reset(num_classes)
        self.head.to(like.device, dtype)

    def group_matcher(self, coarse: bool = False) -> dict[str, str | list[tuple[str, tuple[int, ...] | None]]]:
        """Regular expressions of parameter names, by which timm groups layers: stems, then res2 to res5, then the head.

        A lateral connection is in the group of the map that it joins. There is one grouping, fine and coarse.
        """
        joins: list[tuple[str, tuple[int, ...] | None]] = [(rf"^laterals\.{i}\.", (i + 1,)) for i in range(1, 4)]
        return {"stem": r"^(?:\w+\.)?stem\.|^laterals\.0\.", "blocks": [(r"^(?:\w+\.)?res(\d)\.", None), *joins]}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass: less memory, about a third more time, the same gradients."""
        for module in self.modules():
            if isinstance(module, Pathway):
                module.grad_checkpointing = enable


def stages_until(stage: str) -> int:
    """How many of res2..res5 make the maps of `stage`, one of MAPS."""
    one_of("stage", stage, MAPS)
    return MAPS.index(stage)


def check_clips(name: str, clips: Tensor, channels: int) -> None:
    if not isinstance(clips, Tensor):
        raise TypeError(f"{name} must be a tensor (B, {channels}, T, H, W); got {type(clips).__name__}")
    if clips.ndim != 5 or clips.shape[1] != channels or 0 in clips.shape[2:]:
        raise ValueError(f"{name} must be (B, {channels}, T, H, W) with no empty side; got {tuple(clips.shape)}")
    if not clips.is_floating_point():
        raise ValueError(f"{name} must be normalised floats; got {clips.dtype}: use EvalTransform on uint8 frames")
