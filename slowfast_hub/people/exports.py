"""Exports of annotation tools as rows of boxes: CVAT, Label Studio and VIA (VGG Image Annotator 3).

* **CVAT for video 1.1** (XML; "CVAT for images 1.1" of a task that is a video, too): tracks of boxes in pixels, in
  frames from 0 without a rate, so the video is asked for its times. A box says what is done by its attribute `action`
  (or another name of LABELS), several with commas between; without it, by its label.
* **Label Studio** (JSON, not JSON-MIN): `videorectangle`, boxes in percent. It counts frames from 1 at a rate of its
  own (`framerate` of its template, 24), and a key frame has the `time` at which its frame ends. A track goes on to the
  end of the video unless a key frame ends it. Choices of a region say what is done; without them, its labels.
* **VIA 3** (project JSON, or CSV): single boxes in pixels at times in seconds. Every attribute of a box says something
  that is done, but one called `person` (or another name of PEOPLE) says who it is.

Tracks: between two boxes of a track its box goes straight from one to the other, as the tools show it; one of CVAT ends
with its last box. Moments are taken every `every_s` seconds, and each has all tracks that are there then, so that
nobody who was drawn is missing in one. A track too short for any of them gives the moment of its first box.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from slowfast_hub.people.boxes import Box
from slowfast_hub.people.files import text_of
from slowfast_hub.people.rows import A_TIME, MOST_S, BoxRow, BoxTable, SecondsOf, from_single_rows

LABELS = ("action", "actions", "activity", "activities", "label", "class")
PEOPLE = ("person", "person_id", "track", "track_id", "id")
UNSAID = ("", "__undefined__", "_default")  # values of attributes that nobody has given
VIA_HEADER = b"# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
VIA_MARK = b"# Exported using VGG Image Annotator"
VIA_RECTANGLE = 2
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio writes before the name of a file
MOST_ROWS = 1_000_000  # of tracks, more than AVA has; a hundred bytes may say that one lasts for thirty years
FRAME = re.compile(r"[0-9]{1,10}")

# What goes wrong where a file lacks a field, or has another in its place: `objects`, `items`, `amount` look.
MALFORMED = (KeyError, ValueError)


@dataclass(frozen=True)
class Key:
    """A box of a track, and what is done from here to the next."""

    time_s: float
    box: Box
    labels: tuple[str, ...]
    shown: bool = True  # from here to the next
    turned: bool = False  # the box was drawn at an angle, which is not taken over

    def __post_init__(self) -> None:
        if not abs(self.time_s) <= MOST_S:
            raise ValueError(f"a time is {A_TIME}; got {self.time_s!r}")

    def on_the_way(self, after: Key, time_s: float) -> Key:
        """The box at a moment between this one and the next."""
        share = (time_s - self.time_s) / (after.time_s - self.time_s)
        x1, y1, x2, y2 = (first + share * (second - first) for first, second in zip(self.box, after.box))
        return Key(time_s, (x1, y1, x2, y2), self.labels)


@dataclass(frozen=True)
class Track:
    """One person of one video; `keys` in order of time."""

    video: str
    person: str
    keys: tuple[Key, ...]
    number: int  # in the file

    def spans(self) -> Iterator[tuple[float, float]]:
        """When the person is there, each from a box to the next."""
        for before, after in zip(self.keys, self.keys[1:]):
            if before.shown:
                yield before.time_s, after.time_s

    def along(self, moments: Sequence[float]) -> Iterator[Key]:
        """Its box at each of some moments, in ascending order, at which the person is there."""
        for before, after in zip_longest(self.keys, self.keys[1:]):
            if not before.shown:
                continue
            begin = bisect_left(moments, before.time_s)
            end = bisect_left(moments, after.time_s) if after else bisect_right(moments, before.time_s)
            for place in range(begin, end):
                time_s = moments[place]
                yield before if time_s == before.time_s else before.on_the_way(after, time_s)


def read_export(file: Path, seconds_of: SecondsOf | None, every_s: float) -> BoxTable:
    """The rows of an XML or JSON export; ValueError for one of another tool."""
    text = text_of(file)
    if text.lstrip()[:1] == "<":
        return read_cvat(file, text, seconds_of, every_s)
    try:
        content = from_json(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if isinstance(content, dict) and {"metadata", "view", "file", "attribute"} <= set(content):
        return read_via(file, content)
    if isinstance(content, list) and content and isinstance(content[0], dict) and "annotations" in content[0]:
        return read_label_studio(file, content, every_s)
    raise ValueError(
        f"{file}: JSON of another kind; expected a project of VIA 3, or Label Studio's export as JSON (not "
        "JSON-MIN, which leaves out who is who)"
    )


def read_cvat(file: Path, text: str, seconds_of: SecondsOf | None, every_s: float) -> BoxTable:
    """CVAT for video 1.1, or for images 1.1 of a task that is a video."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(f"{file}: it declares a document type, as CVAT never does; it stays closed")
    if seconds_of is None:
        raise ValueError(f"{file}: CVAT counts frames and does not say at what rate: read it together with its video")
    tracks: list[Track] = []
    singles: list[BoxRow] = []
    video, turned = "", 0
    try:
        for _, element in ElementTree.iterparse(io.StringIO(text)):
            if element.tag == "meta":
                video = video_of_task(element)
            elif element.tag == "box":
                turned += amount(element.get("rotation", "0"), "rotation") != 0
            elif element.tag == "track":
                tracks += [cvat_track(element, video, len(tracks) + 1, seconds_of)]
                element.clear()
            elif element.tag == "image":
                frame = frame_number(element.attrib["id"])  # of the video, whatever part of it the task has
                singles += cvat_image(element, video, seconds_of(video, frame), frame)
                element.clear()
    except ElementTree.ParseError as error:
        raise ValueError(f"{file}: no XML ({error})") from error
    except MALFORMED as error:
        raise ValueError(f"{file}, track {len(tracks) + 1}: {told(error)}; expected CVAT for video 1.1") from error
    boxed = [track for track in tracks if track.keys]
    rows = [*numbered(singles), *sampled(file, boxed, every_s)]
    if not rows:
        raise ValueError(f"{file}: no boxes; expected tracks, or images, of CVAT's XML 1.1")
    notes = [
        f"{file}: CVAT, {len(boxed)} tracks and {len(singles)} single boxes of {video or 'a video without a name'}"
    ]
    if len(boxed) < len(tracks):
        notes.append(f"{file}: {len(tracks) - len(boxed)} tracks without boxes (other shapes) are left out")
    return from_single_rows(file, "CVAT", rows, "px", "track", [*notes, *turned_note(file, turned)])


