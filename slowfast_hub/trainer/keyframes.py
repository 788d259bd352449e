"""Labelled people: what a training set of boxes is once its files have been understood.

A key frame is a moment of a video whose people are known (AVA: one a second). A network sees a clip around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

from slowfast_hub.people.boxes import Box, Unit
from slowfast_hub.spec import Limits
from slowfast_hub.trainer.samples import LabelledVideos, video_name
from slowfast_hub.video.reader import Video, VideoReader, open_video

Instant = tuple[str, int]  # video, milliseconds


def instant(video: str, time_s: float) -> Instant:
    """What two files mean by one moment: 902, 0902 and 902.0 are the same."""
    return video, round(1000 * time_s)


@dataclass(frozen=True, slots=True)
class Person:
    """One box of a key frame and what is done in it."""

    box: Box  # in the unit of the key frame
    labels: tuple[int, ...] = ()  # indices of classes: any number
    score: float | None = None  # of the detector that found it; None: drawn by people
    person: str = ""  # who it is, where that is known


@dataclass(frozen=True, slots=True, eq=False)  # frames in memory have no single truth value
class KeyFrame:
    """A moment of a video and its people."""

    video: Video
    at_s: float  # seconds of the file
    people: tuple[Person, ...]  # the truth
    found: tuple[Person, ...] | None = None  # boxes of a person detector, without labels; None: nobody looked
    unit: Unit = "normalised"
    group: str = ""  # what must not stand on both sides of a split
    fps: float | None = None  # of an array or a folder of frames
    title: str = ""  # the video as the annotations call it
    time: str = ""  # the moment as they write it: AVA's 0902 may be second 2 of a file
    where: str = ""  # the first line that says so, as "boxes.csv:17"

    @property
    def on_disk(self) -> bool:
        """Whether the video is a path, and not frames or bytes in memory."""
        return isinstance(self.video, str | PathLike)

    @property
    def name(self) -> str:
        """The moment as people know it."""
        return f"{video_name(self.video, self.title)} at {self.at_s:g} s"

    @property
    def labels(self) -> tuple[int, ...]:
        """What the people do, each class once."""
        return tuple(sorted({label for person in self.people for label in person.labels}))

    def open(self, limits: Limits | None = None) -> VideoReader:
        """A reader of the video. Errors: those of `open_video`."""
        return open_video(self.video, fps=self.fps, limits=limits)


@dataclass(frozen=True, eq=False)
class LabelledPeople:
    """A set: label i is `classes[i]`; a person has any number of them."""

    classes: tuple[str, ...]
    train: tuple[KeyFrame, ...]
    val: tuple[KeyFrame, ...] = ()
    test: tuple[KeyFrame, ...] = ()
    evaluated: tuple[int, ...] = ()  # the classes that mean average precision is of (AVA: 60 of 80); empty: all
    notes: tuple[str, ...] = ()  # what was understood and decided, for people
    excluded: frozenset[Instant] = frozenset()  # moments that were left out: what is detected there does not count

    multilabel = True

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"two classes have one name: {', '.join(sorted(self.classes))}")
        for frame in self.samples():
            if any(not 0 <= label < len(self.classes) for label in frame.labels):
                raise ValueError(
                    f"{frame.where or frame.name}: label {max(frame.labels)} is not in 0..{len(self.classes) - 1}"
                )

    def samples(self) -> Iterator[KeyFrame]:
        """The key frames of all parts."""
        yield from (*self.train, *self.val, *self.test)


LabelledSet = LabelledVideos | LabelledPeople
