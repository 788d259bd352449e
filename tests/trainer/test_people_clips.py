import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.clips import Key, collate
from slowfast_hub.trainer.keyframes import KeyFrame, LabelledPeople, Person
from slowfast_hub.trainer.people_clips import PeopleClips, held, people_set, training_frames, with_found
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.transforms.train import TrainTransform

SPEC = ClipSpec(frames=8, stride=2, short_side=24, crop=24, mean=(0, 0, 0), std=(1 / 255,) * 3)
LEFT, RIGHT = Person((0.0, 0.0, 0.5, 1.0), (0,)), Person((0.5, 0.0, 1.0, 1.0), (1, 2))


def numbered(frames: int = 60, height: int = 24, width: int = 24) -> np.ndarray:
    """Every pixel is the number of its frame."""
    return np.arange(frames, dtype=np.uint8)[:, None, None, None].repeat(height, 1).repeat(width, 2).repeat(3, 3)


def key_frame(*people: Person, at_s: float = 1.0, width: int = 24, **fields) -> KeyFrame:
    return KeyFrame(numbered(width=width), at_s, people or (LEFT, RIGHT), fps=30.0, **fields)


def clips(*frames: KeyFrame, flip: float = 0.0, jitter: tuple[int, int] = (24, 24), **how) -> PeopleClips:
    return PeopleClips(frames, SPEC, TrainTransform(SPEC, jitter, flip=flip), num_classes=3, **how)


def test_a_clip_lies_around_its_key_frame_and_each_person_is_a_row():
    """At 30 fps second 1 is frame 30, with three frames after it and four before, two apart."""
    item = clips(key_frame())[Key(0, 0)]
    assert item.clip[0, :, 0, 0].round().tolist() == [22, 24, 26, 28, 30, 32, 34, 36]
    assert item.boxes.tolist() == [[0, 0, 12, 24], [12, 0, 24, 24]]
    assert item.target.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_a_flip_turns_boxes_and_swaps_labels():
    item = clips(key_frame(), flip=1.0, swap=(1, 0, 2))[Key(0, 0)]
    assert item.boxes.tolist() == [[12, 0, 24, 24], [0, 0, 12, 24]]
    assert item.target.tolist() == [[0, 1, 0], [1, 0, 1]]


def test_of_the_people_those_that_the_crop_shows_are_learnt_from():
    """A picture three times as wide as its crop, people at its ends: never both of them, and sometimes neither."""
    people = (Person((0.0, 0.0, 0.2, 1.0), (0,)), Person((0.8, 0.0, 1.0, 1.0), (1,)))
    items = [clips(key_frame(*people, width=72))[Key(epoch, 0)] for epoch in range(40)]
    rows = [item.target.tolist() for item in items]
    assert {len(each) for each in rows} == {0, 1}
    assert {tuple(each[0]) for each in rows if each} == {(1, 0, 0), (0, 1, 0)}
    assert all(item.skipped is None and (item.clip is None) == (len(item.target) == 0) for item in items)
    batch = collate([item for item in items if item.clip is None])
    assert (len(batch.clips), batch.skipped) == (0, [])


def test_a_batch_counts_its_clips_in_the_first_column_of_its_boxes():
    batch = collate([clips(key_frame(LEFT), key_frame(), key_frame(RIGHT))[Key(0, place)] for place in range(3)])
    assert batch.clips.shape == (3, 3, 8, 24, 24)
    assert batch.rois.tolist() == [[0, 0, 0, 12, 24], [1, 0, 0, 12, 24], [1, 12, 0, 24, 24], [2, 12, 0, 24, 24]]
    assert batch.targets.argmax(1).tolist() == [0, 0, 1, 1]


