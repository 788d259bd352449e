"""Charades: the official CSV files, and PySlowFast's lists of frames.

`Charades_v1_train.csv` has a row per video whose actions are "c092 11.90 21.20;c147 0.00 12.60": class and seconds. A
list of frames has a line per frame, "original_vido_id video_id frame_id path labels", with the classes that hold in it;
its frames are 24 a second. In both a label holds for a time, and a training clip has those that hold in it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from slowfast_hub.trainer.formats.found import Entry, Found, amount, videos_by_stem
from slowfast_hub.trainer.formats.tables import CHARADES, Table, plain
from slowfast_hub.zoo.manifest import read_labels

FRAME_LIST = "original_vido_id"  # sic: the first word of a list of frames
FRAMES_PER_SECOND = 24.0  # of the frames that Charades is published as
LARGEST_LIST = 1 << 30  # bytes; the list of the training frames has a third

Span = tuple[str, float, float]


def is_official(table: Table) -> bool:
    return set(table.header) >= CHARADES


def read_official(table: Table, videos: Path, part: str, group_from: str | None) -> Found:
    """The videos `<id>` of the official table; who plays in one is its group, unless another column is asked for."""
    files = videos_by_stem(videos)
    columns = {name: place for place, name in enumerate(table.header)}
    group = columns.get(plain(group_from or "subject"))
    entries = []
    for line, fields in table.rows:
        where, name = table.where(line), fields[columns["id"]]
        spans = tuple(action(text, where) for text in fields[columns["actions"]].split(";") if text.strip())
        video = files.get(name, videos / f"{name}.mp4")
        person = "" if group is None else fields[group]
        entries.append(Entry(video, name, "", part, person, spans=spans, where=where))
    notes = [
        f"{table.file}: Charades, {len(entries)} videos with times of {sum(len(e.spans) for e in entries)} actions"
    ]
    return Found(
        entries,
        tuple(notes),
        read_labels("charades"),
        multilabel=True,
        grouped=group_from is not None and group is not None,
    )


def action(text: str, where: str) -> Span:
    """ "c092 11.90 21.20" as (class, from, to)."""
    code, *times = text.split()
    start_s, end_s = (amount(time, where) for time in times) if len(times) == 2 else (None, None)
    if not re.fullmatch("c[0-9]{3}", code) or start_s is None or end_s is None:
        raise ValueError(f"{where}: an action is as 'c092 11.90 21.20'; got {text!r}")
    return str(int(code[1:])), start_s, end_s


@dataclass
class Frames:
    """The frames of one video, as far as they were read."""

    folder: str
    where: str
    count: int = 0
    runs: list[tuple[str, int, int]] = field(default_factory=list)  # (labels, first, behind the last)

    def add(self, labels: str) -> None:
        """One more frame."""
        if self.runs and self.runs[-1][0] == labels:
            self.runs[-1] = (labels, self.runs[-1][1], self.count + 1)
        else:
            self.runs.append((labels, self.count, self.count + 1))
        self.count += 1


def read_frame_list(file: Path, videos: Path, part: str, fps: float | None) -> Found:
    """The folders of a list of frames, which lie below `videos`; `fps` is another rate than that of Charades."""
    seen: dict[str, Frames] = {}
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        next(lines)
        for number, line in enumerate(lines, 2):
            row = line.split()
            if len(row) != 5:
                expected = "expected: original_vido_id video_id frame_id path labels"
                raise ValueError(f"{file}:{number}: {len(row)} fields; {expected}")
            if row[0] not in seen:
                seen[row[0]] = Frames(os.path.dirname(row[3]), f"{file.name}:{number}")
            seen[row[0]].add(row[4].strip('"'))
    rate = fps or FRAMES_PER_SECOND
    entries = [
        Entry(videos / each.folder, name, "", part, spans=spans_of(each, rate), fps=rate, where=each.where)
        for name, each in seen.items()
    ]
    if not any(entry.spans for entry in entries):
        raise ValueError(
            f"{file}: a list of frames without labels; for Something-Something v2 give the folder of its JSON "
            "files, and videos=the folder of the folders of frames"
        )
    frames = sum(each.count for each in seen.values())
    note = f"{file}: Charades, {frames} frames of {len(entries)} videos at {rate:g} a second"
    return Found(entries, (note,), read_labels("charades"), multilabel=True)


def spans_of(frames: Frames, fps: float) -> tuple[Span, ...]:
    """When each label holds: from its first frame to the end of its last, run by run."""
    open_runs: dict[str, list[list[int]]] = {}
    for labels, first, behind in frames.runs:
        for label in filter(None, labels.split(",")):
            runs = open_runs.setdefault(label, [])
            if runs and runs[-1][1] == first:
                runs[-1][1] = behind
            else:
                runs.append([first, behind])
    return tuple((label, first / fps, behind / fps) for label, runs in open_runs.items() for first, behind in runs)
