"""Stretches of time with a label: found in the scores of windows, written for spreadsheets and for players.

There are two thresholds, as in Canny's edges, so that a score that wavers around one does not cut a stretch to pieces.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

ROUNDING_S = 1e-9


@dataclass(frozen=True)
class Segment:
    """A stretch of a video in which one label holds."""

    label: str
    start: float  # seconds of the file
    end: float
    score: float  # mean of its windows


@dataclass(frozen=True)
class Thresholds:
    """When a segment begins and ends, and which are too short or too close to stand alone."""

    enter: float = 0.5  # a segment begins with a window that scores this
    leave: float = 0.3  # and goes on while windows score this
    shortest_s: float = 0.0  # shorter ones are left out
    gap_s: float = 0.0  # segments of one label with at most this between them are one
    smooth_s: float = 0.0  # scores are first averaged over the windows centred in so many seconds

    def __post_init__(self) -> None:
        if not 0 <= self.leave <= self.enter <= 1:
            raise ValueError(f"thresholds are 0 <= leave <= enter <= 1; got leave={self.leave}, enter={self.enter}")
        for name in ("shortest_s", "gap_s", "smooth_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of seconds, 0 or more; got {getattr(self, name)!r}")


def find_segments(
    probs: Tensor,
    edges_s: Sequence[float],
    labels: Sequence[str],
    classes: Sequence[int],
    *,
    reach: int,
    by: Thresholds,
) -> list[Segment]:
    """The segments of the `classes`, sorted by start, of windows with scores `probs (N, C)`.

    edges_s: N + 1 times; window i stands for those from edge i to edge i + 1. reach: windows on either side that a
    score is averaged with before it is compared.
    """
    smooth = moving_mean(probs, reach)
    found = []
    for index in classes:
        if float(smooth[:, index].max()) < by.enter:
            continue
        runs = hysteresis(smooth[:, index].tolist(), by)
        for first, behind in joined(runs, edges_s, by.gap_s):
            start, end = edges_s[first], edges_s[behind]
            if end - start >= by.shortest_s - ROUNDING_S:
                found.append(Segment(labels[index], start, end, float(probs[first:behind, index].double().mean())))
    return sorted(found, key=lambda segment: (segment.start, segment.end, segment.label))


def moving_mean(probs: Tensor, reach: int) -> Tensor:
    """`(N, C)`: the mean of each row and the `reach` rows on either side of it, of those there are."""
    if not reach:
        return probs
    sums = torch.cat([probs.new_zeros(1, probs.shape[1], dtype=torch.float64), probs.double().cumsum(0)])
    at = torch.arange(len(probs))
    first, behind = (at - reach).clamp(min=0), (at + reach + 1).clamp(max=len(probs))
    return (sums[behind] - sums[first]) / (behind - first).unsqueeze(1)


def hysteresis(scores: Sequence[float], by: Thresholds) -> Iterator[tuple[int, int]]:
    """`(first, behind the last)` of each run of windows that begins at `by.enter` and goes on at `by.leave`."""
    first = None
    for at, score in enumerate(scores):
        if first is None and score >= by.enter:
            first = at
        elif first is not None and score < by.leave:
            yield first, at
            first = None
    if first is not None:
        yield first, len(scores)


def joined(runs: Iterator[tuple[int, int]], edges_s: Sequence[float], gap_s: float) -> Iterator[tuple[int, int]]:
    """The runs, neighbours with at most `gap_s` between them made one."""
    open_run = None
    for first, behind in runs:
        if open_run is not None and edges_s[first] - edges_s[open_run[1]] <= gap_s + ROUNDING_S:
            open_run = (open_run[0], behind)
            continue
        if open_run is not None:
            yield open_run
        open_run = (first, behind)
    if open_run is not None:
        yield open_run


def classes_of(wanted: Sequence[str] | None, labels: Sequence[str]) -> list[int]:
    """The numbers of the classes called `wanted`, all if None; ValueError for a name that is no label."""
    if wanted is None:
        return list(range(len(labels)))
    if isinstance(wanted, str):
        raise TypeError(f"labels is a list of names; got the string {wanted!r}")
    for name in wanted:
        if name not in labels:
            close = get_close_matches(name, labels, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": its labels are {', '.join(labels[:5])} ..."
            raise ValueError(f"this network has no label {name!r}{hint}")
    return [index for index, label in enumerate(labels) if label in wanted]


def write_csv(segments: Sequence[Segment], path: Path) -> None:
    """One row each, RFC 4180: start,end,label,score; times in seconds."""
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.writer(file)
        rows.writerow(("start", "end", "label", "score"))
        for each in segments:
            rows.writerow((f"{each.start:.3f}", f"{each.end:.3f}", cell(each.label), f"{each.score:.4f}"))


def cell(label: str) -> str:
    """A label in a table; one that a spreadsheet would take for a formula gets an apostrophe in front.

    Labels come with files of weights, from anyone.
    """
    return f"'{label}" if label.startswith(tuple("=+-@\t\r\n")) else label


def write_srt(segments: Sequence[Segment], path: Path) -> None:
    """SubRip: numbered, with a comma in the times. It has tags and no way to escape them, so brackets become others."""
    other = str.maketrans("<>{}", "\u2039\u203a()")
    cues = [
        f"{number}\n{times(each, ',')}\n{one_line(each).translate(other)}\n\n"
        for number, each in enumerate(segments, start=1)
    ]
    path.write_text("".join(cues), encoding="utf-8", errors="replace", newline="\n")


def write_vtt(segments: Sequence[Segment], path: Path) -> None:
    """WebVTT (W3C): the three characters that mean something in a cue's text are escaped."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [f"{times(each, '.')}\n{one_line(each).translate(escapes)}\n\n" for each in segments]
    path.write_text("WEBVTT\n\n" + "".join(cues), encoding="utf-8", errors="replace", newline="\n")


def times(segment: Segment, point: str) -> str:
    """The line of times of a cue: not before 0, and at least a millisecond, as players ask for."""
    start = max(0, round(segment.start * 1000))
    end = max(start + 1, round(segment.end * 1000))
    return f"{clock(start, point)} --> {clock(end, point)}"


def clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def one_line(segment: Segment) -> str:
    """The text of a cue; an empty line would end it."""
    words = re.sub(r"[\s\x00-\x1f\x7f]+", " ", segment.label).strip()
    return f"{words} {segment.score:.2f}"
