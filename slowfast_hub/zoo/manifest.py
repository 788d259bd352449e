"""The records of manifest.json as `WeightsInfo`, and the label lists they name."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from slowfast_hub.spec import ClipSpec, Hosted, Origin, Reported, WeightsInfo
from slowfast_hub.zoo.describe import fields_from_json, plain

PACKAGE = files("slowfast_hub")


@cache
def WEIGHTS() -> dict[str, WeightsInfo]:
    """Every record, by `row.tag`; the first of a row is its default. ValueError or TypeError for an impossible one."""
    records = json.loads((PACKAGE / "zoo" / "manifest.json").read_text(encoding="utf-8"))
    return {name: record_from_json(name, record) for name, record in records.items()}


def record_from_json(name: str, record: dict[str, Any]) -> WeightsInfo:
    """One record, checked by its dataclasses: an unknown or missing field is a TypeError."""
    parts = {"clip": ClipSpec, "hosted": Hosted, "origin": Origin, "reported": Reported}
    made: dict[str, Any] = {field: plain(value, parts.get(field)) for field, value in record.items()}
    info = WeightsInfo(**{**made, "name": name, "changes": fields_from_json(record["changes"])})
    if name.partition(".")[0] != info.arch:
        raise ValueError(f"the record {name!r} is of another network: {info.arch!r}")
    if len(labels_of(info)) != info.num_classes:
        raise ValueError(f"{name} has {info.num_classes} classes and {len(labels_of(info))} labels")
    return info


def find_weights(name: str) -> WeightsInfo:
    """The record of one file of weights, by `row.tag` or by row (its default file); LookupError when there is none."""
    if name in WEIGHTS():
        return WEIGHTS()[name]
    row = name.partition(".")[0]
    known = [other for other in WEIGHTS() if other.startswith(row + ".")]
    if known and name == row:
        return WEIGHTS()[known[0]]
    if known:
        raise LookupError(f"no weights called {name!r}; {row} has {', '.join(known)}")
    raise LookupError(
        f"no published file of weights is known for {row!r}; list_models(pretrained=True) shows the ones there are, "
        f"create_model({row!r}, checkpoint_path=...) loads a file of your own"
    )


def arch_changes(info: WeightsInfo) -> dict[str, Any]:
    """All overrides of a record: those of its network, its number of classes, its activation and its clip."""
    return {**info.changes, "num_classes": info.num_classes, "activation": info.activation, "clip": info.clip}


@cache
def read_labels(name: str) -> tuple[str, ...]:
    """The classes of one list in labels/, one per line; the line number is the class index."""
    return tuple((PACKAGE / "labels" / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def labels_of(weights: WeightsInfo) -> tuple[str, ...]:
    """The class names of a record, in index order."""
    return read_labels(weights.labels) if isinstance(weights.labels, str) else tuple(weights.labels)
