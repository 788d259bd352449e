"""Files of every kind give the frames of FFmpeg's own timeline, at its times.

Truth is a bare loop over what FFmpeg decodes from the beginning of a file, without seeks and with nothing left out.
The grey level of a frame is its number as well, so that both cannot be wrong together.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import MILLISECOND, moving, with_edits, write_video

from slowfast_hub.spec import ClipSpec, VideoError
from slowfast_hub.video.clips import sample_clip
from slowfast_hub.video.reader import VideoReader, open_video

COUNT = 70  # frames: keyframes are 12 apart, and a reader seeks over 32
ROUNDING_S = 0.6e-3  # Matroska and FLV round to a millisecond

H264 = {"codec": "libx264", "pixels": "yuv420p", "b_frames": 3, "options": {"qp": "4"}}
PYRAMID = {"qp": "4", "x264-params": "b-pyramid=normal:b-adapt=0:bframes=7:ref=4:scenecut=0"}
INTERLACED = {"qp": "4", "x264-params": "tff=1"}
REFRESH = {"qp": "4", "x264-params": "intra-refresh=1:bframes=0:ref=1"}  # keyframes that no I-picture begins
MPEG = {"pixels": "yuv420p", "b_frames": 2, "options": {"b": "8M"}}
FIELDS = {"pixels": "yuv420p", "b_frames": 2, "options": {"b": "8M", "flags": "+ildct+ilme"}}
AV1 = {"codec": "libsvtav1", "height": 64, "options": {"crf": "1", "preset": "8", "svtav1-params": "keyint=12"}}
VP9 = {"codec": "libvpx-vp9", "options": {"lossless": "1", "deadline": "realtime", "cpu-used": "8"}}
HIDDEN = {"crf": "4", "b": "4M", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5"}


def hevc(pixels: str, extra: str = "") -> dict[str, object]:
    parameters = f"log-level=none:qp=4:keyint=12:min-keyint=12:bframes=4:pools=none{extra}"
    return {"codec": "libx265", "pixels": pixels, "options": {"x265-params": parameters, "preset": "ultrafast"}}


KINDS = {
    "pyramid.mp4": {**H264, "options": PYRAMID},
    "pyramid.mkv": {**H264, "options": PYRAMID},
    "pyramid.ts": {**H264, "options": PYRAMID},
    "h264.flv": H264,
    "h264.nut": H264,
    "h264.asf": H264,  # carries decoding times only
    "h264_10bit.mp4": {**H264, "pixels": "yuv420p10le"},
    "h264_422.mp4": {**H264, "pixels": "yuv422p"},
    "h264_422_10bit.mkv": {**H264, "pixels": "yuv422p10le"},
    "h264_rgb.mp4": {"codec": "libx264rgb", "pixels": "rgb24", "b_frames": 3, "options": {"qp": "4"}},
    "h264_odd.mp4": {**H264, "pixels": "yuv444p", "height": 49, "width": 65},
    "h264_interlaced.mp4": {**H264, "options": INTERLACED},
    "h264_interlaced.ts": {**H264, "options": INTERLACED},
    "h264_refresh.mov": {**H264, "b_frames": 0, "gop": 2, "options": REFRESH},
    "fragmented.mp4": {**H264, "muxing": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    "negative_offsets.mp4": {**H264, "muxing": {"movflags": "negative_cts_offsets"}},
    "no_index.mkv": {**H264, "muxing": {"live": "1"}},
    "hevc.mp4": hevc("yuv420p", ":open-gop=1:b-pyramid=1"),
    "hevc.ts": hevc("yuv420p", ":open-gop=1:b-pyramid=1"),
    "hevc_10bit.mkv": hevc("yuv420p10le", ":open-gop=1"),
    "hevc_444.mov": hevc("yuv444p"),
    "hevc_fields.mp4": hevc("yuv420p", ":interlace=tff"),
    "hevc_odd.mp4": {**hevc("yuv444p"), "height": 49, "width": 65},
    "raw.hevc": hevc("yuv420p"),  # no times
    "av1.mp4": {**AV1, "pixels": "yuv420p"},
    "av1_10bit.webm": {**AV1, "pixels": "yuv420p10le"},
    "av1_odd.mkv": {**AV1, "pixels": "yuv420p", "height": 65, "width": 65},
    "av1.obu": {**AV1, "pixels": "yuv420p"},
    "av1.ivf": {**AV1, "pixels": "yuv420p"},
    "vp9.webm": {**VP9, "pixels": "yuv420p"},
    "vp9.mp4": {**VP9, "pixels": "yuv420p"},
    "vp9_odd.webm": {**VP9, "pixels": "yuv420p", "height": 49, "width": 65},
    "vp9_444.webm": {**VP9, "pixels": "yuv444p"},
    "vp9_hidden.webm": {"codec": "libvpx-vp9", "pixels": "yuv420p", "options": HIDDEN},  # pictures that are never shown
    "vp8_hidden.webm": {"codec": "libvpx", "pixels": "yuv420p", "options": HIDDEN},
    "mpeg4.mp4": {"codec": "mpeg4", **MPEG},
    "mpeg4.mkv": {"codec": "mpeg4", **MPEG},
    "mpeg4.ts": {"codec": "mpeg4", **MPEG},
    "mpeg4_adaptive.ts": {"codec": "mpeg4", **MPEG, "gop": 5, "options": {"b": "8M", "b_strategy": "1"}},
    "mpeg4_interlaced.mkv": {"codec": "mpeg4", **FIELDS},
    "mpeg2.mkv": {"codec": "mpeg2video", **MPEG},
    "mpeg2.mxf": {"codec": "mpeg2video", **MPEG},
    "mpeg2_422.ts": {"codec": "mpeg2video", **MPEG, "pixels": "yuv422p"},
    "mpeg2_interlaced.ts": {"codec": "mpeg2video", **FIELDS},
    "mpeg2.vob": {"codec": "mpeg2video", **MPEG, "b_frames": 0},
    "mpeg1.mpg": {"codec": "mpeg1video", **MPEG},
    "mpeg1_small.mpg": {"codec": "mpeg1video", **MPEG, "height": 32, "width": 32},  # several pictures to one time
    "wmv2.asf": {"codec": "wmv2", "pixels": "yuv420p", "options": {"b": "8M"}},
    "flash.flv": {"codec": "flv", "pixels": "yuv420p", "options": {"b": "8M"}},
    "mjpeg.mov": {"codec": "mjpeg", "pixels": "yuvj444p", "options": {"b": "8M"}},
    "raw.mjpeg": {"codec": "mjpeg", "pixels": "yuvj422p", "options": {"b": "8M"}},
    "mjpeg_odd.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"b": "8M"}, "height": 49, "width": 65},
    "prores_422.mov": {"codec": "prores_ks", "pixels": "yuv422p10le", "options": {"profile": "hq"}},
    "prores_interlaced.mov": {"codec": "prores_ks", "pixels": "yuv422p10le", "options": {"flags": "+ildct"}},
    "prores_alpha.mov": {"codec": "prores_ks", "pixels": "yuva444p10le", "options": {"profile": "4444"}},
    "vp9_alpha.webm": {**VP9, "pixels": "yuva420p", "options": {**VP9["options"], "auto-alt-ref": "0"}},
    "png_alpha.mov": {"codec": "png", "pixels": "rgba"},
    "animation_alpha.mov": {"codec": "qtrle", "pixels": "argb"},
    "ffv1_16bit.mkv": {"codec": "ffv1", "pixels": "gbrp16le"},
    "ffv1_grey.mkv": {"codec": "ffv1", "pixels": "gray"},
    "ffv1_odd.avi": {"codec": "ffv1", "pixels": "yuv420p", "height": 49, "width": 65},
    "huffyuv.avi": {"codec": "huffyuv", "pixels": "yuv422p"},
    "raw.avi": {"codec": "rawvideo", "pixels": "bgr24"},
    "jpeg2000.mov": {"codec": "jpeg2000", "pixels": "rgb24"},
    "animated.gif": {"codec": "gif", "pixels": "rgb8"},
    "animated.apng": {"codec": "apng", "pixels": "rgb24"},
}  # fmt: skip
COARSE = {"animated.gif": 4.0, "av1_10bit.webm": 1.0}  # numbers: a palette has few greys, that encoder errs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


def write_moving(path: Path, *, codec: str, height: int = 48, width: int = 64, count: int = COUNT, **how) -> Path:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of PyAV has no encoder {codec}")
    return write_video(path, moving(count, height=height, width=width), codec=codec, **how)


def timeline(path: Path) -> list[tuple[float | None, torch.Tensor]]:
    """Seconds and picture (H, W, 3) of all frames that FFmpeg shows, in its order."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        return [(frame.time, torch.from_numpy(frame.to_ndarray(format="rgb24"))) for frame in frames]


