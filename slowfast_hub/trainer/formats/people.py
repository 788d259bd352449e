"""Boxes of people with labels, of a table, an export of an annotation tool, or AVA's files, to labelled people.

The road: the files and their tables (people_files.py, ava.py), which people_check.py looks at too -> labels with
numbers, moments with all that is said of them -> videos that are there -> a split if no part is for validation.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from slowfast_hub.people.boxes import Box, Unit, check_boxes
from slowfast_hub.people.rows import BoxTable
from slowfast_hub.spec import Limits, VideoError
from slowfast_hub.trainer.formats.ava import CUT_FPS, CUT_S, END_S, are_avas, ava_actions, evaluated_of
from slowfast_hub.trainer.formats.found import NUMBER, PARTS, Entry, amount, listing
from slowfast_hub.trainer.formats.labels import found_in, number_labels
from slowfast_hub.trainer.formats.numbered import folders_among
from slowfast_hub.trainer.formats.people_files import Files, Sources, gather
from slowfast_hub.trainer.formats.split import split
from slowfast_hub.trainer.formats.tables import COLUMNS
from slowfast_hub.trainer.keyframes import Instant, KeyFrame, LabelledPeople, Person, instant
from slowfast_hub.video.container import opened

AVA_NAME = re.compile(r"ava_.*_v2\.[0-9]+\.csv")  # what its makers call the files
FOUND = "found"  # the column of boxes that a detector found, in tables of ours
HEADER = (
    *("video", "time", "x1", "y1", "x2", "y2", "label", "person", "score", FOUND),
    *("split", "group", "fps", "unit", "title", "written"),
)


def read_people(
    source: str | Path,
    *,
    val: str | Path | None = None,
    videos: str | Path | None = None,
    found: Files = None,
    excluded: Files = None,
    actions: str | Path | None = None,
    offset_s: float | None = None,
    unit: Unit | None = None,
    every_s: float = 1.0,
    group_from: str | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    fps: float | None = None,
    need_videos: bool = True,
) -> LabelledPeople:
    """The key frames of a table of boxes, an export of CVAT, Label Studio or VIA, or a folder as AVA is distributed.

    val: the validation part; `source` is then the training part alone. videos: the folder of the videos (the file's
    own if not given). found: boxes of a person detector, tables or MMAction2's proposals, whatever their score.
    excluded: lists of `video,second` to leave out. actions: a .pbtxt list of actions by numbers, or a list with a name
    for each line; else classes.txt beside the file, else the labels that appear. offset_s: what the first frame of a
    file has as its time in the annotations; None is 0, but for films of AVA's form that were cut at second 900. unit:
    of boxes; None finds out for each file. every_s: see `read_boxes`. group_from, val_share, seed, fps: see
    `read_videos`; videos are split, never moments. need_videos: False for who wants the annotations alone, as a file of
    detections is measured by them: videos that are not there are no error, and their times stay as they are written.
    Errors: ValueError names file and line, FileNotFoundError counts the videos that are not there.
    """
    if not 0 <= val_share < 1:
        raise ValueError(f"val_share must be 0 (no split) or more, and below 1; got {val_share!r}")
    if offset_s is not None and not math.isfinite(offset_s):
        raise ValueError(f"offset_s must be a time in seconds; got {offset_s!r}")
    sources = gather(
        source,
        val=val,
        videos=videos,
        found=found,
        excluded=excluded,
        actions=actions,
        unit=unit,
        every_s=every_s,
        fps=fps,
    )
    return labelled(
        sources, offset_s=offset_s, group_from=group_from, val_share=val_share, seed=seed, need_videos=need_videos
    )


@dataclass(frozen=True)
class Classes:
    """The classes of a set, and which of them each label means."""

    names: tuple[str, ...]
    of: Mapping[str, int]  # of each single label as it is written; one that means none is not in it
    numbers: tuple[int, ...] = ()  # of a list of actions that numbers them
    notes: tuple[str, ...] = ()

    def lack(self, label: str) -> bool:
        """Whether a label, several of them with "|" between, has one that is no class."""
        return any(name not in self.of for name in singles(label))

    @property
    def expected(self) -> str:
        """What a label that means none is not."""
        if self.numbers:
            return f"no action; the list has numbers from {self.numbers[0]} to {self.numbers[-1]}"
        last = len(self.names) - 1
        return f"none of the {last + 1} classes, {self.names[0]!r} (0) to {self.names[last]!r} ({last})"


def labels_in(tables: Iterable[BoxTable]) -> dict[str, str]:
    """Each single label, and the line where it stands first."""
    places: dict[str, str] = {}
    for table in tables:
        last = ""
        for row, label in enumerate(table.labels):
            if label is not last and label and label not in places:
                places[label] = table.where(row)
            last = label
    return {name: where for label, where in places.items() for name in singles(label)}


def singles(label: str) -> list[str]:
    return [name.strip() for name in label.split("|") if name.strip()]


def classes_of(sources: Sources, labels: dict[str, str]) -> Classes:
    """The classes of a set, and what each of `labels_in` its tables means. ValueError for a number below 0."""
    actions, notes = sources.actions, list[str]()
    if actions is not None and are_avas(actions):
        actions, notes = ava_actions(), ["AVA's 80 classes, of which 60 count"]
    elif actions is None and not sources.classes and is_ava(sources, labels):
        actions, notes = ava_actions(), ["AVA's 80 classes, of which 60 count; another set of its form needs actions="]
    if actions is not None:
        numbers = tuple(sorted(actions))
        names = tuple(actions[number] for number in numbers)
        known = {str(n): place for place, n in enumerate(numbers)} | {name: place for place, name in enumerate(names)}
        plain = {label: str(int(label)) if NUMBER.fullmatch(label) else label for label in labels}
        return Classes(
            names, {each: known[name] for each, name in plain.items() if name in known}, numbers, tuple(notes)
        )
    if sources.classes:
        of, notes = found_in(sources.classes, labels)
        return Classes(sources.classes, of, notes=tuple(notes))
    names, of, notes = number_labels(labels, ()) if labels else ((), {}, [])
    return Classes(names, of, notes=tuple(notes))


def is_ava(sources: Sources, labels: Iterable[str]) -> bool:
    """Whether boxes without any list of actions are AVA's: its form, its seconds, and its numbers or names of files."""
    tables, known = [table for _, table in sources.tables], ava_actions()
    formed = all(
        table.form == "AVA" and bool(((table.times_s >= CUT_S) & (table.times_s <= END_S)).all()) for table in tables
    )
    named = all(AVA_NAME.fullmatch(table.file.name) for table in tables)
    return formed and (named or all(NUMBER.fullmatch(label) and int(label) in known for label in labels))


