"""Tables of boxes: a box and a label in each row, from any program, and the CSV files of AVA.

    video,time,x1,y1,x2,y2,label[,person][,score]      video and label may be missing where a table is boxes alone

The first line names the columns, in any order, by the names of COLUMNS; what separates them is found out. `time` is
in seconds of the file, and a column `frame` in its place counts frames from 0. A row whose box is empty says that
nobody is there at that moment. AVA's files name no columns and are known by their fields: `video, second, x1, y1, x2,
y2, action` and perhaps an eighth, which is a score if one of them has a decimal point, and else says who it is.
Exports of annotation tools are read too (exports.py).
"""

from __future__ import annotations

import csv
import math
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile
from pathlib import Path

import torch
from torch import Tensor

from slowfast_hub.people.boxes import UNITS, Unit, unit_of
from slowfast_hub.people.exports import is_via_csv, read_export, read_via_csv
from slowfast_hub.people.files import LARGEST_TABLE, check_file, lines_of
from slowfast_hub.people.rows import A_TIME, MOST_S, BoxTable, SecondsOf, Strings
from slowfast_hub.spec import one_of

# What columns are called; the first that is there counts.
COLUMNS = {
    meant: tuple(names.split())
    for meant, names in {
        "video": "video video_id path file filename file_name video_name clip name",
        "time": "time time_s timestamp at_s at second seconds sec middle_frame_timestamp t",
        "frame": "frame frame_id frame_number frame_index",
        "x1": "x1 xmin x_min left xtl",
        "y1": "y1 ymin y_min top ytl",
        "x2": "x2 xmax x_max right xbr",
        "y2": "y2 ymax y_max bottom ybr",
        "label": "label labels action actions action_id class class_name label_name activity label_id class_id",
        "person": "person person_id track track_id entity_id id",
        "score": "box_score score confidence conf probability",
    }.items()
}
SIDES = ("x1", "y1", "x2", "y2")
AVA = ("video", "time", *SIDES, "label", "last")
NO_LABEL = "-1"  # in files of boxes that a detector found
EXPECTED = (
    "expected a first line that names its columns, time, x1, y1, x2, y2, of a set also video and label, perhaps person "
    "and score; or AVA's fields without such a line"
)
CHUNK = 2_000  # rows taken at once
LEAST_EVERY_S = 0.001  # moments are told apart by their milliseconds

Row = tuple[int, list[str]]  # line, fields


@dataclass(frozen=True, eq=False)
class MomentBoxes:
    """The people of one moment of a video, as a table has them."""

    time_s: float
    boxes: Tensor  # (N, 4) float32
    scores: Tensor | None  # (N,) float32, 1 for a box that has none; None: the table has no scores
    people: tuple[str, ...]  # who they are, "" where nobody says
    unit: Unit


def read_boxes(
    file: str | Path, *, unit: Unit | None = None, seconds_of: SecondsOf | None = None, every_s: float = 1.0
) -> BoxTable:
    """The rows of a table, or of an export of CVAT, Label Studio or VIA: the file itself tells which it is.

    unit: None finds out, by the largest value of the whole table (`unit_of`). seconds_of: the time of a frame, for
    files that count frames (CVAT, tables with a column `frame`). every_s: how far apart the moments are that are taken
    from tracks. Boxes come as they are written: `check_boxes` looks at them. Errors: ValueError with file and line.
    """
    file = Path(file)
    if unit is not None:
        one_of("unit", unit, UNITS)
    if not LEAST_EVERY_S <= every_s <= MOST_S:
        raise ValueError(f"every_s must be a time from {LEAST_EVERY_S:g} s; got {every_s!r}")
    check_file(file, LARGEST_TABLE)
    with file.open("rb") as opened:
        head = opened.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] in (b"<", b"{", b"["):
        table = read_export(file, seconds_of, every_s)
    elif is_via_csv(head):
        table = read_via_csv(file)
    elif head[:1] == b"\x80":
        raise ValueError(
            f"{file}: a pickle, and no table; MMAction2's proposals are the `found` of a set of AVA's form"
        )
    else:
        table = read_table(file, seconds_of)
    return table if unit is None else replace(table, unit=unit)


