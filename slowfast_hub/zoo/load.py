"""safetensors to a network, strictly. There is no lenient mode: a new classifier is the only exception."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from slowfast_hub.spec import LoadReport

CLASSIFIER = "head.fc."
ALIGNED = 64  # bytes: where torch's allocator begins tensors on the CPU
MAX_HEADER = 4 << 20
HARMLESS = ("num_classes", "dropout", "zero_init_last")  # fields that change no answer of the same tensors


class LoadError(ValueError):
    """A file of weights that is unreadable or does not fit the network."""


def load_weights(model: nn.Module, source: str | Path, *, new_head: bool = False) -> LoadReport:
    """Take the tensors of a safetensors file into `model`, all of them; nothing is changed when one does not fit.

    A warning where the file was written for a network that does something else with the same tensors, as another
    RoIAlign, clip or pool: `create_model(name, checkpoint_path=source)` makes the network that the file describes.
    new_head: keep the model's fresh classifier (`head.fc`) instead of the file's.
    Tensors stored in half precision are widened to the model's type. A model on the meta device takes the tensors of
    the file themselves: they stay mapped to the file and are read when they are first used.
    """
    report = take_tensors(model, Path(source), new_head=new_head)
    if found := other_fields(model, Path(source)):
        warnings.warn(
            f"{source} was written for a network with {shorten(found)}: create_model(name, checkpoint_path=...) "
            "makes that one",
            stacklevel=2,
        )
    return report


def other_fields(model: nn.Module, path: Path) -> list[str]:
    """The fields of its network that a file tells otherwise than `model` has them, where both tell any."""
    arch, text = getattr(model, "arch", None), read_metadata(path).get("slowfast_hub", "null")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: its header does not describe a network: {error}") from error
    told = told.get("arch") if isinstance(told, dict) else None
    if arch is None or not isinstance(told, dict):
        return []
    own = json.loads(json.dumps(asdict(arch)))
    return [f"{name}={told[name]!r}" for name in own if name not in HARMLESS and told.get(name, own[name]) != own[name]]


def take_tensors(model: nn.Module, path: Path, *, new_head: bool) -> LoadReport:
    """`load_weights`, for who knows how the network differs from that of the file."""
    tensors = read_safetensors(path)
    own = model.state_dict()
    fresh = tuple(key for key in own if new_head and key.startswith(CLASSIFIER))
    given = {key: value for key, value in tensors.items() if not (new_head and key.startswith(CLASSIFIER))}
    problems = mismatches({key: value for key, value in own.items() if key not in fresh}, given)
    if problems:
        raise LoadError(f"{path}: does not fit this network: {shorten(problems)}")
    if any(value.is_meta for value in own.values()):
        typed = {key: aligned(value.to(own[key].dtype)) for key, value in given.items()}
        model.load_state_dict(typed, strict=False, assign=True)  # complete: `problems` saw to it
    else:
        with torch.no_grad():
            for key, value in given.items():
                own[key].copy_(value)
    return LoadReport(source=str(path), loaded=tuple(sorted(given)), new=fresh)


def aligned(value: Tensor) -> Tensor:
    """The tensor at an address as torch gives its own: elsewhere kernels sum in another order, to other last bits."""
    return value if value.data_ptr() % ALIGNED == 0 else value.clone()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU, mapped to it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_header_size(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise LoadError(f"{path}: not a whole safetensors file ({error}); {CONVERT_HINT}") from error


CONVERT_HINT = "only safetensors are opened: slowfast-hub convert IN OUT makes one of a published checkpoint"


def check_header_size(path: Path) -> None:
    """A header is parsed in memory, at twenty times its size and more: ours have 0.2 MB."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if MAX_HEADER < size < path.stat().st_size:
        raise LoadError(f"{path}: a header of {size} bytes; expected at most {MAX_HEADER}")


def read_metadata(path: Path) -> dict[str, str]:
    """The text in the header of a safetensors file; {} when there is none."""
    from safetensors import SafetensorError, safe_open

    check_header_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise LoadError(f"{path}: not a whole safetensors file ({error}); {CONVERT_HINT}") from error


def num_classes_in(source: str | Path) -> int:
    """How many classes the classifier of a safetensors file has; 0 when it has none."""
    weight = read_safetensors(Path(source)).get(CLASSIFIER + "weight")  # mapped, so nothing of it is read
    return 0 if weight is None else len(weight)


def mismatches(expected: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """What differs between two sets of tensors, a sentence each: missing, unknown, another shape or kind."""
    problems = [f"missing {key!r}" for key in expected if key not in given]
    problems += [f"unknown {key!r}" for key in given if key not in expected]
    for key, value in given.items():
        if key in expected and value.shape != expected[key].shape:
            problems.append(f"{key!r} is {tuple(value.shape)}, expected {tuple(expected[key].shape)}")
        elif key in expected and value.is_floating_point() != expected[key].is_floating_point():
            problems.append(f"{key!r} is {value.dtype}, expected {expected[key].dtype}")
    return problems


def shorten(problems: list[str]) -> str:
    """The first five, and how many more there are."""
    return "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
