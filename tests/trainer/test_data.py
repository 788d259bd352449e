import numpy as np
import pytest
import torch

from slowfast_hub.spec import ClipSpec
from slowfast_hub.trainer.data import ClipDataset, Sample, hold_in_memory, read_folder
from slowfast_hub.transforms.train import TrainTransform

SPEC = ClipSpec(frames=8, stride=2, short_side=24, crop=24)


def dataset(samples, *, seed=0, speed=0.2):
    return ClipDataset(samples, SPEC, TrainTransform(SPEC, (24, 32), light=0.2), speed=speed, seed=seed)


def clips(count):
    rng = np.random.default_rng(0)
    return [Sample(rng.integers(0, 256, (40, 30, 40, 3), dtype=np.uint8), label, fps=30.0) for label in range(count)]


def test_a_folder_per_class_gives_labels_in_alphabetical_order(tmp_path):
    for name in ("walk", "bend"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"ann_{name}.mp4").touch()
        (tmp_path / name / "notes.txt").touch()
    samples, classes = read_folder(tmp_path, group=lambda path: path.stem.partition("_")[0])
    assert classes == ["bend", "walk"]
    assert [(s.label, s.group, s.video.name) for s in samples] == [
        (0, "ann", "ann_bend.mp4"),
        (1, "ann", "ann_walk.mp4"),
    ]


def test_a_folder_without_videos_says_what_was_expected(tmp_path):
    (tmp_path / "walk").mkdir()
    with pytest.raises(ValueError, match="<class>/<video>"):
        read_folder(tmp_path)


def test_an_item_depends_on_seed_epoch_and_index_alone():
    first, second = dataset(clips(3)), dataset(clips(3))
    assert torch.equal(first[1][0], second[1][0])
    second.epoch = 1
    assert not torch.equal(first[1][0], second[1][0])
    assert not torch.equal(first[1][0], dataset(clips(3), seed=1)[1][0])


def test_items_are_clips_and_labels():
    clip, label = dataset(clips(3))[2]
    assert (clip.shape, clip.dtype, label) == ((3, 8, 24, 24), torch.float32, 2)


def test_videos_held_in_memory_keep_their_rate(counting_video):
    (held,) = hold_in_memory([Sample(counting_video(20, fps=25), 0)])
    assert held.fps == 25
    assert held.video.shape[0] == 20
    assert held.video[:, 0, 0, 0].tolist() == list(range(20))
