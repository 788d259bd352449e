"""Which network a checkpoint is, from its names and shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Size, Tensor

from slowfast_hub.models import build
from slowfast_hub.spec import NONLOCAL_DETAILS, STAGE_BLOCKS, Arch, SlowFastArch, WeightsInfo
from slowfast_hub.zoo.convert.names import Layout
from slowfast_hub.zoo.convert.refusal import ConvertError
from slowfast_hub.zoo.convert.rename import Renamed
from slowfast_hub.zoo.describe import plain
from slowfast_hub.zoo.load import shorten
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes, labels_of
from slowfast_hub.zoo.registry import ARCHS, find_arch, override, weights_info

COUNTER = "num_batches_tracked"
AVA_CLASSES = 80


@dataclass(frozen=True)
class Candidate:
    """One network that the tensors fit."""

    name: str  # a row, or `row.tag`
    arch: Arch
    labels: tuple[str, ...] = ()
    note: str = ""  # what was taken for granted


def find_network(found: Renamed, asked: str | None = None) -> Candidate:
    """The one network that the tensors fit.

    asked: a row, with what its project's networks have in common, or the `row.tag` of a published file.
    Without it, the published files of the layout with as many classes come first, beside their rows; then those with
    another number of them (a network that someone trained on); then all rows.
    ConvertError when none is left, or more than one.
    """
    rows: list[str] = []
    if "head.fc.weight" not in found.tensors:
        theirs = found.layout.theirs(found.names, "head.fc.weight")
        raise ConvertError(f"missing {theirs!r} (here 'head.fc.weight'): a network without its classifier")
    if asked is None:
        rows = likely_rows(found)
        same = from_records(found, rows, same_classes=True)
        other = from_records(found, rows, same_classes=False)
        tiers = [
            same + from_rows(found, rows_of(same)),
            other + from_rows(found, rows_of(other)),
            from_rows(found, rows),
        ]
    elif "." in asked:
        tiers = [[published(asked, found)]]
    else:
        find_arch(asked)
        records = [from_records(found, [asked], same_classes=same) for same in (True, False)]
        tiers = [from_rows(found, [asked]), *records]
        rows = [asked]
    tiers.append(from_rows(found, rows, any_lateral=True))
    fitting: list[Candidate] = []
    for tier in tiers:
        fitting = different([candidate for candidate in tier if fits(found, candidate.arch)])
        if fitting:
            break
    if not fitting:
        raise ConvertError(why_not(found, asked))
    if len(fitting) > 1:
        names = rows_of(fitting) if len(rows_of(fitting)) > 1 else [candidate.name for candidate in fitting]
        raise ConvertError(f"the names and shapes fit {' and '.join(names)}; say which: --arch {names[0]}")
    (network,) = fitting
    if network.name == asked and "." in asked:
        return network
    # A file is a published one when that is said; to have its network is not to be it.
    row = network.name.partition(".")[0]
    usually, here = (getattr(arch, "fuse_kernel", None) for arch in (ARCHS[row], network.arch))
    lateral = f"lateral kernels of {here}, where {row} has {usually}; " if here != usually else ""
    return replace(network, name=row, note=lateral + unseen(network))


def unseen(network: Candidate) -> str:
    """What the tensors do not show, and was taken from a record or a row."""
    arch = network.arch
    clock = "the file's frames" if arch.clip.fps is None else f"{arch.clip.fps:g} fps"
    shown: dict[str, object] = {
        "clip": f"{arch.clip.frames} x {arch.clip.stride} ({arch.clip.sampling}) at {clock}, {arch.clip.crop} px",
        "activation": arch.activation,
        "pool": arch.pool,
    }
    for name in ("slow_rule", "alpha", "temporal_pool", "stem_strides", "stem_padding"):
        if hasattr(arch, name):
            shown[name] = getattr(arch, name)
    if any(arch.nonlocal_at):
        shown |= {name: getattr(arch, name) for name in NONLOCAL_DETAILS if name != "nonlocal_out_bias"}
    if arch.roi is not None:
        shown = {**shown, "pool": "boxes", "roi": arch.roi}
    if network.labels:
        shown["labels"] = f"{network.labels[0]}, {network.labels[1]}, ..."
    return f"not in the tensors, taken from {network.name}: " + ", ".join(f"{k}={v}" for k, v in shown.items())


def rows_of(candidates: list[Candidate]) -> list[str]:
    return list(dict.fromkeys(candidate.name.partition(".")[0] for candidate in candidates))


def likely_rows(found: Renamed) -> list[str]:
    """Detectors or classifiers. PySlowFast has one name for both heads: there 80 outputs, AVA's, mean a detector."""
    roi = found.roi if found.roi is not None else classes_in(found) == AVA_CLASSES
    return [row for row, arch in ARCHS.items() if (arch.roi is not None) == roi]