def are_boxes(file: str | Path) -> bool:
    """Whether a file is a table of boxes or an export of them, by its beginning alone."""
    with Path(file).open("rb") as opened:
        head = opened.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] in (b"<", b"{", b"["):
        return any(mark in head for mark in (b"<annotations>", b"VGG Image Annotator", b'"annotations"'))
    if is_via_csv(head):
        return True
    try:
        _, first = next(split(head.decode("utf-8", "replace").splitlines()), (1, []))
    except csv.Error:
        return False
    return set(columns_of(first)[1]) >= set(SIDES) or is_ava_row(first)


def read_table(file: Path, seconds_of: SecondsOf | None) -> BoxTable:
    """A table as text, in pieces: the largest is half a gigabyte."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return from_rows(file, split(lines_of(opened)), seconds_of)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{file}: cannot be read: {error}; is a quote left open?") from error


def split(lines: Iterable[str]) -> Iterator[Row]:
    """Rows, by the separator that finds most fields in the first; by white space where none finds enough."""
    lines = iter(lines)
    first, number = "", 0
    while not first.strip() and (line := next(lines, None)) is not None:
        first, number = line, number + 1
    widths = {separator: len(next(csv.reader([first], delimiter=separator), [])) for separator in ",\t;|"}
    separator = max(widths, key=lambda each: widths[each])
    if widths[separator] < len(SIDES):
        split_lines = (line.split() for line in chain([first], lines))
        yield from ((at, fields) for at, fields in enumerate(split_lines, number) if fields)
        return
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True, skipinitialspace=True)
    for fields in reader:
        if fields:
            yield number - 1 + reader.line_num, fields


def from_rows(file: Path, rows: Iterator[Row], seconds_of: SecondsOf | None) -> BoxTable:
    """The columns of a table."""
    line, first = next(rows, (1, []))
    names, at = columns_of(first)
    named = set(at) >= set(SIDES) and bool({"time", "frame"} & set(at))
    if not named:
        if not is_ava_row(first):
            lacking = [name for name in SIDES if name not in at] + ["time"] * (not {"time", "frame"} & set(at))
            hint = f"; {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing" if at else ""
            raise ValueError(f"{file}:{line}: {EXPECTED}{hint}; got {', '.join(first)[:200] or 'an empty file'}")
        names = AVA[: len(first)]
        at = {name: place for place, name in enumerate(names)}
        rows = chain([(line, first)], rows)
    lines, boxes = array("q"), array("d")
    texts = {name: Strings() for place, name in enumerate(names) if place not in [at[side] for side in SIDES]}
    while chunk := list(islice(rows, CHUNK)):
        for line, fields in chunk:
            if len(fields) != len(names):
                raise ValueError(f"{file}:{line}: {len(fields)} fields where the first row has {len(names)}")
            lines.append(line)
        columns = list(zip(*(fields for _, fields in chunk)))
        sides = [numbers(columns[at[side]], file, lines[-len(chunk) :], "a side of a box") for side in SIDES]
        boxes.extend(chain.from_iterable(zip(*sides)))
        for name, column in texts.items():
            column.add(columns[names.index(name)])
    if not lines:
        raise ValueError(f"{file}: a first line, and no rows")
    written = {meant: texts.pop(names[place]) for meant, place in at.items() if meant not in SIDES}
    if "last" in written:
        last = written.pop("last")
        written["score" if any("." in text for text in last) else "person"] = last
    return table_of(file, "table" if named else "AVA", written, texts, boxes, lines, seconds_of)


def columns_of(fields: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of a first line, and where those that are known stand."""
    names = tuple(re.sub(r"[\s-]+", "_", name.strip().lower()) for name in fields)
    known = {meant: [names.index(name) for name in each if name in names] for meant, each in COLUMNS.items()}
    return names, {meant: places[0] for meant, places in known.items() if places}


def is_ava_row(fields: Sequence[str]) -> bool:
    """Whether a first row is one of AVA's, which name no columns."""
    if len(fields) not in (len(AVA) - 1, len(AVA)):
        return False
    nobody = not any(fields[2:6])
    return all(map(is_number, fields[1:2] if nobody else fields[1:6]))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(texts: Sequence[str], file: Path, lines: Sequence[int], meaning: str) -> list[float]:
    """The numbers of a column, NaN for an empty field; ValueError names the line of what is none."""
    try:
        return [float(text) if text else math.nan for text in texts]
    except ValueError:
        row = next(row for row, text in enumerate(texts) if text and not is_number(text))
        raise ValueError(f"{file}:{lines[row]}: {meaning} is a number; got {texts[row]!r:.40}") from None


