"""Labelled videos: what a training set is once its files have been understood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath

from slowfast_hub.spec import Limits
from slowfast_hub.video.reader import Video, VideoReader, open_video, part_of


def video_name(video: Video, title: str) -> str:
    """A video as people know it: its path; of one in memory its title, else what it is."""
    return fspath(video) if isinstance(video, str | PathLike) else title or type(video).__name__


@dataclass(frozen=True)
class Span:
    """A label that holds for a part of a video, in seconds of the file (Charades)."""

    label: int
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)  # frames in memory have no single truth value
class Sample:
    """One labelled video, or a part of one."""

    video: Video
    labels: tuple[int, ...]  # indices of classes: one, or any number in a multi-label set
    group: str = ""  # what must not stand on both sides of a split: a person, a scene, a source
    fps: float | None = None  # of an array or a folder of frames
    start_s: float | None = None  # seconds of the file; None: its beginning
    end_s: float | None = None  # None: its end
    spans: tuple[Span, ...] = ()  # when the labels hold; empty: all the time
    where: str = ""  # the line that says so, as "train.csv:17"
    title: str = ""  # what a video in memory is called

    def __post_init__(self) -> None:
        start_s, end_s = self.start_s or 0.0, math.inf if self.end_s is None else self.end_s
        if not 0 <= start_s < end_s:
            raise ValueError(f"{self.where or self.name}: a part from {self.start_s} s to {self.end_s} s has no length")

    @property
    def on_disk(self) -> bool:
        """Whether the video is a path, and not frames or bytes in memory."""
        return isinstance(self.video, str | PathLike)

    @property
    def name(self) -> str:
        """The video as people know it, with its part."""
        video = video_name(self.video, self.title)
        if self.start_s is None and self.end_s is None:
            return video
        return f"{video} [{self.start_s or 0:g} s to {'its end' if self.end_s is None else f'{self.end_s:g} s'}]"

    def open(self, limits: Limits | None = None) -> VideoReader:
        """A reader of the video, or of the part of it that is meant. Errors: those of `open_video` and `part_of`."""
        reader = open_video(self.video, fps=self.fps, limits=limits)
        if self.start_s is None and self.end_s is None:
            return reader
        return part_of(reader, self.start_s or 0.0, math.inf if self.end_s is None else self.end_s)

    def labels_between(self, start_s: float, end_s: float) -> tuple[int, ...]:
        """The labels that hold at some time between two times, in seconds of the file."""
        if not self.spans:
            return self.labels
        return tuple(sorted({span.label for span in self.spans if span.start_s < end_s and start_s < span.end_s}))


@dataclass(frozen=True, eq=False)
class LabelledVideos:
    """A set of labelled videos and its parts. `classes[i]` is the name of label i."""

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    multilabel: bool = False
    notes: tuple[str, ...] = ()  # what was understood and decided, for people

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"two classes have one name: {', '.join(sorted(self.classes))}")
        for sample in self.samples():
            if any(not 0 <= label < len(self.classes) for label in sample.labels):
                raise ValueError(
                    f"{sample.where or sample.name}: label {sample.labels} is not in 0..{len(self.classes) - 1}"
                )
            if not self.multilabel and len(sample.labels) != 1:
                raise ValueError(
                    f"{sample.where or sample.name}: has {len(sample.labels)} labels; one is expected where "
                    "multilabel is False"
                )

    def samples(self) -> Iterator[Sample]:
        """Those of all parts."""
        yield from (*self.train, *self.val, *self.test)
