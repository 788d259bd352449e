"""Whose names these are, and the same tensors under ours: dict to dict, one to one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from slowfast_hub.zoo.convert import caffe2, gluoncv, mmaction2, pyslowfast, pytorchvideo
from slowfast_hub.zoo.convert.names import Layout, Names
from slowfast_hub.zoo.convert.refusal import ConvertError
from slowfast_hub.zoo.load import shorten

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT for module in (caffe2, pyslowfast, pytorchvideo, mmaction2, gluoncv)
}

WRAPPERS = re.compile(r"^(?:(?:module|model|_orig_mod)\.)+")  # of DDP, Lightning and PySlowFast, torch.compile
WRAPPED = re.compile(r"^(?:(?:module|_orig_mod)\.)*model\.")
# PySlowFast and MMAction2 train with batch norm over parts of a batch: the whole's statistics lie one module deeper.
SUB_BATCH_NORM = re.compile(r"bn\.bn\.(?=(?:running_mean|running_var|num_batches_tracked)$)")
SPLIT_NORM = (r".*\.split_bn\..*", "statistics of parts of a batch, which only training uses")


@dataclass(frozen=True)
class Renamed:
    """The tensors of a checkpoint under our names."""

    layout: Layout
    names: Names
    tensors: dict[str, Tensor]
    sources: dict[str, str]  # our name: theirs, as it is in the file
    dropped: tuple[tuple[str, str], ...]  # (their name, why it is left out)
    notes: tuple[str, ...]  # what was done to values
    roi: bool | None  # the classifier was a detector's; None: the names do not say


def rename(tensors: dict[str, Tensor]) -> Renamed:
    """Recognise the layout and rename; ConvertError names every tensor that has no place."""
    if not tensors:
        raise ConvertError("no tensors at all")
    plain = plain_names(tensors)
    layout, names = recognise(list(plain))
    dropped: list[tuple[str, str]] = []
    sources: dict[str, str] = {}
    unknown: list[str] = []
    for name, key in plain.items():
        ours, reason = layout.ours(names, name), why_dropped(layout, name)
        if reason is not None:
            dropped.append((key, reason))
        elif ours is None:
            unknown.append(f"{key!r} {tuple(tensors[key].shape)}")
        elif ours in sources:
            raise ConvertError(f"{sources[ours]!r} and {key!r} are both {ours!r} here")
        else:
            sources[ours] = key
    if unknown:
        raise ConvertError(f"{layout.name} names that have no place in these networks: {shorten(unknown)}")
    ours_to_value = {ours: tensors[key] for ours, key in sources.items()}
    head = bare(sources.get("head.fc.weight", ""))
    roi = None if layout.one_head else head.startswith(("detection_head.", "roi_head."))
    if layout is pytorchvideo.LAYOUT and not roi and all(WRAPPED.match(key) for key in sources.values()):
        layout = pytorchvideo.WRAPPED
    notes = mmaction2_head(ours_to_value, roi=roi) if layout.name == "mmaction2" else ()
    return Renamed(layout, names, ours_to_value, sources, tuple(dropped), notes, roi)


def bare(key: str) -> str:
    return SUB_BATCH_NORM.sub("bn.", WRAPPERS.sub("", key))


def plain_names(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Names without wrappers and the extra module of sub-batch norm, each with its name in the file."""
    plain: dict[str, str] = {}
    for key in tensors:
        name = bare(key)
        if name in plain:
            raise ConvertError(f"{plain[name]!r} and {key!r} are one tensor without their wrappers")
        plain[name] = key
    return plain


def why_dropped(layout: Layout, name: str) -> str | None:
    return SPLIT_NORM[1] if re.fullmatch(SPLIT_NORM[0], name) else layout.dropped(name)


def recognise(names: list[str]) -> tuple[Layout, Names]:
    """The layout and the table that know the most of these names.

    Where two tables of a layout know as many, the later one counts: a table of two pathways knows those of one as well.
    """
    # What a layout leaves out, such as the copy of all weights that MMAction2's averaging makes, says nothing.
    names = [name for name in names if not any(why_dropped(layout, name) for layout in LAYOUTS.values())] or names
    known = [
        (sum(layout.ours(table, name) is not None for name in names), at, layout, table)
        for layout in LAYOUTS.values()
        for at, table in enumerate(layout.tables)
    ]
    most, _, layout, table = max(known, key=lambda row: row[:2])
    # Half of them: fewer is a coincidence (every ResNet has a layer1), and the message below is the better one.
    if 2 * most < len(names):
        if any(name.startswith(("slow.stem.", "pathway.stem.")) for name in names):
            raise ConvertError("these are this package's own names: there is nothing to convert")
        raise ConvertError(
            f"names of no layout known here ({', '.join(LAYOUTS)}); the first are {', '.join(map(repr, names[:5]))}"
        )
    return layout, table


def mmaction2_head(tensors: dict[str, Tensor], *, roi: bool | None) -> tuple[str, ...]:
    """MMAction2's classifiers have the Fast features first; its detectors have a column for the background."""
    weight, bias = tensors.get("head.fc.weight"), tensors.get("head.fc.bias")
    last = [value for key, value in tensors.items() if re.fullmatch(r"fast\.res5\.\d+\.c\.conv\.weight", key)]
    if weight is None or bias is None:
        return ()
    if roi:
        tensors["head.fc.weight"], tensors["head.fc.bias"] = weight[1:], bias[1:]
        return (f"column 0 of {len(bias)}, the background, is left out: {len(bias) - 1} classes",)
    if last:
        fast = len(last[0])
        tensors["head.fc.weight"] = torch.cat([weight[:, fast:], weight[:, :fast]], dim=1)
        return (f"the classifier's first {fast} columns, of the Fast features, are put last",)
    return ()
