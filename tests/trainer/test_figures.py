"""Figures whose actions are in their boxes and in their motion: what a frame says, and what the files of a set say."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from slowfast_hub.trainer.figures import ACTIONS, EVERY, FAST, SLOW, actions, figures, stand, turn, write_figures


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_people_stand_side_by_side_in_the_picture():
    for seed in range(50):
        boxes = sorted(place.box for place in stand(3, seeded(seed)))
        assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for x1, y1, x2, y2 in boxes)
        assert all(one[2] <= other[0] for one, other in pairwise(boxes))


def test_a_figure_does_one_thing_or_two_with_different_parts():
    names, parts = [*ACTIONS], [part for part, _ in ACTIONS.values()]
    drawn = [actions(seeded(seed)) for seed in range(400)]
    assert all(len({parts[label] for label in done}) == len(done) for done in drawn)
    assert 0.4 < sum(len(done) == 2 for done in drawn) / 400 < 0.6
    assert {label for done in drawn for label in done} == set(range(len(names)))


def test_an_action_turns_its_own_phase_at_its_own_rate():
    for label, (part, (low, high)) in enumerate(ACTIONS.values()):
        steps = turn([(label,)], seeded(label)).diff(dim=1)
        steps = ((steps + 0.5) % 1 - 0.5).abs()  # turns, the short way round
        assert steps[part].min() > low - 1e-5
        assert steps[part].max() < high + 1e-5
        assert steps[[other for other in range(3) if other != part]].max() < 1e-5


def test_at_every_moment_phases_are_evenly_spread_whatever_is_done():
    """A circle is cut into quarters: each holds a quarter of 1000 figures, within 5 standard deviations of 1.4 %."""
    for label in range(len(ACTIONS)):
        generator = seeded(label)
        phases = torch.stack([turn([(label,), (label,)], generator) for _ in range(1000)])  # (N, part, T)
        shares = functional.one_hot((4 * phases).long().clamp(max=3), 4).float().mean(0)
        assert (shares - 0.25).abs().max() < 5 * 0.0137


def test_frames_eight_apart_look_alike_at_both_speeds():
    """Fast is one swing more in eight frames: sin(2 pi (phase + 8 rate)) is the same."""
    assert [8 * fast - 8 * slow for slow, fast in zip(SLOW, FAST)] == [1, 1]


def gain(features: torch.Tensor, labels: torch.Tensor) -> float:
    """By how much the average precision of a class beats its share, mean over classes; learnt from two thirds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    cut, gains = 2 * len(features) // 3, []
    for own in labels.T:
        found = LogisticRegression(C=1e-2, max_iter=300).fit(features[:cut], own[:cut])
        gains.append(average_precision_score(own[cut:], found.decision_function(features[cut:])) - own[cut:].mean())
    return float(sum(gains) / len(gains))


def test_a_single_frame_says_nothing_and_two_say_something():
    frames, changes, targets = [], [], []
    for frame in figures(train=80, moments=4).train:
        first, second = (frame.video[int(frame.at_s * 30) + later].permute(2, 0, 1)[None] / 255 for later in (0, 2))
        for person in frame.people:
            x1, y1, x2, y2 = (round(side * length) for side, length in zip(person.box, (96, 64, 96, 64)))
            one, other = (functional.interpolate(each[:, :, y1:y2, x1:x2], (12, 8)).mean(1) for each in (first, second))
            frames.append((one - one.mean()).abs().flatten())
            changes.append((one - other).abs().flatten())
            targets.append([label in person.labels for label in range(len(ACTIONS))])
    labels = torch.tensor(targets).numpy()
    assert abs(gain(torch.stack(frames).numpy(), labels)) < 0.05
    assert gain(10 * torch.stack(changes).numpy(), labels) > 0.15


def test_the_same_seed_gives_the_same_videos_and_parts_are_different_ones():
    first, again = (figures(train=1, test=1, moments=2, seed=3) for _ in range(2))
    assert torch.equal(first.train[0].video, again.train[0].video)
    assert first.train[0].people == again.train[0].people
    assert not torch.equal(first.train[0].video, first.test[0].video)
    assert first.train[0].video.shape == (2 * EVERY, 64, 96, 3)
    assert [frame.at_s for frame in first.train] == [0.25, 0.75]


def test_the_files_of_a_set_are_read_as_the_set(tmp_path):
    from slowfast_hub.trainer.formats.people import read_people

    people = figures(train=2, val=1, moments=2)
    again = read_people(write_figures(people, tmp_path))
    assert again.classes == people.classes
    for part in ("train", "val"):
        pairs = list(zip(getattr(again, part), getattr(people, part), strict=True))
        assert all(one.people == other.people and one.at_s == other.at_s for one, other in pairs)
        difference = next(iter(pairs[0][0].open().stream([0]))).float() - pairs[0][1].video[0]
        assert difference.abs().mean() < 12


def test_impossible_sets_are_refused():
    with pytest.raises(ValueError, match="moments must be a whole number"):
        figures(train=1, moments=0)
