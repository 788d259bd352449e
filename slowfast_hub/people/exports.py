"""Exports of annotation tools as rows of boxes: CVAT, Label Studio and VIA (VGG Image Annotator 3).

* **CVAT for video 1.1** (XML; "CVAT for images 1.1" of a task that is a video, too): tracks of boxes in pixels, in
  frames from 0 without a rate, so the video is asked for its times. A box says what is done by its attribute `action`
  (or another name of LABELS), several with commas between; without it, by its label.
* **Label Studio** (JSON, not JSON-MIN): `videorectangle`, boxes in percent. It counts frames from 1 at a rate of its
  own (`framerate` of its template, 24), and a key frame has the `time` at which its frame ends. Choices of a region
  say what is done; without them, its labels.
* **VIA 3** (project JSON, or CSV): single boxes in pixels at times in seconds. Every attribute of a box says something
  that is done, but one called `person` (or another name of PEOPLE) says who it is.

Tracks: between two boxes of a track its box goes straight from one to the other, as the tools show it; a track ends
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from slowfast_hub.people.boxes import Box
from slowfast_hub.people.rows import BoxRow, BoxTable, SecondsOf, check_file, from_single_rows, text_of

LABELS = ("action", "actions", "activity", "activities", "label", "class")
PEOPLE = ("person", "person_id", "track", "track_id", "id")
UNSAID = ("", "__undefined__", "_default")  # values of attributes that nobody has given
VIA_HEADER = b"# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
VIA_MARK = b"# Exported using VGG Image Annotator"
VIA_RECTANGLE = 2
UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio writes before the name of a file
LARGEST_EXPORT = 1 << 28  # bytes; half an hour with five people in every frame has 34 million
MOST_ROWS = 5_000_000  # of tracks; a hundred bytes may say that one lasts for a million years

# What goes wrong where a file lacks a field or has another in its place.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Key:
    """A box of a track, and what is done from here to the next."""

    time_s: float
    box: Box
    labels: tuple[str, ...]
    shown: bool = True  # from here to the next


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

    def at(self, time_s: float) -> Key | None:
        """The box of a moment; None where the person is not there."""
        place = bisect_right(self.keys, time_s, key=lambda key: key.time_s) - 1
        if place < 0 or not self.keys[place].shown:
            return None
        before = self.keys[place]
        if time_s == before.time_s:
            return before
        if place + 1 == len(self.keys):
            return None
        after = self.keys[place + 1]
        share = (time_s - before.time_s) / (after.time_s - before.time_s)
        x1, y1, x2, y2 = (first + share * (second - first) for first, second in zip(before.box, after.box))
        return Key(time_s, (x1, y1, x2, y2), before.labels)


def read_export(file: Path, seconds_of: SecondsOf | None, every_s: float) -> BoxTable:
    """The rows of an XML or JSON export; ValueError for one of another tool."""
    check_file(file, LARGEST_EXPORT)
    text = text_of(file)
    if text.lstrip()[:1] == "<":
        return read_cvat(file, text, seconds_of, every_s)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: no JSON ({error})") from error
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
    video, step, start = "", 1, 0
    try:
        for _, element in ElementTree.iterparse(io.StringIO(text)):
            if element.tag == "meta":
                video, start, step = task_of(element)
            elif element.tag == "track":
                tracks += [cvat_track(element, video, len(tracks) + 1, seconds_of)]
                element.clear()
            elif element.tag == "image":
                frame = start + step * int(element.attrib["id"])
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
    return from_single_rows(file, "CVAT", rows, "px", "track", notes)


def task_of(meta: ElementTree.Element) -> tuple[str, int, int]:
    """The video of a task, its first frame and the step between its frames."""
    if meta.find("project") is not None:
        raise ValueError(
            "an export of a whole project of CVAT, in which tasks number their frames together: export each"
        )
    video = meta.findtext("*/source") or meta.findtext("*/name") or ""
    step = re.fullmatch(r"step=([0-9]{1,6})", (meta.findtext("*/frame_filter") or "").strip())
    return name_of(video), int(meta.findtext("*/start_frame") or 0), int(step[1]) if step else 1


def cvat_track(track: ElementTree.Element, video: str, number: int, seconds_of: SecondsOf) -> Track:
    """The boxes of a track, in pixels."""
    keys = {}
    for box in track.iterfind("box"):
        frame = int(box.attrib["frame"])
        labels = cvat_labels(box, track.attrib["label"])
        keys[frame] = Key(seconds_of(video, frame), cvat_box(box), labels, box.get("outside", "0") == "0")
    return Track(video, track.attrib.get("id", str(number)), tuple(keys[frame] for frame in sorted(keys)), number)


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
    if not tracks:
        raise ValueError(
            f"{file}: no boxes in a video (videorectangle); single pictures do not say when in a video they are"
        )
    note = f"{file}: Label Studio, {len(tracks)} tracks of {len({track.video for track in tracks})} videos"
    return from_single_rows(file, "Label Studio", sampled(file, tracks, every_s), "normalised", "task", [note])


def label_studio_tracks(task: Mapping[str, Any], number: int) -> Iterator[Track]:
    """The tracks of a task: of the annotation that is marked as the truth, or else the last that was not cancelled."""
    kept = [each for each in task["annotations"] if not each.get("was_cancelled")]
    best = [each for each in kept if each.get("ground_truth")] or kept
    results = best[-1]["result"] if best else []
    choices: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result["type"] == "choices":
            choices[str(result.get("id"))] += map(str, result["value"]["choices"])
    data = task["data"]
    source = str(data.get("video") or next((each for each in data.values() if isinstance(each, str)), ""))
    for result in results:
        if result["type"] == "videorectangle":
            value, person = result["value"], str(result.get("id", ""))
            labels = tuple(choices[person] or map(str, value.get("labels", ())))
            rate = float(value.get("framesCount") or 0) / float(value.get("duration") or 1)
            keys = [label_studio_key(each, labels, rate) for each in value["sequence"]]
            ordered = {key.time_s: key for key in sorted(keys, key=lambda key: key.time_s)}
            yield Track(name_of(source), person, tuple(ordered.values()), number)


def label_studio_key(item: Mapping[str, Any], labels: tuple[str, ...], rate: float) -> Key:
    """A key frame. Frames count from 1, and `time` is where one ends: frame 3 of 24 a second has 0.125."""
    frame, end_s = float(item["frame"]), float(item.get("time") or 0)
    length_s = end_s / frame if end_s else 1 / rate
    x, y, width, height = (float(item[name]) / 100 for name in ("x", "y", "width", "height"))
    return Key(max((frame - 1) * length_s, 0.0), (x, y, x + width, y + height), labels, bool(item.get("enabled", True)))


def is_via_csv(head: bytes) -> bool:
    return head.startswith((VIA_MARK, VIA_HEADER))


def read_via_csv(file: Path) -> BoxTable:
    """VIA's CSV, as the project that it was made from."""
    attributes: Mapping[str, Any] = {}
    metadata: dict[str, Any] = {}
    lines = io.StringIO(text_of(file))
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            name, _, value = line.removeprefix("# ").partition(" = ")
            if line.startswith("#") and name in ("ATTRIBUTE", "ATTRIBUTES"):
                attributes = json.loads(value)
            elif line.strip() and not line.startswith("#"):
                key, files, _, z, xy, av = next(csv.reader([line], strict=True))
                each = {"vid": key, "z": json.loads(z), "xy": json.loads(xy), "av": json.loads(av)}
                metadata[str(number)] = {**each, "file": json.loads(files)[0]}
    except (csv.Error, *MALFORMED) as error:
        raise ValueError(f"{file}:{number}: {told(error)}; expected a row of VIA's CSV") from error
    described = {key: each if isinstance(each, dict) else {"aname": each} for key, each in attributes.items()}
    return read_via(file, {"attribute": described, "metadata": metadata})


