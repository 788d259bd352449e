"""Checkpoints of other projects to our safetensors, and the way back to PyTorchVideo's names.

The road: container (open without running anything) -> rename (whose names, one to one) -> infer (which network) ->
here (every tensor filled, every shape equal) -> a file that rebuilds its network by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from slowfast_hub.spec import C2D_KERNELS, Arch, ResNet3DArch, SlowFastArch, WeightsInfo
from slowfast_hub.zoo.convert import pytorchvideo
from slowfast_hub.zoo.convert.container import kind_of, read_checkpoint
from slowfast_hub.zoo.convert.infer import COUNTER, expected_shapes, find_network
from slowfast_hub.zoo.convert.refusal import ConvertError
from slowfast_hub.zoo.convert.rename import Renamed, rename
from slowfast_hub.zoo.describe import Description, read_header, to_header
from slowfast_hub.zoo.load import read_safetensors
from slowfast_hub.zoo.save import save_tensors, whole_file

__all__ = ["ConvertError", "ConvertReport", "Converted", "convert", "convert_file", "export_pytorchvideo"]


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did."""

    layout: str  # whose names they were
    name: str  # the network: a row, or `row.tag`
    mapping: tuple[tuple[str, str], ...]  # (their name, ours) of every tensor
    dropped: tuple[tuple[str, str], ...]  # (their name, why it was left out)
    notes: tuple[str, ...]  # what was done to values


@dataclass(frozen=True)
class Converted:
    """A network's tensors under our names, complete, and what they are."""

    tensors: dict[str, Tensor]
    description: Description
    report: ConvertReport


def convert(tensors: dict[str, Tensor], *, arch: str | None = None) -> Converted:
    """The tensors of a checkpoint under our names: one to one, every shape equal, every leftover explained.

    arch: a row or `row.tag`, where names and shapes leave a choice.
    Errors: ConvertError, which names both sides of what does not fit.
    """
    found = rename(tensors)
    network = find_network(found, arch)
    made, notes = filled(found, network.arch)
    mapping = tuple((theirs, ours) for ours, theirs in found.sources.items())
    return Converted(
        tensors=made,
        description=Description(network.name, network.arch, network.labels),
        report=ConvertReport(
            found.layout.name,
            network.name,
            mapping,
            found.dropped,
            tuple(filter(None, (*found.notes, *notes, network.note))),
        ),
    )


