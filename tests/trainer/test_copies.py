"""Copies are found by what moves in them, whatever their size and encoding; strangers before one wall are not."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import write_video

from slowfast_hub.spec import Limits
from slowfast_hub.trainer import copies
from slowfast_hub.trainer.check import Job, VideoCheck, check_file
from slowfast_hub.trainer.copies import BITS, alike, fingerprint, moments, small
from slowfast_hub.video.prepare import Encoding, prepare_file

WALL = np.random.default_rng(0).integers(60, 180, (12, 16, 3)).repeat(8, 0).repeat(8, 1)


def bits(told: bytes) -> np.ndarray:
    """(time, height, width) of 0 and 1."""
    return np.unpackbits(np.frombuffer(told, np.uint8)).reshape(15, 12, 12)


def flipped(told: bytes, count: int) -> bytes:
    values = bits(told).ravel().copy()
    values[:count] ^= 1
    return np.packbits(values).tobytes()


def walk(seed: int, count: int = 50) -> list[np.ndarray]:
    """Somebody, a bright box, who goes his own way before the wall that all share."""
    steps = np.random.default_rng(seed).normal(0, 4, (count, 2)).cumsum(0) + np.array([40, 60])
    frames = []
    for row, column in np.clip(steps, 0, (66, 108)).astype(int):
        frame = WALL.astype(np.uint8)
        frame[row : row + 30, column : column + 20] = 240
        frames.append(frame)
    return frames


def found(path: Path) -> VideoCheck:
    check = check_file(Job(path, None, Limits(), pictured=False))
    assert not check.fault
    return check


def pairs(checks: list[VideoCheck]) -> set[tuple[int, int]]:
    near = alike([each.fingerprint for each in checks], [each.length_s for each in checks])
    return {(min(first, second), max(first, second)) for first, second, _ in near}


def test_the_moments_are_the_middles_of_sixteen_parts():
    assert moments(32) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31]
    assert moments(2) == [0] * 8 + [1] * 8
    assert moments(1) == [0] * 16


def test_a_small_picture_is_the_mean_of_pixels_and_colours():
    frame = torch.zeros(64, 64, 3, dtype=torch.uint8)
    frame[:2, :2] = torch.tensor([30, 60, 90])
    frame[0, 2] = 120
    assert small(frame)[0, :3].tolist() == [60, 30, 0]


def test_a_wave_sets_the_bit_of_its_frequencies():
    time, space = (torch.arange(size) + 0.5 for size in (16, 32))
    wave = torch.einsum(
        "t,y,x->tyx",
        torch.cos(2 * math.pi / 16 * time),
        torch.cos(3 * math.pi / 32 * space),
        torch.cos(5 * math.pi / 32 * space),
    )
    assert bits(fingerprint(128 + 90 * wave))[1, 3, 5] == 1  # twice in time: the first row is for once
    assert bits(fingerprint(128 - 90 * wave))[1, 3, 5] == 0


def test_light_and_contrast_change_no_bit_and_a_still_picture_has_none():
    pictures = 100 + 50 * torch.rand(16, 32, 32, generator=torch.Generator().manual_seed(0))
    differ = bits(fingerprint(pictures)) != bits(fingerprint(0.5 * pictures + 100))
    assert differ.sum() <= 2  # rounding
    assert fingerprint(pictures[:1].repeat(16, 1, 1)) == b""


def test_copies_differ_in_at_most_three_tenths_of_the_bits():
    assert BITS == 2160
    one = np.random.default_rng(0).bytes(270)
    assert list(alike([one, flipped(one, 648)], [10, 10])) == [(0, 1, pytest.approx(0.3))]
    assert not list(alike([one, flipped(one, 649)], [10, 10]))


@pytest.mark.parametrize(
    ("first_s", "second_s", "copies"), [(1, 1.09, 1), (1, 1.11, 0), (98.1, 100, 1), (97.9, 100, 0)]
)
def test_lengths_of_copies_differ_by_a_tenth_of_a_second_or_two_per_cent(first_s, second_s, copies):
    one = bytes(270)
    assert len(list(alike([one, one], [first_s, second_s]))) == copies
    assert len(list(alike([one, one], [second_s, first_s]))) == copies


def test_blocks_find_what_all_pairs_hold(monkeypatch):
    monkeypatch.setattr(copies, "ROWS", 3)
    monkeypatch.setattr(copies, "COLUMNS", 4)
    random = np.random.default_rng(0)
    kinds, lengths = random.integers(0, 3, 20), random.uniform(1, 1.3, 20)
    prints = [random.bytes(270) for _ in range(3)]
    expected = {
        (first, second)
        for first, second in combinations(range(20), 2)
        if kinds[first] == kinds[second] and abs(lengths[first] - lengths[second]) <= 0.1
    }
    near = list(alike([prints[kind] for kind in kinds], lengths.tolist()))
    assert {(min(pair[:2]), max(pair[:2])) for pair in near} == expected
    assert len(near) == len(expected) > 20
    assert list(alike([], [])) == []


def test_made_videos_are_found_again_smaller_and_slower(tmp_path):
    checks = []
    for seed in range(6):
        path = write_video(tmp_path / f"{seed}.mkv", walk(seed), fps=25)
        prepare_file(path, tmp_path / f"{seed}.mp4", Encoding(short_side=48, crf=30), Limits())
        every_second = write_video(tmp_path / f"{seed}.avi", walk(seed)[::2], fps=12, codec="mjpeg", pixels="yuvj420p")
        checks += [found(path), found(tmp_path / f"{seed}.mp4"), found(every_second)]
    copies_of_one = {pair for first in range(0, 18, 3) for pair in combinations(range(first, first + 3), 2)}
    assert pairs(checks) == copies_of_one


def test_real_clips_before_one_wall_are_found_again_and_told_apart(shared, tmp_path):
    clips = sorted((shared / "data/actions/weizmann").rglob("daria_*.avi"))
    assert len(clips) == 10
    checks = [found(clip) for clip in clips]
    for clip in clips:
        prepare_file(clip, tmp_path / f"{clip.stem}.mp4", Encoding(short_side=96, crf=28), Limits())
        checks.append(found(tmp_path / f"{clip.stem}.mp4"))
    assert pairs(checks) == {(place, place + 10) for place in range(10)}
