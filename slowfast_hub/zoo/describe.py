"""A network as text: what manifest.json, a safetensors header and a config.json say of it.

The text holds every field of the network, clip recipe and slow rule included, so a file found on a disk rebuilds its
network by itself, also where the registry has changed since or never had it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from slowfast_hub.spec import Arch, ClipSpec, ResNet3DArch, RoISpec, SlowFastArch
from slowfast_hub.zoo.load import LoadError, read_metadata

FAMILIES: dict[str, type[Arch]] = {"SlowFast": SlowFastArch, "ResNet3D": ResNet3DArch}
NESTED: dict[str, type] = {"clip": ClipSpec, "roi": RoISpec}


@dataclass(frozen=True)
class Description:
    """A network, the names of its classes, and where its weights come from."""

    name: str  # a row of the registry, or `row.tag`
    arch: Arch
    labels: tuple[str, ...] = ()  # empty: not known
    origin: dict[str, str] = field(default_factory=dict)  # such as url, sha256, license


def fields_from_json(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a row as Python has them: JSON's lists as tuples, `clip` a ClipSpec, `roi` a RoISpec."""
    return {name: plain(value, NESTED.get(name)) for name, value in values.items()}


def plain(value: Any, kind: type | None = None) -> Any:
    if isinstance(value, dict) and kind is not None:
        return kind(**{name: plain(item) for name, item in value.items()})
    return tuple(map(plain, value)) if isinstance(value, list) else value


def to_json(description: Description) -> dict[str, Any]:
    """JSON-able: name, family, every field of the network, labels, origin."""
    return {
        "name": description.name,
        "family": family(description.arch),
        "arch": asdict(description.arch),
        "labels": list(description.labels),
        "origin": description.origin,
    }


def from_json(record: dict[str, Any]) -> Description:
    """The inverse of `to_json`; a ValueError says what is missing, unknown or impossible in the record."""
    missing = {"name", "family", "arch"} - set(record)
    if missing:
        raise ValueError(f"a description needs {', '.join(sorted(missing))}; it has {', '.join(record) or 'nothing'}")
    if record["family"] not in FAMILIES:
        raise ValueError(f"family is one of {', '.join(FAMILIES)}; got {record['family']!r}")
    kind = FAMILIES[record["family"]]
    unknown = set(record["arch"]) - {known.name for known in fields(kind)}
    if unknown:
        raise ValueError(
            f"{record['family']} has no field {', '.join(sorted(unknown))}: written by a newer slowfast_hub?"
        )
    try:
        arch = kind(**fields_from_json(record["arch"]))
    except TypeError as error:
        raise ValueError(f"the fields of {record['name']!r} are not a network's: {error}") from error
    labels = tuple(map(str, record.get("labels", ())))
    if labels and len(labels) != arch.num_classes:
        raise ValueError(f"{record['name']!r} has {arch.num_classes} classes and {len(labels)} labels")
    return Description(str(record["name"]), arch, labels, dict(record.get("origin", {})))


def family(arch: Arch) -> str:
    return next(name for name, kind in FAMILIES.items() if isinstance(arch, kind))


def to_header(description: Description) -> dict[str, str]:
    """The header of a safetensors file. One key: more of them are written in any order, and one file has one hash."""
    return {"slowfast_hub": json.dumps(to_json(description))}


def read_header(path: str | Path) -> Description | None:
    """What a safetensors file says of its network; None when it says nothing. LoadError when it makes no sense."""
    text = read_metadata(Path(path)).get("slowfast_hub")
    if text is None:
        return None
    try:
        return from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path}: its header does not describe a network: {error}") from error
