"""Features of windows: which frames, which maps, which seconds, and what a file says of them."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.filter import Graph
from made_videos import grey, write_video
from torch import Tensor

from slowfast_hub.models import VideoModel, build
from slowfast_hub.predict.features import (
    PRESETS,
    FeatureExtractor,
    Windows,
    features,
    plan_hero,
    plan_spread,
    read_record,
    sidecar,
)
from slowfast_hub.spec import ClipSpec, ResNet3DArch, SlowFastArch, VideoError, VideoInfo
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import ArrayReader, open_video, read_frames
from slowfast_hub.zoo.create import create_model
from slowfast_hub.zoo.registry import DEFAULT_MODEL

CLIP = ClipSpec(frames=8, stride=2, short_side=36, crop=32)
TINY = SlowFastArch(CLIP, depth=14, width=8, beta_inv=4, alpha=4, num_classes=5, zero_init_last=False)


def tiny(**changes: object) -> VideoModel:
    torch.manual_seed(0)
    return build(replace(TINY, **changes)).eval()


def noise(frames: int, height: int = 40, width: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def video(frames: int, fps: float = 30.0) -> VideoInfo:
    return VideoInfo("made", frames=frames, fps=fps, width=64, height=48)


@pytest.mark.parametrize(
    ("last", "windows", "first", "final", "end_s"),
    [("hold", 18, 272, 299, 10.0), ("drop", 17, 256, 287, 288 / 30), ("back", 18, 268, 299, 10.0)],
)
def test_300_frames_in_windows_of_32_every_16(last, windows, first, final, end_s):
    plan = plan_spread(video(300), ClipSpec(), Windows(32, 16, last=last))
    assert plan.indices.shape == (windows, 32)
    assert plan.indices[1].tolist() == list(range(16, 48))  # every frame of the clock
    assert (int(plan.indices[-1][0]), int(plan.indices[-1][-1])) == (first, final)
    assert plan.spans_s[1] == (pytest.approx(16 / 30), pytest.approx(48 / 30))
    assert plan.spans_s[-1] == (pytest.approx(first / 30), pytest.approx(end_s))


def test_a_network_of_half_as_many_frames_sees_the_window_from_its_first_to_its_last():
    plan = plan_spread(video(300), ClipSpec(), Windows(64, 64))
    assert plan.indices[0].tolist() == [*range(0, 62, 2), 63]
    assert plan_spread(video(300), ClipSpec(frames=8), Windows(32, 32)).indices[0].tolist() == [
        *(0, 4, 8, 13, 17, 22, 26, 31)  # 31 / 7 apart
    ]


def test_windows_are_counted_on_the_clock_in_files_of_another_rate():
    plan = plan_spread(video(250, fps=25), ClipSpec(), Windows(32, 16, last="drop"))
    assert len(plan.indices) == 17  # 16 * 16 + 32 = 288 ticks of 300
    assert plan.indices[3].tolist()[::31] == [40, 65]  # from 48 ticks on, 26.7 frames
    assert plan.spans_s[3] == (pytest.approx(48 / 30), pytest.approx(80 / 30))
    own = plan_spread(video(250, fps=25), ClipSpec(fps=None), Windows(32, 16, last="drop", clock=None))
    assert own.indices[3].tolist() == list(range(48, 80))
    assert own.spans_s[3] == (pytest.approx(48 / 25), pytest.approx(80 / 25))


@pytest.mark.parametrize("frames", [1, 31, 32, 33, 39, 48, 100, 299, 300, 304, 305, 54_001])
def test_ego4d_has_the_windows_of_its_authors_formula(frames: int):
    left = frames - 32
    expected = 1 if left < 0 else left // 16 + 1 + (left % 16 > 0)
    plan = plan_spread(video(frames), ClipSpec(), PRESETS["ego4d"])
    assert len(plan.indices) == len(plan.spans_s) == expected
    if left >= 0:
        assert plan.indices[-1].tolist() == list(range(left, frames))


def test_ego4d_moves_the_last_window_back_as_its_documentation_shows():
    plan = plan_spread(video(39), ClipSpec(), PRESETS["ego4d"])
    assert plan.indices.tolist() == [list(range(32)), list(range(7, 39))]
    assert plan.spans_s[1] == (pytest.approx(7 / 30), pytest.approx(39 / 30))


@pytest.mark.parametrize(
    ("frames", "fps", "clips"),
    [
        (4500, Fraction(30), 75),
        (3750, Fraction(25), 75),
        (4496, Fraction(30_000, 1001), 75),  # 150.02 s are 4500 pictures of the filter
        (4497, Fraction(30_000, 1001), 76),
        (4501, Fraction(30), 76),
        (60, Fraction(30), 1),
        (1, Fraction(30), 1),
    ],
)
def test_hero_has_a_clip_for_every_two_seconds_begun(frames: int, fps: Fraction, clips: int):
    plan = plan_hero(video(frames, fps=float(fps)), ClipSpec(), PRESETS["hero"])
    assert plan.indices.shape == (clips, 32)
    assert plan.spans_s[0][0] == 0
    assert [span[0] for span in plan.spans_s] == pytest.approx([2.0 * number for number in range(clips)])
    assert plan.spans_s[-1][1] == pytest.approx(frames / fps, abs=1 / 60)


def test_hero_sees_every_second_picture_of_a_clip_and_the_last_one_twice():
    plan = plan_hero(video(4500), ClipSpec(), PRESETS["hero"])
    assert plan.indices[2].tolist() == [*range(120, 180, 2), 179, 179]
    assert plan_hero(video(4500), ClipSpec(frames=8, stride=8), PRESETS["hero"]).indices[0].tolist() == [
        *(0, 9, 18, 27, 36, 45, 54, 59)
    ]
    at_60 = plan_hero(video(240, fps=60), ClipSpec(), PRESETS["hero"]).indices[0].tolist()
    assert at_60 == [*(2 * number for number in (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 45, 49, 53, 57)), *[118] * 17]


def at_30_by_ffmpeg(frames: int, fps: Fraction) -> list[int]:
    """Which frames FFmpeg's filter fps=30 shows."""
    graph, shown = Graph(), []
    base = 1 / fps
    source = graph.add("buffer", f"video_size=16x16:pix_fmt=gray16le:time_base={base}:frame_rate={fps}")
    clock, sink = graph.add("fps", "fps=30"), graph.add("buffersink")
    source.link_to(clock)
    clock.link_to(sink)
    graph.configure()
    for number in [*range(frames), None]:
        picture = None
        if number is not None:
            picture = av.VideoFrame.from_ndarray(np.full((16, 16), number, np.uint16), format="gray16le")
            picture.pts, picture.time_base, picture.duration = number, base, 1
        source.push(picture)
        while True:
            try:
                shown.append(int(sink.pull().to_ndarray()[0, 0]))
            except (av.BlockingIOError, av.EOFError):
                break
    return shown


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (150, Fraction(30)),
        (130, Fraction(25)),
        (1130, Fraction(30_000, 1001)),
        (200, Fraction(24_000, 1001)),
        (301, Fraction(60)),
        (77, Fraction(15)),
    ],
)
def test_hero_sees_the_frames_that_ffmpegs_filter_gives(frames: int, fps: Fraction):
    shown = at_30_by_ffmpeg(frames, fps)
    clips = torch.tensor(shown + [shown[-1]] * (-len(shown) % 60)).view(-1, 60)
    span = 32 * 2 * math.floor(fps) / 30
    seen = torch.linspace(0, span - 1, 32).clamp(0, 59).long()
    plan = plan_hero(video(frames, fps=float(fps)), ClipSpec(), PRESETS["hero"])
    assert plan.indices.tolist() == clips[:, seen].tolist()