def table_of(
    file: Path,
    form: str,
    written: dict[str, Strings],
    more: dict[str, Strings],
    sides: array[float],
    lines: Sequence[int],
    seconds_of: SecondsOf | None,
) -> BoxTable:
    """A table of columns by their meaning, and what was understood of it."""
    nothing = [""] * len(lines)
    boxes = torch.tensor(sides, dtype=torch.float64).reshape(-1, 4)
    videos, labels = written.get("video", nothing), written.get("label", nothing)
    times = written.get("time") or written["frame"]
    times_s = numbers(times, file, lines, "a time")
    for row, time_s in enumerate(times_s):
        if not 0 <= time_s <= MOST_S:
            raise ValueError(f"{file}:{lines[row]}: a time is {A_TIME}; got {times[row]!r:.40}")
    if "time" not in written:
        if seconds_of is None:
            raise ValueError(f"{file}: it counts frames, and times are wanted: name a column time, in seconds")
        for row, number in enumerate(times_s):
            if number != int(number):
                raise ValueError(f"{file}:{lines[row]}: a frame is a whole number; got {times[row]!r:.40}")
        times_s = [seconds_of(video, int(number)) for video, number in zip(videos, times_s)]
    unit = unit_of(boxes[~boxes.isnan().any(1)])
    last = next((f", the last field is the {name}" for name in ("score", "person") if name in written), "")
    notes = [f"{file}: {len(lines)} rows, boxes {unit}" + (f"; as AVA's files{last}" if form == "AVA" else "")]
    return BoxTable(
        file=file,
        form=form,
        videos=videos,
        times_s=torch.tensor(times_s, dtype=torch.float64),
        times=times,
        boxes=boxes,
        labels=["" if label == NO_LABEL else label for label in labels],
        people=written.get("person", nothing),
        scores=scores_of(file, lines, written.get("score")),
        lines=lines,
        unit=unit,
        more=more,
        notes=tuple(notes),
    )


def scores_of(file: Path, lines: Sequence[int], texts: Sequence[str] | None) -> Tensor | None:
    return None if texts is None else torch.tensor(numbers(texts, file, lines, "a score"), dtype=torch.float64)


def boxes_by_moment(table: BoxTable, video: str | Path | None = None) -> list[MomentBoxes]:
    """The moments of one video in order of time, each person once however many labels there are.

    video: its name or path; one that a table calls `a` is also found as `somewhere/a.mp4`, and of several the one of
        which most is the same, from the file upwards. None: the table has one.
    Errors: ValueError for a video that the table does not have, with those it has.
    """
    name = video_in(table, video)
    chosen = torch.tensor([row for row, each in enumerate(table.videos) if each == name])
    part = table.only(chosen[table.times_s[chosen].argsort(stable=True)])
    grouped: dict[float, dict[tuple[object, ...], float | None]] = {}
    for row in part.rows():
        there = grouped.setdefault(row.time_s, {})
        if row.box is not None:
            there.setdefault((row.box, row.person), row.score)
    return [boxes_at(time_s, there, table) for time_s, there in grouped.items()]


def boxes_at(time_s: float, there: dict[tuple[object, ...], float | None], table: BoxTable) -> MomentBoxes:
    boxes = torch.tensor([box for box, _ in there], dtype=torch.float32).reshape(-1, 4)
    scores = None if table.scores is None else torch.tensor([1.0 if each is None else each for each in there.values()])
    return MomentBoxes(time_s, boxes, scores, tuple(str(person) for _, person in there), table.unit)


def video_in(table: BoxTable, video: str | Path | None) -> str:
    """What the table calls a video."""
    names = sorted(set(table.videos))
    if names == [""] or (video is None and len(names) == 1):
        return names[0]
    if video is not None:
        wanted = Path(os.path.abspath(video))
        alike = {name: likeness(Path(name), wanted) for name in names}
        best = [name for name in names if alike[name] == max(alike.values()) and alike[name] > (0, False)]
        if len(best) == 1:
            return best[0]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    asked = "which of its videos is meant" if video is None else f"no rows of {video}"
    raise ValueError(f"{table.file}: {asked}; it has {shown}")


def likeness(name: Path, video: Path) -> tuple[int, bool]:
    """How much of the ends of two paths is the same: parts from the file upwards, and whether its ending is too."""
    if name.name != video.name and name.stem != video.stem and name.name != video.stem:
        return 0, False
    same = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(name.parent.parts), reversed(video.parent.parts)))
    return 1 + len(list(same)), name.name == video.name