def published(name: str, found: Renamed) -> Candidate:
    """The network of a published file, with the classes of this one."""
    info = weights_info(name)
    names = {layout.removesuffix("_wrapped") for layout in info.origin.layouts}
    if found.layout.name.removesuffix("_wrapped") not in names:
        raise ConvertError(f"{found.layout.name} tensors; {name} comes as {' or '.join(info.origin.layouts)}")
    arch = override(info.arch, find_arch(info.arch), arch_changes(info))
    classes = classes_in(found)
    if classes == info.num_classes:
        return Candidate(name, arch, labels_of(info))
    return Candidate(name, replace(arch, num_classes=classes), note=f"{name} has {info.num_classes} classes")


def from_records(found: Renamed, rows: list[str], *, same_classes: bool) -> list[Candidate]:
    """The networks of the published files in this layout, by row; with the file's number of classes."""
    made = []
    first: dict[str, WeightsInfo] = {}
    for info in WEIGHTS().values():
        if info.arch not in rows or found.layout.name not in info.origin.layouts:
            continue
        arch = override(info.arch, ARCHS[info.arch], arch_changes(info))
        if any(arch.nonlocal_at) and not has_theta(found):
            arch = replace(arch, nonlocal_kind="gaussian")
        if same_classes != (info.num_classes == classes_in(found)) or not similar(found, arch):
            continue
        if same_classes:
            made.append(Candidate(info.name, arch, labels_of(info)))
        else:
            # Someone trained it on: the clip cannot be seen in the tensors, nor whether the classes exclude each other.
            like = first.setdefault(info.arch, info)
            guess = replace(arch, num_classes=classes_in(found), clip=like.clip, activation=like.activation)
            made.append(Candidate(info.name, guess))
    return made


def from_rows(found: Renamed, rows: list[str], *, any_lateral: bool = False) -> list[Candidate]:
    """The rows themselves, with what the layout's networks have in common and the tensors show.

    Where a published file of the row has as many classes, the recipe is its own: clip, activation and labels.
    any_lateral: also with another size of the lateral kernels than the row's.
    """
    made = []
    for row in rows:
        arch = ARCHS[row]
        if not similar(found, arch):
            continue
        try:
            arch = override(row, arch, common(found.layout, row) | seen(found, arch, any_lateral))
        except ValueError:  # a shape that no network has
            continue
        like = next((record for record in from_records(found, [row], same_classes=True)), None)
        if like is not None:
            arch = replace(arch, clip=like.arch.clip, activation=like.arch.activation)
        made.append(Candidate(row, arch, like.labels if like is not None else ()))
    return made


def common(layout: Layout, row: str) -> dict[str, Any]:
    """The layout's changes that mean something to this row."""
    arch = ARCHS[row]
    known = {field.name for field in fields(arch)}
    changes: dict[str, Any] = {}
    for name, value in {**layout.changes, **layout.of_family.get(row.partition("_")[0], {})}.items():
        if name in NONLOCAL_DETAILS and not any(arch.nonlocal_at):
            continue
        if name in ("clip", "roi"):
            part = getattr(arch, name)
            changes |= {} if part is None else {name: replace(part, **value)}
        elif name in known and not (name == "pool" and arch.roi is not None):
            changes[name] = plain(value)
    return changes


def seen(found: Renamed, arch: Arch, any_lateral: bool) -> dict[str, Any]:
    """What the tensors themselves say; a tensor that is missing says nothing, and is missed later on."""
    tensors = found.tensors
    changes: dict[str, Any] = {"num_classes": classes_in(found)}
    if isinstance(arch, SlowFastArch):
        changes["lateral_norm"] = "laterals.0.fuse.norm.weight" in tensors
        lateral = tensors.get("laterals.0.fuse.conv.weight")
        if any_lateral and lateral is not None and lateral.ndim == 5:
            changes["fuse_kernel"] = lateral.shape[2]
    elif (stem := tensors.get("pathway.stem.conv1.conv.weight")) is not None and stem.ndim > 1:
        changes["in_chans"] = stem.shape[1]
    if any(arch.nonlocal_at):
        if not has_theta(found):
            changes["nonlocal_kind"] = "gaussian"
        changes["nonlocal_out_bias"] = any(key.endswith("_nonlocal.out.bias") for key in tensors)
    return changes


def has_theta(found: Renamed) -> bool:
    """Whether the non-local blocks have projections; `gaussian` ones have none."""
    return any("_nonlocal.theta." in key for key in found.tensors)


def classes_in(found: Renamed) -> int:
    weight = found.tensors.get("head.fc.weight")
    return 0 if weight is None else len(weight)