@pytest.mark.parametrize("crop", ["left", "centre", "whole"])
def test_features_of_a_window_are_the_networks_own_of_that_clip(crop: str):
    model, frames = tiny(), noise(75)
    made = features(frames, model, window=16, stride=16, crop=crop, fps=30, batch_size=2)
    assert made.values.shape == (5, model.num_features)
    assert made.values.dtype == torch.float32
    by_hand = [[*range(start, start + 14, 2), start + 15] for start in (0, 16, 32, 48)]  # 15 / 7 apart, rounded down
    by_hand += [[64, 66, 68, 70, 72, 74, 74, 74]]
    for number, rows in enumerate(by_hand):
        clip = EvalTransform(CLIP)(torch.from_numpy(frames[rows]), crop=crop)[None]
        with torch.inference_mode():
            expected = model.forward_head(model.forward_features(clip), pre_logits=True)[0]
        torch.testing.assert_close(made.values[number], expected, rtol=1e-5, atol=1e-6)
    assert made.start_s.tolist() == pytest.approx([0, 16 / 30, 32 / 30, 48 / 30, 64 / 30])
    assert made.end_s.tolist() == pytest.approx([16 / 30, 32 / 30, 48 / 30, 64 / 30, 75 / 30])


def test_r50_gives_2048_of_slow_and_256_of_fast():
    model = create_model("slowfast_r50_8x8", clip=ClipSpec(frames=8, stride=8, short_side=32, crop=32))
    frames = noise(32)
    both = features(frames, model).values
    assert both.shape == (1, 2304)
    parts = [features(frames, model, pathway=side).values for side in ("slow", "fast")]
    assert [part.shape[1] for part in parts] == [2048, 256]
    torch.testing.assert_close(torch.cat(parts, dim=1), both)