def video_of_task(meta: ElementTree.Element) -> str:
    """The name of a task's video."""
    if meta.find("project") is not None:
        raise ValueError(
            "an export of a whole project of CVAT, in which tasks number their frames together: export each"
        )
    return name_of(meta.findtext("*/source") or meta.findtext("*/name") or "")


def cvat_track(track: ElementTree.Element, video: str, number: int, seconds_of: SecondsOf) -> Track:
    """The boxes of a track, in pixels."""
    keys = {}
    for box in track.iterfind("box"):
        frame = frame_number(box.attrib["frame"])
        labels = cvat_labels(box, track.attrib["label"])
        keys[frame] = Key(seconds_of(video, frame), cvat_box(box), labels, box.get("outside", "0") == "0")
    return Track(video, track.attrib.get("id", str(number)), tuple(keys[frame] for frame in sorted(keys)), number)


def frame_number(text: str) -> int:
    if not FRAME.fullmatch(text.strip()):
        raise ValueError(f"a frame is a number from 0; got {text!r:.40}")
    return int(text)


def cvat_image(image: ElementTree.Element, video: str, time_s: float, frame: int) -> Iterator[BoxRow]:
    for box in image.iterfind("box"):
        for label in cvat_labels(box, box.attrib["label"]):
            yield BoxRow(video, time_s, cvat_box(box), label, time=str(frame))


