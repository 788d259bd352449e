"""Dense views: whole pictures, the whole video, nothing computed twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from slowfast_hub.models import build
from slowfast_hub.predict.dense import dense_logits, plan_dense
from slowfast_hub.predict.predictor import Predictor, run_views
from slowfast_hub.predict.views import plan_views
from slowfast_hub.spec import ClipSpec, SlowFastArch, VideoInfo
from slowfast_hub.video.reader import ArrayReader
from slowfast_hub.zoo.registry import ARCHS

R50 = ARCHS["slowfast_r50_8x8"]
TINY = SlowFastArch(ClipSpec(frames=16, stride=2, short_side=40, crop=32), depth=14, width=8, beta_inv=4, num_classes=5)


def video(frames: int, fps: float = 30.0) -> VideoInfo:
    return VideoInfo("made", frames=frames, fps=fps, width=340, height=256)


def test_ten_seconds_are_one_pass_over_every_second_frame():
    # 300 frames, a picture every 2: 150, which alpha = 4 makes 148, spread from the first frame to the last.
    plan = plan_dense(video(300), R50)
    assert plan.indices.shape == (1, 148)
    assert plan.indices[0, [0, 1, -1]].tolist() == [0, 2, 299]
    assert plan.spans_s == ((0.0, pytest.approx(10.0)),)
    assert plan.crops == ("whole",)


def test_a_longer_video_takes_equal_passes_that_leave_nothing_out():
    # 1000 frames: 500 pictures of at most 5 * 32 a pass are 4 passes of 125, 124 for alpha = 4.
    plan = plan_dense(video(1000), R50)
    assert plan.indices.shape == (4, 124)
    assert plan.indices[:, 0].tolist() == [0, 250, 500, 750]
    assert plan.indices[:, -1].tolist() == [249, 499, 749, 999]


def test_a_short_video_is_one_clip_that_holds_its_last_frame():
    indices = plan_dense(video(20), R50).indices
    assert indices.shape == (1, 32)
    assert indices[0, -1] == 19
    one = plan_views(video(20), R50, (1, 1))
    assert torch.equal(indices, one.indices)


@given(st.integers(1, 5000), st.sampled_from([15.0, 25.0, 29.97, 30.0, 60.0]))
def test_passes_ascend_and_stay_in_the_file(frames, fps):
    indices = plan_dense(video(frames, fps), R50).indices
    assert indices.shape[1] % 4 == 0
    assert 32 <= indices.shape[1] <= 160
    assert 0 <= int(indices.min()) <= int(indices.max()) == frames - 1
    assert (indices.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("pool", ["global", "window_logits", "window_probs"])
def test_one_clip_at_the_size_of_a_crop_gives_the_answer_of_that_clip(pool):
    torch.manual_seed(0)
    model = build(replace(TINY, pool=pool)).eval()
    clip = torch.randn(2, 3, 16, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(dense_logits(model, clip), model(clip), atol=1e-6)


def test_windows_share_one_pass():
    # 32 frames, windows of 16: the first begin alpha = 8 apart, at 0, 8 and 16.
    torch.manual_seed(0)
    model = build(TINY).eval()
    torch.nn.init.normal_(model.get_classifier().weight)
    clips = torch.randn(1, 3, 32, 40, 53)
    with torch.inference_mode():
        logits = dense_logits(model, clips)
        slow, fast = model.forward_features(clips)
        middle = model.forward_head((slow[:, :, 1:3], fast[:, :, 8:24]))
    assert logits.shape == (3, 5)
    assert torch.allclose(logits[1], middle[0], atol=1e-6)


@pytest.mark.parametrize("name", ["i3d_r50_8x8", "c2d_r50_8x8", "slow_r50_8x8", "slowfast_r50_16x8"])
def test_every_window_sees_as_many_maps_as_a_clip_has(name, monkeypatch):
    with torch.device("meta"):
        model = build(replace(ARCHS[name], depth=14, width=8, num_classes=5))
    seen, head = set(), model.forward_head
    monkeypatch.setattr(model, "forward_head", lambda maps: seen.add(tuple(m.shape[2] for m in maps)) or head(maps))
    frames = plan_dense(video(300), model.arch).indices.shape[1]
    dense_logits(model, torch.empty(1, 3, frames, 64, 80, device="meta"))
    clip = model.forward_features(torch.empty(1, 3, model.arch.clip.frames, 64, 80, device="meta"))
    assert seen == {tuple(m.shape[2] for m in clip)}


def test_attention_stays_within_the_clip_it_was_trained_on():
    # 150 pictures: five clips of 32, each spread over a fifth of the video.
    indices = plan_dense(video(300), ARCHS["slowfast_nl_r50_8x8"]).indices
    assert indices.shape == (5, 32)
    assert indices[:, 0].tolist() == [0, 60, 120, 180, 240]


def test_one_clip_without_a_clock_is_that_of_one_view():
    arch = replace(R50, clip=replace(R50.clip, fps=None))
    assert torch.equal(plan_dense(video(64), arch).indices, plan_views(video(64), arch, (1, 1)).indices)


def test_a_predictor_answers_densely():
    predict = Predictor(build(TINY), views="dense")
    frames = np.random.default_rng(0).integers(0, 256, (90, 48, 64, 3), dtype=np.uint8)
    answer = predict(frames, fps=30)
    assert answer.views == "dense"
    assert answer.view_logits.shape == (4, 5)  # 45 pictures, 40 for alpha = 8: windows begin at 0, 8, 16, 24
    assert float(answer.probs.sum()) == pytest.approx(1, abs=1e-5)


def test_flow_of_the_video_changes_the_answer_and_batching_does_not():
    torch.manual_seed(0)
    model = build(TINY).eval()
    reader = ArrayReader(np.random.default_rng(1).integers(0, 256, (200, 48, 64, 3), dtype=np.uint8), fps=30.0)
    plan = plan_views(reader.info, TINY, "dense")
    assert torch.equal(run_views(model, reader, plan, batch_size=1), run_views(model, reader, plan, batch_size=8))


# Multiply-adds of 30 views over those of one dense pass, for ten seconds at 30 fps. In space alone: 30 crops against
# ten clips of whole pictures.
@pytest.mark.parametrize(("width", "space", "both"), [(340, 2.2, 4.0), (455, 1.65, 3.4)])
def test_dense_views_cost_less(width, space, both):
    with torch.device("meta"):
        model = build(R50)

    def cost(frames: int, size: int) -> float:
        with FlopCounterMode(display=False) as counter:
            dense_logits(model, torch.empty(1, 3, frames, 256, size, device="meta"))
        return counter.get_total_flops()

    crops = 30 * cost(32, 256)
    assert crops / (10 * cost(32, width)) >= space
    assert crops / cost(plan_dense(video(300), R50).indices.shape[1], width) >= both
