"""Frame mAP: how well boxes with scores find labelled people, each in the picture of one moment (the paper, section 5).

The rules are those of the official AVA evaluation as PySlowFast carries it (ava_evaluation/per_image_evaluation.py,
metrics.py), here for whole arrays at once; benchmarks/frame_map.py compares speed and figures:

* A detection belongs to the truth of its frame and class that it overlaps most, taken or not, and is right where their
  intersection over union is at least 0.5 and no earlier detection of the frame has that truth.
* What nobody labelled is wrong: a class that the frame does not have, and a frame without any truth.
* Average precision is the area under the precision that falls with recall (VOC). A class without truth has none.
* Equal scores stand in the order that numpy's argsort gives them, as there. That sort is not stable, and another one on
  another processor: a figure of rounded scores may differ in its last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slowfast_hub.spec import one_of, whole

Order = Literal["file", "score"]


@dataclass(frozen=True, eq=False)
class LabelledBoxes:
    """N labelled boxes; a box with several labels is there once for each. ValueError for what are none."""

    frames: NDArray[np.int64]  # (N,) which moment: 0, 1, ...
    classes: NDArray[np.int64]  # (N,) from 0
    boxes: NDArray[np.floating]  # (N, 4) x1, y1, x2, y2 in any one unit; sums are done in this precision
    scores: NDArray[np.floating]  # (N,) 1 for truth

    def __post_init__(self) -> None:
        shapes = [getattr(self, field.name).shape for field in fields(self)]
        if shapes != [(len(self),), (len(self),), (len(self), 4), (len(self),)]:
            raise ValueError(f"frames, classes, boxes and scores are (N,), (N,), (N, 4) and (N,); got {shapes}")
        if len(self) and min(self.frames.min(), self.classes.min()) < 0:
            raise ValueError("frames and classes are numbers from 0; one is negative")
        x1, y1, x2, y2 = self.boxes.T  # column by column: three times as fast as over rows of four
        problems = {
            "has a box or a score that is not finite": ~np.isfinite(x1 + y1 + x2 + y2 + self.scores),
            "is reversed; boxes are x1, y1, x2, y2": (x2 < x1) | (y2 < y1),
        }
        for problem, bad in problems.items():
            if bad.any():
                first = int(bad.argmax())
                raise ValueError(f"box {first} {problem}: {self.boxes[first].tolist()}, score {self.scores[first]}")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: NDArray[np.int64]) -> LabelledBoxes:
        return LabelledBoxes(self.frames[rows], self.classes[rows], self.boxes[rows], self.scores[rows])

    @classmethod
    def joined(cls, parts: Sequence[LabelledBoxes]) -> LabelledBoxes:
        """One behind the other; of no parts none."""
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True, eq=False)
class FrameMap:
    """What the detections are worth."""

    average_precision: NDArray[np.float64]  # (C,) in 0..1; NaN for a class without truth, or not evaluated
    truths: NDArray[np.int64]  # (C,) labelled boxes of each evaluated class
    mean_ap: float  # over the classes that have a figure; NaN where none has


def frame_map(
    truth: LabelledBoxes,
    detections: LabelledBoxes,
    *,
    num_classes: int,
    evaluated: tuple[int, ...] = (),
    iou: float = 0.5,
    order: Order = "file",
) -> FrameMap:
    """Average precision of each class, by the rules above. Frames that do not count have to be left out of both.

    evaluated: the classes that count (AVA: 60 of 80); empty: all.
    iou: the overlap that is enough.
    order: which of a frame's detections takes a truth: that which comes first ("file", PySlowFast, and every figure of
        this package), or, to compare with figures of others, that with the highest score ("score", MMAction2 and later
        versions of ActivityNet's reader, which has equal scores in the order of the truth's frames).
    ValueError for classes out of range.
    """
    whole("num_classes", num_classes, 1)
    one_of("order", order, ("file", "score"))
    for name, classes in {
        "a truth": truth.classes,
        "a detected": detections.classes,
    }.items():
        strays = classes[(classes < 0) | (classes >= num_classes)]
        if len(strays):
            raise ValueError(f"{name} class is not in 0..{num_classes - 1}: {strays[0]}")
    counts = np.zeros(num_classes, bool)
    counts[those_that_count(evaluated, num_classes)] = True
    truth, detections = truth[np.flatnonzero(counts[truth.classes])], ordered(detections, counts, order)
    right = true_positives(truth, detections, iou)
    truths = np.bincount(truth.classes, minlength=num_classes)
    by_class = np.argsort(detections.classes, kind="stable")
    bounds = np.searchsorted(detections.classes, np.arange(num_classes + 1), sorter=by_class)
    values = np.full(num_classes, np.nan)
    for label in np.flatnonzero(truths):
        rows = by_class[bounds[label] : bounds[label + 1]]
        values[label] = average_precision(detections.scores[rows], right[rows], truths[label])
    known = values[~np.isnan(values)]
    return FrameMap(values, truths, float(known.mean()) if len(known) else float("nan"))


def those_that_count(evaluated: Sequence[int], num_classes: int) -> list[int]:
    """The classes that a figure is of, in order: the evaluated ones; empty: all. ValueError for one out of range."""
    strays = [label for label in evaluated if not 0 <= label < num_classes]
    if strays:
        raise ValueError(f"an evaluated class is not in 0..{num_classes - 1}: {strays[0]}")
    return sorted(evaluated) or list(range(num_classes))


def ordered(detections: LabelledBoxes, counts: NDArray[np.bool_], order: Order) -> LabelledBoxes:
    """Those of classes that count, frame by frame, in the order in which frames come first.

    Boxes without area are dropped, as the official code does.
    """
    x1, y1, x2, y2 = detections.boxes.T
    rows = np.flatnonzero(counts[detections.classes] & (x2 > x1) & (y2 > y1))
    frames = detections.frames[rows]
    begins = np.zeros(frames.max(initial=-1) + 1, np.int64)
    begins[frames[::-1]] = np.arange(len(rows))[::-1]  # of several assignments the last one stays
    turns = begins[frames]
    if order == "score":
        rows = rows[np.lexsort((-detections.scores[rows], turns))]
    elif (np.diff(turns) < 0).any():
        rows = rows[np.argsort(turns, kind="stable")]
    return detections[rows]


def true_positives(truth: LabelledBoxes, detections: LabelledBoxes, iou: float) -> NDArray[np.bool_]:
    """`(N,)` whether each detection is right; the earlier one takes a truth."""
    right = np.zeros(len(detections), bool)
    if not len(truth):
        return right
    classes = 1 + max(int(each.classes.max(initial=0)) for each in (truth, detections))
    keys, wanted = (each.frames * classes + each.classes for each in (truth, detections))
    by_key = np.argsort(keys, kind="stable")
    groups, starts, sizes = np.unique(keys[by_key], return_index=True, return_counts=True)
    place = np.searchsorted(groups, wanted).clip(max=len(groups) - 1)
    able = np.flatnonzero(groups[place] == wanted)
    if not len(able):
        return right
    # One row for each pair of a detection and a truth of its frame and class, detection by detection.
    number, starts = sizes[place[able]], starts[place[able]]
    begins = np.cumsum(number) - number
    pairs = by_key[np.arange(number.sum()) + np.repeat(starts - begins, number)]
    overlap = overlaps(np.repeat(detections.boxes[able], number, axis=0), truth.boxes[pairs])
    most = np.repeat(np.maximum.reduceat(overlap, begins), number)
    hits = np.flatnonzero((overlap == most) & (overlap >= iou))
    owners = np.repeat(able, number)[hits]
    _, once = np.unique(owners, return_index=True)  # of equal overlaps the first truth
    _, earliest = np.unique(pairs[hits[once]], return_index=True)
    right[owners[once[earliest]]] = True
    return right


def overlaps(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intersection over union `(N,)` of each box with the one in its row."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = sides.clip(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def average_precision(scores: NDArray[np.floating], right: NDArray[np.bool_], truths: int) -> float:
    """Of one class: the mean over truths of the best precision at which at least so many are found."""
    places = np.flatnonzero(right[np.argsort(scores)[::-1]]) + 1
    precision = np.arange(1, len(places) + 1) / places
    return float(np.maximum.accumulate(precision[::-1]).sum() / truths)