def unused_columns(sources: Sources, group_from: str | None) -> Iterator[str]:
    """A note for each table with columns that nobody reads."""
    used = {*HEADER, *(name for meant in ("split", "group", "fps") for name in COLUMNS[meant]), group_from}
    for table in sources.all_tables():
        unused = [name for name in table.more if name not in used]
        if unused:
            yield f"{table.file}: columns not used: {', '.join(unused)}"


def checked_classes(sources: Sources) -> Classes:
    """The same; ValueError for a set without labels, and for a label that is none of its classes."""
    labels = labels_in(table for _, table in sources.tables)
    if not labels:
        first = sources.tables[0][1]
        raise ValueError(f"{first.file}: not one box has a label; boxes that a detector found are given as found=")
    classes = classes_of(sources, labels)
    for label, where in labels.items():
        if label not in classes.of:
            raise ValueError(f"{where}: label {label!r} is {classes.expected}")
    return classes


@dataclass(slots=True)
class Said:
    """What rows say of one person of a moment."""

    labels: set[int] = field(default_factory=set)
    score: float | None = None  # the highest


@dataclass
class Draft:
    """A key frame while its rows are read."""

    table: BoxTable
    row: int  # the first
    people: dict[tuple[Box, str], Said] = field(default_factory=dict)  # by box and who it is
    found: dict[tuple[Box, str], Said] = field(default_factory=dict)


def labelled(
    sources: Sources,
    *,
    offset_s: float | None,
    group_from: str | None,
    val_share: float,
    seed: int,
    need_videos: bool = True,
) -> LabelledPeople:
    """Key frames of what was gathered."""
    sources = replace(sources, found=tuple(found_in_unit(sources, table) for table in sources.found))
    for table in sources.all_tables():
        for unit, rows in rows_by_unit(table).items():
            there = rows & table.occupied
            boxed = table if bool(there.all()) else table.only(there)
            check_boxes(boxed.boxes, unit=unit, where=boxed.where)
    classes = checked_classes(sources)
    drafts = drafts_of(sources, classes)
    if not drafts:
        raise ValueError(f"{sources.tables[0][1].file}: no key frames; all moments are excluded")
    found, looked = found_people(sources)
    notes = [*sources.notes, *classes.notes, *unused_columns(sources, group_from)]
    if found:
        notes += add_found_moments(sources, drafts, found)
    maker = FrameMaker(sources, drafts, offset_s, group_from, need_videos=need_videos)
    frames: dict[str, list[KeyFrame]] = {"": [], "train": [], "val": [], "test": []}
    for (part, key), draft in drafts.items():
        also = tuple(
            Person(box, (), 1.0 if said.score is None else said.score, who) for (box, who), said in draft.found.items()
        )
        seen = found.get(key, ()) + also if key[0] in looked else None
        frames[part].append(maker.frame(key, draft, seen))
    train = frames.pop("") + frames["train"]
    people = LabelledPeople(
        classes.names,
        tuple(train),
        tuple(frames["val"]),
        tuple(frames["test"]),
        evaluated_of(classes.names),
        (*notes, *maker.notes),
        sources.excluded,
    )
    if not people.val and people.train and val_share:
        people = with_split(people, val_share, seed)
    kept = tuple(frame for frame in people.train if frame.people)
    return replace(people, train=kept, notes=(*people.notes, *counts(people, kept)))


