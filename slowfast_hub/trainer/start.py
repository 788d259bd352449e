"""The network that a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from slowfast_hub.models import VideoModel
from slowfast_hub.trainer.keyframes import LabelledPeople, LabelledSet
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.describe import fields_from_json, read_header
from slowfast_hub.zoo.hub import hub_source
from slowfast_hub.zoo.load import CLASSIFIER, LoadError, mismatches, read_safetensors, shorten


def start_model(recipe: Recipe, videos: LabelledSet) -> VideoModel:
    """The network of the recipe for the classes of a set, in training mode; with sigmoid where it is multi-label.

    Its weights are those of `recipe.init`, else of the tag, folder or repository in `recipe.model`, else fresh. A
    classifier for other classes is fresh in any case, and so are non-local blocks where `init` has none. A detector has
    the tensors of a network that classifies clips, so either may be the start of the other.
    """
    classes, activation = videos.classes, "sigmoid" if videos.multilabel else "softmax"
    if recipe.changes.get("activation", activation) != activation:
        raise ValueError(
            f"a set with {'any number of labels' if videos.multilabel else 'one label'} needs {activation}"
        )
    changes = {**fields_from_json(recipe.changes), "activation": activation}
    known = recipe.init is None and has_weights(recipe)
    model = create_model(recipe.model, pretrained=known, num_classes=len(classes), **changes)
    check_kind(model, recipe, videos)
    if recipe.init is not None:
        take_over(model, recipe.init, classes)
    elif known and others(model.labels, classes):
        model.reset_classifier(len(classes))
    return model.train()


def check_kind(model: VideoModel, recipe: Recipe, videos: LabelledSet) -> None:
    """ValueError for a network that classifies clips and a set of people, and the other way round."""
    if isinstance(videos, LabelledPeople) and model.arch.roi is None:
        raise ValueError(
            f"{recipe.model} classifies whole clips, and this is a set of people in boxes: take a detector, as "
            "model=slowfast_det_r50_8x8, or make this network one with changes.roi={grid=7}; the weights fit either way"
        )
    if not isinstance(videos, LabelledPeople) and model.arch.roi is not None:
        raise ValueError(
            f"{recipe.model} is a detector, and this is a set of videos without boxes: take the row without _det, and "
            "leave out changes.roi"
        )


def others(labels: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether labels, where they are known, are others than these classes; as many need not be the same."""
    return bool(labels) and tuple(labels) != tuple(classes)


def has_weights(recipe: Recipe) -> bool:
    """Whether a run begins with weights that were trained."""
    return recipe.init is not None or "." in recipe.model or hub_source(recipe.model) is not None


def take_over(model: VideoModel, init: str, classes: Sequence[str]) -> None:
    """Copy the weights of a file or of a named network into `model`; LoadError where they do not fit."""
    if init.endswith(".safetensors"):
        tensors, described = read_safetensors(Path(init)), read_header(init)
        labels: Sequence[str] = described.labels if described is not None else ()
    else:
        other = create_model(init, pretrained=True)
        tensors, labels = other.state_dict(), other.labels
    own = model.state_dict()
    weight = CLASSIFIER + "weight"
    if weight not in tensors or tensors[weight].shape != own[weight].shape or others(labels, classes):
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