def cvat_box(box: ElementTree.Element) -> Box:
    return tuple(float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))  # type: ignore[return-value]


def cvat_labels(box: ElementTree.Element, label: str) -> tuple[str, ...]:
    """What is done in a box: what its attribute says, or the label of its track."""
    said = [each.text or "" for each in box.iterfind("attribute") if each.get("name", "").lower() in LABELS]
    labels = tuple(name.strip() for text in said for name in text.split(",") if name.strip().lower() not in UNSAID)
    return labels or (label,)


def read_label_studio(file: Path, tasks: Sequence[Any], every_s: float) -> BoxTable:
    """Label Studio's JSON: the boxes of each task's annotation, normalised."""
    tracks: list[Track] = []
    for number, task in enumerate(tasks, 1):
        try:
            tracks += label_studio_tracks(task, number)
        except MALFORMED as error:
            raise ValueError(f"{file}, task {number}: {told(error)}; expected Label Studio's JSON") from error
    rows = sampled(file, tracks, every_s)
    if not rows:
        raise ValueError(
            f"{file}: no boxes in a video (videorectangle); single pictures do not say when in a video they are"
        )
    note = f"{file}: Label Studio, {len(tracks)} tracks of {len({track.video for track in tracks})} videos"
    notes = [note, *turned_note(file, sum(key.turned for track in tracks for key in track.keys))]
    return from_single_rows(file, "Label Studio", rows, "normalised", "task", notes)


def label_studio_tracks(task: Any, number: int) -> Iterator[Track]:
    """The tracks of a task: of the annotation that is marked as the truth, or else the last that was not cancelled."""
    every = [objects(each, "annotation") for each in items(objects(task, "task")["annotations"], "annotations")]
    kept = [each for each in every if not each.get("was_cancelled")]
    best = [each for each in kept if each.get("ground_truth")] or kept
    results = [objects(each, "result") for each in items(best[-1]["result"], "result")] if best else []
    choices: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result["type"] == "choices":
            choices[word(result.get("id"))] += words(objects(result["value"], "value")["choices"], "choices")
    said = {person: tuple(names) for person, names in choices.items()}
    data = objects(task["data"], "data")
    source = next((each for each in (data.get("video"), *data.values()) if isinstance(each, str) and each), "")
    for result in results:
        if result["type"] == "videorectangle":
            value, person = objects(result["value"], "value"), word(result.get("id"))
            labels = said.get(person) or tuple(words(value.get("labels") or [], "labels"))
            keys = [label_studio_key(each, labels, value) for each in items(value["sequence"], "sequence")]
            ordered = {key.time_s: key for key in sorted(keys, key=lambda key: key.time_s)}
            yield Track(
                name_of(source), person, (*ordered.values(), *label_studio_end(list(ordered.values()), value)), number
            )


def label_studio_key(item: Any, labels: tuple[str, ...], track: Mapping[str, Any]) -> Key:
    """A key frame. Frames count from 1, and `time` is where one ends: frame 3 of 24 a second has 0.125."""
    item = objects(item, "box of a sequence")
    frame, end_s = amount(item["frame"], "frame"), amount(item.get("time") or 0, "time")
    if not frame >= 1:
        raise ValueError(f"frames count from 1; got {frame:g}")
    length_s = end_s / frame if end_s else label_studio_frame_s(track)
    x, y, width, height = (amount(item[name], name) / 100 for name in ("x", "y", "width", "height"))
    box, turned = (x, y, x + width, y + height), amount(item.get("rotation") or 0, "rotation") != 0
    return Key(max((frame - 1) * length_s, 0.0), box, labels, bool(item.get("enabled", True)), turned)


def label_studio_end(keys: Sequence[Key], track: Mapping[str, Any]) -> Iterator[Key]:
    """Where a track ends that nobody ended: with its video, whose length stands beside it."""
    end_s = amount(track.get("duration") or 0, "duration")
    if keys and keys[-1].shown and keys[-1].time_s < end_s:
        yield replace(keys[-1], time_s=end_s, shown=False)


