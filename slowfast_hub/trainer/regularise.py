"""Mixed clips and dropped blocks: timm's, for clips and for these networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from slowfast_hub.models import VideoModel
from slowfast_hub.models.blocks import Bottleneck
from slowfast_hub.models.pathway import Pathway
from slowfast_hub.trainer.recipe import Recipe

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mix(recipe: Recipe, num_classes: int) -> Mix | None:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of clips with one label each; None if both are off.

    It takes clips `(B, 3, T, S, S)` and labels `(B,)`, and gives clips and targets `(B, num_classes)`. A box is the
    same in all frames. Of an odd number of clips the last stays as it is.
    """
    if not recipe.mixup and not recipe.cutmix:
        return None
    from timm.data import Mixup

    mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0, num_classes=num_classes)

    def mix(clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        even = len(clips) - len(clips) % 2
        targets = functional.one_hot(labels, num_classes).to(clips.dtype)
        if even:
            # To timm a clip is a picture with as many channels as its frames have together.
            pictures, targets[:even] = mixup(clips[:even].flatten(1, 2), labels[:even])
            clips = torch.cat([pictures.unflatten(1, clips.shape[1:3]), clips[even:]])
        return clips, targets

    return mix


def drop_paths(model: VideoModel, rate: float) -> None:
    """Stochastic depth (Huang et al. 2016) in each pathway: a block is left out with a chance from 0 to `rate`.

    The network's own layers and tensors stay as they are.
    """
    from timm.layers import drop_path

    def dropping(share: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda module, inputs, output: drop_path(output, share, module.training)

    for pathway in model.modules():
        if isinstance(pathway, Pathway):
            blocks = [module for module in pathway.modules() if isinstance(module, Bottleneck)]
            for block, share in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist()):
                block.c.register_forward_hook(dropping(share))
