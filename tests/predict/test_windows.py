import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast_hub.predict.windows import Schedule, WindowPlan, clip_schedule, plan_windows
from slowfast_hub.spec import ClipSpec, VideoInfo
from slowfast_hub.video.sampling import Places

RATES = [12.0, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]


def video(frames: int, fps: float = 30.0, **more) -> VideoInfo:
    return VideoInfo("made", frames=frames, fps=fps, width=340, height=256, **more)


def plan(info: VideoInfo, window: float, stride: float, last: str, *, frames: int = 32, **more) -> WindowPlan:
    return plan_windows(info, frames=frames, window=window, stride=stride, last=last, **{"clock": 30.0, **more})


@pytest.mark.parametrize(
    ("last", "starts", "span_s"),
    [
        ("hold", [*range(0, 257, 16), 272], (272 / 30, 10.0)),
        ("drop", [*range(0, 257, 16)], (256 / 30, 288 / 30)),
        ("back", [*range(0, 257, 16), 268], (268 / 30, 10.0)),
    ],
)
def test_what_happens_at_the_end_is_chosen(last, starts, span_s):
    """300 frames, windows of 32 every 16: 17 are whole, the last of them ends with frame 287."""
    found = plan(video(300), 32, 16, last)
    assert found.indices[:, 0].tolist() == starts
    assert found.spans_s[-1] == pytest.approx(span_s)
    if last == "hold":
        assert found.indices[-1].tolist() == [*range(272, 300), 299, 299, 299, 299]


@pytest.mark.parametrize("last", ["hold", "drop", "back"])
def test_a_last_window_that_ends_with_the_video_is_the_last(last):
    assert plan(video(304), 32, 16, last).indices[:, 0].tolist() == [*range(0, 273, 16)]
    # At 25 fps 32 ticks are 26.67 frames: the fifth window ends with frame 80, but for what doubles lose.
    assert len(plan(video(80, 25.0), 32, 16, last).indices) == 5


@pytest.mark.parametrize("last", ["hold", "drop", "back"])
def test_a_video_shorter_than_a_window_has_one_and_holds_its_last_frame(last):
    found = plan(video(10), 32, 16, last)
    assert found.indices.tolist() == [[*range(10), *[9] * 22]]
    assert found.spans_s == ((0.0, pytest.approx(1 / 3)),)


@pytest.mark.parametrize("frames", [32, 33, 47, 48, 300, 4500])
def test_windows_moved_back_are_as_many_as_ego4d_counts(frames):
    """PyTorchVideo's UniformClipSampler, backpad_last=True: clip after clip, until one more would end where it ends."""
    ends, end = [], 0
    while end < frames:
        end = min(frames, 16 * len(ends) + 32)
        ends.append(end)
    found = plan(video(frames), 32, 16, "back")
    assert [end for _, end in found.spans_s] == pytest.approx([end / 30 for end in ends])
    assert found.indices[:, 0].tolist() == [end - 32 for end in ends]


def test_starts_are_multiplied_and_not_added_up():
    """Two hours at 29.97 fps: window 13 000 begins at 13 000 x 16 / 30 x 29.97 = 207 792.0."""
    found = plan(video(215_784, 29.97), 32, 16, "drop")
    assert found.indices[13_000, 0] == 207_792
    assert found.spans_s[13_000][0] == pytest.approx(13_000 * 16 / 30, abs=1e-9)


def test_without_a_clock_frames_of_the_file_are_counted():
    assert plan(video(80, 25.0), 32, 16, "drop", clock=None).indices[:, 0].tolist() == [0, 16, 32, 48]


def test_a_late_start_of_the_file_is_in_the_times():
    late = plan(video(64, start_s=1.5), 32, 32, "hold")
    assert late.spans_s == (pytest.approx((1.5, 1.5 + 32 / 30)), pytest.approx((1.5 + 32 / 30, 1.5 + 64 / 30)))