def subsets(count: int) -> list[list[int]]:
    """Ways to read a video: whole, thinned out so that a decoder may skip, single frames, far jumps."""
    random = Random(count)
    thinned = [range(0, count, 2), range(1, count, 2), range(2, count, 5)]
    drawn = [sorted(random.sample(range(count), min(4, count))) for _ in range(4)]
    single = [[number] for number in sorted({0, 1, *range(11, 18), *range(33, 38), 60, count - 2, count - 1})]
    chosen = [range(count), *thinned, *drawn, *single]
    return [list(numbers) for numbers in chosen if numbers and numbers[0] >= 0 and numbers[-1] < count]


def assert_same_frames(reader: VideoReader, pictures: Iterable[torch.Tensor]) -> None:
    pictures = list(pictures)
    assert reader.info.frames == len(pictures)
    for numbers in subsets(len(pictures)):
        found = list(reader.stream(numbers))
        assert len(found) == len(numbers)
        wrong = [number for number, frame in zip(numbers, found) if not torch.equal(frame, pictures[number])]
        assert not wrong, f"of {numbers}"


def assert_same_times(reader: VideoReader, times_s: list[float]) -> None:
    info = reader.info
    assert [info.time_s(number) for number in range(info.frames)] == pytest.approx(times_s, abs=ROUNDING_S)
    ends_s = [info.end_s(number) for number in range(info.frames - 1)]
    assert ends_s == pytest.approx(times_s[1:], abs=ROUNDING_S)
    assert info.start_s == pytest.approx(times_s[0], abs=ROUNDING_S)


