"""Labels as they are written, to numbers of classes.

One rule: the classes are the labels that appear, names in alphabetical order and numbers in theirs, and a class is
called what its label says. A list of classes (a format's own, or classes.txt beside the file) gives order and names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slowfast_hub.trainer.formats.found import NUMBER, Entry


def several_labels(entries: Iterable[Entry], known: bool | None, asked: bool | None) -> tuple[bool, list[str]]:
    """Whether videos have any number of labels, and how that was found out."""
    if known is not None:
        if asked is not None and asked != known:
            raise ValueError(f"multilabel={asked}: this format has {'any number of labels' if known else 'one label'}")
        return known, []
    if asked is not None:
        return asked, []
    first = next((entry for entry in entries if "|" in entry.label), None)
    if first is None:
        return False, []
    return True, [f"several labels per video, as in {first.where}: {first.label!r}; multilabel=False reads it as one"]


def labels_of(entry: Entry, multilabel: bool) -> list[str]:
    """The labels of a video, without repeats; ValueError where there must be one and is none."""
    if multilabel:
        names = [*entry.label.split("|"), *(label for label, _, _ in entry.spans)]
        return sorted({name.strip() for name in names} - {""})
    if not entry.label:
        raise ValueError(f"{entry.where}: no label; a video without one belongs to sets of multilabel=True")
    return [entry.label]


def number_labels(places: dict[str, str], classes: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """The classes, the class of each label, and what was decided.

    places: each label with a place where it stands, for errors. classes: the list of them, if there is one.
    ValueError for a label that is not in the list, and for a number below 0.
    """
    if classes:
        return listed(places, tuple(classes))
    if not all(NUMBER.fullmatch(label.removeprefix("-")) for label in places):
        names = tuple(sorted(places))
        return names, {name: number for number, name in enumerate(names)}, []
    ids = sorted({int(label) for label in places})
    if ids[0] < 0:
        label = next(label for label in places if int(label) == ids[0])
        raise ValueError(f"{places[label]}: label {label}; numbers of classes begin with 0 or 1")
    order = {number: place for place, number in enumerate(ids)}
    notes = []
    if ids != list(range(len(ids))):
        span = f"{len(ids)} labels from {ids[0]} to {ids[-1]}"
        gaps = "" if len(ids) == ids[-1] - ids[0] + 1 else " with gaps (classes.txt beside the file would keep them)"
        notes = [f"{span}{gaps} become classes 0 to {len(ids) - 1}; their names stay the numbers in the file"]
    return tuple(map(str, ids)), {label: order[int(label)] for label in places}, notes


def listed(places: dict[str, str], classes: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """The same where a list says the classes."""
    numbers, notes = found_in(classes, places)
    for label, where in places.items():
        if label not in numbers:
            raise ValueError(
                f"{where}: label {label!r} is neither one of the {len(classes)} classes (the first is {classes[0]!r}) "
                f"nor a number from 0 to {len(classes) - 1}"
            )
    return classes, numbers, notes


def found_in(classes: Sequence[str], labels: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """The class of each label that a list has, as a name in it or a number of its lines, and what was decided."""
    names = {name: number for number, name in enumerate(classes)}
    numbers = {label: int(label) for label in labels if label not in names and NUMBER.fullmatch(label)}
    # Somebody who counted from 1 reaches the length of the list and never 0.
    first = int(bool(numbers) and min(numbers.values()) > 0 and max(numbers.values()) == len(classes))
    notes = [f"labels from 1 to {len(classes)} become classes 0 to {len(classes) - 1}"] if first else []
    found = {label: names.get(label, numbers.get(label, -1) - first) for label in labels}
    return {label: number for label, number in found.items() if 0 <= number < len(classes)}, notes