def test_a_rate_that_varies_is_read_off_at_the_ticks_of_the_clock():
    # One second at 10 fps, one at 30 fps: ticks 0..29 show frames 0 0 0 1 1 1 .., ticks 30..59 frames 10 11 ..
    times = torch.cat([torch.arange(10) / 10, 1 + torch.arange(30) / 30]).double()
    info = video(40, 39 / float(times[-1]), times_s=times)
    found = plan(info, 30, 30, "drop", frames=30)
    assert found.indices.tolist() == [[tick // 3 for tick in range(30)], list(range(10, 40))]
    assert found.spans_s == (pytest.approx((0.0, 1.0)), pytest.approx((1.0, 2.0)))


def test_a_clip_is_centred_in_its_window_and_begins_no_earlier_than_the_video():
    # Clips of 64 in windows of 16: 24 places beyond either end of the window.
    windows = Schedule(window=16, stride=16, span=64)
    assert [windows.clip_start(clip) for clip in (0, 1, 2, 3, 17)] == [0, 0, 8, 24, 17 * 16 - 24]
    # A clip of 32 in a window of 64: 16 places on either side are not seen.
    windows = Schedule(window=64, stride=64, span=32)
    assert [windows.clip_start(clip) for clip in range(4)] == [16, 80, 144, 208]


def test_the_pictures_of_a_window_go_from_end_to_end_of_it():
    found = plan(video(300), 64, 64, "drop", frames=8)
    assert found.indices[1].tolist() == [64, 73, 82, 91, 100, 109, 118, 127]


def test_a_long_window_is_filled_with_clips_that_its_neighbours_share():
    # Three to a stride of 150 are 50 apart; five of 64 then lie in 300, with 18 to spare on either side.
    windows = Schedule(window=300, stride=150, span=64).filled()
    assert [windows.clip_start(clip) for clip in windows.clips(0)] == [18, 68, 118, 168, 218]
    assert [windows.clip_start(clip) for clip in windows.clips(1)] == [168, 218, 268, 318, 368]
    assert windows.clips(0)[3:] == windows.clips(1)[:2]
    # Windows far apart leave the clips between them out, and a window of little more than a clip has one.
    assert list(Schedule(window=130, stride=320, span=64).filled().clips(1)) == [5, 6]
    assert Schedule(window=70, stride=32, span=64).filled().clips_per_window == 1


def test_clips_that_begin_behind_the_end_do_not_count():
    windows = Schedule(window=300, stride=150, span=64).filled()
    assert windows.count(200) == 1
    assert [windows.clip_start(clip) for clip in windows.clips_within(0, 200)] == [18, 68, 118, 168]
    assert list(windows.clips_within(0, 10)) == [0]


def test_a_network_looks_by_default_through_its_own_clips_every_half_of_one():
    paper = clip_schedule(ClipSpec(32, 2), Places(0, 25.0), window_s=None, stride_s=None)
    assert (paper.window, paper.stride, paper.span) == pytest.approx((64 / 30 * 25, 32 / 30 * 25, 64 / 30 * 25))
    by_frames = clip_schedule(ClipSpec(32, 2, fps=None), Places(0, 25.0), window_s=None, stride_s=None)
    assert (by_frames.window, by_frames.stride, by_frames.span) == (64, 32, 63)  # 0 2 .. 62


def test_a_network_of_segments_sees_the_middle_of_each_part_of_a_window():
    spec = ClipSpec(4, sampling="segments")
    with pytest.raises(ValueError, match="window_s"):
        clip_schedule(spec, Places(0, 30.0), window_s=None, stride_s=None)
    windows = clip_schedule(spec, Places(0, 30.0), window_s=4.0, stride_s=None)
    first = windows.clip_start(0)
    assert [first + k * (windows.span - 1) / 3 for k in range(4)] == pytest.approx([14.5, 44.5, 74.5, 104.5])


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"window": -1}, {"window": float("nan")}, {"last": "stop"}])
def test_lengths_that_cannot_be_are_refused(wrong):
    asked = {"window": 32, "stride": 16, "last": "hold"} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        plan_windows(video(300), frames=32, clock=30.0, **asked)


def test_more_windows_than_anyone_can_want_are_refused():
    with pytest.raises(ValueError, match="choose a longer stride"):
        plan(video(300), 32, 1e-4, "hold")


@settings(deadline=None)
@given(
    frames=st.integers(1, 1000),
    fps=st.sampled_from(RATES),
    window=st.floats(8, 200),
    share=st.floats(0.2, 1),
    last=st.sampled_from(["hold", "back"]),
)
def test_every_moment_of_the_video_lies_in_a_window(frames, fps, window, share, last):
    info = video(frames, fps)
    found = plan(info, window, window * share, last, frames=8)
    starts, ends = zip(*found.spans_s)
    assert starts[0] == 0
    assert ends[-1] == pytest.approx(info.duration_s)
    assert all(begin <= end + 1e-6 for begin, end in zip(starts[1:], ends))
    assert list(starts) == sorted(starts)
    assert all(begin < info.duration_s for begin in starts)
    assert (found.indices.diff(dim=0)[:, 0] >= 0).all()
    assert 0 <= int(found.indices.min()) <= int(found.indices.max()) < frames


@given(st.floats(0.5, 300), st.floats(0.5, 300), st.integers(1, 2000))
def test_a_longer_video_has_the_windows_of_a_shorter_one_and_more(window, stride, places):
    windows = Schedule(window, stride, span=64.0)
    assert windows.fit(places) <= windows.fit(places + 1)
    assert windows.fit(places) <= windows.count(places, "drop") <= windows.count(places) <= windows.fit(places) + 1