def numbers_of(pictures: Iterable[torch.Tensor]) -> list[float]:
    """The frame numbers that the grey levels of `moving` tell."""
    return [(picture.double().mean().item() - 30) / 3 for picture in pictures]


@pytest.mark.parametrize("name", KINDS)
def test_frames_and_times_are_those_of_ffmpegs_timeline(name, folder):
    path = write_moving(folder / name, **KINDS[name])
    times_s, pictures = zip(*timeline(path))
    assert numbers_of(pictures) == pytest.approx(range(COUNT), abs=COARSE.get(name, 0.8))
    reader = open_video(path)
    height, width = KINDS[name].get("height", 48), KINDS[name].get("width", 64)
    assert (reader.info.height, reader.info.width) == (height, width) == tuple(pictures[0].shape[:2])
    assert reader.info.fps == pytest.approx(25, rel=1e-3)
    assert_same_frames(reader, pictures)
    if None not in times_s and times_s == tuple(sorted(times_s)):  # else FFmpeg knows no times of its own
        assert_same_times(reader, list(times_s))


def test_animated_webp_is_read_or_is_a_video_error(tmp_path):
    path = write_moving(tmp_path / "animated.webp", codec="libwebp_anim", pixels="bgra", count=10)
    try:
        pictures = [picture for _, picture in timeline(path)]
    except av.FFmpegError:
        with pytest.raises(VideoError, match=r"animated\.webp"):
            open_video(path)
    else:
        assert_same_frames(open_video(path), pictures)


FULL_COUNT = {"codec": "libx264", "pixels": "yuv420p", "options": {"qp": "4"}}
FRAME = 512  # ticks of 1/12800 s, at 25 fps
# Edits of 70 frames as (frames that it lasts, first frame or None for nothing), and what is shown: (frame, tick of
# 1/25 s) of the first and of the last.
EDITS = {
    "from a frame within a group of pictures": ([(63, 7)], (7, 0), (69, 62)),
    "from a keyframe": ([(58, 12)], (12, 0), (69, 57)),
    "late": ([(25, None), (70, 0)], (0, 25), (69, 94)),
    "late and from a frame within": ([(25, None), (40, 30)], (30, 25), (69, 64)),
    "without its end": ([(25, 0)], (0, 0), (24, 24)),
    "a piece": ([(20, 41)], (41, 0), (60, 19)),
}
CUTS = {"two pieces": [(10, 12), (20, 40)], "one piece twice": [(10, 0), (10, 0)], "backwards": [(20, 40), (20, 0)]}


def edited(path: Path, edits: list[tuple[int, int | None]], *, delay: int, name: str) -> Path:
    """`delay`: frames by which the media times lie behind, where B-pictures make a decoder wait."""
    return with_edits(
        path,
        [(40 * frames, -1 if first is None else FRAME * (first + delay)) for frames, first in edits],
        name,
    )


