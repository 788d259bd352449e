"""Tables of videos and labels: CSV, TSV, JSON lines, and the lists of PySlowFast and MMAction2.

What separates fields and whether the first line names them is found out: the separator is the one by which lines have
as many fields as one another and one of these is a path. Layouts of the lists: PySlowFast's `path label` and
MMAction2's `path label` and `folder frames label` have no header and a space.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from slowfast_hub.people.files import text_of
from slowfast_hub.trainer.formats.found import NUMBER, PARTS, Entry, Found, amount
from slowfast_hub.video.reader import VIDEO_SUFFIXES, images_in

# What columns are called; the first that is there counts.
COLUMNS = {
    meant: tuple(names.split())
    for meant, names in {
        "video": "video path file filename file_name filepath file_path video_path video_name clip video_id name",
        "label": "label labels class classes class_name label_name action actions activity category class_id label_id",
        "start": "start start_s t_start start_time time_start begin from",
        "end": "end end_s t_end end_time time_end stop to",
        "split": "split part subset set",
        "group": "group groups",
        "fps": "fps frame_rate",
    }.items()
}
CHARADES = {"id", "actions", "length"}  # what the header of its official table has, among others
CLASS_LISTS = ("classes.txt", "labels.txt")  # beside a table: a class per line
PROBED = 50  # rows that decide what a table is

Row = tuple[int, list[str]]  # line, fields
Split = Callable[[Iterable[str]], Iterator[Row]]


@dataclass(frozen=True)
class Table:
    """A file as rows."""

    file: Path
    header: tuple[str, ...]  # as `plain` has them
    rows: list[Row]  # every one as wide as the header

    def where(self, line: int) -> str:
        return f"{self.file.name}:{line}"


def read_table(file: Path, root: Path) -> Table:
    """The rows of a table whose paths begin in `root`; ValueError names the line that does not fit."""
    text = text_of(file)
    if file.suffix.lower() in (".jsonl", ".ndjson"):
        return from_json_lines(file, text)
    lines = list(io.StringIO(text))  # at ends of lines alone: splitlines would cut at other characters too
    if not any(line.strip() for line in lines):
        raise ValueError(f"{file}: empty")
    splits: list[Split] = [by(","), by("\t"), by(";"), by("|"), by_words, path_and_label]
    split = max(splits, key=lambda split: fitness(split, lines, root))
    rows = checked(file, split, lines)
    header = tuple(map(plain, rows[0][1]))
    if is_header(header):
        rows = rows[1:]
    else:
        header = meaning(rows, root, file)
    if not rows:
        raise ValueError(f"{file}: a header and no rows")
    return Table(file, header, rows)


def by(delimiter: str) -> Split:
    def split(lines: Iterable[str]) -> Iterator[Row]:
        reader, line = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True), 1
        for fields in reader:
            if fields:
                yield line, [field.strip() for field in fields]
            line = reader.line_num + 1  # a quoted field may go over several lines

    return split


def by_words(lines: Iterable[str]) -> Iterator[Row]:
    """Fields between white space; one in double quotes may have some inside."""
    for line, text in enumerate(lines, 1):
        if text.strip():
            yield line, [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"(?!\S)|(\S+)', text)]


def path_and_label(lines: Iterable[str]) -> Iterator[Row]:
    """`path label` where either may have spaces: the path ends in the suffix of a video, or else at the last space."""
    endings = "|".join(map(re.escape, sorted(VIDEO_SUFFIXES)))
    ending = re.compile(rf"(\S.*?(?:{endings}))\s+(\S.*)", re.IGNORECASE)
    for line, text in enumerate(lines, 1):
        if text.strip():
            found = ending.fullmatch(text.strip())
            yield line, list(found.groups()) if found else text.strip().rsplit(None, 1)


def fitness(split: Split, lines: list[str], root: Path) -> tuple[bool, int, int, int]:
    """How well a way to split fits the first rows: a header, rows of one width, paths among them, few fields."""
    try:
        rows = [fields for _, fields in islice(split(lines), PROBED)]
    except csv.Error:
        return False, 0, 0, 0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    if width < 2:
        return False, 0, 0, 0
    paths = max(sum(is_path(row[at], root) for row in rows if len(row) > at) for at in range(width))
    return is_header(tuple(map(plain, rows[0]))), paths, count, -width


def is_path(field: str, root: Path) -> bool:
    try:
        return Path(field).suffix.lower() in VIDEO_SUFFIXES or (bool(field) and (root / field).exists())
    except (OSError, ValueError):  # a name too long, or none at all
        return False


def plain(name: str) -> str:
    """A column's name in lower case and one word."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def is_header(names: tuple[str, ...]) -> bool:
    return all(set(names) & set(COLUMNS[meant]) for meant in ("video", "label")) or set(names) >= CHARADES


def checked(file: Path, split: Split, lines: list[str]) -> list[Row]:
    """All rows; ValueError for one of another width than the first."""
    rows: list[Row] = []
    try:
        for line, fields in split(lines):
            if rows and len(fields) != len(rows[0][1]):
                first = len(rows[0][1])
                raise ValueError(f"{file}:{line}: {len(fields)} fields where the first row has {first}: {fields[:5]}")
            rows.append((line, fields))
    except csv.Error as error:
        after = rows[-1][0] if rows else 0
        raise ValueError(f"{file}: cannot be read after line {after}: {error}; is a quote left open?") from error
    return rows