Drafts = dict[tuple[str, Instant], Draft]  # by part and moment


def drafts_of(sources: Sources, classes: Classes) -> Drafts:
    """The key frames of all tables, in the order in which they come."""
    drafts: Drafts = {}
    written = {label for _, table in sources.tables for label in set(table.labels)}
    meant = {label: tuple(classes.of[name] for name in singles(label)) for label in written}
    for part, table in sources.tables:
        parts, is_found = column(table, *COLUMNS["split"]), column(table, FOUND)
        scores = [None] * len(table) if table.scores is None else [None if s != s else s for s in table.scores.tolist()]
        occupied, boxes = table.occupied.tolist(), table.boxes.tolist()
        for row, (video, time_s) in enumerate(zip(table.videos, table.times_s.tolist())):
            key = part_of(table, row, parts) if parts else part, instant(video, time_s)
            if key[1] in sources.excluded:
                continue
            draft = drafts.get(key)
            if draft is None:
                draft = drafts[key] = Draft(table, row)
            if not occupied[row]:
                continue
            there = draft.found if is_found and is_found[row] else draft.people
            who = (tuple(boxes[row]), table.people[row])
            said = there.get(who) or there.setdefault(who, Said())
            said.labels.update(meant[table.labels[row]])
            score = scores[row]
            if score is not None and (said.score is None or score > said.score):
                said.score = score
    return drafts


def found_in_unit(sources: Sources, table: BoxTable) -> BoxTable:
    """Boxes of a detector in the unit of the truth, by the sizes of the videos; ValueError where that cannot be."""
    units = {unit: each for _, each in sources.tables for unit, rows in rows_by_unit(each).items() if bool(rows.any())}
    if set(units) == {table.unit}:
        return table
    names = " and ".join(f"{unit} in {each.file.name}" for unit, each in {**units, table.unit: table}.items())
    if len(units) > 1:
        raise ValueError(f"boxes are {names}; bring the truth, and boxes that were found, into one unit")
    sizes = dict.fromkeys(set(table.videos), (1, 1))
    for name in {name for _, each in sources.tables for name in each.videos} & set(sizes):
        try:
            info = sources.videos.info(name)
        except (VideoError, OSError) as error:
            raise ValueError(
                f"boxes are {names}; bring them into one unit, as {name} has no known size: {error}"
            ) from error
        sizes[name] = info.width, info.height
    sides = torch.tensor([sizes[name] * 2 for name in table.videos], dtype=torch.float64)
    (unit,) = units
    return replace(table, unit=unit, boxes=table.boxes * sides if unit == "px" else table.boxes / sides)


def rows_by_unit(table: BoxTable) -> dict[Unit, Tensor]:
    """(N,) bool: the rows of each unit; tables of ours say it row by row."""
    units = column(table, "unit")
    if not units:
        return {table.unit: torch.ones(len(table), dtype=torch.bool)}
    in_pixels = torch.tensor([unit == "px" for unit in units], dtype=torch.bool)
    return {"px": in_pixels, "normalised": ~in_pixels}


def column(table: BoxTable, *names: str) -> Sequence[str]:
    """The first of some columns that a table has; empty if it has none."""
    return next((table.more[name] for name in names if name in table.more), ())


def part_of(table: BoxTable, row: int, parts: Sequence[str]) -> str:
    part = PARTS.get(parts[row].lower())
    if part is None:
        raise ValueError(f"{table.where(row)}: split {parts[row]!r:.40}; expected one of {', '.join(PARTS)}")
    return part


