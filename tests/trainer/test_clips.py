import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.clips import (
    Key,
    Turns,
    VideoClips,
    class_counts,
    collate,
    hold,
    make_loader,
    sample_weights,
    swapped,
    usual_jitter,
)
from slowfast_hub.trainer.recipe import Recipe
from slowfast_hub.trainer.samples import LabelledVideos, Sample, Span
from slowfast_hub.transforms.train import TrainTransform

SPEC = ClipSpec(frames=8, stride=2, short_side=24, crop=24)


def dataset(samples, *, seed=0, speed=0.2, flip=0.5, **how):
    transform = TrainTransform(SPEC, (24, 32), light=0.2, flip=flip)
    return VideoClips(samples, SPEC, transform, num_classes=3, speed=speed, seed=seed, **how)


def clips(count):
    rng = np.random.default_rng(0)
    return [Sample(rng.integers(0, 256, (40, 30, 40, 3), dtype=np.uint8), (label,), fps=30.0) for label in range(count)]


def turns(count=10, *, batch_size=4, process=0, processes=1, parts=1, seed=0, weights=None):
    return Turns(
        count, batch_size=batch_size, process=process, processes=processes, turns=parts, seed=seed, weights=weights
    )


def test_an_item_depends_on_seed_epoch_and_index_alone():
    first, second = dataset(clips(3)), dataset(clips(3))
    assert torch.equal(first[Key(0, 1)].clip, second[Key(0, 1)].clip)
    assert not torch.equal(first[Key(0, 1)].clip, second[Key(1, 1)].clip)
    assert not torch.equal(first[Key(0, 1)].clip, first[Key(0, 1, again=1)].clip)
    assert not torch.equal(first[Key(0, 1)].clip, dataset(clips(3), seed=1)[Key(0, 1)].clip)


def test_items_are_clips_and_labels():
    item = dataset(clips(3))[Key(0, 2)]
    assert (item.clip.shape, item.clip.dtype, item.target.item()) == ((3, 8, 24, 24), torch.float32, 2)


def test_a_set_of_many_labels_gives_a_number_for_each_class():
    sample = Sample(clips(1)[0].video, (0, 2), fps=30.0)
    assert dataset([sample], multilabel=True)[Key(0, 0)].target.tolist() == [1.0, 0.0, 1.0]
    none = Sample(clips(1)[0].video, (), fps=30.0)
    assert dataset([none], multilabel=True)[Key(0, 0)].target.tolist() == [0.0, 0.0, 0.0]


def test_a_clip_has_the_labels_that_hold_in_it():
    """40 frames at 30 fps: label 0 holds in the first half, label 2 after the end."""
    spans = (Span(0, 0.0, 0.6), Span(2, 5.0, 6.0))
    sample = Sample(clips(1)[0].video, (0, 2), fps=30.0, spans=spans)
    seen = {tuple(dataset([sample], multilabel=True)[Key(epoch, 0)].target.tolist()) for epoch in range(30)}
    assert seen == {(1.0, 0.0, 0.0), (0.0, 0.0, 0.0)}


def test_a_flip_swaps_left_and_right():
    swap = swapped(Recipe("any", swap={"left": "right"}), ("left", "right", "up"))
    assert swap == (1, 0, 2)
    flipped = dataset(clips(3), flip=1.0, swap=swap)
    assert [flipped[Key(0, index)].target.item() for index in range(3)] == [1, 0, 2]
    assert dataset(clips(3), flip=0.0, swap=swap)[Key(0, 0)].target.item() == 0
    with pytest.raises(ValueError, match="'down', which are no classes"):
        swapped(Recipe("any", swap={"up": "down"}), ("left", "right", "up"))


def test_sizes_are_drawn_in_the_proportions_of_the_paper():
    """256 to 320 for 256 px; 224 px clips of the same network 224 to 280. Whole pictures: 56 to 72 for 64 px."""
    assert usual_jitter(ClipSpec(short_side=256, crop=256), 256) == (256, 320)
    assert usual_jitter(ClipSpec(short_side=256, crop=256), 224) == (224, 280)
    assert usual_jitter(ClipSpec(short_side=64, crop=64, fit="contain"), 64) == (56, 72)