def filled(found: Renamed, arch: Arch) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Every tensor of the network, float32, in its shape; and what that took. `found` fits: find_network saw to it."""
    made: dict[str, Tensor] = {}
    counters = reshaped = widened = broken = 0
    for key, shape in expected_shapes(arch).items():
        value = found.tensors.get(key)
        if value is None:  # Caffe2 does not count batches, and nothing but training with momentum=None asks
            made[key] = torch.zeros((), dtype=torch.long)
            counters += 1
            continue
        if value.shape != shape:
            value, reshaped = value.reshape(shape), reshaped + 1
        kind = torch.long if key.endswith(COUNTER) else torch.float32
        if value.is_floating_point() == (kind == torch.long) or value.is_complex():
            raise ConvertError(f"{found.sources[key]!r} holds {value.dtype}; expected {kind}")
        if value.dtype != kind:
            value, widened = value.to(kind), widened + 1
        made[key] = value
        broken += not bool(value.isfinite().all())
    counted = (
        (counters, "batch counters that the file does not have are 0"),
        (reshaped, "tensors had axes of size 1 more or fewer and were reshaped"),
        (broken, "tensors hold NaN or infinity"),
        (widened, "tensors of another type became float32 (counters int64)"),
    )
    return made, tuple(f"{count} {what}" for count, what in counted if count)


def convert_file(
    source: str | Path,
    target: str | Path,
    *,
    weights: WeightsInfo | None = None,
    arch: str | None = None,
    origin: dict[str, str] | None = None,
) -> ConvertReport:
    """A published checkpoint to a safetensors file whose header rebuilds its network, clip recipe included.

    weights: the record that the file belongs to; without it the network is found (`arch`: a row or `row.tag`).
    origin: what to say of where it comes from (url, sha256, license).
    Errors: FileNotFoundError, ConvertError; then there is no target.
    """
    if weights is not None and arch is not None:
        raise ValueError("weights and arch both say which network it is; pass one of them")
    source = Path(source)
    made = convert_checkpoint(source, weights.name if weights is not None else arch)
    if weights is not None and made.description.arch.num_classes != weights.num_classes:
        classes = made.description.arch.num_classes
        raise ConvertError(f"{source}: {weights.name} has {weights.num_classes} classes; this file has {classes}")
    described = replace(made.description, origin=origin or {})
    save_tensors(made.tensors, target, metadata=to_header(described))
    return made.report


def convert_checkpoint(source: Path, arch: str | None) -> Converted:
    """Open and convert; what else the file holds is in the report, and the file in every error."""
    checkpoint = read_checkpoint(source)
    try:
        made = convert(checkpoint.tensors, arch=arch)
    except ConvertError as error:
        raise ConvertError(f"{source}: {error}") from error
    return replace(made, report=replace(made.report, dropped=(*made.report.dropped, *checkpoint.others)))


def export_pytorchvideo(source: str | Path, target: str | Path, *, arch: str | None = None) -> ConvertReport:
    """Weights to a `.pyth` file in PyTorchVideo's names, as its hub networks load it.

    source: one of our files, or any checkpoint that `convert_file` reads. The tensors are the same bits.
    Errors: ConvertError where PyTorchVideo has no such network.
    """
    source = Path(source)
    if kind_of(source) == "safetensors" and (header := read_header(source)) is not None:
        described, tensors = header, read_safetensors(source)
        if arch is not None and arch not in (described.name, described.name.partition(".")[0]):
            raise ConvertError(f"{source}: its header says {described.name}, not {arch}")
    else:
        made = convert_checkpoint(source, arch)
        described, tensors = made.description, made.tensors
    mapping = {key: to_pytorchvideo(key, described.arch) for key in tensors}
    with whole_file(target) as partial:
        torch.save({"model_state": {mapping[key]: value for key, value in tensors.items()}}, partial)
    pairs = tuple((key, theirs) for key, theirs in mapping.items())
    return ConvertReport("slowfast_hub", described.name, pairs, (), ())


def to_pytorchvideo(key: str, arch: Arch) -> str:
    """PyTorchVideo's name of one tensor of a network; ConvertError where it has no such network."""
    problem = next((reason for differs, reason in beyond_pytorchvideo(arch) if differs), None)
    if problem is not None:
        raise ConvertError(f"PyTorchVideo has no network {problem}")
    if isinstance(arch, SlowFastArch):
        names = pytorchvideo.TWO_PATHWAYS
    else:
        pooled = isinstance(arch, ResNet3DArch) and arch.temporal_pool > 1
        names = pytorchvideo.POOLED if pooled else pytorchvideo.PLAIN
    if arch.roi is None:
        return pytorchvideo.LAYOUT.theirs(names, key)
    if key.startswith("head.fc."):
        return key.replace("head.fc.", "detection_head.proj.")
    return "model." + pytorchvideo.LAYOUT.theirs(names, key)


def beyond_pytorchvideo(arch: Arch) -> Iterator[tuple[bool, str]]:
    """What a network may have that none of PyTorchVideo's builders can make, though the names would fit."""
    yield any(arch.nonlocal_at), "with non-local blocks"
    yield arch.roi is not None and (arch.roi.time_pool, arch.roi.dilation) != ("mean", 2), f"with {arch.roi}"
    if isinstance(arch, SlowFastArch):
        yield arch.lateral != "tconv" or not arch.lateral_norm, "whose lateral connections have no batch norm"
        yield arch.fast_input not in ("rgb", "flow"), f"whose Fast pathway sees {arch.fast_input}"
    elif isinstance(arch, ResNet3DArch):
        yield arch.stem_strides != (1, 1), f"with temporal strides {arch.stem_strides} in the stem"
        yield arch.stem_padding != 1, "with a pool without padding in the stem"
        flat = arch.temporal_kernels == C2D_KERNELS and arch.temporal_pool == 1
        yield flat, "without any temporal kernel and without a pool over time"
