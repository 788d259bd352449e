"""People on pictures: boxes where they are, plates inside the picture and off each other, times between moments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import levels, write_counting, write_video

from slowfast_hub.apps.draw import (
    Captioned,
    between,
    captioned,
    draw_moment,
    draw_people,
    overlap,
    place,
    plate_of,
    write_annotated,
)
from slowfast_hub.spec import Detection, VideoInfo
from slowfast_hub.video.reader import open_video, read_frames

ORANGE = [0xF5, 0xB3, 0x24]  # of person 0
INFO = VideoInfo("a.mkv", frames=50, fps=25, width=64, height=48)


def detection(at_s: float, people: dict[int, tuple[float, ...]], score: float = 0.9) -> Detection:
    """People by id; all of them walk with `score` and sit with the rest."""
    count = len(people)
    boxes = torch.tensor(list(people.values())).reshape(count, 4).float()
    probs = torch.tensor([[score, 1 - score]] * count).reshape(count, 2)
    return Detection(at_s, boxes, probs, torch.ones(count), torch.tensor([*people]), ("walk", "sit"), INFO, "tiny")


def test_a_box_is_drawn_where_it_is_and_the_picture_given_stays_as_it_was():
    picture = torch.zeros(240, 320, 3, dtype=torch.uint8)
    drawn = draw_people(picture, [Captioned((100, 120, 140, 220), 0, "#0", ())])
    assert drawn.shape == (240, 320, 3)
    assert drawn.dtype == torch.uint8
    coloured = (drawn == torch.tensor(ORANGE)).all(-1)
    for row, column in ((120, 120), (220, 120), (170, 100), (170, 140)):  # the middles of its sides
        assert coloured[row, column]
    assert not drawn[123:218, 103:138].any()  # within
    assert not drawn[150:, 143:].any()  # beyond
    assert not picture.any()


def test_nobody_leaves_the_picture_as_it_is():
    picture = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8)
    assert torch.equal(draw_people(picture, []), picture)


@pytest.mark.parametrize(("height", "letters"), [(2160, 54), (1080, 27), (240, 11), (48, 11)])
def test_letters_are_a_fortieth_of_the_height_and_never_too_small(height, letters):
    """Two more actions make a plate higher by two lines, and a line is 1.3 to 1.7 times what letters are."""
    actions = (("walk", 0.9), ("sit", 0.5), ("run", 0.2))
    one, three = (plate_of(0, "#0", actions[:count], (1920, height)).height for count in (1, 3))
    assert 1.2 < (three - one) / 2 / letters < 1.7


def test_labels_that_are_too_long_are_cut_and_their_scores_stay():
    short, long = (plate_of(0, "#0", ((label, 0.5),), (320, 240)) for label in ("walk", "talk to a group " * 1000))
    assert short.width < long.width <= 320
    assert short.height == long.height
    score = np.asarray(plate_of(0, "#0", (("", 0.5),), (320, 240)))  # "#0  0.50"
    assert np.array_equal(np.asarray(long)[:, -20:], score[:, -20:])


def test_more_actions_than_fit_into_a_picture_are_left_out():
    assert plate_of(0, "#0", tuple((f"action {k}", 0.5) for k in range(400)), (320, 240)).height <= 240


def test_a_crowd_has_all_its_boxes():
    """1000 people in a table must not take minutes; their plates would hide them anyway."""
    people = [Captioned((x, 200, x + 5, 220), 0, "#0", (("walk", 0.5),)) for x in range(0, 1000)]
    drawn = draw_people(torch.zeros(240, 1200, 3, dtype=torch.uint8), people)
    assert (drawn[220, 200:1000] == torch.tensor(ORANGE)).all()  # right of the plates


def test_line_breaks_and_other_alphabets_in_labels_draw_one_line():
    one = plate_of(3, "#3", (("walk", 0.5),), (320, 240))
    assert plate_of(3, "#3", (("w\n\n\tk\u4e2d\x00", 0.5),), (320, 240)).height == one.height


def test_a_plate_stands_above_its_box_where_there_is_room():
    assert place((100, 100, 140, 200), (60, 20), [], [], (320, 240)) == (100, 80, 160, 100)


def test_a_plate_at_the_upper_edge_goes_below_rather_than_over_a_face():
    box = (100, 5, 180, 200)
    assert place(box, (60, 20), [], [box], (320, 240)) == (100, 200, 160, 220)


def test_plates_of_people_side_by_side_do_not_overlap():
    first = place((100, 100, 140, 200), (60, 20), [], [], (320, 240))
    second = place((110, 100, 150, 200), (60, 20), [first], [], (320, 240))
    assert overlap(first, second) == 0


sides = st.integers(0, 300)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(sides, sides, st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=9))
def test_plates_are_always_inside_the_picture(people):
    boxes = [(float(x), float(y), float(x + wide), float(y + high)) for x, y, wide, high in people]
    plates = []
    for box in boxes:
        plates.append(place(box, (90, 30), plates, boxes, (400, 400)))
        x1, y1, x2, y2 = plates[-1]
        assert 0 <= x1 < x2 < 400
        assert 0 <= y1 < y2 < 400
        assert (x2 - x1, y2 - y1) == (90, 30)
    if len(boxes) <= 4:  # there is room for all of them
        assert not any(overlap(one, other) for one in plates for other in plates if one is not other)


def shown(moments, times_s, *, held_s=1.0, score=0.0):
    return [*between(moments, times_s, held_s=held_s, top_k=2, score=score)]


def test_boxes_move_on_a_straight_line_between_two_moments():
    moments = [detection(0, {7: (0, 0, 10, 10)}), detection(1, {7: (20, 10, 40, 30)})]
    boxes = [people[0].box for people in shown(moments, [0.0, 0.25, 0.5, 1.0])]
    assert boxes == [(0, 0, 10, 10), (5, 2.5, 17.5, 15), (10, 5, 25, 20), (20, 10, 40, 30)]


def test_the_nearer_moment_says_who_is_there_and_what_they_do():
    moments = [detection(0, {1: (0, 0, 9, 9)}), detection(1, {1: (0, 0, 9, 9), 2: (20, 0, 30, 9)}, score=0.3)]
    early, late = shown(moments, [0.4, 0.6])
    assert [person.person for person in early] == [1]
    assert [person.person for person in late] == [1, 2]
    assert late[1].box == (20, 0, 30, 9)
    assert [early[0].actions[0][0], late[0].actions[0][0]] == ["walk", "sit"]


def test_a_moment_is_held_no_longer_than_it_says():
    people = shown([detection(1, {0: (0, 0, 9, 9)})], [0.4, 0.5, 1.5, 1.6], held_s=0.5)
    assert [len(each) for each in people] == [0, 1, 1, 0]


def test_moments_far_apart_are_held_and_not_joined():
    moments = [detection(0, {0: (0, 0, 10, 10)}), detection(10, {0: (90, 0, 100, 10)})]
    assert [len(each) for each in shown(moments, [0.5, 5.0, 9.5])] == [1, 0, 1]
    assert shown(moments, [0.5])[0][0].box == (0, 0, 10, 10)


def test_moments_are_asked_for_when_their_time_comes_and_all_of_them_in_the_end():
    asked = []

    def moments():
        for at_s in range(5):
            asked.append(at_s)
            yield detection(at_s, {})

    coming = between(moments(), [0.0, 1.0], held_s=1, top_k=1, score=0)
    next(coming)
    assert asked == [0, 1]
    assert [*coming] == [[]]
    assert asked == [0, 1, 2, 3, 4]


def test_actions_below_the_score_are_left_out():
    (person,) = captioned(detection(0, {4: (1, 2, 3, 4)}, score=0.75), top_k=2, score=0.5)
    assert person == Captioned((1, 2, 3, 4), 4, "#4", (("walk", 0.75),))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65)])
def test_an_annotated_video_has_the_frames_and_times_of_the_video(tmp_path, height, width):
    source = write_counting(tmp_path / "a.mkv", 50, height=height, width=width)
    moments = [detection(at_s, {0: (0, 0, 9, 9)}) for at_s in (0.5, 1.5)]
    write_annotated(source, moments, tmp_path / "out.mp4", held_s=0.75)
    made = open_video(tmp_path / "out.mp4")
    assert (made.info.frames, made.info.fps, made.info.height, made.info.width) == (50, 25, 48, 64)
    frames = read_frames(made, torch.tensor([10, 40]))
    assert levels(frames[:, 40:, 50:]) == pytest.approx([10, 40], abs=2)
    assert frames[:, 9, :9].float().mean(1)[:, 0].min() > 120  # the lower side of the box, orange


def test_a_video_that_begins_before_zero_or_late_is_drawn_too(tmp_path):
    for first in (-10, 25):
        source = write_video(tmp_path / "a.mkv", [np.zeros((48, 64, 3), np.uint8)] * 30, times=range(first, first + 30))
        write_annotated(source, [], tmp_path / f"{first}.mp4", held_s=1)
        assert open_video(tmp_path / f"{first}.mp4").info.frames == 30


def test_a_failure_leaves_no_file(tmp_path):
    def moments():
        yield detection(0, {})
        raise ValueError("out of people")

    source = write_counting(tmp_path / "a.mkv", 10)
    with pytest.raises(ValueError, match="out of people"):
        write_annotated(source, moments(), tmp_path / "out.mp4", held_s=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


def test_a_moment_is_drawn_on_the_picture_shown_then(tmp_path):
    from PIL import Image

    source = write_counting(tmp_path / "a.mkv", 50, height=240, width=320)
    draw_moment(source, detection(1.0, {0: (100, 100, 140, 200)}), tmp_path / "out.png")
    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    assert drawn.shape == (240, 320, 3)
    assert drawn[-1, -1].tolist() == [25] * 3
    assert drawn[150, 140].tolist() == ORANGE


def test_people_whose_names_are_known_are_drawn_with_them():
    (person,) = captioned(replace(detection(0.0, {4: (1, 2, 3, 4)}), names=("eve",)), top_k=1, score=0.0)
    assert (person.person, person.called) == (4, "eve")


def test_boxes_move_all_the_way_between_moments_that_belong_together():
    """Moments 2 s apart with held_s=1: at a quarter of the way the box is there; further apart it would stand still."""
    moments = [detection(0, {0: (0, 0, 10, 10)}), detection(2, {0: (8, 0, 18, 10)})]
    (people,) = shown(moments, [0.5], held_s=1.0)
    assert people[0].box == (2, 0, 12, 10)
    assert shown([moments[0], detection(9, {0: (8, 0, 18, 10)})], [0.5, 4.0], held_s=1.0) == [
        [Captioned((0, 0, 10, 10), 0, "#0", people[0].actions)],
        [],
    ]
