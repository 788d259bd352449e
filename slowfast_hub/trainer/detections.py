"""Detections as a file of lines: video, time, x1, y1, x2, y2, class, score. Boxes are in the unit of the set.

AVA's form, which its official tools read, has no header and numbers classes from 1. A file whose first line is
`video,time,x1,y1,x2,y2,label,score` names them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from slowfast_hub.people.files import LONGEST_LINE, check_file, lines_of
from slowfast_hub.people.rows import MOST_S
from slowfast_hub.trainer.frame_map import LabelledBoxes
from slowfast_hub.trainer.keyframes import Instant, KeyFrame, instant
from slowfast_hub.zoo.save import whole_file

HEADER = ("video", "time", "x1", "y1", "x2", "y2", "label", "score")
LARGEST_FILE = 1 << 32  # bytes; 60 classes of all boxes in AVA's validation part have about a quarter of it
LINES = 100_000  # that are read at once
NUMBERS = [("video", "O"), ("time", "f8"), ("box", "f8", 4), ("label", "i8"), ("score", "f8")]
NAMES = [*NUMBERS[:3], ("label", "O"), NUMBERS[-1]]

SECONDS = re.compile(r"\d+(\.\d+)?")


def named(frame: KeyFrame) -> tuple[str, str]:
    """What a file of detections calls a key frame: its video and its second, as the annotations of the set do."""
    video = frame.title or (fspath(frame.video) if isinstance(frame.video, str | PathLike) else frame.name)
    return str(video), frame.time if SECONDS.fullmatch(frame.time) else f"{frame.at_s:.12g}"


def instant_of(frame: KeyFrame) -> Instant:
    """The moment of a key frame, in seconds as the annotations of the set have them."""
    video, time = named(frame)
    return instant(video, float(time))


def write_detections(
    path: str | Path, found: LabelledBoxes, frames: Sequence[KeyFrame], classes: Sequence[str] | None = None
) -> None:
    """The file of boxes in numbered frames, written whole or not at all. classes: names; None writes AVA's form."""
    names = classes or range(1, 2 + int(found.classes.max(initial=0)))
    moments = [named(frame) for frame in frames]
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if classes:
            writer.writerow(HEADER)
        columns = (each.tolist() for each in (found.frames, found.classes, found.boxes, found.scores))
        for number, label, box, score in zip(*columns):
            writer.writerow([*moments[number], *(f"{side:.9g}" for side in box), names[label], f"{score:.9g}"])


@dataclass(frozen=True, eq=False)
class ReadDetections:
    """The detections of a file beside key frames."""

    boxes: LabelledBoxes  # numbered by the key frames, and behind these by `beside`
    beside: tuple[KeyFrame, ...]  # other moments of their videos, where nobody is labelled
    left_out: int  # detections of other videos, or at moments that do not count


def read_detections(
    path: str | Path, frames: Sequence[KeyFrame], classes: Sequence[str], *, excluded: Collection[Instant] = ()
) -> ReadDetections:
    """The detections of a file in the videos of key frames, also at moments that are none of these.

    excluded: moments that do not count. ValueError for what is no such file, with its name and the line.
    """
    numbers = {instant_of(frame): number for number, frame in enumerate(frames)}
    videos, beside = {video for video, _ in numbers}, list[Instant]()
    parts, count, at = list[LabelledBoxes](), 0, 1
    check_file(Path(path), LARGEST_FILE)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        labels = None
        if tuple(name.strip().lower() for name in fields_of(file.readline(LONGEST_LINE))) == HEADER:
            labels, at = {name: label for label, name in enumerate(classes)}, 2
        else:
            file.seek(0)
        rest = lines_of(file)
        while lines := list(islice(rest, LINES)):
            try:
                moments, found = parsed(lines, labels, len(classes))
            except ValueError as error:
                place, reason = first_wrong(lines, labels, len(classes)) or (0, error)
                raise ValueError(
                    f"{path}:{at + place}: {reason}; a line is {','.join(HEADER)}, with a class that is its number "
                    "from 1, or its name where this is the first line of the file"
                ) from error
            for moment in moments:
                if moment not in numbers and moment[0] in videos and moment not in excluded:
                    numbers[moment] = len(frames) + len(beside)
                    beside.append(moment)
            places = np.array([numbers.get(moment, -1) for moment in moments], np.int64)[found.frames]
            kept = np.flatnonzero(places >= 0)
            parts.append(replace(found[kept], frames=places[kept]))
            count, at = count + len(found), at + len(lines)
    boxes = LabelledBoxes.joined(parts)
    more = tuple(KeyFrame(video, time_ms / 1000, (), title=video) for video, time_ms in beside)
    return ReadDetections(boxes, more, count - len(boxes))


def parsed(lines: Sequence[str], labels: Mapping[str, int] | None, count: int) -> tuple[list[Instant], LabelledBoxes]:
    """The detections of some lines, their frames numbered by the moments beside them. labels: None for numbers."""
    rows = np.loadtxt(lines, NUMBERS if labels is None else NAMES, comments=None, delimiter=",", quotechar='"', ndmin=1)
    if not (np.abs(rows["time"]) <= MOST_S).all():
        raise ValueError(f"a time is not a number up to {MOST_S:g} seconds")
    new = np.ones(len(rows), bool)
    new[1:] = (rows["video"][1:] != rows["video"][:-1]) | (rows["time"][1:] != rows["time"][:-1])
    begins = np.flatnonzero(new)  # detections of a frame mostly stand together
    moments = [instant(video, time) for video, time in zip(rows["video"][begins], rows["time"][begins].tolist())]
    names = rows["label"]
    classes = names - 1 if labels is None else np.array([label_of(labels, name) for name in names], np.int64)
    strays = classes[(classes < 0) | (classes >= count)]
    if len(strays):
        raise ValueError(f"a class is not in 1..{count}: {1 + strays[0]}")
    return moments, LabelledBoxes(new.cumsum() - 1, classes, rows["box"], rows["score"])


def fields_of(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def problem_of(line: str, *, numbers: bool) -> str | None:
    """What is wrong with a line, in the words of its file; None where nothing is seen. numbers: classes are numbers."""
    fields = fields_of(line)
    if len(fields) != len(HEADER):
        return f"{len(fields)} fields with commas between, where {len(HEADER)} are expected"
    for name, text in zip(HEADER[1:], fields[1:]):
        try:
            if name != "label":
                float(text)
            elif numbers:
                int(text)
        except ValueError:
            return f"{name} {text!r:.40} is no {'whole ' if name == 'label' else ''}number"
    return None


def first_wrong(
    lines: Sequence[str], labels: Mapping[str, int] | None, count: int
) -> tuple[int, str | ValueError] | None:
    """The place of the first line that cannot be read by itself, and why; None where there is none."""
    for place, line in enumerate(lines):
        try:
            if line.strip():
                parsed([line], labels, count)
        except ValueError as error:
            return place, problem_of(line, numbers=labels is None) or error
    return None


def label_of(labels: Mapping[str, int], name: str) -> int:
    if name not in labels:
        raise ValueError(f"class {name!r:.80} is none of the set: {', '.join([*labels][:5])}")
    return labels[name]
