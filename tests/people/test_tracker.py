"""Who is who from moment to moment."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast_hub.people.tracker import Tracker


def box(x: float, y: float = 0.0, side: float = 10.0) -> list[float]:
    return [x, y, x + side, y + side]


def boxes(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).reshape(-1, 4)


def test_people_keep_their_ids_while_they_move_and_whatever_their_order():
    tracker = Tracker()
    assert tracker(boxes(box(0), box(50))).tolist() == [0, 1]
    assert tracker(boxes(box(52), box(2))).tolist() == [1, 0]
    assert tracker(boxes(box(4), box(54), box(100))).tolist() == [0, 1, 2]


def test_a_step_of_half_a_box_is_followed_at_a_third_and_not_at_a_half():
    """Boxes of 10 px moved by 5 share 5 of 15 px: IoU 1/3."""
    for least, expected in ((0.3, [0]), (0.5, [1])):
        tracker = Tracker(iou=least)
        tracker(boxes(box(0)))
        assert tracker(boxes(box(5))).tolist() == expected


def test_the_larger_overlap_wins():
    tracker = Tracker(iou=0.1)
    tracker(boxes(box(0), box(6)))
    assert tracker(boxes(box(5))).tolist() == [1]


@pytest.mark.parametrize(("missed", "expected"), [(0, 0), (2, 0), (3, 1)])
def test_a_track_survives_as_many_missed_moments_as_patience_says(missed, expected):
    tracker = Tracker(patience=2)
    tracker(boxes(box(0)))
    for _ in range(missed):
        assert tracker(boxes()).tolist() == []
    assert tracker(boxes(box(1))).tolist() == [expected]


def test_patience_begins_anew_when_somebody_was_seen():
    tracker = Tracker(patience=1)
    for seen in ([box(0)], [], [box(1)], [], [box(2)]):
        ids = tracker(boxes(*seen))
    assert ids.tolist() == [0]


@pytest.mark.parametrize("wrong", [{"iou": 0}, {"iou": 1.1}, {"iou": float("nan")}, {"patience": -1}])
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tracker(**wrong)


def test_reversed_boxes_are_refused():
    with pytest.raises(ValueError, match="reversed"):
        Tracker()(boxes([10.0, 0, 0, 10]))


places = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(places, max_size=6))
def test_ids_of_a_moment_are_distinct_and_new_ones_count_up(moments):
    tracker, known = Tracker(), 0
    for moment in moments:
        ids = tracker(boxes(*(box(x, y, side) for x, y, side in moment))).tolist()
        assert len({*ids}) == len(ids) == len(moment)
        new = [each for each in ids if each >= known]
        assert new == list(range(known, known + len(new)))
        known += len(new)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True), st.integers(1, 5), st.randoms())
def test_people_who_stand_still_far_apart_are_the_same_for_ever(at, moments, random):
    people = [box(20.0 * place) for place in at]
    tracker = Tracker(iou=1.0, patience=0)
    first = dict(zip(map(tuple, people), tracker(boxes(*people)).tolist()))
    for _ in range(moments):
        random.shuffle(people)
        assert tracker(boxes(*people)).tolist() == [first[tuple(each)] for each in people]


@settings(max_examples=60, deadline=None)
@given(st.lists(places, max_size=4), st.sampled_from([1 / 64, 2.0, 32.0]))  # exact, so that ties stay ties
def test_the_unit_of_boxes_changes_nothing(moments, scale):
    one, other = Tracker(), Tracker()
    for moment in moments:
        here = boxes(*(box(x, y, side) for x, y, side in moment))
        assert one(here).tolist() == other(here * scale).tolist()
