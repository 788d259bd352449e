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
from slowfast_hub.zoo.convert.container import ConvertError
from slowfast_hub.zoo.convert.names import Layout
from slowfast_hub.zoo.convert.rename import Renamed
from slowfast_hub.zoo.describe import plain
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

    asked: a row or `row.tag` to choose from or to insist on.
    The published files of the layout come first, with as many classes, then with another number of them (a network
    that someone trained on); then the rows of the registry. ConvertError when none or more than one is left.
    """
    if asked is not None and "." in asked:
        tiers = [[published(asked, found)]]
    else:
        rows = [asked] if asked is not None else likely_rows(found)
        if asked is not None:
            find_arch(asked)
        tiers = [from_records(found, rows, same_classes=True), from_records(found, rows, same_classes=False)]
        tiers += [from_rows(found, rows, fuse_kernel=False), from_rows(found, rows, fuse_kernel=True)]
    fitting: list[Candidate] = []
    for tier in tiers:
        fitting = different([candidate for candidate in tier if fits(found, candidate.arch)])
        if fitting:
            break
    if len(fitting) == 1:
        (network,) = fitting
        # A file is a published one when that is said; to have its network is not to be it.
        return network if asked == network.name else replace(network, name=network.name.partition(".")[0])
    if not fitting:
        raise ConvertError(why_not(found, asked))
    rows = sorted({candidate.name.partition(".")[0] for candidate in fitting})
    names = rows if len(rows) > 1 else [candidate.name for candidate in fitting]
    raise ConvertError(f"the names and shapes fit {' and '.join(names)}; say which: --arch {names[0]}")


def likely_rows(found: Renamed) -> list[str]:
    """Detectors or classifiers. PySlowFast has one name for both heads: there 80 outputs, AVA's, mean a detector."""
    roi = found.roi if found.roi is not None else classes_in(found) == AVA_CLASSES
    return [row for row, arch in ARCHS.items() if (arch.roi is not None) == roi]


def published(name: str, found: Renamed) -> Candidate:
    info = weights_info(name)
    names = {layout.removesuffix("_wrapped") for layout in info.origin.layouts}
    if found.layout.name.removesuffix("_wrapped") not in names:
        raise ConvertError(f"{found.layout.name} tensors; {name} comes as {' or '.join(info.origin.layouts)}")
    arch = override(info.arch, find_arch(info.arch), arch_changes(info))
    classes = classes_in(found)
    if classes != arch.num_classes:
        raise ConvertError(f"{name} has {arch.num_classes} classes; this file has {classes}")
    return Candidate(name, arch, labels_of(info))


def from_records(found: Renamed, rows: list[str], *, same_classes: bool) -> list[Candidate]:
    """The networks of the published files in this layout, by row; with the file's number of classes."""
    made = []
    first: dict[str, WeightsInfo] = {}
    for info in WEIGHTS().values():
        if info.arch not in rows or found.layout.name not in info.origin.layouts:
            continue
        arch = override(info.arch, ARCHS[info.arch], arch_changes(info))
        if same_classes != (info.num_classes == classes_in(found)) or not similar(found, arch):
            continue
        if same_classes:
            made.append(Candidate(info.name, arch, labels_of(info)))
        else:
            # Someone trained it on: the clip cannot be seen in the tensors, nor whether the classes exclude each other.
            like = first.setdefault(info.arch, info)
            guess = replace(arch, num_classes=classes_in(found), clip=like.clip, activation=like.activation)
            made.append(Candidate(info.name, guess, note=f"clip recipe and activation are taken from {like.name}"))
    return made


def from_rows(found: Renamed, rows: list[str], *, fuse_kernel: bool) -> list[Candidate]:
    """The rows themselves, with what the layout's networks have in common."""
    made = []
    for row in rows:
        if similar(found, ARCHS[row]):
            arch = override(row, ARCHS[row], common(found.layout, ARCHS[row]) | seen(found, ARCHS[row], fuse_kernel))
            made.append(Candidate(row, arch))
    return made


def common(layout: Layout, arch: Arch) -> dict[str, Any]:
    """The layout's changes that mean something to this row."""
    known = {field.name for field in fields(arch)}
    changes: dict[str, Any] = {}
    for name, value in layout.changes.items():
        if name in NONLOCAL_DETAILS and not any(arch.nonlocal_at):
            continue
        if name in ("clip", "roi"):
            part = getattr(arch, name)
            changes |= {} if part is None else {name: replace(part, **value)}
        elif name in known and not (name == "pool" and arch.roi is not None):
            changes[name] = plain(value)
    return changes


def seen(found: Renamed, arch: Arch, fuse_kernel: bool) -> dict[str, Any]:
    """What the tensors themselves say."""
    tensors = found.tensors
    changes: dict[str, Any] = {"num_classes": classes_in(found)}
    if isinstance(arch, SlowFastArch):
        changes["lateral_norm"] = "laterals.0.fuse.norm.weight" in tensors
        if fuse_kernel:
            changes["fuse_kernel"] = tensors["laterals.0.fuse.conv.weight"].shape[2]
    else:
        changes["in_chans"] = tensors["pathway.stem.conv1.conv.weight"].shape[1]
    if any(arch.nonlocal_at):
        blocks = [key for key in tensors if "_nonlocal." in key]
        if not any("theta" in key for key in blocks):
            changes["nonlocal_kind"] = "gaussian"
        changes["nonlocal_out_bias"] = any(key.endswith("out.bias") for key in blocks)
    return changes


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
    elif "fast.stem.conv1.conv.weight" in found.tensors:
        return False
    return found.roi is None or (arch.roi is not None) == found.roi


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
    expected = expected_shapes(arch)
    needed = {key for key in expected if not key.endswith(COUNTER)}
    given = {key for key in found.tensors if not key.endswith(COUNTER)}
    return needed == given and all(same_shape(found.tensors[key].shape, expected[key]) for key in given)


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
        counts = block_counts(found.tensors, "slow" if "fast.stem.conv1.conv.weight" in found.tensors else "pathway")
        return (
            f"{found.layout.name} tensors of a network that no row of list_models() has: "
            f"{'-'.join(map(str, counts))} blocks, {classes_in(found)} classes"
        )
    arch = override(rows[0], ARCHS[rows[0]], common(found.layout, ARCHS[rows[0]]))
    arch = replace(arch, num_classes=classes_in(found))
    return f"the tensors are not those of {asked or rows[0]}: " + "; ".join(differences(found, arch)[:5])


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
