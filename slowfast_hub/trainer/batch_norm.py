"""How batch norm behaves in training: within a few clips, over all GPUs, frozen, or measured anew before a test.

The paper takes statistics within the 8 clips of a GPU (section 4); fine-tuning on few clips keeps those of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_hub.models import VideoModel
from slowfast_hub.trainer.clips import Batch
from slowfast_hub.trainer.recipe import Recipe


class ClipsBatchNorm3d(nn.BatchNorm3d):
    """Batch norm whose statistics are taken within at most `clips` clips of the batch, in even pieces.

    Its running statistics move by one `momentum` for the whole batch, whatever the number of pieces.
    """

    clips = 8

    def forward(self, x: Tensor) -> Tensor:
        pieces = ceil(len(x) / self.clips)
        if not self.training or pieces < 2 or self.momentum is None:
            return super().forward(x)
        whole = self.momentum
        self.momentum = 1 - (1 - whole) ** (1 / pieces)
        try:
            return torch.cat([super(ClipsBatchNorm3d, self).forward(piece) for piece in x.tensor_split(pieces)])
        finally:
            self.momentum = whole


def arrange(model: VideoModel, recipe: Recipe) -> VideoModel:
    """The network with the batch norm of the recipe; names of its tensors stay."""
    if recipe.batch_norm == "sync":
        if not torch.cuda.is_available():
            raise ValueError("batch_norm='sync' needs GPUs: PyTorch has it for them alone; take norm_clips or 'frozen'")
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if recipe.norm_clips is not None:
        for parent in [*model.modules()]:
            for name, norm in [*parent.named_children()]:
                if type(norm) is nn.BatchNorm3d:
                    setattr(parent, name, within(norm, recipe.norm_clips))
    return model


def within(norm: nn.BatchNorm3d, clips: int) -> ClipsBatchNorm3d:
    """The same layer, its statistics within `clips` clips."""
    with torch.device("meta"):
        made = ClipsBatchNorm3d(norm.num_features, norm.eps, norm.momentum)
    made.load_state_dict(norm.state_dict(keep_vars=True), assign=True)
    made.clips = clips
    return made


def still(model: nn.Module) -> None:
    """Keep all running statistics, and normalise by them; scales and shifts learn. To be called after train()."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


class Backbone(nn.Module):
    """A network without its head: that of a detector wants boxes, and no head has batch norm."""

    def __init__(self, network: VideoModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        return self.network.forward_features(clips)


@torch.no_grad()
def measure_anew(
    model: VideoModel, batches: Iterable[Batch], device: torch.device, average: Callable[[Tensor], Tensor]
) -> None:
    """Running statistics as the plain mean over `batches` under the weights as they are now (PySlowFast, precise BN).

    average: mean of a tensor over all processes. The network must be in training mode, and stays in it.
    """
    from torch.optim.swa_utils import update_bn

    update_bn((batch.clips for batch in batches if len(batch.clips)), Backbone(model), device=device)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(average(module.running_mean))
            module.running_var.copy_(average(module.running_var))
