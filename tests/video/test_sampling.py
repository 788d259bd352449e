"""Which frames make a clip: figures to check by hand, PySlowFast's own figures, and what must hold for any video."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.spec import ClipSpec, VideoInfo
from slowfast_hub.video.sampling import centred_indices, clip_indices, places_of, random_start, start_at, uniform_starts

SPEC = ClipSpec(frames=32, stride=2)
RATES = st.sampled_from([1.0, 12.5, 15.0, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 240.0])
SPECS = st.builds(
    ClipSpec, frames=st.integers(1, 64), stride=st.integers(1, 16), fps=st.sampled_from([None, 15.0, 25.0, 30.0, 60.0])
)


def video(frames: int, fps: float) -> VideoInfo:
    return VideoInfo("made", frames=frames, fps=fps, width=320, height=240)


def varying(times_s: list[float]) -> VideoInfo:
    times = torch.tensor(times_s, dtype=torch.float64)
    fps = (len(times_s) - 1) / (times_s[-1] - times_s[0])
    return VideoInfo("made", len(times_s), fps, 320, 240, start_s=times_s[0], times_s=times)


def test_clip_reaches_the_last_frame_of_its_span():
    indices = clip_indices(video(300, 30), SPEC, start=118.0).tolist()
    assert indices[:3] == [118, 120, 122]
    assert indices[-2:] == [178, 181]  # the 64th frame of the span, not 180


def test_native_clock_takes_every_stride_th_frame_of_the_file():
    indices = clip_indices(video(300, 60), ClipSpec(frames=4, stride=16, fps=None), start=10)
    assert indices.tolist() == [10, 26, 42, 58]


@pytest.mark.parametrize(("fps", "span"), [(15, 32), (25, 53), (30, 64), (60, 128)])
def test_same_motion_at_every_rate(fps, span):
    indices = clip_indices(video(20 * fps, fps), SPEC, start=0.0)
    assert indices[-1] == span - 1 or indices[-1] == span - 2  # rounded down: 52.33 -> 52
    assert indices[-1].item() / fps == pytest.approx(64 / 30, abs=1.5 / fps)


def test_one_clip_is_the_centre_and_ten_are_evenly_spaced():
    assert uniform_starts(video(300, 30), SPEC, 1) == [118.0]
    assert uniform_starts(video(300, 30), SPEC, 10) == pytest.approx([23.6 * i for i in range(10)])


def test_short_video_starts_at_0_and_holds_its_last_frame():
    short = video(7, 30)
    assert uniform_starts(short, SPEC, 1) == [0.0]
    assert uniform_starts(short, SPEC, 3) == [0.0, 0.0, 0.0]
    assert random_start(short, SPEC) == 0.0
    assert clip_indices(short, ClipSpec(frames=8, stride=2), start=0.0).tolist() == [0, 2, 4, 6, 6, 6, 6, 6]


def test_one_frame_is_held():
    assert clip_indices(video(1, 25), SPEC, start=0.0).tolist() == [0] * 32


def test_start_at_counts_seconds_in_frames_of_the_file():
    assert start_at(video(250, 25), SPEC, 2.0) == 50.0


@pytest.mark.parametrize("start_s", [-0.1, 10.0, float("nan")])
def test_start_outside_the_video_is_refused(start_s):
    with pytest.raises(ValueError, match=r"start_s must be in \[0, 10.000\)"):
        start_at(video(250, 25), SPEC, start_s)


def test_no_clips_are_refused():
    with pytest.raises(ValueError, match="num_clips"):
        uniform_starts(video(250, 25), SPEC, 0)


def test_varying_rate_shows_the_frame_that_is_on_screen():
    # Frames at 0, 0.1, 0.5 and 0.6 s, seen on a 10 fps clock: the second one stays for four ticks.
    spec = ClipSpec(frames=7, stride=1, fps=10)
    info = varying([5.0, 5.1, 5.5, 5.6])
    assert places_of(info, spec).numbers[:7].tolist() == [0, 1, 1, 1, 1, 2, 3]
    assert clip_indices(info, spec, start=0.0).tolist() == [0, 1, 1, 1, 1, 2, 3]
    assert start_at(info, spec, 0.5) == 5.0


def test_steady_times_given_as_varying_give_the_same_clip():
    steady = video(300, 30)
    listed = varying([k / 30 for k in range(300)])
    for start in uniform_starts(steady, SPEC, 10):
        assert torch.equal(clip_indices(steady, SPEC, start=start), clip_indices(listed, SPEC, start=start))


def test_golden_clips_of_pyslowfast(shared):
    cases = json.loads((shared / "golden" / "views.json").read_text())["clips"]
    compared = 0
    for case in cases:
        info, spec = video(case["video_frames"], case["fps"]), ClipSpec(frames=case["frames"], stride=case["stride"])
        assert clip_indices(info, spec, start=case["start"]).tolist() == case["indices"], case
        if not case["use_offset"] and case["num_clips"] > 1:
            start = uniform_starts(info, spec, case["num_clips"])[case["clip"]]
            assert clip_indices(info, spec, start=start).tolist() == case["indices"], case
            compared += 1
    assert compared >= 50


@given(frames=st.integers(1, 5000), fps=RATES, spec=SPECS, clips=st.integers(1, 12))
def test_every_clip_lies_in_the_file_and_never_goes_back(frames, fps, spec, clips):
    info = video(frames, fps)
    for start in [*uniform_starts(info, spec, clips), random_start(info, spec)]:
        indices = clip_indices(info, spec, start=start)
        assert indices.shape == (spec.frames,)
        assert indices.dtype == torch.long
        assert indices[0] >= 0
        assert indices[-1] < frames
        assert (indices.diff() >= 0).all()


@given(seconds=st.integers(4, 600), rates=st.tuples(RATES, RATES), start_s=st.floats(0, 1))
def test_any_two_rates_give_clips_of_the_same_moments(seconds, rates, start_s):
    moments = []
    for fps in rates:
        info = video(round(seconds * fps), fps)
        moments.append(clip_indices(info, SPEC, start=start_at(info, SPEC, start_s)) / fps)
    assert (moments[0] - moments[1]).abs().max() <= 2 / min(rates) + 1e-3


@given(gaps=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=60), spec=SPECS, clips=st.integers(1, 5))
def test_varying_rates_stay_in_the_file_too(gaps, spec, clips):
    info = varying(torch.tensor([0.0, *gaps], dtype=torch.float64).cumsum(0).tolist())
    for start in uniform_starts(info, spec, clips):
        indices = clip_indices(info, spec, start=start)
        assert indices[0] >= 0
        assert indices[-1] <= len(gaps)
        assert (indices.diff() >= 0).all()


@given(seed=st.integers(0, 2**31))
def test_random_start_leaves_room_for_the_clip_and_follows_its_generator(seed):
    draws = [random_start(video(300, 30), SPEC, torch.Generator().manual_seed(seed)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert 0 <= draws[0] <= 236


SEGMENTS = ClipSpec(frames=32, stride=2, sampling="segments")


def test_segments_take_the_middle_of_each_equal_part_of_the_video():
    """PySlowFast ssv2.py: 65 frames in 32 parts of 2: edges 0 2 4 .. 64, middles 1 3 5 .. 63."""
    assert clip_indices(video(65, 30), SEGMENTS, start=0).tolist() == list(range(1, 64, 2))


def test_segments_round_half_to_even_as_numpy_does():
    """11 frames in 4 parts of 2.5: edges 0 2.5 5 7.5 10 -> 0 2 5 8 10, middles 1 3 6 9."""
    spec = ClipSpec(frames=4, sampling="segments")
    assert clip_indices(video(11, 30), spec, start=0).tolist() == [1, 3, 6, 9]


def test_segments_are_counted_on_the_clock():
    """12 fps on a 30 fps clock: tick 2.5 k is frame k, as ffmpeg's -r 30 repeats frames."""
    spec = ClipSpec(frames=4, fps=30, sampling="segments")
    assert clip_indices(video(12, 12), spec, start=0).tolist() == [1, 4, 7, 10]  # ticks 3 10 18 25 of 30
    assert clip_indices(video(12, 12), ClipSpec(frames=4, fps=None, sampling="segments"), start=0).tolist() == [
        1,
        4,
        7,
        9,
    ]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_segments_of_a_short_video_repeat_frames(count: int):
    indices = clip_indices(video(count, 30), SEGMENTS, start=0)
    assert len(indices) == 32
    assert indices.min() >= 0
    assert indices.max() < count


