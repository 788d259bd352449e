"""What is wrong with a set of labelled videos, before a network is trained on it.

The road: every file is decoded once, whole, by workers (`check_files`); what each found is small, and is then compared
with the labels, the parts of the split and the other files (`report_of`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from slowfast_hub.spec import ClipSpec, Limits, VideoError, VideoInfo
from slowfast_hub.trainer.copies import alike, fingerprint, moments, small
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledSet, Person
from slowfast_hub.trainer.page import THUMBNAIL, jpeg
from slowfast_hub.trainer.samples import LabelledVideos, Sample
from slowfast_hub.transforms.geometry import long_side_size
from slowfast_hub.video.decode import FileReader
from slowfast_hub.video.reader import VideoReader, images_in, open_video

PARTS = ("train", "val", "test")
SHOWN = 8  # videos of a class on its contact sheet
IMBALANCE = 10  # between the largest and the smallest class in train


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    level: str  # "error": do not train on it, "warning", or "note"
    title: str
    advice: str


# Worst first. Those of people are found in people_check.py.
KINDS = {
    "unreadable": Kind(
        "error",
        "cannot be read whole",
        "encode the file anew or take it out; bad.csv lists them, `slowfast-hub data prepare` repairs some",
    ),
    "outside": Kind("error", "parts outside their file", "correct their start and end, in seconds of the file"),
    "no box": Kind(
        "error",
        "boxes that are none",
        "write x1, y1, x2, y2 from the top left corner; x, y, width, height becomes x, y, x + width, y + height",
    ),
    "unit": Kind(
        "error", "boxes in the wrong unit", "write all boxes of a file in pixels or all from 0 to 1, or give --unit"
    ),
    "picture": Kind(
        "error",
        "boxes outside their picture",
        "divide by the size of the picture they were drawn on, or give the videos of that size",
    ),
    "action": Kind("error", "labels that are no class", "correct the label or the list of classes (--actions)"),
    "moment": Kind(
        "error",
        "moments outside their video",
        "write times in seconds of the file; --offset-s says what its first frame has as its time",
    ),
    "apart": Kind(
        "error",
        "boxes of a detector at other moments than the truth",
        "let the detector look at the moments that are labelled, and write them as the truth does",
    ),
    "scores": Kind("error", "scores that are none", "write the detector's score, from 0 to 1, as column score"),
    "leak": Kind("error", "copies on both sides of the split", "keep one copy, or all of them in one part"),
    "group": Kind("error", "groups on both sides of the split", "keep each group in one part"),
    "rate": Kind(
        "warning",
        "times of another frame rate",
        "divide the frame numbers by the rate of the file, or name them `frame`",
    ),
    "count": Kind(
        "warning", "labels that may be off by one", "look at some in `slowfast-hub detect --boxes`, or write names"
    ),
    "alike": Kind(
        "warning", "names of classes that are almost the same", "write one name, or leave both if both are meant"
    ),
    "no score": Kind(
        "warning", "boxes of a detector without scores", "add a column score; each box counts as 1 until then"
    ),
    "no label": Kind("warning", "people without a label", "label them, or give boxes of a detector as --found"),
    "beyond": Kind("warning", "boxes that reach far outside their picture", "look whether they belong to this size"),
    "tiny": Kind("warning", "tiny people", "expect little of them: the network sees some pixels only"),
    "labels": Kind("warning", "one video with different labels", "keep the right one"),
    "twice": Kind("warning", "listed more than once", "keep one line of each"),
    "copies": Kind("warning", "copies within a part", "keep one of each, as the others only count it more often"),
    "overrun": Kind("warning", "parts that end after their file", "correct their end, or leave it out"),
    "short": Kind(
        "warning", "shorter than a clip", "expect held last frames, or take a network that sees shorter clips"
    ),
    "still": Kind(
        "warning", "nothing moves", "look whether the files are right; copies of them are found by bytes alone"
    ),
    "missing": Kind("warning", "classes without videos", "add some, or take the class out"),
    "imbalance": Kind("warning", "classes of very different sizes", "train with balance=sampler or balance=loss"),
    "varying": Kind("note", "frame rate varies", "nothing: clips are read by time"),
    "rotated": Kind("note", "shown rotated", "nothing: frames come upright"),
}


@dataclass(frozen=True)
class VideoCheck:
    """What one file is, once every frame was decoded."""

    video: str
    info: VideoInfo | None = None  # None: it cannot be opened; without the times of single frames
    varying: bool = False  # its frame rate
    decoded: int = 0  # frames that came
    fault: str = ""  # why no more came
    size: int = 0  # bytes
    sha256: str = ""
    fingerprint: bytes = b""  # see copies.py
    picture: bytes = b""  # JPEG of the middle frame, for a contact sheet

    @property
    def length_s(self) -> float:
        return 0.0 if self.info is None else self.info.duration_s


@dataclass(frozen=True)
class Finding:
    """Something that people should know."""

    kind: str  # a key of KINDS
    text: str
    videos: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()  # the lines that it is about, as "boxes.csv:17"


@dataclass(frozen=True, eq=False)
class Report:
    """A set, its files sorted by name, and what was found, worst first."""

    videos: LabelledSet
    files: tuple[VideoCheck, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind that there is, worst kind first."""
        found = {kind: [each for each in self.findings if each.kind == kind] for kind in KINDS}
        return {kind: some for kind, some in found.items() if some}

    @property
    def passed(self) -> bool:
        """Whether there are no errors."""
        return all(KINDS[kind].level != "error" for kind in self.by_kind)

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Samples of each class in each part, or people."""
        counts = {
            part: Counter(label for sample in samples for each in labelled(sample) for label in each.labels)
            for part, samples in split(self.videos)
        }
        return {name: {part: counts[part][label] for part in PARTS} for label, name in enumerate(self.videos.classes)}


@dataclass(frozen=True)
class Job:
    """One file to decode."""

    video: str | Path
    fps: float | None
    limits: Limits
    pictured: bool


class Jobs:
    """Jobs as a data set: item i is what was found in file i."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> VideoCheck:
        return check_file(self._jobs[index])