def read_via(file: Path, project: Mapping[str, Any]) -> BoxTable:
    """A project of VIA 3: rectangles in pixels, at times in seconds."""
    rows: list[tuple[BoxRow, int]] = []
    for number, (key, each) in enumerate(project["metadata"].items(), 1):
        try:
            if each["xy"] and each["xy"][0] == VIA_RECTANGLE:
                rows += [(row, number) for row in via_rows(project, each)]
        except MALFORMED as error:
            raise ValueError(f"{file}, region {number} ({key!r:.20}): {told(error)}; expected VIA 3's form") from error
    if not rows:
        raise ValueError(f"{file}: no rectangles in a video; expected a project of VIA 3 with some")
    note = f"{file}: VIA, {len({number for _, number in rows})} boxes"
    return from_single_rows(file, "VIA", rows, "px", "region", [note])


def via_rows(project: Mapping[str, Any], region: Mapping[str, Any]) -> Iterator[BoxRow]:
    """A region as a row for each thing that is done in it."""
    if not region["z"]:
        raise ValueError("a box without a time: a project of pictures does not say when in a video they are")
    source = region["file"] if "file" in region else file_of(project, region["vid"])
    x, y, width, height = map(float, region["xy"][1:5])
    labels, person = [], ""
    for key, value in region["av"].items():
        attribute = project["attribute"].get(key, {})
        if str(attribute.get("aname", "")).lower() in PEOPLE:
            person = str(value)
        else:
            labels += via_values(attribute, str(value))
    time_s = float(region["z"][0])
    for label in labels or [""]:
        yield BoxRow(name_of(str(source)), time_s, (x, y, x + width, y + height), label, person, time=f"{time_s:g}")


