"""The records of manifest.json as `WeightsInfo`, and the label lists they name."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from slowfast_hub.spec import ClipSpec, WeightsInfo

PACKAGE = files("slowfast_hub")


@cache
def WEIGHTS() -> dict[str, WeightsInfo]:
    """Every record, by `row.tag`; the first of a row is its default."""
    records = json.loads((PACKAGE / "zoo" / "manifest.json").read_text(encoding="utf-8"))
    return {name: WeightsInfo(name=name, **record) for name, record in records.items()}


def find_weights(name: str) -> WeightsInfo:
    """The record of one file of weights, by `row.tag` or by row (its default file); LookupError when there is none."""
    if name in WEIGHTS():
        return WEIGHTS()[name]
    row, _, tag = name.partition(".")
    known = [other for other in WEIGHTS() if other.startswith(row + ".")]
    if known and not tag:
        return WEIGHTS()[known[0]]
    if known:
        raise LookupError(f"no weights called {name!r}; {row} has {', '.join(known)}")
    raise LookupError(
        f"no file of weights is recorded yet for {row!r}; list_models(pretrained=True) shows the ones there are, "
        f"create_model({row!r}, checkpoint_path=...) loads a file of your own"
    )


def arch_changes(info: WeightsInfo) -> dict[str, object]:
    """The overrides of a record as values of the row's dataclass: JSON's lists as tuples, `clip` as a ClipSpec."""
    return {name: from_json(value) for name, value in info.changes.items()}


def from_json(value: Any) -> Any:
    """Lists become tuples; an object, of which a row has only its clip, becomes a ClipSpec."""
    if isinstance(value, dict):
        return ClipSpec(**{name: from_json(item) for name, item in value.items()})
    return tuple(map(from_json, value)) if isinstance(value, list) else value


def read_labels(name: str) -> tuple[str, ...]:
    """The classes of one list in labels/, one per line; the line number is the class index."""
    return tuple((PACKAGE / "labels" / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def labels_of(weights: WeightsInfo) -> tuple[str, ...]:
    """The class names of a record, in index order."""
    return read_labels(weights.labels) if isinstance(weights.labels, str) else tuple(weights.labels)
