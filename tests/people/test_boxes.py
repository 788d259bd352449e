"""What a box may be: one rule, for whoever refuses the first that is none and for whoever counts them."""

import math

import pytest
import torch

from slowfast_hub.people.boxes import check_boxes, in_pixels, problems_of

GOOD, NAN, INFINITE = [0.0, 0.0, 1.0, 1.0], [math.nan, 0.0, 1.0, 1.0], [0.0, -math.inf, 1.0, 1.0]
REVERSED, EMPTY, BOTH = [0.5, 0.0, 0.2, 1.0], [0.5, 0.0, 0.5, 1.0], [0.5, 0.5, 0.2, 0.5]


def test_each_box_has_one_problem_at_most():
    found = problems_of(torch.tensor([GOOD, NAN, INFINITE, REVERSED, EMPTY, BOTH]))
    assert {problem.split(":")[0]: bad.nonzero().flatten().tolist() for problem, bad in found.items()} == {
        "is not finite": [1, 2],
        "is reversed": [3, 5],
        "is empty": [4],
        "is smaller than a pixel": [],
    }


def test_among_pixels_a_box_smaller_than_one_is_none():
    boxes = torch.tensor([[8.0, 8, 40, 90], [0.1, 0.2, 0.5, 1.0], [3, 3, 5, 5], [3, 3, 3.5, 9]])
    with pytest.raises(ValueError, match=r"^box 1 is smaller than a pixel: is it normalised, among boxes in pixels\?"):
        in_pixels(boxes, width=99, height=99)
    in_pixels(boxes[2:], width=99, height=99, unit="px")
    check_boxes(boxes[1:2])


@pytest.mark.parametrize("box", [NAN, REVERSED, EMPTY])
def test_the_first_that_is_none_is_called_what_its_source_calls_it(box):
    boxes = torch.tensor([GOOD, box, box])
    for check in (check_boxes, lambda boxes, **how: in_pixels(boxes, width=4, height=4, **how)):
        with pytest.raises(ValueError, match=r"^box 1 is "):
            check(boxes)
        with pytest.raises(ValueError, match=r"^boxes.csv:3 is "):
            check(boxes, where=lambda number: f"boxes.csv:{number + 2}")


def test_a_box_outside_of_the_picture_is_called_so_too():
    with pytest.raises(ValueError, match=r"^boxes.csv:2 lies outside of the picture of 4 x 4 px"):
        in_pixels(torch.tensor([[5.0, 0, 9, 4]]), width=4, height=4, where=lambda number: f"boxes.csv:{number + 2}")
