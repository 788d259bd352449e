"""The timeline of a video that still comes, and the clips that fill up with its pictures.

It is the timeline of `sampling.places_of`, known place by place. Where the rate is known, the frames stand on its grid;
else the timeline is read off at the ticks of a clock, and a tick is known once a frame comes that is later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from slowfast_hub.predict.windows import Schedule
from slowfast_hub.transforms.eval import EvalTransform, Fitter, as_clip
from slowfast_hub.video.sampling import TIME_ROUNDING_S, clip_places


class Tape:
    """Places, `fps` a second, and the pictures that are shown at them.

    ticks: frames are shown from their times on, and `fps` is a clock; else it is their own rate.
    """

    def __init__(self, fps: float, *, start_s: float, ticks: bool) -> None:
        self.fps = fps
        self.start_s = start_s
        self.places = 0  # known so far
        self.end_s = math.inf  # when the last frame stops being shown
        self._ticks = ticks
        self._frames = 0
        self._last_s = start_s
        self._shown: deque[tuple[float, Tensor]] = (
            deque()
        )  # first the picture at the last known place, then those after

    def add(self, time_s: float, frame: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The next frame; gives the places that are known with it, and their pictures."""
        position = time_s if self._ticks else round((time_s - self.start_s) * self.fps)
        if self._shown and position <= self._shown[-1][0]:
            return  # two frames at one place of the grid: the first stays
        self._shown.append((position, frame))
        self._frames += 1
        self._last_s = time_s
        yield from self._until(self._known(position) if self._ticks else int(position) + 1)

    def end(self) -> Iterator[tuple[int, Tensor]]:
        """No more frames come; gives the places that are left, as `add` does."""
        rate = self.fps
        if self._ticks and self._frames > 1:
            rate = (self._frames - 1) / (self._last_s - self.start_s)
        # The last frame is shown as long as the others are on average: VideoInfo.end_s, and duration_s below.
        self.end_s = self._last_s + 1 / rate
        if self._ticks:
            shown_s = self._last_s - self.start_s + 1 / rate
            yield from self._until(max(1, int((shown_s + TIME_ROUNDING_S) * self.fps)))

    def last(self) -> Tensor:
        """The picture at the last known place."""
        return self._shown[0][1]

    def _known(self, time_s: float) -> int:
        """Ticks that are over when a frame comes: whatever follows, the video has them."""
        return math.floor((time_s - self.start_s + TIME_ROUNDING_S) * self.fps)

    def _until(self, places: int) -> Iterator[tuple[int, Tensor]]:
        for place in range(self.places, places):
            at = self.start_s + place / self.fps + TIME_ROUNDING_S if self._ticks else place
            while len(self._shown) > 1 and self._shown[1][0] <= at:
                self._shown.popleft()
            self.places = place + 1
            yield place, self._shown[0][1]


@dataclass
class Filling:
    """A clip that fills up."""

    number: int
    places: list[int]  # ascending
    pictures: list[Tensor]  # (3, H', W'), of the first places

    @property
    def full(self) -> bool:
        return len(self.pictures) == len(self.places)


class Clips:
    """The clips of a schedule, made of pictures that come in the order of their places."""

    def __init__(self, windows: Schedule, transform: EvalTransform) -> None:
        self._windows, self._frames, self._fit = windows, transform.spec.frames, Fitter(transform)
        self._filling: deque[Filling] = deque()
        self._next = self._begun(0)

    def add(self, place: int, frame: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The picture at the next place; gives the clips that are full with it: number, (3, T, H', W')."""
        while self._next.places[0] <= place:
            self._filling.append(self._next)
            self._next = self._begun(self._next.number + 1)
        picture = None
        for clip in self._filling:
            while not clip.full and clip.places[len(clip.pictures)] <= place:
                picture = self._fit(frame) if picture is None else picture
                clip.pictures.append(picture)
        while self._filling and self._filling[0].full:
            clip = self._filling.popleft()
            yield clip.number, as_clip(clip.pictures)

    def held(self, number: int, frame: Tensor) -> Tensor:
        """Clip `number` at the end of the video, where it holds the last frame."""
        clip = next((clip for clip in self._filling if clip.number == number), None) or self._begun(number)
        missing = len(clip.places) - len(clip.pictures)
        return as_clip([*clip.pictures, *[self._fit(frame)] * missing])

    def _begun(self, number: int) -> Filling:
        """The first clip from `number` on that a window is seen in; empty."""
        while number % self._windows.clips_per_stride >= self._windows.clips_per_window:
            number += 1
        places = clip_places(self._windows.clip_start(number), self._windows.span, self._frames)
        return Filling(number, places.long().tolist(), [])