@pytest.mark.parametrize("codec", ["h264", "h264_pyramid", "hevc", "av1"])
@pytest.mark.parametrize("edit", EDITS)
def test_edit_lists_say_what_is_shown_and_when(codec, edit, folder):
    how = {"h264": FULL_COUNT, "h264_pyramid": KINDS["pyramid.mp4"], "hevc": KINDS["hevc.mp4"], "av1": KINDS["av1.mp4"]}
    path = write_moving(folder / f"{codec}.mp4", **how[codec])
    edits, (first, start), (last, end) = EDITS[edit]
    delay = 2 if codec in ("h264_pyramid", "hevc") else 0
    path = edited(path, edits, delay=delay, name=f"{codec}_{edit.replace(' ', '_')}.mp4")
    times_s, pictures = zip(*timeline(path))
    assert numbers_of(pictures) == pytest.approx(range(first, last + 1), abs=0.8)
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))
    assert (reader.info.time_s(0), reader.info.time_s(last - first)) == pytest.approx((start / 25, end / 25))


@pytest.mark.parametrize("cut", CUTS)
def test_edit_lists_of_several_pieces(cut, folder):
    path = write_moving(folder / "pieces.mp4", **FULL_COUNT)
    path = edited(path, CUTS[cut], delay=0, name=f"{cut.replace(' ', '_')}.mp4")
    times_s, pictures = zip(*timeline(path))
    shown = [first + number for frames, first in CUTS[cut] for number in range(frames)]
    assert numbers_of(pictures) == pytest.approx(shown, abs=0.8)
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts", "flv", "nut"])
def test_a_late_start_is_kept_in_seconds_of_the_file(ending, folder):
    path = write_moving(folder / f"late.{ending}", **H264, times=range(300, 300 + COUNT))  # 12 s into the file
    times_s, pictures = zip(*timeline(path))
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))
    assert reader.info.start_s == pytest.approx(12.0)
    clip = sample_clip(path, ClipSpec(frames=4, stride=2, fps=25), start_s=1)
    assert clip.indices.tolist() == [25, 27, 29, 32]
    assert clip.times_s.tolist() == pytest.approx([times_s[k] for k in (25, 27, 29, 32)], abs=ROUNDING_S)
    assert (clip.start_s, clip.end_s) == pytest.approx((times_s[25], times_s[33]), abs=ROUNDING_S)


def test_a_transport_stream_whose_clock_wraps(folder):
    wrap = 2**33 * 25 // 90_000  # frames after which 33 bits of a 90 kHz clock are full
    path = write_moving(folder / "wrap.ts", **H264, times=range(wrap - 75, wrap - 75 + COUNT))
    times_s, pictures = zip(*timeline(path))
    assert times_s == tuple(sorted(times_s))
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))


VARYING = [20 * k + (k % 7) * 3 + (k // 10) * 200 for k in range(COUNT)]  # ms


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("varying.mp4", "libx264", "yuv420p"),
        ("varying.mkv", "libx264", "yuv420p"),
        ("varying.ts", "libx264", "yuv420p"),
        ("varying.flv", "libx264", "yuv420p"),
        ("hevc_varying.mp4", "libx265", "yuv420p"),
        ("varying.webm", "libvpx-vp9", "yuv420p"),
        ("ffv1_varying.mkv", "ffv1", "bgr0"),
    ],
)
def test_a_rate_that_varies_keeps_its_times(name, codec, pixels, folder):
    options = {"libx265": {"x265-params": "log-level=none:qp=4:pools=none"}, "libvpx-vp9": VP9["options"]}.get(
        codec, {}
    )
    b_frames = 3 if codec == "libx264" else 0
    how = {"codec": codec, "pixels": pixels, "options": options, "b_frames": b_frames}
    path = write_moving(folder / name, **how, times=[500 + t for t in VARYING], time_base=MILLISECOND)
    times_s, pictures = zip(*timeline(path))
    assert np.diff(times_s) == pytest.approx(np.diff(VARYING) / 1000, abs=2 * ROUNDING_S)
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))


def test_gif_delays_are_its_times(folder):
    times = [10 * k + 40 * (k // 8) for k in range(40)]  # hundredths of a second
    path = write_moving(
        folder / "delays.gif", codec="gif", pixels="rgb8", count=40, times=times, time_base=Fraction(1, 100)
    )
    times_s, pictures = zip(*timeline(path))
    assert times_s == pytest.approx([t / 100 for t in times])
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))


