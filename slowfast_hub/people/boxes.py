"""Boxes: x1, y1, x2, y2, from the top left corner of a picture; in its pixels, or normalised to 0..1 by its sides.

What may be wrong with a box, everywhere in this package: NaN, reversed sides (x, y, width, height is a common reason),
sides without length, or of less than a pixel among pixels, and a place wholly outside of the picture are errors. A box
that lies partly outside is cut to the picture, as in PySlowFast (ava_dataset.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from slowfast_hub.spec import one_of

Box = tuple[float, float, float, float]  # x1, y1, x2, y2
Unit = Literal["px", "normalised"]
UNITS = ("px", "normalised")

# A side of two pixels is no person, and a normalised place of 2 lies a whole picture outside.
MOST_NORMALISED = 2.0
PERSON_SCORE = 0.8  # the least of a person that a detector found: section 5 of the paper
MOST_PEOPLE = 1000  # at one moment: whoever follows and cuts them makes tables of all pairs


def unit_of(boxes: Tensor) -> Unit:
    """Whether boxes `(N, 4)` are normalised or in pixels, by their largest value; of none "normalised"."""
    return "px" if len(boxes) and float(boxes.abs().max()) > MOST_NORMALISED else "normalised"


def problems_of(boxes: Tensor, unit: Unit = "normalised") -> dict[str, Tensor]:
    """What boxes `(N, 4)` have wrong, and which of them, `(N,)` bool: each box has one problem at most."""
    sides = boxes[:, 2:] - boxes[:, :2]
    finite = boxes.isfinite().all(1)
    reversed_ = finite & (sides < 0).any(1)
    small = (sides > 0).all(1) & (sides < 1).all(1)
    return {
        "is not finite": ~finite,
        "is reversed: x2 and y2 must lie right of and below x1 and y1 (is it x, y, width, height?)": reversed_,
        "is empty": finite & ~reversed_ & (sides == 0).any(1),
        "is smaller than a pixel: is it normalised, among boxes in pixels?": small & finite & (unit == "px"),
    }


def check_boxes(boxes: Tensor, *, unit: Unit = "normalised", where: Callable[[int], str] = "box {}".format) -> None:
    """ValueError that names the first of boxes `(N, 4)` that is none. where: what to call a box of that number."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes are (N, 4): x1, y1, x2, y2; got {tuple(boxes.shape)}")
    for problem, bad in problems_of(boxes, unit).items():
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            sides = [round(value, 4) for value in boxes[first].tolist()]
            raise ValueError(f"{where(first)} {problem}; got {sides} ({unit})")


def in_pixels(
    boxes: Tensor,
    *,
    width: int,
    height: int,
    unit: Unit | None = None,
    where: Callable[[int], str] = "box {}".format,
) -> Tensor:
    """Boxes `(N, 4)` float32 in pixels of a picture of `width` x `height`, cut to it.

    unit: None finds out with `unit_of`. ValueError as `check_boxes`, for a box wholly outside of the picture, and for
    more than MOST_PEOPLE.
    """
    if unit is not None:
        one_of("unit", unit, UNITS)
    if len(boxes) > MOST_PEOPLE:
        raise ValueError(f"{len(boxes)} boxes at one moment; at most {MOST_PEOPLE} are taken")
    unit = unit or unit_of(boxes)
    check_boxes(boxes, unit=unit, where=where)
    sides = boxes.new_tensor([width, height, width, height])
    boxes = boxes * sides if unit == "normalised" else boxes
    cut = boxes.clamp(min=0).minimum(sides)
    outside = (cut[:, 2:] <= cut[:, :2]).any(1)
    if bool(outside.any()):
        first = int(outside.nonzero()[0])
        raise ValueError(
            f"{where(first)} lies outside of the picture of {width} x {height} px; "
            f"got {[round(value, 2) for value in boxes[first].tolist()]} px"
        )
    return cut


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union `(N, M)` of boxes `(N, 4)` and `(M, 4)` in one unit."""
    from torchvision.ops import box_iou

    return box_iou(first, second)
