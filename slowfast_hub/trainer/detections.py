"""Detections as a file of lines: video, time, x1, y1, x2, y2, class, score. Boxes are in the unit of the set.

AVA's form, which its official tools read, has no header and numbers classes from 1. A file whose first line is
`video,time,x1,y1,x2,y2,label,score` names them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from slowfast_hub.trainer.frame_map import LabelledBoxes
from slowfast_hub.trainer.keyframes import Instant, KeyFrame, instant
from slowfast_hub.zoo.save import whole_file

HEADER = ("video", "time", "x1", "y1", "x2", "y2", "label", "score")
LINES = 100_000  # that are read at once
NUMBERS = [("video", "O"), ("time", "f8"), ("box", "f8", 4), ("label", "i8"), ("score", "f8")]
NAMES = [*NUMBERS[:3], ("label", "O"), NUMBERS[-1]]

SECONDS = re.compile(r"\d+(\.\d+)?")


def moment_of(frame: KeyFrame) -> tuple[str, str]:
    """What a file of detections calls a key frame: its video and its second, as the annotations of the set do."""
    video = frame.title or (fspath(frame.video) if isinstance(frame.video, str | PathLike) else frame.name)
    return str(video), frame.time if SECONDS.fullmatch(frame.time) else f"{frame.at_s:.12g}"


def write_detections(
    path: str | Path, found: LabelledBoxes, frames: Sequence[KeyFrame], classes: Sequence[str] | None = None
) -> None:
    """The file of boxes in numbered frames, written whole or not at all. classes: names; None writes AVA's form."""
    names = classes or range(1, 2 + int(found.classes.max(initial=0)))
    moments = [moment_of(frame) for frame in frames]
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if classes:
            writer.writerow(HEADER)
        columns = (each.tolist() for each in (found.frames, found.classes, found.boxes, found.scores))
        for number, label, box, score in zip(*columns):
            writer.writerow([*moments[number], *(f"{side:.9g}" for side in box), names[label], f"{score:.9g}"])


def read_detections(path: str | Path, frames: Sequence[KeyFrame], classes: Sequence[str]) -> tuple[LabelledBoxes, int]:
    """The boxes of a file, with the numbers of the key frames that they lie in, and how many lie in none of these.

    ValueError with the file and about the line for what is no such file.
    """
    numbers = {instant(video, float(time)): number for number, (video, time) in enumerate(map(moment_of, frames))}
    parts, strays, at = list[LabelledBoxes](), 0, 0
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        begin = file.readline()
        named = begin.strip() == ",".join(HEADER)
        labels = {name: label for label, name in enumerate(classes)} if named else None
        if not named:
            file.seek(0)
        while lines := list(islice(file, LINES)):
            try:
                rows = np.loadtxt(
                    lines, NAMES if named else NUMBERS, comments=None, delimiter=",", quotechar='"', ndmin=1
                )
                found = boxes_of(rows, numbers, labels, len(classes))
            except ValueError as error:
                raise ValueError(
                    f"{path}, of lines {at + 1 + named} to {at + len(lines) + named}: {error}; a line is "
                    f"{','.join(HEADER)}, with a class that is its number from 1, or its name "
                    "where this is the first line of the file"
                ) from error
            parts.append(found[np.flatnonzero(found.frames < len(frames))])
            strays, at = strays + len(found) - len(parts[-1]), at + len(lines)
    return LabelledBoxes.joined(parts), strays


def boxes_of(
    rows: np.ndarray, numbers: Mapping[Instant, int], labels: Mapping[str, int] | None, count: int
) -> LabelledBoxes:
    """Of read lines; frames that are none of `numbers` are called `len(numbers)`."""
    new = np.ones(len(rows), bool)
    new[1:] = (rows["video"][1:] != rows["video"][:-1]) | (rows["time"][1:] != rows["time"][:-1])
    begins = np.flatnonzero(new)  # detections of a frame mostly stand together
    if not np.isfinite(rows["time"]).all():
        raise ValueError("a time is not finite")
    moments = [instant(video, time) for video, time in zip(rows["video"][begins], rows["time"][begins].tolist())]
    frames = np.array([numbers.get(moment, len(numbers)) for moment in moments], np.int64)
    classes = rows["label"] - 1 if labels is None else np.array([known(labels, name) for name in rows["label"]])
    strays = classes[(classes < 0) | (classes >= count)]
    if len(strays):
        raise ValueError(f"a class is not in 1..{count}: {1 + strays[0]}")
    return LabelledBoxes(frames[new.cumsum() - 1], classes, rows["box"], rows["score"])


def known(labels: Mapping[str, int], name: str) -> int:
    if name not in labels:
        raise ValueError(f"class {name!r:.80} is none of the set: {', '.join([*labels][:5])}")
    return labels[name]