def file_of(project: Mapping[str, Any], view: str) -> str:
    file = project["file"][str(project["view"][view]["fid_list"][0])]
    return str(file.get("fname") or file["src"])


def via_values(attribute: Mapping[str, Any], value: str) -> list[str]:
    """What an attribute says: names of its options, several of a checkbox, or text as it is."""
    options = attribute.get("options") or {}
    chosen = value.split(",") if options else [value]
    return [str(options.get(each, each)) for each in chosen if each.strip().lower() not in UNSAID]


def name_of(source: str) -> str:
    """The name of a file from an address or a path of another machine: nothing of a folder is left."""
    path = source.rpartition("?d=")[2] if "?d=" in source else source.partition("?")[0]
    name = re.split(r"[/\\]", unquote(path))[-1]
    return UPLOADED.sub("", name, count=1) if "/upload/" in source else name


def told(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def numbered(rows: Iterable[BoxRow]) -> Iterator[tuple[BoxRow, int]]:
    for number, row in enumerate(rows, 1):
        yield row, number


def sampled(file: Path, tracks: Sequence[Track], every_s: float) -> list[tuple[BoxRow, int]]:
    """The rows of tracks at their moments, and the number of each one's track."""
    rows: list[tuple[BoxRow, int]] = []
    by_video: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        if not all(0 <= key.time_s < math.inf for key in track.keys):
            raise ValueError(f"{file}, track {track.number}: a time that is none")
        by_video[track.video].append(track)
    for video, each in by_video.items():
        moments = sorted({time_s for track in each for time_s in grid(file, track, every_s)})
        for track in each:
            if track.keys:
                begin = bisect_left(moments, track.keys[0].time_s)
                for time_s in moments[begin : bisect_right(moments, track.keys[-1].time_s)]:
                    key = track.at(time_s)
                    if key is None:
                        continue
                    for label in key.labels or ("",):
                        rows.append(
                            (BoxRow(video, time_s, key.box, label, track.person, time=f"{time_s:g}"), track.number)
                        )
        if len(rows) > MOST_ROWS:
            raise ValueError(f"{file}: more than {MOST_ROWS:,} rows every {every_s:g} s; take a longer every_s")
    return rows


def grid(file: Path, track: Track, every_s: float) -> list[float]:
    """The multiples of every_s at which a track is shown, or else the time of its first box."""
    numbers: list[range] = []
    for begin_s, end_s in track.spans():
        numbers.append(range(math.ceil(begin_s / every_s - 1e-9), math.floor(end_s / every_s + 1e-9) + 1))
    if sum(map(len, numbers)) > MOST_ROWS:
        raise ValueError(f"{file}: a track of more than {MOST_ROWS:,} moments every {every_s:g} s")
    times = [number * every_s for one in numbers for number in one if track.at(number * every_s)]
    return times or [key.time_s for key in track.keys if key.shown][:1]
