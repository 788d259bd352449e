"""manifest.json as people read it: a line for each field of a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slowfast_hub

MANIFEST = Path(slowfast_hub.__file__).parent / "zoo" / "manifest.json"


def read_records() -> dict[str, dict[str, Any]]:
    return json.loads(MANIFEST.read_text(encoding="utf-8"))


def text_of(records: dict[str, dict[str, Any]]) -> str:
    blocks = []
    for name, record in records.items():
        lines = [f"    {json.dumps(field)}: {json.dumps(value, ensure_ascii=False)}" for field, value in record.items()]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def write_records(records: dict[str, dict[str, Any]]) -> None:
    MANIFEST.write_text(text_of(records), encoding="utf-8")
