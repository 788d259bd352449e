"""Annotation files and folders of many projects to labelled videos.

The road: which format (here) -> videos, labels as written (folders, tables, charades, something) -> groups (here) ->
files that are there, labels with numbers (numbered, labels) -> a split if no part is for validation (split).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from slowfast_hub.people.files import check_file
from slowfast_hub.trainer.formats.charades import FRAME_LIST, LARGEST_LIST, is_official, read_frame_list, read_official
from slowfast_hub.trainer.formats.folders import read_folder
from slowfast_hub.trainer.formats.found import Found, part_of_name
from slowfast_hub.trainer.formats.numbered import with_numbers
from slowfast_hub.trainer.formats.something import read_something
from slowfast_hub.trainer.formats.split import with_split
from slowfast_hub.trainer.formats.tables import entries_of, read_table
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledSet
from slowfast_hub.trainer.samples import LabelledVideos
from slowfast_hub.video.reader import VIDEO_SUFFIXES

__all__ = ["first_rows", "read_videos"]

LISTS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
# Files that are not the part of their name: papers validate on the first, the second lists no videos.
OTHER_PARTS = {"Charades_v1_test.csv": "val", "test-answers.csv": ""}


def read_videos(
    source: str | Path,
    *,
    val: str | Path | None = None,
    videos: str | Path | None = None,
    group_from: str | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    multilabel: bool | None = None,
    fps: float | None = None,
) -> LabelledVideos:
    """The labelled videos of a folder or an annotation file, `notes` with what was understood; formats: docs/data.md.

    val: the validation part; `source` is then the training part alone. videos: the folder in which the paths of
    annotation files begin (the file's own if not given). group_from: a column of a table, or a regular expression whose
    first group in a path as written (the whole match without one) is the video's group: no group is on both sides of a
    split.
    val_share: of the videos, split off where no part is for validation; 0 splits nothing. multilabel: None finds out.
    fps: of folders of frames.
    Errors: ValueError names file and line, FileNotFoundError counts the videos that are not there.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share must be 0 (no split) or more, and below 1; got {val_share!r}")
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be a positive rate; got {fps!r}")
    found = [understand(Path(source), videos, group_from, fps)]
    if val is not None:
        found = [as_part(found[0], "train"), as_part(understand(Path(val), videos, group_from, fps), "val")]
    labelled = with_numbers(joined(found), multilabel, fps)
    if labelled.val or not labelled.train or not val_share:
        return labelled
    return with_split(labelled, val_share, seed)


def first_rows(videos: LabelledSet, count: int = 5) -> list[tuple[str, str, str, str]]:
    """(part, video with its time, labels, group) of the first samples, or people, to see what was understood."""
    return list(islice(rows_of(videos), count))


def rows_of(videos: LabelledSet) -> Iterator[tuple[str, str, str, str]]:
    for part in ("train", "val", "test"):
        for sample in getattr(videos, part):
            for who in sample.people if isinstance(sample, KeyFrame) and sample.people else (sample,):
                box = (
                    "" if who is sample else f": {who.person} {[round(side, 3) for side in who.box]}".replace("  ", " ")
                )
                labels = " | ".join(videos.classes[label] for label in who.labels)
                yield part, f"{sample.name}{box}", labels, sample.group


def understand(source: Path, videos: str | Path | None, group_from: str | None, fps: float | None) -> Found:
    """The videos of one folder or file, with their groups."""
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(f"{source} is a video; a set is a folder with one for each class, or a file that lists videos")
    files = part_files(source) if source.is_dir() else [("", source)]
    if not files and videos is not None:
        raise ValueError(f"videos={videos}: {source} is a folder of videos itself; leave videos out")
    if files:
        each = [read_file(file, part, Path(videos or file.parent), group_from, fps) for part, file in files]
        found = joined([with_groups(one, group_from) for one in each])
    else:
        found = with_groups(read_folder(source), group_from)
    if not found.entries:
        raise ValueError(f"{source}: no videos with labels; {'; '.join(found.notes)}")
    return found


def part_files(folder: Path) -> list[tuple[str, Path]]:
    """(part, file) of the annotation files in a folder whose names tell a part; ValueError for two of one part."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        part = OTHER_PARTS.get(file.name, part_of_name(file.stem))
        if not part or file.suffix.lower() not in LISTS or not file.is_file():
            continue
        if part in files:
            raise ValueError(
                f"{folder}: {files[part].name} and {file.name} are both for {part}; name the files one by one"
            )
        files[part] = file
    return [(part, files[part]) for part in ("train", "val", "test") if part in files]


def read_file(file: Path, part: str, videos: Path, group_from: str | None, fps: float | None) -> Found:
    """The videos of one annotation file."""
    check_file(file, LARGEST_LIST)
    if file.suffix.lower() == ".json":
        return read_something(file, videos, part)
    with file.open("rb") as opened:
        frame_list = FRAME_LIST.encode() in opened.read(len(FRAME_LIST) + 3)  # behind a byte order mark, perhaps
    if frame_list:
        return read_frame_list(file, videos, part, fps)
    table = read_table(file, videos)
    if is_official(table):
        return read_official(table, videos, part, group_from)
    return entries_of(table, videos, part, group_from)


def with_groups(found: Found, group_from: str | None) -> Found:
    """Groups by a pattern, where it was no column."""
    if group_from is None or found.grouped:
        return found
    try:
        pattern = re.compile(group_from)
    except re.error as error:
        raise ValueError(f"group_from={group_from!r}: no column, and no regular expression: {error}") from error
    entries = []
    for entry in found.entries:
        match = pattern.search(entry.written)
        if not match or not match[bool(pattern.groups)]:
            where = f"{entry.where}: " if entry.where else ""
            raise ValueError(f"{where}group_from={group_from!r} is no column, and finds nothing in {entry.written!r}")
        entries.append(replace(entry, group=match[bool(pattern.groups)]))
    return replace(found, entries=entries)


def as_part(found: Found, part: str) -> Found:
    """All as one part; ValueError if some are of another."""
    other = next((entry for entry in found.entries if entry.part not in ("", part)), None)
    if other:
        raise ValueError(f"{other.where or other.written}: is of the {other.part} part; with val= all are of {part}")
    return replace(found, entries=[replace(entry, part=part) for entry in found.entries])


def joined(found: Sequence[Found]) -> Found:
    """Several sources as one; ValueError if their lists of classes differ."""
    lists = {one.classes for one in found if one.entries}
    kinds = {one.multilabel for one in found} - {None}
    if len(lists) > 1 or len(kinds) > 1:
        raise ValueError("the parts have different formats or lists of classes; give them the same classes.txt")
    entries = [entry for one in found for entry in one.entries]
    notes = tuple(note for one in found for note in one.notes)
    return Found(entries, notes, lists.pop() if lists else (), kinds.pop() if kinds else None)