def found_people(sources: Sources) -> tuple[dict[Instant, tuple[Person, ...]], set[str]]:
    """Who was found when, each box once, and the videos in which a detector looked."""
    found: dict[Instant, dict[Box, Person]] = {}
    for table in sources.found:
        scores = [1.0] * len(table) if table.scores is None else table.scores.tolist()
        for video, time_s, box, score in zip(table.videos, table.times_s.tolist(), table.boxes.tolist(), scores):
            people = found.setdefault(instant(video, time_s), {})
            if box[0] == box[0]:
                people.setdefault(tuple(box), Person(tuple(box), (), 1.0 if score != score else score))
    looked = {video for video, _ in found}
    for _, table in sources.tables:
        looked |= {video for video, text in zip(table.videos, column(table, FOUND)) if text}
    return {key: tuple(people.values()) for key, people in found.items()}, looked


def add_found_moments(sources: Sources, drafts: Drafts, found: Iterable[Instant]) -> Iterator[str]:
    """Key frames with nobody in them in which a detector found somebody: what it finds there counts as wrong."""
    like = {key[0]: (part, draft) for (part, key), draft in reversed(list(drafts.items()))}
    known = {key for _, key in drafts} | sources.excluded
    added, elsewhere = 0, set()
    for key in found:
        part, draft = like.get(key[0], ("", None))
        if draft is None:
            elsewhere.add(key[0])
        elif part != "train" and key not in known:
            drafts[part, key] = Draft(draft.table, draft.row)
            added += 1
    if added:
        yield f"{added} more key frames in which nobody is labelled and a detector found somebody"
    if elsewhere:
        yield f"boxes were found in {len(elsewhere)} videos that the set does not have: {listing(sorted(elsewhere))}"


class FrameMaker:
    """Key frames with their files, times and groups."""

    def __init__(
        self, sources: Sources, drafts: Drafts, offset_s: float | None, group_from: str | None, *, need_videos: bool
    ) -> None:
        self._files, self._group_from = sources.videos, group_from
        places: dict[str, str] = {}
        self._ends_ms: dict[str, int] = {}
        for (_, (name, time_ms)), draft in drafts.items():
            if name not in places:
                places[name] = draft.table.where(draft.row)
            self._ends_ms[name] = max(time_ms, self._ends_ms.get(name, 0))
        if "" in places:
            raise ValueError(f"{places['']}: names no video; add a column video")
        entries = [Entry(self._files.path(name), name, "", where=where) for name, where in places.items()]
        named: dict[Path, Entry] = {}
        for entry in entries:
            other = named.setdefault(entry.video, entry)
            if other is not entry:
                raise ValueError(
                    f"{entry.where}: {entry.written!r} is {entry.video}, which {other.where} calls {other.written!r}; "
                    "give it one name"
                )
        there = [entry for entry in entries if need_videos or os.path.exists(entry.video)]
        self._folders = folders_among(there)
        self._lost = {entry.video for entry in entries} - {entry.video for entry in there}
        if self._files.fps is not None and not self._folders:
            raise ValueError(f"fps={self._files.fps:g} is for folders of frames, and there are none")
        self._cut = all(draft.table.form == "AVA" for draft in drafts.values()) and all(
            time_ms >= 1000 * CUT_S for _, (_, time_ms) in drafts
        )
        self._asked_s = offset_s
        self._offsets = {entry.written: self._offset_s(entry) for entry in entries}  # what first frames have as time

    @property
    def notes(self) -> list[str]:
        """Where the first frames are."""
        cut = sum(offset == CUT_S for offset in self._offsets.values())
        if self._asked_s is not None or not cut:
            return []
        return [
            f"{cut} of {len(self._offsets)} videos begin at second {CUT_S:g} of their film; offset_s= says otherwise"
        ]

    def frame(self, key: Instant, draft: Draft, found: tuple[Person, ...] | None) -> KeyFrame:
        """One key frame."""
        (name, time_ms), table, row = key, draft.table, draft.row
        path, where = self._files.path(name), table.where(row)
        offset_s = self._offsets[name]
        own = instant(table.videos[row], float(table.times_s[row])) == key
        time_s = float(table.times_s[row]) if own else time_ms / 1000
        if time_s < offset_s:
            raise ValueError(f"{where}: {time_s:g} s is before {offset_s:g} s, at which the file begins (offset_s)")
        rate = column(table, *COLUMNS["fps"])
        fps = amount(rate[row], where, "a rate") if rate else None
        units = column(table, "unit")
        written, title = column(table, "written"), column(table, "title")
        return KeyFrame(
            path,
            time_s - offset_s,
            tuple(
                Person(box, tuple(sorted(said.labels)), said.score, who) for (box, who), said in draft.people.items()
            ),
            found,
            unit=table.unit if not units else "px" if units[row] == "px" else "normalised",
            group=self._group(table, row, name),
            fps=(self._files.fps or fps or CUT_FPS) if path in self._folders else None,
            title=title[row] if title else name,
            time=(written[row] if written else table.times[row]) if own else f"{time_s:g}",
            where=where,
        )

    def _offset_s(self, entry: Entry) -> float:
        """What a file's first frame has as its time: 900 s for what was cut from a film."""
        if self._asked_s is not None or not self._cut or entry.video in self._lost:
            return self._asked_s or 0.0
        if entry.video in self._folders:
            return CUT_S
        return CUT_S if self._ends_ms[entry.written] > 1000 * length_of(entry.video) else 0.0

    def _group(self, table: BoxTable, row: int, name: str) -> str:
        if self._group_from is None:
            groups = column(table, *COLUMNS["group"])
            return groups[row] if groups else ""
        groups = column(table, re.sub(r"[\s-]+", "_", self._group_from.strip().lower()))
        if groups:
            return groups[row]
        try:
            match = re.search(self._group_from, name)
        except re.error as error:
            raise ValueError(f"group_from={self._group_from!r}: no column, and no expression: {error}") from error
        if not match:
            raise ValueError(
                f"{table.where(row)}: group_from={self._group_from!r} is no column, and finds nothing in {name!r}"
            )
        return match[bool(match.re.groups)] or ""


