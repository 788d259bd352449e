"""The network that a run begins with."""

from __future__ import annotations

from pathlib import Path

import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.describe import fields_from_json
from slowfast_hub.zoo.hub import hub_source
from slowfast_hub.zoo.load import CLASSIFIER, LoadError, mismatches, read_safetensors, shorten


def start_model(recipe: Recipe, num_classes: int) -> VideoModel:
    """The network of the recipe with `num_classes`, in training mode.

    Its weights are those of `recipe.init`, else of the tag, folder or repository in `recipe.model`, else fresh. Fresh
    in any
    case: a classifier for another number of classes, and non-local blocks where `init` has none.
    """
    changes = fields_from_json(recipe.changes)
    known = recipe.init is None and ("." in recipe.model or hub_source(recipe.model) is not None)
    model = create_model(recipe.model, pretrained=known, num_classes=num_classes, **changes)
    if recipe.init is not None:
        take_over(model, recipe.init)
    return model.train()


def take_over(model: VideoModel, init: str) -> None:
    """Copy the weights of a file or of a named network into `model`; LoadError where they do not fit."""
    if init.endswith(".safetensors"):
        tensors = read_safetensors(Path(init))
    else:
        tensors = create_model(init, pretrained=True).state_dict()
    own = model.state_dict()
    classifier = CLASSIFIER + "weight"
    if classifier not in tensors or tensors[classifier].shape != own[classifier].shape:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(CLASSIFIER)}
        tensors |= {key: value for key, value in own.items() if key.startswith(CLASSIFIER)}
    if not any("_nonlocal." in key for key in tensors):
        # A fresh non-local block is the identity (Wang et al. 2018, section 4.1): the network answers as without it.
        tensors = {**tensors, **{key: value for key, value in own.items() if "_nonlocal." in key}}
    problems = mismatches(own, tensors)
    if problems:
        raise LoadError(f"recipe.init {init}: does not fit the network: {shorten(problems)}")
    model.load_state_dict(tensors)


def answering(model: VideoModel, labels: tuple[str, ...]) -> VideoModel:
    """A plain network with copies of the weights of one in training, in eval mode on the CPU."""
    from slowfast_hub.models import build

    with torch.device("meta"):
        plain = build(model.arch)
    tensors = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    plain.load_state_dict(tensors, assign=True)
    plain.labels = labels
    return plain.eval()
