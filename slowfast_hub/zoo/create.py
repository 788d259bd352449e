"""From a name to a network: the one factory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from slowfast_hub.models import VideoModel, build
from slowfast_hub.zoo.describe import Description, read_header
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.hub import find_pretrained, hub_source
from slowfast_hub.zoo.load import num_classes_in, take_tensors
from slowfast_hub.zoo.manifest import arch_changes, labels_of
from slowfast_hub.zoo.registry import find_arch, override, weights_info


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    checkpoint_path: str | Path | None = None,
    **changes: Any,
) -> VideoModel:
    """A network by name, in eval mode.

    name: a row of the registry, `"slowfast_r50_4x16"`; a row and the tag of a file of weights, `"row.tag"`; or
        `"hf-hub:org/name[@revision]"` or `"local-dir:folder"`, which are `from_pretrained`.
    pretrained: load that file; without a tag, the row's default one.
    num_classes: another number than the file's makes a new classifier and nothing else; 0 gives pooled features.
    checkpoint_path: a safetensors file to load instead, by the same rule for num_classes. One whose header describes
        its network (`slowfast-hub convert` and the trainer write it) brings its own fields, clip and labels.
    changes: overrides of the network's fields (lateral="ttoc_sum", beta_inv=16, ...).

    `model.labels` are the names of the classes where the file knows them, else ().

    Errors: ValueError for unknown names and impossible combinations, TypeError for unknown fields,
    LookupError when there are no weights, FetchError when they cannot be had, LoadError when a file does not fit.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, such as 'slowfast_r50_8x8'; got {name!r}")
    if not isinstance(pretrained, bool):
        raise TypeError(f"pretrained is True or False, and a tag part of the name: {name}.TAG; got {pretrained!r}")
    source = hub_source(name)
    if source is not None:
        if checkpoint_path is not None:
            raise ValueError(f"{name!r} and checkpoint_path name two sources of weights; pass one of them")
        return from_pretrained(source.name, revision=source.revision, num_classes=num_classes, **changes)
    row, _, tag = name.partition(".")
    arch = find_arch(row)
    labels: tuple[str, ...] = ()
    if pretrained and checkpoint_path is not None:
        raise ValueError("pretrained=True and checkpoint_path name two sources of weights; pass one of them")
    if "." in name or pretrained:
        weights = weights_info(name)
        arch, labels = override(row, arch, arch_changes(weights)), labels_of(weights)
        if pretrained:
            described = Description(weights.name, arch, labels)
            return built(described, weights_path(weights), num_classes, changes)
    if checkpoint_path is not None:
        found = read_header(checkpoint_path)
        if found is not None and found.name not in (name, row) and (tag or found.name.partition(".")[0] != row):
            raise ValueError(f"{checkpoint_path} is a {found.name}, not a {name}; create_model({found.name!r}, ...)")
        if found is not None and tag and found.name == row:
            raise ValueError(f"{checkpoint_path} describes its network itself: create_model({row!r}, ...)")
        if found is None:
            # A file that says nothing has the row's classes, unless others are asked for: then its own are counted.
            classes = arch.num_classes if num_classes is None else num_classes_in(checkpoint_path)
            found = Description(name, replace(arch, num_classes=classes), labels if classes == len(labels) else ())
        return built(found, Path(checkpoint_path), num_classes, changes)
    return built(Description(name, arch, labels), None, num_classes, changes)


def from_pretrained(
    source: str | Path, *, revision: str | None = None, num_classes: int | None = None, **changes: Any
) -> VideoModel:
    """A network from a folder or a Hugging Face repository that `save_pretrained` or `push_to_hub` wrote; in eval mode.

    source: a folder, or `"org/name"`. revision: a branch, tag or commit of the repository.
    num_classes and changes are as in `create_model`. Every tensor must fit: there is never a random part that
    was not asked for by another num_classes.

    Errors: FileNotFoundError, huggingface_hub's own for a repository that cannot be had, LoadError.
    """
    if not isinstance(source, str | Path):
        raise TypeError(f"from_pretrained needs 'org/name' or a folder; got {source!r}")
    description, path = find_pretrained(str(source), revision=revision)
    return built(description, path, num_classes, changes)


def built(
    description: Description, weights: Path | None, num_classes: int | None, changes: dict[str, Any]
) -> VideoModel:
    """The described network with `changes`, and the tensors of a file or fresh ones; labels where they still hold."""
    arch = override(description.name, description.arch, changes)
    if num_classes is not None:
        arch = replace(arch, num_classes=num_classes)
    new_head = arch.num_classes != description.arch.num_classes
    if weights is None:
        model = build(arch)
    else:
        with torch.device("meta"):  # no time for random values that the file replaces
            model = build(arch)
        take_tensors(model, weights, new_head=new_head)
        if new_head:
            model.reset_classifier(arch.num_classes)
    model.labels = () if new_head else description.labels
    return model.eval()