def length_of(path: Path) -> float:
    """Seconds of a file as its container tells, without reading all of a film; infinite where it does not tell.

    Infinite too of a file that cannot be opened: whoever reads it says so.
    """
    try:
        with opened(path, Limits()) as (container, _):
            return math.inf if container.duration is None else container.duration / 1_000_000
    except VideoError:
        return math.inf


def with_split(people: LabelledPeople, share: float, seed: int) -> LabelledPeople:
    """The set with a validation part of whole videos, taken from its training part."""
    train, val = split(people.train, share, seed)
    if not val:
        count = len({str(frame.video) for frame in people.train})
        raise ValueError(
            f"no validation part of {share:g} can be taken from {count} videos: each class keeps a key frame for "
            "training, and no video is on both sides; add videos, give val=, or train without one by val_share=0"
        )
    videos = [len({str(frame.video) for frame in part}) for part in (train, val)]
    lacking = {label for frame in train for label in frame.labels} - {label for frame in val for label in frame.labels}
    notes = [f"split by video with seed {seed}: {videos[0]} train, {videos[1]} val"]
    if lacking:
        notes.append(f"nobody in val: {listing([people.classes[label] for label in sorted(lacking)])}")
    return replace(people, train=train, val=val, notes=(*people.notes, *notes))


def counts(people: LabelledPeople, train: Sequence[KeyFrame]) -> Iterator[str]:
    """How much there is of what."""
    parts = {"train": train, "val": people.val, "test": people.test}
    sizes = ", ".join(f"{len(frames)} {part}" for part, frames in parts.items())
    boxes = ", ".join(f"{sum(len(frame.people) for frame in frames)} {part}" for part, frames in parts.items())
    yield f"{len(people.classes)} classes, any number for each person; key frames: {sizes}; people: {boxes}"
    if len(train) < len(people.train):
        yield f"left out: {len(people.train) - len(train)} training key frames with nobody in them"
    seen = {label for frame in train for label in frame.labels}
    lacking = [name for label, name in enumerate(people.classes) if label not in seen]
    if train and lacking:
        yield f"nobody in train: {listing(lacking)}"


def write_people(path: str | Path, people: LabelledPeople) -> None:
    """The set and its split as a table that `read_people` reads; its classes belong beside it, as classes.txt.

    TypeError for videos in memory, which a table cannot name.
    """
    with Path(path).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        for part in ("train", "val", "test"):
            for frame in getattr(people, part):
                table.writerows(rows_of(frame, part, people.classes))


def rows_of(frame: KeyFrame, part: str, classes: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The rows of a key frame; one without a box where nobody is there."""
    if not isinstance(frame.video, str | os.PathLike):
        raise TypeError(f"a table names files; got a video of {type(frame.video).__name__}")
    begin = (os.path.abspath(frame.video), frame.at_s)
    end = (part, frame.group, frame.fps, frame.unit, frame.title, frame.time)
    nobody = ("",) * 7
    if not frame.people:
        yield (*begin, *nobody, "", *end)
    for person in frame.people:
        for label in [classes[label] for label in person.labels] or [""]:
            yield (*begin, *person.box, label, person.person, person.score, "", *end)
    if frame.found == ():
        yield (*begin, *nobody, FOUND, *end)
    for person in frame.found or ():
        yield (*begin, *person.box, "", person.person, person.score, FOUND, *end)
