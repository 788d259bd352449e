"""The split: what must hold for any set, and figures to check by hand."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.trainer.formats.split import split, with_split
from slowfast_hub.trainer.samples import LabelledVideos, Sample

SETS = st.lists(
    st.builds(
        lambda video, labels, group: Sample(Path(f"{video}.mp4"), tuple(sorted(labels)), group),
        st.integers(0, 60),
        st.frozensets(st.integers(0, 3), max_size=2),
        st.sampled_from(["", "", "ann", "bob", "cy", "dee"]),
    ),
    min_size=1,
    max_size=60,
)


def sides(sample: Sample) -> str:
    return sample.group or str(sample.video)


@given(SETS, st.floats(0.05, 0.5), st.integers(0, 9))
def test_every_video_is_on_one_side_and_no_group_on_both(samples, share, seed):
    train, val = split(samples, share, seed)
    assert Counter(map(id, (*train, *val))) == Counter(map(id, samples))
    assert not {sides(sample) for sample in train} & {sides(sample) for sample in val}
    trained = {label for sample in train for label in sample.labels}
    assert {label for sample in samples for label in sample.labels} == trained
    assert split(samples, share, seed) == (train, val)


@given(st.lists(st.integers(10, 40), min_size=1, max_size=5), st.sampled_from([0.1, 0.2, 0.3, 0.5]), st.integers(0, 9))
def test_the_whole_has_its_share_within_one_video_and_each_class_within_a_few(counts, share, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    samples = [Sample(Path(f"{number}.mp4"), (label,)) for number, label in enumerate(labels)]
    _, val = split(samples, share, seed)
    taken = Counter(sample.labels[0] for sample in val)
    assert abs(len(val) - share * len(labels)) <= 1
    assert all(abs(taken[label] - share * count) <= 3 for label, count in enumerate(counts))


def test_of_ten_classes_of_two_videos_a_fifth_is_taken_each_of_another_class():
    samples = [Sample(Path(f"{number}.mp4"), (number // 2,)) for number in range(20)]
    _, val = split(samples, 0.2, 0)
    assert len(val) == 4
    assert len({sample.labels for sample in val}) == 4


def test_another_seed_is_another_split():
    samples = [Sample(Path(f"{number}.mp4"), (number % 2,)) for number in range(40)]
    assert split(samples, 0.25, 0) != split(samples, 0.25, 1)


def test_parts_of_one_video_stay_together():
    samples = [Sample(Path(f"{number // 4}.mp4"), (0,), start_s=float(number)) for number in range(40)]
    train, val = split(samples, 0.2, 0)
    assert (len(train), len(val)) == (32, 8)
    assert not {sample.video for sample in train} & {sample.video for sample in val}


def test_what_cannot_be_split_says_what_to_do_and_a_class_without_validation_is_named():
    one_each = LabelledVideos(("run", "sit"), (Sample(Path("a.mp4"), (0,)), Sample(Path("b.mp4"), (1,))))
    with pytest.raises(ValueError, match=r"no validation part of 0\.5 can be taken from 2 videos: each class"):
        with_split(one_each, 0.5, 0)
    more = LabelledVideos(("run", "sit"), (*one_each.train, *(Sample(Path(f"{n}.mp4"), (0,)) for n in range(9))))
    assert with_split(more, 0.2, 0).notes[-1] == "no validation video: sit"