@pytest.mark.parametrize(
    ("stage", "slow", "fast"),
    [("stem", 8, 2), ("res2", 32, 8), ("res3", 64, 16), ("res4", 128, 32), ("res5", 256, 64)],
)
def test_maps_of_any_stage_pooled_or_not(stage: str, slow: int, fast: int):
    model, frames = tiny(), noise(20)
    chosen = {"window": 16, "stride": 4, "last": "drop", "stage": stage}
    assert features(frames, model, **chosen).values.shape == (2, slow + fast)
    size = {"stem": 8, "res2": 8, "res3": 4, "res4": 2, "res5": 1}[stage]
    for side, channels, times in (("slow", slow, 2), ("fast", fast, 8)):
        pooled = features(frames, model, **chosen, pathway=side).values
        whole = features(frames, model, **chosen, pathway=side, pool=False).values
        assert whole.shape == (2, channels, times, size, size)
        torch.testing.assert_close(whole.mean((2, 3, 4)), pooled)


def test_a_network_of_one_pathway_and_one_without_classifier():
    arch = ResNet3DArch(CLIP, depth=14, width=8, num_classes=0)
    torch.manual_seed(0)
    model = build(arch).eval()
    made = features(noise(16), model, window=16)
    with torch.inference_mode():
        expected = model(EvalTransform(CLIP)(torch.from_numpy(noise(16)[[*range(0, 14, 2), 15]]))[None])
    torch.testing.assert_close(made.values, expected)
    assert features(noise(16), model, window=16, pool=False).values.shape == (1, 256, 8, 1, 1)


def test_the_size_of_the_batches_does_not_matter():
    model, frames = tiny(), noise(100)
    one, many = (features(frames, model, window=16, stride=8, batch_size=size).values for size in (1, 7))
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)