def test_a_moment_or_a_box_outside_of_the_video_is_left_out_with_the_reason():
    late, beside = key_frame(at_s=2.5), key_frame(Person((40.0, 0.0, 50.0, 20.0), (0,)), unit="px")
    skipped = [clips(late, beside)[Key(0, place)].skipped for place in range(2)]
    assert "at_s must be in [0.000, 2.000)" in skipped[0].reason
    assert skipped[0].video == "ndarray at 2.5 s"
    assert "lies outside of the picture of 24 x 24 px" in skipped[1].reason


@given(st.integers(0, 100))
def test_jitter_moves_each_side_by_at_most_its_share_of_the_box(epoch):
    """A box of 12 x 6 px moves by up to 1.2 and 0.6 px."""
    box = torch.tensor([6.0, 9.0, 18.0, 15.0])
    person = Person(tuple((box / 24).tolist()), (0,))
    (moved,) = clips(key_frame(person), box_jitter=0.1)[Key(epoch, 0)].boxes
    assert ((moved - box).abs() <= torch.tensor([1.2, 0.6, 1.2, 0.6]) + 1e-4).all()
    assert not torch.equal(moved, box)


def test_found_boxes_that_overlap_a_drawn_one_by_more_than_nine_tenths_have_its_labels():
    """Boxes as high as LEFT and RIGHT but for 5, 15 and 5 per cent: IoU 0.95, 0.85 and 0.95, the last of low score."""
    found = (
        Person((0.5, 0.0, 1.0, 0.95), score=0.9),
        Person((0.0, 0.0, 0.5, 0.85), score=0.9),
        Person((0.0, 0.0, 0.5, 0.95), score=0.7),
    )
    frame = with_found(key_frame(found=found), least_iou=0.9, least_score=0.8)
    assert frame.people == (LEFT, RIGHT, Person((0.5, 0.0, 1.0, 0.95), (1, 2), 0.9))
    people = LabelledPeople(
        ("a", "b", "c"), (key_frame(found=found), key_frame(found=()), KeyFrame(numbered(), 1.0, ()))
    )
    assert [len(each.people) for each in training_frames(Recipe("any"), people)] == [2, 2]
    more = training_frames(Recipe("any", found_iou=0.8, found_score=0.5), people)
    assert [len(each.people) for each in more] == [5, 2]


def test_videos_held_in_memory_are_decoded_once_and_keep_their_moments_and_boxes(counting_video):
    path = counting_video(60)
    info = KeyFrame(path, 0.0, ()).open().info
    box = (0.0, 0.0, info.width / 2, info.height)
    one, other = (KeyFrame(path, at_s, (Person(box, (0,)),), (Person(box),), "px") for at_s in (0.5, 1.0))
    held_one, held_other = held([one, other], longest=info.width // 2)
    assert held_one.video is held_other.video
    assert (len(held_one.video), held_one.video.shape[2]) == (60, info.width // 2)
    assert held_one.people[0].box == (0.0, 0.0, 0.5, 1.0)
    assert held_one.found is None  # or it would be in pixels beside people that are not
    items = [clips(one)[Key(0, 0)], clips(held_one)[Key(0, 0)]]
    assert items[0].boxes.tolist() == items[1].boxes.tolist()
    assert torch.allclose(items[0].clip.mean((0, 2, 3)), items[1].clip.mean((0, 2, 3)), atol=2)
    (late,) = held([KeyFrame(path, 9.0, (Person(box, (0,)),), unit="px")], longest=info.width)
    skipped = clips(late)[Key(0, 0)].skipped
    assert skipped.video == f"{path} at 9 s"
    assert skipped.reason.startswith(f"{path} at 9 s: at_s must be in")


def test_the_recipe_says_how_clips_are_made():
    people = LabelledPeople(("a", "b", "c"), (key_frame(),))
    made = people_set(Recipe("any", box_jitter=0.2, swap={"a": "b"}, hold=12), people, SPEC)
    assert (made.box_jitter, made.swap, made.multilabel) == (0.2, (1, 0, 2), True)
    assert made.samples[0].video.shape == (60, 12, 12, 3)
