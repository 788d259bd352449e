"""Rows of boxes: what tables and exports of annotation tools are read into, column by column.

A column of strings holds each string once and boxes are one tensor: the 837,318 rows of AVA's training file take some
200 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from slowfast_hub.people.boxes import Box, Unit

MOST_S = 1e9  # thirty years: a later time is none, and arithmetic of milliseconds and frames stays far from its ends
A_TIME = f"a number from 0 to {MOST_S:,.0f}"  # in words
SecondsOf = Callable[[str, int], float]  # (video as it is written, number of a frame from 0) -> seconds of the file


@dataclass(frozen=True, slots=True)
class BoxRow:
    """One box and one label: a person who does two things has two rows."""

    video: str  # as it is written; "" where a table is of one video
    time_s: float
    box: Box | None  # in the unit of the table; None: a moment that was looked at, with nobody in it
    label: str = ""
    person: str = ""
    score: float | None = None
    time: str = ""  # as it is written
    where: str = ""  # "boxes.csv:17"


@dataclass(frozen=True, eq=False)
class BoxTable:
    """A file of boxes; row i is item i of every column. ValueError for a time that is none."""

    file: Path
    form: str  # what the file is: "table", "AVA", "CVAT", "Label Studio" or "VIA"
    videos: Sequence[str]
    times_s: Tensor  # (N,) float64
    times: Sequence[str]  # the same as they are written
    boxes: Tensor  # (N, 4) float64; NaN: nobody in that moment
    labels: Sequence[str]
    people: Sequence[str]
    scores: Tensor | None  # (N,) float64, NaN where a row has none; None: no column of them
    lines: Sequence[int]  # of the file
    unit: Unit
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the other columns, by their names
    counted: str = ""  # what `lines` count where a file has none: "track"
    notes: tuple[str, ...] = ()  # what was understood, for people

    def __post_init__(self) -> None:
        wrong = ~(self.times_s.abs() <= MOST_S)  # NaN too
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(f"{self.file.parent / self.where(row)}: a time is {A_TIME}; got {self.times[row]!r:.40}")

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """The line of a row, as people look it up."""
        return f"{self.file.name}{f', {self.counted} ' if self.counted else ':'}{self.lines[row]}"

    @property
    def occupied(self) -> Tensor:
        """(N,) bool: the rows that have a box."""
        return ~self.boxes.isnan().all(1)

    def rows(self) -> Iterator[BoxRow]:
        """One by one."""
        times, boxes = self.times_s.tolist(), self.boxes.tolist()
        scores = [float("nan")] * len(self) if self.scores is None else self.scores.tolist()
        occupied = self.occupied.tolist()
        for row in range(len(self)):
            yield BoxRow(
                self.videos[row],
                times[row],
                tuple(boxes[row]) if occupied[row] else None,
                self.labels[row],
                self.people[row],
                scores[row] if scores[row] == scores[row] else None,
                self.times[row],
                self.where(row),
            )

    def only(self, kept: Tensor) -> BoxTable:
        """The rows of a mask (N,) bool or of numbers (M,) long."""
        numbers = (kept.nonzero().flatten() if kept.dtype == torch.bool else kept).tolist()

        def some(column: Sequence[str]) -> list[str]:
            return [column[number] for number in numbers]

        return replace(
            self,
            videos=some(self.videos),
            times_s=self.times_s[numbers],
            times=some(self.times),
            boxes=self.boxes[numbers],
            labels=some(self.labels),
            people=some(self.people),
            scores=None if self.scores is None else self.scores[numbers],
            lines=[self.lines[number] for number in numbers],
            more={name: some(column) for name, column in self.more.items()},
        )


class Strings(list[str]):
    """A column that holds equal strings once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def add(self, texts: Sequence[str]) -> None:
        known = self._known
        for text in texts:
            if text not in known:
                known[text] = text.strip()
            self.append(known[text])


def from_single_rows(
    file: Path, form: str, rows: Sequence[tuple[BoxRow, int]], unit: Unit, counted: str, notes: Sequence[str]
) -> BoxTable:
    """A table of rows and of their numbers in the file."""
    return BoxTable(
        file=file,
        form=form,
        videos=[row.video for row, _ in rows],
        times_s=torch.tensor([row.time_s for row, _ in rows], dtype=torch.float64),
        times=[row.time for row, _ in rows],
        boxes=torch.tensor([row.box for row, _ in rows], dtype=torch.float64).reshape(-1, 4),
        labels=[row.label for row, _ in rows],
        people=[row.person for row, _ in rows],
        scores=None,
        lines=[number for _, number in rows],
        unit=unit,
        counted=counted,
        notes=tuple(notes),
    )