def test_a_late_start_and_a_varying_rate_travel_into_the_seconds(tmp_path):
    late = write_video(
        tmp_path / "late.mkv", (grey(level) for level in range(60)), fps=30, times=range(150, 210), pixels="bgr0"
    )
    made = features(late, tiny(), window=30, stride=15)
    assert made.start_s.tolist() == pytest.approx([5, 5.5, 6], abs=2e-3)
    assert made.end_s.tolist() == pytest.approx([6, 6.5, 7], abs=2e-3)
    times = [0, 100, 200, 1200, 1300, 1400, 2400]  # ms; the last is shown for 400
    varying = write_video(
        tmp_path / "v.mkv", (grey(level) for level in range(7)), times=times, time_base=Fraction(1, 1000)
    )
    made = features(varying, tiny(), window=30, stride=30, last="hold")
    assert made.video.times_s is not None
    assert made.start_s.tolist() == pytest.approx([0, 1, 2])
    assert made.end_s.tolist() == pytest.approx([1, 2, 2.8], abs=2e-3)


def test_a_video_shorter_than_a_window_has_one(tmp_path):
    for last in ("hold", "drop", "back"):
        made = features(noise(1), tiny(), last=last)
        assert made.values.shape == (1, 320)
        assert (made.start_s.tolist(), made.end_s.tolist()) == ([0.0], [pytest.approx(1 / 30)])


def test_features_can_be_trained_on():
    values = features(noise(32), tiny()).values
    layer = torch.nn.Linear(values.shape[1], 2)
    layer(values).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


class Film:
    """A video of any length that is made as it is read, and counts."""

    backend = "memory"

    def __init__(self, frames: int) -> None:
        self.info, self.read = video(frames), []

    def stream(self, indices: Sequence[int]) -> Iterator[Tensor]:
        for number in indices:
            self.read.append(number)
            yield torch.full((8, 8, 3), number % 256, dtype=torch.uint8)


def test_each_frame_is_decoded_once_and_features_come_as_the_video_is_read():
    extract, film = FeatureExtractor(tiny(), batch_size=3), Film(1000)
    plan = plan_spread(film.info, CLIP, Windows(32, 16))
    parts, reads = [], []
    for part in extract.batches(film, plan.indices):
        parts.append(len(part))
        reads.append(film.read[-1])
    assert parts == [3] * 20 + [2]  # 62 windows
    assert reads[:3] == [63, 111, 159]  # the last frame of windows 2, 5 and 8
    assert film.read == sorted(set(film.read))
    assert set(film.read) == set(plan.indices.flatten().tolist())


def test_progress_counts_windows():
    seen: list[tuple[int, int]] = []
    FeatureExtractor(tiny(), window=16, stride=16, batch_size=2)(noise(75), progress=lambda *now: seen.append(now))
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_holds_the_values_the_seconds_and_the_recipe(tmp_path, suffix):
    from safetensors.torch import load_file

    made = features(noise(75), tiny(), window=16, stride=16)
    path = made.save(tmp_path / "deep" / f"a.mp4{suffix}")
    if suffix == ".npz":
        arrays = {name: torch.from_numpy(array) for name, array in np.load(path).items() if name != "record"}
    else:
        arrays = load_file(path)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "features": torch.float32,
        "start_s": torch.float64,
        "end_s": torch.float64,
    }
    for name, expected in (("features", made.values), ("start_s", made.start_s), ("end_s", made.end_s)):
        assert torch.equal(arrays[name], expected)
    record = read_record(path)
    assert record == json.loads(sidecar(path).read_text())
    assert record["recipe"] == made.recipe
    assert record["shape"] == [5, 320]
    assert record["video"]["frames"] == 75
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.json"]
    again = made.save(tmp_path / f"b{suffix}")
    assert again.read_bytes() == path.read_bytes()