def split(videos: LabelledSet) -> list[tuple[str, tuple[Sample | KeyFrame, ...]]]:
    return [(part, getattr(videos, part)) for part in PARTS]


def labelled(sample: Sample | KeyFrame) -> Sequence[Sample | Person]:
    """What has labels of its own: a video, or each of its people."""
    return sample.people if isinstance(sample, KeyFrame) else (sample,)


def jobs_of(videos: LabelledSet, limits: Limits) -> list[Job]:
    """Each file once. TypeError for videos in memory, of which there is nothing to check."""
    jobs: dict[str, Job] = {}
    shown: Counter[int] = Counter()
    for sample in videos.samples():
        if not isinstance(sample.video, str | Path):
            raise TypeError(f"only files and folders of frames can be checked; got {type(sample.video).__name__}")
        pictured = min((shown[label] for label in sample.labels), default=SHOWN) < SHOWN
        if str(sample.video) not in jobs:
            jobs[str(sample.video)] = Job(sample.video, sample.fps, limits, pictured)
            shown.update(sample.labels)
    return list(jobs.values())


def check_files(jobs: Sequence[Job], *, workers: int) -> Iterator[VideoCheck]:
    """What is in each file, as they are done: in this process if `workers` is 0, else in so many others."""
    if workers == 0 or len(jobs) == 1:
        yield from map(check_file, jobs)
        return
    yield from DataLoader(
        cast(Any, Jobs(jobs)),
        batch_size=None,
        num_workers=min(workers, len(jobs)),
        multiprocessing_context="spawn",
        prefetch_factor=1,
        in_order=False,
    )


def check_file(job: Job) -> VideoCheck:
    """Decode all of a file; what is wrong with it is told in the answer."""
    found, decoded, picture = VideoCheck(str(job.video)), 0, b""
    pictures: dict[int, Tensor] = {}
    try:
        reader = open_small(job)
        info = reader.info
        found = replace(found, info=replace(info, times_s=None, strays_s=None), varying=info.times_s is not None)
        wanted = moments(info.frames)
        for number, frame in enumerate(reader.stream(range(info.frames))):
            decoded += 1
            if number in wanted:
                pictures[number] = small(frame)
            if number == info.frames // 2 and job.pictured:
                picture = jpeg(frame)
        size, sha256 = digest(Path(job.video))
    except (VideoError, OSError) as error:
        return replace(found, decoded=decoded, fault=error.reason if isinstance(error, VideoError) else str(error))
    told = fingerprint(torch.stack([pictures[number] for number in wanted]))
    return replace(found, decoded=decoded, size=size, sha256=sha256, fingerprint=told, picture=picture)