def similar(found: Renamed, arch: Arch) -> bool:
    """Whether a row has the file's pathways, blocks, non-local blocks and kind of head; quick, as nothing is built."""
    two = isinstance(arch, SlowFastArch)
    counts = {path: block_counts(found.tensors, path) for path in ("slow", "fast", "pathway")}
    main = "slow" if two else "pathway"
    if counts[main] != STAGE_BLOCKS[arch.depth] or nonlocal_places(found.tensors, main) != arch.nonlocal_at:
        return False
    if isinstance(arch, SlowFastArch):
        if counts["fast"] != STAGE_BLOCKS[arch.fast_depth or arch.depth] or arch.lateral != "tconv":
            return False
    elif two_pathways(found):
        return False
    return found.roi is None or (arch.roi is not None) == found.roi


def two_pathways(found: Renamed) -> bool:
    return any(key.startswith("fast.") for key in found.tensors)


def block_counts(tensors: dict[str, Tensor], path: str) -> tuple[int, ...]:
    keys = [re.fullmatch(rf"{path}\.res(\d)\.(\d+)\.a\.conv\.weight", key) for key in tensors]
    return tuple(sum(match is not None and match[1] == stage for match in keys) for stage in "2345")


def nonlocal_places(tensors: dict[str, Tensor], path: str) -> tuple[tuple[int, ...], ...]:
    keys = [re.fullmatch(rf"{path}\.res(\d)\.(\d+)_nonlocal\.g\.weight", key) for key in tensors]
    return tuple(tuple(sorted(int(match[2]) for match in keys if match and match[1] == stage)) for stage in "2345")


@lru_cache(maxsize=256)
def expected_shapes(arch: Arch) -> dict[str, Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in build(arch).state_dict().items()}


def fits(found: Renamed, arch: Arch) -> bool:
    """Every tensor of the network is there with its shape, but for axes of size 1, and no other is."""
    return not differences(found, arch)


def same_shape(first: Size, second: Size) -> bool:
    """Equal, or with axes of size 1 more or fewer: 2-D convolutions, fully connected layers stored as convolutions."""
    if len(first) == len(second):
        return first == second
    return [size for size in first if size != 1] == [size for size in second if size != 1]


def different(candidates: list[Candidate]) -> list[Candidate]:
    """One candidate for each network: files that differ in their training alone are one."""
    made: dict[tuple[str, Arch], Candidate] = {}
    for candidate in candidates:
        made.setdefault((candidate.name.partition(".")[0], candidate.arch), candidate)
    return list(made.values())


def why_not(found: Renamed, asked: str | None) -> str:
    """What keeps the tensors from being the network asked for, or the nearest row."""
    rows = [asked.partition(".")[0]] if asked else [row for row in ARCHS if similar(found, ARCHS[row])]
    if not rows:
        path = "slow" if two_pathways(found) else "pathway"
        counts, places = block_counts(found.tensors, path), nonlocal_places(found.tensors, path)
        return (
            f"{found.layout.name} tensors of a network that no row of list_models() has: "
            f"{'-'.join(map(str, counts))} blocks, {classes_in(found)} classes"
            + (f", non-local blocks behind {places}" if any(places) else "")
        )
    if asked is None:  # the nearest one
        rows = sorted(rows, key=lambda row: len(differences(found, usual(found, row))))
    two = two_pathways(found)
    if isinstance(ARCHS[rows[0]], SlowFastArch) != two:
        return f"{asked} has {'one pathway' if two else 'two pathways'}, the file has {'two' if two else 'one'}"
    arch = usual(found, rows[0])
    if asked is not None and "." in asked:
        arch = published(asked, found).arch
    return f"the tensors are not those of {asked or rows[0]}: " + shorten(differences(found, arch))


def usual(found: Renamed, row: str) -> Arch:
    """The project's form of a row, with the classes of the file."""
    return override(row, ARCHS[row], common(found.layout, row) | {"num_classes": classes_in(found)})


def differences(found: Renamed, arch: Arch) -> list[str]:
    """What is missing, unknown or of another shape, in both languages."""
    expected = expected_shapes(arch)
    lines = []
    for key, shape in expected.items():
        theirs = found.sources.get(key) or found.layout.theirs(found.names, key)
        if key not in found.tensors and not key.endswith(COUNTER):
            lines.append(f"missing {theirs!r} (here {key!r})")
        elif key in found.tensors and not same_shape(found.tensors[key].shape, shape):
            lines.append(f"{theirs!r} (here {key!r}) is {tuple(found.tensors[key].shape)}, expected {tuple(shape)}")
    lines += [f"unknown {found.sources[key]!r} (here {key!r})" for key in found.tensors if key not in expected]
    return lines
