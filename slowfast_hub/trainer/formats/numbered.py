"""From what a format says to labelled videos: files that are there, rows once, labels with numbers."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slowfast_hub.trainer.formats.found import Entry, Found, listing
from slowfast_hub.trainer.formats.labels import labels_of, number_labels, several_labels
from slowfast_hub.trainer.samples import LabelledVideos, Sample, Span


def with_numbers(found: Found, multilabel: bool | None, fps: float | None) -> LabelledVideos:
    """Files that are there, and labels with numbers."""
    folders = folders_among(found.entries, "; a first line that names columns needs video and label among them")
    if fps is not None and not folders:
        raise ValueError(f"fps={fps:g} is for folders of frames, and there are none; a file carries its own rate")
    entries, notes = without_repeats(found.entries)
    rates = sum(entry.fps is not None and entry.video not in folders for entry in entries)
    if rates:
        notes.append(f"rates of {rates} files are not used: a file carries its own")
    multilabel, kind = several_labels(entries, found.multilabel, multilabel)
    labels = [labels_of(entry, multilabel) for entry in entries]
    classes, numbers, decided = number_labels(places_of(entries, labels), found.classes)
    parts: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for entry, names in zip(entries, labels):
        rate = (fps or entry.fps) if entry.video in folders else None
        parts[entry.part or "train"].append(sample_of(entry, names, numbers, rate))
    train, val, test = map(tuple, parts.values())
    labelled = LabelledVideos(classes, train, val, test, multilabel)
    return replace(labelled, notes=(*found.notes, *notes, *kind, *decided, *counts(labelled)))


def places_of(entries: Sequence[Entry], labels: Sequence[Sequence[str]]) -> dict[str, str]:
    """Each label and where it stands first; ValueError if there is none."""
    places: dict[str, str] = {}
    for entry, names in zip(entries, labels):
        for name in names:
            places.setdefault(name, entry.where or entry.written)
    if not places:
        raise ValueError(f"{entries[0].where or entries[0].written}: not one video has a label")
    return places


def sample_of(entry: Entry, names: Sequence[str], numbers: dict[str, int], fps: float | None) -> Sample:
    labels = tuple(sorted({numbers[name] for name in names}))
    spans = tuple(Span(numbers[label], start_s, end_s) for label, start_s, end_s in entry.spans)
    return Sample(entry.video, labels, entry.group, fps, entry.start_s, entry.end_s, spans, entry.where)


def folders_among(entries: Sequence[Entry], hint: str = "") -> set[Path]:
    """Those videos that are folders of frames; FileNotFoundError for all that are not there, and what is no file.

    hint: what may be the reason, beside the folder.
    """
    folders, missing = set(), {}
    for video, entry in {entry.video: entry for entry in reversed(entries)}.items():
        try:
            mode = os.stat(video).st_mode
        except (OSError, ValueError):
            mode = 0
        if stat.S_ISDIR(mode):
            folders.add(video)
        elif not stat.S_ISREG(mode):
            missing[video] = entry
    if missing:
        first = "; ".join(f"{entry.where}: {video}" for video, entry in [*reversed(missing.items())][:5])
        raise FileNotFoundError(
            f"{len(missing)} of {len({entry.video for entry in entries})} videos are not there: {first}"
            f"{' ...' if len(missing) > 5 else ''}; --videos (videos= in Python) is the folder that they begin in{hint}"
        )
    return folders


def without_repeats(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Each row once, and what is said twice."""
    once: dict[tuple[object, ...], Entry] = {}
    labels: dict[tuple[object, ...], str] = {}
    repeats, differing = [], []
    for entry in entries:
        video = (entry.video, entry.start_s, entry.end_s)
        if labels.setdefault(video, entry.label) != entry.label:
            differing.append(entry.where)
        if once.setdefault((*video, entry.label, entry.part, entry.spans), entry) is not entry:
            repeats.append(entry.where)
    notes = []
    if repeats:
        notes.append(f"{len(repeats)} rows say what one before says, and are left out; the first: {repeats[0]}")
    if differing:
        notes.append(f"{len(differing)} rows give a video another label than one before; the first: {differing[0]}")
    return list(once.values()), notes


def counts(videos: LabelledVideos) -> list[str]:
    """How many videos there are, and classes that a part lacks."""
    kind = "any number of labels" if videos.multilabel else "one label"
    sizes = ", ".join(f"{len(getattr(videos, part))} {part}" for part in ("train", "val", "test"))
    notes = [f"{len(videos.classes)} classes, {kind} per video; videos: {sizes}"]
    seen = Counter(label for sample in videos.train for label in sample.labels)
    lacking = [name for label, name in enumerate(videos.classes) if not seen[label]]
    if videos.train and lacking:
        notes.append(f"no training video: {listing(lacking)}")
    return notes
