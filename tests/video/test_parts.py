"""A part of a video as a video of its own: its frames, its times in seconds of the file."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from made_videos import MILLISECOND, levels

from slowfast_hub.spec import ClipSpec, VideoError
from slowfast_hub.video.reader import open_video, part_of, read_frames
from slowfast_hub.video.sampling import clip_indices


def shown(reader) -> list[int]:
    """The grey levels of all frames: their numbers in the file."""
    return levels(read_frames(reader, torch.arange(reader.info.frames)))


def test_the_second_second_of_a_25_fps_file_is_frames_25_to_49(counting_video):
    part = part_of(open_video(counting_video(90, fps=25)), 1.0, 2.0)
    assert shown(part) == list(range(25, 50))
    assert (part.info.frames, part.info.start_s, part.info.duration_s) == (25, 1.0, 1.0)
    assert part.info.time_s(0) == 1.0
    assert part.info.end_s(24) == pytest.approx(2.0)


def test_a_time_that_was_written_down_rounded_means_its_frame(counting_video):
    reader = open_video(counting_video(30, fps=30))
    assert shown(part_of(reader, 0.033, 0.1)) == [1, 2]  # 1 / 30 to 3 / 30
    assert shown(part_of(reader, 0.036, 0.1)) == [2]


def test_parts_of_a_file_of_varying_rate_follow_its_clock(counting_video):
    times = [0, 40, 80, 500, 1000, 1040, 1080]  # ms
    part = part_of(open_video(counting_video(7, times=times, time_base=MILLISECOND)), 0.08, 1.04)
    assert shown(part) == [2, 3, 4]
    assert part.info.times_s.tolist() == pytest.approx([0.08, 0.5, 1.0])


def test_a_file_that_begins_late_counts_its_own_seconds(counting_video):
    late = counting_video(50, fps=25, times=range(100, 150), time_base=Fraction(1, 25))  # begins at 4 s
    assert shown(part_of(open_video(late), 4.4, 4.8)) == list(range(10, 20))


def test_clips_of_a_part_stay_in_it(counting_video):
    part = part_of(open_video(counting_video(90, fps=30)), 1.0, 1.5)
    indices = clip_indices(part.info, ClipSpec(frames=4, stride=8), start=0.0)  # 32 frames of a part of 15
    assert levels(read_frames(part, indices)) == [30, 40, 44, 44]


def test_a_part_of_an_array_and_a_part_to_the_end():
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    part = part_of(open_video(frames, fps=10.0), 0.7, float("inf"))
    assert shown(part) == [7, 8, 9]
    with pytest.raises(IndexError):
        list(part.stream([3]))


def test_a_part_without_frames_says_how_long_the_file_is(counting_video):
    with pytest.raises(VideoError, match=r"no frame from 4 s to 5 s; it goes from 0\.000 s to 3\.600 s"):
        part_of(open_video(counting_video(90, fps=25)), 4.0, 5.0)