def test_a_broadcast_that_was_joined_late(folder):
    whole = write_moving(folder / "broadcast.ts", **KINDS["pyramid.ts"]).read_bytes()
    path = folder / "joined_late.ts"
    path.write_bytes(whole[len(whole) // 3 // 188 * 188 :])  # its packets have 188 bytes
    times_s, pictures = zip(*timeline(path))
    first = round(numbers_of(pictures)[0])
    assert 0 < first < COUNT - 40
    assert numbers_of(pictures) == pytest.approx(range(first, COUNT), abs=0.8)
    reader = open_video(path)
    assert_same_frames(reader, pictures)
    assert_same_times(reader, list(times_s))


def test_one_stream_after_another_whose_times_begin_again(folder):
    part = write_moving(folder / "part.ts", **H264).read_bytes()
    path = folder / "twice.ts"
    path.write_bytes(part + part)
    reader = open_video(path)
    assert_same_frames(reader, [picture for _, picture in timeline(path)])
    assert numbers_of(reader.stream([0, 69, 70, 139])) == pytest.approx([0, 69, 0, 69], abs=0.8)


def test_pictures_keep_the_first_size_where_the_stream_changes_it(folder):
    small = write_moving(folder / "small.ts", **H264).read_bytes()
    large = write_moving(folder / "large.ts", **H264, height=96, width=128, times=range(100, 170)).read_bytes()
    path = folder / "grown.ts"
    path.write_bytes(small + large)
    frames = list(open_video(path).stream(range(2 * COUNT)))
    assert {tuple(frame.shape) for frame in frames} == {(48, 64, 3)}
    assert numbers_of(frames) == pytest.approx([*range(COUNT), *range(COUNT)], abs=0.8)


ONE = 1 << 16  # 16.16 fixed point
MATRICES = {
    # (a b, c d) and where the corners 1 2 / 3 4 of a stored picture are shown.
    "upright": ((ONE, 0, 0, ONE), [[1, 2], [3, 4]]),
    "quarter right": ((0, ONE, -ONE, 0), [[3, 1], [4, 2]]),
    "half": ((-ONE, 0, 0, -ONE), [[4, 3], [2, 1]]),
    "quarter left": ((0, -ONE, ONE, 0), [[2, 4], [1, 3]]),
    "mirrored": ((-ONE, 0, 0, ONE), [[2, 1], [4, 3]]),
    "upside down": ((ONE, 0, 0, -ONE), [[3, 4], [1, 2]]),
    "mirrored quarter left": ((0, ONE, ONE, 0), [[1, 3], [2, 4]]),
    "mirrored quarter right": ((0, -ONE, -ONE, 0), [[4, 2], [3, 1]]),
}


@pytest.mark.parametrize("ending", ["mov", "mkv"])  # MP4: test_decode.py
@pytest.mark.parametrize("turn", MATRICES)
def test_pictures_are_upright_in_other_containers(turn, ending, tmp_path):
    (a, b, c, d), corners = MATRICES[turn]
    stored = np.kron(np.array([[1, 2], [3, 4]]) * 50, np.ones((16, 32)))[..., None].repeat(3, -1).astype(np.uint8)
    path = write_video(
        tmp_path / f"turned.{ending}",
        [stored] * 2,
        codec="libx264",
        pixels="yuv420p",
        options={"qp": "1"},
        display_matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30),
    )
    reader = open_video(path)
    frame = next(iter(reader.stream([1]))).float().mean(-1)
    assert tuple(frame.shape) == (reader.info.height, reader.info.width) == ((64, 32) if a == 0 else (32, 64))
    height, width = frame.shape
    assert (frame[height // 4 :: height // 2, width // 4 :: width // 2] / 50).round().int().tolist() == corners


# Kr and Kb of ITU-T H.273, table 4, and its number of the matrix.
LUMA = {
    "bt709": (0.2126, 0.0722, 1),
    "bt601": (0.299, 0.114, 6),
    "smpte240m": (0.212, 0.087, 7),
    "bt2020": (0.2627, 0.0593, 9),
}
PATCHES = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (200, 100, 50), (128, 128, 128)], np.uint8)


def write_patches(path: Path, matrix: tuple[float, float, int], *, pixels: str, full: bool) -> Path:
    """Patches of colour, 16 px wide, converted to YCbCr here by the book, and marked with the number of the matrix."""
    (kr, kb, number), (red, green, blue) = matrix, PATCHES.astype(float).T / 255
    y = kr * red + (1 - kr - kb) * green + kb * blue
    planes = np.stack([y, (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)], -1)  # 0..1, -0.5..0.5 twice
    scale, offset = (255, (0, 128, 128)) if full else ((219, 224, 224), (16, 128, 128))
    planes = ((planes * scale + offset) * 256).round().clip(0, 65535).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "1"})
        stream.height, stream.width, stream.pix_fmt = 32, 16 * len(PATCHES), pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full else 1
        picture = planes[None].repeat(32, 0).repeat(16, 1)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv444p16le")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv422p10le"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_colours_are_those_that_the_matrix_of_the_file_means(matrix, full, pixels, tmp_path):
    path = write_patches(tmp_path / "patches.mp4", LUMA[matrix], pixels=pixels, full=full)
    found = next(iter(open_video(path).stream([0])))[16, 8::16].int()
    assert (found - torch.from_numpy(PATCHES).int()).abs().max() <= 4