def test_segments_start_nowhere_else():
    assert uniform_starts(video(300, 30), SEGMENTS, 3) == [0, 0, 0]
    with pytest.raises(ValueError, match="sees the whole video and starts nowhere else"):
        start_at(video(300, 30), SEGMENTS, 1.0)


def test_a_clip_around_a_moment_has_its_frame_at_the_half():
    """PySlowFast, ava_helper.py and utils.py: range(center - 32, center + 32, 2), here around frame 60."""
    indices = centred_indices(video(300, 30), SPEC, 2.0)
    assert indices.tolist() == list(range(60 - 32, 60 + 32, 2))


def test_a_clip_around_a_moment_counts_ticks_of_the_clock_in_other_rates():
    """At 60 fps a tick of 2 / 30 s is 4 frames, at 25 fps 1 2/3, rounded down."""
    assert centred_indices(video(600, 60), SPEC, 2.0).tolist() == list(range(120 - 64, 120 + 64, 4))
    assert centred_indices(video(250, 25), SPEC, 2.0)[14:19].tolist() == [46, 48, 50, 51, 53]
    own = replace(SPEC, fps=None)
    assert centred_indices(video(250, 25), own, 2.0).tolist() == list(range(50 - 32, 50 + 32, 2))


def test_a_clip_around_a_moment_is_held_at_the_ends_of_the_video():
    assert centred_indices(video(300, 30), SPEC, 0.5)[:10].tolist() == [0] * 9 + [1]
    assert centred_indices(video(300, 30), SPEC, 9.999)[15:19].tolist() == [297, 299, 299, 299]


@pytest.mark.parametrize("at_s", [-0.01, 10.0, float("nan")])
def test_there_is_no_clip_around_a_moment_outside_of_the_video(at_s):
    with pytest.raises(ValueError, match=r"at_s must be in \[0.000, 10.000\)"):
        centred_indices(video(300, 30), SPEC, at_s)


def test_whole_videos_have_no_clip_around_a_moment():
    with pytest.raises(ValueError, match="sees the whole video"):
        centred_indices(video(300, 30), SEGMENTS, 1.0)


def test_a_moment_is_in_seconds_of_the_file():
    late = VideoInfo("late.mp4", frames=300, fps=30.0, width=8, height=8, start_s=5.0)
    assert centred_indices(late, SPEC, 7.0).tolist() == centred_indices(video(300, 30), SPEC, 2.0).tolist()
