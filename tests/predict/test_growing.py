"""The same windows and clips, whether a video is known from the beginning or comes frame by frame."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slowfast_hub.predict.growing import Clips, Tape
from slowfast_hub.predict.windows import Schedule, clip_rows
from slowfast_hub.spec import ClipSpec, VideoInfo
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.sampling import places_of

# The value of each picture is the number of its frame.
SPEC = ClipSpec(frames=4, short_side=1, crop=1, mean=(0.0,) * 3, std=(1 / 255,) * 3)


def frame(number: int) -> Tensor:
    return torch.full((1, 1, 3), number, dtype=torch.uint8)


def told(clip: Tensor) -> list[int]:
    return clip[0, :, 0, 0].round().long().tolist()


def as_it_comes(tape: Tape, windows: Schedule, times: list[float]) -> tuple[dict[int, list[int]], int]:
    """Frame numbers of each clip, and how many windows were whole before the end was known."""
    clips = Clips(windows, EvalTransform(SPEC))
    found: dict[int, list[int]] = {}
    for number, time_s in enumerate(times):
        for place, picture in tape.add(time_s, frame(number)):
            found |= {clip: told(pictures) for clip, pictures in clips.add(place, picture)}
    before = windows.fit(tape.places)
    for place, picture in tape.end():
        found |= {clip: told(pictures) for clip, pictures in clips.add(place, picture)}
    for window in range(windows.count(tape.places)):
        for clip in windows.clips_within(window, tape.places):
            if clip not in found:
                assert window >= before or windows.span > windows.window
                found[clip] = told(clips.held(clip, tape.last()))
    return found, before


def all_at_once(info: VideoInfo, clock: float, windows: Schedule) -> dict[int, list[int]]:
    line = places_of(info, ClipSpec(fps=clock))
    seen = [windows.clips_within(window, line.frames) for window in range(windows.count(line.frames))]
    clips = sorted({clip for several in seen for clip in several})
    rows = clip_rows(line, [windows.clip_start(clip) for clip in clips], windows.span, SPEC.frames)
    return dict(zip(clips, rows.tolist()))


schedules = st.builds(
    lambda span, window, stride: Schedule(window, stride, span).filled(),
    st.floats(1, 40),
    st.floats(1, 100),
    st.floats(1, 60),
)


@settings(deadline=None)
@given(count=st.integers(1, 200), windows=schedules)
def test_frames_at_a_steady_rate(count: int, windows: Schedule):
    info = VideoInfo("made", count, 25.0, 1, 1)
    tape = Tape(25.0, start_s=0.0, ticks=False)
    found, _ = as_it_comes(tape, windows, [number / 25 for number in range(count)])
    expected = all_at_once(info, 30.0, windows)
    assert {clip: found[clip] for clip in expected} == expected
    assert (tape.places, tape.end_s) == (count, info.end_s(count - 1))


@settings(deadline=None)
@given(
    gaps=st.lists(st.sampled_from([1, 2, 3, 5, 8, 33, 34, 40, 41, 100, 400]), min_size=2, max_size=150),
    start=st.sampled_from([0.0, 1.4, -0.5]),
    clock=st.sampled_from([30.0, 12.5]),
    windows=schedules,
)
def test_frames_at_a_rate_that_varies(gaps: list[int], start: float, clock: float, windows: Schedule):
    times = torch.tensor([0, *gaps], dtype=torch.float64).cumsum(0) / 1000 + start
    mean = (len(times) - 1) / float(times[-1] - times[0])
    info = VideoInfo("made", len(times), mean, 1, 1, start_s=float(times[0]), times_s=times)
    tape = Tape(clock, start_s=float(times[0]), ticks=True)
    found, _ = as_it_comes(tape, windows, times.tolist())
    expected = all_at_once(info, clock, windows)
    assert {clip: found[clip] for clip in expected} == expected
    assert (tape.places, tape.end_s) == (places_of(info, ClipSpec(fps=clock)).frames, info.end_s(len(times) - 1))


def test_a_clip_is_full_with_its_last_frame_and_not_one_later():
    """Windows of 8 frames every 4: after frame 7 there is the first, after 11 the second."""
    clips = Clips(Schedule(8, 4, 8), EvalTransform(SPEC))
    tape = Tape(30.0, start_s=0.0, ticks=False)
    full = []
    for number in range(12):
        for place, picture in tape.add(number / 30, frame(number)):
            full += [(number, told(clip)) for _, clip in clips.add(place, picture)]
    assert full == [(7, [0, 2, 4, 7]), (11, [4, 6, 8, 11])]


def test_a_tick_is_known_once_a_later_frame_has_come():
    # At 10 ticks a second: 0.0 shows until 0.35, so ticks 0 to 3 show it; the frame at 0.4 settles tick 3, not its own.
    tape = Tape(10.0, start_s=0.0, ticks=True)
    assert [place for place, _ in tape.add(0.0, frame(0))] == []
    assert [(place, int(picture[0, 0, 0])) for place, picture in tape.add(0.35, frame(1))] == [(0, 0), (1, 0), (2, 0)]
    assert [(place, int(picture[0, 0, 0])) for place, picture in tape.add(0.4, frame(2))] == [(3, 0)]
    # The mean of 0.35 and 0.05 s is 0.2 s: the last frame is shown until 0.6.
    assert [(place, int(picture[0, 0, 0])) for place, picture in tape.end()] == [(4, 2), (5, 2)]
    assert tape.end_s == pytest.approx(0.6)


def test_frames_that_are_missing_leave_the_one_before_on_show():
    tape = Tape(10.0, start_s=5.0, ticks=False)
    assert [place for place, _ in tape.add(5.0, frame(0))] == [0]
    assert [(place, int(picture[0, 0, 0])) for place, picture in tape.add(5.31, frame(3))] == [(1, 0), (2, 0), (3, 3)]
    assert list(tape.add(5.32, frame(9))) == []  # no second frame at one place


def test_pictures_that_no_clip_to_come_needs_are_let_go():
    clips = Clips(Schedule(8, 4, 8), EvalTransform(SPEC))
    tape = Tape(30.0, start_s=0.0, ticks=False)
    for number in range(2000):
        for place, picture in tape.add(number / 30, frame(number % 256)):
            list(clips.add(place, picture))
        held = {id(picture) for clip in clips._filling for picture in clip.pictures}
        assert len(held) <= 4
        assert len(clips._filling) <= 2