def test_a_colour_matrix_that_cannot_be_converted_is_a_video_error(tmp_path):
    constant_luminance = (0.2627, 0.0593, 10)  # of BT.2020: not a matrix at all
    path = write_patches(tmp_path / "constant.mp4", constant_luminance, pixels="yuv444p", full=False)
    with pytest.raises(VideoError, match=r"constant\.mp4"):
        list(open_video(path).stream([0]))


def test_what_is_transparent_has_the_colour_that_is_stored(tmp_path):
    stored = np.full((48, 64, 4), (200, 100, 50, 255), np.uint8)
    stored[:, 32:, 3] = 0
    path = tmp_path / "transparent.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgba"
        frame = av.VideoFrame.from_ndarray(stored, format="rgba")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode()])
    frame = next(iter(open_video(path).stream([0])))
    assert frame.reshape(-1, 3).unique(dim=0).tolist() == [[200, 100, 50]]


CODECS = {
    "libx264": ("yuv420p", ("mp4", "mkv", "ts", "flv", "nut")),
    "mpeg4": ("yuv420p", ("mkv", "mp4", "ts")),
    "mpeg2video": ("yuv420p", ("mkv", "ts", "mxf")),
    "ffv1": ("bgr0", ("mkv", "nut")),
}


@st.composite
def recipes(draw) -> dict[str, object]:
    """How to write a file of any order of pictures, start and rate."""
    codec = draw(st.sampled_from(sorted(CODECS)))
    pixels, endings = CODECS[codec]
    recipe: dict[str, object] = {
        "codec": codec,
        "pixels": pixels,
        "ending": draw(st.sampled_from(endings)),
        "count": draw(st.integers(1, 70)),
        "gop": draw(st.sampled_from([1, 2, 5, 12, 100])),
        "b_frames": draw(st.integers(0, 2 if codec == "mpeg2video" else 7)) if codec != "ffv1" else 0,
        "options": {"b": "4M"},
    }
    if codec in ("mpeg4", "mpeg2video") and draw(st.booleans()):
        recipe["options"] = {"b": "4M", "flags": "+ildct+ilme"}
    if codec == "libx264":
        choices = {"b-pyramid": ["none", "normal"], "open-gop": [0, 1], "ref": [1, 4], "tff": [0, 0, 1]}
        drawn = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
        recipe["options"] = {"crf": "20", "x264-params": ":".join(f"{k}={v}" for k, v in drawn.items() if v)}
    if codec in ("libx264", "ffv1") and draw(st.booleans()):
        recipe["time_base"] = MILLISECOND
        waits = draw(st.lists(st.sampled_from([20, 40, 41, 500]), min_size=70, max_size=70))
        recipe["times"] = np.cumsum([draw(st.integers(0, 5000)), *waits]).tolist()
    return recipe


@settings(max_examples=40, deadline=None)
@given(recipe=recipes(), data=st.data())
def test_any_frames_of_any_file_are_exact(recipe, data, folder):
    how = dict(recipe)
    path = write_moving(folder / f"any.{how.pop('ending')}", **how)
    try:
        times_s, pictures = zip(*timeline(path))
    except av.FFmpegError:  # a transport stream of two small pictures is too short for FFmpeg
        with pytest.raises(VideoError):
            open_video(path)
        return
    reader = open_video(path)
    assert reader.info.frames == len(pictures) == recipe["count"]
    for _ in range(4):
        numbers = sorted(data.draw(st.sets(st.integers(0, len(pictures) - 1), min_size=1)))
        wrong = [k for k, frame in zip(numbers, reader.stream(numbers)) if not torch.equal(frame, pictures[k])]
        assert not wrong, f"of {numbers}"
    if reader.info.times_s is not None:
        assert_same_times(reader, list(times_s))