def test_a_video_that_cannot_be_read_is_missing_and_named(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    items = [dataset([*clips(1), Sample(bad, (1,))])[Key(3, index)] for index in range(2)]
    batch = collate(items)
    assert len(batch.clips) == len(batch.targets) == 1
    assert [(found.epoch, found.video) for found in batch.skipped] == [(3, str(bad))]
    assert len(collate(items[1:]).clips) == 0


@given(
    st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 3)
)
def test_processes_and_turns_share_each_step_without_repeats(count, batch_size, processes, parts, seed, epoch):
    if min(count, batch_size) < processes * parts:
        with pytest.raises(ValueError, match="cannot be shared"):
            turns(count, batch_size=batch_size, processes=processes, parts=parts)
        return
    alone = turns(count, batch_size=batch_size, seed=seed)
    shared = [
        turns(count, batch_size=batch_size, process=process, processes=processes, parts=parts, seed=seed)
        for process in range(processes)
    ]
    for each in (alone, *shared):
        each.epoch = epoch
    whole, pieces = list(alone), [list(each) for each in shared]
    assert len(whole) == len(alone) == count // min(batch_size, count)
    assert len({key for step in whole for key in step}) == len(whole) * min(batch_size, count)
    for step, keys in enumerate(whole):
        again = [key for piece in pieces for turn in piece[step * parts : (step + 1) * parts] for key in turn]
        assert again == keys


def test_a_run_that_goes_on_sees_the_rest_of_the_epoch():
    whole = list(turns())
    rest = turns()
    rest.first = 1
    assert list(rest) == whole[1:]


def test_rare_classes_are_seen_as_often_with_a_balanced_sampler():
    """30 videos of class 0 and 10 of class 1: a video of class 1 weighs three times as much."""
    samples = tuple(Sample(f"{i}.mp4", (int(i < 10),)) for i in range(40))
    videos = LabelledVideos(("many", "few"), samples)
    counts = class_counts([sample.labels for sample in videos.train], 2)
    assert counts.tolist() == [30, 10]
    weights = sample_weights(videos.train, counts)
    assert float(weights[0] / weights[39]) == pytest.approx(3)
    seen = [key for epoch in range(50) for key in epoch_of(turns(40, batch_size=40, weights=weights), epoch)]
    assert 0.47 < sum(key.place < 10 for key in seen) / len(seen) < 0.53
    assert len(set(seen)) == len(seen)  # a repeated video is drawn anew


def epoch_of(some: Turns, epoch: int) -> list[Key]:
    some.epoch = epoch
    return [key for turn in some for key in turn]


def test_workers_make_the_clips_that_this_process_would_make(counting_video):
    samples = [Sample(counting_video(40, name=f"{i}.mkv"), (i,)) for i in range(3)]
    batches = [
        next(iter(make_loader(dataset(samples), turns(3, batch_size=3), workers, torch.device("cpu"))))
        for workers in (0, 1)
    ]
    assert torch.equal(batches[0].clips, batches[1].clips)
    assert batches[0].clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_videos_held_in_memory_keep_their_rate_and_the_times_of_labels(counting_video):
    held = hold(Sample(counting_video(20, fps=25), (0,), start_s=0.4, spans=(Span(0, 0.4, 0.6),)), 1000)
    assert held.fps == 25
    assert held.video[:, 0, 0, 0].tolist() == list(range(10, 20))
    (span,) = held.spans
    assert (span.start_s, span.end_s) == (pytest.approx(0.0), pytest.approx(0.2))
    assert held.name.endswith(".mkv [0.4 s to its end]")  # of the file
    assert hold(Sample(counting_video(2), (0,)), 32).video.shape == (2, 24, 32, 3)


def test_a_video_that_cannot_be_read_stays_a_file(tmp_path):
    sample = Sample(tmp_path / "none.mp4", (0,))
    assert hold(sample, 100) is sample
