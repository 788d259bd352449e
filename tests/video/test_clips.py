"""One call from a video to the frames of a clip."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from made_videos import MILLISECOND, levels

from slowfast_hub.spec import ClipSpec, VideoError
from slowfast_hub.video.clips import sample_clip

SPEC = ClipSpec(frames=8, stride=8)


def test_centre_clip_of_a_30_fps_video(counting_video):
    clip = sample_clip(counting_video(100, fps=30), SPEC)
    assert clip.frames.shape == (8, 48, 64, 3)
    assert clip.frames.dtype == torch.uint8
    assert levels(clip.frames) == clip.indices.tolist() == [18, 27, 36, 45, 54, 63, 72, 81]  # (100 - 64) / 2, then + 9


def test_a_clip_knows_when_it_is_shown(counting_video):
    late = counting_video(100, fps=25, times=range(50, 150), time_base=Fraction(1, 25))  # begins 2 s into the file
    clip = sample_clip(late, ClipSpec(frames=3, stride=10, fps=25), start_s=1)
    assert clip.indices.tolist() == [25, 39, 54]
    assert clip.times_s.tolist() == pytest.approx([3.0, 3.56, 4.16])
    assert (clip.start_s, clip.end_s) == pytest.approx((3.0, 4.2))  # until the next frame comes
    varying = counting_video(3, name="v.mkv", times=[0, 100, 900], time_base=MILLISECOND)
    clip = sample_clip(varying, ClipSpec(frames=2, stride=1, fps=10), start_s=0)
    assert (clip.start_s, clip.end_s) == pytest.approx((0.0, 0.9))


def test_a_clip_that_begins_at_a_second(counting_video):
    assert levels(sample_clip(counting_video(100, fps=25), SPEC, start_s=1).frames)[0] == 25


def test_a_late_clip_holds_the_last_frame(counting_video):
    clip = sample_clip(counting_video(30, fps=30), SPEC, start_s=0.5)
    assert levels(clip.frames) == [15, 24, 29, 29, 29, 29, 29, 29]
    assert clip.end_s == pytest.approx(1.0)


def test_random_clip_follows_its_generator(counting_video):
    path = counting_video(200, fps=30)
    first, again = (sample_clip(path, SPEC, start_s="random", generator=torch.manual_seed(3)) for _ in range(2))
    assert torch.equal(first.frames, again.frames)


def test_a_rate_that_varies_is_sampled_by_time(counting_video):
    # 10 frames in the first second, then 20 in the second: on a 10 fps clock every frame, then every other one.
    times = [100 * k for k in range(10)] + [1000 + 50 * k for k in range(20)]
    path = counting_video(30, times=times, time_base=MILLISECOND)
    clip = sample_clip(path, ClipSpec(frames=20, stride=1, fps=10), start_s=0)
    assert levels(clip.frames) == [*range(10), *range(10, 30, 2)]


def test_frames_in_memory_take_a_rate():
    frames = np.arange(60, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    assert levels(sample_clip(frames, ClipSpec(frames=4, stride=15), fps=30).frames) == [0, 19, 39, 59]
    assert levels(sample_clip(frames, ClipSpec(frames=4, stride=15), fps=15).frames) == [15, 24, 34, 44]


def test_arguments_that_do_nothing_are_refused(counting_video):
    path = counting_video(3)
    with pytest.raises(ValueError, match="generator belongs to start_s='random'"):
        sample_clip(path, SPEC, generator=torch.Generator())
    with pytest.raises(ValueError, match="start_s must be one of 'centre', 'random'; got 'center'"):
        sample_clip(path, SPEC, start_s="center")


def test_missing_file(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        sample_clip(tmp_path / "none.mp4", SPEC)
