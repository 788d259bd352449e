"""Boxes: x1, y1, x2, y2, from the top left corner of a picture; in its pixels, or normalised to 0..1 by its sides.

What may be wrong with a box, everywhere in this package: NaN, reversed sides (x, y, width, height is a common reason),
sides without length, and a place wholly outside of the picture are errors. A box that lies partly outside is cut to the
picture, as in PySlowFast (ava_dataset.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from slowfast_hub.spec import one_of

Unit = Literal["px", "normalised"]
UNITS = ("px", "normalised")

# A side of two pixels is no person, and a normalised place of 2 lies a whole picture outside.
MOST_NORMALISED = 2.0
MOST_PEOPLE = 1000  # at one moment: whoever follows and cuts them makes tables of all pairs


def unit_of(boxes: Tensor) -> Unit:
    """Whether boxes `(N, 4)` are normalised or in pixels, by their largest value; of none "normalised"."""
    return "px" if len(boxes) and float(boxes.abs().max()) > MOST_NORMALISED else "normalised"


def check_boxes(boxes: Tensor, *, unit: Unit = "normalised", where: Sequence[str] = ()) -> None:
    """ValueError that names the first of boxes `(N, 4)` that is none. where: what to call each of them."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes are (N, 4): x1, y1, x2, y2; got {tuple(boxes.shape)}")
    problems = {
        "is not finite": ~boxes.isfinite().all(1),
        "is reversed: x2 and y2 must lie right of and below x1 and y1 (is it x, y, width, height?)": (
            boxes[:, 2:] < boxes[:, :2]
        ).any(1),
        "is empty": (boxes[:, 2:] == boxes[:, :2]).any(1),
    }
    for problem, bad in problems.items():
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            name = where[first] if where else f"box {first}"
            raise ValueError(f"{name} {problem}; got {[round(value, 4) for value in boxes[first].tolist()]} ({unit})")


def in_pixels(boxes: Tensor, *, width: int, height: int, unit: Unit | None = None, where: Sequence[str] = ()) -> Tensor:
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
        name = where[first] if where else f"box {first}"
        raise ValueError(
            f"{name} lies outside of the picture of {width} x {height} px; "
            f"got {[round(value, 2) for value in boxes[first].tolist()]} px"
        )
    return cut


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union `(N, M)` of boxes `(N, 4)` and `(M, 4)` in one unit."""
    from torchvision.ops import box_iou

    return box_iou(first, second)
