"""Clips whose class is only in their motion: what can be known from one frame, and what from two."""

from math import cos, pi

import pytest
import torch
from torch import Tensor

from slowfast_hub.trainer.motion import MOTIONS, SIZE, X, Y, motion_set, motion_videos, move

CHANCE = 1 / 12


def accuracy(features: Tensor, labels: Tensor, classifier: object) -> float:
    """Of the last third, after training on the rest."""
    cut = 2 * len(labels) // 3
    return classifier.fit(features[:cut], labels[:cut]).score(features[cut:], labels[cut:])


@pytest.fixture(scope="module")
def clips() -> tuple[Tensor, Tensor]:
    return motion_set(1800, seed=7)


@pytest.fixture(params=["nearest", "logistic"])
def classifier(request: pytest.FixtureRequest) -> object:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5) if request.param == "nearest" else LogisticRegression(C=1e-2, max_iter=1000)


def views_of_a_frame(frames: Tensor) -> Tensor:
    """What lies in a frame and does not depend on its place: a spectrum, colours and contrast. (N, features)."""
    light = frames.float().mean(-1) / 255
    spectrum = torch.fft.rfft2(light).abs()[:, :6, :6].flatten(1).log1p()
    return torch.cat([spectrum, light.std((1, 2))[:, None], frames.float().mean((1, 2)) / 255], 1)


@pytest.mark.parametrize("moment", [0, 16, 31])
def test_a_single_frame_says_nothing(clips: tuple[Tensor, Tensor], classifier: object, moment: int):
    frames = clips[0][:, moment]
    pixels = torch.nn.functional.avg_pool2d(frames.float().mean(-1), 2).flatten(1) / 255
    for features in (pixels, views_of_a_frame(frames)):
        # 600 answers at 1/12: one standard deviation is 1.1 %.
        assert accuracy(features, clips[1], classifier) == pytest.approx(CHANCE, abs=4 * 0.0113)


def test_the_same_classifiers_learn_from_the_changes_between_frames(clips: tuple[Tensor, Tensor], classifier: object):
    green = clips[0][..., ::4, ::4, 1].float()
    change = torch.stack([(green[:, lag:] - green[:, :-lag]).abs().mean((1, 2, 3)) for lag in range(1, 14)], 1).log()
    assert accuracy((change - change.mean()) / change.std(), clips[1], classifier) > 2 * CHANCE


def test_states_are_evenly_spread_in_every_class_at_every_moment():
    """A circle is cut into quarters: each holds a quarter of the discs, within 5 standard deviations of 1.4 %."""
    labels = torch.arange(12).repeat_interleave(1000)
    states = move(labels, 32, 32, torch.Generator().manual_seed(0)) / torch.tensor([32, 32, 2 * pi, 1])[:, None]
    quarters = torch.nn.functional.one_hot((4 * states).long().clamp(max=3), 4).float()  # (N, part, T, quarter)
    shares = quarters.view(12, 1000, 4, 32, 4).mean(1)
    assert (shares - 0.25).abs().max() < 5 * 0.0137


def test_a_class_moves_one_part_of_the_state_at_its_rate():
    labels = torch.arange(12).repeat_interleave(50)
    states = move(labels, 2, 32, torch.Generator().manual_seed(0))
    circles = torch.tensor([32, 32, 2 * pi, 1])
    change = (states[..., 1] - states[..., 0] + circles / 2) % circles - circles / 2  # the short way round
    for label, motion in enumerate(MOTIONS.values()):
        of_class = change[labels == label]
        still = [part for part in range(4) if part != motion.part]
        assert of_class[:, still].abs().max() < 1e-5
        low, high = sorted(motion.rates)
        if not motion.swing:
            assert ((of_class[:, motion.part] > low - 1e-5) & (of_class[:, motion.part] < high + 1e-5)).all()


def test_pairs_of_classes_are_each_other_backwards():
    for one, other in [("left", "right"), ("up", "down"), ("clockwise", "anticlockwise"), ("grow", "shrink")]:
        assert MOTIONS[one].part == MOTIONS[other].part
        assert MOTIONS[one].rates == tuple(-rate for rate in MOTIONS[other].rates)


def test_a_shift_is_the_rate_times_the_frame_and_a_swing_reaches_four_pixels():
    draws = torch.tensor([0.0, 1.0])
    right = MOTIONS["right"].shifts(draws, draws, 11)
    assert right[:, 10].tolist() == pytest.approx([8.0, 13.0])
    shake = MOTIONS["shake"].shifts(torch.tensor([0.0]), torch.tensor([0.25]), 6)  # five frames a swing
    assert shake[0].tolist() == pytest.approx([4 * cos(2 * pi * frame / 5) for frame in range(6)], abs=1e-5)
    assert {MOTIONS[name].part for name in ("sway", "shake", "bob", "bounce")} == {X, Y}
    assert MOTIONS["grow"].part == SIZE


def test_the_same_seed_gives_the_same_clips_and_another_gives_others():
    clips, labels = motion_set(60, seed=3, frames=4)
    again, same = motion_set(60, seed=3, frames=4)
    others, _ = motion_set(60, seed=4, frames=4)
    assert clips.shape == (60, 4, 32, 32, 3)
    assert clips.dtype == torch.uint8
    assert torch.equal(clips, again)
    assert torch.equal(labels, same)
    assert not torch.equal(clips, others)
    assert labels.bincount().tolist() == [5] * 12


def test_a_disc_that_leaves_the_picture_comes_in_on_the_other_side():
    clips, labels = motion_set(240, seed=0)
    bright = (clips.float().mean(-1) - 128).abs() > 30
    covered = bright.float().mean((2, 3))  # (N, T)
    drifting = labels < 4
    assert (covered[drifting].amax(1) - covered[drifting].amin(1)).max() < 0.06  # as much of it at all times


def test_videos_have_the_classes_names_and_different_clips_to_test_on():
    videos = motion_videos(train=24, test=12)
    assert videos.classes[:2] == ("left", "right")
    assert (len(videos.train), len(videos.test), len(videos.val)) == (24, 12, 0)
    assert not any(torch.equal(a.video, b.video) for a in videos.train for b in videos.test)
    assert videos.train[0].open().info.duration_s == pytest.approx(32 / 30)


@pytest.mark.parametrize(
    ("wrong", "name"), [({"count": 0}, "count"), ({"frames": 0}, "frames"), ({"side": 16}, "side")]
)
def test_impossible_sets_are_refused(wrong: dict, name: str):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        motion_set(**{"count": 1, "seed": 0, **wrong})