def label_studio_frame_s(track: Mapping[str, Any]) -> float:
    """How long a frame is shown, of a track whose boxes have no times."""
    count = amount(track.get("framesCount") or 0, "framesCount")
    if not count > 0:
        raise ValueError("a box has no `time`, and its track no `framesCount`")
    return amount(track.get("duration") or 1, "duration") / count


def is_via_csv(head: bytes) -> bool:
    return head.startswith((VIA_MARK, VIA_HEADER))


def read_via_csv(file: Path) -> BoxTable:
    """VIA's CSV, as the project that it was made from."""
    attributes: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    lines = io.StringIO(text_of(file))
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            name, _, value = line.removeprefix("# ").partition(" = ")
            if line.startswith("#") and name in ("ATTRIBUTE", "ATTRIBUTES"):
                attributes = objects(from_json(value), name)
            elif line.strip() and not line.startswith("#"):
                key, files, _, z, xy, av = next(csv.reader([line], strict=True))
                file_name = first_of(from_json(files), "file_list")
                each = {"vid": key, "z": from_json(z), "xy": from_json(xy), "av": from_json(av), "file": file_name}
                metadata[str(number)] = each
    except (csv.Error, *MALFORMED) as error:
        raise ValueError(f"{file}:{number}: {told(error)}; expected a row of VIA's CSV") from error
    described = {key: each if isinstance(each, dict) else {"aname": each} for key, each in attributes.items()}
    return read_via(file, {"attribute": described, "metadata": metadata})


def read_via(file: Path, project: Mapping[str, Any]) -> BoxTable:
    """A project of VIA 3: rectangles in pixels, at times in seconds."""
    rows: list[tuple[BoxRow, int]] = []
    place = "its regions"
    try:
        for number, (key, each) in enumerate(objects(project["metadata"], "metadata").items(), 1):
            place = f"region {number} ({key!r:.20})"
            rows += [(row, number) for row in via_rows(project, objects(each, "region"))]
    except MALFORMED as error:
        raise ValueError(f"{file}, {place}: {told(error)}; expected VIA 3's form") from error
    if not rows:
        raise ValueError(f"{file}: no rectangles in a video; expected a project of VIA 3 with some")
    note = f"{file}: VIA, {len({number for _, number in rows})} boxes"
    return from_single_rows(file, "VIA", rows, "px", "region", [note])


def via_rows(project: Mapping[str, Any], region: Mapping[str, Any]) -> Iterator[BoxRow]:
    """A region as a row for each thing that is done in it; nothing of one that is no rectangle."""
    shape = items(region["xy"], "xy")
    if not shape or shape[0] != VIA_RECTANGLE:
        return
    if not region["z"]:
        raise ValueError("a box without a time: a project of pictures does not say when in a video they are")
    time_s = amount(first_of(region["z"], "z"), "z")
    if not 0 <= time_s <= MOST_S:
        raise ValueError(f"a time is {A_TIME}; got {time_s!r}")
    if len(shape) < 5:
        raise ValueError(f"a rectangle is [2, x, y, width, height]; got {len(shape)} values")
    x, y, width, height = (amount(value, "xy") for value in shape[1:5])
    source = word(region["file"]) if "file" in region else file_of(project, word(region["vid"]))
    attributes = objects(project["attribute"], "attribute")
    labels, person = [], ""
    for key, value in objects(region["av"], "av").items():
        attribute = objects(attributes.get(key, {}), "attribute")
        if word(attribute.get("aname")).lower() in PEOPLE:
            person = word(value)
        else:
            labels += via_values(attribute, word(value))
    for label in labels or [""]:
        yield BoxRow(name_of(source), time_s, (x, y, x + width, y + height), label, person, time=f"{time_s:g}")


