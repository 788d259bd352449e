"""A prepared file holds the same pictures at the same times, smaller and with keyframes close together."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from made_videos import MILLISECOND, grey, write_counting, write_video

from slowfast_hub.spec import ClipSpec, Limits, VideoError
from slowfast_hub.video.prepare import Encoding, origin, origin_of, prepare_file, prepared_size
from slowfast_hub.video.reader import open_video, read_frames
from slowfast_hub.video.sampling import clip_indices

X264 = {"codec": "libx264", "pixels": "yuv420p", "b_frames": 3, "options": {"qp": "1"}}
CASES = {
    "plain.mkv": {},
    "ntsc.mp4": {**X264, "fps": Fraction(30000, 1001)},
    "one_second_late.mp4": {**X264, "times": range(25, 85)},
    "late_and_rounded.mkv": {**X264, "fps": 30, "time_base": MILLISECOND,
                             "times": [400 + k * 100 // 3 for k in range(60)]},
    "varying.mkv": {**X264, "time_base": MILLISECOND,
                    "times": [20 * k + (k % 7) * 3 + (k // 10) * 200 for k in range(60)]},
    "made_up_times.avi": X264,
    "transport.ts": X264,
    "nanoseconds.nut": {**X264, "time_base": Fraction(1, 10**9), "times": [40_000_000 * k + 7 for k in range(60)]},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_frames_and_their_times_are_kept(name, tmp_path):
    path = write_video(tmp_path / name, [grey(4 * k) for k in range(60)], **CASES[name])
    source = open_video(path).info
    made = prepare_file(path, tmp_path / "out", Encoding(gop=16), Limits())
    assert (made.frames, made.width, made.height) == (60, 64, 48)
    assert made.fps == pytest.approx(source.fps, rel=1e-9 if source.times_s is None else 1e-4)
    assert (made.times_s is None) == (source.times_s is None)
    assert max(abs(made.time_s(n) - source.time_s(n)) for n in range(60)) < 2e-5
    grey_levels = read_frames(open_video(tmp_path / "out"), torch.arange(60)).float().mean((1, 2, 3))
    assert (grey_levels / 4 - torch.arange(60)).abs().max() < 0.8
    spec = ClipSpec(frames=8, stride=4)
    assert torch.equal(clip_indices(made, spec, start=5.25), clip_indices(source, spec, start=5.25))


def test_times_that_keep_no_rate_exactly_stay_where_they_are(tmp_path):
    times = [40 * k + (9 if k == 30 else 0) for k in range(60)]  # ms; the reader takes it for steady
    path = write_counting(tmp_path / "jitter.mkv", 60, **X264, time_base=MILLISECOND, times=times)
    prepare_file(path, tmp_path / "out", Encoding(), Limits())
    with av.open(str(tmp_path / "out")) as container:
        shown_s = [frame.time for frame in container.decode(video=0)]
    assert shown_s == pytest.approx([time / 1000 for time in times], abs=1e-5)


def test_keyframes_are_close_and_groups_are_closed_and_nothing_else_is_in_the_file(tmp_path):
    path = write_counting(tmp_path / "long.mp4", 100, **{**X264, "gop": 250})
    prepare_file(path, tmp_path / "out", Encoding(gop=10), Limits())
    with av.open(str(tmp_path / "out")) as container:
        (stream,) = container.streams
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = [(packet.pts, packet.is_keyframe) for packet in packets]
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    keys = [place for place, (_, is_key) in enumerate(shown) if is_key]
    assert keys[0] == 0
    assert max(np.diff([*keys, 100])) <= 10
    for key in keys[1:]:  # all that comes behind a keyframe is shown after it
        assert min(pts for pts, _ in shown[key:]) == shown[key][0]
    raw = (tmp_path / "out").read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")


def test_colours_stay(tmp_path):
    bars = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]
    picture = np.repeat(np.repeat(np.array([bars], np.uint8), 48, 0), 16, 1)  # 48 x 96
    path = write_video(tmp_path / "bars.mkv", [picture] * 3)
    prepare_file(path, tmp_path / "out", Encoding(), Limits())
    frame = next(open_video(tmp_path / "out").stream([1]))
    assert (frame[24, 8::16].int() - torch.tensor(bars).int()).abs().max() <= 4


def test_pictures_are_turned_upright(tmp_path):
    one = 1 << 16
    picture = np.kron(np.array([[1, 2], [3, 4]]) * 50, np.ones((16, 32))).astype(np.uint8)  # 32 x 64
    path = write_video(
        tmp_path / "turned.mp4",
        [np.stack([picture] * 3, -1)] * 3,
        **X264,
        display_matrix=(0, one, 0, -one, 0, 0, 0, 0, 1 << 30),
    )
    made = prepare_file(path, tmp_path / "out", Encoding(), Limits())
    assert (made.height, made.width, made.rotation) == (64, 32, 0)
    frame = next(open_video(tmp_path / "out").stream([0])).float().mean(-1)
    assert (frame[16::32, 8::16] / 50).round().int().tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (720, 1280, 256, (256, 456)),  # 455.1
        (1280, 720, 256, (456, 256)),
        (256, 340, 256, (256, 340)),
        (240, 320, 256, (240, 320)),  # never enlarged
        (49, 65, 256, (48, 64)),  # even
        (1, 1, 256, (2, 2)),
        (1080, 1920, 64, (64, 114)),  # 113.8
    ],
)
def test_sizes(height, width, short_side, expected):
    assert prepared_size(height, width, short_side) == expected


def test_large_pictures_shrink(tmp_path):
    path = write_counting(tmp_path / "large.mp4", 5, height=96, width=170, **X264)
    made = prepare_file(path, tmp_path / "out", Encoding(short_side=32), Limits())
    assert (made.height, made.width) == (32, 56)  # 56.7


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("short_side", 255, "even"),
        ("short_side", 0, "at least 2"),
        ("gop", 0, "at least 1"),
        ("crf", 52, "0 to 51"),
        ("crf", -1, "at least 0"),
    ],
)
def test_impossible_encodings_are_refused(field, value, words):
    with pytest.raises(ValueError, match=rf"Encoding\.{field} .*{words}"):
        Encoding(**{field: value})


def test_a_file_says_what_it_was_made_from(tmp_path):
    path = write_counting(tmp_path / "source.mp4", 3, **X264)
    prepare_file(path, tmp_path / "out", Encoding(), Limits())
    assert origin_of(tmp_path / "out", Limits()) == origin(path, Encoding())
    assert origin_of(path, Limits()) is None
    others = [origin(path, Encoding(gop=16)), origin(path, Encoding(crf=20)), origin(path, Encoding(short_side=64))]
    path.touch()
    others.append(origin(path, Encoding()))
    assert len({origin_of(tmp_path / "out", Limits()), *others}) == 5


def test_a_source_that_breaks_off_is_a_video_error(tmp_path, shared):
    with pytest.raises(VideoError, match=r"decord__corrupted\.mp4: decoding reached frame 28 of 50"):
        prepare_file(shared / "data/robustness/real/decord__corrupted.mp4", tmp_path / "out", Encoding(), Limits())


def test_a_film_that_begins_before_zero_is_a_video_error(tmp_path):
    path = tmp_path / "early.mkv"
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for time in range(-10, 10):
            frame = av.VideoFrame.from_ndarray(grey(0), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert open_video(path).info.start_s == pytest.approx(-0.4)
    with pytest.raises(VideoError, match=r"early\.mkv: begins 0\.400 s before 0"):
        prepare_file(path, tmp_path / "out", Encoding(), Limits())


def test_a_result_that_lacks_a_frame_or_moves_one_is_refused(tmp_path, monkeypatch):
    path = write_counting(tmp_path / "source.mp4", 20, **X264)
    monkeypatch.setattr(
        "slowfast_hub.video.prepare.write_mp4", lambda target, *_, **__: target.write_bytes(short.read_bytes())
    )
    short = write_counting(tmp_path / "short.mp4", 19, **X264)
    with pytest.raises(VideoError, match=r"came out as \(19, 48, 64\)"):
        prepare_file(path, tmp_path / "out", Encoding(), Limits())
    short = write_counting(tmp_path / "slow.mp4", 20, fps=24, **X264)
    with pytest.raises(VideoError, match=r"frames moved by up to 0\.031667 s"):  # 19/24 - 19/25
        prepare_file(path, tmp_path / "out", Encoding(), Limits())
