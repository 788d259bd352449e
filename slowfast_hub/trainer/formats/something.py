"""Something-Something v2: its JSON files, by their old names (something-something-v2-train.json) and new (train.json).

A video's label is its template without the brackets, and the file of labels gives each a number: PySlowFast ssv2.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slowfast_hub.people.files import text_of
from slowfast_hub.trainer.formats.found import Entry, Found, videos_by_stem
from slowfast_hub.zoo.manifest import read_labels


def read_something(file: Path, videos: Path, part: str) -> Found:
    """The videos `<id>` of one part; ValueError for JSON of another form. A part without labels has no videos."""
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise ValueError(f"{file}: expected a list of objects with id and template, as Something-Something v2 has it")
    if not any("template" in row for row in rows):
        return Found([], (f"{file}: left out, it has no labels",))
    files = videos_by_stem(videos)
    entries = []
    for number, row in enumerate(rows):
        name, template = str(row["id"]), row.get("template")
        if not isinstance(template, str):
            raise ValueError(f"{file}: row {number} has no template")
        label = template.replace("[", "").replace("]", "")
        where = f"{file.name}: row {number}"
        entries.append(Entry(files.get(name, videos / f"{name}.webm"), name, label, part, where=where))
    note = f"{file}: Something-Something v2, {len(entries)} videos"
    return Found(entries, (note,), classes_of(file), multilabel=False)


def classes_of(file: Path) -> tuple[str, ...]:
    """The classes in the file of labels beside it; without one those of the published networks."""
    beside = next((each for each in sorted(file.parent.glob("*labels.json"))), None)
    if beside is None:
        return read_labels("ssv2")
    numbers = read_json(beside)
    try:
        names = {int(number): str(name) for name, number in numbers.items()}
        return tuple(names[number] for number in range(len(numbers)))
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{beside}: expected templates and their numbers from 0, as {{"Closing something": "0"}}'
        ) from error


def read_json(file: Path) -> Any:
    try:
        return json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON: {error}") from error