def file_of(project: Mapping[str, Any], view: str) -> str:
    files, views = objects(project["file"], "file"), objects(project["view"], "view")
    number = word(first_of(objects(views[view], "view")["fid_list"], "fid_list"))
    file = objects(files[number], "file")
    return word(file.get("fname") or file["src"])


def via_values(attribute: Mapping[str, Any], value: str) -> list[str]:
    """What an attribute says: names of its options, several of a checkbox, or text as it is."""
    options = objects(attribute.get("options") or {}, "options")
    chosen = value.split(",") if options else [value]
    return [word(options.get(each, each)) for each in chosen if each.strip().lower() not in UNSAID]


def name_of(source: str) -> str:
    """The name of a file from an address or a path of another machine: nothing of a folder is left."""
    path = source.rpartition("?d=")[2] if "?d=" in source else source.partition("?")[0]
    name = re.split(r"[/\\]", unquote(path))[-1]
    return UPLOADED.sub("", name, count=1) if "/upload/" in source else name


def from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from error


def objects(value: Any, name: str) -> dict[str, Any]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is no object; got {shown(value)}")
    return value


def items(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name!r} is no list; got {shown(value)}")
    return value


def first_of(value: Any, name: str) -> Any:
    if not items(value, name):
        raise ValueError(f"{name!r} is empty")
    return value[0]


def amount(value: Any, name: str) -> float:
    """A number, also one that is written as text; infinite where float64 has none as large."""
    if not isinstance(value, int | float | str):
        raise ValueError(f"{name!r} is no number; got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def word(value: Any) -> str:
    """What a name or a value says; "" of null."""
    if isinstance(value, dict | list):
        raise ValueError(f"a name or a number was expected; got {shown(value)}")
    return "" if value is None else str(value)


def words(value: Any, name: str) -> list[str]:
    return [word(each) for each in items(value, name)]


def shown(value: Any) -> str:
    """What came, for an error; what is in a list may go a thousand deep."""
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{value!r:.40}"


def turned_note(file: Path, count: int) -> list[str]:
    return [f"{file}: {count} boxes were drawn at an angle and are taken without it"] if count else []


def told(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def numbered(rows: Iterable[BoxRow]) -> Iterator[tuple[BoxRow, int]]:
    for number, row in enumerate(rows, 1):
        yield row, number


def sampled(file: Path, tracks: Sequence[Track], every_s: float) -> list[tuple[BoxRow, int]]:
    """The rows of tracks at their moments, and the number of each one's track; counted before any are made."""
    count = sum(len(numbers) for track in tracks for numbers in multiples(track, every_s))
    rows = list(islice(rows_of(tracks, every_s), MOST_ROWS + 1)) if count <= MOST_ROWS else []
    if max(count, len(rows)) > MOST_ROWS:
        raise ValueError(f"{file}: more than {MOST_ROWS:,} rows every {every_s:g} s; take a longer every_s")
    return rows


def rows_of(tracks: Sequence[Track], every_s: float) -> Iterator[tuple[BoxRow, int]]:
    """Everybody who is there, at each moment of a video that one of its tracks gives."""
    by_video: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        by_video[track.video].append(track)
    for video, each in by_video.items():
        moments = sorted({time_s for track in each for time_s in moments_of(track, every_s)})
        for track in each:
            for key in track.along(moments):
                for label in key.labels or ("",):
                    time_s = key.time_s
                    yield BoxRow(video, time_s, key.box, label, track.person, time=f"{time_s:g}"), track.number


def moments_of(track: Track, every_s: float) -> list[float]:
    """The multiples of every_s at which a track is shown, or else the time of its first box."""
    times = [number * every_s for numbers in multiples(track, every_s) for number in numbers]
    return [key.time_s for key in track.along(times)] or [key.time_s for key in track.keys if key.shown][:1]


def multiples(track: Track, every_s: float) -> Iterator[range]:
    """What to take every_s times, for moments in the spans of a track and, by a rounding, beside them."""
    for begin_s, end_s in track.spans():
        yield range(math.ceil(begin_s / every_s - 1e-9), math.floor(end_s / every_s + 1e-9) + 1)