def meaning(rows: list[Row], root: Path, file: Path) -> tuple[str, ...]:
    """The columns of a table without a header, by what they hold."""
    fields = [fields for _, fields in rows[:PROBED]]
    width = len(fields[0])
    if width == 2:
        paths = [sum(is_path(row[at], root) for row in fields) for at in range(2)]
        return ("label", "video") if paths[1] > paths[0] else ("video", "label")
    if width == 3 and all(NUMBER.fullmatch(row[1]) and NUMBER.fullmatch(row[2]) for row in fields):
        check_folders(rows, root, file)
        return ("video", "total_frames", "label")
    known = "; ".join(f"{meant}: {', '.join(names[:4])}" for meant, names in COLUMNS.items())
    raise ValueError(
        f"{file}:{rows[0][0]}: {width} fields and no header: {fields[0][:5]}; a table has `video label`, or a "
        f"first line that names its columns, video and label among them ({known} ...)"
    )


def check_folders(rows: list[Row], root: Path, file: Path) -> None:
    """ValueError if the first folders of frames hold another number of images than their list says: flow, perhaps."""
    for line, (video, frames, _) in rows[:5]:
        folder = root / video
        if folder.is_file():
            raise ValueError(f"{file}:{line}: {folder} is a file; a list of `folder frames label` has folders")
        if folder.is_dir() and len(images_in(folder)) != int(frames):
            raise ValueError(
                f"{file}:{line}: {frames} frames, but {folder} has {len(images_in(folder))} images; "
                "a folder of frames holds those of one video and nothing else"
            )


def from_json_lines(file: Path, text: str) -> Table:
    """A table of JSON objects, one per line; a list of labels is joined by "|"."""
    objects: list[tuple[int, dict[str, str]]] = []
    for line, each in enumerate(text.split("\n"), 1):
        if each.strip():
            try:
                found = json.loads(each)
                objects.append((line, {plain(name): as_field(value) for name, value in found.items()}))
            except (ValueError, AttributeError, RecursionError) as error:
                expected = 'expected an object as {"video": "a.mp4", "label": "run"}'
                raise ValueError(f"{file}:{line}: {expected}; got {each[:80]!r} ({error})") from error
    header = tuple(dict.fromkeys(name for _, found in objects for name in found))
    if not is_header(header):
        raise ValueError(
            f"{file}: no {'video and label' if objects else 'rows'}; its names are {', '.join(header) or 'none'}"
        )
    return Table(file, header, [(line, [found.get(name, "") for name in header]) for line, found in objects])


def as_field(value: object) -> str:
    if isinstance(value, list):
        texts = [as_field(item) for item in value]
        if any("|" in text for text in texts):
            raise ValueError("'|' in one of several labels")
        return "|".join(texts)
    if isinstance(value, dict):
        raise ValueError("an object inside an object")
    return "" if value is None else str(value).strip()


def entries_of(table: Table, root: Path, part: str, group_from: str | None) -> Found:
    """The videos of a table: those of `part` where no column says it; `group_from` may name a column."""
    at = {
        meant: next((table.header.index(n) for n in names if n in table.header), -1) for meant, names in COLUMNS.items()
    }
    grouped = group_from is not None and plain(group_from) in table.header
    if grouped:
        at["group"] = table.header.index(plain(group_from or ""))
    entries = [entry_of(table, line, [*fields, ""], at, root, part) for line, fields in table.rows]
    classes = classes_beside(table.file)
    notes = (*notes_of(table, at), *([f"{len(classes)} classes from the list beside {table.file}"] if classes else []))
    return Found(entries, notes, classes, grouped=grouped)


def entry_of(table: Table, line: int, fields: list[str], at: dict[str, int], root: Path, part: str) -> Entry:
    """One row; the last field is empty, for columns that are not there."""
    where = table.where(line)
    video, label, start, end, split, group, fps = (fields[at[meant]] for meant in COLUMNS)
    if not video:
        raise ValueError(f"{where}: no video; expected a path in column {table.header[at['video']]!r}")
    if at["split"] >= 0:
        part = PARTS.get(split.lower(), "")
        if not part:
            raise ValueError(f"{where}: split {split!r}; expected one of {', '.join(PARTS)}")
    rate = amount(fps, where, "a rate") or None  # 0: not known
    start_s, end_s = amount(start, where), amount(end, where)
    return Entry(root / video, video, label, part, group, start_s, end_s, (), rate, where)


def notes_of(table: Table, at: dict[str, int]) -> Iterator[str]:
    columns = ", ".join(f"{meant} from {table.header[place]!r}" for meant, place in at.items() if place >= 0)
    yield f"{table.file}: {len(table.rows)} rows; {columns}"
    unused = [name for place, name in enumerate(table.header) if place not in at.values()]
    if unused:
        yield f"{table.file}: columns not used: {', '.join(unused)}"


def classes_beside(file: Path) -> tuple[str, ...]:
    """The classes that a list beside a table names, one per line; () without one."""
    for name in CLASS_LISTS:
        beside = file.with_name(name)
        if beside != file and beside.is_file():
            return tuple(line.strip() for line in text_of(beside).split("\n") if line.strip())
    return ()
