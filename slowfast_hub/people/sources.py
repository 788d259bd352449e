"""Where the boxes of a video come from: an array, a table, or a function that looks at the picture."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slowfast_hub.people.boxes import Unit, in_pixels
from slowfast_hub.people.tables import MomentBoxes, boxes_by_moment, read_boxes
from slowfast_hub.spec import VideoInfo

Finder = Callable[
    [Tensor], Tensor | np.ndarray
]  # a picture (H, W, 3) uint8 RGB to boxes (N, 4), or (N, 5) with a score
BoxSource = Tensor | np.ndarray | Sequence[Sequence[float]] | str | Path | Finder


@dataclass(frozen=True, eq=False)
class Found:
    """The people of one moment."""

    boxes: Tensor  # (N, 4) float32, px of the picture, cut to it
    scores: Tensor  # (N,) of whoever found them; 1 where nobody said
    names: tuple[str, ...] = ()  # who they are, where that is known of everybody in the video


@dataclass(frozen=True, eq=False)
class Boxes:
    """The people of one video, moment by moment."""

    at: Callable[[float, Tensor | None], Found]  # seconds of the file, and the picture shown then
    looks: bool = False  # whether `at` needs the picture
    times_s: tuple[float, ...] | None = None  # the moments that are known; None: all


def boxes_of(source: BoxSource, info: VideoInfo, *, unit: Unit | None = None) -> Boxes:
    """The people of a video as `source` has them.

    source: boxes `(N, 4)` for every moment, or `(N, 5)` with a score; a table of boxes (people/tables.py), which knows
        its own moments; or a function of the picture.
    unit: None finds out, see `unit_of`.
    Errors: those of `in_pixels` and `read_boxes`; TypeError for anything else; for a table also a ValueError where it
    knows nothing of this video.
    """
    if isinstance(source, str | Path):
        return of_table(Path(source), info, unit)
    if callable(source):
        return Boxes(lambda at_s, picture: found(source(picture), info, unit), looks=True)  # type: ignore[arg-type]
    fixed = found(source, info, unit)
    return Boxes(lambda at_s, picture: fixed)


def found(values: object, info: VideoInfo, unit: Unit | None) -> Found:
    """Boxes `(N, 4)` or `(N, 5)` of any kind of array as people of a picture of the video."""
    try:
        if isinstance(values, list | tuple):  # of lists, arrays or tensors
            values = [[float(value) for value in row] for row in values]
        rows = torch.as_tensor(values, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"boxes are an array (N, 4) of x1, y1, x2, y2, a table, or a function of the picture; got {values!r:.80}"
        ) from error
    if not rows.numel():
        rows = rows.reshape(0, 4)
    if rows.ndim != 2 or rows.shape[1] not in (4, 5):
        raise ValueError(f"boxes are (N, 4): x1, y1, x2, y2, or (N, 5) with a score; got {tuple(rows.shape)}")
    boxes = in_pixels(rows[:, :4], width=info.width, height=info.height, unit=unit)
    scores = rows[:, 4] if rows.shape[1] == 5 else torch.ones(len(rows))
    if strays := [score for score in scores.tolist() if not 0 <= score <= 1]:
        raise ValueError(f"the fifth column of boxes is a score, from 0 to 1; got {strays[0]:g}")
    return Found(boxes, scores)


def of_table(file: Path, info: VideoInfo, unit: Unit | None) -> Boxes:
    """The people of a video in a table; asked for another moment than the table knows, it is a ValueError."""
    table = read_boxes(file, unit=unit, seconds_of=lambda video, frame: info.begin_s(frame))
    known = boxes_by_moment(table, info.source)
    times_s = [moment.time_s for moment in known]
    if strays := [time_s for time_s in times_s if not info.start_s <= time_s < info.start_s + info.duration_s]:
        raise ValueError(
            f"{file}: {len(strays)} of {len(times_s)} moments lie outside of {info.source}, which goes from "
            f"{info.start_s:g} to {info.start_s + info.duration_s:g} s; the first is at {strays[0]:g} s: slowfast-hub "
            "data check says what its times look like"
        )
    # Half a table of names would mix two ways of telling who is who.
    named = all(person for moment in known for person in moment.people)
    people = [people_of(file, moment, info, named=named) for moment in known]
    slack_s = 0.5 / info.fps  # the same frame

    def at(at_s: float, picture: Tensor | None) -> Found:
        after = bisect_left(times_s, at_s)
        around = range(max(0, after - 1), min(after + 1, len(times_s)))
        near = min(around, key=lambda number: abs(times_s[number] - at_s))
        if not abs(times_s[near] - at_s) <= slack_s:
            raise ValueError(
                f"{file} has no boxes at {at_s:g} s of {info.source}; the nearest are at {times_s[near]:g} s"
            )
        return people[near]

    return Boxes(at, times_s=tuple(times_s))


def people_of(file: Path, moment: MomentBoxes, info: VideoInfo, *, named: bool) -> Found:
    """One moment of a table, in pixels of the picture. named: whether the table says of everybody who it is."""
    boxes = in_pixels(
        moment.boxes,
        width=info.width,
        height=info.height,
        unit=moment.unit,
        where=lambda number: f"{file}: box {number} at {moment.time_s:g} s",
    )
    scores = torch.ones(len(boxes)) if moment.scores is None else moment.scores
    return Found(boxes, scores, moment.people if named else ())