def open_small(job: Job) -> VideoReader:
    """A reader whose frames are no larger than needed here; files are shrunk while they are decoded."""
    reader = open_video(job.video, fps=job.fps, limits=job.limits)
    height, width = reader.info.height, reader.info.width
    if isinstance(reader, FileReader) and max(height, width) > THUMBNAIL:
        return reader.scaled(*long_side_size(height, width, THUMBNAIL))
    return reader


def digest(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, or of all frames of a folder."""
    size, sha256 = 0, hashlib.sha256()
    for part in images_in(path) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while piece := file.read(1 << 20):
                size += len(piece)
                sha256.update(piece)
    return size, sha256.hexdigest()


def report_of(videos: LabelledVideos, checks: Iterable[VideoCheck], clip: ClipSpec) -> Report:
    """All findings about a set whose files gave `checks`, for a network that sees clips like `clip`."""
    files = tuple(sorted(checks, key=lambda each: each.video))
    by_name = {each.video: each for each in files}
    findings = [
        *file_findings(files),
        *sample_findings(videos, by_name, clip),
        *copy_findings(videos, copies_of(files)),
        *group_findings(videos),
    ]
    findings += class_findings(Report(videos, files, ()).class_counts())
    return Report(videos, files, worst_first(findings))


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    ranks = list(KINDS)
    return tuple(sorted(findings, key=lambda each: ranks.index(each.kind)))


def file_findings(files: Iterable[VideoCheck]) -> Iterator[Finding]:
    """What a file alone tells."""
    for each in files:
        name = (each.video,)
        if each.fault or each.info is None:
            yield Finding("unreadable", f"{each.video}: {each.fault} ({each.decoded} frames came)", name)
            continue
        if not each.fingerprint:
            yield Finding("still", each.video, name)
        if each.varying:
            yield Finding("varying", f"{each.video}: {each.info.fps:.2f} frames a second on average", name)
        if each.info.rotation:
            yield Finding("rotated", f"{each.video}: by {each.info.rotation} degrees", name)


def sample_findings(videos: LabelledVideos, files: Mapping[str, VideoCheck], clip: ClipSpec) -> Iterator[Finding]:
    """Where a sample and its file do not fit."""
    for sample in videos.samples():
        info = files[str(sample.video)].info
        if info is None:
            continue
        begin_s, end_s, frame_s = info.start_s, info.start_s + info.duration_s, 1 / info.fps
        from_s = begin_s if sample.start_s is None else sample.start_s
        to_s = end_s if sample.end_s is None else sample.end_s
        name, where = (str(sample.video),), f"{sample.where}: " if sample.where else ""
        text = f"{where}{sample.name}"
        if not begin_s - frame_s < from_s < end_s or to_s <= begin_s:
            yield Finding("outside", f"{text}: the file goes from {begin_s:.2f} s to {end_s:.2f} s", name)
            continue
        if to_s > end_s + frame_s:
            yield Finding("overrun", f"{text}: the file ends at {end_s:.2f} s", name)
        length_s, needed_s = min(to_s, end_s) - max(from_s, begin_s), clip_length_s(clip, info.fps)
        if length_s + frame_s < needed_s:
            yield Finding("short", f"{text}: {length_s:.2f} s, and a clip is {needed_s:.2f} s", name)


def clip_length_s(clip: ClipSpec, fps: float) -> float:
    """Seconds that a clip covers in a file of this rate; of a whole video in segments, those of a frame for each."""
    return clip.frames * (1 if clip.sampling == "segments" else clip.stride) / (clip.fps or fps)


@dataclass(frozen=True)
class Copies:
    """Files that show the same."""

    videos: tuple[str, ...]
    known_by: str


def copies_of(files: Sequence[VideoCheck]) -> list[Copies]:
    """Files with the same bytes or with fingerprints that are alike; a file without another is one by itself."""
    by_bytes: dict[str, list[VideoCheck]] = defaultdict(list)
    for each in files:
        by_bytes[each.sha256 or each.video].append(each)
    different = list(by_bytes.values())
    told = [number for number, same in enumerate(different) if same[0].fingerprint]
    pairs = alike([different[at][0].fingerprint for at in told], [different[at][0].length_s for at in told])
    group = list(range(len(different)))
    far: dict[int, float] = defaultdict(float)

    def root(at: int) -> int:
        while group[at] != at:
            group[at] = group[group[at]]
            at = group[at]
        return at

    for first, second, share in pairs:
        joined, other = root(told[first]), root(told[second])
        group[other] = joined
        far[joined] = max(far[joined], far[other], share)
    members: dict[int, list[str]] = defaultdict(list)
    for at, same in enumerate(different):
        members[root(at)] += [each.video for each in same]
    return [
        Copies(
            tuple(names), f"they look alike, {100 * far[at]:.0f} % of bits differ" if at in far else "the same bytes"
        )
        for at, names in members.items()
    ]


Entries = dict[str, list[tuple[str, Sample]]]  # the part and the sample of each line about a file


def entries_of(videos: LabelledVideos) -> Entries:
    entries: Entries = defaultdict(list)
    for part in PARTS:
        for sample in getattr(videos, part):
            entries[str(sample.video)].append((part, sample))
    return entries


def copy_findings(videos: LabelledVideos, groups: Iterable[Copies]) -> Iterator[Finding]:
    """What is listed more than once, as one file or as copies of it."""
    entries = entries_of(videos)
    for copies in groups:
        listed = [entry for video in copies.videos for entry in entries[video]]
        known_by = copies.known_by if len(copies.videos) > 1 else "one file"
        text = f"{several([f'{part} {sample.name}' for part, sample in listed])}: {known_by}"
        if crosses(part for part, _ in listed):
            yield Finding("leak", text, copies.videos)
        elif len(copies.videos) > 1:
            yield Finding("copies", text, copies.videos)
        yield from line_findings(listed, videos.classes)


def line_findings(listed: Iterable[tuple[str, Sample]], classes: Sequence[str]) -> Iterator[Finding]:
    """Lines about the same seconds of the same video."""
    pieces: dict[tuple[float | None, float | None], list[tuple[str, Sample]]] = defaultdict(list)
    for part, sample in listed:
        pieces[sample.start_s, sample.end_s].append((part, sample))
    for same in pieces.values():
        lines = [sample.where or sample.name for _, sample in same]
        names = tuple(dict.fromkeys(str(sample.video) for _, sample in same))
        if len({sample.labels for _, sample in same}) > 1:
            labels = [" | ".join(classes[label] for label in sample.labels) for _, sample in same]
            text = several([f"{line} ({label})" for line, label in zip(lines, labels)])
            yield Finding("labels", text, names)
        elif max(Counter((part, str(sample.video)) for part, sample in same).values()) > 1:
            yield Finding("twice", several(lines), names)


def group_findings(videos: LabelledSet) -> Iterator[Finding]:
    """Groups that stand on both sides of the split."""
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    for part, samples in split(videos):
        for sample in samples:
            sides[sample.group][part] += 1
    for group, counts in sides.items():
        if group and crosses(counts):
            yield Finding("group", f"{group}: {', '.join(f'{counts[part]} in {part}' for part in counts)}")


def crosses(parts: Iterable[str]) -> bool:
    """Whether something is in train and elsewhere; many sets have one list for val and test, which does no harm."""
    found = set(parts)
    return "train" in found and len(found) > 1


def class_findings(counts: Mapping[str, Mapping[str, int]], noun: str = "videos") -> Iterator[Finding]:
    """Classes that nobody can learn, and unequal ones. noun: what is counted."""
    for name, by_part in counts.items():
        if not by_part["train"]:
            elsewhere = sum(by_part.values())
            yield Finding("missing", f"{name}: none in train" + f", {elsewhere} elsewhere" * bool(elsewhere))
    sizes = {by_part["train"]: name for name, by_part in counts.items() if by_part["train"]}
    if sizes and max(sizes) > IMBALANCE * min(sizes):
        text = " and ".join(f"{sizes[size]} with {size}" for size in (max(sizes), min(sizes)))
        yield Finding("imbalance", f"{text} {noun} in train: {max(sizes) / min(sizes):.1f} to 1")


def several(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
