import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slowfast_hub.predict.views import parse_views, plan_views
from slowfast_hub.spec import ClipSpec, SlowFastArch, VideoInfo

ARCH = SlowFastArch(ClipSpec(frames=32, stride=2))


def video(frames: int, fps: float = 30.0) -> VideoInfo:
    return VideoInfo("made", frames=frames, fps=fps, width=340, height=256)


@pytest.mark.parametrize(
    ("views", "pair"), [("centre", (1, 1)), ("paper", (10, 3)), ("5x1", (5, 1)), ((2, 3), (2, 3)), ("10x3", (10, 3))]
)
def test_views_are_a_word_a_pair_or_a_product(views, pair):
    assert parse_views(views) == pair


@pytest.mark.parametrize("views", ["dense!", "10x2", "0x1", "x", (1, 2), (0, 1), (1,), (1.5, 1), ""])
def test_other_views_are_refused_with_the_allowed_ones(views):
    with pytest.raises(ValueError, match="'centre', 'paper'"):
        parse_views(views)


def test_paper_views_equal_their_closed_form():
    # 300 frames at 30 fps: span 64, so clip i starts at (300 - 64) * i / 10 and ends 63 frames later.
    plan = plan_views(video(300), ARCH, "paper")
    expected = [torch.linspace(23.6 * i, 23.6 * i + 63, 32).long() for i in range(10)]
    assert torch.equal(plan.indices, torch.stack(expected))
    assert plan.crops == ("left", "centre", "right")
    assert plan.num_views == 30


def test_the_centre_clip_starts_at_half_the_room():
    plan = plan_views(video(300), ARCH, "centre")
    assert plan.indices[0, [0, 1, -1]].tolist() == [118, 120, 181]
    assert plan.spans_s[0] == pytest.approx((118 / 30, 182 / 30))  # the last frame is shown until then


def test_a_short_video_holds_its_last_frame():
    assert plan_views(video(3), ARCH, "centre").indices[0, :5].tolist() == [0, 2, 2, 2, 2]


@given(st.integers(1, 2000), st.sampled_from([15.0, 24.0, 25.0, 29.97, 30.0, 60.0]), st.integers(1, 12))
def test_every_view_lies_in_the_file_and_later_clips_start_no_earlier(frames, fps, clips):
    indices = plan_views(video(frames, fps), ARCH, (clips, 1)).indices
    assert indices.shape == (clips, 32)
    assert 0 <= int(indices.min()) <= int(indices.max()) < frames
    assert (indices.diff(dim=0) >= 0).all()
    assert (indices.diff(dim=1) >= 0).all()


def test_a_clip_of_segments_is_the_whole_video_whatever_views_says():
    arch = SlowFastArch(ClipSpec(frames=4, sampling="segments"), alpha=4)
    plan = plan_views(VideoInfo("v", 100, 30, 400, 300), arch, "paper")
    assert plan.indices.shape == (1, 4)
    assert plan.num_views == 3
