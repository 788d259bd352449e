"""What is wrong with a set of people: the classic mistakes in boxes, labels and times, beside those of files.

The road: what the tables say (`table_findings`), rows that nobody can use left out (`usable`), key frames of the rest,
their files decoded once by check.py, and then both held together (`report_of_people`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import combinations

import torch
from torch import Tensor

from slowfast_hub.people.boxes import MOST_NORMALISED, Unit, problems_of
from slowfast_hub.people.rows import BoxTable
from slowfast_hub.spec import ClipSpec, VideoInfo
from slowfast_hub.trainer.check import (
    KINDS,
    PARTS,
    Finding,
    Report,
    VideoCheck,
    class_findings,
    clip_length_s,
    copies_of,
    copy_findings,
    file_findings,
    group_findings,
    several,
    worst_first,
)
from slowfast_hub.trainer.formats.ava import CUT_S
from slowfast_hub.trainer.formats.found import NUMBER
from slowfast_hub.trainer.formats.people import FOUND, Classes, classes_of, column, labelled, labels_in
from slowfast_hub.trainer.formats.people_files import Sources
from slowfast_hub.trainer.keyframes import Instant, KeyFrame, LabelledPeople, instant
from slowfast_hub.trainer.samples import LabelledVideos, Sample

ONE = 1.0 + 1e-6  # the largest side of a normalised box that lies in its picture
SHARED = 0.1  # of the moments of a detector's boxes, or of the truth if those are fewer: at least
ALIKE = 0.85  # of difflib: names of classes that may be one, if one of them is rare
RARE = 3  # people
MOST_NAMES = 400  # that are held together in pairs
FAR = 0.05  # of a side: how far a box may reach outside before it is said
TINY_PX = 8.0  # of a side of a box in the clip: half a cell of the last stage's grid
BACKGROUND = ("background", "__background__", "none", "no action", "bg")
RATES = (24.0, 25.0, 30.0, 50.0, 60.0)  # that times may have been counted at
ON_FRAMES = 0.06  # frames: how near to one a time lies that was made of its number and rounded to milliseconds
TOLD_TIMES = 8  # that may tell a rate, at least, before it is judged
TOLD_PLACES = 4  # different ones in their second, at least
ROUND_TIMES = (20, 8)  # of a second: such times are round ones, and tell no rate


@dataclass(frozen=True)
class Rows:
    """Some rows of a table."""

    table: BoxTable
    mask: Tensor  # (N,) bool

    def finding(self, kind: str, text: str) -> Iterator[Finding]:
        """What is wrong with them, if there are any; the first are named."""
        numbers = self.mask.nonzero().flatten().tolist()
        if numbers:
            first = [f"{self.table.where(row)} {shown(self.table.boxes[row])}" for row in numbers[:4]]
            more = f" and {len(numbers) - 4} more of {len(self.table)}" if len(numbers) > 4 else ""
            rows = tuple(map(self.table.where, numbers))
            yield Finding(kind, f"{', '.join(first)}{more}: {text}", rows=rows)


def shown(box: Tensor) -> str:
    return f"[{', '.join(f'{value:g}' for value in box.tolist())}]"


def table_findings(sources: Sources) -> Iterator[Finding]:
    """What the files alone tell."""
    for table in sources.all_tables():
        yield from shape_findings(table)
        yield from unit_findings(table)
    for _, table in sources.tables:
        yield from twice_findings(table)
        people = table.occupied & ~drawn_by_detector(table)
        unlabelled = people & torch.tensor([not label for label in table.labels], dtype=torch.bool)
        yield from Rows(table, unlabelled).finding("no label", "a person without a label")
        if table.form == "AVA" and table.scores is not None:
            yield Finding(
                "no label",
                f"{table.file}: its last column is a score, as of boxes that a detector found; give it as --found",
            )
    for table in sources.found:
        yield from score_findings(table)
        yield from apart_findings(table, sources)
    yield from label_findings(sources)


def drawn_by_detector(table: BoxTable) -> Tensor:
    """(N,) bool: the rows that a table of ours marks so."""
    found = column(table, FOUND)
    return torch.tensor([bool(text) for text in found] or [False] * len(table), dtype=torch.bool)


def shape_findings(table: BoxTable) -> Iterator[Finding]:
    """Boxes that are none, and whether all of them would be some as x, y, width, height."""
    boxes = table.boxes[table.occupied]
    inside = table.unit == "normalised" and len(boxes) and bool((boxes[:, :2] + boxes[:, 2:] <= ONE).all())
    hint = "; as these, all boxes of the file lie in their picture" if inside else ""
    for problem, bad in problems_of(table.boxes).items():
        yield from Rows(table, table.occupied & bad).finding(
            "no box", problem + hint * problem.startswith("is reversed")
        )


def odd_ones(table: BoxTable) -> tuple[Unit, Tensor]:
    """The unit of most boxes, and the rows (N,) bool in the other; all rows where it is not what was asked for."""
    largest = table.boxes.nan_to_num(0).abs().amax(1)
    small, large = table.occupied & (largest <= ONE), table.occupied & (largest > MOST_NORMALISED)
    if table.unit == "normalised":
        return table.unit, large
    return ("normalised", large) if 0 < int(large.sum()) < int(small.sum()) else ("px", small)


def unit_findings(table: BoxTable) -> Iterator[Finding]:
    """Pixels where normalised boxes are meant, and the other way round."""
    unit, odd = odd_ones(table)
    others = int(table.occupied.sum()) - int(odd.sum())
    other = "lies in 0..1, where pixels" if unit == "px" else "is in pixels, where boxes from 0 to 1"
    most = f", as in {others} rows" if others else ""
    yield from Rows(table, odd).finding("unit", f"{other} are meant{most}")


def twice_findings(table: BoxTable) -> Iterator[Finding]:
    """Rows that say what one before says."""
    seen: set[tuple[object, ...]] = set()
    again = torch.zeros(len(table), dtype=torch.bool)
    marks = drawn_by_detector(table).tolist()
    for row, (time_s, box) in enumerate(zip(table.times_s.tolist(), table.boxes.tolist())):
        sides = tuple(box) if box[0] == box[0] else None
        said = (table.videos[row], time_s, sides, table.labels[row], table.people[row], marks[row])
        again[row] = said in seen
        seen.add(said)
    yield from Rows(table, again).finding("twice", "the same was said before")


def score_findings(table: BoxTable) -> Iterator[Finding]:
    """Boxes of a detector without its scores, or with something else in their place."""
    if table.scores is None:
        last = ", and the last column, whole numbers, is taken for who it is" if any(table.people) else ""
        yield Finding("no score", f"{table.file}: {len(table)} boxes of a detector without scores{last}")
        return
    scores = table.scores
    yield from Rows(table, (scores < 0) | (scores > 1)).finding("scores", "its score is not from 0 to 1")
    if bool(scores.isnan().any()):
        yield from Rows(table, table.occupied & scores.isnan()).finding("no score", "its score is missing")


def apart_findings(table: BoxTable, sources: Sources) -> Iterator[Finding]:
    """Boxes of a detector that looked at other moments than those that are labelled."""
    truth = {moment for _, each in sources.tables for moment in moments_of(each)} | sources.excluded
    videos = {video for video, _ in truth}
    found = {moment for moment in moments_of(table) if moment[0] in videos}
    wanted = {moment for moment in truth if moment[0] in {video for video, _ in found}}
    shared = found & wanted
    if found and len(shared) < SHARED * min(len(found), len(wanted)):
        text = f"{len(shared)} of its {len(found)} moments are among the {len(wanted)} labelled ones of its videos"
        yield Finding("apart", f"{table.file}: {text}: do they count from another begin?")


def moments_of(table: BoxTable) -> set[Instant]:
    return {instant(video, time_s) for video, time_s in zip(table.videos, table.times_s.tolist())}


def label_findings(sources: Sources) -> Iterator[Finding]:
    """Labels that no class has, and numbers that look counted from another begin than their list."""
    tables = [table for _, table in sources.tables]
    used = labels_in(tables)
    classes, listed = classes_of(sources, used), sources.classes
    for table in tables:
        lacking = sorted(label for label in set(table.labels) if classes.lack(label))
        if lacking:
            yield from Rows(table, foreign(table, classes)).finding("action", f"{several(lacking)}: {classes.expected}")
    numbers = {int(name) for name in used if NUMBER.fullmatch(name)} if all(map(NUMBER.fullmatch, used)) else set()
    if listed and listed[0].lower() in BACKGROUND and (numbers or listed[0] not in used):
        yield Finding(
            "count", f"the list of {len(listed)} classes begins with {listed[0]!r}, which nobody has: one too long?"
        )
    if not numbers:
        return
    where, span = tables[0].file.name, f"from {min(numbers)} to {max(numbers)}"
    if classes.numbers:
        if 0 in numbers and classes.numbers[0] == 1:
            yield Finding("count", f"{where}: labels go {span} and the list of actions begins with 1: one too low?")
    elif not listed and min(numbers) == 1:
        yield Finding(
            "count",
            f"{where}: labels go {span} and no list names them: classes.txt or --actions would, and show what fits",
        )
    elif listed and min(numbers) == 1 and max(numbers) != len(listed):
        yield Finding(
            "count",
            f"{where}: labels go {span} of {len(listed)} classes; is nobody {listed[0]!r}, or do they begin at 1?",
        )


def foreign(table: BoxTable, classes: Classes) -> Tensor:
    """(N,) bool: the rows with a label that is no class."""
    lack = {label: classes.lack(label) for label in set(table.labels)}
    return torch.tensor([lack[label] for label in table.labels], dtype=torch.bool)


def usable(sources: Sources) -> Sources:
    """Without the rows that no key frame can be made of, and without tables that have no others."""
    classes = classes_of(sources, labels_in(table for _, table in sources.tables))

    def kept(table: BoxTable, labels: bool) -> BoxTable:
        unit, bad = odd_ones(table)
        for problem in problems_of(table.boxes).values():
            bad = bad | (table.occupied & problem)
        return replace(table, unit=unit).only(~(bad | foreign(table, classes) if labels else bad))

    tables = tuple((part, kept(table, labels=True)) for part, table in sources.tables)
    tables = tuple((part, table) for part, table in tables if len(table))
    return replace(sources, tables=tables, found=tuple(kept(table, labels=False) for table in sources.found))


def people_left(
    sources: Sources,
    told: list[Finding],
    *,
    offset_s: float | None,
    group_from: str | None,
    val_share: float,
    seed: int,
) -> LabelledPeople:
    """The set without the rows of which errors were told; empty where no set is left, and that is told too.

    Errors: those of `read_people` where nothing was told before.
    """
    left = usable(sources)
    rows = [sum(len(table) for table in each.all_tables()) for each in (sources, left)]
    if rows[1] < rows[0]:
        lost = (
            f"{rows[0] - rows[1]} of {rows[0]} rows in error are left out here; training splits off other videos then"
        )
        left = replace(left, notes=(*left.notes, lost))
    try:
        if not left.tables:
            raise ValueError("no row is left that a key frame can be made of")
        return labelled(left, offset_s=offset_s, group_from=group_from, val_share=val_share, seed=seed)
    except ValueError as error:
        if all(KINDS[finding.kind].level != "error" for finding in told):
            raise
        return LabelledPeople((), (), notes=(*sources.notes, f"without the rows in error there is no set: {error}"))


def report_of_people(
    people: LabelledPeople, told: Iterable[Finding], checks: Iterable[VideoCheck], clip: ClipSpec
) -> Report:
    """All findings: those that tables `told`, and those about files that gave `checks`, for clips like `clip`."""
    files = tuple(sorted(checks, key=lambda each: each.video))
    infos = {each.video: each.info for each in files if each.info is not None}
    report = Report(people, files, ())
    videos = videos_of(people)
    findings = [
        *told,
        *file_findings(files),
        *copy_findings(videos, copies_of(files)),
        *group_findings(people),
        *short_findings(infos, clip),
        *moment_findings(people, infos),
        *rate_findings(people, infos),
        *picture_findings(people, infos, clip),
        *class_findings(report.class_counts(), "people"),
        *alike_findings(report.class_counts()),
    ]
    return replace(report, findings=worst_first(findings))


def videos_of(people: LabelledPeople) -> LabelledVideos:
    """Each video once for each part, for what is compared between files."""
    train, val, test = (
        tuple(
            Sample(video, ()) for video in {str(frame.video): frame.video for frame in getattr(people, part)}.values()
        )
        for part in PARTS
    )
    return LabelledVideos((), train, val, test, multilabel=True)


def short_findings(infos: Mapping[str, VideoInfo], clip: ClipSpec) -> Iterator[Finding]:
    for video, info in infos.items():
        needed_s = clip_length_s(clip, info.fps)
        if info.duration_s + 1 / info.fps < needed_s:
            yield Finding("short", f"{video}: {info.duration_s:.2f} s, and a clip is {needed_s:.2f} s", (video,))


def by_video(people: LabelledPeople) -> dict[str, list[KeyFrame]]:
    frames: dict[str, list[KeyFrame]] = defaultdict(list)
    for frame in people.samples():
        frames[str(frame.video)].append(frame)
    return frames


def moment_findings(people: LabelledPeople, infos: Mapping[str, VideoInfo]) -> Iterator[Finding]:
    """Key frames outside their videos, with what may have gone wrong with all times of a video."""
    for video, frames in by_video(people).items():
        info = infos.get(video)
        if info is None:
            continue
        begin_s, end_s = info.start_s, info.start_s + info.duration_s  # as `centred_indices` takes them
        outside = [each for each in frames if not begin_s <= each.at_s < end_s]
        if outside:
            places = several([f"{each.where} ({each.at_s:g} s)" for each in outside])
            hint = reason([each.at_s for each in frames], info, most=2 * len(outside) > len(frames))
            text = f"{places}: {video} goes from {begin_s:.2f} s to {end_s:.2f} s{f'; {hint}' if hint else ''}"
            yield Finding("moment", text, (video,), tuple(each.where for each in outside))


def reason(times_s: Sequence[float], info: VideoInfo, *, most: bool) -> str:
    """What times that go beyond their video look like; empty where nothing fits. most: most of them do."""
    first, last, length_s = min(times_s), max(times_s), info.duration_s
    whole = all(time_s == int(time_s) for time_s in times_s)
    if first >= CUT_S and last - CUT_S <= length_s:
        return f"they fit a film that was cut at second {CUT_S:g}: --offset-s {CUT_S:g}"
    if most and whole and last < info.frames and len(times_s) > 1:
        return f"they look like numbers of frames ({info.frames} at {info.fps:g} a second): name the column `frame`"
    if last / 1000 <= length_s and last >= info.frames and whole:
        return "they look like milliseconds: divide them by 1000"
    for rate in RATES:
        if rate < info.fps and abs(last / length_s * rate / info.fps - 1) < 0.03 and len(times_s) > 1:
            return f"they look like frames divided by {rate:g}, and the file has {info.fps:g} a second"
    if last - first <= length_s and first > length_s:
        return f"all are after its end, as if they counted from another begin; --offset-s takes up to {first:g} s off"
    return ""


def rate_findings(people: LabelledPeople, infos: Mapping[str, VideoInfo]) -> Iterator[Finding]:
    """Times that are frames of another rate than the file's: the boxes drift away from the people.

    A video with few times that are not round is judged together with the others of its rate.
    """
    groups: dict[tuple[str, float], dict[str, set[float]]] = defaultdict(dict)
    places: dict[str, str] = {}
    for video, frames in by_video(people).items():
        info = infos.get(video)
        times_s = {frame.at_s for frame in frames if not is_round(frame.at_s)}
        if info is not None and info.times_s is None and times_s:
            places[video] = frames[0].where
            groups["" if len(times_s) < TOLD_TIMES else video, round(info.fps, 2)][video] = times_s
    for (_, fps), videos in groups.items():
        own = [time_s - infos[video].start_s for video, times_s in videos.items() for time_s in times_s]
        every = [time_s for times_s in videos.values() for time_s in times_s]
        rate = next((each for each in RATES if on_frames(every, each) > 0.95), None)
        first = next(iter(videos))
        told = len(every) >= TOLD_TIMES and len({round(1000 * (time_s % 1)) for time_s in every}) >= TOLD_PLACES
        if told and rate is not None and on_frames(own, infos[first].fps) <= 0.5:
            text = f"{places[first]}: {len(every)} times of {several([*videos])} are frames of {rate:g} a second"
            yield Finding("rate", f"{text}; the file has {fps:g}", tuple(videos))


def is_round(time_s: float) -> bool:
    return any(abs(time_s * parts - round(time_s * parts)) < 1e-6 for parts in ROUND_TIMES)


def on_frames(times_s: Iterable[float], rate: float) -> float:
    """The share of times at which a frame of that rate begins."""
    numbers = [time_s * rate for time_s in times_s]
    return sum(abs(number - round(number)) < ON_FRAMES for number in numbers) / len(numbers)


def picture_findings(people: LabelledPeople, infos: Mapping[str, VideoInfo], clip: ClipSpec) -> Iterator[Finding]:
    """Boxes outside their picture, far beyond its edge, or too small to be seen."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    sides_px = [side for frame in people.samples() if frame.unit == "px" for each in frame.people for side in each.box]
    hint = (
        "; all boxes lie in 0..100: are they per cent?"
        if sides_px and 0 <= min(sides_px) <= max(sides_px) <= 100
        else ""
    )
    for frame in people.samples():
        info = infos.get(str(frame.video))
        if info is None:
            continue
        sides = (1.0, 1.0) if frame.unit == "normalised" else (float(info.width), float(info.height))
        scale = min(info.width, info.height) / clip.short_side
        for person in frame.people:
            x1, y1, x2, y2 = (value / side for value, side in zip(person.box, sides * 2))
            name = f"{frame.where} [{', '.join(f'{value:g}' for value in person.box)}]", frame.where
            if x2 <= 0 or y2 <= 0 or x1 >= 1 or y1 >= 1:
                found["picture", f"outside of {info.width} x {info.height} px{hint}"].append(name)
            elif min(x1, y1) < -FAR or max(x2, y2) > 1 + FAR:
                found["beyond", f"reaches out of {info.width} x {info.height} px{hint}"].append(name)
            elif min((x2 - x1) * info.width, (y2 - y1) * info.height) / scale < TINY_PX:
                found["tiny", f"less than {TINY_PX:g} px in a clip of {clip.short_side} px"].append(name)
    for (kind, text), names in found.items():
        shown_names, rows = zip(*names)
        yield Finding(kind, f"{several(shown_names)}: {text}", rows=rows)


def alike_findings(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """Names of classes that differ in case, in spaces, or in a letter where one of them is rare."""
    sizes = {name: sum(by_part.values()) for name, by_part in counts.items() if not NUMBER.fullmatch(name)}
    plain = {name: " ".join(re.split(r"[\s_-]+", name.strip().casefold())) for name in sizes}
    for first, second in combinations(list(sizes)[:MOST_NAMES], 2):
        near = SequenceMatcher(None, plain[first], plain[second]).ratio() >= ALIKE
        if plain[first] == plain[second] or (near and min(sizes[first], sizes[second]) <= RARE):
            yield Finding("alike", f"{first!r} with {sizes[first]} people and {second!r} with {sizes[second]}")