def test_the_recipe_names_the_network_its_file_and_all_choices():
    extract = FeatureExtractor(preset="ego4d", stage="res4", pathway="fast", crop="left")
    assert extract.recipe["model"] == f"{DEFAULT_MODEL}.hub_actions16"
    assert len(extract.recipe["weights_sha256"]) == 64
    assert extract.recipe["arch"]["clip"]["frames"] == 32
    chosen = {"window": 32, "stride": 16, "last": "back", "clock": 30.0, "preset": "ego4d", "seen": "spread"}
    chosen |= {"stage": "res4", "pathway": "fast", "pool": True, "crop": "left"}
    assert {name: extract.recipe[name] for name in chosen} == chosen
    assert set(extract.recipe["versions"]) == {"slowfast_hub", "torch"}
    assert FeatureExtractor(tiny()).recipe["weights_sha256"] is None
    said = repr(features(noise(75), tiny(), window=16, stride=16))
    assert said.startswith("Features(SlowFast: (5, 320), 0.00 to 2.50 s of array,")
    assert "windows of 16 every 16, res5" in said


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"{}" * 100])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_that_holds_no_features_of_ours_is_a_value_error(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="x"):
        read_record(path)
    np.savez(tmp_path / "other.npz", features=np.zeros(3))
    with pytest.raises(ValueError, match="not written by slowfast_hub"):
        read_record(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"preset": "hero", "window": 60}, "preset='hero' says itself what window is"),
        ({"preset": "ego4d", "stride": 16, "last": "back"}, "says itself what stride, last is"),
        ({"preset": "ego5d"}, "preset must be one of 'ego4d', 'hero'; got 'ego5d'"),
        ({"window": 0}, "window must be a whole number of at least 1; got 0"),
        ({"stride": 1.5}, "stride must be a whole number"),
        ({"last": "pad"}, "last must be one of 'hold', 'drop', 'back'; got 'pad'"),
        ({"stage": "res6"}, "stage must be one of"),
        ({"pathway": "left"}, "pathway must be one of 'both', 'slow', 'fast'; got 'left'"),
        ({"pool": False}, "maps of the two pathways differ in channels and frames: pool=False needs 'slow' or 'fast'"),
        ({"crop": "middle"}, "crop must be one of"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
    ],
)
def test_choices_that_do_not_fit_together_are_named(chosen, says):
    with pytest.raises(ValueError, match=says):
        FeatureExtractor(tiny(), **chosen)


@pytest.mark.parametrize(
    ("row", "changes", "says"),
    [
        ("slowfast_det_r50_4x16", {}, "is a detector, whose features are those of boxes"),
        ("slowfast_r50_4x16", {"fast_input": "flow"}, "sees optical flow"),
        ("slowfast_r50_4x16", {"clip": ClipSpec(sampling="segments")}, "sees the whole video at once"),
    ],
)
def test_a_network_that_does_not_see_windows_is_refused(row, changes, says):
    with torch.device("meta"):
        model = create_model(row, **changes)
    with pytest.raises(ValueError, match=says):
        FeatureExtractor(model, device="meta")


def test_a_name_that_does_not_fit_is_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr("slowfast_hub.zoo.create.weights_path", lambda info: pytest.fail("it was fetched"))
    with pytest.raises(ValueError, match=r"slow_det_r50_4x16\.ptv_ava22 is a detector"):
        FeatureExtractor("slow_det_r50_4x16.ptv_ava22")
    with pytest.raises(ValueError, match=r"slow_r50_8x8\..* has one pathway: leave pathway out; got 'slow'"):
        FeatureExtractor("slow_r50_8x8", pathway="slow")
    with pytest.raises(ValueError, match="pool=False needs 'slow' or 'fast'"):
        FeatureExtractor("slowfast_r50_8x8", pool=False)
    with pytest.raises(TypeError, match="a name or a network of this package; got 5"):
        FeatureExtractor(5)


def test_a_bad_file_is_a_video_error_that_names_it(tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        features(tmp_path / "bad.mp4", tiny())


def test_a_file_gives_what_its_frames_give(counting_video):
    path, model = counting_video(64, fps=30), tiny()
    reader = open_video(path)
    frames = read_frames(reader, torch.arange(64))
    assert isinstance(open_video(frames), ArrayReader)
    assert torch.equal(features(path, model).values, features(frames, model, fps=30).values)
