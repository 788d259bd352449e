"""From a name, or a network of one's own, to a network that answers on a device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from slowfast_hub.models import ResNet3D, SlowFast, VideoModel
from slowfast_hub.spec import Arch
from slowfast_hub.zoo.cache import sha256_of
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.fetch import local_path
from slowfast_hub.zoo.hub import find_pretrained, hub_source
from slowfast_hub.zoo.manifest import arch_changes
from slowfast_hub.zoo.registry import find_arch, override, weights_info


def open_network(
    name: str | VideoModel, *, device: str | torch.device | None, check: Callable[[str, Arch], None]
) -> tuple[str, VideoModel]:
    """What to call the network, and the network in eval mode on `device`.

    name: what `create_model` takes and has weights for, or a network. device: None takes CUDA where there is one.
    check: raises for a network that cannot do the work; where the name tells, before anything is fetched.
    Errors: those of `check` and `create_model`, TypeError for anything else, RuntimeError for a device not there.
    """
    if not isinstance(name, str | SlowFast | ResNet3D):
        raise TypeError(f"expected a name or a network of this package; got {name!r:.80}")
    if not isinstance(name, str):
        called, model = type(name).__name__, name
    elif ":" in name:
        called, model = name, create_model(name)
    else:
        weights = weights_info(name)
        called = weights.name
        check(called, override(called, find_arch(weights.arch), arch_changes(weights)))
        model = create_model(called, pretrained=True)
    check(called, model.arch)
    return called, model.eval().to(here(device))


def here(device: str | torch.device | None) -> torch.device:
    """A device of this machine; None takes CUDA where there is one. RuntimeError for CUDA where there is none."""
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {str(found)!r} was asked for, and torch {torch.__version__} finds no CUDA device")
    return found


def weights_sha256(name: str) -> str | None:
    """The SHA-256 of the safetensors file that `name` was just built of; None where it is not on this disk."""
    source = hub_source(name)
    path = (
        local_path(weights_info(name)) if source is None else find_pretrained(source.name, revision=source.revision)[1]
    )
    return None if path is None else sha256_of(path)
